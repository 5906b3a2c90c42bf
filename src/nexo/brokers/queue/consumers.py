"""Who takes messages from queues, what each holds, and who waits for more.

    Consumer   one who takes: a connection, or an embedded client
    Holding    what one consumer has from one queue
    Waiter     one call that waits for messages, until its deadline
    WaitLine   the waiters of one queue, served in turn

Knows neither the queue's structures nor a wire: a session derives from Waiter.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.errors import ServerError

if TYPE_CHECKING:
    from nexo.brokers.queue.message import Delivery

_SLACK: Final = 64  # ended leases that are not worth tidying


@mypyc_attr(allow_interpreted_subclasses=True)
class Consumer:
    """One who takes messages; `Queues.drop` gives back what it holds. Attributes belong to the broker."""

    def __init__(self) -> None:
        self.holdings: dict[int, Holding] = {}  # by the number of the queue
        self.waiters: dict[Waiter, None] = {}


@final
class Holding:
    """The leases of one consumer in one queue. Ended ones stay in the list until it is tidied."""

    __slots__ = ("consumer", "leases", "living")

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.leases: list[Delivery] = []
        self.living: i64 = 0

    def add(self, delivery: Delivery) -> None:
        self.living += 1
        self.leases.append(delivery)
        if len(self.leases) > 2 * self.living + _SLACK:
            self.leases = [one for one in self.leases if one.holding is self]


@mypyc_attr(allow_interpreted_subclasses=True)
class Waiter:
    """One call that waits for messages. A subclass calls `super().__init__` and implements the answers.

    Exactly one of them is called, once for each `Queue.wait`, unless it is cancelled; from within it the
    broker may be called again. The attributes belong to the broker.
    """

    def __init__(self) -> None:
        self.consumer: Consumer | None = None  # set while it waits
        self.queue_number: i64 = 0
        self.count: i64 = 0
        self.deadline: i64 = 0
        self.ticket: i64 = 0

    def delivered(self, deliveries: list[Delivery]) -> None:
        """Messages, at least one. Must not raise."""
        raise NotImplementedError

    def timed_out(self) -> None:
        """The deadline passed without a message. Must not raise."""
        raise NotImplementedError

    def failed(self, error: ServerError) -> None:
        """There will be none: the queue was deleted, or a message could not be read. Must not raise."""
        raise NotImplementedError


@final
class WaitLine:
    """The waiters of one queue, by ticket: in the order in which they came."""

    __slots__ = ("_by_ticket", "_deadlines", "_last_ticket")

    def __init__(self) -> None:
        self._by_ticket: dict[int, Waiter] = {}
        self._deadlines: list[tuple[int, int]] = []  # a heap of (deadline, ticket); some are stale
        self._last_ticket: i64 = 0

    def __len__(self) -> int:
        return len(self._by_ticket)

    def join(self, waiter: Waiter, consumer: Consumer, queue_number: i64, count: i64, deadline: i64) -> None:
        """Puts one who does not wait yet at the end of the line."""
        assert waiter.consumer is None, "it waits already"
        self._last_ticket += 1
        waiter.consumer = consumer
        waiter.queue_number = queue_number
        waiter.count = count
        waiter.deadline = deadline
        waiter.ticket = self._last_ticket
        self._by_ticket[int(waiter.ticket)] = waiter
        consumer.waiters[waiter] = None
        heappush(self._deadlines, (int(deadline), int(waiter.ticket)))
        if len(self._deadlines) > 2 * len(self._by_ticket) + _SLACK:
            self._deadlines = [(int(one.deadline), ticket) for ticket, one in self._by_ticket.items()]
            heapify(self._deadlines)

    def leave(self, waiter: Waiter) -> None:
        """Takes out one that waits here."""
        consumer = waiter.consumer
        if consumer is not None:
            del consumer.waiters[waiter]
            waiter.consumer = None
        del self._by_ticket[int(waiter.ticket)]

    def in_turn(self) -> list[int]:
        """The tickets of all, the one who has waited longest first."""
        return list(self._by_ticket)

    def get(self, ticket: int) -> Waiter | None:
        return self._by_ticket.get(ticket)

    def next_deadline(self) -> i64:
        """When the first of them has waited long enough, 0 for none."""
        while self._deadlines:
            if self._deadlines[0][1] in self._by_ticket:
                return self._deadlines[0][0]
            heappop(self._deadlines)
        return 0

    def late(self, now: i64, limit: i64) -> list[Waiter]:
        """Up to `limit` waiters whose deadline is at or before now. They stay in the line."""
        found: list[Waiter] = []
        while self._deadlines and len(found) < limit:
            deadline, ticket = self._deadlines[0]
            waiter = self._by_ticket.get(ticket)
            if waiter is not None:
                if deadline > now:
                    break
                found.append(waiter)
            heappop(self._deadlines)
        return found
