"""Bytes of the native protocol: splitting the elements of a payload, composing responses and events.

Layouts: docs/protocol.md. Knows neither brokers nor sockets: functions from bytes to numbers and
back. A payload that does not fit its layout raises InvalidArgumentError, which is answered and
leaves the connection usable.
"""

from __future__ import annotations

from typing import Any, Final, final

import msgspec
from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_i32_be,
    write_i64_be,
)
from mypy_extensions import i32, i64, u8

from nexo.errors import InvalidArgumentError, LimitExceededError, ServerError
from nexo.limits import HEADERS_BYTES_MAX, KEY_BYTES_MAX
from nexo.protocols.native import opcodes as op

U16_MASK: Final = 0xFFFF
RESPONSE_HEAD: Final = b"\x09\x02"
PUSH_HEAD: Final = b"\x09\x03\x00\x00\x00\x00\x00"
"""Version, type, status and correlation id of every plain push."""
EVENT_HEAD: Final = b"\x09\x05"
VALUE_TYPE_MAX: Final = 0x03


def check_utf8(text: bytes, what: str) -> None:
    """Refuse what is not UTF-8; plain ASCII, the usual case, is told without decoding."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise InvalidArgumentError(f"{what} is not valid UTF-8") from None


def check_key(key: bytes) -> None:
    """A key is 1 to KEY_BYTES_MAX bytes of UTF-8."""
    if not key:
        raise InvalidArgumentError("a key must not be empty")
    if len(key) > KEY_BYTES_MAX:
        raise LimitExceededError(f"key of {len(key)} bytes: key_bytes_max is {KEY_BYTES_MAX}")
    check_utf8(key, "the key")


def check_value(value: bytes) -> None:
    """A value has a known type byte, and an INT has 8 bytes of content."""
    if not value:
        raise InvalidArgumentError("the payload ends before the value's data type")
    kind = value[0]
    if kind > VALUE_TYPE_MAX:
        raise InvalidArgumentError(f"unknown data type 0x{kind:02x} of a value")
    if kind == VALUE_TYPE_MAX and len(value) != 9:
        raise InvalidArgumentError(f"an INT value has 8 bytes, not {len(value) - 1}")


def check_headers(headers: bytes) -> None:
    """Walk a header block once, so that consumers may trust what they split."""
    position: i64 = 0
    end: i64 = len(headers)
    if end > HEADERS_BYTES_MAX:
        raise LimitExceededError(f"headers of {end} bytes: headers_bytes_max is {HEADERS_BYTES_MAX}")
    while position < end:
        for part in ("name", "value"):
            if end - position < 2:
                raise InvalidArgumentError(f"the headers end inside the length of a {part}")
            length: i64 = i64(read_i16_be(headers, position)) & U16_MASK
            position += 2
            if length > end - position:
                raise InvalidArgumentError(f"the headers end inside a {part}")
            if part == "name":
                if length == 0:
                    raise InvalidArgumentError("a header's name must not be empty")
                check_utf8(headers[position : position + length], "a header's name")
            position += length


def split_headers(headers: bytes) -> list[tuple[bytes, bytes]]:
    """The (name, value) pairs of a header block that `check_headers` has seen."""
    pairs: list[tuple[bytes, bytes]] = []
    position: i64 = 0
    while position < len(headers):
        end = position + 2 + (i64(read_i16_be(headers, position)) & U16_MASK)
        name = headers[position + 2 : end]
        position = end + 2 + (i64(read_i16_be(headers, end)) & U16_MASK)
        pairs.append((name, headers[end + 2 : position]))
    return pairs


def join_headers(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """The header block of pairs. Raises what `check_headers` does, and LimitExceededError for a part of 64 KiB."""
    out = BytesWriter()
    for name, value in pairs:
        if len(name) > U16_MASK or len(value) > U16_MASK:
            raise LimitExceededError(f"a header's name or value has at most {U16_MASK} bytes")
        write_short(out, name)
        write_short(out, value)
    block = out.getvalue()
    check_headers(block)
    return block


def same(data: bytes, at: i64, text: bytes) -> bool:
    """Whether `text` stands in the data at a place, told without making a copy of it."""
    place: i64 = 0
    size: i64 = len(text)
    while place < size:
        if data[at + place] != text[place]:
            return False
        place += 1
    return True


@final
class Payload:
    """A cursor over one frame's payload inside the receive buffer: `data[position:end]`."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: i64, end: i64) -> None:
        self.data = data
        self.position: i64 = start
        self.end: i64 = end

    def need(self, size: i64, what: str) -> i64:
        """Step over `size` bytes and return where they begin."""
        start = self.position
        if size < 0 or size > self.end - start:
            raise InvalidArgumentError(f"the payload ends before {what}")
        self.position = start + size
        return start

    def u8(self, what: str) -> i64:
        return self.data[self.need(1, what)]

    def u32(self, what: str) -> i64:
        return i64(read_i32_be(self.data, self.need(4, what))) & 0xFFFFFFFF

    def signed32(self, what: str) -> i32:
        return read_i32_be(self.data, self.need(4, what))

    def signed64(self, what: str) -> i64:
        return read_i64_be(self.data, self.need(8, what))

    def u64(self, what: str) -> i64:
        """A u64 that must fit a signed integer: no time, size or version of ours is larger."""
        number = read_i64_be(self.data, self.need(8, what))
        if number < 0:
            raise InvalidArgumentError(f"{what} is above 2^63 - 1")
        return number

    def string(self, what: str) -> bytes:
        """A length-prefixed string, as bytes; the caller checks the encoding where it matters."""
        length = self.u32(what)
        start = self.need(length, what)
        return self.data[start : start + length]

    def skip_string(self, text: bytes) -> bool:
        """Step over a string, if it is this one."""
        start = self.position
        size: i64 = len(text)
        if self.end - start < 4 + size or i64(read_i32_be(self.data, start)) != size:
            return False
        if not same(self.data, start + 4, text):
            return False
        self.position = start + 4 + size
        return True

    def short(self, what: str) -> bytes:
        """A `key` element: u16 length and bytes."""
        length = i64(read_i16_be(self.data, self.need(2, what))) & U16_MASK
        start = self.need(length, what)
        return self.data[start : start + length]

    def json_object(self, what: str) -> dict[str, object]:
        """The JSON object that fills the rest of the payload; {} when there is no more."""
        start = self.need(self.end - self.position, what)
        if start == self.end:
            return {}
        try:
            found: dict[str, object] = msgspec.json.decode(
                self.data[start : self.end], type=dict[str, object]
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(f"{what}: {error}") from None
        return found

    def key(self) -> bytes:
        key = self.string("the key")
        check_key(key)
        return key

    def headers(self) -> bytes:
        headers = self.string("the headers")
        check_headers(headers)
        return headers

    def value(self) -> bytes:
        """The `any` that fills the rest of the payload."""
        start = self.need(self.end - self.position, "the value")
        value = self.data[start : self.end]
        check_value(value)
        return value

    def value_with_length(self) -> bytes:
        value = self.string("a value")
        check_value(value)
        return value

    def finish(self) -> None:
        """Refuse a payload that goes on after its last element."""
        if self.position != self.end:
            raise InvalidArgumentError(f"{self.end - self.position} bytes follow the end of the payload")


def write_head(out: BytesWriter, status: i64, correlation: i32, size: i64) -> None:
    """The header of a response whose payload has `size` bytes."""
    out.write(RESPONSE_HEAD)
    out.append(u8(status))
    write_i32_be(out, correlation)
    write_i32_be(out, i32(size))


def write_value(out: BytesWriter, correlation: i32, value: bytes) -> None:
    """A whole DATA response with one `any`."""
    write_head(out, op.DATA, correlation, len(value))
    out.write(value)


def write_string(out: BytesWriter, text: bytes) -> None:
    """A `string`, `headers` or `any_with_len` element: u32 length and the bytes."""
    write_i32_be(out, i32(len(text)))
    out.write(text)


def write_short(out: BytesWriter, key: bytes) -> None:
    """A `key` element: u16 length and the bytes."""
    size: i64 = len(key)
    out.append((size >> 8) & 0xFF)
    out.append(size & 0xFF)
    out.write(key)


def write_error(out: BytesWriter, correlation: i32, error: ServerError) -> None:
    """A whole ERR response."""
    details: Any = error.details
    message = error.message.encode()
    encoded = b"" if details is None else msgspec.json.encode(details)
    write_head(out, op.ERR, correlation, 5 + len(message) + len(encoded))
    out.append(error.code)
    write_string(out, message)
    out.write(encoded)


def errors_instead(responses: bytes, error: ServerError) -> bytes:
    """The same error as the answer to each of these whole response frames."""
    out = BytesWriter()
    position: i64 = 0
    while position < len(responses):
        write_error(out, read_i32_be(responses, position + 3), error)
        position += op.HEADER_BYTES + i64(read_i32_be(responses, position + 7))
    return out.getvalue()


def error_frame(correlation: i32, error: ServerError) -> bytes:
    """A whole ERR response on its own."""
    out = BytesWriter()
    write_error(out, correlation, error)
    return out.getvalue()


def event(code: i64, correlation: i32, payload: bytes) -> bytes:
    """A whole event frame."""
    out = BytesWriter()
    write_event_head(out, code, correlation, len(payload))
    out.write(payload)
    return out.getvalue()


def low32(number: i64) -> i32:
    """The low 32 bits of a number, as a correlation id is held."""
    low = number & 0xFFFFFFFF
    return i32(low - 0x1_0000_0000 if low >= 0x8000_0000 else low)


def write_event_head(out: BytesWriter, code: i64, correlation: i32, size: i64) -> None:
    out.write(EVENT_HEAD)
    out.append(u8(code))
    write_i32_be(out, correlation)
    write_i32_be(out, i32(size))


def write_push(out: BytesWriter, topic: bytes, value: bytes) -> None:
    """The frame of type 0x03 that every client understands: topic and value, no headers."""
    out.write(PUSH_HEAD)
    write_i32_be(out, i32(4 + len(topic) + len(value)))
    write_i32_be(out, i32(len(topic)))
    out.write(topic)
    out.write(value)


def write_message_event(
    out: BytesWriter, tag: i64, request_id: i64, topic: bytes, headers: bytes, value: bytes
) -> None:
    """The event of a message with headers, of a request, or for a shared subscription (`tag`)."""
    size: i64 = 8 + len(topic) + len(headers) + len(value)
    code: i64 = op.SUBX if tag != 0 else op.PUB
    if request_id != 0:
        size += 8
        code = op.PUB_REQUEST
    write_event_head(out, code, low32(tag), size)
    if request_id != 0:
        write_i64_be(out, request_id)
    write_string(out, topic)
    write_string(out, headers)
    out.write(value)
