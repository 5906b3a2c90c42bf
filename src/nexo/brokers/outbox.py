"""What passes between the Pub/Sub broker and one receiver, and what waits while it is slow.

    Receiver      a connection (or an embedded client): takes batches, has an outbox, may be blocked
    Subscription  a receiver's interest in a filter, its bounds, and what it has lost
    Batch         messages of one turn for one set of subscriptions; encoded once per wire
    Outbox        the messages that wait for a blocked receiver, each charged to a subscription

A message waits at most once per receiver, and all that wait leave in the order of publication. A
subscription has bounds in messages and in bytes (topic, value and headers); past one its policy says
which message is lost. Each loss is counted and told. This module knows no socket and no wire: an
Encoding, which a protocol provides, turns messages into bytes.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.message import Message
from nexo.brokers.topics import Target

# The policies of a subscription whose bound is reached; the numbers are those of the native wire.
DROP_OLDEST: Final = 0
DROP_NEWEST: Final = 1
CONFLATE: Final = 2
DISCONNECT: Final = 3

_SLACK: Final = 64  # dead entries that a line may always hold: below this, tidying costs more than it frees


@mypyc_attr(allow_interpreted_subclasses=True)
class Encoding:
    """How one kind of connection writes messages. One object per kind: it is a key of the cache."""

    def encode(self, messages: list[Message], tag: i64) -> bytes:
        """The bytes for messages; `tag` is 0 for ordinary ones, else names a shared subscription."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Receiver:
    """One who subscribes. A subclass calls `super().__init__` and implements `deliver`.

    `blocked` is set by the subclass while it cannot take more; `can_reply` says that it can answer
    requests; the other attributes belong to the broker.
    """

    def __init__(self, encoding: Encoding) -> None:
        self.encoding: Encoding = encoding
        self.blocked: bool = False
        self.can_reply: bool = False
        self.outbox: Outbox = Outbox()
        self.subscriptions: dict[bytes, Subscription] = {}
        self.last_run: i64 = 0

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        """Takes a batch, charged to `subscription`. Must not raise; may publish or drop receivers."""
        raise NotImplementedError

    def has_notices(self) -> None:
        """Told when `outbox.notices()` gains a subscription: its first drop after the last notice."""


@final
class Counters:
    """Totals over all receivers of a broker."""

    __slots__ = ("dropped",)

    def __init__(self) -> None:
        self.dropped: i64 = 0


@final
class Subscription(Target):
    """A receiver's interest in a filter, alone or as a member of a shared group.

    `delivered` counts the messages handed to the receiver since subscribing, `dropped` those that it then lost,
    `dropped_untold` those since the last notice.
    """

    __slots__ = (
        "active",
        "bytes_max",
        "counters",
        "delivered",
        "dropped",
        "dropped_untold",
        "filter",
        "group",
        "latest",
        "line",
        "messages_max",
        "number",
        "pending_bytes",
        "pending_messages",
        "place",
        "policy",
        "receiver",
        "tag",
    )

    def __init__(
        self, receiver: Receiver, filter: bytes, group: bytes, number: i64, counters: Counters
    ) -> None:
        self.receiver = receiver
        self.filter = filter
        self.group = group
        self.number = number  # in the order of subscribing: the lowest is the oldest
        self.counters = counters
        self.tag: i64 = 0
        self.messages_max: i64 = 0
        self.bytes_max: i64 = 0
        self.policy: i64 = DROP_OLDEST
        self.active = True
        self.place: i64 = 0  # among the members of its shared group
        self.delivered: i64 = 0
        self.dropped: i64 = 0
        self.dropped_untold: i64 = 0
        self.pending_messages: i64 = 0
        self.pending_bytes: i64 = 0
        self.line: _Line | None = None
        self.latest: dict[bytes, _Waiting] | None = None

    def told(self) -> None:
        """The notice about what was dropped so far has been written."""
        self.dropped_untold = 0


@final
class Batch:
    """Messages for one set of subscriptions, encoded once for all receivers of one wire."""

    __slots__ = ("_bytes", "_encoding", "_others", "_tag", "messages", "subscriptions")

    def __init__(self, subscriptions: list[Subscription]) -> None:
        self.subscriptions = subscriptions
        self.messages: list[Message] = []
        self._encoding: Encoding | None = None
        self._tag: i64 = 0
        self._bytes = b""
        self._others: dict[tuple[Encoding, int], bytes] | None = None

    def encoded(self, encoding: Encoding, tag: i64) -> bytes:
        """The whole batch as bytes; the same object for every receiver with this encoding and tag."""
        if self._encoding is encoding and self._tag == tag:
            return self._bytes
        if self._encoding is None:
            self._bytes = encoding.encode(self.messages, tag)
            self._encoding = encoding
            self._tag = tag
            return self._bytes
        if self._others is None:
            self._others = {}
        key = (encoding, int(tag))
        data = self._others.get(key)
        if data is None:
            data = encoding.encode(self.messages, tag)
            self._others[key] = data
        return data


@final
class _Waiting:
    """One message that waits. A dead one was dropped or sent and is passed over."""

    __slots__ = ("message", "size", "subscription")

    def __init__(self, message: Message, subscription: Subscription, size: i64) -> None:
        self.message: Message | None = message  # None: dead
        self.subscription = subscription
        self.size = size


