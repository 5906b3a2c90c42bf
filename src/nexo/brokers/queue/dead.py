"""Dead letters: messages that nobody could or wanted to handle, kept for somebody to look at.

In the order of their deaths. Owns their retention, in time and in number; knows nothing of why.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.queue.bodies import Bodies, is_absent
from nexo.brokers.queue.message import QueueMessage
from nexo.brokers.untracked import untrack

_SLACK: Final = 64  # letters that are gone and not worth tidying


@final
@mypyc_attr(acyclic=True)
class DeadLetter:
    """A dead message, why and when it died. `serial` orders them by death; 0 = gone."""

    __slots__ = ("died_at", "message", "reason", "serial")

    def __init__(self, message: QueueMessage, reason: bytes, died_at: i64, serial: i64) -> None:
        self.message = message
        self.reason = reason
        self.died_at = died_at
        self.serial = serial


@final
class DeadFilter:
    """Which dead letters: all of these must hold. `reason` is a part of it; times are ms, 0 = no bound."""

    __slots__ = ("died_from", "died_until", "reason")

    def __init__(self, reason: bytes = b"", died_from: i64 = 0, died_until: i64 = 0) -> None:
        self.reason = reason
        self.died_from = died_from
        self.died_until = died_until

    def matches(self, letter: DeadLetter) -> bool:
        if self.died_from > letter.died_at or (self.died_until != 0 and letter.died_at > self.died_until):
            return False
        return not self.reason or self.reason in letter.reason


@final
class DeadLetters:
    """The dead letters of one queue."""

    __slots__ = ("_bodies", "_by_id", "_head", "_order", "last_serial")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._by_id: dict[int, DeadLetter] = {}
        self._order: list[DeadLetter] = []  # by death; those that are gone stay until it is tidied
        untrack(self._order)
        self._head: i64 = 0
        self.last_serial: i64 = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, message: QueueMessage, reason: bytes, died_at: i64) -> None:
        """Takes in a message that nobody else holds."""
        self.last_serial += 1
        letter = DeadLetter(message, reason, died_at, self.last_serial)
        self._by_id[int(message.id)] = letter
        self._order.append(letter)
        self._bodies.refer(message)
        if not is_absent(message):
            self._bodies.added(message.size)
            if self._bodies.full:
                self._bodies.let_go(message)

    def get(self, id: i64) -> DeadLetter | None:
        return self._by_id.get(int(id))

    def peek(self, limit: i64, offset: i64) -> list[DeadLetter]:
        """Up to `limit` letters, the one that died first at offset 0."""
        found: list[DeadLetter] = []
        order = self._order
        if offset >= len(self._by_id):
            return found
        place = self._head
        if len(order) - place == len(self._by_id):
            place += offset  # none between is gone
            offset = 0
        while place < len(order) and len(found) < limit:
            letter = order[place]
            if letter.serial != 0:
                if offset == 0:
                    found.append(letter)
                else:
                    offset -= 1
            place += 1
        return found

    def following(self, serial: i64, limit: i64) -> list[DeadLetter]:
        """Up to `limit` letters after the one with this serial."""
        found: list[DeadLetter] = []
        order = self._order
        low = self._head
        high: i64 = len(order)
        # Serials grow along the list, but for zeros: search on the last that is not one.
        while low < high:
            middle = (low + high) >> 1
            probe = middle
            while probe >= low and order[probe].serial == 0:
                probe -= 1
            if probe < low or order[probe].serial <= serial:
                low = middle + 1
            else:
                high = probe
        while low < len(order) and len(found) < limit:
            if order[low].serial > serial:
                found.append(order[low])
            low += 1
        return found

    def restarted(self, above: i64) -> None:
        """The replay is over: places of an earlier life, which were no higher than `above`, are before all of these."""
        for letter in self._by_id.values():
            letter.serial += above
        self.last_serial += above

    def remove(self, letter: DeadLetter) -> None:
        """Takes out a letter that is here; its message stays as it is, its body accounted no longer."""
        del self._by_id[int(letter.message.id)]
        letter.serial = 0
        self._bodies.release(letter.message)
        if not is_absent(letter.message):
            self._bodies.removed(letter.message.size)
        order = self._order
        while self._head < len(order) and order[self._head].serial == 0:
            self._head += 1
        if self._head > _SLACK + (len(order) >> 1):
            del order[: self._head]
            self._head = 0
        if len(order) - self._head > 2 * len(self._by_id) + _SLACK:
            self._order = [one for one in order[self._head :] if one.serial != 0]
            untrack(self._order)
            self._head = 0

    def clear(self) -> list[DeadLetter]:
        """Takes out all; gives the list, for whoever frees it."""
        order = self._order
        self._bodies.removed(self._bodies.bytes)
        self._order = []
        untrack(self._order)
        self._head = 0
        self._by_id = {}
        return order

    def outlived(self, died_before: i64, keep: i64, limit: i64) -> list[DeadLetter]:
        """Up to `limit` letters that died before a time or are more than `keep`. They stay."""
        found: list[DeadLetter] = []
        surplus = len(self._by_id) - keep
        place = self._head
        order = self._order
        while place < len(order) and len(found) < limit:
            letter = order[place]
            if letter.serial != 0:
                if letter.died_at >= died_before and surplus <= len(found):
                    break
                found.append(letter)
            place += 1
        return found

    def oldest(self) -> i64:
        """When the first of them died, 0 for none."""
        order = self._order
        while self._head < len(order):
            if order[self._head].serial != 0:
                return order[self._head].died_at
            self._head += 1
        return 0
