"""Streams and their groups over HTTP."""

from __future__ import annotations

import asyncio
from heapq import nsmallest
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from nexo.brokers.journal import FLUSH
from nexo.brokers.stream.group import BEGINNING, END, SEQUENCE, TIME, Group
from nexo.brokers.stream.records import Record
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.waiters import Waiter, Waiting
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError, ServerError
from nexo.limits import APPEND_RECORDS_MAX, HTTP_FOLLOW_BYTES, HTTP_PAGE_MAX, PAGE_BYTES_MAX
from nexo.protocols.grants import STREAM_APPEND, STREAM_CONSUME, STREAM_MANAGE, STREAM_READ
from nexo.protocols.grants import STREAMS as STREAMS_SEEN
from nexo.protocols.native import streamadmin
from nexo.protocols.native.jsonadmin import page_length, shown_value
from nexo.protocols.native.stream import options
from nexo.server.http.access import Access
from nexo.server.http.permissions import asked, on, stream_seen
from nexo.server.http.routing import (
    DATA,
    EVENT_STREAM,
    NUMBER_MAX,
    Call,
    Empty,
    Route,
    answer,
    named_page,
    page,
)
from nexo.server.http.sse import Source, event, respond
from nexo.server.http.store import LISTED, VALUE_BYTES
from nexo.server.http.values import Headers, Valued, header_block, public

STREAMS: Final = "/api/v1/streams"
ONE: Final = STREAMS + "/{stream}"
GROUP: Final = ONE + "/groups/{group}"


class CreateStream(Struct, forbid_unknown_fields=True):
    """A stream that is wanted."""

    name: str
    options: dict[str, Any] = {}


class Appended(Valued, kw_only=True):
    """One record."""

    key: str = ""
    headers: Headers = msgspec.field(default_factory=list)


class Append(Struct, forbid_unknown_fields=True):
    """Records, all or none."""

    records: list[Appended]
    expected_seq: int | UnsetType = UNSET


class Seek(Struct, forbid_unknown_fields=True):
    """Where a group goes on: one of these."""

    to: Literal["beginning", "end"] | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    time: int | UnsetType = UNSET


def found(call: Call) -> Stream:
    return call.access.node.streams.find(call.name("stream"))


def group_of(call: Call) -> tuple[Stream, Group]:
    stream = found(call)
    return stream, stream.find_group(call.name("group"))


def level(stream: Stream) -> int:
    return int(stream.definition.durability)


def shown_record(record: Record, value_bytes_max: int) -> dict[str, object]:
    """A record for an answer."""
    value = record.value
    shown: dict[str, object] = {
        "seq": int(record.seq),
        "timestamp": int(record.timestamp),
        "key": record.key,
        "headers": record.headers,
        "bytes": len(value) - 1,
        **shown_value(value),
    }
    return public(shown, value_bytes_max)


# The streams themselves.


async def listed(call: Call) -> Response:
    prefix, after, limit = call.text("prefix").encode(), call.after(), call.limit()
    call.access.begin()
    streams = call.access.node.streams
    names = nsmallest(
        limit + 1,
        (
            name
            for name in streams.names()
            if name > after and name.startswith(prefix) and call.grants.may_see(STREAMS_SEEN, name)
        ),
    )
    shown, next = named_page(names, limit)
    return page([streamadmin.described(streams.find(name)) for name in shown], next)


async def create(call: Call) -> Response:
    body = await call.body(CreateStream)
    call.grants.check(STREAM_MANAGE, body.name.encode())
    given = options(body.options)
    now = await call.access.writable()
    call.access.node.check_room()
    stream, created = call.access.node.streams.create(body.name.encode(), given, now)
    shown = streamadmin.described(stream)
    await call.access.durable(max(level(stream), FLUSH))
    return answer(shown, 201 if created else 200)


async def describe(call: Call) -> Response:
    call.access.begin()
    return answer(streamadmin.described(found(call)))


async def delete(call: Call) -> Response:
    now = await call.access.writable()
    stream = found(call)
    call.access.node.streams.delete(stream.name, now)
    await call.access.durable(max(level(stream), FLUSH))
    return answer({"deleted": True})


# Records.


def place(call: Call, stream: Stream, default: int) -> int:
    """The sequence that `from`, `time`, `last` or `after` asks for."""
    given = [name for name in ("from", "time", "last", "after") if call.text(name)]
    if len(given) > 1:
        raise InvalidArgumentError(f"{' and '.join(given)} exclude each other")
    if not given:
        return default
    value = call.number(given[0], 0, NUMBER_MAX - 1)
    if given[0] == "time":
        return int(stream.seq_at_time(value))
    if given[0] == "last":
        return max(int(stream.first_seq), int(stream.last_seq) + 1 - value)
    return value + 1 if given[0] == "after" else value


