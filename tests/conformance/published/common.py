"""For scripts that drive a server with nexo-client 7.0.0: each check has a name and an outcome."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from nexo import NexoClient

CHECKS: list[tuple[str, Callable[[NexoClient], Awaitable[None]]]] = []
PATIENCE_SECONDS = 10.0


def check(function: Callable[[NexoClient], Awaitable[None]]) -> Callable[[NexoClient], Awaitable[None]]:
    CHECKS.append((function.__name__, function))
    return function


def port() -> int:
    return int(sys.argv[1])


async def connect() -> NexoClient:
    # Errors are what several checks want: they need no log.
    return await NexoClient.connect(host="127.0.0.1", port=port(), logger=lambda *_: None)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


async def fails(call: Awaitable[Any]) -> BaseException:
    """The error of a call that must fail."""
    try:
        got = await call
    except Exception as error:
        return error
    raise AssertionError(f"answered {got!r} instead of an error")


async def main() -> None:
    outcome = {}
    for name, function in CHECKS:
        client = await connect()
        try:
            await asyncio.wait_for(function(client), 30)
            outcome[name] = "ok"
        except Exception:
            outcome[name] = traceback.format_exc()
        finally:
            client.disconnect()
    print(json.dumps(outcome))


def run() -> None:
    asyncio.run(main())
