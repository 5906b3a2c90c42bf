"""Bytes of the native protocol, seen from the client: composing requests, splitting what the server sends.

Layouts: docs/protocol.md. Owns framing and the elements of a payload; values are in values.py. Knows
no socket, no clock and no broker: bytes in, tuples out. Whatever the bytes, the outcome is frames or
ProtocolError.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import msgspec

from nexo.errors import InvalidArgumentError, LimitExceededError, ProtocolError, ServerError, server_error
from nexo.limits import CHANGES_BYTES_MAX, KEYS_PER_COMMAND_MAX
from nexo.protocols.native.opcodes import (
    EVENT,
    HEADER_BYTES,
    PUSH,
    REQUEST,
    RESPONSE,
    VERSION,
)

INCOMING_BYTES_MAX: Final = 2 * CHANGES_BYTES_MAX
"""Longest payload taken from a server. A watch that resumes is told all it has missed in one event, and
the change log holds CHANGES_BYTES_MAX of that; twice as much leaves room for what surrounds the values."""

HEADER: Final = Struct(">BBBII")
U16: Final = Struct(">H")
U32: Final = Struct(">I")
U64: Final = Struct(">Q")
I64: Final = Struct(">q")

Frame = tuple[int, int, int, bytes]
"""Type, opcode or status, correlation id, payload."""

_unpack_header: Final = HEADER.unpack_from
_KINDS: Final = frozenset((RESPONSE, PUSH, EVENT))


def request(opcode: int, correlation: int, payload: bytes) -> bytes:
    """A whole request frame."""
    return HEADER.pack(VERSION, REQUEST, opcode, correlation, len(payload)) + payload


def string(text: str) -> bytes:
    """A `string` element. InvalidArgumentError for a lone surrogate, which UTF-8 cannot say."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{text!r} is not valid Unicode") from None
    return U32.pack(len(encoded)) + encoded


def prefixed(content: bytes) -> bytes:
    """An `any_with_len` or `headers` element: u32 length and the bytes."""
    return U32.pack(len(content)) + content


def u64(number: int, what: str) -> bytes:
    """A u64 element that must fit into 63 bits, as all of the server's do. InvalidArgumentError if not."""
    if not 0 <= number < 1 << 63:
        raise InvalidArgumentError(f"{what} of {number}: 0 to 2^63 - 1")
    return U64.pack(number)


def i64(number: int, what: str) -> bytes:
    """An i64 element. InvalidArgumentError when it does not fit."""
    if not -(1 << 63) <= number < 1 << 63:
        raise InvalidArgumentError(f"{what} of {number} does not fit into 64 bits")
    return I64.pack(number)


def u32(number: int, what: str) -> bytes:
    """A u32 element. InvalidArgumentError when it does not fit."""
    if not 0 <= number < 1 << 32:
        raise InvalidArgumentError(f"{what} of {number}: 0 to 2^32 - 1")
    return U32.pack(number)


def key_count(count: int) -> bytes:
    """How many keys a command has. LimitExceededError when there are too many for one."""
    if count > KEYS_PER_COMMAND_MAX:
        raise LimitExceededError(f"{count} keys: keys_per_command_max is {KEYS_PER_COMMAND_MAX}")
    return U32.pack(count)


class Decoder:
    """Splits what the server sends into frames, in one pass over each chunk.

    A frame that comes in pieces is joined once, when its last piece is there; nothing is allocated for
    a length that is merely claimed. After `error` is set there is no way back to a frame boundary.
    """

    __slots__ = ("_missing", "_parts", "error")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._missing = 0
        self.error: ProtocolError | None = None

    @property
    def buffered_bytes(self) -> int:
        """What is held of a frame that is not complete yet."""
        return sum(map(len, self._parts))

    def receive_data(self, data: bytes) -> list[Frame]:
        """The frames that are complete with this chunk; look at `error` after using them."""
        if self.error is not None:
            return []
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._parts)
            self._parts = []
        frames: list[Frame] = []
        offset = 0
        size = len(data)
        while size - offset >= HEADER_BYTES:
            version, kind, code, correlation, length = _unpack_header(data, offset)
            if version != VERSION or kind not in _KINDS or length > INCOMING_BYTES_MAX:
                self.error = _complaint(version, kind, length)
                return frames
            start = offset + HEADER_BYTES
            end = start + length
            if end > size:
                break
            frames.append((kind, code, correlation, data[start:end]))
            offset = end
        if offset < size:
            self._hold(data[offset:] if offset else data)
        return frames

    def _hold(self, rest: bytes) -> None:
        """Keep the begin of a frame until as much as its header says has come."""
        if rest[0] != VERSION:
            self.error = _complaint(rest[0], RESPONSE, 0)
            return
        wanted = HEADER_BYTES
        if len(rest) >= HEADER_BYTES:
            wanted += _unpack_header(rest)[4]
        self._parts = [rest]
        self._missing = wanted - len(rest)


def _complaint(version: int, kind: int, length: int) -> ProtocolError:
    if version != VERSION:
        return ProtocolError(
            f"the server does not speak protocol version 0x{VERSION:02x}: a frame begins with 0x{version:02x}"
        )
    if kind not in _KINDS:
        return ProtocolError(f"the server sent a frame of unknown type 0x{kind:02x}")
    return ProtocolError(
        f"the server sent a payload of {length} bytes: at most {INCOMING_BYTES_MAX} are taken"
    )


class Reader:
    """A cursor over one payload. Each method returns the next element; ProtocolError when it ends early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self._position
        end = start + size
        if end > len(self._data):
            raise ProtocolError("a payload of the server ends early")
        self._position = end
        return self._data[start:end]

    def rest(self) -> bytes:
        """All that is left."""
        start, self._position = self._position, len(self._data)
        return self._data[start:]

    def _number(self, form: Struct) -> int:
        number: int = form.unpack(self.take(form.size))[0]
        return number

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes."""
        return self._number(U16)

    def u32(self) -> int:
        """Four bytes."""
        return self._number(U32)

    def u64(self) -> int:
        """Eight bytes."""
        return self._number(U64)

    def i64(self) -> int:
        """Eight bytes, signed."""
        return self._number(I64)

    def prefixed(self) -> bytes:
        """A u32 length and as many bytes."""
        return self.take(self.u32())

    def string(self) -> str:
        """Text with its length before it."""
        return utf8(self.prefixed())


def utf8(content: bytes) -> str:
    """Text that the server sent. ProtocolError when it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ProtocolError("the server sent text that is not UTF-8") from None


def read_error(payload: bytes) -> ServerError:
    """The exception for the payload of an ERR response; a ProtocolError if it cannot be read."""
    reader = Reader(payload)
    try:
        code, message, details = reader.u8(), reader.string(), reader.rest()
        return server_error(code, message, msgspec.json.decode(details) if details else None)
    except ProtocolError as error:
        return error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return server_error(code, message)