async def records(call: Call) -> Response:
    limit, value_bytes_max = call.limit(), call.number("value_bytes_max", 0)
    call.access.begin()
    stream = found(call)
    read = stream.read(place(call, stream, int(stream.first_seq)), limit, PAGE_BYTES_MAX)
    items = [shown_record(record, value_bytes_max) for record in read.each()]
    more = read.next_seq <= stream.last_seq and read.count > 0
    return page(
        items,
        str(int(read.next_seq) - 1) if more else None,
        first_seq=int(stream.first_seq),
        last_seq=int(stream.last_seq),
    )


async def append(call: Call) -> Response:
    body = await call.body(Append)
    if len(body.records) > APPEND_RECORDS_MAX:
        raise LimitExceededError(f"{len(body.records)} records: append_records_max is {APPEND_RECORDS_MAX}")
    if not body.records:
        raise InvalidArgumentError("an append has at least one record")
    expected = body.expected_seq if isinstance(body.expected_seq, int) else -1
    if body.expected_seq is not UNSET and not 0 <= expected <= NUMBER_MAX:
        raise InvalidArgumentError(f"expected_seq {expected}: it is a sequence, or 0 for none")
    context = call.trace_context()
    given = [(one.key.encode(), one.typed(), header_block(one.headers, context)) for one in body.records]
    now = await call.access.writable()
    stream = found(call)
    call.access.node.check_write()
    first, count, _ = stream.append_many(given, now, expected)
    await call.access.durable(int(stream.level))
    return answer({"first_seq": int(first), "count": int(count)}, 201)


