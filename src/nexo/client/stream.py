"""One stream: publishing, reading, its groups. Layouts: docs/protocol.md; meaning: docs/stream.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from nexo.client import values
from nexo.client.connection import Connection
from nexo.client.events import log
from nexo.client.frames import U64, prefixed, string, u32
from nexo.client.group import Group
from nexo.client.lending import TRANSIENT, WAIT_MS_DEFAULT
from nexo.client.producer import Producer
from nexo.client.queueinfo import Status, admin_answer
from nexo.client.record import Page, Record, read_page
from nexo.client.streaminfo import (
    GroupInfo,
    Place,
    Publish,
    StreamDefinition,
    StreamInfo,
    key_bytes,
    place,
    place_bytes,
    record_bytes,
)
from nexo.client.tracing import sending
from nexo.client.values import HeadersLike
from nexo.client.writes import append, records_of
from nexo.errors import ConnectionClosedError
from nexo.protocols.native import opcodes as op

_ONE: Final = b"\x00\x00\x00\x01"


class Stream:
    """A stream of a server. `status` says whether the call that gave it created it or found it.

    Every method may raise, beside what it names itself: ResourceNotFoundError when the stream was deleted,
    InvalidArgumentError and LimitExceededError for what the server does not take, RequestTimeoutError,
    NotConnectedError and ConnectionClosedError.
    """

    def __init__(self, connection: Connection, definition: StreamDefinition, status: Status) -> None:
        self.name: str = definition.name
        self.definition: StreamDefinition = definition
        self.status: Status = status
        self._connection = connection
        self._name = string(definition.name)

    # Publishing.

    async def publish(
        self,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: HeadersLike = (),
        expected_seq: int | None = None,
    ) -> int:
        """Append a record; its sequence, when it is as safe as the stream's durability promises.

        Records with the same `key` go to a group one after another. With `expected_seq` it is appended only
        if this is the last sequence (0: the stream is empty), else SequenceMismatchError.
        """
        with sending("publish", self.name) as trace:
            headers = trace.headers(headers)
            if not headers and expected_seq is None:
                payload = self._name + _ONE + key_bytes(key) + prefixed(values.encode(value))
                reply = await self._connection.data(op.STREAM_PUB, payload)
                return int.from_bytes(reply[4:12], "big")
            return await self._append([record_bytes(value, key, headers)], expected_seq)

    async def publish_batch(self, items: Iterable[Any], *, expected_seq: int | None = None) -> list[int]:
        """Append values, or Publish items with keys and headers, in one step: all or none, at most 65,536.

        Returns their sequences, which follow one another. `expected_seq` as for `publish`.
        """
        given = list(items)
        if not given:
            return []
        with sending("publish", self.name, len(given)) as trace:
            first = await self._append(records_of(trace.items(given, Publish)), expected_seq)
        return list(range(first, first + len(given)))

    async def _append(self, records: list[bytes], expected_seq: int | None) -> int:
        payload = append(self._name, records, expected_seq)
        reply = await self._connection.data(op.STREAM_EXTENDED, payload)
        first: int = U64.unpack_from(reply)[0]
        return first

    def producer(self, id: str) -> Producer:
        """A publisher whose records are appended once, even when the connection breaks under them."""
        return Producer(self._connection, self.name, id)

    # Reading.

    async def read(
        self,
        start: Place = "beginning",
        *,
        limit: int | None = None,
        follow: bool = False,
        page_records: int = 1000,
        type: Any = None,
    ) -> AsyncIterator[Record]:
        """The records from a place on, at most `limit`: "beginning", "end", a sequence, a datetime, or
        `nexo.last(n)`. Up to what is there when it is read, or with `follow` for ever, as they come.

        Read page by page, up to `page_records` at a time. Goes on by itself after a lost connection. Records
        that retention took meanwhile are passed over. `type` decodes JSON values as that type.
        """
        kind, value = place(start)
        left = limit
        wait_ms = 0  # the first page only finds out where the place is
        while left is None or left > 0:
            asked = page_records if left is None else min(page_records, left)
            page = await self._page(kind, value, asked, wait_ms, type)
            if page is None:
                return
            if kind == op.SEEK_SEQUENCE and page.first_seq > value > 0 and wait_ms:
                log.warning("records %d to %d of stream %r are gone", value, page.first_seq - 1, self.name)
            for record in page.records:
                yield record
            if left is not None:
                left -= len(page.records)
            kind, value = op.SEEK_SEQUENCE, page.next_seq
            if value > page.last_seq:
                if not follow:
                    return
                wait_ms = WAIT_MS_DEFAULT
            elif follow and not wait_ms:
                wait_ms = WAIT_MS_DEFAULT

    async def _page(self, kind: int, value: int, records: int, wait_ms: int, type: Any) -> Page | None:
        """A page of records; None when the program has closed the client."""
        where = place_bytes(kind, value)
        tail = u32(records, "a page") + u32(0, "bytes") + u32(wait_ms, "a wait in ms")
        payload = bytes((op.STREAMX_READ,)) + self._name + where + tail
        patience = wait_ms / 1000 + self._connection.timeout
        while True:
            try:
                return read_page(
                    await self._connection.data(op.STREAM_EXTENDED, payload, timeout=patience), type
                )
            except TRANSIENT as error:
                closed = self._connection.closed
                if closed is not None or not wait_ms:
                    if wait_ms and isinstance(closed, ConnectionClosedError):
                        return None
                    if closed is not None or not isinstance(error, ConnectionClosedError):
                        raise
                log.info("the reader of stream %r waits for the next connection: %s", self.name, error)

    # Groups.

    def group(self, name: str) -> Group:
        """A group of consumers. Nothing travels: the first that consumes makes it."""
        return Group(self._connection, self.name, name)

    async def groups(self) -> list[GroupInfo]:
        """The stream's groups, and how far each is."""
        found: list[GroupInfo] = admin_answer(await self._admin("groups"), list[GroupInfo])
        return found

    async def delete_group(self, name: str) -> None:
        """Delete a group with its place and its dead letters. ResourceNotFoundError when there is none."""
        await self._admin("delete_group", name)

    async def describe(self) -> StreamInfo:
        """All options, and what the stream holds."""
        info: StreamInfo = admin_answer(await self._admin("describe"), StreamInfo)
        return info

    async def _admin(self, action: str, group: str = "") -> bytes:
        payload = bytes((op.STREAMX_ADMIN,)) + self._name + string(group) + string(action)
        return await self._connection.data(op.STREAM_EXTENDED, payload)

    def __repr__(self) -> str:
        return f"Stream(name={self.name!r})"
