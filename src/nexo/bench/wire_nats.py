"""Queues and streams of NATS JetStream, on a stream in files.

A queue is a work-queue stream with a pull consumer that acknowledges each message; the acknowledgements
themselves are not confirmed. A stream is read by a pull consumer without acknowledgements.
"""

from __future__ import annotations

import json
from typing import Final, final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError
from nexo.bench.wires import (
    BATCH_MESSAGES,
    BATCHES_UNDER_WAY,
    READ_RECORDS,
    Reader,
    Replies,
    Wire,
)

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
CONSUMER: Final = b"reader"


def publication(subject: bytes, reply: bytes, body: bytes) -> bytes:
    """PUB with a reply subject."""
    return b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(body), body)


def asked(subject: bytes, what: object) -> tuple[bytes, bytes]:
    """A call of the JetStream API; its answer names its type."""
    return publication(subject, b"_INBOX.setup", json.dumps(what).encode()), b"_response"


@final
class PublishReplies(Replies):
    """Messages on the inbox, each with the stream and a sequence."""

    def __init__(self, stream: bytes) -> None:
        super().__init__()
        self.ok = b'\r\n{"stream":"%s", "seq":' % stream
        self.ok_short = b'\r\n{"stream":"%s","seq":' % stream

    def count(self, data: bytes) -> i64:
        """MSG line and JSON line make one confirmation."""
        if self.rest:
            data = self.rest + data
        end: i64 = data.rfind(b"}\r\n") + 3
        if end < 3:
            end = 0
        whole = data[:end]
        self.rest = data[end:]
        if whole.startswith(PING) or b"\r\nPING\r\n" in whole:
            self.owed = PONG
        if self.rest == PING:
            self.owed = PONG
            self.rest = b""
        found: i64 = whole.count(self.ok) + whole.count(self.ok_short)
        if b"-ERR" in whole or self.rest[:1] == b"-" or found != whole.count(b"}\r\n"):
            raise BenchError(f"unexpected reply {data[:300]!r}")
        return found


@final
class PullReader(Reader):
    """Requests for batches; `acking`: every message is acknowledged on the subject that it came with."""

    def __init__(self, stream: bytes, size: i64, batch: i64, requests: i64, place: i64, acking: bool) -> None:
        super().__init__()
        self.size: i64 = size
        self.batch: i64 = batch
        self.requests: i64 = requests
        self.acking = acking
        self.expected: i64 = batch
        wanted = json.dumps({"batch": int(batch), "expires": 10_000_000_000}).encode()
        self.ask = publication(
            b"$JS.API.CONSUMER.MSG.NEXT.%s.%s" % (stream, CONSUMER), b"_INBOX.read.%d" % int(place), wanted
        )

    def first(self) -> bytes:
        return self.ask * int(self.requests)

    def feed(self, data: bytes) -> bytes:
        if self.rest:
            data = self.rest + data
        out: list[bytes] = []
        at: i64 = 0
        end: i64 = len(data)
        tail = b" %d" % int(self.size)
        while True:
            line_end: i64 = data.find(b"\r\n", at)
            if line_end < 0:
                break
            if data.startswith(PING, at):
                out.append(PONG)
                at = line_end + 2
                continue
            if data.startswith(b"HMSG ", at):
                # A status: the request has expired.
                stop: i64 = line_end + 2 + int(data[data.rfind(b" ", at, line_end) + 1 : line_end]) + 2
                if stop > end:
                    break
                if b" 408 " not in data[line_end:stop] and b" 404 " not in data[line_end:stop]:
                    raise BenchError(f"unexpected message {data[at : at + 300]!r}")
                out.append(self.ask)
                at = stop
                continue
            stop = line_end + 2 + self.size + 2
            if not data.startswith(b"MSG ", at) or not data.startswith(tail, line_end - len(tail)):
                raise BenchError(f"unexpected message {data[at : at + 300]!r}")
            if stop > end:
                break
            if self.acking:
                reply_end = line_end - len(tail)
                reply = data[data.rfind(b" ", at, reply_end) + 1 : reply_end]
                out.append(b"PUB %s 4\r\n+ACK\r\n" % reply)
            self.stamp(data, line_end + 2)
            self.done += 1
            self.expected -= 1
            if self.expected == 0:
                self.expected = self.batch
                out.append(self.ask)
            at = stop
        self.rest = data[at:]
        return b"".join(out)


@final
class NatsWire(Wire):
    """Durability is the server's own: its file stream is synced every two minutes unless configured otherwise."""

    name = "nats"
    failure = b"-ERR"

    def answered(self, answer: bytes, wanted: bytes) -> bool:
        """An API error is one too, but a stream that is not there may be deleted."""
        if b'"error":' in answer and b"not found" not in answer and answer.endswith(b"}\r\n"):
            raise BenchError(f"nats answered {answer[:300]!r}")
        return super().answered(answer, wanted) and answer.endswith(b"\r\n")

    def greeting(self) -> list[tuple[bytes, bytes]]:
        options = b'{"verbose":false,"pedantic":false,"headers":true,"lang":"nexo-bench","version":"1"}'
        return [(b"CONNECT %s\r\nSUB _INBOX.setup 9\r\nPING\r\n" % options, PONG)]

    def create(self, stream: bool) -> list[tuple[bytes, bytes]]:
        topic = self.topic.decode()
        config = {
            "name": topic,
            "subjects": [topic],
            "storage": "file",
            "retention": "limits" if stream else "workqueue",
            "discard": "old",
            "num_replicas": 1,
        }
        reading = {
            "durable_name": CONSUMER.decode(),
            "ack_policy": "none" if stream else "explicit",
            "deliver_policy": "all",
            "max_ack_pending": 0 if stream else 100_000,
            "max_waiting": 512,
        }
        return [
            *self.delete(stream),
            asked(b"$JS.API.STREAM.CREATE." + self.topic, config),
            asked(
                b"$JS.API.CONSUMER.DURABLE.CREATE.%s.%s" % (self.topic, CONSUMER),
                {"stream_name": topic, "config": reading},
            ),
        ]

    def delete(self, stream: bool) -> list[tuple[bytes, bytes]]:
        return [asked(b"$JS.API.STREAM.DELETE." + self.topic, {})]

    def writing(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        return [(b"UNSUB 9\r\nSUB _INBOX.write.%d 1\r\nPING\r\n" % int(place), PONG)]

    def reading(self, stream: bool, place: i64) -> list[tuple[bytes, bytes]]:
        return [(b"UNSUB 9\r\nSUB _INBOX.read.%d 1\r\nPING\r\n" % int(place), PONG)]

    def write(self, stream: bool, body: bytes, number: i64, place: i64) -> bytes:
        return publication(self.topic, b"_INBOX.write.%d" % int(place), body)

    def replies(self, stream: bool) -> Replies:
        return PublishReplies(self.topic)

    def reader(self, stream: bool, waiting: bool, place: i64) -> Reader:
        if stream:
            return PullReader(self.topic, self.size, READ_RECORDS, 1 if waiting else 2, place, False)
        return PullReader(
            self.topic, self.size, BATCH_MESSAGES, 2 if waiting else BATCHES_UNDER_WAY, place, True
        )
