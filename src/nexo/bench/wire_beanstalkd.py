"""Queues of beanstalkd: put, reserve, delete. It has no streams."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError
from nexo.bench.wires import BATCH_MESSAGES, BATCHES_UNDER_WAY, LineReplies, Reader, Replies, Wire

RESERVED: Final = b"RESERVED "
DELETED: Final = b"DELETED\r\n"
TIMED_OUT: Final = b"TIMED_OUT\r\n"


@final
class TubeReader(Reader):
    """Many reservations under way; each job that comes is deleted, and its deletion is confirmed.

    A `reserve` that waits holds up the commands behind it, deletions too: so only one is sent where the reader
    waits, and else none that would.
    """

    def __init__(self, size: i64, requests: i64, waiting: bool) -> None:
        super().__init__()
        self.size: i64 = size
        self.requests: i64 = requests
        self.waiting = waiting
        self.ask = b"reserve\r\n" if waiting else b"reserve-with-timeout 0\r\n"

    def first(self) -> bytes:
        return self.ask * int(self.requests)

    def feed(self, data: bytes) -> bytes:
        if self.rest:
            data = self.rest + data
        out: list[bytes] = []
        at: i64 = 0
        end: i64 = len(data)
        while True:
            line_end: i64 = data.find(b"\r\n", at)
            if line_end < 0:
                break
            if data.startswith(DELETED, at):
                self.done += 1
                at = line_end + 2
                continue
            if not self.waiting and data.startswith(TIMED_OUT, at):
                at = line_end + 2
                continue
            if not data.startswith(RESERVED, at):
                raise BenchError(f"unexpected reply {data[at : at + 200]!r}")
            stop = line_end + 2 + self.size + 2
            if stop > end:
                break
            id, _, size = data[at + len(RESERVED) : line_end].partition(b" ")
            if int(size) != self.size:
                raise BenchError(f"a job of {size!r} bytes")
            self.stamp(data, line_end + 2)
            out.append(b"delete %s\r\n%s" % (id, self.ask))
            at = stop
        self.rest = data[at:]
        return b"".join(out)


@final
class BeanstalkdWire(Wire):
    """The tube's name is the queue's. A tube cannot be emptied at once: it is drained, or left."""

    name = "beanstalkd"
    has_stream = False

    def writing(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        return [(b"use %s\r\n" % self.topic, b"USING %s\r\n" % self.topic)]

    def reading(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        return [
            (b"watch %s\r\n" % self.topic, b"WATCHING 2\r\n"),
            (b"ignore default\r\n", b"WATCHING 1\r\n"),
        ]

    def write(self, stream: bool, body: bytes, number: i64, place: i64) -> bytes:
        return b"put 0 0 120 %d\r\n%s\r\n" % (len(body), body)

    def replies(self, stream: bool) -> Replies:
        return LineReplies(b"I", b"INSERTED ")

    def reader(self, stream: bool, waiting: bool, place: i64) -> Reader:
        return TubeReader(self.size, 1 if waiting else BATCH_MESSAGES * BATCHES_UNDER_WAY, waiting)
