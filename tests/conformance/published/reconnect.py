"""Reconnection. Says "ready", waits for a line each time the server has been replaced, says what it then finds."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import connect, fails, until


async def line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def say(text: str) -> None:
    print(text, flush=True)


async def main() -> None:
    client = await connect()
    got: list[tuple[str, object]] = []
    await client.pubsub.topic("re/exact").subscribe(lambda data, meta: got.append((meta["topic"], data)))
    await client.pubsub.pattern("wild/#").subscribe(lambda data, meta: got.append((meta["topic"], data)))
    await client.store.map.set("before", 1)
    say("ready")
    await line()  # the server has been killed
    await until(lambda: not client._conn.is_connected)
    error = await fails(client.store.map.get("before"))
    say("lost")
    await line()  # another listens on its port
    await until(lambda: client._conn.is_connected, 20)
    before = await client.store.map.get("before")
    # Subscriptions are restored behind the reconnection: publish until one message is seen.
    attempt = 0
    while not got:
        await client.pubsub.topic("wild/x").publish(attempt)
        attempt += 1
        await asyncio.sleep(0.01)
        assert attempt < 500
    got.clear()
    await client.pubsub.topic("re/exact").publish("exact")
    await client.pubsub.topic("wild").publish("wild")
    await until(lambda: ("wild", "wild") in got)
    client.disconnect()
    say(
        json.dumps(
            {
                "error": type(error).__name__,
                "before": before,
                "got": [one for one in got if one[0] != "wild/x"],
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
