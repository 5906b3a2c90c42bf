"""Deliveries one after another: what `consume()` gives.

Owns the delivery in hand and what was fetched ahead, and when which of them is settled. Where deliveries come
from is a Lender's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar

from nexo.client.delivery import Delivery, reason_for
from nexo.client.lending import Lender
from nexo.errors import ConnectionClosedError

D = TypeVar("D", bound=Delivery)

LEFT = "the consumer left the loop before the message was settled"


class Hand(Generic[D]):
    """What one iteration has: a delivery in hand, others ahead, a request for more."""

    def __init__(self, lender: Lender[D], batch_size: int, wait_ms: int) -> None:
        self.lender = lender
        self.started = False
        self.stopped = False
        self.ending: asyncio.Task[None] | None = None  # held, or the loop might forget it
        self._batch_size = batch_size
        self._wait_ms = wait_ms
        self.loop = lender.connection.loop
        self._ahead: deque[D] = deque()
        self._held: D | None = None
        self._taking: asyncio.Task[list[D]] | None = None

    async def next(self) -> D:
        """Ack the one in hand, unless it is settled, and take the next. StopAsyncIteration at the end."""
        if self.stopped:
            raise StopAsyncIteration
        if not self.started:
            await self.lender.start()
            self.started = True
        self.let_go()
        while True:
            while self._ahead:
                item = self._ahead.popleft()
                if self.lender.holds(item):
                    self._held = item
                    return item
            await self._fetch()

    async def _fetch(self) -> None:
        # A task, so that whoever gives up waiting leaves it to the next who asks.
        if self._taking is None:
            self._taking = self.loop.create_task(self.lender.take(self._batch_size, self._wait_ms))
        task = self._taking
        await asyncio.wait([task])
        if self._taking is task:
            self._taking = None
        if self.stopped or task.cancelled():
            raise StopAsyncIteration
        try:
            self._ahead.extend(task.result())
        except ConnectionClosedError:
            if isinstance(self.lender.connection.closed, ConnectionClosedError):
                raise StopAsyncIteration from None  # the program closed the client
            raise

    def let_go(self, error: BaseException | None = None) -> None:
        """Settle the one in hand, unless the program has: acked, or nacked with what it failed with."""
        item, self._held = self._held, None
        if item is None or item.settled:
            return
        if error is None:
            self.lender.post_ack(item)
        elif isinstance(error, Exception):
            self.lender.post_nack(item, reason_for(error))
        else:
            self.lender.give_back([item])

    def drop(self, reason: str | None = None) -> None:
        """Give back all that was not handled; what is in hand as failed, when there is a reason to."""
        if self.stopped:
            return
        self.stopped = True
        if self._taking is not None:
            self._taking.cancel()
        item, self._held = self._held, None
        if item is not None and not item.settled and reason is not None:
            self.lender.post_nack(item, reason)
        self._ahead.clear()
        self.lender.give_back(list(self.lender.held))

    async def end(self) -> None:
        """After `drop`: wait until what was settled is confirmed."""
        if self._taking is not None:
            await asyncio.wait([self._taking])
        if self.started:
            self.started = False
            await self.lender.finish()


class Deliveries(Generic[D]):
    """An iterator of deliveries, best used with `async with`.

    Asking for the next one acks the one before, unless the program has settled it. Leaving the block acks
    the one in hand; with an exception it is nacked, and the exception is the reason; cancelled, it goes back
    without counting. Whatever was fetched ahead goes back. Without a block the loop cannot tell why it was
    left: what is in hand then counts as failed. `async with` on each delivery, or settling it, is exact.

    The iteration goes on after a lost connection, and ends when it is stopped or the client is closed.
    """

    def __init__(self, hand: Hand[D]) -> None:
        self._hand = hand

    async def __aenter__(self) -> Self:
        hand = self._hand
        if not hand.started and not hand.stopped:
            await hand.lender.start()
            hand.started = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hand.let_go(error)
        await self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> D:
        return await self._hand.next()

    async def stop(self) -> None:
        """End the iteration; what was not settled goes back. Done when what was acked is confirmed."""
        self._hand.drop()
        await self._hand.end()

    def __del__(self) -> None:
        hand = self._hand
        if hand.started and not hand.stopped:
            _abandon(hand)


def _abandon(hand: Hand[D]) -> None:
    """The loop was left without a word; whichever thread notices."""
    loop = hand.loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(_drop, hand)


def _drop(hand: Hand[D]) -> None:
    hand.drop(LEFT)
    hand.ending = hand.loop.create_task(hand.end())
