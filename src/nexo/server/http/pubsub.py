"""Pub/Sub over HTTP: who listens to what, publishing, and a live tail."""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import nsmallest
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from nexo.brokers.journal import MEMORY
from nexo.brokers.message import Message
from nexo.brokers.pubsub import DROP_OLDEST, Batch, Encoding, Receiver, Subscription
from nexo.brokers.topics import check_filter, check_topic, is_pattern
from nexo.errors import ResourceNotFoundError
from nexo.limits import HTTP_TAIL_BYTES_MAX, HTTP_TAIL_MESSAGES_MAX
from nexo.protocols.grants import PUBSUB_PUBLISH, PUBSUB_SUBSCRIBE
from nexo.protocols.native.jsonadmin import shown_value
from nexo.server.http.access import Access
from nexo.server.http.permissions import asked, on
from nexo.server.http.routing import DATA, EVENT_STREAM, Call, Route, answer, named_page, page
from nexo.server.http.sse import Source, event, respond
from nexo.server.http.store import LISTED, VALUE_BYTES
from nexo.server.http.values import Headers, Valued, header_block, public, time_to_live

PUBSUB: Final = "/api/v1/pubsub"
TAIL_PIECE: Final = 100
"""Messages that are encoded for a tail at a time, between which others have their turn."""


class Publish(Valued, kw_only=True):
    """A message for a topic."""

    topic: str
    headers: Headers = msgspec.field(default_factory=list)
    retain: bool = False
    ttl_ms: int | UnsetType = UNSET


async def topics(call: Call) -> Response:
    prefix, after, limit = call.text("prefix").encode(), call.after(), call.limit()
    value_bytes_max = call.number("value_bytes_max", 0)
    now = call.access.begin()
    pubsub = call.access.node.pubsub
    known = {*pubsub.filters(), *pubsub.retained_topics()}
    names = nsmallest(
        limit + 1,
        (
            name
            for name in known
            if name > after and name.startswith(prefix) and call.grants.may(PUBSUB_SUBSCRIBE, name)
        ),
    )
    shown, next = named_page(names, limit)
    return page([described(call.access, name, now, value_bytes_max) for name in shown], next)


def described(access: Access, name: bytes, now: int, value_bytes_max: int) -> dict[str, object]:
    """A filter or a topic for an answer."""
    pubsub = access.node.pubsub
    audience = pubsub.audience(name)
    kept = pubsub.retained_value(name, now)
    retained: dict[str, object] | None = None
    if kept is not None:
        retained = public(
            {
                **shown_value(kept.message.value),
                "bytes": len(kept.message.value) - 1,
                "headers": kept.message.headers,
                "expires_at": int(kept.expires_at),
            },
            value_bytes_max,
        )
    return {
        "topic": name.decode(errors="replace"),
        "pattern": is_pattern(name),
        "subscribers": int(audience.subscribers),
        "groups": [
            {"name": group.decode(errors="replace"), "members": members}
            for group, members in sorted(audience.groups)
        ],
        "pending_messages": int(audience.pending_messages),
        "pending_bytes": int(audience.pending_bytes),
        "delivered": int(audience.delivered),
        "dropped": int(audience.dropped),
        "retained": retained,
    }


async def publish(call: Call) -> Response:
    body = await call.body(Publish)
    topic = body.topic.encode()
    check_topic(topic)
    call.grants.check(PUBSUB_PUBLISH, topic)
    value, headers = body.typed(), header_block(body.headers, call.trace_context())
    ttl = time_to_live(body.ttl_ms, "value")
    now = await call.access.writable()
    pubsub = call.access.node.pubsub
    level = pubsub.kept.level if body.retain else MEMORY
    if body.retain:
        call.access.check_write(level)
        pubsub.kept.check(topic, len(value) + len(headers))
    if body.retain:
        pubsub.retain(topic, value, headers, now + ttl if ttl else 0)
    receivers = int(pubsub.publish(Message(topic, value, headers, 0)))
    await call.access.durable(level)
    return answer({"receivers": receivers})


