"""What a client says about its connection: the values, and the stream of them that a program can read."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, Protocol, Self

import msgspec

log: Final = logging.getLogger("nexo.client")

EVENTS_KEPT: Final = 256
"""Events that wait for a reader; a program that never reads them loses the oldest."""


class Connected(msgspec.Struct, frozen=True):
    """The first connection stands. `address` is as `127.0.0.1:7654`."""

    address: str


class Disconnected(msgspec.Struct, frozen=True):
    """The connection was lost; calls that were under way have failed."""

    reason: str


class Reconnected(msgspec.Struct, frozen=True):
    """There is a connection again, after so many attempts; subscriptions and watches were restored."""

    attempts: int
    subscriptions: int
    watches: int


class Alarm(msgspec.Struct, frozen=True):
    """The server is short of `name` ("memory" or "disk") and refuses writes with AlarmError, or, not `raised`, no more.

    `bytes` is what the process takes, or what is free on the disk, and `bound_bytes` its bound.
    """

    name: str
    raised: bool
    bytes: int
    bound_bytes: int
    message: str


Event = Connected | Disconnected | Reconnected | Alarm


class Source(Protocol):
    """Where a Caller takes its items from; a deque is one. `popleft` raises IndexError when it is empty."""

    def __len__(self) -> int: ...
    def popleft(self) -> Any: ...


class Caller:
    """Calls a program's function, plain or async, for each item of a source, one after another.

    Runs in a task that lives while there are items. An exception is logged, and the next item follows.
    """

    def __init__(self, function: Callable[[Any], object], source: Source, what: str) -> None:
        self._function = function
        self._source = source
        self._what = what
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """There is an item, or more of them."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Call no more; a call that is being awaited is cancelled, unless this is called from within it."""
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while self._source:
            result = self._function(self._source.popleft())
            if isawaitable(result):
                await result

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("%s failed", self._what, exc_info=error)
        if self._source:
            self.wake()


class Announcer:
    """Where the connection says what has happened: kept for whoever reads Events, and told to `on_event`."""

    def __init__(self, on_event: Callable[[Event], Awaitable[None] | None] | None = None) -> None:
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._untold: deque[Event] = deque()
        self._caller = Caller(on_event, self._untold, "on_event") if on_event is not None else None
        self._news: asyncio.Future[None] | None = None
        self._closed = False

    def add(self, event: Event) -> None:
        """Something happened."""
        self._kept.append(event)
        self._wake()
        if self._caller is not None:
            self._untold.append(event)
            self._caller.wake()

    def close(self) -> None:
        """Nothing more will happen."""
        self._closed = True
        self._wake()

    async def next(self) -> Event:
        """The oldest event that nobody has read. StopAsyncIteration when there will be none."""
        while not self._kept:
            if self._closed:
                raise StopAsyncIteration
            # Readers share one future: whoever comes first takes the event, the others wait again.
            if self._news is None or self._news.done():
                self._news = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._news)
        return self._kept.popleft()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Events:
    """The events of a client, oldest first: an async iterator that ends when the client is closed.

    The last 256 are kept for a reader that comes later.
    """

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._announcer.next()
