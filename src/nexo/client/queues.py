"""The queues of a server: creating, finding, deleting. Layouts: docs/protocol.md; meaning: docs/queue.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from nexo.client.connection import Connection
from nexo.client.frames import Reader, string, u32, u64
from nexo.client.queue import Queue
from nexo.client.queueinfo import (
    Backoff,
    Durability,
    Expiry,
    Overflow,
    QueueDefinition,
    QueueInfo,
    admin_answer,
)
from nexo.errors import ProtocolError
from nexo.protocols.native import opcodes as op

PAGE: Final = 1_000
"""Queues in one answer."""


class Queues:
    """The queues of a server. What every method may raise is said at Queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        name: str,
        *,
        visibility_timeout_ms: int | None = None,
        max_deliveries: int | None = None,
        durability: Durability | None = None,
        backoff: Backoff | None = None,
        backoff_ms: int | None = None,
        backoff_max_ms: int | None = None,
        backoff_jitter_percent: int | None = None,
        dedup_window_ms: int | None = None,
        messages_max: int | None = None,
        bytes_max: int | None = None,
        overflow: Overflow | None = None,
        in_flight_max: int | None = None,
        on_expiry: Expiry | None = None,
        dead_retention_ms: int | None = None,
        dead_letters_max: int | None = None,
    ) -> Queue:
        """A queue, created unless it exists: `status` says which. What is not given has its default.

        A message is lent for `visibility_timeout_ms` (30 s) and at most `max_deliveries` (5) times, then it
        is a dead letter. `durability` says when a push is confirmed: "fsync" (on disk), "flush" or "memory".
        `backoff` is how long a message that failed stays away: "none", "fixed" (`backoff_ms`) or
        "exponential" (doubling up to `backoff_max_ms`, shortened at random by `backoff_jitter_percent`).
        `messages_max` and `bytes_max` bound the queue, 0 is no bound; `overflow` says what a push past one
        does: "reject", "drop_oldest" or "dead_letter". `in_flight_max` bounds what is lent at once.
        `on_expiry` is what becomes of a message that outlives its time: "drop" or "dead_letter".

        ResourceConfigConflictError when the queue exists and one of the given options is otherwise; its
        `details` list the differences.
        """
        flags = 0
        fields = b""
        if visibility_timeout_ms is not None:
            flags |= op.CREATE_VISIBILITY
            fields += u64(visibility_timeout_ms, "visibility_timeout_ms")
        if max_deliveries is not None:
            flags |= op.CREATE_DELIVERIES
            fields += u32(max_deliveries, "max_deliveries")
        options = {
            "durability": durability,
            "backoff": backoff,
            "backoff_ms": backoff_ms,
            "backoff_max_ms": backoff_max_ms,
            "backoff_jitter_percent": backoff_jitter_percent,
            "dedup_window_ms": dedup_window_ms,
            "messages_max": messages_max,
            "bytes_max": bytes_max,
            "overflow": overflow,
            "in_flight_max": in_flight_max,
            "on_expiry": on_expiry,
            "dead_retention_ms": dead_retention_ms,
            "dead_letters_max": dead_letters_max,
        }
        given = {option: value for option, value in options.items() if value is not None}
        if given:
            flags |= op.CREATE_OPTIONS
            fields += msgspec.json.encode(given)
        reader = Reader(await self._connection.data(op.QUEUE_CREATE, string(name) + bytes((flags,)) + fields))
        created = reader.u8() == 1
        return Queue(self._connection, _definition(reader), "created" if created else "unchanged")

    async def get(self, name: str) -> Queue:
        """A queue that exists. ResourceNotFoundError when it does not."""
        reader = Reader(await self._connection.data(op.QUEUE_DESCRIBE, string(name)))
        return Queue(self._connection, _definition(reader), "unchanged")

    async def exists(self, name: str) -> bool:
        """Whether there is such a queue."""
        return Reader(await self._connection.data(op.QUEUE_EXISTS, string(name))).u8() == 1

    async def delete(self, name: str) -> None:
        """Delete a queue with all its messages. ResourceNotFoundError when there is none."""
        await self._connection.call(op.QUEUE_DELETE, string(name))

    async def describe(self, name: str) -> QueueInfo:
        """All options of a queue, what it holds, and what it has done. ResourceNotFoundError without one."""
        reply = await self._connection.data(op.QUEUE_ADMIN, string(name) + string("describe"))
        info: QueueInfo = admin_answer(reply, QueueInfo)
        return info

    async def list(self, prefix: str = "") -> AsyncIterator[QueueInfo]:
        """The queues whose names begin so, in the order of their names, each as `describe` tells it."""
        after = ""
        while True:
            arguments: dict[str, Any] = {"after": after, "limit": PAGE}
            payload = string(prefix) + string("list") + msgspec.json.encode(arguments)
            page = admin_answer(await self._connection.data(op.QUEUE_ADMIN, payload), list[QueueInfo])
            for info in page:
                yield info
            if len(page) < PAGE:
                return
            after = page[-1].name


def _definition(reader: Reader) -> QueueDefinition:
    definition = QueueDefinition(reader.string(), reader.u64(), reader.u32())
    if not definition.name:
        raise ProtocolError("the server defined a queue without a name")
    return definition
