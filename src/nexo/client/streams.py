"""The streams of a server: creating, finding, deleting. Layouts: docs/protocol.md; meaning: docs/stream.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from nexo.client.connection import Connection
from nexo.client.frames import Reader, string, u64
from nexo.client.queueinfo import Durability, admin_answer
from nexo.client.stream import Stream
from nexo.client.streaminfo import StreamDefinition, StreamInfo
from nexo.protocols.native import opcodes as op

PAGE: Final = 1_000
"""Streams in one answer."""


class Streams:
    """The streams of a server. What every method may raise is said at Stream."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        name: str,
        *,
        max_age_ms: int | None = None,
        max_bytes: int | None = None,
        max_records: int | None = None,
        max_ack_pending: int | None = None,
        ack_wait_ms: int | None = None,
        max_deliveries: int | None = None,
        backoff_ms: int | None = None,
        backoff_max_ms: int | None = None,
        group_idle_ms: int | None = None,
        durability: Durability | None = None,
    ) -> Stream:
        """A stream, created unless it exists: `status` says which. What is not given has its default.

        Retention keeps records for `max_age_ms` (7 days), in `max_bytes` (1 GiB) and `max_records` (no bound);
        0 is no bound. A group lends a message for `ack_wait_ms` (30 s), at most `max_deliveries` (5) times, and
        at most `max_ack_pending` (10,000) at once; one that failed stays away for `backoff_ms` (1 s), doubling
        up to `backoff_max_ms`. A group that nobody uses for `group_idle_ms` is deleted (0: never).
        `durability` says when a record is confirmed: "fsync" (on disk), "flush" or "memory".

        ResourceConfigConflictError when the stream exists and one of the given options is otherwise; its
        `details` list the differences.
        """
        flags = 0
        fields = b""
        if max_age_ms is not None:
            flags |= op.STREAM_MAX_AGE
            fields += u64(max_age_ms, "max_age_ms")
        if max_bytes is not None:
            flags |= op.STREAM_MAX_BYTES
            fields += u64(max_bytes, "max_bytes")
        options = {
            "max_records": max_records,
            "max_ack_pending": max_ack_pending,
            "ack_wait_ms": ack_wait_ms,
            "max_deliveries": max_deliveries,
            "backoff_ms": backoff_ms,
            "backoff_max_ms": backoff_max_ms,
            "group_idle_ms": group_idle_ms,
            "durability": durability,
        }
        given = {option: value for option, value in options.items() if value is not None}
        if given:
            flags |= op.CREATE_OPTIONS
            fields += msgspec.json.encode(given)
        reader = Reader(
            await self._connection.data(op.STREAM_CREATE, string(name) + bytes((flags,)) + fields)
        )
        created = reader.u8() == 1
        return Stream(self._connection, _definition(reader), "created" if created else "unchanged")

    async def get(self, name: str) -> Stream:
        """A stream that exists. ResourceNotFoundError when it does not."""
        reader = Reader(await self._connection.data(op.STREAM_DESCRIBE, string(name)))
        return Stream(self._connection, _definition(reader), "unchanged")

    async def exists(self, name: str) -> bool:
        """Whether there is such a stream."""
        return Reader(await self._connection.data(op.STREAM_EXISTS, string(name))).u8() == 1

    async def delete(self, name: str) -> None:
        """Delete a stream with its records and groups. ResourceNotFoundError when there is none."""
        await self._connection.call(op.STREAM_DELETE, string(name))

    async def describe(self, name: str) -> StreamInfo:
        """All options of a stream, and what it holds. ResourceNotFoundError when there is none."""
        info: StreamInfo = admin_answer(await self._admin(name, "describe", {}), StreamInfo)
        return info

    async def list(self, prefix: str = "") -> AsyncIterator[StreamInfo]:
        """The streams whose names begin so, in the order of their names, each as `describe` tells it."""
        after = ""
        while True:
            page = admin_answer(
                await self._admin(prefix, "list", {"after": after, "limit": PAGE}), list[StreamInfo]
            )
            for info in page:
                yield info
            if len(page) < PAGE:
                return
            after = page[-1].name

    async def _admin(self, name: str, action: str, arguments: dict[str, Any]) -> bytes:
        payload = bytes((op.STREAMX_ADMIN,)) + string(name) + string("") + string(action)
        return await self._connection.data(op.STREAM_EXTENDED, payload + msgspec.json.encode(arguments))


def _definition(reader: Reader) -> StreamDefinition:
    name, flags = reader.string(), reader.u8()
    max_age_ms = reader.u64() if flags & op.STREAM_MAX_AGE else None
    max_bytes = reader.u64() if flags & op.STREAM_MAX_BYTES else None
    return StreamDefinition(name, max_age_ms, max_bytes, reader.u64(), reader.u64(), reader.u32())
