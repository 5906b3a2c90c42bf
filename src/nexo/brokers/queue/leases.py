"""The leases of one queue: which delivery a token stands for, and which have run out.

Tokens are consecutive, so a lease is found by its place in a list. Leases that are not extended run out in
the order of their tokens: the oldest is looked at, nothing is sorted. Those that deviate (extended ones,
and stragglers whose neighbours have long ended) move to a table and a heap.

The places of ended leases are kept for a while, so that an acknowledgement which is sent again can be
confirmed. Knows nothing of what becomes of a message.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.queue.message import NO_MESSAGE, Delivery
from nexo.brokers.untracked import untrack
from nexo.limits import REPEATED_ACKS_MAX

_ENDED: Final = -1
"""The deadline of what is in the list and no lease: one that was acknowledged, or that has moved."""
_MOVED: Final = Delivery(NO_MESSAGE, 0, _ENDED, None)
_SLACK: Final = 1_024  # places that are not worth tidying


@final
class Leases:
    """All leases of a queue. `next_token` is that of the next delivery, `count` how many there are."""

    __slots__ = (
        "_acked_late",
        "_base",
        "_deadlines",
        "_head",
        "_late",
        "_latest",
        "_ring",
        "_ring_living",
        "count",
        "next_token",
    )

    def __init__(self, next_token: i64) -> None:
        self.next_token = next_token
        self.count: i64 = 0
        self._ring: list[Delivery | None] = []  # by token, from `_base` on; None = ended
        untrack(self._ring)
        self._base = next_token
        self._head: i64 = 0  # before this place all have ended or moved
        self._ring_living: i64 = 0
        self._latest: i64 = 0  # the deadline of the newest in the list
        self._late: dict[int, Delivery] = {}  # those that deviate, by token
        self._deadlines: list[tuple[int, int]] = []  # a heap of their (deadline, token); some are stale
        self._acked_late: dict[int, int] = {}  # ids by tokens without a place that were acknowledged

    def skip_to(self, token: i64) -> None:
        """Lets tokens go on from here: called while there are no leases."""
        if token > self.next_token:
            self.next_token = token
            self._base = token
            self._ring = []
            untrack(self._ring)
            self._head = 0

    def add(self, delivery: Delivery) -> None:
        """Adds a lease whose token is `next_token`."""
        self.next_token += 1
        self.count += 1
        if delivery.deadline < self._latest:
            self._ring.append(_MOVED)
            self._add_late(delivery)
            return
        self._latest = delivery.deadline
        self._ring.append(delivery)
        self._ring_living += 1

    def _add_late(self, delivery: Delivery) -> None:
        self._late[int(delivery.token)] = delivery
        heappush(self._deadlines, (int(delivery.deadline), int(delivery.token)))
        if len(self._deadlines) > 2 * len(self._late) + _SLACK:
            self._deadlines = [(int(one.deadline), token) for token, one in self._late.items()]
            heapify(self._deadlines)

    def find(self, id: i64, token: i64) -> Delivery | None:
        """The lease of this message with this token, if it has not ended."""
        place = token - self._base
        if 0 <= place < len(self._ring):
            delivery = self._ring[place]
            if delivery is None:
                return None
            if delivery is _MOVED:
                delivery = self._late.get(int(token))
        else:
            delivery = self._late.get(int(token))
        if delivery is None or delivery.deadline < 0 or delivery.id != id or delivery.token != token:
            return None
        return delivery

    def was_acked(self, id: i64, token: i64) -> bool:
        """Whether a lease of this message that has ended is known to have ended by an acknowledgement."""
        place = token - self._base
        if 0 <= place < len(self._ring):
            delivery = self._ring[place]
            if delivery is not None and delivery is not _MOVED:
                return delivery.deadline == _ENDED and delivery.id == id
        known = self._acked_late.get(int(token))
        return known is not None and known == id

    def end(self, delivery: Delivery, acked: bool) -> None:
        """Ends a lease. The delivery lets go of its message."""
        token = delivery.token
        place = token - self._base
        ring = self._ring
        self.count -= 1
        if acked:
            delivery.deadline = _ENDED
        if 0 <= place < len(ring):
            if ring[place] is delivery:
                self._ring_living -= 1
            else:
                self._late.pop(int(token), None)
            ring[place] = delivery if acked else None
            if place == self._head:
                self._advance()
            elif len(ring) - self._head > 4 * self._ring_living + 4 * _SLACK:
                self._move_stragglers()
        else:
            self._late.pop(int(token), None)
            if acked:
                self._remember(delivery.id, token)
        holding = delivery.holding
        if holding is not None:
            holding.living -= 1
            delivery.holding = None
        delivery.message = NO_MESSAGE

    def _remember(self, id: i64, token: i64) -> None:
        acked = self._acked_late
        acked[int(token)] = int(id)
        if len(acked) > 2 * REPEATED_ACKS_MAX:
            self._acked_late = dict(list(acked.items())[REPEATED_ACKS_MAX:])

    def _advance(self) -> None:
        """Moves the head past what has ended, and gives up places that nobody asks for any more."""
        ring = self._ring
        head = self._head
        size: i64 = len(ring)
        while head < size:
            delivery = ring[head]
            if delivery is not None and delivery.deadline >= 0:
                break
            head += 1
        if head > REPEATED_ACKS_MAX + (size >> 1):
            gone = head - REPEATED_ACKS_MAX
            del ring[:gone]
            self._base += gone
            head -= gone
        self._head = head

    def _move_stragglers(self) -> None:
        """Moves what lives in the older half of the list, which is mostly places of ended leases."""
        ring = self._ring
        half = (self._head + len(ring)) >> 1
        place = self._head
        while place < half:
            delivery = ring[place]
            if delivery is not None and delivery.deadline >= 0:
                ring[place] = _MOVED
                self._ring_living -= 1
                self._add_late(delivery)
            place += 1
        self._head = half
        self._advance()

    def extend(self, delivery: Delivery, deadline: i64) -> None:
        """Gives a lease another deadline, later or earlier."""
        delivery.deadline = deadline
        place = delivery.token - self._base
        if 0 <= place < len(self._ring) and self._ring[place] is delivery:
            self._ring[place] = _MOVED
            self._ring_living -= 1
            self._add_late(delivery)
            if place == self._head:
                self._advance()
        else:
            self._add_late(delivery)

    def run_out(self, now: i64, limit: i64) -> list[Delivery]:
        """Up to `limit` leases whose deadline is at or before now, the first to run out first.

        They stay until they are ended; whoever asks ends them all. One may be listed twice.
        """
        found: list[Delivery] = []
        ring = self._ring
        place = self._head
        size: i64 = len(ring)
        while len(found) < limit:
            first: Delivery | None = None
            while place < size:
                first = ring[place]
                if first is not None and first.deadline >= 0:
                    break
                first = None
                place += 1
            late = self._first_late()
            if late is not None and (
                first is None
                or late.deadline < first.deadline
                or (late.deadline == first.deadline and late.token < first.token)
            ):
                if late.deadline > now:
                    break
                heappop(self._deadlines)
                found.append(late)
            elif first is not None and first.deadline <= now:
                place += 1
                found.append(first)
            else:
                break
        return found

    def _first_late(self) -> Delivery | None:
        """The first to run out of those that deviate."""
        while self._deadlines:
            deadline, token = self._deadlines[0]
            late = self._late.get(token)
            if late is not None and late.deadline == deadline:
                return late
            heappop(self._deadlines)
        return None

    def next_deadline(self) -> i64:
        """When the first lease runs out, 0 for none."""
        deadline: i64 = 0
        ring = self._ring
        if self._head < len(ring):
            first = ring[self._head]
            if first is not None and first.deadline >= 0:
                deadline = first.deadline
        late = self._first_late()
        if late is not None and (deadline == 0 or late.deadline < deadline):
            deadline = late.deadline
        return deadline

    def all(self) -> list[Delivery]:
        """Every lease, in the order of the tokens."""
        found: list[Delivery] = []
        for delivery in self._ring[self._head :]:
            if delivery is not None and delivery.deadline >= 0:
                found.append(delivery)
        if self._late:
            found.extend(self._late.values())
            found.sort(key=_token)
        return found


def _token(delivery: Delivery) -> int:
    return int(delivery.token)
