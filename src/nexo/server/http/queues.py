"""Queues over HTTP: what an operator does, and pushing and receiving for scripts."""

from __future__ import annotations

import asyncio
from heapq import nsmallest
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from nexo.brokers.journal import FLUSH
from nexo.brokers.queue.consumers import Waiter
from nexo.brokers.queue.dead import DeadFilter
from nexo.brokers.queue.lending import BY_POLICY, FAILED, FATAL, FENCED, RELEASE
from nexo.brokers.queue.message import Delivery, Item
from nexo.brokers.queue.queue import Queue
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError, ServerError
from nexo.limits import (
    DELIVERIES_PER_RECEIVE_MAX,
    HTTP_SEARCH_MESSAGES_MAX,
    HTTP_WAIT_MS_MAX,
    MESSAGES_PER_PUSH_MAX,
    PAGE_BYTES_MAX,
    TTL_MS_MAX,
)
from nexo.protocols.grants import QUEUE_BROWSE, QUEUE_CONSUME, QUEUE_MANAGE, QUEUE_PUSH
from nexo.protocols.grants import QUEUES as QUEUES_SEEN
from nexo.protocols.native import queueadmin
from nexo.protocols.native.jsonadmin import Arguments, shown_value
from nexo.protocols.native.queue import level
from nexo.server.http.access import Access
from nexo.server.http.permissions import asked, on, queue_seen
from nexo.server.http.routing import DATA, NUMBER_MAX, Call, Empty, Route, answer, named_page, page
from nexo.server.http.store import LISTED, VALUE_BYTES
from nexo.server.http.values import Headers, Valued, header_block, public

QUEUES: Final = "/api/v1/queues"
ONE: Final = QUEUES + "/{queue}"
MODES: Final = {"failed": FAILED, "release": RELEASE, "fatal": FATAL}
PRIORITY_MAX: Final = 255
SEARCH_PORTION: Final = 100
"""Messages that a search reads at a time, between which others have their turn."""


class CreateQueue(Struct, forbid_unknown_fields=True):
    """A queue that is wanted."""

    name: str
    options: dict[str, Any] = {}


class Pushed(Valued, kw_only=True):
    """One message."""

    priority: int = 0
    delay_ms: int = 0
    ttl_ms: int | UnsetType = UNSET
    dedup: str = ""
    group: str = ""
    headers: Headers = msgspec.field(default_factory=list)

    def item(self, context: list[tuple[bytes, bytes]]) -> Item:
        """The message as the broker takes it, with the trace context of its request; the broker checks the bounds of
        times and keys."""
        ttl = self.ttl_ms if isinstance(self.ttl_ms, int) else 0
        if self.ttl_ms is not UNSET and not 1 <= ttl <= NUMBER_MAX:
            raise InvalidArgumentError(f"ttl_ms {ttl}: leave it out to keep a message for ever")
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise InvalidArgumentError(f"priority {self.priority}: it is 0 to {PRIORITY_MAX}")
        if not 0 <= self.delay_ms <= NUMBER_MAX:
            raise InvalidArgumentError(f"delay_ms {self.delay_ms}: it is not negative")
        return Item(
            self.typed(),
            self.priority,
            self.delay_ms,
            ttl_ms=ttl,
            dedup=self.dedup.encode(),
            group=self.group.encode(),
            headers=header_block(self.headers, context),
        )


class Push(Struct, forbid_unknown_fields=True):
    """Messages, all or none."""

    messages: list[Pushed]


class Receive(Struct, forbid_unknown_fields=True):
    """How many messages are wanted, and how long to wait for the first."""

    batch: int = 1
    wait_ms: int = 0


class Lease(Struct, forbid_unknown_fields=True):
    """One delivery."""

    id: int
    token: str


class Ack(Struct, forbid_unknown_fields=True):
    """Deliveries that are done."""

    leases: list[Lease]


