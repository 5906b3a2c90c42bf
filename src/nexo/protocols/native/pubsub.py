"""The Pub/Sub commands of the native protocol, each a call to the broker. Layouts: docs/protocol.md."""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo import limits
from nexo.brokers.batch.steps import Publication
from nexo.brokers.journal import MEMORY
from nexo.brokers.message import Message
from nexo.brokers.pubsub import Encoding, PubSub, Subscription
from nexo.brokers.requests import Requester
from nexo.brokers.topics import check_filter, check_group, check_topic
from nexo.errors import (
    InvalidArgumentError,
    LimitExceededError,
    NoRespondersError,
    ReplyTimeoutError,
    ResourceNotFoundError,
)
from nexo.protocols.native import frames
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import Channel, deadline
from nexo.protocols.native.frames import Payload, write_head, write_string


@final
class PushEncoding(Encoding):
    """How messages are written for native connections; a batch is encoded once for all of them.

    `events` is whether the connection has said HELLO and so understands frames of type 0x05.
    """

    def __init__(self, events: bool) -> None:
        super().__init__()
        self.events = events

    def encode(self, messages: list[Message], tag: i64) -> bytes:
        out = BytesWriter()
        events = self.events
        for message in messages:
            if events and (tag != 0 or message.request_id != 0 or len(message.headers) > 0):
                frames.write_message_event(
                    out, tag, message.request_id, message.topic, message.headers, message.value
                )
            else:
                frames.write_push(out, message.topic, message.value)
        return out.getvalue()


PLAIN: Final = PushEncoding(False)
EVENTS: Final = PushEncoding(True)