@final
class _Line:
    """A queue of waiting messages that keeps the dead ones below half, so that memory follows the living."""

    __slots__ = ("_head", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._head: i64 = 0

    def push(self, waiting: _Waiting, living: i64) -> None:
        """Adds one at the end; `living` is how many live ones the line holds with it."""
        self._waiting.append(waiting)
        if len(self._waiting) > 2 * living + _SLACK:
            self._waiting = [one for one in self._waiting[self._head :] if one.message is not None]
            self._head = 0

    def first(self) -> _Waiting | None:
        """The oldest that lives, which stays in the line until it is dead."""
        waiting = self._waiting
        while self._head < len(waiting):
            one = waiting[self._head]
            if one.message is not None:
                return one
            self._head += 1
        if self._head > 0:
            self._waiting = []
            self._head = 0
        return None


@final
class Outbox:
    """The messages that wait for one blocked receiver. `overflowed`: a DISCONNECT bound was passed."""

    __slots__ = ("_line", "_untold", "bytes", "messages", "overflowed")

    def __init__(self) -> None:
        self._line: _Line | None = None
        self._untold: dict[Subscription, None] | None = None
        self.messages: i64 = 0
        self.bytes: i64 = 0
        self.overflowed = False

    @property
    def empty(self) -> bool:
        return self.messages == 0

    def add(self, batch: Batch, subscription: Subscription) -> None:
        """Lets a batch wait, charged to a subscription whose bounds and policy are applied."""
        for message in batch.messages:
            self.add_message(message, subscription)

    def add_message(self, message: Message, subscription: Subscription) -> None:
        """As `add`, for one message."""
        size: i64 = len(message.topic) + len(message.value) + len(message.headers)
        if self.overflowed or size > subscription.bytes_max:
            if subscription.policy == DISCONNECT:
                self.overflowed = True
            self._count_drop(subscription)
            return
        if subscription.policy == CONFLATE and subscription.latest is not None:
            older = subscription.latest.get(message.topic)
            if older is not None and older.message is not None:
                self._remove(older)
                self._count_drop(subscription)
        while (
            subscription.pending_messages >= subscription.messages_max
            or subscription.pending_bytes + size > subscription.bytes_max
        ):
            if not self._make_room(subscription):
                return
        self._append(message, subscription, size)

    def take(self, bytes_max: i64) -> list[tuple[list[Message], int]]:
        """Takes out the oldest messages, as runs of (messages, tag) in order of publication.

        Stops before the sum of topics, values and headers passes `bytes_max`, but takes at least one.
        """
        runs: list[tuple[list[Message], int]] = []
        line = self._line
        if line is None:
            return runs
        messages: list[Message] = []
        tag: i64 = 0
        taken: i64 = 0
        while True:
            waiting = line.first()
            if waiting is None:
                self._line = None
                break
            message = waiting.message
            if message is None or (taken > 0 and taken + waiting.size > bytes_max):
                break
            if not messages or waiting.subscription.tag != tag:
                messages = []
                tag = waiting.subscription.tag
                runs.append((messages, int(tag)))
            messages.append(message)
            taken += waiting.size
            self._remove(waiting)
        return runs

    def notices(self) -> list[Subscription]:
        """The subscriptions with drops that were not told yet; the caller writes each and calls `told()`."""
        if self._untold is None:
            return []
        untold = [one for one in self._untold if one.dropped_untold > 0 and one.active]
        self._untold = None
        if untold:
            self._untold = dict.fromkeys(untold)
        return untold

    def forget(self, subscription: Subscription) -> None:
        """Discards what waits for one subscription, uncounted: it has been unsubscribed."""
        line = subscription.line
        if line is not None:
            while True:
                waiting = line.first()
                if waiting is None:
                    break
                self._remove(waiting)
        subscription.line = None
        subscription.latest = None
        if self._untold is not None:
            self._untold.pop(subscription, None)
        if self.messages == 0:
            self._line = None

    def discard(self) -> None:
        """Lets go of everything: the receiver has gone."""
        line = self._line
        while line is not None:
            waiting = line.first()
            if waiting is None:
                break
            self._remove(waiting)
        self._line = None
        self._untold = None

    def _make_room(self, subscription: Subscription) -> bool:
        """Applies the policy at a bound. True: one message less waits; False: the new one is lost."""
        policy = subscription.policy
        line = subscription.line
        oldest = None if line is None else line.first()
        if policy == DISCONNECT:
            self.overflowed = True
        self._count_drop(subscription)
        if policy == DISCONNECT or policy == DROP_NEWEST or oldest is None:
            return False
        self._remove(oldest)
        return True

    def _append(self, message: Message, subscription: Subscription, size: i64) -> None:
        waiting = _Waiting(message, subscription, size)
        if self._line is None:
            self._line = _Line()
        if subscription.line is None:
            subscription.line = _Line()
        self.messages += 1
        self.bytes += size
        subscription.pending_messages += 1
        subscription.pending_bytes += size
        self._line.push(waiting, self.messages)
        subscription.line.push(waiting, subscription.pending_messages)
        if subscription.policy == CONFLATE:
            if subscription.latest is None:
                subscription.latest = {}
            subscription.latest[message.topic] = waiting

    def _remove(self, waiting: _Waiting) -> None:
        message = waiting.message
        assert message is not None
        waiting.message = None
        subscription = waiting.subscription
        self.messages -= 1
        self.bytes -= waiting.size
        subscription.pending_messages -= 1
        subscription.pending_bytes -= waiting.size
        if subscription.pending_messages == 0:
            subscription.line = None
            subscription.latest = None
        elif subscription.latest is not None and subscription.latest.get(message.topic) is waiting:
            del subscription.latest[message.topic]

    def _count_drop(self, subscription: Subscription) -> None:
        subscription.dropped += 1
        subscription.counters.dropped += 1
        subscription.dropped_untold += 1
        if subscription.dropped_untold > 1:
            return
        if self._untold is None:
            self._untold = {}
        self._untold[subscription] = None
        subscription.receiver.has_notices()
