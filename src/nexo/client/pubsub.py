"""Publish and subscribe, request and reply. Layouts: docs/protocol.md; meaning: docs/pubsub.md."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, overload

from nexo.client import values
from nexo.client.connection import Connection
from nexo.client.frames import Reader, prefixed, string, u32
from nexo.client.message import Message
from nexo.client.routing import Router
from nexo.client.subscription import Callback, Subscriber, Subscription
from nexo.client.tracing import sending
from nexo.client.values import HeadersLike
from nexo.client.writes import clearing, publication
from nexo.errors import InvalidArgumentError
from nexo.limits import REQUEST_TIMEOUT_MS_MAX
from nexo.protocols.native import opcodes as op


class PubSub:
    """Topics and subscriptions of a server."""

    def __init__(self, connection: Connection, router: Router) -> None:
        self._connection = connection
        self._router = router

    def topic(self, name: str) -> Topic:
        """A topic to publish to. Nothing travels: topics need not be created."""
        return Topic(self._connection, self._router, name)

    def pattern(self, filter: str) -> Pattern:
        """A filter to subscribe to: levels divided by `/`, `+` for any one of them, `#` for the rest."""
        return Pattern(self._router, filter)

    def subscribe(
        self,
        filter: str,
        callback: Callback | None = None,
        *,
        group: str | None = None,
        policy: str | None = None,
        messages_max: int | None = None,
        bytes_max: int | None = None,
        retained: bool = True,
        type: Any = None,
        on_dropped: Callable[[int], Awaitable[None] | None] | None = None,
    ) -> Subscription:
        """Subscribe to a filter, as `Pattern.subscribe`."""
        return Pattern(self._router, filter).subscribe(
            callback,
            group=group,
            policy=policy,
            messages_max=messages_max,
            bytes_max=bytes_max,
            retained=retained,
            type=type,
            on_dropped=on_dropped,
        )


class Pattern:
    """A filter that topics match, or do not."""

    def __init__(self, router: Router, filter: str) -> None:
        self._router = router
        self.filter = filter

    def subscribe(
        self,
        callback: Callback | None = None,
        *,
        group: str | None = None,
        policy: str | None = None,
        messages_max: int | None = None,
        bytes_max: int | None = None,
        retained: bool = True,
        type: Any = None,
        on_dropped: Callable[[int], Awaitable[None] | None] | None = None,
    ) -> Subscription:
        """A subscription, to be entered and iterated over; with a callback, to be awaited.

        `callback`, plain or async, is called with each Message, one after another; an exception of it is
        logged and ends nothing. `group` shares the messages with the group's other members. At most
        `messages_max` messages (16,384) of `bytes_max` bytes (8 MiB) may wait, at the server and again in
        the client; then `policy` says what is lost: "drop_oldest" (the default), "drop_newest", "conflate"
        or "disconnect". `on_dropped` is called with the number of messages of each loss. `retained=False`
        leaves retained values out. `type` decodes JSON as that type.

        InvalidArgumentError for an unknown policy or a bound of 0 at once, for a filter that is none when
        the subscription starts.
        """
        subscriber = Subscriber(
            self.filter,
            callback,
            group=group,
            policy=policy,
            messages_max=messages_max,
            bytes_max=bytes_max,
            retained=retained,
            type=type,
            on_dropped=on_dropped,
        )
        return Subscription(self._router, subscriber)


class Topic:
    """One topic."""

    def __init__(self, connection: Connection, router: Router, name: str) -> None:
        self._connection = connection
        self._router = router
        self.name = name

    @overload
    async def publish(
        self,
        value: Any,
        *,
        retain: bool = False,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        headers: HeadersLike = (),
        count: Literal[True],
    ) -> int: ...
    @overload
    async def publish(
        self,
        value: Any,
        *,
        retain: bool = False,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        headers: HeadersLike = (),
        count: bool = False,
    ) -> int | None: ...

    async def publish(
        self,
        value: Any,
        *,
        retain: bool = False,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        headers: HeadersLike = (),
        count: bool = False,
    ) -> int | None:
        """Send a value to everyone whose filter matches; done when the server has taken it.

        `retain` keeps it for later subscribers, for `ttl` seconds or `ttl_ms` milliseconds if given. With
        `count` the number of receivers is returned, else None.
        """
        with sending("publish", self.name) as trace:
            payload = publication(self.name, value, retain, ttl, ttl_ms, trace.headers(headers), count)
            reply = await self._connection.data(op.PUB, payload)
        return Reader(reply).u32() if count else None

    async def clear_retained(self) -> None:
        """Forget the value that the topic keeps. Nothing is sent to subscribers."""
        await self._connection.call(op.PUB, clearing(self.name))

    async def request(
        self, value: Any, *, timeout: float | None = None, headers: HeadersLike = (), type: Any = None
    ) -> Message:
        """Send a value to the topic's subscribers and return the first reply.

        Waits `timeout` seconds (the client's, if not given; at most an hour). NoRespondersError at once if
        nobody subscribes who could reply, ReplyTimeoutError if nobody did in time. `type` is the reply's.
        """
        seconds = self._connection.timeout if timeout is None else timeout
        milliseconds = round(seconds * 1000)
        if not 0 < milliseconds <= REQUEST_TIMEOUT_MS_MAX:
            raise InvalidArgumentError(
                f"a timeout of {seconds} s: 0.001 to request_timeout_ms_max, {REQUEST_TIMEOUT_MS_MAX} ms"
            )
        with sending("request", self.name) as trace:
            block = values.encode_headers(trace.headers(headers))
            extra = bytes((op.PUB_HEADERS,)) + prefixed(block) if block else b"\x00"
            payload = string(self.name) + u32(milliseconds, "a timeout") + extra + values.encode(value)
            # The server keeps the time; it gets the client's own to say so.
            patience = seconds + self._connection.timeout
            reader = Reader(await self._connection.data(op.PUB_REQUEST, payload, timeout=patience))
        answered = values.decode_headers(reader.prefixed())
        return Message(self.name, reader.rest(), answered, type=type)

    def subscribe(
        self,
        callback: Callback | None = None,
        *,
        group: str | None = None,
        policy: str | None = None,
        messages_max: int | None = None,
        bytes_max: int | None = None,
        retained: bool = True,
        type: Any = None,
        on_dropped: Callable[[int], Awaitable[None] | None] | None = None,
    ) -> Subscription:
        """Subscribe to this topic alone, as `Pattern.subscribe`."""
        return Pattern(self._router, self.name).subscribe(
            callback,
            group=group,
            policy=policy,
            messages_max=messages_max,
            bytes_max=bytes_max,
            retained=retained,
            type=type,
            on_dropped=on_dropped,
        )
