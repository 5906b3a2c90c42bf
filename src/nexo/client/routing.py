"""From what the server pushes to the subscriptions of this client, and what the server has to know of them.

The server sends one copy of a message per connection. Several subscriptions to one filter share a *feed*,
one subscription at the server, that ends with the last of them. Owns the feeds, their restoration and the
way of a message to them. Layouts: docs/protocol.md.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from nexo.client.connection import Connection
from nexo.client.events import log
from nexo.client.frames import Reader, string, utf8
from nexo.client.matching import FilterTree
from nexo.client.message import Message
from nexo.client.replay import Replays
from nexo.client.subscription import Subscriber
from nexo.client.values import NO_HEADERS, Headers, decode_headers
from nexo.errors import (
    ConnectionClosedError,
    NexoError,
    NotConnectedError,
    ProtocolError,
    ServerError,
    SlowConsumerError,
)
from nexo.protocols.native import opcodes as op

ROUTES_MAX: Final = 10_000
"""Topics whose feeds are remembered; then all are forgotten. Each costs about 200 bytes."""


class Feed:
    """One subscription at the server, and the local ones that it serves."""

    def __init__(self, topic_filter: str, group: str | None, tag: int) -> None:
        self.filter = topic_filter
        self.group = group
        self.tag = tag
        self.members: list[Subscriber] = []
        self.standing = False
        self.starting = asyncio.Lock()
        self._next = 0

    def deliver(self, message: Message) -> bool:
        """To every member; in a group to the next one, as the group gets one copy.

        False when that was too much for a member whose policy is to end then.
        """
        if self.group is None:
            fine = True
            for member in self.members:
                if not member.deliver(message) and member.inbox.ended:
                    fine = False
            return fine
        self._next = (self._next + 1) % len(self.members)
        member = self.members[self._next]
        return member.deliver(message) or not member.inbox.ended


class Route(NamedTuple):
    """A topic and the feeds that it goes to."""

    topic: str
    feeds: tuple[Feed, ...]


class Router:
    """All subscriptions of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._feeds: dict[tuple[str, str | None], Feed] = {}
        self._shared: dict[int, Feed] = {}
        self._tree: FilterTree[Feed] = FilterTree()
        self._routes: dict[bytes, Route] = {}
        self._replays = Replays(connection)

    # Subscribing.

    async def start(self, subscriber: Subscriber) -> None:
        """Subscribe; done when the server has confirmed it."""
        feed = self._join(subscriber)
        started = False
        try:
            if feed.tag:
                await self._start_shared(feed, subscriber)
            elif not feed.standing or subscriber.wants_retained:
                if subscriber.wants_retained:
                    await self._replays.ask(subscriber)
                else:
                    await self._connection.call(*subscriber.request())
                feed.standing = True
            started = True
        finally:
            if not started:
                self.give_up(subscriber)

    async def _start_shared(self, feed: Feed, subscriber: Subscriber) -> None:
        async with feed.starting:  # one at a time: the request's correlation id names the feed
            if not feed.standing:
                await self._connection.call(*subscriber.request(), correlation=feed.tag)
                feed.standing = True

    def _join(self, subscriber: Subscriber) -> Feed:
        key = (subscriber.filter, subscriber.group)
        feed = self._feeds.get(key)
        if feed is None:
            tag = self._connection.reserve() if subscriber.group is not None else 0
            feed = self._feeds[key] = Feed(*key, tag)
            if tag:
                self._shared[tag] = feed
            else:
                self._tree.add(subscriber.filter, feed)
                self._routes.clear()
        feed.members.append(subscriber)
        return feed

    def _part(self, subscriber: Subscriber) -> Feed | None:
        """Take a subscription from its feed; the feed, if that was its last."""
        key = (subscriber.filter, subscriber.group)
        feed = self._feeds.get(key)
        if feed is None or subscriber not in feed.members:
            return None
        feed.members.remove(subscriber)
        if feed.members:
            return None
        del self._feeds[key]
        if feed.tag:
            del self._shared[feed.tag]
            self._connection.release(feed.tag)
        else:
            self._tree.remove(feed.filter)
            self._routes.clear()
        return feed

    async def stop(self, subscriber: Subscriber) -> None:
        """Unsubscribe; done when the server has confirmed it, if it had to be told."""
        feed = self._part(subscriber)
        if feed is not None and self._connection.link is not None:
            try:
                await self._connection.call(*_unsubscribe(feed))
            except (ServerError, ConnectionClosedError, NotConnectedError):
                return  # it is not subscribed any more, which is what was wanted

    def give_up(self, subscriber: Subscriber) -> None:
        """As `stop`, without waiting for the answer."""
        feed = self._part(subscriber)
        if feed is not None:
            self._connection.post(*_unsubscribe(feed))

    # For the connection.

    def received(self, kind: int, code: int, correlation: int, payload: bytes) -> bool:
        """Take a push or an event of Pub/Sub."""
        if kind == op.PUSH:
            reader = Reader(payload)
            self._dispatch(reader.prefixed(), NO_HEADERS, 0, reader.rest())
        elif code == op.PUB or code == op.SUBX or code == op.PUB_REQUEST:
            reader = Reader(payload)
            request_id = reader.u64() if code == op.PUB_REQUEST else 0
            topic, headers = reader.prefixed(), decode_headers(reader.prefixed())
            if correlation == 0:
                self._dispatch(topic, headers, request_id, reader.rest())
            elif correlation in self._shared:
                message = Message(utf8(topic), reader.rest(), headers, request_id, self._connection)
                self._hand_over(self._shared[correlation], message)
        elif code == op.DROPPED:
            self._dropped(Reader(payload))
        else:
            return False
        return True

    def _dispatch(self, topic: bytes, headers: Headers, request_id: int, value: bytes) -> None:
        route = self._routes.get(topic) or self._find(topic)
        message = Message(route.topic, value, headers, request_id, self._connection)
        if self._replays.take(message):
            return
        for feed in route.feeds:
            self._hand_over(feed, message)

    def _hand_over(self, feed: Feed, message: Message) -> None:
        if not feed.deliver(message):
            for member in [member for member in feed.members if member.inbox.ended]:
                self.give_up(member)
                log.error("the subscription to %s has ended: it did not keep up", feed.filter)

    def _find(self, topic: bytes) -> Route:
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        text = utf8(topic)
        route = self._routes[topic] = Route(text, tuple(self._tree.match(text)))
        return route

    def _dropped(self, reader: Reader) -> None:
        topic_filter, group = reader.string(), reader.string()
        reader.u8()
        feed = self._feeds.get((topic_filter, group or None))
        count = reader.u64()
        if feed is not None:
            for member in feed.members:
                member.lost(count)

    async def restore(self, connection: Connection) -> int:
        """Subscribe again, each feed as its latest member asked; how many local subscriptions that serves."""
        standing = [feed for feed in self._feeds.values() if feed.standing]
        asked = []
        for feed in standing:
            wants = [member for member in feed.members if member.wants_retained] or feed.members
            asked.append(connection.restoring(*wants[-1].request(), feed.tag))
        restored = 0
        for feed, answer in zip(standing, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, ProtocolError) or not isinstance(answer, ServerError | bytes | None):
                raise answer
            if isinstance(answer, ServerError):
                self._end(feed, answer)
            else:
                restored += len(feed.members)
        return restored

    def lost(self, error: ServerError | None) -> None:
        """A connection that was too slow takes those with it that asked for that."""
        if isinstance(error, SlowConsumerError):
            for feed in list(self._feeds.values()):
                if any(member.policy == op.DISCONNECT for member in feed.members):
                    self._end(feed, error)

    def closed(self, error: NexoError | None) -> None:
        """End all subscriptions."""
        for feed in list(self._feeds.values()):
            self._end(feed, error)

    def _end(self, feed: Feed, error: NexoError | None) -> None:
        for member in list(feed.members):
            self._part(member)
            member.end(error)


def _unsubscribe(feed: Feed) -> tuple[int, bytes]:
    if feed.group is None:
        return op.UNSUB, string(feed.filter)
    return op.UNSUBX, string(feed.filter) + string(feed.group)
