"""Retained values: the last value of a topic, kept for those who subscribe later.

Owns the values, their expiry, their account in bytes, and what the journal is told of them. It does not know
who subscribes. A value that is due is never handed out, even before `expire` has removed it. An empty value is a
value: only `clear` and the expiry take one away.

    kind              body; integers are big-endian, what has no length goes on to the end
    0x20 RETAIN       u32 length of the topic, topic, i64 expires at (ms, 0 = never), u32 length of the headers,
                      headers, value
    0x21 FORGET       topic
    0x22 FORGET_ALL   -

That one has expired follows from TIME (maps.py).

What a batch across brokers retains or clears is recorded with the rest of the batch and done when that is durable:
`announce`, then `fulfil` or `retract`. If others have changed the topic in between, what was announced is recorded once
more as it is done, so that the log says at last what memory holds.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from librt.strings import read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, mypyc_attr

from nexo.brokers.journal import FLUSH, MEMORY, Journal
from nexo.brokers.message import Message
from nexo.brokers.topics import TopicTree, is_pattern
from nexo.errors import LimitExceededError, StorageError
from nexo.limits import RETAINED_BYTES_DEFAULT, RETAINED_DEFAULT

RETAIN: Final = 0x20
FORGET: Final = 0x21
FORGET_ALL: Final = 0x22

_SLACK: Final = 64  # stale deadlines that are not worth tidying


@final
@mypyc_attr(acyclic=True)
class RetainedValue:
    """One topic's value; `expires_at` is node time in ms, 0 for never."""

    __slots__ = ("expires_at", "message", "number")

    def __init__(self, message: Message, expires_at: i64, number: i64) -> None:
        self.message = message
        self.expires_at = expires_at
        self.number = number


@final
@mypyc_attr(acyclic=True)
class _Announced:
    """What batches across brokers are about to do to a topic: how many of them, and the last record about it."""

    __slots__ = ("record", "waiting")

    def __init__(self) -> None:
        self.waiting: i64 = 0
        self.record: i64 = 0


