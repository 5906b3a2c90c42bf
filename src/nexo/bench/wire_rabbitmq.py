"""Queues of RabbitMQ in AMQP 0-9-1: a durable queue, persistent messages, publisher confirms, basic.ack.

Only the frames of this load, written by hand: a client library would be slower than the server. All frames of
a delivery have fixed lengths here, since names and bodies have.
"""

from __future__ import annotations

import struct
from typing import Final, final

from librt.strings import read_i32_be
from mypy_extensions import i64

from nexo.bench.dialects import BenchError
from nexo.bench.wires import BATCH_MESSAGES, BATCHES_UNDER_WAY, Reader, Replies, Wire

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
END: Final = 0xCE
FRAME_EXTRA: Final = 8  # type, channel, size, end
BASIC: Final = 60
CONFIRM_BYTES: Final = FRAME_EXTRA + 13
TAG: Final = b"c"
PERSISTENT: Final = struct.pack(">HB", 0x1000, 2)
HANDSHAKE: Final = b"AMQP\x00\x00\x09\x01"
CHANNEL_MAX: Final = 64
FRAME_MAX: Final = 131_072


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, group: int, number: int, arguments: bytes) -> bytes:
    """A method frame."""
    return frame(METHOD, channel, struct.pack(">HH", group, number) + arguments)


def short(text: bytes) -> bytes:
    """A short string."""
    return bytes([len(text)]) + text


def long(text: bytes) -> bytes:
    """A long string."""
    return struct.pack(">I", len(text)) + text


def named(group: int, number: int) -> bytes:
    """The first bytes of a method's payload."""
    return struct.pack(">HH", group, number)


@final
class ConfirmReplies(Replies):
    """basic.ack of the server: of one message, or of all up to it."""

    def __init__(self) -> None:
        super().__init__()
        self.floor: i64 = 0
        self.above: set[int] = set()

    def count(self, data: bytes) -> i64:
        """basic.nack, or a channel that is closed, ends the run."""
        if self.rest:
            data = self.rest + data
        at: i64 = 0
        before: i64 = self.floor + len(self.above)
        end: i64 = len(data)
        while end - at >= CONFIRM_BYTES:
            if data[at] != METHOD or data[at + 8] != BASIC or data[at + 10] != 80:
                raise BenchError(f"unexpected frame {data[at : at + 200]!r}")
            tag: i64 = i64(read_i32_be(data, at + 15))
            if data[at + 19] & 1:
                if tag > self.floor:
                    self.floor = tag
                    self.above = {other for other in self.above if other > tag}
            else:
                self.above.add(tag)
            while self.above and self.floor + 1 in self.above:
                self.floor += 1
                self.above.discard(self.floor)
            at += CONFIRM_BYTES
        self.rest = data[at:]
        return self.floor + len(self.above) - before


@final
class ConsumeReader(Reader):
    """basic.consume; one basic.ack for all that one read has delivered. It is not confirmed."""

    def __init__(self, name: bytes, size: i64) -> None:
        super().__init__()
        self.name = name
        deliver = 4 + len(short(TAG)) + 8 + 1 + len(short(b"")) + len(short(name))
        header = 4 + 8 + len(PERSISTENT)
        self.tag_at: i64 = 7 + 4 + len(short(TAG))
        self.body_at: i64 = deliver + header + 2 * FRAME_EXTRA + 7
        self.message_bytes: i64 = deliver + header + 3 * FRAME_EXTRA + size
        self.size: i64 = size

    def first(self) -> bytes:
        consume = struct.pack(">H", 0) + short(self.name) + short(TAG) + b"\x08" + struct.pack(">I", 0)
        return method(1, BASIC, 20, consume)  # no-wait: nothing comes back but deliveries

    def feed(self, data: bytes) -> bytes:
        if self.rest:
            data = self.rest + data
        at: i64 = 0
        end: i64 = len(data)
        size = self.message_bytes
        tag: i64 = 0
        while end - at >= 11:
            if data[at] != METHOD or data[at + 8] != BASIC or data[at + 10] != 60:
                raise BenchError(f"unexpected frame {data[at : at + 200]!r}")
            if end - at < size:
                break
            if data[at + size - 1] != END or i64(read_i32_be(data, at + self.body_at - 4)) != self.size:
                raise BenchError(f"unexpected message {data[at : at + 200]!r}")
            tag = i64(read_i32_be(data, at + self.tag_at + 4))
            self.stamp(data, at + self.body_at)
            self.done += 1
            at += size
        self.rest = data[at:]
        return method(1, BASIC, 80, struct.pack(">QB", int(tag), 1)) if tag > 0 else b""


@final
class RabbitmqWire(Wire):
    """The classic durable queue, as the user `guest`, whom RabbitMQ lets in from the same machine."""

    name = "rabbitmq"
    has_stream = False

    def answered(self, answer: bytes, wanted: bytes) -> bool:
        """A closed connection or channel is an error."""
        for number in (named(10, 50), named(20, 40)):
            if answer[7:11] == number and answer[-1] == END:
                raise BenchError(f"rabbitmq answered {answer[:300]!r}")
        return wanted in answer and answer[-1] == END

    def greeting(self) -> list[tuple[bytes, bytes]]:
        start = struct.pack(">I", 0) + short(b"PLAIN") + long(b"\x00guest\x00guest") + short(b"en_US")
        tune = struct.pack(">HIH", CHANNEL_MAX, FRAME_MAX, 0)
        return [
            (HANDSHAKE, named(10, 10)),
            (method(0, 10, 11, start), named(10, 30)),
            (
                method(0, 10, 31, tune) + method(0, 10, 40, short(b"/") + short(b"") + b"\x00"),
                named(10, 41),
            ),
            (method(1, 20, 10, short(b"")), named(20, 11)),
        ]

    def create(self, stream: bool) -> list[tuple[bytes, bytes]]:
        declare = struct.pack(">H", 0) + short(self.topic) + b"\x02" + struct.pack(">I", 0)
        return [*self.delete(stream), (method(1, 50, 10, declare), named(50, 11))]

    def delete(self, stream: bool) -> list[tuple[bytes, bytes]]:
        return [(method(1, 50, 40, struct.pack(">H", 0) + short(self.topic) + b"\x00"), named(50, 41))]

    def writing(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        return [(method(1, 85, 10, b"\x00"), named(85, 11))]

    def reading(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        window = struct.pack(">IHB", 0, BATCH_MESSAGES * BATCHES_UNDER_WAY, 0)
        return [(method(1, BASIC, 10, window), named(BASIC, 11))]

    def write(self, stream: bool, body: bytes, number: i64, place: i64) -> bytes:
        publish = struct.pack(">H", 0) + short(b"") + short(self.topic) + b"\x00"
        header = struct.pack(">HHQ", BASIC, 0, len(body)) + PERSISTENT
        return method(1, BASIC, 40, publish) + frame(HEADER, 1, header) + frame(BODY, 1, body)

    def replies(self, stream: bool) -> Replies:
        return ConfirmReplies()

    def reader(self, stream: bool, waiting: bool, place: i64) -> Reader:
        return ConsumeReader(self.topic, self.size)
