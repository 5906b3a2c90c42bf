"""One message of a queue, what rarely goes with it, and one delivery of it.

A message is a native object without a cycle collector header: 104 bytes when compiled. It is in exactly one
structure that acts on it, which its state names; other structures may still refer to one that is GONE, and
pass it over when they meet it. Nothing here points back from a message to what holds it.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i16, i32, i64, mypyc_attr

from nexo.brokers.queue.consumers import Holding

# Where a message is.
GONE: Final = 0
"""Acknowledged, removed, dropped, dead or withdrawn: whoever meets it lets go of it."""
STAGED: Final = 1
"""Pushed, and not yet as durable as its queue promises."""
READY: Final = 2
"""May be delivered."""
HELD: Final = 3
"""Could be delivered, but for an earlier message of its group."""
DELAYED: Final = 4
"""Waits for its time, `due_at`."""
LEASED: Final = 5
"""Delivered, and neither acknowledged nor given back."""


@final
@mypyc_attr(acyclic=True)
class Extras:
    """What most messages do without. Keys and texts are b"" for none.

    `headers_bytes` is the length of the headers, which are let go together with the body. `reason` is that
    of the last refusal. `delivered` says that the message has been given out, even if not counted.
    """

    __slots__ = ("dedup", "delivered", "group", "headers", "headers_bytes", "reason")

    def __init__(self) -> None:
        self.dedup = b""
        self.delivered = False
        self.group = b""
        self.headers = b""
        self.headers_bytes: i64 = 0
        self.reason = b""


@final
@mypyc_attr(acyclic=True)
class QueueMessage:
    """A message. Times are node time in ms, 0 for none.

    Its *body* is its headers and its value. `size` is the body's length, `address` its place in the log and
    `checksum` its CRC-32C, both 0 when it was not recorded. The value is b"" while the body is let go.
    `attempts` counts the deliveries.
    """

    __slots__ = (
        "address",
        "attempts",
        "checksum",
        "due_at",
        "enqueued_at",
        "expires_at",
        "extras",
        "id",
        "priority",
        "size",
        "state",
        "value",
    )

    def __init__(self, id: i64, value: bytes, priority: i64, enqueued_at: i64) -> None:
        self.id = id
        self.value = value
        self.enqueued_at = enqueued_at
        self.due_at: i64 = 0
        self.expires_at: i64 = 0
        self.address: i64 = 0
        self.extras: Extras | None = None
        self.size: i64 = 0
        self.attempts: i64 = 0
        self.checksum: i32 = 0
        self.priority: i16 = i16(priority)
        self.state: i16 = GONE

    def more(self) -> Extras:
        """The extras, made when there are none."""
        extras = self.extras
        if extras is None:
            extras = Extras()
            self.extras = extras
        return extras

    def copy(self) -> QueueMessage:
        """Another message with the same fields, which is nowhere."""
        other = QueueMessage(self.id, self.value, i64(self.priority), self.enqueued_at)
        other.due_at = self.due_at
        other.expires_at = self.expires_at
        other.address = self.address
        other.size = self.size
        other.checksum = self.checksum
        other.attempts = self.attempts
        extras = self.extras
        if extras is not None:
            more = other.more()
            more.dedup = extras.dedup
            more.group = extras.group
            more.headers = extras.headers
            more.headers_bytes = extras.headers_bytes
            more.reason = extras.reason
            more.delivered = extras.delivered
        return other

    @property
    def headers(self) -> bytes:
        """The encoded header block, b"" for none."""
        extras = self.extras
        return b"" if extras is None else extras.headers

    @property
    def group(self) -> bytes:
        """The group key, b"" for none."""
        extras = self.extras
        return b"" if extras is None else extras.group

    @property
    def reason(self) -> bytes:
        """Why the message was last refused, b"" if it never was."""
        extras = self.extras
        return b"" if extras is None else extras.reason


NO_MESSAGE: Final = QueueMessage(0, b"", 0, 0)
"""What a delivery that has ended refers to."""


@final
@mypyc_attr(acyclic=True)
class Item:
    """What is pushed, besides a plain value. b"" and 0 stand for none.

    `delay_ms` counts from now, `due_at` is a time; one of them. `duplicate` is set by the push when the
    dedup key was known: nothing was added then.
    """

    __slots__ = (
        "dedup",
        "delay_ms",
        "due_at",
        "duplicate",
        "group",
        "headers",
        "priority",
        "ttl_ms",
        "value",
    )

    def __init__(
        self,
        value: bytes,
        priority: i64 = 0,
        delay_ms: i64 = 0,
        due_at: i64 = 0,
        ttl_ms: i64 = 0,
        dedup: bytes = b"",
        group: bytes = b"",
        headers: bytes = b"",
    ) -> None:
        self.value = value
        self.priority = priority
        self.delay_ms = delay_ms
        self.due_at = due_at
        self.ttl_ms = ttl_ms
        self.dedup = dedup
        self.group = group
        self.headers = headers
        self.duplicate = False


@final
@mypyc_attr(acyclic=True)
class Delivery:
    """One delivery of a message: a lease until `deadline`, fenced by `token`.

    `attempt` is 1 for the first. Once the lease has ended, `message` is NO_MESSAGE; `id` stays that of the message.
    """

    __slots__ = ("attempt", "deadline", "holding", "id", "message", "token")

    def __init__(self, message: QueueMessage, token: i64, deadline: i64, holding: Holding | None) -> None:
        self.message = message
        self.id: i64 = message.id
        self.token = token
        self.attempt: i64 = message.attempts
        self.deadline = deadline
        self.holding = holding