class Nack(Struct, forbid_unknown_fields=True):
    """Deliveries that are not."""

    leases: list[Lease]
    mode: Literal["failed", "release", "fatal"] = "failed"
    reason: str = ""
    delay_ms: int | UnsetType = UNSET


class Pause(Struct, forbid_unknown_fields=True):
    """How long; without it until resumed."""

    ms: int | UnsetType = UNSET


class Purge(Struct, forbid_unknown_fields=True):
    """What goes: all but the dead letters, or these."""

    state: Literal["", "dead"] = ""


class Redrive(Struct, forbid_unknown_fields=True):
    """Which dead letters: those with these ids, or all that match."""

    ids: list[int] | UnsetType = UNSET
    reason: str = ""
    died_from: int = 0
    died_until: int = 0


def described(queue: Queue, now: int) -> dict[str, object]:
    """A queue for an answer."""
    shown = queueadmin.described(queue)
    oldest = shown["oldest_enqueued_at"]
    assert isinstance(oldest, int)
    shown["oldest_age_ms"] = max(0, now - oldest) if oldest else 0
    shown["paused"] = shown["paused_until"] != 0
    return shown


def found(call: Call) -> Queue:
    return call.access.node.queues.find(call.name("queue"))


# The queues themselves.


async def listed(call: Call) -> Response:
    prefix, after, limit = call.text("prefix").encode(), call.after(), call.limit()
    now = call.access.begin()
    queues = call.access.node.queues
    names = [
        name
        for name in queues.names()
        if name > after and name.startswith(prefix) and call.grants.may_see(QUEUES_SEEN, name)
    ]
    shown, next = named_page(nsmallest(limit + 1, names), limit)
    return page([described(queues.find(name), now) for name in shown], next)


async def create(call: Call) -> Response:
    body = await call.body(CreateQueue)
    call.grants.check(QUEUE_MANAGE, body.name.encode())
    now = await call.access.writable()
    call.access.node.check_room()
    queue, created = call.access.node.queues.create(body.name.encode(), body.options, now)
    shown = described(queue, now)
    await call.access.durable(max(level(queue), FLUSH))
    return answer(shown, 201 if created else 200)


async def describe(call: Call) -> Response:
    now = call.access.begin()
    return answer(described(found(call), now))


async def delete(call: Call) -> Response:
    now = await call.access.writable()
    queue = found(call)
    call.access.node.queues.delete(queue.name, now)
    await call.access.durable(max(level(queue), FLUSH))
    return answer({"deleted": True})


# An operator's view.