async def clear(call: Call) -> Response:
    topic = call.name("topic")
    check_topic(topic)
    call.access.begin()
    if not call.access.node.pubsub.clear_retained(topic):
        raise ResourceNotFoundError(f"topic {topic.decode()!r} has no retained value")
    await call.access.durable(call.access.node.pubsub.kept.level)
    return answer({"cleared": True})


class Unencoded(Encoding):
    """A tail takes messages as they are; nothing is encoded for a wire."""

    def encode(self, messages: list[Message], tag: int) -> bytes:
        return b""


UNENCODED: Final = Unencoded()


class Listening(Receiver):
    """The subscription of one tail, and what waits for it: no more than the bounds, the oldest is lost first."""

    def __init__(self) -> None:
        super().__init__(UNENCODED)
        self.waiting: deque[Message] = deque()
        self.bytes = 0
        self.dropped = 0
        self.changed = asyncio.Event()

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        for message in batch.messages:
            self.add(message)
        while len(self.waiting) > HTTP_TAIL_MESSAGES_MAX or self.bytes > HTTP_TAIL_BYTES_MAX:
            self.take()
            self.dropped += 1
            subscription.dropped += 1
            subscription.counters.dropped += 1

    def add(self, message: Message) -> None:
        self.waiting.append(message)
        self.bytes += size(message)
        self.changed.set()

    def take(self) -> Message:
        message = self.waiting.popleft()
        self.bytes -= size(message)
        return message


def size(message: Message) -> int:
    return len(message.topic) + len(message.value) + len(message.headers)


class Tail(Source):
    """The messages that match one filter."""

    def __init__(self, access: Access, filter: bytes, retained: bool, value_bytes_max: int) -> None:
        self._access = access
        self._value_bytes_max = value_bytes_max
        self._listening = Listening()
        now = access.begin()
        pubsub = access.node.pubsub
        pubsub.subscribe(
            self._listening,
            filter,
            messages_max=HTTP_TAIL_MESSAGES_MAX,
            bytes_max=HTTP_TAIL_BYTES_MAX,
            policy=DROP_OLDEST,
        )
        if retained:
            for message in pubsub.retained(filter, now)[-HTTP_TAIL_MESSAGES_MAX:]:
                self._listening.add(message)

    async def next(self) -> bytes:
        listening = self._listening
        while not listening.waiting and not listening.dropped:
            listening.changed.clear()
            await listening.changed.wait()
        out = []
        if listening.dropped:
            out.append(event("dropped", {"messages": listening.dropped}))
            listening.dropped = 0
        at = int(self._access.node.driver.now())
        while listening.waiting and len(out) < TAIL_PIECE:
            out.append(event("message", self._shown(listening.take(), at)))
        return b"".join(out)

    def _shown(self, message: Message, at: int) -> dict[str, object]:
        return public(
            {
                "topic": message.topic.decode(errors="replace"),
                "at": at,
                "headers": message.headers,
                "bytes": len(message.value) - 1,
                **shown_value(message.value),
            },
            self._value_bytes_max,
        )

    def close(self) -> None:
        self._access.begin()
        self._access.node.pubsub.drop(self._listening)


async def tail(call: Call) -> Response:
    filter = call.text("filter", "#").encode()
    check_filter(filter)
    call.grants.check(PUBSUB_SUBSCRIBE, filter)
    source = Tail(call.access, filter, call.flag("retained"), call.number("value_bytes_max", 0))
    return respond(call.access, source)


ROUTES: Final = [
    Route(
        "GET", PUBSUB + "/topics", topics, asked, "Filters with subscribers, and topics with retained values",
        {"prefix": "filters and topics that begin so", **LISTED, **VALUE_BYTES},
    ),
    Route("POST", PUBSUB + "/publish", publish, asked, "Publish a message", body=Publish, audit=DATA),
    Route("DELETE", PUBSUB + "/retained/{topic}", clear, on(PUBSUB_PUBLISH, "topic"), "Take a retained value away", audit=DATA),
    Route(
        "GET", PUBSUB + "/tail", tail, asked, "Messages as they are published",
        {"filter": "a filter, # unless told", "retained": "true: retained values first", **VALUE_BYTES},
        media=EVENT_STREAM,
    ),
]  # fmt: skip
