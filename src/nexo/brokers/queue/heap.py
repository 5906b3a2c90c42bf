"""A heap of messages by one of their numbers, without an object for each place in it.

Messages that left by another way stay until they are met, or until `keep` throws them out. Knows nothing
of what the order is for.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.queue.message import QueueMessage
from nexo.brokers.untracked import untrack

BY_ID: Final = 0
BY_DUE: Final = 1
BY_EXPIRY: Final = 2


@final
class MessageHeap:
    """The message with the least id, due time or expiry is first; of equal ones, that with the least id."""

    __slots__ = ("_key", "_messages")

    def __init__(self, key: i64) -> None:
        self._key = key
        self._messages: list[QueueMessage] = []
        untrack(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def key(self, message: QueueMessage) -> i64:
        """The number that orders."""
        if self._key == BY_ID:
            return message.id
        if self._key == BY_DUE:
            return message.due_at
        return message.expires_at

    def _before(self, one: QueueMessage, other: QueueMessage) -> bool:
        key = self.key(one)
        other_key = self.key(other)
        return key < other_key or (key == other_key and one.id < other.id)

    def first(self) -> QueueMessage:
        """The least; there must be one."""
        return self._messages[0]

    def push(self, message: QueueMessage) -> None:
        messages = self._messages
        place: i64 = len(messages)
        messages.append(message)
        while place > 0:
            above = (place - 1) >> 1
            other = messages[above]
            if self._before(other, message):
                break
            messages[place] = other
            place = above
        messages[place] = message

    def pop(self) -> QueueMessage:
        """Takes out the least; there must be one."""
        messages = self._messages
        last = messages.pop()
        if not messages:
            return last
        first = messages[0]
        self._sink(0, last)
        return first

    def keep(self, state: i64) -> None:
        """Throws out all that are in another state."""
        self._messages = [message for message in self._messages if message.state == state]
        self._order()

    def keep_living(self) -> None:
        """Throws out all that are GONE, whose state is 0."""
        self._messages = [message for message in self._messages if message.state != 0]
        self._order()

    def _order(self) -> None:
        untrack(self._messages)
        place: i64 = (i64(len(self._messages)) >> 1) - 1
        while place >= 0:
            self._sink(place, self._messages[place])
            place -= 1

    def _sink(self, place: i64, message: QueueMessage) -> None:
        """Puts a message at a place or below it, lifting what is less."""
        messages = self._messages
        size: i64 = len(messages)
        while True:
            below = 2 * place + 1
            if below >= size:
                break
            other = messages[below]
            if below + 1 < size and self._before(messages[below + 1], other):
                below += 1
                other = messages[below]
            if self._before(message, other):
                break
            messages[place] = other
            place = below
        messages[place] = message

    def free(self, budget: i64) -> i64:
        """Lets go of about so many, in no order; gives what is left of the budget."""
        messages = self._messages
        while messages and budget > 0:
            messages.pop()
            budget -= 1
        return budget

    def messages(self) -> list[QueueMessage]:
        """All of them in no order; for reading, until the next call."""
        return self._messages
