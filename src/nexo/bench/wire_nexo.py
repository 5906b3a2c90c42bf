"""Queues and streams of Nexo in its native protocol; layouts: docs/protocol.md."""

from __future__ import annotations

import json
import struct
from typing import Final, final

from librt.strings import read_i32_be
from mypy_extensions import i64

from nexo.bench.dialects import RAW, BenchError
from nexo.bench.wires import (
    BATCH_MESSAGES,
    BATCHES_UNDER_WAY,
    READ_RECORDS,
    Reader,
    Replies,
    Wire,
)
from nexo.protocols.native import opcodes as op

WAIT_MS: Final = 10_000
RECEIVE_NUMBER: Final = 1
SETTLE_NUMBER: Final = 2
LEASE_BYTES: Final = 24  # id and token


def frame(code: int, number: int, payload: bytes) -> bytes:
    """A request."""
    return struct.pack(">BBBII", op.VERSION, op.REQUEST, code, number, len(payload)) + payload


def string(text: bytes) -> bytes:
    """A `string` element."""
    return struct.pack(">I", len(text)) + text


@final
class NexoReplies(Replies):
    """Response frames of one size and status."""

    def __init__(self, status: i64, size: i64) -> None:
        super().__init__()
        self.status: i64 = status
        self.size: i64 = size

    def count(self, data: bytes) -> i64:
        """Every frame's status and length are looked at."""
        if self.rest:
            data = self.rest + data
        size = self.size
        at: i64 = 0
        count: i64 = 0
        end: i64 = len(data)
        while end - at >= op.HEADER_BYTES:
            if data[at + 2] != self.status or i64(read_i32_be(data, at + 7)) != size - op.HEADER_BYTES:
                raise BenchError(f"unexpected reply {data[at : at + 200]!r}")
            if end - at < size:
                break
            at += size
            count += 1
        self.rest = data[at:]
        return count


@final
class QueueReader(Reader):
    """RECEIVE in batches; what came is settled in one SETTLE, sent with the next RECEIVE."""

    def __init__(self, name: bytes, size: i64, requests: i64) -> None:
        super().__init__()
        self.message_bytes: i64 = LEASE_BYTES + 4 + 1 + size
        self.requests: i64 = requests
        self.taken: list[i64] = []
        self.ask = frame(
            op.QUEUE_CONSUME, RECEIVE_NUMBER, string(name) + struct.pack(">II", BATCH_MESSAGES, WAIT_MS)
        )
        self.settle_start = string(name) + b"\x00"  # ack

    def first(self) -> bytes:
        """So many batches at once."""
        return self.ask * int(self.requests)

    def feed(self, data: bytes) -> bytes:
        """Deliveries are settled; a settlement that refuses one ends the run."""
        if self.rest:
            data = self.rest + data
        out: list[bytes] = []
        at: i64 = 0
        end: i64 = len(data)
        while end - at >= op.HEADER_BYTES:
            stop: i64 = at + op.HEADER_BYTES + i64(read_i32_be(data, at + 7))
            if data[at + 2] != op.DATA:
                raise BenchError(f"unexpected reply {data[at : at + 200]!r}")
            if stop > end:
                break
            count: i64 = i64(read_i32_be(data, at + op.HEADER_BYTES))
            if data[at + 6] == RECEIVE_NUMBER:
                if stop - at != op.HEADER_BYTES + 4 + count * self.message_bytes:
                    raise BenchError("deliveries of another size than was pushed")
                if count > 0:
                    out.append(self.settle(data, at + op.HEADER_BYTES + 4, count))
                out.append(self.ask)
            elif count != 0:
                raise BenchError(f"{count} acknowledgements were refused")
            else:
                self.done += self.taken.pop(0)
            at = stop
        self.rest = data[at:]
        return b"".join(out)

    def settle(self, data: bytes, start: i64, count: i64) -> bytes:
        """Acknowledge the deliveries that begin there."""
        self.taken.append(count)
        parts = [self.settle_start, struct.pack(">I", int(count))]
        at = start
        timed = self.latency is not None
        for _ in range(count):
            parts.append(data[at : at + LEASE_BYTES])
            if timed:
                self.stamp(data, at + LEASE_BYTES + 5)
            at += self.message_bytes
        return frame(op.QUEUE_SETTLE, SETTLE_NUMBER, b"".join(parts))


