"""What a load on queues and streams needs of a server's language: bytes to send, and how to read what comes.

As dialects.py: no socket is opened here, no time kept, nothing counted but messages. One file a server beside
this one (wire_*.py); `wire` finds it by name.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError
from nexo.bench.histogram import Histogram

NAMES: Final = ("nexo", "redis", "nats", "beanstalkd", "rabbitmq")
STAMP_BYTES: Final = 20
"""A message of a latency load begins with the time at which it was due: so many decimal digits."""
BATCH_MESSAGES: Final = 100
"""Messages that a reader of a queue asks for at once."""
BATCHES_UNDER_WAY: Final = 4
"""How many such requests it has with the server, where the protocol lets a client have more than one."""
READ_RECORDS: Final = 1_000
"""Records that a reader of a stream asks for at once."""


class Replies:
    """Counts the confirmations that come to one writer; the end of a read may be the middle of one."""

    def __init__(self) -> None:
        self.rest = b""
        self.owed = b""
        """What the server wants to hear from the client; whoever sends it empties it."""

    def count(self, data: bytes) -> i64:
        """How many writes these bytes confirm. BenchError for anything else than a confirmation."""
        raise NotImplementedError


class Reader:
    """One connection that takes messages, a queue's with acknowledgement.

    `done` messages have come and, where the protocol confirms that, their acknowledgements too.
    """

    def __init__(self) -> None:
        self.rest = b""
        self.done: i64 = 0
        self.now: i64 = 0
        self.latency: Histogram | None = None

    def first(self) -> bytes:
        """What it asks for at the beginning."""
        raise NotImplementedError

    def feed(self, data: bytes) -> bytes:
        """Take what has come; what to send for it. BenchError for an error or for what was not asked for."""
        raise NotImplementedError

    def stamp(self, data: bytes, at: i64) -> None:
        """Count the time of a message of a latency load, whose body begins at `at`."""
        latency = self.latency
        if latency is not None:
            latency.add(self.now - int(data[at : at + STAMP_BYTES]))


class Wire:
    """One server's way to keep messages. Names a queue or a stream, says how it is made, filled and read.

    Setting up is a list of exchanges: what to send, and the bytes that are in a complete answer.
    """

    name = ""
    has_queue = True
    has_stream = True
    failure = b""
    """What is in an answer that is an error."""

    def __init__(self, topic: bytes, size: i64, durability: str) -> None:
        self.topic = topic
        self.size: i64 = size
        self.durability = durability

    def answered(self, answer: bytes, wanted: bytes) -> bool:
        """Whether an answer is complete. BenchError when it is an error."""
        if self.failure and self.failure in answer:
            raise BenchError(f"{self.name} answered {answer[:300]!r}")
        return wanted in answer

    def greeting(self) -> list[tuple[bytes, bytes]]:
        """The exchanges of a new connection."""
        return []

    def create(self, stream: bool) -> list[tuple[bytes, bytes]]:
        """Make the queue or stream, empty."""
        return []

    def delete(self, stream: bool) -> list[tuple[bytes, bytes]]:
        """Delete it with what is in it."""
        return []

    def writing(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        """What a connection says before it writes; `place` tells those of a load apart."""
        return []

    def reading(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        """What a connection says before it reads."""
        return []

    def write(self, stream: bool, body: bytes, number: i64, place: i64) -> bytes:
        """Write one message, to be confirmed; all of one size of body have one length."""
        raise NotImplementedError

    def replies(self, stream: bool) -> Replies:
        """For one connection that writes."""
        raise NotImplementedError

    def reader(self, stream: bool, waiting: bool, place: i64) -> Reader:
        """For one connection that reads; `waiting`: it wants each message as soon as it is there."""
        raise NotImplementedError


class LineReplies(Replies):
    """A fixed number of lines for each write, each with its first byte; `bad` must not begin one."""

    def __init__(self, marks: bytes, ok: bytes) -> None:
        super().__init__()
        self.marks = marks
        self.ok = ok

    def count(self, data: bytes) -> i64:
        """Whole lines, of which as many as there are writes must begin as a confirmation does."""
        if self.rest:
            data = self.rest + data
        lines: i64 = len(self.marks)
        ends: i64 = data.count(b"\r\n")
        end: i64 = data.rfind(b"\r\n") + 2 if ends > 0 else 0
        while ends % lines != 0:
            end = data.rfind(b"\r\n", 0, end - 2) + 2 if ends > 1 else 0
            ends -= 1
        whole = data[:end]
        self.rest = data[end:]
        found: i64 = whole.count(self.ok)
        if found * lines != ends or (end > 0 and whole[0] != self.ok[0]):
            raise BenchError(f"unexpected reply {whole[:200]!r}")
        return found
