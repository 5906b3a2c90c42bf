"""Bytes of the native protocol for tests, written from docs/protocol.md alone.

Owns a small notation for payloads and a blocking socket that speaks frames. It must not import
the project's codec: a fault in that codec shall not hide itself here.

The notation, parts separated by spaces:

    00 0003        hex digits, as many bytes as wanted
    'text'         UTF-8 bytes (no spaces inside: write 20 for one)
    s'text'        u32 byte length and the bytes: the `string` of the protocol
    i-5  u32=7     a signed 64-bit and an unsigned 32-bit integer
    ?8             (expected only) any eight bytes
    ?s             (expected only) any `string`
    ?*             (expected only) whatever follows
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from typing import NamedTuple

HEADER = struct.Struct(">BBBII")
HEADER_BYTES = 11
VERSION = 9

REQUEST, RESPONSE, PUSH, NO_RESPONSE, EVENT = 1, 2, 3, 4, 5
OK, ERR, NULL, DATA = 0, 1, 2, 3

I64_MIN = -(1 << 63)
I64_MAX = (1 << 63) - 1


def u8(number: int) -> bytes:
    return struct.pack(">B", number)


def u16(number: int) -> bytes:
    return struct.pack(">H", number)


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def u64(number: int) -> bytes:
    return struct.pack(">Q", number)


def i64(number: int) -> bytes:
    return struct.pack(">q", number)


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return u32(len(data)) + data


def header_block(*pairs: tuple[bytes, bytes]) -> bytes:
    """A `headers` element."""
    inner = b"".join(u16(len(name)) + name + u16(len(value)) + value for name, value in pairs)
    return u32(len(inner)) + inner


def frame(kind: int, code: int, correlation: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(VERSION, kind, code, correlation, len(payload)) + payload


def request(opcode: int, correlation: int, payload: bytes = b"") -> bytes:
    return frame(REQUEST, opcode, correlation, payload)


_TOKEN = re.compile(r"s'[^']*'|'[^']*'|\?s|\?\*|\?\d+|u32=\d+|i-?\d+|[0-9a-fA-F]+|\s+|(.)", re.DOTALL)

Part = bytes | str | int


def parts(notation: str) -> list[Part]:
    """The notation as fixed bytes, counts of free bytes (int), "s" or "*"."""
    found: list[Part] = []
    for match in _TOKEN.finditer(notation):
        token = match.group()
        if match.group(1):
            raise ValueError(f"{token!r} in {notation!r} is not notation")
        if token.isspace():
            continue
        if token.startswith("s'"):
            found.append(string(token[2:-1]))
        elif token[0] == "'":
            found.append(token[1:-1].encode())
        elif token[0] == "?":
            found.append(int(token[1:]) if token[1:].isdigit() else token[1])
        elif token.startswith("u32="):
            found.append(u32(int(token[4:])))
        elif token[0] == "i":
            found.append(i64(int(token[1:])))
        else:
            found.append(bytes.fromhex(token))
    return found


def b(notation: str | bytes) -> bytes:
    """The bytes that a notation without free parts stands for."""
    if isinstance(notation, bytes):
        return notation
    return b"".join(part for part in parts(notation) if isinstance(part, bytes))


def mismatch(pattern: list[Part], data: bytes) -> str | None:
    """What is wrong with `data`, or None when the pattern describes it to the last byte."""
    position = 0
    for part in pattern:
        if isinstance(part, bytes):
            if data[position : position + len(part)] != part:
                got = data[position : position + len(part)]
                return f"at {position}: {got.hex(' ')} ({got!r}) instead of {part.hex(' ')} ({part!r})"
            position += len(part)
        elif isinstance(part, int):
            position += part
        elif part == "*":
            return None
        else:
            if position + 4 > len(data):
                return f"at {position}: no string"
            position += 4 + struct.unpack_from(">I", data, position)[0]
    if position != len(data):
        return f"{len(data)} bytes instead of {position}: {data[:200]!r}"
    return None


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    code: int
    correlation: int
    payload: bytes

    @property
    def error(self) -> tuple[int, str]:
        """Code and message of an ERR response."""
        assert self.kind == RESPONSE and self.code == ERR, self
        size = struct.unpack_from(">I", self.payload, 1)[0]
        assert 5 + size <= len(self.payload), self
        if len(self.payload) > 5 + size:
            json.loads(self.payload[5 + size :])
        return self.payload[0], self.payload[5 : 5 + size].decode()

    @property
    def details(self) -> object:
        """The JSON details of an ERR response, None when there are none."""
        rest = self.payload[5 + struct.unpack_from(">I", self.payload, 1)[0] :]
        return json.loads(rest) if rest else None


class Splitter:
    """Cuts a stream into frames; anything that is not one raises AssertionError."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def next(self) -> Frame | None:
        if len(self.buffer) < HEADER_BYTES:
            return None
        version, kind, code, correlation, length = HEADER.unpack_from(self.buffer)
        assert version == VERSION, f"not a frame: {bytes(self.buffer[:64])!r}"
        assert kind in (RESPONSE, PUSH, EVENT), f"a server sent a frame of type {kind}"
        if len(self.buffer) < HEADER_BYTES + length:
            return None
        payload = bytes(memoryview(self.buffer)[HEADER_BYTES : HEADER_BYTES + length])
        del self.buffer[: HEADER_BYTES + length]
        return Frame(kind, code, correlation, payload)


class Wire:
    """A connection to a server, blocking, one frame at a time."""

    def __init__(self, port: int, *, timeout: float = 10.0, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.splitter = Splitter()
        self._next = 1

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, timeout: float | None = None) -> Frame | None:
        """The next frame, or None at the end of the stream. TimeoutError when nothing comes."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            found = self.splitter.next()
            if found is not None:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no frame came")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            finally:
                self.socket.settimeout(self.timeout)
            if not data:
                assert not self.splitter.buffer, (
                    f"torn frame at the end: {bytes(self.splitter.buffer[:64])!r}"
                )
                return None
            self.splitter.feed(data)

    def frame(self, timeout: float | None = None) -> Frame:
        """The next frame; fails at the end of the stream."""
        found = self.read(timeout)
        assert found is not None, "the server closed the connection"
        return found

    def closed(self, timeout: float | None = None) -> bool:
        """Whether the server ends the stream now, with nothing more to say."""
        return self.read(timeout) is None

    def call(self, opcode: int, payload: bytes | str = b"") -> Frame:
        """Send one request and return its response; other frames in between fail."""
        correlation = self._next
        self._next += 1
        self.send(request(opcode, correlation, b(payload)))
        answer = self.frame()
        assert answer.kind == RESPONSE and answer.correlation == correlation, answer
        return answer

    def hello(self) -> Frame:
        answer = self.call(0x01, "s'test' 00000000 00")
        assert answer.code == DATA, answer
        return answer

    def set(self, key: str | bytes, value: bytes) -> None:
        """MAP_SET of a raw value."""
        answer = self.call(0x02, string(key) + b"\x00\x00" + value)
        assert answer.code == OK, answer

    def subscribe(self, topic_filter: str) -> None:
        answer = self.call(0x22, string(topic_filter))
        assert answer.code == OK, answer


def publish(topic: str, value: bytes, correlation: int = 0, *, silent: bool = False) -> bytes:
    """A PUB frame of a raw value."""
    return frame(NO_RESPONSE if silent else REQUEST, 0x21, correlation, string(topic) + b"\x00\x00" + value)
