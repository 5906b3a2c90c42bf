"""Values and headers: Python objects to the bytes that travel, and back.

A value travels with a byte for its type: bytes as RAW, str as STRING, int as INT (i64), everything else
as JSON. Owns that choice. Knows msgspec; no frames, no connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from nexo.errors import InvalidArgumentError, LimitExceededError, ProtocolError
from nexo.limits import HEADERS_BYTES_MAX

RAW: Final = 0x00
STRING: Final = 0x01
JSON: Final = 0x02
INT: Final = 0x03

_I64: Final = struct.Struct(">q")
_INT: Final = struct.Struct(">Bq")
_U16: Final = struct.Struct(">H")
_json_encode: Final = msgspec.json.Encoder().encode
_json_decode: Final = msgspec.json.Decoder().decode


def encode(value: Any) -> bytes:
    """An `any`: type byte and content. InvalidArgumentError for what no type can hold."""
    kind = type(value)
    if kind is bytes:
        return b"\x00" + value  # type: ignore[no-any-return]
    try:
        if kind is str:
            return b"\x01" + value.encode()  # type: ignore[no-any-return]
        if kind is int:
            return _INT.pack(INT, value)
        return _encode_other(value)
    except UnicodeEncodeError:
        raise InvalidArgumentError("the text has a lone surrogate, which UTF-8 cannot say") from None
    except struct.error:
        raise InvalidArgumentError(f"{value} does not fit into 64 bits") from None


def _encode_other(value: Any) -> bytes:
    """Subclasses as what they derive from (an IntEnum is an int), buffers as bytes, the rest as JSON."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\x00" + bytes(value)
    if isinstance(value, str):
        return b"\x01" + str.__str__(value).encode()
    if isinstance(value, int) and not isinstance(value, bool):
        return _INT.pack(INT, int(value))
    try:
        return b"\x02" + _json_encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidArgumentError(f"JSON cannot say this {type(value).__name__}: {error}") from error


def decode(value: bytes, type: Any = None) -> Any:
    """What an `any` holds; with `type`, as that type (a msgspec Struct, a dataclass, list[int], …).

    InvalidArgumentError when it is not of that type. ProtocolError when it is not what its own type byte
    says.
    """
    if not value:
        raise ProtocolError("a value without its type byte")
    kind = value[0]
    if type is not None:
        return _decode_as(value, kind, type)
    try:
        if kind == STRING:
            return value[1:].decode()
        if kind == RAW:
            return value[1:]
        if kind == JSON:
            return _json_decode(memoryview(value)[1:])
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"a value is not what its type byte 0x{kind:02x} says: {error}") from None
    if kind == INT and len(value) == _INT.size:
        return _I64.unpack_from(value, 1)[0]
    raise ProtocolError(f"a value of type 0x{kind:02x} and {len(value) - 1} bytes")


def _decode_as(value: bytes, kind: int, type: Any) -> Any:
    try:
        if kind == JSON:
            return _decoder(type).decode(memoryview(value)[1:])
        return msgspec.convert(decode(value), type)
    except msgspec.ValidationError as error:
        name = getattr(type, "__name__", str(type))
        raise InvalidArgumentError(f"the value is not of type {name}: {error}") from error
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"a value is not what its type byte 0x{kind:02x} says: {error}") from None
    except TypeError as error:
        raise InvalidArgumentError(f"nothing can be decoded as {type!r}: {error}") from error


@lru_cache(maxsize=256)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


class Headers(tuple[tuple[str, bytes], ...]):
    """A message's headers: (name, value) pairs in the order in which they were given, repetitions kept."""

    __slots__ = ()

    def get(self, name: str, default: bytes | None = None) -> bytes | None:
        """The value of the first header of this name."""
        for found, value in self:
            if found == name:
                return value
        return default


HeadersLike = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
"""What may be given as headers: a mapping, or pairs when a name shall be repeated."""

NO_HEADERS: Final = Headers()


def encode_headers(headers: HeadersLike) -> bytes:
    """A header block, without its length.

    InvalidArgumentError for an empty name; LimitExceededError for a name or value of 64 KiB, or a block
    above headers_bytes_max.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    parts: list[bytes] = []
    for name, value in pairs:
        if not name:
            raise InvalidArgumentError("a header's name must not be empty")
        try:
            for part in (name.encode(), value.encode() if isinstance(value, str) else bytes(value)):
                parts += (_U16.pack(len(part)), part)
        except UnicodeEncodeError:
            raise InvalidArgumentError(f"header {name!r} has a lone surrogate") from None
        except struct.error:
            raise LimitExceededError(
                f"header {name[:40]!r}: a name or a value has at most 65,535 bytes"
            ) from None
    block = b"".join(parts)
    if len(block) > HEADERS_BYTES_MAX:
        raise LimitExceededError(f"headers of {len(block)} bytes: headers_bytes_max is {HEADERS_BYTES_MAX}")
    return block


def decode_headers(block: bytes) -> Headers:
    """The pairs in a header block. ProtocolError when it is not one."""
    if not block:
        return NO_HEADERS
    parts: list[bytes] = []
    position = 0
    while position < len(block):
        content = position + _U16.size
        if content > len(block):
            raise ProtocolError("headers end inside a length")
        position = content + _U16.unpack_from(block, content - _U16.size)[0]
        if position > len(block):
            raise ProtocolError("headers end inside a name or a value")
        parts.append(block[content:position])
    if len(parts) % 2:
        raise ProtocolError("the last header has no value")
    try:
        return Headers(zip((name.decode() for name in parts[::2]), parts[1::2], strict=True))
    except UnicodeDecodeError:
        raise ProtocolError("a header's name is not UTF-8") from None
