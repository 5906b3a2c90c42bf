"""What a server says of itself to the people who run it, as Python has it. Fields: docs/protocol.md."""

from __future__ import annotations

from typing import Any

import msgspec


class StatusAlarm(msgspec.Struct, frozen=True):
    """Something that a person should look at. `level` is "critical" or "warning"."""

    level: str
    code: str
    message: str


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A server in one document. Times are Unix milliseconds; counters count from its start.

    Of an embedded broker, whose process is the program's own, only `at`, `ready`, `reasons` and the brokers are told.
    """

    at: int
    ready: bool
    reasons: list[str]
    version: str = ""
    compiled: bool = False
    started_at: int = 0
    uptime_ms: int = 0
    alarms: list[StatusAlarm] = []
    connections: dict[str, int] = {}
    memory: dict[str, Any] = {}
    loop: dict[str, float] = {}
    storage: dict[str, Any] = {}
    store: dict[str, int]
    queues: dict[str, int]
    pubsub: dict[str, int]
    streams: dict[str, int]


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A connection of a server. `since` is in Unix milliseconds; `pending_bytes` wait for its client to read."""

    id: int
    protocol: str
    address: str
    account: str
    name: str
    since: int
    subscriptions: int
    received_bytes: int
    sent_bytes: int
    pending_bytes: int
    dropped: int
    blocked: bool


class SettingInfo(msgspec.Struct, frozen=True):
    """A setting in force. `source` is the flag, variable or file that it comes from, or "default"."""

    name: str
    value: Any
    source: str


class BusyQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue among the busiest: what it holds, and its counters."""

    name: str
    ready: int
    leased: int
    dead: int
    pushed: int
    delivered: int
    acked: int


class BusyStream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream among the busiest. `appended` is its last sequence, `delivered` the sum of its groups."""

    name: str
    records: int
    bytes: int
    groups: int
    appended: int
    delivered: int


class BusyTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A filter that is subscribed to, and what waits for its subscribers."""

    name: str
    subscribers: int
    pending_bytes: int
    dropped: int


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """The status and the busiest of each kind. Rates are differences between two of these."""

    status: ServerStatus
    queues: list[BusyQueue]
    streams: list[BusyStream]
    topics: list[BusyTopic]
    clients: list[ConnectionInfo]


class ConnectionPage(msgspec.Struct, frozen=True):
    """Some connections; `after` is where the next page begins, 0 when there is none."""

    connections: list[ConnectionInfo]
    after: int