@final
class Retained:
    """All retained values. `bytes` counts topics, values and headers; `level` is how durable they are.

    `expired`: some have since this was last set back. `lost` are topics whose latest change could not be stored.
    """

    __slots__ = (
        "_announced", "_deadlines", "_journal", "_last", "_records", "_topics", "_values", "bytes", "bytes_max",
        "count_max", "expired", "level",
        "lost",
    )  # fmt: skip

    def __init__(self, journal: Journal, level: i64) -> None:
        self.level = level
        self.expired = False
        self.lost: dict[bytes, None] = {}
        self._journal = journal
        self._values: dict[bytes, RetainedValue] = {}
        self._topics = TopicTree()
        self._deadlines: list[tuple[int, bytes]] = []  # a heap of (expires_at, topic), some of them stale
        self._announced: dict[bytes, _Announced] = {}
        self._last: i64 = 0
        self._records: i64 = 0
        self.bytes: i64 = 0
        self.count_max: i64 = RETAINED_DEFAULT
        self.bytes_max: i64 = RETAINED_BYTES_DEFAULT

    def __len__(self) -> int:
        return len(self._values)

    def check(self, topic: bytes, size: i64) -> None:
        """Before a `put` of so many bytes of value and headers. LimitExceededError when it would be too much."""
        old = self._values.get(topic)
        if old is None and len(self._values) >= self.count_max:
            raise LimitExceededError(f"retained_max is {self.count_max}")
        freed: i64 = _size(old.message) if old is not None else 0
        if self.bytes + len(topic) + size - freed > self.bytes_max:
            raise LimitExceededError(
                f"{len(topic) + size} bytes more: retained_bytes_max is {self.bytes_max}, {self.bytes} are taken"
            )

    def put(self, topic: bytes, value: bytes, headers: bytes, expires_at: i64) -> None:
        """Replaces what the topic held; `expires_at` is node time in ms, 0 for never."""
        message = Message(topic, value, headers, 0)
        self._hold(message, expires_at)
        if self.keeping():
            self._record(self._journal, message, expires_at)

    def _hold(self, message: Message, expires_at: i64) -> None:
        topic = message.topic
        old = self._values.get(topic)
        if old is None:
            self._topics.insert(topic)
        else:
            self.bytes -= _size(old.message)
        self._last += 1
        self._values[topic] = RetainedValue(message, expires_at, self._last)
        self.bytes += _size(message)
        if expires_at != 0:
            heappush(self._deadlines, (int(expires_at), topic))
            self._tidy()

    def clear(self, topic: bytes) -> bool:
        """Takes the topic's value away; False if there was none."""
        found = self._take(topic)
        if found and self.keeping():
            self._record_forget(topic)
        return found

    def _take(self, topic: bytes) -> bool:
        old = self._values.pop(topic, None)
        if old is None:
            return False
        self._topics.remove(topic)
        self.bytes -= _size(old.message)
        self._tidy()
        return True

    def expires_at(self, topic: bytes) -> i64:
        """When a topic's value expires, 0 = never; there must be one."""
        return self._values[topic].expires_at

    def match(self, filter: bytes, now: i64) -> list[Message]:
        """The values whose topics a filter matches, in the order in which they were published."""
        topics = self._topics.match(filter) if is_pattern(filter) else [filter]
        found: list[tuple[int, Message]] = []
        for topic in topics:
            value = self._values.get(topic)
            if value is not None and (value.expires_at == 0 or value.expires_at > now):
                found.append((int(value.number), value.message))
        found.sort()  # the numbers differ: messages are never compared
        return [message for _, message in found]

    def topics(self) -> list[bytes]:
        """The topics that hold a value, in no particular order; some of them may be due."""
        return list(self._values)

    def get(self, topic: bytes, now: i64) -> RetainedValue | None:
        """What one topic holds."""
        value = self._values.get(topic)
        if value is None or (value.expires_at != 0 and value.expires_at <= now):
            return None
        return value

    def expire(self, now: i64, budget: i64) -> i64:
        """Removes values that are due, looking at no more than `budget` deadlines.

        Gives the time of the next deadline: 0 when none has one, at or before `now` when more are due.
        """
        looked: i64 = 0
        while self._deadlines:
            deadline, topic = self._deadlines[0]
            value = self._values.get(topic)
            stale = value is None or value.expires_at != deadline
            if looked >= budget or (deadline > now and not stale):
                return deadline
            looked += 1
            heappop(self._deadlines)
            if not stale:
                self._take(topic)
                if topic in self.lost:
                    self._record_forget(topic)  # the log has another value, with another TTL
                else:
                    self.expired = self.keeping()
        return 0

    def _tidy(self) -> None:
        """Deadlines of values that were replaced must not pile up."""
        if len(self._deadlines) <= 2 * len(self._values) + _SLACK:
            return
        living: list[tuple[int, bytes]] = []
        for topic, value in self._values.items():
            if value.expires_at != 0:
                living.append((int(value.expires_at), topic))
        heapify(living)
        self._deadlines = living

    # Batches across brokers.

    def announce(self, message: Message, clear: bool, expires_at: i64) -> i64:
        """Records what a batch will do: retain a message, or clear its topic. Gives what `fulfil` takes."""
        if not self.keeping():
            return 0
        announced = self._announced.get(message.topic)
        if announced is None:
            announced = _Announced()
            self._announced[message.topic] = announced
        announced.waiting += 1
        self._record_either(message, clear, expires_at)
        return announced.record

    def fulfil(self, record: i64, message: Message, clear: bool, expires_at: i64) -> None:
        """The batch is durable: does what was announced."""
        topic = message.topic
        if clear:
            self._take(topic)
        else:
            self._hold(message, expires_at)
        if record == 0:
            return
        # What the next batch announced comes after this one, in the log as in memory.
        last = self._unannounce(topic)
        if last not in (0, record) and topic not in self.lost:
            self._record_either(message, clear, expires_at)

    def retract(self, record: i64, topic: bytes) -> None:
        """The batch never was."""
        if record != 0:
            self._unannounce(topic)

    def _unannounce(self, topic: bytes) -> i64:
        """One fewer is announced. The last record about the topic; 0 while more is."""
        announced = self._announced[topic]
        announced.waiting -= 1
        if announced.waiting > 0:
            return 0
        del self._announced[topic]
        return announced.record

    def _record_either(self, message: Message, clear: bool, expires_at: i64) -> None:
        if clear:
            self._record_forget(message.topic)
        else:
            self._record(self._journal, message, expires_at)

    def _note(self, topic: bytes) -> None:
        """Something has been recorded about a topic."""
        announced = self._announced.get(topic)
        if announced is not None:
            self._records += 1
            announced.record = self._records

    # The journal.

    def keeping(self) -> bool:
        """Whether values are recorded now."""
        return self.level != MEMORY and self._journal.keeping

    def _record(self, journal: Journal, message: Message, expires_at: i64) -> None:
        out = journal.begin(RETAIN, self.level)
        write_i32_be(out, i32(len(message.topic)))
        out.write(message.topic)
        write_i64_be(out, expires_at)
        write_i32_be(out, i32(len(message.headers)))
        out.write(message.headers)
        out.write(message.value)
        journal.end()
        if self._announced:
            self._note(message.topic)

    def _record_forget(self, topic: bytes) -> None:
        self._journal.begin(FORGET, self.level).write(topic)
        self._journal.end()
        if self._announced:
            self._note(topic)

    def lose(self, topic: bytes) -> None:
        """A change could not be stored: it is recorded when there is room, or that it is gone at once."""
        if topic in self._values:
            self.lost[topic] = None
        else:
            self._record_forget(topic)

    def record_lost(self) -> None:
        """There is room again: what the topics hold whose latest change could not be stored."""
        lost, self.lost = self.lost, {}
        for topic in lost:
            value = self._values.get(topic)
            if value is None:
                self._record_forget(topic)
            else:
                self._record(self._journal, value.message, value.expires_at)

    def apply(self, kind: i64, data: bytes, start: i64, end: i64) -> None:
        """Does one recorded operation again; its body is data[start:end]. StorageError when it makes no sense."""
        if kind == RETAIN:
            place = topic_end(data, start, end)
            if place + 12 > end:
                raise StorageError("a retained message in the log ends early")
            value_at = place + 12 + i64(read_i32_be(data, place + 8))
            if not place + 12 <= value_at <= end:
                raise StorageError("a retained message in the log ends early")
            headers = data[place + 12 : value_at]
            self.put(data[start + 4 : place], data[value_at:end], headers, read_i64_be(data, place))
        elif kind == FORGET:
            self._take(data[start:end])
        elif kind == FORGET_ALL:
            for topic in list(self._values):
                self._take(topic)

    def recovered(self) -> None:
        """Everything recorded has been done again. What a lower level does not keep any more is gone."""
        if self.level == MEMORY and self._values and self._journal.keeping:
            for topic in list(self._values):
                self._take(topic)
            self._journal.begin(FORGET_ALL, FLUSH)
            self._journal.end()

    def dump(self, out: Journal) -> None:
        """Writes what there is, in the order in which it was published."""
        values = [(int(value.number), topic) for topic, value in self._values.items()]
        values.sort()
        for _, topic in values:
            value = self._values[topic]
            self._record(out, value.message, value.expires_at)


def topic_end(data: bytes, start: i64, end: i64) -> i64:
    """Where the topic of a RETAIN ends, whose body is data[start:end]."""
    place = start + 4 + i64(read_i32_be(data, start)) if start + 4 <= end else end + 1
    if not start + 4 <= place <= end:
        raise StorageError("a retained message in the log ends early")
    return place


def _size(message: Message) -> i64:
    return len(message.topic) + len(message.value) + len(message.headers)
