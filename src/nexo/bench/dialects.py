"""The bytes that each server speaks: requests encoded in advance, and how to know their replies.

A load is fair when the same engine drives every server, so a dialect holds bytes and sizes only: it
opens no socket, keeps no time and counts nothing.
"""

from __future__ import annotations

import struct
from typing import Final

from nexo.protocols.native import opcodes

NAMES: Final = ("nexo", "redis", "nats", "memcached")


class BenchError(Exception):
    """The server did not do what the load needs: a refused connection, an error reply, a lost message."""


class ReplyShape:
    """How to find the end of a reply and to tell that it is the one expected.

    The byte at `kind_at` chooses the reply's size from `sizes` (0 = not a reply that a load may
    get: an error or a miss), and the byte at `mark_at` must then be the kind's entry of `marks`.
    """

    def __init__(self, kind_at: int, mark_at: int, kinds: list[tuple[int, int, int]]) -> None:
        self.kind_at = kind_at
        self.mark_at = mark_at
        self.sizes = [0] * 256
        self.marks = [0] * 256
        self.size_max = 0
        for kind, mark, size in kinds:
            self.sizes[kind] = size
            self.marks[kind] = mark
            self.size_max = max(self.size_max, size)


class Dialect:
    """One protocol; the defaults suit one that greets nobody and answers publications with nothing."""

    name = ""
    has_store = True
    has_pubsub = True
    has_wildcards = True

    def greeting(self) -> bytes:
        """What a new connection sends first."""
        return b""

    def greeting_end(self) -> bytes:
        """The bytes at which the answer to the greeting ends."""
        return b""

    def late_question(self) -> bytes:
        """What the server asks each connection once, seconds after the greeting; a load begins after it."""
        return b""

    def late_answer(self) -> bytes:
        """The answer to `late_question`."""
        return b""

    def set_request(self, key: bytes, value: bytes, number: int) -> bytes:
        """Write a key; `number` tells requests apart where the protocol does."""
        raise NotImplementedError

    def get_request(self, key: bytes, number: int) -> bytes:
        """Read a key."""
        raise NotImplementedError

    def set_reply(self, number: int) -> bytes:
        """The whole reply to a write."""
        raise NotImplementedError

    def get_reply(self, key: bytes, value: bytes, number: int) -> bytes:
        """The whole reply to a read of a key that has `value`."""
        raise NotImplementedError

    def shape(self, key: bytes, value: bytes) -> ReplyShape:
        """The replies to reads and writes of keys and values of these sizes."""
        raise NotImplementedError

    def subscribe(self, topic: bytes, number: int) -> bytes:
        """Subscribe to a topic."""
        raise NotImplementedError

    def subscribe_reply(self, topic: bytes, number: int) -> bytes:
        """The whole answer to the `number`-th subscription of a connection, counted from 1."""
        raise NotImplementedError

    def publish(self, topic: bytes, payload: bytes) -> bytes:
        """Publish without waiting, in the protocol's cheapest way."""
        raise NotImplementedError

    def publish_reply(self, receivers: int) -> bytes:
        """What the publisher is told for each message; empty where it is told nothing."""
        return b""

    def delivery(self, topic: bytes, payload: bytes) -> bytes:
        """What each subscriber gets for one message, on its first subscription."""
        raise NotImplementedError


def _frame(kind: int, code: int, number: int, payload: bytes) -> bytes:
    return struct.pack(">BBBII", opcodes.VERSION, kind, code, number, len(payload)) + payload


def _string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


RAW: Final = b"\x00"


class Nexo(Dialect):
    """The native protocol; values are RAW, publications are of the kind without response."""

    name = "nexo"

    def set_request(self, key: bytes, value: bytes, number: int) -> bytes:
        return _frame(opcodes.REQUEST, opcodes.MAP_SET, number, _string(key) + b"\x00" + RAW + value)

    def get_request(self, key: bytes, number: int) -> bytes:
        return _frame(opcodes.REQUEST, opcodes.MAP_GET, number, _string(key))

    def set_reply(self, number: int) -> bytes:
        return _frame(opcodes.RESPONSE, opcodes.OK, number, b"")

    def get_reply(self, key: bytes, value: bytes, number: int) -> bytes:
        return _frame(opcodes.RESPONSE, opcodes.DATA, number, RAW + value)

    def shape(self, key: bytes, value: bytes) -> ReplyShape:
        # The last byte of the length stands at 10.
        data = len(value) + 1
        return ReplyShape(
            2,
            10,
            [(opcodes.OK, 0, opcodes.HEADER_BYTES), (opcodes.DATA, data & 0xFF, opcodes.HEADER_BYTES + data)],
        )

    def subscribe(self, topic: bytes, number: int) -> bytes:
        return _frame(opcodes.REQUEST, opcodes.SUB, number, _string(topic))

    def subscribe_reply(self, topic: bytes, number: int) -> bytes:
        return _frame(opcodes.RESPONSE, opcodes.OK, number, b"")

    def publish(self, topic: bytes, payload: bytes) -> bytes:
        return _frame(opcodes.REQUEST_NO_RESPONSE, opcodes.PUB, 0, _string(topic) + b"\x00" + RAW + payload)

    def delivery(self, topic: bytes, payload: bytes) -> bytes:
        return _frame(opcodes.PUSH, 0, 0, _string(topic) + RAW + payload)


