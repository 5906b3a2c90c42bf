"""Retained values: the last value of a topic, kept for those who subscribe later.

Owns the values, their expiry and their account in bytes. It does not know who subscribes. A value that
is due is never handed out, even before `expire` has removed it. An empty value is a value: only `clear`
and the expiry take one away.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.message import Message
from nexo.brokers.topics import TopicTree, is_pattern

_SLACK: Final = 64  # stale deadlines that are not worth tidying


@final
@mypyc_attr(acyclic=True)
class _Value:
    __slots__ = ("expires_at", "message", "number")

    def __init__(self, message: Message, expires_at: i64, number: i64) -> None:
        self.message = message
        self.expires_at = expires_at
        self.number = number


@final
class Retained:
    """All retained values. `bytes` counts topics, values and headers."""

    __slots__ = ("_deadlines", "_last", "_topics", "_values", "bytes")

    def __init__(self) -> None:
        self._values: dict[bytes, _Value] = {}
        self._topics = TopicTree()
        self._deadlines: list[tuple[int, bytes]] = []  # a heap of (expires_at, topic), some of them stale
        self._last: i64 = 0
        self.bytes: i64 = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, topic: bytes, value: bytes, headers: bytes, expires_at: i64) -> None:
        """Replaces what the topic held; `expires_at` is node time in ms, 0 for never."""
        old = self._values.get(topic)
        if old is None:
            self._topics.insert(topic)
        else:
            self.bytes -= _size(old.message)
        self._last += 1
        message = Message(topic, value, headers, 0)
        self._values[topic] = _Value(message, expires_at, self._last)
        self.bytes += _size(message)
        if expires_at != 0:
            heappush(self._deadlines, (int(expires_at), topic))
            self._tidy()

    def clear(self, topic: bytes) -> bool:
        """Takes the topic's value away; False if there was none."""
        old = self._values.pop(topic, None)
        if old is None:
            return False
        self._topics.remove(topic)
        self.bytes -= _size(old.message)
        self._tidy()
        return True

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
                self.clear(topic)
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


def _size(message: Message) -> i64:
    return len(message.topic) + len(message.value) + len(message.headers)
