"""The payloads of writes that go alone or in a batch. Layouts: docs/protocol.md.

Owns what the options of a write mean on the wire; the methods of Map, Topic, Stream and their twins in a batch
say what they mean to a program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nexo.client import values
from nexo.client.entries import lifetime
from nexo.client.frames import U64, Reader, i64, prefixed, string, u64
from nexo.client.pushing import batch
from nexo.client.queueinfo import Pushed
from nexo.client.streaminfo import Publish, record_bytes
from nexo.client.ttl import ttl_ms_of
from nexo.client.values import HeadersLike
from nexo.protocols.native import opcodes as op

# Store.


def set_key(key: str, value: Any, ttl: float | None, ttl_ms: int | None, version: int | None) -> bytes:
    """A MAP_SET; answered with DATA only when it has a version."""
    flags, options = lifetime(ttl, ttl_ms, None)
    if version is not None:
        flags |= op.SET_VERSION
        options += u64(version, "a version")
    return string(key) + bytes((flags,)) + options + values.encode(value)


def put_key(
    key: str,
    value: Any,
    ttl: float | None,
    ttl_ms: int | None,
    expires_at_ms: int | None,
    keep_ttl: bool,
    if_absent: bool,
    if_present: bool,
    version: int | None,
    return_old: bool,
) -> bytes:
    """A MAP_SET that is answered with DATA."""
    flags, options = lifetime(ttl, ttl_ms, expires_at_ms)
    flags |= keep_ttl * op.SET_KEEP_TTL | if_absent * op.SET_IF_ABSENT | if_present * op.SET_IF_PRESENT
    if version is not None:
        flags |= op.SET_VERSION
        options += u64(version, "a version")
    if return_old or not flags & (op.SET_IF_ABSENT | op.SET_IF_PRESENT | op.SET_VERSION):
        # Only a conditional write is answered with a version; asking for the old value makes it one.
        flags |= op.SET_RETURN_OLD
    return string(key) + bytes((flags,)) + options + values.encode(value)


def remove_key(key: str, version: int | None) -> bytes:
    """A MAP_DELX."""
    condition = b"\x00" if version is None else bytes((op.DELX_VERSION,)) + u64(version, "a version")
    return string(key) + condition


def incr_key(key: str, delta: int) -> bytes:
    """A MAP_INCR."""
    return string(key) + i64(delta, "a delta")


def incr_key_bounded(
    key: str,
    delta: int,
    minimum: int | None,
    maximum: int | None,
    saturate: bool,
    ttl: float | None,
    ttl_ms: int | None,
) -> bytes:
    """A MAP_INCRX."""
    flags = saturate * op.INCRX_SATURATE
    optional = b""
    if minimum is not None:
        flags |= op.INCRX_MIN
        optional += i64(minimum, "a lower bound")
    if maximum is not None:
        flags |= op.INCRX_MAX
        optional += i64(maximum, "an upper bound")
    left = ttl_ms_of(ttl, ttl_ms)
    if left is not None:
        flags |= op.INCRX_TTL
        optional += u64(left, "a TTL in ms")
    return string(key) + bytes((flags,)) + i64(delta, "a delta") + optional


# Pub/Sub.


def publication(
    topic: str,
    value: Any,
    retain: bool,
    ttl: float | None,
    ttl_ms: int | None,
    headers: HeadersLike,
    count: bool,
) -> bytes:
    """A PUB."""
    left = ttl_ms_of(ttl, ttl_ms)
    if not (retain or count or headers) and left is None:
        return string(topic) + b"\x00" + values.encode(value)
    flags = retain * op.PUB_RETAIN | count * op.PUB_COUNT
    optional = b""
    if left is not None:
        flags |= op.PUB_TTL | op.PUB_TTL_MS
        optional += U64.pack(left)
    block = values.encode_headers(headers)
    if block:
        flags |= op.PUB_HEADERS
        optional += prefixed(block)
    return string(topic) + bytes((flags,)) + optional + values.encode(value)


def clearing(topic: str) -> bytes:
    """A PUB that clears what is retained."""
    return string(topic) + bytes((op.PUB_CLEAR,)) + values.encode(b"")


# Queues and streams.


def read_pushed(reply: bytes) -> list[Pushed]:
    """The answer to PUSHX."""
    reader = Reader(reply)
    pushed = []
    for _ in range(reader.u32()):
        duplicate = reader.u8() == op.PUSH_DUPLICATE
        reader.u64()
        pushed.append(Pushed(reader.u64(), duplicate))
    return pushed


def append(stream: bytes, records: list[bytes], expected_seq: int | None) -> bytes:
    """An APPEND to the stream whose name this `string` is."""
    payload = bytes((op.STREAMX_APPEND,)) + stream
    if expected_seq is None:
        payload += b"\x00"
    else:
        payload += bytes((op.APPEND_EXPECTED,)) + u64(expected_seq, "an expected sequence")
    return payload + batch(records)


def records_of(items: Iterable[Any]) -> list[bytes]:
    """Records of values, or of Publish items with their keys and headers."""
    return [
        record_bytes(one.value, one.key, one.headers)
        if isinstance(one, Publish)
        else record_bytes(one, None, ())
        for one in items
    ]
