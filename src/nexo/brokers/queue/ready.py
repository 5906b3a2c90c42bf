"""The order of delivery: the highest priority first, within it the lowest id.

Messages that become ready in the order of their ids, as pushed ones do, pass through a plain line. Those
that come back, or become ready later than their neighbours, wait in a heap by id beside it. A message that
is removed stays where it is until it is met; when such ones outnumber the others, a line is tidied.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.queue.heap import BY_ID, MessageHeap
from nexo.brokers.queue.message import READY, QueueMessage
from nexo.brokers.untracked import untrack

CHUNK: Final = 1_024
"""Messages in one piece of a line: pieces are taken up and given back whole."""
_SLACK: Final = 1_024  # messages that are gone and not worth tidying


@final
class Line:
    """Ready messages of one priority."""

    __slots__ = ("_back", "_chunks", "_newest", "_out", "_tail", "size")

    def __init__(self) -> None:
        self._out: list[QueueMessage] = []  # the next piece, the next message last
        self._chunks: list[list[QueueMessage]] = []
        self._tail: list[QueueMessage] = []
        self._back = MessageHeap(BY_ID)
        self._newest: i64 = 0
        self.size: i64 = 0  # places that are taken, by messages that are gone, too

    def add(self, message: QueueMessage) -> None:
        if self.size == 0:
            self._newest = 0
        self.size += 1
        if message.id < self._newest:
            self._back.push(message)
            return
        self._newest = message.id
        self._tail.append(message)
        if len(self._tail) == CHUNK:
            untrack(self._tail)
            self._chunks.append(self._tail)
            self._tail = []

    def _next_piece(self) -> list[QueueMessage]:
        """The piece with the next message of the line; empty when there is none."""
        while True:
            out = self._out
            while out:
                if out[-1].state == READY:
                    return out
                out.pop()
                self.size -= 1
            if self._chunks:
                out = self._chunks.pop(0)
            elif self._tail:
                out = self._tail
                self._tail = []
            else:
                return out
            out.reverse()
            self._out = out

    def _from_back(self) -> QueueMessage | None:
        back = self._back
        while len(back) > 0:
            message = back.first()
            if message.state == READY:
                return message
            back.pop()
            self.size -= 1
        return None

    def first(self) -> QueueMessage | None:
        """The next message, which stays."""
        out = self._next_piece()
        returned = self._from_back() if len(self._back) > 0 else None
        if not out:
            return returned
        message = out[-1]
        return message if returned is None or message.id < returned.id else returned

    def take(self) -> QueueMessage | None:
        """The next message, taken out."""
        out = self._next_piece()
        if len(self._back) > 0:
            returned = self._from_back()
            if returned is not None and (not out or returned.id < out[-1].id):
                self.size -= 1
                return self._back.pop()
        if not out:
            return None
        self.size -= 1
        return out.pop()

    def ahead(self, count: i64) -> list[QueueMessage]:
        """About `count` of the messages that come next, not quite in order; they stay."""
        out = self._next_piece()
        # The front of a heap is close to its order.
        found = [message for message in self._back.messages()[:count] if message.state == READY]
        place: i64 = len(out) - 1
        while place >= 0 and len(found) < count:
            if out[place].state == READY:
                found.append(out[place])
            place -= 1
        for chunk in self._chunks:
            if len(found) >= count:
                break
            found.extend([message for message in chunk if message.state == READY])
        return found

    def free(self, budget: i64) -> i64:
        """Lets go of about so many messages; gives what is left of the budget."""
        budget = self._back.free(budget)
        self._out = []
        self._tail = []
        while self._chunks and budget > 0:
            budget -= len(self._chunks.pop())
        return budget

    def tidy(self) -> None:
        """Lets go of the messages that are gone."""
        self._back.keep(READY)
        self._out = [message for message in self._out if message.state == READY]
        self._tail = [message for message in self._tail if message.state == READY]
        chunks: list[list[QueueMessage]] = []
        self.size = len(self._back) + len(self._out) + len(self._tail)
        for chunk in self._chunks:
            living = [message for message in chunk if message.state == READY]
            if living:
                untrack(living)
                chunks.append(living)
                self.size += len(living)
        self._chunks = chunks


@final
class Ready:
    """All messages of a queue that may be delivered."""

    __slots__ = ("_lines", "_top", "bytes", "count")

    def __init__(self) -> None:
        self._lines: list[Line | None] = []  # by priority, as far as any was used
        self._top: i64 = -1  # no higher priority has a message
        self.count: i64 = 0
        self.bytes: i64 = 0  # the size of their bodies, in memory or not

    def add(self, message: QueueMessage) -> None:
        """Puts a message into its place by priority and id."""
        priority = i64(message.priority)
        lines = self._lines
        while len(lines) <= priority:
            lines.append(None)
        line = lines[priority]
        if line is None:
            line = Line()
            lines[priority] = line
        message.state = READY
        line.add(message)
        self.count += 1
        self.bytes += message.size
        if priority > self._top:
            self._top = priority

    def take(self) -> QueueMessage | None:
        """The next message to deliver, taken out."""
        while self._top >= 0:
            line = self._lines[self._top]
            if line is not None:
                message = line.take()
                if message is not None:
                    self.count -= 1
                    self.bytes -= message.size
                    return message
            self._top -= 1
        return None

    def last(self) -> QueueMessage | None:
        """The oldest message of the lowest priority, which stays: the first to go when there is no room."""
        for line in self._lines:
            if line is not None:
                message = line.first()
                if message is not None:
                    return message
        return None

    def ahead(self, count: i64) -> list[QueueMessage]:
        """Some of the messages that come next, for whoever prepares them; they stay."""
        while self._top >= 0:
            line = self._lines[self._top]
            if line is not None and line.first() is not None:
                return line.ahead(count)
            self._top -= 1
        return []

    def removed(self, message: QueueMessage) -> None:
        """Told that a message which was READY is gone by another way than `take`."""
        self.count -= 1
        self.bytes -= message.size
        line = self._lines[i64(message.priority)]
        if line is not None and line.size > 2 * self.count + _SLACK:
            line.tidy()

    def free(self, budget: i64) -> i64:
        """Lets go of about so many messages; gives what is left of the budget."""
        while self._lines and budget > 0:
            line = self._lines[-1]
            if line is not None:
                budget = line.free(budget)
                if budget <= 0:
                    break
            self._lines.pop()
        return budget