@final
class StreamReader(Reader):
    """READ from the beginning on; sequences have no gaps, so the next batches are asked for in advance."""

    def __init__(self, name: bytes, size: i64, waiting: bool) -> None:
        super().__init__()
        self.name = name
        self.record_bytes: i64 = 8 + 2 + 4 + 1 + size + 4
        self.next_seq: i64 = 1
        self.ahead: i64 = 1
        self.waiting = waiting

    def ask(self) -> bytes:
        """One READ behind those that are under way."""
        seq = self.ahead
        self.ahead += READ_RECORDS
        return self.ask_at(seq)

    def ask_at(self, seq: i64) -> bytes:
        payload = bytes([op.STREAMX_READ]) + string(self.name)
        payload += struct.pack(">BQIII", op.SEEK_SEQUENCE, int(seq), READ_RECORDS, 0, WAIT_MS)
        return frame(op.STREAM_EXTENDED, 1, payload)

    def first(self) -> bytes:
        """Two batches; one where each record is wanted as soon as it is there."""
        return self.ask() if self.waiting else self.ask() + self.ask()

    def feed(self, data: bytes) -> bytes:
        """Count the records of every run."""
        if self.rest:
            data = self.rest + data
        out: list[bytes] = []
        at: i64 = 0
        end: i64 = len(data)
        while end - at >= op.HEADER_BYTES:
            stop: i64 = at + op.HEADER_BYTES + i64(read_i32_be(data, at + 7))
            if data[at + 2] != op.DATA:
                raise BenchError(f"unexpected reply {data[at : at + 200]!r}")
            if stop > end:
                break
            self.records(data, at + op.HEADER_BYTES, stop)
            # An answer may be shorter than was asked for: then the one under way begins too late.
            out.append(self.ask_at(self.next_seq) if self.waiting else self.ask())
            at = stop
        self.rest = data[at:]
        return b"".join(out)

    def records(self, data: bytes, start: i64, stop: i64) -> None:
        runs: i64 = i64(read_i32_be(data, start + 24))
        at = start + 28
        for _ in range(runs):
            seq: i64 = (i64(read_i32_be(data, at)) << 32) | (i64(read_i32_be(data, at + 4)) & 0xFFFFFFFF)
            count: i64 = i64(read_i32_be(data, at + 8))
            size: i64 = i64(read_i32_be(data, at + 12))
            if seq != self.next_seq or size != count * self.record_bytes:
                raise BenchError(f"records from {seq}, {size} bytes: expected {self.next_seq}")
            at += 16
            if self.latency is not None:
                for place in range(count):
                    self.stamp(data, at + place * self.record_bytes + 8 + 2 + 4 + 1)
            at += size
            self.next_seq += count
            self.done += count
        if at != stop:
            raise BenchError("the answer of a READ does not end where its runs do")


@final
class NexoWire(Wire):
    """PUSH, one message a request, and RECEIVE with SETTLE; stream PUB and READ. Values are RAW."""

    name = "nexo"

    def answered(self, answer: bytes, wanted: bytes) -> bool:
        """One whole frame; `wanted` is empty where an error will do."""
        if len(answer) < op.HEADER_BYTES or len(answer) < op.HEADER_BYTES + read_i32_be(answer, 7):
            return False
        if answer[2] == op.ERR and wanted:
            raise BenchError(f"nexo answered {answer[op.HEADER_BYTES :][:300]!r}")
        return True

    def create(self, stream: bool) -> list[tuple[bytes, bytes]]:
        """With the durability asked for."""
        options = string(self.topic) + b"\x04" + json.dumps({"durability": self.durability}).encode()
        return [
            (self.delete(stream)[0][0], b""),
            (frame(op.STREAM_CREATE if stream else op.QUEUE_CREATE, 9, options), b"DATA"),
        ]

    def delete(self, stream: bool) -> list[tuple[bytes, bytes]]:
        return [(frame(op.STREAM_DELETE if stream else op.QUEUE_DELETE, 9, string(self.topic)), b"OK")]

    def write(self, stream: bool, body: bytes, number: i64, place: i64) -> bytes:
        value = string(RAW + body)
        if stream:
            return frame(
                op.STREAM_PUB, int(number), string(self.topic) + b"\x00\x00\x00\x01" + b"\x00\x00" + value
            )
        return frame(op.QUEUE_PUSH, int(number), string(self.topic) + b"\x00\x00\x00\x01" + b"\x00" + value)

    def replies(self, stream: bool) -> Replies:
        return NexoReplies(op.DATA, op.HEADER_BYTES + 12) if stream else NexoReplies(op.OK, op.HEADER_BYTES)

    def reader(self, stream: bool, waiting: bool, place: i64) -> Reader:
        if stream:
            return StreamReader(self.topic, self.size, waiting)
        return QueueReader(self.topic, self.size, 1 if waiting else BATCHES_UNDER_WAY)