def _resp(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Redis(Dialect):
    """RESP 2, as redis-benchmark sends it."""

    name = "redis"
    has_wildcards = False  # not with SUBSCRIBE

    def set_request(self, key: bytes, value: bytes, number: int) -> bytes:
        return _resp(b"SET", key, value)

    def get_request(self, key: bytes, number: int) -> bytes:
        return _resp(b"GET", key)

    def set_reply(self, number: int) -> bytes:
        return b"+OK\r\n"

    def get_reply(self, key: bytes, value: bytes, number: int) -> bytes:
        return b"$%d\r\n%s\r\n" % (len(value), value)

    def shape(self, key: bytes, value: bytes) -> ReplyShape:
        data = self.get_reply(key, value, 0)
        return ReplyShape(0, 1, [(data[0], data[1], len(data)), (ord("+"), ord("O"), 5)])

    def subscribe(self, topic: bytes, number: int) -> bytes:
        return _resp(b"SUBSCRIBE", topic)

    def subscribe_reply(self, topic: bytes, number: int) -> bytes:
        return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n" % (len(topic), topic, number)

    def publish(self, topic: bytes, payload: bytes) -> bytes:
        return _resp(b"PUBLISH", topic, payload)

    def publish_reply(self, receivers: int) -> bytes:
        return b":%d\r\n" % receivers

    def delivery(self, topic: bytes, payload: bytes) -> bytes:
        return _resp(b"message", topic, payload)


class Nats(Dialect):
    """The NATS client protocol, not verbose, as its own benchmark uses it; pub/sub only."""

    name = "nats"
    has_store = False

    def greeting(self) -> bytes:
        return b'CONNECT {"verbose":false,"pedantic":false,"lang":"nexo-bench","version":"1"}\r\nPING\r\n'

    def greeting_end(self) -> bytes:
        return b"PONG\r\n"

    def late_question(self) -> bytes:
        return b"PING\r\n"

    def late_answer(self) -> bytes:
        return b"PONG\r\n"

    def subscribe(self, topic: bytes, number: int) -> bytes:
        return b"SUB %s %d\r\nPING\r\n" % (self._subject(topic), number)

    def subscribe_reply(self, topic: bytes, number: int) -> bytes:
        return b"PONG\r\n"

    def publish(self, topic: bytes, payload: bytes) -> bytes:
        return b"PUB %s %d\r\n%s\r\n" % (self._subject(topic), len(payload), payload)

    def delivery(self, topic: bytes, payload: bytes) -> bytes:
        return b"MSG %s 1 %d\r\n%s\r\n" % (self._subject(topic), len(payload), payload)

    def _subject(self, topic: bytes) -> bytes:
        return topic.replace(b"/", b".").replace(b"+", b"*").replace(b"#", b">")


class Memcached(Dialect):
    """The text protocol; store only."""

    name = "memcached"
    has_pubsub = False

    def set_request(self, key: bytes, value: bytes, number: int) -> bytes:
        return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)

    def get_request(self, key: bytes, number: int) -> bytes:
        return b"get %s\r\n" % key

    def set_reply(self, number: int) -> bytes:
        return b"STORED\r\n"

    def get_reply(self, key: bytes, value: bytes, number: int) -> bytes:
        return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)

    def shape(self, key: bytes, value: bytes) -> ReplyShape:
        return ReplyShape(
            0, 1, [(ord("V"), ord("A"), len(self.get_reply(key, value, 0))), (ord("S"), ord("T"), 8)]
        )


def dialect(name: str) -> Dialect:
    """The dialect called `name`, one of NAMES."""
    if name == "nexo":
        return Nexo()
    if name == "redis":
        return Redis()
    if name == "nats":
        return Nats()
    if name == "memcached":
        return Memcached()
    raise ValueError(f"unknown protocol {name!r}: one of {', '.join(NAMES)}")
