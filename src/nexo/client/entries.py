"""What the store's commands are answered with, as Python has it, and how it is read from their replies."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from nexo.client import values
from nexo.client.frames import I64, Reader, u64
from nexo.client.ttl import ttl_ms_of
from nexo.errors import InvalidArgumentError, ProtocolError
from nexo.protocols.native import opcodes as op


class MapInfo(msgspec.Struct, frozen=True):
    """A declared map: its prefix and durability, the keys that belong to it, and their bytes as memory counts them."""

    prefix: str
    durability: str
    keys: int
    bytes: int


class MapCreated(MapInfo, frozen=True, kw_only=True):
    """The same, and whether the call that gave it declared the map or found it."""

    status: Literal["created", "unchanged"]


class Entry(msgspec.Struct, frozen=True):
    """A key with all that is known of it.

    `expires_at_ms` is a Unix time in milliseconds, `ttl_ms` what was left when the server answered; both
    are None when the key lives for ever.
    """

    key: str
    value: Any
    version: int
    expires_at_ms: int | None
    ttl_ms: int | None


class Scanned(msgspec.Struct, frozen=True):
    """A key that a scan has found; `value` is None when values were not asked for."""

    key: str
    value: Any
    version: int
    expires_at_ms: int | None


class Written(msgspec.Struct, frozen=True):
    """Whether a conditional write was applied. `version` is the key's now (0: there is no such key).

    `old` is the value before, if it was asked for and there was one.
    """

    applied: bool
    version: int
    old: Any = None


class Count(msgspec.Struct, frozen=True):
    """A counter after a bounded step: its value, and what was really added (0: a bound forbade it)."""

    value: int
    applied: int
    version: int
    expires_at_ms: int | None
    ttl_ms: int | None


def lifetime(ttl: float | None, ttl_ms: int | None, expires_at_ms: int | None) -> tuple[int, bytes]:
    """The flags and the field of MAP_SET for a time to live."""
    left = ttl_ms_of(ttl, ttl_ms)
    if left is not None:
        if expires_at_ms is not None:
            raise InvalidArgumentError("either a TTL or expires_at_ms")
        return op.SET_TTL | op.SET_TTL_MS, u64(left, "a TTL in ms")
    if expires_at_ms is not None:
        return op.SET_TTL | op.SET_TTL_ABSOLUTE, u64(expires_at_ms, "a time in ms")
    return 0, b""


def read_entry(key: str, reply: bytes, type: Any) -> Entry:
    """The answer to MAP_GETX."""
    reader = Reader(reply)
    version, expires_at, left = reader.u64(), reader.u64(), reader.u64()
    value = values.decode(reader.rest(), type)
    return Entry(key, value, version, expires_at or None, left if expires_at else None)


def read_count(reply: bytes) -> Count:
    """The answer to MAP_INCRX."""
    reader = Reader(reply)
    value, applied, version = reader.i64(), reader.i64(), reader.u64()
    expires_at, left = reader.u64(), reader.u64()
    return Count(value, applied, version, expires_at or None, left if expires_at else None)


def read_written(reply: bytes, with_old: bool) -> Written:
    """The answer to a conditional write."""
    reader = Reader(reply)
    applied, version, old = reader.u8() != 0, reader.u64(), reader.rest()
    return Written(applied, version, values.decode(old) if old and with_old else None)


def read_int(reply: bytes) -> int:
    """The integer in a value."""
    if len(reply) != 9 or reply[0] != values.INT:
        raise ProtocolError("the server answered with something else than an integer")
    number: int = I64.unpack_from(reply, 1)[0]
    return number


def read_page(reply: bytes, with_values: bool, type: Any) -> tuple[bool, list[Scanned]]:
    """The answer to MAP_SCAN: whether there is more, and what was found."""
    reader = Reader(reply)
    more = reader.u8() != 0
    found = []
    for _ in range(reader.u32()):
        key, version, expires_at = reader.string(), reader.u64(), reader.u64()
        value = values.decode(reader.prefixed(), type) if with_values else None
        found.append(Scanned(key, value, version, expires_at or None))
    return more, found
