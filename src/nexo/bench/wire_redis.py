"""Queues and streams of Redis: a list pushed left and popped right, and XADD with XRANGE. RESP 2."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError
from nexo.bench.wires import (
    BATCH_MESSAGES,
    BATCHES_UNDER_WAY,
    READ_RECORDS,
    LineReplies,
    Reader,
    Replies,
    Wire,
)


def command(*parts: bytes) -> bytes:
    """A command as clients send it."""
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%s\r\n" % (len(part), part) for part in parts])


@final
class ListReader(Reader):
    """RPOP with a count, or BLMPOP where it has to wait. What was popped is gone: there is no acknowledgement."""

    def __init__(self, name: bytes, size: i64, waiting: bool) -> None:
        super().__init__()
        head = b"$%d\r\n" % int(size)
        self.body_at: i64 = len(head)
        self.message_bytes: i64 = len(head) + size + 2
        self.waiting = waiting
        self.prefix = b"*2\r\n$%d\r\n%s\r\n*" % (len(name), name) if waiting else b"*"
        count = b"%d" % BATCH_MESSAGES
        if waiting:
            self.ask = command(b"BLMPOP", b"10", b"1", name, b"RIGHT", b"COUNT", count)
        else:
            self.ask = command(b"RPOP", name, count)

    def first(self) -> bytes:
        return self.ask if self.waiting else self.ask * BATCHES_UNDER_WAY

    def feed(self, data: bytes) -> bytes:
        if self.rest:
            data = self.rest + data
        at: i64 = 0
        answers = 0
        start: i64 = len(self.prefix)
        while True:
            line_end: i64 = data.find(b"\r\n", at + start)
            if line_end < 0:
                break
            if not data.startswith(self.prefix, at):
                raise BenchError(f"unexpected reply {data[at : at + 200]!r}")
            count: i64 = int(data[at + start : line_end])
            if count <= 0:
                break  # empty by now: other readers have had the rest
            stop = line_end + 2 + count * self.message_bytes
            if stop > len(data):
                break
            if data[line_end + 2] != 36 or data[stop - 1] != 10:
                raise BenchError(f"unexpected message {data[at : at + 200]!r}")
            if self.latency is not None:
                for place in range(count):
                    self.stamp(data, line_end + 2 + place * self.message_bytes + self.body_at)
            self.done += count
            answers += 1
            at = stop
        self.rest = data[at:]
        return self.ask * answers


@final
class RangeReader(Reader):
    """XRANGE of a thousand entries after the last one; XREAD BLOCK where each is wanted at once."""

    def __init__(self, name: bytes, size: i64, waiting: bool) -> None:
        super().__init__()
        self.name = name
        self.value = b"\r\n$%d\r\n" % int(size)
        self.waiting = waiting
        self.last = b"0-0"
        self.size: i64 = size
        self.answer_bytes: i64 = 0

    def first(self) -> bytes:
        if self.waiting:
            return command(
                b"XREAD", b"COUNT", b"%d" % READ_RECORDS, b"BLOCK", b"10000", b"STREAMS", self.name, self.last
            )
        return command(b"XRANGE", self.name, b"(" + self.last, b"+", b"COUNT", b"%d" % READ_RECORDS)

    def feed(self, data: bytes) -> bytes:
        if self.rest:
            data = self.rest + data
        self.rest = data
        if data[0] != 42:
            raise BenchError(f"unexpected reply {data[:200]!r}")
        # *1 *2 $name *n before the entries of XREAD, *n before those of XRANGE.
        lines = 5 if self.waiting else 1
        at: i64 = 0
        for _ in range(lines):
            at = data.find(b"\r\n", at) + 2
            if at < 2:
                return b""
        start: i64 = data.rfind(b"*", 0, at) + 1
        expected: i64 = int(data[start : at - 2])
        if expected <= 0:
            self.rest = b""
            return self.first() if self.waiting else b""
        # The whole answer has come when the last entry's value has.
        if data.count(self.value, at) < expected:
            return b""
        last: i64 = data.rfind(self.value)
        stop = last + len(self.value) + self.size + 2
        if len(data) < stop:
            return b""
        if len(data) > stop or data.count(self.value, at) != expected:
            raise BenchError("XRANGE gave more than it says")
        if self.latency is not None:
            place = at
            for _ in range(expected):
                place = data.find(self.value, place) + len(self.value)
                self.stamp(data, place)
        # *2 $n id *2 $1 v $size body: the id is two lines above the field's array.
        entry: i64 = data.rfind(b"\r\n*2\r\n$1\r\n", 0, last)
        self.last = data[data.rfind(b"\r\n", 0, entry) + 2 : entry]
        self.done += expected
        self.rest = b""
        return self.first()


@final
class RedisWire(Wire):
    """LPUSH, RPOP, XADD, XRANGE."""

    name = "redis"
    failure = b"-ERR"

    def create(self, stream: bool) -> list[tuple[bytes, bytes]]:
        return self.delete(stream)

    def delete(self, stream: bool) -> list[tuple[bytes, bytes]]:
        return [(command(b"DEL", self.topic), b"\r\n")]

    def write(self, stream: bool, body: bytes, number: i64, place: i64) -> bytes:
        if stream:
            return command(b"XADD", self.topic, b"*", b"v", body)
        return command(b"LPUSH", self.topic, body)

    def replies(self, stream: bool) -> Replies:
        return LineReplies(b"$1" if stream else b":", b"$" if stream else b":")

    def reader(self, stream: bool, waiting: bool, place: i64) -> Reader:
        if stream:
            return RangeReader(self.topic, self.size, waiting)
        return ListReader(self.topic, self.size, waiting)
