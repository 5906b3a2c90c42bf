"""Queues and streams across a SIGKILL. Says "ready" under load, "lost" when the server has gone, and then what it found."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import connect, until
from reconnect import line, say


async def keep_on(send, confirmed: list[int]) -> None:
    """One after the other until the connection is lost."""
    number = 0
    while True:
        try:
            await send(number)
        except Exception:
            return
        confirmed.append(number)
        number += 1


async def main() -> None:
    client = await connect()
    await client.queue.create("q")
    await client.stream.create("s")
    queue, stream = await client.queue.get("q"), await client.stream.get("s")
    from_queue: list[object] = []
    from_stream: list[tuple[int, object]] = []
    consumer = await queue.subscribe(from_queue.append, wait_ms=500)
    follower = await stream.group("g").subscribe(
        lambda data, meta: from_stream.append((meta["seq"], data)), wait_ms=500
    )
    pushed: list[int] = []
    published: list[int] = []
    load = asyncio.gather(keep_on(queue.push, pushed), keep_on(stream.publish, published))
    await until(lambda: len(pushed) > 100 and len(published) > 100)
    say("ready")
    await line()  # the server has been killed
    await load
    await until(lambda: not client._conn.is_connected)
    say("lost")
    await line()  # it runs again on the same port, with the same data
    await until(lambda: client._conn.is_connected, 20)
    await queue.push("after")
    await stream.publish("after")
    await until(lambda: "after" in from_queue and "after" in [data for _, data in from_stream], 20)
    await until(
        lambda: set(pushed) <= set(from_queue) and set(published) <= {data for _, data in from_stream}
    )
    seqs: dict[int, set[object]] = {}
    for seq, data in from_stream:
        seqs.setdefault(seq, set()).add(data)
    await consumer.stop()
    await follower.stop()
    client.disconnect()
    say(
        json.dumps(
            {
                "confirmed": min(len(pushed), len(published)),
                "gaps": sorted(set(range(1, max(seqs) + 1)) - seqs.keys()),
                "changed": [seq for seq, values in seqs.items() if len(values) > 1],
                "unknown": [one for one in from_queue if one != "after" and one > len(pushed)],
            }
        )
    )


asyncio.run(main())
