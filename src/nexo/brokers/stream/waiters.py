"""Those who wait for records or for deliveries: long polls and followers.

A waiter is answered once: with what it waits for, at its deadline with nothing, or with an error. Knows
neither streams nor groups. The clock is an argument.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.stream.agenda import Agenda, Scheduled
from nexo.brokers.stream.leases import Delivery
from nexo.errors import ServerError


@mypyc_attr(allow_interpreted_subclasses=True)
class Waiter:
    """One who waits; called at the end of a turn or when time has passed. Must not raise."""

    def readable(self) -> None:
        """There are records to read now, or the deadline has passed: read."""
        raise NotImplementedError

    def delivered(self, deliveries: list[Delivery]) -> None:
        """What a fetch found; nothing when the deadline has passed."""
        raise NotImplementedError

    def failed(self, error: ServerError) -> None:
        """The wait is over: FENCED, NOT_MEMBER, RESOURCE_NOT_FOUND, or a damaged log."""
        raise NotImplementedError


@final
class Waiting(Scheduled):
    """A waiter in a line. The line is in the order of arrival; who is answered leaves it."""

    def __init__(self, waiter: Waiter, line: dict[Waiting, None], agenda: Agenda, deadline: i64) -> None:
        super().__init__()
        self.waiter = waiter
        self.active = True
        self.fetching = False
        self.from_seq: i64 = 0  # of a reader
        self.consumer_id = b""  # these of a fetch
        self.generation: i64 = 0
        self.count: i64 = 0
        self.bytes_max: i64 = 0
        self._line = line
        self._agenda = agenda
        line[self] = None
        if deadline != 0:
            agenda.schedule(self, deadline)

    def end(self) -> bool:
        """Leaves the line; False when it had left already."""
        if not self.active:
            return False
        self.active = False
        del self._line[self]
        self._agenda.schedule(self, 0)
        return True

    def fail(self, error: ServerError) -> None:
        """Ends the wait with an error."""
        if self.end():
            self.waiter.failed(error)

    def due(self, now: i64) -> i64:
        """The deadline has passed."""
        if self.end():
            if self.fetching:
                self.waiter.delivered([])
            else:
                self.waiter.readable()
        return 0
