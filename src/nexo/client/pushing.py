"""The items of a push, as bytes. Layouts: docs/protocol.md."""

from __future__ import annotations

import time
from datetime import datetime

from nexo.client import values
from nexo.client.frames import U16, U32, prefixed, u64
from nexo.client.queueinfo import Push
from nexo.client.values import HeadersLike
from nexo.errors import InvalidArgumentError, LimitExceededError
from nexo.limits import QUEUE_KEY_BYTES_MAX, TTL_MS_MAX
from nexo.protocols.native import opcodes as op


def plain_item(value: object) -> bytes:
    """An item without options."""
    return b"\x00" + prefixed(values.encode(value))


def item(
    value: object,
    priority: int,
    delay_ms: int,
    at: datetime | None,
    dedup: str | bytes | None,
    group: str | bytes | None,
    headers: HeadersLike,
    ttl_ms: int | None,
) -> bytes:
    """An item with its options. InvalidArgumentError for one out of range."""
    flags = 0
    fields = b""
    if priority:
        if not 0 <= priority <= 0xFF:
            raise InvalidArgumentError(f"a priority of {priority}: 0 to 255")
        flags |= op.ITEM_PRIORITY
        fields += bytes((priority,))
    if at is not None:
        if delay_ms:
            raise InvalidArgumentError("either delay_ms or at")
        delay_ms = max(0, round(at.timestamp() * 1000) - time.time_ns() // 1_000_000)
    if delay_ms:
        if not 0 <= delay_ms <= TTL_MS_MAX:
            raise InvalidArgumentError(f"a delay of {delay_ms} ms: 0 to {TTL_MS_MAX}")
        flags |= op.ITEM_DELAY
        fields += u64(delay_ms, "a delay in ms")
    if dedup is not None:
        flags |= op.ITEM_DEDUP
        fields += key(dedup, "a dedup key", QUEUE_KEY_BYTES_MAX)
    if group is not None:
        flags |= op.ITEM_GROUP
        fields += key(group, "a group key", QUEUE_KEY_BYTES_MAX)
    if headers:
        flags |= op.ITEM_HEADERS
        fields += prefixed(values.encode_headers(headers))
    if ttl_ms is not None:
        if not 0 < ttl_ms <= TTL_MS_MAX:
            raise InvalidArgumentError(f"a time to live of {ttl_ms} ms: 1 to {TTL_MS_MAX}")
        flags |= op.ITEM_TTL
        fields += u64(ttl_ms, "a time to live in ms")
    return bytes((flags,)) + fields + prefixed(values.encode(value))


def item_of(pushed: object) -> bytes:
    """The item for a value, or for a Push with its options."""
    if not isinstance(pushed, Push):
        return plain_item(pushed)
    return item(
        pushed.value,
        pushed.priority,
        pushed.delay_ms,
        pushed.at,
        pushed.dedup,
        pushed.group,
        pushed.headers,
        pushed.ttl_ms,
    )


def key(given: str | bytes, what: str, most: int) -> bytes:
    """A `key` element. InvalidArgumentError for an empty one, LimitExceededError for one of more than `most`
    bytes."""
    try:
        encoded = given.encode() if isinstance(given, str) else bytes(given)
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{what} of {given!r} is not valid Unicode") from None
    if not encoded:
        raise InvalidArgumentError(f"{what} must not be empty")
    if len(encoded) > most:
        raise LimitExceededError(f"{what} of {len(encoded)} bytes: at most {most}")
    return U16.pack(len(encoded)) + encoded


def batch(items: list[bytes]) -> bytes:
    """A count and items."""
    return U32.pack(len(items)) + b"".join(items)
