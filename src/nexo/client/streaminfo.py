"""What a stream and its groups are told and tell, as Python has it; places in a stream; what to publish."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from nexo.client import values
from nexo.client.frames import prefixed, u64
from nexo.client.pushing import key
from nexo.client.values import HeadersLike
from nexo.errors import InvalidArgumentError
from nexo.limits import STREAM_KEY_BYTES_MAX
from nexo.protocols.native import opcodes as op


class StreamDefinition(msgspec.Struct, frozen=True):
    """What the server answers to a create. A `max_age_ms` or `max_bytes` of None is no bound."""

    name: str
    max_age_ms: int | None
    max_bytes: int | None
    max_ack_pending: int
    ack_wait_ms: int
    max_deliveries: int


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """All options of a stream, and what it holds: the records from `first_seq` to `last_seq`.

    `created_at` is in Unix milliseconds. Of the bounds, 0 is none.
    """

    name: str
    max_age_ms: int
    max_bytes: int
    max_records: int
    max_ack_pending: int
    ack_wait_ms: int
    max_deliveries: int
    backoff_ms: int
    backoff_max_ms: int
    group_idle_ms: int
    durability: str
    created_at: int
    first_seq: int
    last_seq: int
    records: int
    bytes: int
    groups: int


class GroupInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A group: all up to `ack_floor` is settled; `lag_messages` are not, the oldest of them `lag_ms` old."""

    name: str
    ack_floor: int
    lag_messages: int
    lag_ms: int
    leased: int
    members: int
    dead: int
    generation: int
    delivered: int
    acked: int
    nacked: int


class Lag(msgspec.Struct, frozen=True):
    """How far a group is behind: messages that are not settled, and the age of the oldest in ms."""

    messages: int
    ms: int


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """A record to publish with others: its value, its key, its headers."""

    value: Any
    key: str | bytes | None = None
    headers: HeadersLike = ()


class DeadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a group has given up, as it stood in the stream. Times are Unix milliseconds."""

    seq: int
    data: Any
    reason: str
    attempts: int
    key: bytes | None
    headers: Any
    timestamp: int
    died_at: int


class Last(msgspec.Struct, frozen=True):
    """The place of the last so many records: `last(n)` makes it."""

    count: int


def last(count: int) -> Last:
    """A place to read from: the last `count` records, and what follows."""
    return Last(count)


Place = Literal["beginning", "end"] | int | datetime | Last
"""Where to begin: at an end, at a sequence, at the first record of a time, at the last n."""

GroupPlace = Literal["beginning", "end"] | int | datetime
"""Where a group can be told to go on."""

_ENDS: Final = {"beginning": op.SEEK_BEGINNING, "end": op.SEEK_END}


def place(given: Place) -> tuple[int, int]:
    """The kind of a place and its value, as the wire has them. InvalidArgumentError for something else."""
    if isinstance(given, str) and given in _ENDS:
        return _ENDS[given], 0
    if isinstance(given, datetime):
        return op.SEEK_TIME, max(0, round(given.timestamp() * 1000))
    if isinstance(given, Last):
        return op.SEEK_LAST, given.count
    if isinstance(given, int) and not isinstance(given, bool):
        return op.SEEK_SEQUENCE, given
    raise InvalidArgumentError(
        f"{given!r} is no place: 'beginning', 'end', a sequence, a datetime, or for reading last(n)"
    )


def place_bytes(kind: int, value: int) -> bytes:
    """A place as READ and SEEK want it."""
    return bytes((kind,)) + u64(value, "a place")


def key_bytes(given: str | bytes | None) -> bytes:
    """The `key` element of a record."""
    return b"\x00\x00" if given is None else key(given, "a key", STREAM_KEY_BYTES_MAX)


def record_bytes(value: object, key: str | bytes | None, headers: HeadersLike) -> bytes:
    """A record as APPEND wants it."""
    block = values.encode_headers(headers) if headers else b""
    return key_bytes(key) + prefixed(block) + prefixed(values.encode(value))
