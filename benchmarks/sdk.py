"""Calls through a client library: python sdk.py LIBRARY PORT SECONDS CONCURRENCY. Prints calls per second.

LIBRARY is nexo, redis (redis-py's asyncio client) or nats (nats-py). The first two read a key of 64
bytes; nats-py, whose server has no plain key-value store, sends a request of 16 bytes to a responder in
another process, which answers with 64.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

VALUE = b"v" * 64
KEY = "key:000000000001"
WARM_UP_SECONDS = 0.2

Call = Callable[[], Awaitable[Any]]


async def measure(call: Call, check: Callable[[Any], bytes], seconds: float, concurrency: int) -> float:
    """Calls per second, `concurrency` at a time; the first answer is compared."""
    if check(await call()) != VALUE:
        raise SystemExit("the client read something else than was written")
    await _repeat(call, WARM_UP_SECONDS, concurrency)
    began = time.perf_counter()
    calls = await _repeat(call, seconds, concurrency)
    return calls / (time.perf_counter() - began)


async def _repeat(call: Call, seconds: float, concurrency: int) -> int:
    calls = 0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        if concurrency == 1:
            for _ in range(20):
                await call()
            calls += 20
        else:
            await asyncio.gather(*[call() for _ in range(concurrency)])
            calls += concurrency
    return calls


async def nexo_client(port: int, seconds: float, concurrency: int) -> float:
    """Nexo's async client."""
    import nexo

    async with await nexo.connect(host="127.0.0.1", port=port) as client:
        await client.store.map.set(KEY, VALUE)
        return await measure(lambda: client.store.map.get(KEY), bytes, seconds, concurrency)


async def redis_client(port: int, seconds: float, concurrency: int) -> float:
    """redis-py with its own pool of connections, and hiredis where that is installed."""
    import redis.asyncio

    async with redis.asyncio.Redis(host="127.0.0.1", port=port) as client:
        await client.set(KEY, VALUE)
        return await measure(lambda: client.get(KEY), bytes, seconds, concurrency)


async def nats_client(port: int, seconds: float, concurrency: int) -> float:
    """nats-py: request and reply."""
    import nats

    arguments = [__file__, "nats-responder", str(port)]
    responder = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert responder.stdout is not None
        await responder.stdout.readline()
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        try:
            return await measure(
                lambda: client.request("bench", KEY.encode(), timeout=5),
                lambda m: bytes(m.data),
                seconds,
                concurrency,
            )
        finally:
            await client.close()
    finally:
        responder.terminate()
        await responder.wait()


async def nats_responder(port: int) -> None:
    """Answers until it is terminated."""
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")

    async def answer(message: Any) -> None:
        await message.respond(VALUE)

    await client.subscribe("bench", cb=answer)
    await client.flush()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """See the module."""
    library, port = sys.argv[1], int(sys.argv[2])
    if library == "nats-responder":
        asyncio.run(nats_responder(port))
        return
    clients = {"nexo": nexo_client, "redis": redis_client, "nats": nats_client}
    rate = asyncio.run(clients[library](port, float(sys.argv[3]), int(sys.argv[4])))
    sys.stdout.write(f"{rate}\n")


if __name__ == "__main__":
    main()
