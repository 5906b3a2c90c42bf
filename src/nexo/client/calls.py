"""The calls of one client: sent at once, or held until they can be; and the one timer of all their timeouts.

Owns correlation ids, the calls that wait for a connection or for room in one, and deadlines. Does not know
how a connection comes about: that is Connection's part.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from nexo.client.frames import request
from nexo.client.link import Call, Link, Reply, Waiter
from nexo.errors import (
    ConnectionClosedError,
    LimitExceededError,
    NexoError,
    NotConnectedError,
    RequestTimeoutError,
)
from nexo.limits import FRAME_BYTES_MAX

WAITING_CALLS_MAX: Final = 100_000
"""Calls that wait in the client while there is no connection, or a full one. The next is refused: a
program that makes calls faster than they can be sent must learn of it, not grow."""
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""The same in bytes of their requests."""
SWEEP_SECONDS: Final = 0.01
"""Timeouts are looked at no more often than this, so that many deadlines cost one timer."""


class Nobody:
    """The waiter for an answer that nobody wants."""

    def done(self) -> bool:
        """Always: there is nothing to tell."""
        return True

    def set_result(self, result: Reply, /) -> None:
        """Never called."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Never called."""


NOBODY: Final = Nobody()


class Calls:
    """Requests on whatever link there is. `address` is where the server is, for messages."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._frame_bytes_max = FRAME_BYTES_MAX
        self._last_id = 0
        self._reserved: set[int] = set()
        # The link that takes calls; None while there is none. `_restoring` is one that does not yet,
        # `_leaving` one that the server is about to close, and that still owes answers.
        self._link: Link | None = None
        self._restoring: Link | None = None
        self._leaving: Link | None = None
        self._reason = "not connected yet"
        self._closed: NexoError | None = None
        # Calls that wait, as they do only without a link or with a full one, in order: id → (call, frame).
        self._waiting: OrderedDict[int, tuple[Call, bytes]] = OrderedDict()
        self._waiting_bytes = 0
        self._sweep_at = float("inf")
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def link(self) -> Link | None:
        """The link that takes calls now."""
        return self._link

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that this belongs to."""
        return self._loop

    @property
    def closed(self) -> NexoError | None:
        """Why there will be no connection any more; None while there may be."""
        return self._closed

    def _links(self) -> list[Link]:
        return [link for link in (self._link, self._leaving) if link is not None]

    async def call(
        self, opcode: int, payload: bytes, *, timeout: float | None = None, correlation: int = 0
    ) -> Reply:
        """Send a request and wait for its answer: its payload, b"" for OK, None for NULL.

        `timeout` in seconds, else the client's. Raises the server's error; RequestTimeoutError,
        NotConnectedError, ConnectionClosedError; LimitExceededError when too much waits already.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        correlation = self.start(opcode, payload, future, timeout=timeout, correlation=correlation)
        try:
            return await future
        except asyncio.CancelledError:
            self._forget(correlation)
            raise

    async def data(self, opcode: int, payload: bytes, *, timeout: float | None = None) -> bytes:
        """As `call`, for a request that is never answered with NULL."""
        return await self.call(opcode, payload, timeout=timeout) or b""

    async def repeated(self, opcode: int, payload: bytes) -> bytes:
        """As `data`, for a request that does no harm when it is done twice: a connection that breaks under
        it is no reason to fail, as long as the client's timeout lasts."""
        deadline = self._loop.time() + self.timeout
        while True:
            try:
                return await self.data(opcode, payload, timeout=deadline - self._loop.time())
            except ConnectionClosedError:
                if self._closed is not None or self._loop.time() >= deadline:
                    raise

    def start(
        self,
        opcode: int,
        payload: bytes,
        waiter: Waiter,
        *,
        timeout: float | None = None,
        correlation: int = 0,
    ) -> int:
        """Send a request, now or when it can be; its answer goes to `waiter`. Returns the correlation id."""
        if len(payload) > self._frame_bytes_max:
            raise LimitExceededError(
                f"a request of {len(payload)} bytes: frame_bytes_max is {self._frame_bytes_max}"
            )
        correlation = correlation or self.next_id()
        deadline = self._loop.time() + (self.timeout if timeout is None else timeout)
        call = (deadline, waiter)
        frame = request(opcode, correlation, payload)
        link = self._link
        if link is not None and not link.full:
            link.send(correlation, frame, call)
        else:
            self._wait(correlation, call, frame)
        if deadline < self._sweep_at:
            self._arm(deadline)
        return correlation

    def post(self, opcode: int, payload: bytes) -> None:
        """Send a request whose answer does not matter, in its turn; if there is no connection, not at all."""
        if self._link is not None or self._restoring is not None:
            with suppress(LimitExceededError):
                self.start(opcode, payload, NOBODY)

    def next_id(self) -> int:
        """A correlation id that nothing uses: 1 to 2^32 - 1."""
        while True:
            self._last_id = self._last_id % 0xFFFFFFFF + 1
            if self._last_id not in self._reserved:
                return self._last_id

    def reserve(self) -> int:
        """A correlation id that goes on to name something, until `release`."""
        correlation = self.next_id()
        self._reserved.add(correlation)
        return correlation

    def release(self, correlation: int) -> None:
        """The name is free again."""
        self._reserved.discard(correlation)

    def _wait(self, correlation: int, call: Call, frame: bytes) -> None:
        if self._closed is not None:
            raise type(self._closed)(*self._closed.args)
        if len(self._waiting) >= WAITING_CALLS_MAX or self._waiting_bytes + len(frame) > WAITING_BYTES_MAX:
            raise LimitExceededError(
                f"{len(self._waiting)} calls of {self._waiting_bytes} bytes wait to be sent to {self.address}:"
                f" at most {WAITING_CALLS_MAX} calls of {WAITING_BYTES_MAX} bytes may"
            )
        self._waiting[correlation] = (call, frame)
        self._waiting_bytes += len(frame)

    def _forget(self, correlation: int) -> None:
        """Nobody waits for this answer any more."""
        for link in self._links():
            link.calls.pop(correlation, None)
        self.withdraw(correlation)

    def withdraw(self, correlation: int) -> None:
        """Do not send a request that still waits to be sent; its waiter is told nothing."""
        entry = self._waiting.pop(correlation, None)
        if entry is not None:
            self._waiting_bytes -= len(entry[1])

    def writable(self) -> None:
        """Send what waits, in its order, until the link is full."""
        link = self._link
        while self._waiting and link is not None and not link.full:
            correlation, (call, frame) = self._waiting.popitem(last=False)
            self._waiting_bytes -= len(frame)
            link.send(correlation, frame, call)

    # Timeouts: one timer for all calls, set for the earliest deadline.

    def _arm(self, deadline: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_at = deadline
        self._sweeper = self._loop.call_at(max(deadline, self._loop.time() + SWEEP_SECONDS), self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        earliest = float("inf")
        for link in self._links():
            for correlation, (deadline, waiter) in list(link.calls.items()):
                if deadline > now:
                    earliest = min(earliest, deadline)
                    continue
                del link.calls[correlation]
                if not waiter.done():
                    waiter.set_exception(RequestTimeoutError(f"no answer from {self.address} in time"))
        for correlation, ((deadline, waiter), _) in list(self._waiting.items()):
            if deadline > now:
                earliest = min(earliest, deadline)
                continue
            self.withdraw(correlation)
            if not waiter.done():
                waiter.set_exception(self._not_sent())
        self._sweeper = None
        self._sweep_at = float("inf")
        if earliest != float("inf"):
            self._arm(earliest)

    def _not_sent(self) -> NexoError:
        if self._link is not None:
            return RequestTimeoutError(f"the connection to {self.address} was too full to send the request")
        return self._unreachable()

    def _unreachable(self) -> NotConnectedError:
        return NotConnectedError(f"not connected to {self.address}: {self._reason}")

    def _close_calls(self, error: NexoError) -> None:
        """No link will come any more: what waits, and what comes, learns why."""
        self._closed = error
        if self._sweeper is not None:
            self._sweeper.cancel()
        waiting, self._waiting = self._waiting, OrderedDict()
        self._waiting_bytes = 0
        for (_, waiter), _ in waiting.values():
            if not waiter.done():
                waiter.set_exception(type(error)(*error.args))
