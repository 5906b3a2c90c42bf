"""The table of packet vectors, and how a vector is written. The vectors are in native.py, queue.py and stream.py.

Each vector runs on a connection of its own to a server that was just emptied: `hello` and `setup` first,
then `send`, then `replies` must come and nothing else: responses in this order, pushes and events in this
order, though the two may mix. `closes`: the server then ends the connection. Layouts and rules:
docs/protocol.md. Notation: wire.py.

What a server makes up (an id, a token, a consumer's name) cannot stand in a table. Where a request needs it,
one of the MARKS stands in its place, and what a `setup` answer said is filled in: see Known.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.vectors.wire import (
    DATA,
    ERR,
    EVENT,
    HEADER,
    HEADER_BYTES,
    NULL,
    OK,
    PUSH,
    REQUEST,
    RESPONSE,
    Frame,
    Part,
    b,
    frame,
    parts,
    string,
)

ID = 0xFEDCBA98
"""The correlation id of every request under test: above 2^31, so a sign error would show."""

INVALID_ARGUMENT, NOT_FOUND, CONFLICT, NOT_AUTHORIZED, FENCED, NOT_MEMBER = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
SLOW_CONSUMER, STORAGE_ERROR, PROTOCOL_ERROR = 0x07, 0x08, 0x09
LIMIT_EXCEEDED, TOO_OLD, NO_RESPONDERS, REPLY_TIMEOUT, NOT_AVAILABLE = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
SEQUENCE_MISMATCH, BATCH_REFUSED, PRECONDITION_FAILED = 0x10, 0x11, 0x12


class Expected(NamedTuple):
    """One frame that must come. `message` of an error: a part of its text; `details`: all of them."""

    kind: int
    code: int
    correlation: int | None
    payload: list[Part]
    error: int = -1
    message: str = ""
    details: object = None


class Vector(NamedTuple):
    name: str
    send: bytes
    replies: tuple[Expected, ...] = ()
    setup: tuple[bytes, ...] = ()
    hello: bool = False
    closes: bool = False
    wait_ms: int = 0
    """How far the clock moves before the last replies are due."""


VECTORS: list[Vector] = []

GOLDEN: list[tuple[str, str, str]] = []
"""(name, what the client sends, what the server answers): whole frames, header included, as a packet dump
would show them. All other vectors build the header with struct."""

CONVERSATIONS: list[tuple[str, str, str]] = []
"""The same for frames that hold times and ids: on a node of their own whose clock stands at START_MS."""

LAYOUTS: list[tuple[str, int, bytes, bool]] = []
"""Payloads that end early or go on too long: (name, opcode, whole payload, whether what follows is too long).

Every shorter payload is INVALID_ARGUMENT too, but for the open end of an `any`, whose type byte must be there."""

MARKS = {
    "message": b"<message-number>",
    "token": b"<token.>",
    "generation": b"<genera>",
    "receipt": b"<receipt-of-16b>",
    "consumer": string("<consumer>"),
}
MESSAGE, TOKEN, GENERATION, RECEIPT = "'<message-number>'", "'<token.>'", "'<genera>'", "'<receipt-of-16b>'"
CONSUMER = "s'<consumer>'"
"""The same in the notation."""


class Known:
    """What the answers to a vector's setup have told, and requests with that filled in."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def learn(self, sent: bytes, answer: Frame) -> None:
        """Take what the answer to a CONSUME, RECEIVE, JOIN or FETCH tells of the first message."""
        opcode, payload = sent[2], answer.payload
        if answer.code != DATA:
            return
        if opcode in (0x12, 0x1C) and len(payload) > 4:
            self.found["message"], self.found["token"] = payload[4:20], payload[20:28]
        elif opcode == 0x33:
            self.found["generation"], self.found["consumer"] = payload[8:16], payload[16:]
        elif opcode == 0x32 and len(payload) > 4:
            self.found["receipt"] = payload[12:28]

    def fill(self, data: bytes) -> bytes:
        """Whole frames with their marks replaced."""
        if not self.found:
            return data
        filled = b""
        while data:
            version, kind, code, correlation, length = HEADER.unpack_from(data)
            assert version == 9
            payload, data = data[HEADER_BYTES : HEADER_BYTES + length], data[HEADER_BYTES + length :]
            filled += frame(kind, code, correlation, self.filled(code, payload))
        return filled

    def filled(self, code: int, payload: bytes) -> bytes:
        """A payload with its marks replaced; in a BATCH that changes the lengths of commands."""
        if code == 0x41 and payload[:5] == bytes(5) and any(mark in payload for mark in MARKS.values()):
            commands, place = payload[:9], 9
            while place < len(payload):
                end = place + 5 + int.from_bytes(payload[place + 1 : place + 5], "big")
                commands += payload[place : place + 1] + string(self.filled(0, payload[place + 5 : end]))
                place = end
            return commands
        for name, value in self.found.items():
            payload = payload.replace(MARKS[name], value)
        return payload


def req(opcode: int, payload: bytes | str = b"", correlation: int = ID) -> bytes:
    return frame(REQUEST, opcode, correlation, b(payload))


def ok() -> Expected:
    return Expected(RESPONSE, OK, ID, [])


def null() -> Expected:
    return Expected(RESPONSE, NULL, ID, [])


def data(payload: str | bytes) -> Expected:
    pattern: list[Part] = [payload] if isinstance(payload, bytes) else parts(payload)
    return Expected(RESPONSE, DATA, ID, pattern)


def err(code: int, message: str = "", correlation: int | None = ID, details: object = None) -> Expected:
    return Expected(RESPONSE, ERR, correlation, [], code, message, details)


def push(payload: str) -> Expected:
    return Expected(PUSH, 0, 0, parts(payload))


def event(code: int, payload: str | bytes, correlation: int = 0) -> Expected:
    pattern: list[Part] = [payload] if isinstance(payload, bytes) else parts(payload)
    return Expected(EVENT, code, correlation, pattern)


def vector(
    name: str,
    send: bytes,
    *replies: Expected,
    setup: tuple[bytes, ...] = (),
    hello: bool = False,
    closes: bool = False,
    wait_ms: int = 0,
) -> None:
    VECTORS.append(Vector(name, send, replies, setup, hello, closes, wait_ms))


def bad(name: str, send: bytes, message: str = "", code: int = INVALID_ARGUMENT, **more: object) -> None:
    """A request that is answered with an error and leaves the connection usable."""
    vector(name, send, err(code, message), **more)  # type: ignore[arg-type]
