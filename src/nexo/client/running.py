"""Deliveries to a program's function, several at once: what `subscribe` and a worker run on.

Owns the tasks that call the function, and how they end. Where deliveries come from is a Lender's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, Generic, TypeVar

from nexo.client.delivery import Delivery, reason_for
from nexo.client.events import log
from nexo.client.lending import Lender
from nexo.client.tracing import processing
from nexo.errors import ConnectionClosedError, NexoError

D = TypeVar("D", bound=Delivery)

GRACE_SECONDS_DEFAULT: Final = 30.0
"""How long a consumer that is stopped waits for the calls that run."""


class Runner(Generic[D]):
    """Calls a function with each delivery: acked when it returns, nacked when it raises.

    At most `concurrency` calls run at once, and at most `batch_size` deliveries, or as many as that, are out.
    """

    def __init__(
        self,
        lender: Lender[D],
        function: Callable[[D], Awaitable[object] | object],
        *,
        batch_size: int,
        wait_ms: int,
        concurrency: int,
    ) -> None:
        self.stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: NexoError | None = None
        self.handled = 0
        self.failed = 0
        self._lender = lender
        self._function = function
        self._wait_ms = wait_ms
        self._concurrency = concurrency
        self._out_max = max(batch_size, concurrency)
        self._ready: deque[D] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._running: dict[D, None] = {}
        self._room: asyncio.Future[None] | None = None
        self._stopping = False
        self._fetcher: asyncio.Task[None] | None = None
        self._callers: list[asyncio.Task[None]] = []
        self._ender: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Whether more deliveries will come."""
        return not self._stopping

    async def start(self) -> None:
        """Begin. ResourceNotFoundError when there is nothing to consume."""
        await self._lender.start()
        loop = asyncio.get_running_loop()
        self._callers = [loop.create_task(self._call()) for _ in range(self._concurrency)]
        self._fetcher = loop.create_task(self._fetch())
        self._fetcher.add_done_callback(self._fetched)

    # Fetching.

    async def _fetch(self) -> None:
        while True:
            while len(self._ready) + len(self._running) > self._out_max // 2 and not (
                self._idle and not self._ready
            ):
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            free = self._out_max - len(self._ready) - len(self._running)
            for item in await self._lender.take(free, self._wait_ms):
                self._ready.append(item)
                self._wake()

    def _fetched(self, task: asyncio.Task[None]) -> None:
        """Fetching has ended by itself: there is nothing to go on from."""
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, NexoError):
            closed = self._lender.connection.closed
            if not (isinstance(error, ConnectionClosedError) and isinstance(closed, ConnectionClosedError)):
                self.error = error
                log.error("%s has ended: %s", self._lender.what, error)
        elif error is not None:
            log.error("%s has ended", self._lender.what, exc_info=error)
        self._stopping = True
        self._ready.clear()
        self._end()

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    # Calling.

    async def _call(self) -> None:
        while True:
            while not self._ready:
                if self._stopping:
                    return
                idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                self._tell_room()
                await idle
            item = self._ready.popleft()
            if not self._lender.holds(item):
                continue
            self._running[item] = None
            try:
                await self._handle(item)
            finally:
                del self._running[item]
            if self._stopping:
                return
            self._tell_room()

    def _tell_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _handle(self, item: D) -> None:
        """Call the program's function; what it raises is the reason of the nack."""
        try:
            with processing(self._lender.source, item.headers, item._number, self._lender.group):
                result: Any = self._function(item)
                if isawaitable(result):
                    await result
        except Exception as error:  # noqa: BLE001
            self.failed += 1
            log.warning("%s: the handler failed on %r", self._lender.what, item, exc_info=error)
            if not item.settled:
                self._lender.post_nack(item, reason_for(error))
        except asyncio.CancelledError:
            if not item.settled:
                self._lender.give_back([item])
            raise
        else:
            self.handled += 1
            if not item.settled:
                self._lender.post_ack(item)

    # Ending.

    def request_stop(self) -> None:
        """Fetch no more, and give back what no call has begun with. What runs may finish."""
        if self._stopping:
            return
        self._stopping = True
        if self._fetcher is not None:
            self._fetcher.cancel()
        waiting = [item for item in self._lender.held if item not in self._running]
        self._ready.clear()
        self._lender.give_back(waiting)
        self._end()

    def _end(self) -> None:
        """Let the callers that have nothing to do go."""
        if not self.stopping.done():
            self.stopping.set_result(None)
        for idle in self._idle:
            idle.cancel()
        self._idle.clear()

    def hurry(self) -> None:
        """Cancel the calls that run; their deliveries go back without counting."""
        for caller in self._callers:
            caller.cancel()

    async def stop(self, grace_seconds: float = GRACE_SECONDS_DEFAULT) -> None:
        """Stop: calls that run have `grace_seconds` to finish, then they are cancelled and their deliveries
        go back without counting. Done when what was settled is confirmed."""
        self.request_stop()
        if self._ender is None:
            self._ender = asyncio.get_running_loop().create_task(self._finish(grace_seconds))
        if asyncio.current_task() not in self._callers:  # else called by the function itself
            await asyncio.shield(self._ender)

    async def _finish(self, grace_seconds: float) -> None:
        tasks = [task for task in (*self._callers, self._fetcher) if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                log.warning("%s: %d calls did not finish in time", self._lender.what, len(late))
                await asyncio.wait(late)
        await self._lender.finish()


class Consumer(Generic[D]):
    """A function that is called with deliveries, until `stop`. `error` is what ended it, if anything did."""

    def __init__(self, runner: Runner[D]) -> None:
        self._runner = runner

    @property
    def active(self) -> bool:
        """Whether more deliveries will come."""
        return self._runner.active

    @property
    def error(self) -> NexoError | None:
        """Why no more will come, when nobody stopped it: the queue was deleted, the client gave up."""
        return self._runner.error

    @property
    def handled(self) -> int:
        """Calls that returned."""
        return self._runner.handled

    @property
    def failed(self) -> int:
        """Calls that raised."""
        return self._runner.failed

    async def stop(self, grace_seconds: float = GRACE_SECONDS_DEFAULT) -> None:
        """Take no more, and wait for the calls that run; after `grace_seconds` they are cancelled, and
        their deliveries go back without counting."""
        await self._runner.stop(grace_seconds)
