"""Acks of one turn of the loop, gathered into one request.

Owns who waits for which ack. What the request looks like, and whom its answer refuses, is told by whoever
lends the messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from nexo.client.connection import Connection
from nexo.client.events import log
from nexo.client.link import Reply
from nexo.errors import FencedError, NexoError

D = TypeVar("D")

ACKS_PER_REQUEST_MAX: Final = 10_000
"""deliveries_per_receive_max, which bounds what one SETTLE may name."""

Acked = asyncio.Future[None] | None
"""Who is told; None when a failure is only to be logged."""


class Batch(Generic[D]):
    """Acks under way in one request: what the link gives the answer to."""

    def __init__(self, acks: Acks[D], items: list[D], waiting: list[Acked]) -> None:
        self._acks = acks
        self._items = items
        self._waiting = waiting
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: Reply, /) -> None:
        """The server has answered: all are acked but those that it names."""
        self._done = True
        try:
            refused = frozenset(self._acks.refused(result or b"", self._items))
        except NexoError as error:
            self._fail(error)
            return
        for place, waiter in enumerate(self._waiting):
            if place in refused:
                fenced = FencedError(
                    "the lease has ended: it ran out, was settled, or another delivery has followed"
                )
                _tell(waiter, self._items[place], fenced)
            elif waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._acks.ended(self)

    def set_exception(self, exception: BaseException, /) -> None:
        """None of them is known to be acked."""
        self._done = True
        self._fail(exception)

    def _fail(self, error: BaseException) -> None:
        if self._acks.failed is not None:
            self._acks.failed(error)
        for waiter, item in zip(self._waiting, self._items, strict=True):
            _tell(waiter, item, error)
        self._acks.ended(self)


def _tell(waiter: Acked, item: object, error: BaseException) -> None:
    if waiter is None:
        log.warning("%r could not be acked and may come again: %s", item, error)
    elif not waiter.done():
        waiter.set_exception(error)


class Acks(Generic[D]):
    """The acks of one consumer."""

    def __init__(
        self,
        connection: Connection,
        request: Callable[[list[D]], tuple[int, bytes]],
        refused: Callable[[bytes, list[D]], Iterable[int]],
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.refused = refused
        self.failed = failed
        self._connection = connection
        self._request = request
        self._loop = connection.loop
        self._items: list[D] = []
        self._waiting: list[Acked] = []
        self._under_way: set[Batch[D]] = set()
        self._idle: asyncio.Future[None] | None = None

    def add(self, item: D) -> asyncio.Future[None]:
        """Ack with this turn's others. The future ends when the server has confirmed it, or with its error."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._add(item, future)
        return future

    def post(self, item: D) -> None:
        """As `add`, when nobody waits: a failure is logged."""
        self._add(item, None)

    def _add(self, item: D, waiter: Acked) -> None:
        if not self._items:
            self._loop.call_soon(self.flush)
        self._items.append(item)
        self._waiting.append(waiter)
        if len(self._items) >= ACKS_PER_REQUEST_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what has gathered."""
        if not self._items:
            return
        items, self._items = self._items, []
        waiting, self._waiting = self._waiting, []
        batch = Batch(self, items, waiting)
        self._under_way.add(batch)
        try:
            self._connection.start(*self._request(items), batch)
        except NexoError as error:
            batch.set_exception(error)

    def ended(self, batch: Batch[D]) -> None:
        """A request is answered, or will never be."""
        self._under_way.discard(batch)
        if not self._under_way and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def settled(self) -> None:
        """Wait until every ack was answered."""
        self.flush()
        while self._under_way:
            if self._idle is None or self._idle.done():
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)