@final
class Replies(Requester):
    """Carries the outcome of a request to the session that made it."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def replied(self, correlation_id: i64, value: bytes, headers: bytes) -> None:
        out = BytesWriter()
        write_head(out, op.DATA, frames.low32(correlation_id), 4 + len(headers) + len(value))
        write_string(out, headers)
        out.write(value)
        self.channel.send(out.getvalue())

    def timed_out(self, correlation_id: i64) -> None:
        error = ReplyTimeoutError("no reply came in time")
        self.channel.send(frames.error_frame(frames.low32(correlation_id), error))


@final
class PubSubCommands:
    """What one connection publishes, subscribes to and asks."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.pubsub = channel.node.pubsub
        self.replies = Replies(channel)

    def close(self) -> None:
        """The connection has ended."""
        self.channel.node.requests.drop(self.replies)

    def publish_with(self, payload: Payload, now: i64) -> None:
        topic = payload.string("the topic")
        flags = payload.u8("the flags")
        publication = read_publication(self.pubsub, payload, topic, flags, now)
        level = publication.level
        if publication.takes_room():
            publication.check_kept()
            if level != MEMORY:
                self.channel.node.check_write()
            else:
                self.channel.node.check_memory()
        receivers = publication.publish()
        if flags & op.PUB_COUNT:
            out = BytesWriter()
            write_i32_be(out, i32(receivers))
            self.channel.data_at(level, out.getvalue())
        else:
            self.channel.ok_at(level)

    def subscribe(self, payload: Payload, extended: bool, now: i64) -> None:
        topic_filter = payload.string("the filter")
        check_filter(topic_filter)
        flags: i64 = payload.u8("the flags") if extended else 0
        group = payload.string("the group") if flags & op.SUBX_SHARED else b""
        messages_max: i64 = limits.PENDING_MESSAGES_DEFAULT
        bytes_max: i64 = limits.PENDING_BYTES_DEFAULT
        if flags & op.SUBX_MESSAGES:
            messages_max = payload.u32("the bound on messages")
        if flags & op.SUBX_BYTES:
            bytes_max = payload.u64("the bound on bytes")
        policy: i64 = payload.u8("the policy") if flags & op.SUBX_POLICY else op.DROP_OLDEST
        payload.finish()
        tag: i64 = 0
        if flags & op.SUBX_SHARED:
            check_group(group)
            if not self.channel.greeted:
                raise InvalidArgumentError("a shared subscription needs HELLO")
            # Never 0, which means an ordinary subscription; the wire carries the low 32 bits.
            tag = i64(self.channel.frames.correlation) | (1 << 32)
        if policy > op.DISCONNECT:
            raise InvalidArgumentError(f"unknown policy {policy}")
        if messages_max == 0 or bytes_max == 0:
            raise InvalidArgumentError("a bound of 0 would let nothing through")
        if len(self.channel.subscriptions) >= limits.SUBSCRIPTIONS_PER_CONNECTION_MAX:
            raise LimitExceededError(
                f"subscriptions_per_connection_max is {limits.SUBSCRIPTIONS_PER_CONNECTION_MAX}"
            )
        self.pubsub.subscribe(
            self.channel,
            topic_filter,
            group=group,
            tag=tag,
            messages_max=messages_max,
            bytes_max=bytes_max,
            policy=policy,
        )
        self.channel.ok()
        if not flags & op.SUBX_NO_RETAINED and not group:
            retained = self.pubsub.retained(topic_filter, now)
            if retained:
                self.channel.flush()
                self.channel.send_retained(retained, tag)

    def unsubscribe(self, payload: Payload, extended: bool) -> None:
        topic_filter = payload.string("the filter")
        group = payload.string("the group") if extended else b""
        payload.finish()
        check_filter(topic_filter)
        self.pubsub.unsubscribe(self.channel, topic_filter, group)
        self.channel.ok()

    def notify(self, subscription: Subscription) -> None:
        if self.channel.greeted:
            payload = BytesWriter()
            write_string(payload, subscription.filter)
            write_string(payload, subscription.group)
            payload.append(subscription.policy)
            write_i64_be(payload, subscription.dropped_untold)
            write_i64_be(payload, subscription.dropped)
            self.channel.send(frames.event(op.DROPPED, 0, payload.getvalue()))

    def request(self, payload: Payload, now: i64) -> None:
        topic = payload.string("the topic")
        check_topic(topic)
        timeout = payload.u32("the timeout")
        flags = payload.u8("the flags")
        headers = payload.headers() if flags & op.PUB_HEADERS else b""
        value = payload.value()
        if timeout == 0 or timeout > limits.REQUEST_TIMEOUT_MS_MAX:
            raise InvalidArgumentError(
                f"a timeout of {timeout} ms: 1 to request_timeout_ms_max, {limits.REQUEST_TIMEOUT_MS_MAX}"
            )
        if self.channel.frames.kind != op.REQUEST:
            return
        if self.pubsub.responders(topic) == 0:
            raise NoRespondersError(f"nobody answers requests on {topic.decode()}")
        request_id = self.channel.node.requests.open(
            self.replies, i64(self.channel.frames.correlation), now + timeout, now, topic
        )
        self.pubsub.publish(Message(topic, value, headers, request_id))

    def reply(self, payload: Payload) -> None:
        request_id = payload.u64("the request")
        flags = payload.u8("the flags")
        headers = payload.headers() if flags & op.PUB_HEADERS else b""
        value = payload.value()
        if not self.channel.node.requests.reply(request_id, value, headers):
            raise ResourceNotFoundError("the request was answered already, or its time is over")
        self.channel.ok()


def read_publication(pubsub: PubSub, payload: Payload, topic: bytes, flags: i64, now: i64) -> Publication:
    """The rest of a PUB, whose topic and flags have been read."""
    check_topic(topic)
    expires_at: i64 = 0
    if flags & op.PUB_TTL:
        if flags & op.PUB_TTL_MS:
            expires_at = deadline(payload.u64("the TTL"), now)
        else:
            expires_at = deadline(payload.u32("the TTL") * 1000, now)
    headers = payload.headers() if flags & op.PUB_HEADERS else b""
    clear = (flags & op.PUB_CLEAR) != 0
    # The published client sends a null value along when it clears; it means nothing here.
    message = Message(topic, b"" if clear else payload.value(), headers, 0)
    return Publication(pubsub, message, (flags & op.PUB_RETAIN) != 0, clear, expires_at)
