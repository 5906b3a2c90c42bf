"""One way to call all four clients, so that a scenario is written once.

The async clients are what they are. A blocking one is put behind `Awaited`: each of its calls runs in a
thread and is awaited, its context managers and iterators are entered and walked in threads, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import nexo

SURFACES = ("async", "embedded", "blocking", "blocking-embedded")
OURS = ("nexo.client.blocking",)
END = object()


def wrapped(value: Any) -> Any:
    """A facade or an iterator of the blocking client as the scenario wants it; anything else as it is."""
    if type(value).__module__.startswith(OURS) or isinstance(value, Iterator):
        return Awaited(value)
    if type(value) is list:
        return [wrapped(one) for one in value]
    return value


class Awaited:
    """A blocking object whose methods are awaited."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return wrapped(value)
        return lambda *args, **kwargs: Pending(value, args, kwargs)

    def __await__(self) -> Any:
        """Blocking objects are started when they are there."""

        async def itself() -> Awaited:
            return self

        return itself().__await__()

    async def __aenter__(self) -> Awaited:
        return wrapped(await asyncio.to_thread(self._inner.__enter__))

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self._inner.__exit__, *error)

    def __aiter__(self) -> Awaited:
        return self

    async def __anext__(self) -> Any:
        item = await asyncio.to_thread(next, self._inner, END)
        if item is END:
            raise StopAsyncIteration
        return wrapped(item)


class Pending:
    """A call that is made when it is awaited, entered, walked, or used as what it gives."""

    def __init__(self, function: Any, args: Any, kwargs: Any) -> None:
        self._call = (function, args, kwargs)

    async def _made(self) -> Any:
        function, args, kwargs = self._call
        return wrapped(await asyncio.to_thread(function, *args, **kwargs))

    def __await__(self) -> Any:
        return self._made().__await__()

    def __getattr__(self, name: str) -> Any:
        function, args, kwargs = self._call
        return getattr(Awaited(function(*args, **kwargs)), name)

    async def __aenter__(self) -> Any:
        self._entered = await self._made()
        return await self._entered.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._entered.__aexit__(*error)

    async def __aiter__(self) -> Any:
        async for item in await self._made():
            yield item


@asynccontextmanager
async def opened(surface: str, port: int, count: int = 1) -> Any:
    """So many clients of one broker."""
    if surface == "async":
        first = await nexo.connect(port=port)
        more = [await nexo.connect(port=port) for _ in range(count - 1)]
    elif surface == "embedded":
        first = await nexo.embedded()
        more = [await first.connect() for _ in range(count - 1)]
    elif surface == "blocking":
        first = Awaited(await asyncio.to_thread(nexo.blocking.connect, port=port))
        more = [Awaited(await asyncio.to_thread(nexo.blocking.connect, port=port)) for _ in range(count - 1)]
    else:
        first = Awaited(await asyncio.to_thread(nexo.blocking.embedded))
        more = [await first.connect() for _ in range(count - 1)]
    clients = [first, *more]
    try:
        yield first if count == 1 else clients
    finally:
        for client in clients:
            await client.close()