class Readable(Waiter):
    """A follower that waits for the next record."""

    def __init__(self) -> None:
        super().__init__()
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def readable(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def failed(self, error: ServerError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Follow(Source):
    """The records of one stream from a sequence on, as they come."""

    def __init__(self, access: Access, stream: Stream, seq: int, value_bytes_max: int) -> None:
        self._access = access
        self._stream = stream
        self._seq = seq
        self._value_bytes_max = value_bytes_max
        self._waiting: Waiting | None = None
        self._ended = False

    async def next(self) -> bytes:
        if self._ended:
            return b""
        try:
            while self._seq > self._stream.last_seq:
                if self._stream.deleted:
                    raise ResourceNotFoundError("the stream has been deleted")
                self._access.begin()
                waiter = Readable()
                self._waiting = self._stream.wait(waiter, self._seq, 0)
                await waiter.future
            self._access.begin()
            read = self._stream.read(self._seq, HTTP_PAGE_MAX, HTTP_FOLLOW_BYTES)
        except ServerError as error:
            self._ended = True
            return event("end", {"reason": str(error)})
        self._seq = int(read.next_seq)
        return b"".join(
            event("record", shown_record(record, self._value_bytes_max), int(record.seq))
            for record in read.each()
        )

    def close(self) -> None:
        if self._waiting is not None:
            self._access.begin()
            self._waiting.end()


async def follow(call: Call) -> Response:
    value_bytes_max = call.number("value_bytes_max", 0)
    call.access.begin()
    stream = found(call)
    seq = place(call, stream, int(stream.last_seq) + 1)
    seen = call.request.headers.get("last-event-id", "")
    if seen.isascii() and seen.isdecimal() and len(seen) < 19:
        seq = int(seen) + 1
    return respond(call.access, Follow(call.access, stream, max(seq, 1), value_bytes_max))


# Groups.


async def groups(call: Call) -> Response:
    after, limit = call.after(), call.limit()
    now = call.access.begin()
    known = found(call).groups
    shown, next = named_page(nsmallest(limit + 1, (name for name in known if name > after)), limit)
    return page([described_group(known[name], now) for name in shown], next)


def described_group(group: Group, now: int) -> dict[str, object]:
    """A group for an answer."""
    idle_since = 0 if group.members else int(group.idle_since)
    return {**streamadmin.described_group(group, now), "idle_since": idle_since}


async def describe_group(call: Call) -> Response:
    now = call.access.begin()
    return answer(described_group(group_of(call)[1], now))


async def delete_group(call: Call) -> Response:
    await call.access.writable()
    stream, group = group_of(call)
    stream.delete_group(group.name)
    await call.access.durable(level(stream))
    return answer({"deleted": True})


async def seek(call: Call) -> Response:
    body = await call.body(Seek)
    given = [
        (kind, value) for kind, value in ((SEQUENCE, body.seq), (TIME, body.time)) if isinstance(value, int)
    ]
    if isinstance(body.to, str):
        given.append((BEGINNING if body.to == "beginning" else END, 0))
    if len(given) != 1:
        raise InvalidArgumentError("a seek goes to one place: to, seq or time")
    kind, value = given[0]
    if not 0 <= value < NUMBER_MAX:
        raise InvalidArgumentError(f"a seek to {value}: it is not negative")
    now = await call.access.writable()
    stream, group = group_of(call)
    group.seek(kind, value, now)
    shown = described_group(group, now)
    await call.access.durable(level(stream))
    return answer(shown)


async def dead(call: Call) -> Response:
    after, limit = call.number("after", 0), call.limit()
    value_bytes_max = call.number("value_bytes_max", 0)
    call.access.begin()
    letters = group_of(call)[1].dead_after(after, limit + 1)
    fitting = page_length([len(letter.record) for letter in letters[:limit]])
    items = [
        public(
            {**streamadmin.shown_letter(letter), "bytes": len(letter.contents().value) - 1}, value_bytes_max
        )
        for letter in letters[:fitting]
    ]
    return page(items, str(int(letters[fitting - 1].serial)) if len(letters) > fitting else None)


async def redrive(call: Call) -> Response:
    await call.body(Empty)
    seq = call.id("seq")
    now = await call.access.writable()
    stream, group = group_of(call)
    call.access.node.check_write()
    again = int(group.move_to_stream(seq, now))
    await call.access.durable(int(stream.level))
    return answer({"seq": again})


async def remove_dead(call: Call) -> Response:
    seq = call.id("seq")
    await call.access.writable()
    stream, group = group_of(call)
    if not group.delete(seq):
        raise ResourceNotFoundError(
            f"group {group.name.decode(errors='replace')} has no dead letter with sequence {seq}"
        )
    await call.access.durable(level(stream))
    return answer({"removed": True})


PLACES: Final = {
    "from": "the first sequence",
    "time": "the first record that is not older than this, Unix ms",
    "last": "the newest n records",
}

APPENDS: Final = on(STREAM_APPEND, "stream")
READS: Final = on(STREAM_READ, "stream")
CONSUMES: Final = on(STREAM_CONSUME, "stream")
MANAGES: Final = on(STREAM_MANAGE, "stream")
"""What routes need to be allowed on the stream in the path."""

ROUTES: Final = [
    Route("GET", STREAMS, listed, asked, "Streams by name", {"prefix": "streams whose names begin so", **LISTED}),
    Route(
        "POST", STREAMS, create, asked, "Create a stream, or find the same", body=CreateStream, status=201,
        audit="stream.create",
    ),
    Route("GET", ONE, describe, stream_seen, "A stream"),
    Route("DELETE", ONE, delete, MANAGES, "Delete a stream with its groups and dead letters", audit="stream.delete"),
    Route("GET", ONE + "/records", records, READS, "Records in order", {**PLACES, **LISTED, **VALUE_BYTES}),
    Route("POST", ONE + "/records", append, APPENDS, "Append records, all or none", body=Append, status=201, audit=DATA),
    Route(
        "GET", ONE + "/follow", follow, READS, "Records as they come", {**PLACES, **VALUE_BYTES},
        media=EVENT_STREAM,
    ),
    Route("GET", ONE + "/groups", groups, stream_seen, "The groups of a stream, by name", LISTED),
    Route("GET", GROUP, describe_group, stream_seen, "A group"),
    Route("DELETE", GROUP, delete_group, MANAGES, "Delete a group with its dead letters", audit="group.delete"),
    Route("POST", GROUP + "/seek", seek, CONSUMES, "Have a group go on elsewhere", body=Seek, audit="group.seek"),
    Route(
        "GET", GROUP + "/dead", dead, READS, "Dead letters of a group, oldest first",
        {**LISTED, **VALUE_BYTES},
    ),
    Route(
        "POST", GROUP + "/dead/{seq}/redrive", redrive, MANAGES, "Append a dead letter again", body=Empty,
        audit="group.redrive",
    ),
    Route("DELETE", GROUP + "/dead/{seq}", remove_dead, MANAGES, "Delete a dead letter", audit="group.delete_dead_letter"),
]  # fmt: skip
