"""What a queue is told and tells, as Python has it: definitions, figures, messages to push, messages seen."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from nexo.client import values
from nexo.client.values import NO_HEADERS, Headers, HeadersLike, decode_headers
from nexo.errors import InvalidArgumentError, ProtocolError

Status = Literal["created", "unchanged"]
Durability = Literal["memory", "flush", "fsync"]
Backoff = Literal["none", "fixed", "exponential"]
Overflow = Literal["reject", "drop_oldest", "dead_letter"]
Expiry = Literal["drop", "dead_letter"]
State = Literal["ready", "held", "delayed", "leased", "dead"]


class QueueDefinition(msgspec.Struct, frozen=True):
    """What the server answers to a create: the name, and how long and how often a message is lent."""

    name: str
    visibility_timeout_ms: int
    max_deliveries: int


class QueueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """All options of a queue, what it holds now, and what it has done since the server was started.

    Times are Unix milliseconds, 0 for none; `paused_until` is -1 when it is paused until it is resumed.
    """

    name: str
    visibility_timeout_ms: int
    max_deliveries: int
    durability: str
    backoff: str
    backoff_ms: int
    backoff_max_ms: int
    backoff_jitter_percent: int
    dedup_window_ms: int
    messages_max: int
    bytes_max: int
    overflow: str
    in_flight_max: int
    on_expiry: str
    dead_retention_ms: int
    dead_letters_max: int
    created_at: int
    paused_until: int
    messages: int
    bytes: int
    resident_bytes: int
    staged: int
    ready: int
    held: int
    delayed: int
    leased: int
    dead_letters: int
    oldest_enqueued_at: int
    oldest_died_at: int
    waiting_consumers: int
    pushed: int
    deduplicated: int
    delivered: int
    redelivered: int
    acked: int
    nacked: int
    expired: int
    dead: int
    dropped: int
    redriven: int


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A message to push with others: its value, and the options of `Queue.push`."""

    value: Any
    priority: int = 0
    delay_ms: int = 0
    at: datetime | None = None
    dedup: str | bytes | None = None
    group: str | bytes | None = None
    headers: HeadersLike = ()
    ttl_ms: int | None = None


class Pushed(msgspec.Struct, frozen=True):
    """A message that was pushed: its id, or that of the first one with its dedup key."""

    id: int
    duplicate: bool


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was given up after so many attempts, and why."""

    id: int
    data: Any
    attempts: int
    reason: str


class DeadLetters(list[DeadLetter]):
    """A page of dead letters, oldest first; `total` is how many there are in all."""

    def __init__(self, letters: list[DeadLetter], total: int) -> None:
        super().__init__(letters)
        self.total = total


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it lies in its queue. Times are Unix milliseconds, 0 for none.

    `reason` is that of its last failure; `died_at` is set when `state` is "dead".
    """

    id: int
    data: Any
    state: str
    priority: int
    attempts: int
    enqueued_at: int
    due_at: int
    expires_at: int
    group: str
    reason: str
    headers: Headers = NO_HEADERS
    bytes: int = 0
    died_at: int = 0


class Redriven(msgspec.Struct, frozen=True):
    """How many dead letters a redrive has brought back so far, and whether that were all."""

    moved: int
    done: bool


def shown_value(shown: dict[str, Any], type: Any) -> Any:
    """The value in an answer that is JSON: bytes stand in it as base64."""
    value = shown.get("value")
    if shown.get("type") == "bytes":
        value = b64decode(value or "")
    if type is None:
        return value
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"the value is not of type {type}: {error}") from error


def stored_message(shown: dict[str, Any], type: Any) -> StoredMessage:
    """A message in an answer that is JSON. ProtocolError when it is not one."""
    try:
        fields = {name: shown[name] for name in StoredMessage.__struct_fields__ if name in shown}
        fields["headers"] = decode_headers(b64decode(shown.get("headers", "")))
        fields["data"] = shown_value(shown, type)
        return StoredMessage(**fields)
    except TypeError as error:
        raise ProtocolError(f"the server described a message otherwise: {error}") from None


def admin_answer(reply: bytes, type: Any = None) -> Any:
    """The JSON that an admin command is answered with. ProtocolError when it is not of that type."""
    try:
        return values.decode(reply, type)
    except InvalidArgumentError as error:
        raise ProtocolError(f"the server described something otherwise: {error}") from None


def utc(ms: int) -> datetime:
    """A Unix time in milliseconds as a datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)
