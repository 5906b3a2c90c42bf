"""How many commands and bytes a connection may send in a second: token buckets, held against its reading.

A bucket holds what may be sent in one second, and refills steadily. What has been read is run; a bucket that was
overdrawn by it holds the reading back until it is level again, and TCP slows the sender down. Any number of buckets
may be charged for one connection: its own, and those that it shares with others (its address). No clock: times are
node time in ms. Nothing here knows a socket.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

NO_BOUND: Final = 1 << 62
_PARTS: Final = 1_000
"""Of a token: a rate in a second is then as many parts in a ms."""


@final
class TokenBucket:
    """`rate` tokens in a second, at least 1 and at most 2^40, and no more than one second's worth saved up."""

    __slots__ = ("_at", "_parts", "rate")

    def __init__(self, rate: i64, now: i64) -> None:
        self.rate = rate
        self._parts: i64 = rate * _PARTS
        self._at = now

    def refill(self, now: i64) -> None:
        """What the time since the last call brings."""
        elapsed = now - self._at
        if elapsed > 0:
            self._at = now
            full = self.rate * _PARTS
            if elapsed >= (full - self._parts) // self.rate + 1:
                self._parts = full
            else:
                self._parts = min(full, self._parts + elapsed * self.rate)

    def take(self, tokens: i64) -> None:
        """Charge it, below nothing if need be."""
        self._parts -= tokens * _PARTS

    def whole(self) -> i64:
        """Tokens that are there; 0 while it is overdrawn."""
        return self._parts // _PARTS if self._parts > 0 else 0

    def wait_ms(self, tokens: i64) -> i64:
        """How long until so many are there (at most `rate`), 0 when they are."""
        missing = tokens * _PARTS - self._parts
        return (missing + self.rate - 1) // self.rate if missing > 0 else 0

    @property
    def is_full(self) -> bool:
        """Whether a new one would be the same."""
        return self._parts >= self.rate * _PARTS


@final
class Limiter:
    """The buckets of one connection. `ran` commands and `read` bytes have not been charged yet."""

    __slots__ = ("bytes", "commands", "ran", "read")

    def __init__(self) -> None:
        self.commands: list[TokenBucket] = []
        self.bytes: list[TokenBucket] = []
        self.ran: i64 = 0
        self.read: i64 = 0

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing back."""
        return not self.commands and not self.bytes

    def exchange(self, old: Limiter | None, new: Limiter | None) -> None:
        """Be charged with the buckets of another group of connections, no longer with those of an earlier one."""
        if old is not None:
            self.commands = [bucket for bucket in self.commands if bucket not in old.commands]
            self.bytes = [bucket for bucket in self.bytes if bucket not in old.bytes]
        if new is not None:
            self.commands = self.commands + new.commands
            self.bytes = self.bytes + new.bytes

    def allowance(self, now: i64) -> i64:
        """Commands that may be run now."""
        allowed: i64 = NO_BOUND
        for bucket in self.commands:
            bucket.refill(now)
            allowed = min(allowed, bucket.whole())
        return allowed

    def charge(self, now: i64) -> i64:
        """Charge what was read and run; how long to read no more, in ms."""
        wait: i64 = 0
        for bucket in self.commands:
            bucket.refill(now)
            bucket.take(self.ran)
            wait = max(wait, bucket.wait_ms(1))
        for bucket in self.bytes:
            bucket.refill(now)
            bucket.take(self.read)
            wait = max(wait, bucket.wait_ms(0))
        self.ran = 0
        self.read = 0
        return wait
