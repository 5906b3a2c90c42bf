"""What a group knows of each message that it handed out, and until when it is leased.

    Pending     a message that is neither settled nor untouched
    Delivery    what a consumer gets: where the record lies, its attempts, the receipt to settle it with
    Leases      those that are out, in the order in which they end

All leases of a group are equally long, so they end in the order of delivery and need no heap. Settled ones
are left behind in the line and tidied away when they are the majority. Knows no stream.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

LEASED: Final = 0
READY: Final = 1
"""Handed out before, and may be again at once."""
DELAYED: Final = 2
"""To be handed out again from `deadline` on."""
KNOWN: Final = 3
"""Handed out before a restart, and not met again since, or waiting for its key."""

_SLACK: Final = 64  # stale entries that are not worth tidying


@final
@mypyc_attr(acyclic=True)
class Pending:
    """One message of one group. `token` is 0 when no receipt is valid, `holder` the member's number."""

    __slots__ = ("attempts", "deadline", "holder", "key", "queued", "reason", "seq", "state", "token")

    def __init__(self, seq: i64, key: bytes, attempts: i64, state: i64) -> None:
        self.seq = seq
        self.key = key
        self.attempts = attempts
        self.state = state
        self.token: i64 = 0
        self.deadline: i64 = 0
        self.holder: i64 = 0
        self.queued: i64 = 0  # its entries in the line of leases, of which the last counts
        self.reason = b""


@final
@mypyc_attr(acyclic=True)
class Delivery:
    """A record handed out: `block[start:body_end]` up to the value, its headers from there to `end`."""

    __slots__ = ("attempts", "block", "body_end", "end", "seq", "start", "token")

    def __init__(
        self, seq: i64, token: i64, attempts: i64, block: bytes, start: i64, body_end: i64, end: i64
    ) -> None:
        self.seq = seq
        self.token = token
        self.attempts = attempts
        self.block = block
        self.start = start
        self.body_end = body_end
        self.end = end


@final
class Leases:
    """The line of leases; `count` are out. Receipts have numbers above `token`, which may be raised."""

    __slots__ = ("_head", "_line", "count", "token")

    def __init__(self, token: i64) -> None:
        self._line: list[Pending] = []
        self._head: i64 = 0
        self.token = token
        self.count: i64 = 0

    def start(self, pending: Pending, holder: i64, deadline: i64) -> None:
        """Leases a message, under a receipt of its own."""
        self.token += 1
        pending.token = self.token
        pending.state = LEASED
        pending.attempts += 1
        pending.deadline = deadline
        pending.holder = holder
        pending.reason = b""
        pending.queued += 1
        self.count += 1
        self._line.append(pending)
        if len(self._line) > 2 * self.count + _SLACK:
            self._tidy()

    def first(self) -> Pending | None:
        """The lease that ends first."""
        line = self._line
        while self._head < len(line):
            one = line[self._head]
            if one.queued == 1 and one.state == LEASED:
                return one
            one.queued -= 1
            self._head += 1
        self._line = []
        self._head = 0
        return None

    def of(self, holders: dict[int, None]) -> list[Pending]:
        """The leases of some members."""
        self._tidy()
        return [one for one in self._line if one.holder in holders]

    def clear(self) -> None:
        """Forgets all leases; receipts are never given twice."""
        self._line = []
        self._head = 0
        self.count = 0

    def _tidy(self) -> None:
        kept: list[Pending] = []
        place = self._head
        while place < len(self._line):
            one = self._line[place]
            if one.queued == 1 and one.state == LEASED:
                kept.append(one)
            else:
                one.queued -= 1
            place += 1
        self._line = kept
        self._head = 0