async def browse(call: Call) -> Response:
    state, after, limit = call.text("state", "ready"), call.number("after", 0), call.limit()
    value_bytes_max = call.number("value_bytes_max", 0)
    contains = call.text("contains").encode()
    items: list[dict[str, object]] = []
    if not contains:
        messages, after = portion(call, state, after, limit)
        items = [public(one, value_bytes_max) for one in messages]
        return page(items, str(after) if after else None)
    looked_at, size = 0, 0
    for _ in range(HTTP_SEARCH_MESSAGES_MAX // SEARCH_PORTION):
        messages, after = portion(call, state, after, min(SEARCH_PORTION, limit - len(items)))
        looked_at += len(messages)
        for one in messages:
            if holds(one, contains):
                size += int(str(one["bytes"]))
                items.append(public(one, value_bytes_max))
        if after == 0 or len(items) >= limit or size >= PAGE_BYTES_MAX:
            break
        await asyncio.sleep(0)  # others have their turn
    return page(items, str(after) if after else None, looked_at=looked_at)


def portion(call: Call, state: str, after: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """Messages of a queue, not yet fit for JSON, and where those after them begin; 0 when there are no more."""
    call.access.begin()
    shown = queueadmin.browse(found(call), Arguments({"state": state, "after": after, "limit": limit}))
    messages, next = shown["messages"], shown["after"]
    assert isinstance(messages, list)
    assert isinstance(next, int)
    return messages, next


def holds(shown: dict[str, Any], wanted: bytes) -> bool:
    """Whether a message has these bytes in its value, its headers, its group or its reason. JSON is searched as
    compact text."""
    value, kind = shown["value"], shown["type"]
    content = value if kind == "bytes" else value.encode() if kind == "str" else msgspec.json.encode(value)
    words = (content, shown["headers"], shown["group"].encode(), shown["reason"].encode())
    return any(wanted in word for word in words)


async def get(call: Call) -> Response:
    id = call.id("id")
    call.access.begin()
    return answer(
        public(queueadmin.get(found(call), Arguments({"id": id})), call.number("value_bytes_max", 0))
    )


async def remove(call: Call) -> Response:
    id = call.id("id")
    await call.access.writable()
    queue = found(call)
    if not queue.remove(id) and not queue.delete_dead(id):
        raise ResourceNotFoundError(f"queue {queue.parts.title} has no message {id}")
    await call.access.durable(level(queue))
    return answer({"removed": True})


async def pause(call: Call) -> Response:
    body = await call.body(Pause)
    if isinstance(body.ms, int) and not 0 <= body.ms <= TTL_MS_MAX:
        raise InvalidArgumentError(
            f"ms {body.ms}: it is 0 to {TTL_MS_MAX}; leave it out to pause until resumed"
        )
    now = await call.access.writable()
    queue = found(call)
    queue.pause(now + body.ms if isinstance(body.ms, int) else -1)
    return await changed(call, queue, now)


async def resume(call: Call) -> Response:
    await call.body(Empty)
    now = await call.access.writable()
    queue = found(call)
    queue.resume()
    return await changed(call, queue, now)


async def changed(call: Call, queue: Queue, now: int) -> Response:
    """Answer with the queue, once what was done is durable."""
    shown = described(queue, now)
    await call.access.durable(level(queue))
    return answer(shown)


async def purge(call: Call) -> Response:
    body = await call.body(Purge)
    await call.access.writable()
    queue = found(call)
    removed = int(queue.purge_dead() if body.state == "dead" else queue.purge())
    await call.access.durable(level(queue))
    return answer({"removed": removed})


async def redrive(call: Call) -> Response:
    body = await call.body(Redrive)
    ids = body.ids if isinstance(body.ids, list) else None
    if ids is not None and (body.reason or body.died_from or body.died_until):
        raise InvalidArgumentError("dead letters are named by ids, or by reason and time")
    if ids is not None and len(ids) > queueadmin.REDRIVE_SLICE:
        raise LimitExceededError(f"{len(ids)} ids: a redrive takes at most {queueadmin.REDRIVE_SLICE}")
    for name, value in (("died_from", body.died_from), ("died_until", body.died_until)):
        if not 0 <= value <= NUMBER_MAX:
            raise InvalidArgumentError(f"{name} {value}: it is Unix milliseconds")
    now = await call.access.writable()
    queue = found(call)
    call.access.node.check_room()
    if ids is not None:
        moved = sum(0 < id <= NUMBER_MAX and queue.redrive(id, now) > 0 for id in ids)
        await call.access.durable(level(queue))
        return answer({"moved": moved})
    filter = DeadFilter(body.reason.encode(), body.died_from, body.died_until)
    # What dies again while this goes on is not brought back a second time.
    until, after, moved = queue.parts.dead.last_serial, 0, 0
    while True:
        done = queue.redrive_some(filter, after, until, queueadmin.REDRIVE_SLICE, now)
        moved += int(done.count)
        after = int(done.after)
        await call.access.durable(level(queue))
        if after == 0 or queue.closed:
            return answer({"moved": moved})
        now = await call.access.writable()
        call.access.node.check_room()


# Pushing and receiving.


async def push(call: Call) -> Response:
    body = await call.body(Push)
    if len(body.messages) > MESSAGES_PER_PUSH_MAX:
        raise LimitExceededError(
            f"{len(body.messages)} messages: messages_per_push_max is {MESSAGES_PER_PUSH_MAX}"
        )
    context = call.trace_context()
    items = [message.item(context) for message in body.messages]
    now = await call.access.writable()
    queue = found(call)
    call.access.node.check_write()
    ids = queue.push_many(items, now)
    pushed = [{"id": int(id), "duplicate": item.duplicate} for id, item in zip(ids, items, strict=True)]
    await call.access.durable(level(queue))
    return answer({"messages": pushed}, 201)


def lent(deliveries: list[Delivery]) -> list[dict[str, object]]:
    """Deliveries for an answer."""
    shown = []
    for delivery in deliveries:
        message = delivery.message
        shown.append(
            {
                "id": int(message.id),
                "token": str(int(delivery.token)),
                "attempt": int(delivery.attempt),
                "priority": int(message.priority),
                "enqueued_at": int(message.enqueued_at),
                "group": message.group.decode(errors="replace"),
                "headers": message.headers,
                "bytes": int(message.size),
                **shown_value(message.value),
            }
        )
    return [public(one) for one in shown]


class LongPoll(Waiter):
    """A request that waits for messages. What comes is shown at once: the lease may be short."""

    def __init__(self, access: Access, queue: Queue) -> None:
        super().__init__()
        self.future: asyncio.Future[list[dict[str, object]]] = asyncio.get_running_loop().create_future()
        self._access = access
        self._queue = queue
        self._leases: list[tuple[int, int]] = []

    def delivered(self, deliveries: list[Delivery]) -> None:
        self._leases = [(int(one.message.id), int(one.token)) for one in deliveries]
        if self.future.done():
            self.give_back()
        else:
            self.future.set_result(lent(deliveries))

    def timed_out(self) -> None:
        if not self.future.done():
            self.future.set_result([])

    def failed(self, error: ServerError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def give_back(self) -> None:
        """Nobody reads the answer: what was lent comes back, and the attempt does not count."""
        now = self._access.begin()
        for id, token in self._leases:
            self._queue.nack(id, token, b"", RELEASE, BY_POLICY, now)


async def receive(call: Call) -> Response:
    body = await call.body(Receive)
    if not 0 <= body.wait_ms <= HTTP_WAIT_MS_MAX:
        raise LimitExceededError(f"wait_ms {body.wait_ms}: http_wait_ms_max is {HTTP_WAIT_MS_MAX}")
    if not 1 <= body.batch <= DELIVERIES_PER_RECEIVE_MAX:
        raise LimitExceededError(
            f"batch {body.batch}: deliveries_per_receive_max is {DELIVERIES_PER_RECEIVE_MAX}"
        )
    access = call.access
    now = await access.writable()
    queue = found(call)
    deliveries = queue.receive(body.batch, access.consumer, now)
    if deliveries or body.wait_ms == 0 or access.closing.is_set():
        if deliveries:
            await access.lent(level(queue))
        return answer({"messages": lent(deliveries)})
    poll = LongPoll(access, queue)
    queue.wait(poll, access.consumer, body.batch, now + body.wait_ms)
    if await call.until(poll.future):
        return answer({"messages": poll.future.result()})
    access.begin()
    if not queue.cancel(poll):
        poll.give_back()
    return answer({"messages": []})


def leases(given: list[Lease]) -> tuple[list[int], list[int]]:
    """Ids and tokens. What is no number is nobody's."""
    if len(given) > DELIVERIES_PER_RECEIVE_MAX:
        raise LimitExceededError(
            f"{len(given)} deliveries: deliveries_per_receive_max is {DELIVERIES_PER_RECEIVE_MAX}"
        )
    ids = [one.id if 0 < one.id <= NUMBER_MAX else -1 for one in given]
    return ids, [token(one.token) for one in given]


def token(text: str) -> int:
    """A delivery token; -1, which nothing has, for what is none."""
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        return -1
    return min(int(text), NUMBER_MAX)


async def ack(call: Call) -> Response:
    body = await call.body(Ack)
    ids, tokens = leases(body.leases)
    now = await call.access.writable()
    queue = found(call)
    return await settled(call, queue, body.leases, [int(one) for one in queue.ack_many(ids, tokens, now)])


async def nack(call: Call) -> Response:
    body = await call.body(Nack)
    ids, tokens = leases(body.leases)
    reason = body.reason.encode()
    delay = body.delay_ms if isinstance(body.delay_ms, int) else BY_POLICY
    if body.delay_ms is not UNSET and not 0 <= delay <= NUMBER_MAX:
        raise InvalidArgumentError(f"delay_ms {delay}: it is not negative")
    now = await call.access.writable()
    queue = found(call)
    outcomes = [
        int(queue.nack(id, token, reason, MODES[body.mode], delay, now))
        for id, token in zip(ids, tokens, strict=True)
    ]
    return await settled(call, queue, body.leases, outcomes)


async def settled(call: Call, queue: Queue, given: list[Lease], outcomes: list[int]) -> Response:
    """Answer with the ids whose lease had ended, once the others are durable."""
    await call.access.durable(level(queue))
    return answer(
        {"refused": [one.id for one, outcome in zip(given, outcomes, strict=True) if outcome == FENCED]}
    )


PUSHES: Final = on(QUEUE_PUSH, "queue")
CONSUMES: Final = on(QUEUE_CONSUME, "queue")
BROWSES: Final = on(QUEUE_BROWSE, "queue")
MANAGES: Final = on(QUEUE_MANAGE, "queue")
"""What routes need to be allowed on the queue in the path."""

ROUTES: Final = [
    Route("GET", QUEUES, listed, asked, "Queues by name", {"prefix": "queues whose names begin so", **LISTED}),
    Route("POST", QUEUES, create, asked, "Create a queue, or find the same", body=CreateQueue, status=201, audit="queue.create"),
    Route("GET", ONE, describe, queue_seen, "A queue"),
    Route("DELETE", ONE, delete, MANAGES, "Delete a queue with all it holds", audit="queue.delete"),
    Route(
        "GET", ONE + "/messages", browse, BROWSES, "Messages in one state, not taken by looking",
        {
            "state": "ready, held, delayed, leased or dead",
            "contains": "only messages with this in value, headers, group or reason",
            **LISTED,
            **VALUE_BYTES,
        },
    ),
    Route("POST", ONE + "/messages", push, PUSHES, "Push messages, all or none", body=Push, status=201, audit=DATA),
    Route("GET", ONE + "/messages/{id}", get, BROWSES, "A message, dead or not", VALUE_BYTES),
    Route("DELETE", ONE + "/messages/{id}", remove, MANAGES, "Delete a message, whoever holds it", audit="queue.delete_message"),
    Route(
        "POST", ONE + "/receive", receive, CONSUMES, "Be lent messages, waiting for the first", body=Receive,
        audit=DATA, waits=True,
    ),
    Route("POST", ONE + "/ack", ack, CONSUMES, "Say that deliveries are done", body=Ack, audit=DATA),
    Route("POST", ONE + "/nack", nack, CONSUMES, "Give deliveries back", body=Nack, audit=DATA),
    Route("POST", ONE + "/pause", pause, MANAGES, "Lend no more messages", body=Pause, audit="queue.pause"),
    Route("POST", ONE + "/resume", resume, MANAGES, "End a pause", body=Empty, audit="queue.resume"),
    Route("POST", ONE + "/purge", purge, MANAGES, "Delete all messages, or all dead letters", body=Purge, audit="queue.purge"),
    Route("POST", ONE + "/redrive", redrive, MANAGES, "Make dead letters messages again", body=Redrive, audit="queue.redrive"),
]  # fmt: skip
