"""A stream: its log, its consumer groups, and those who follow it without a group.

Knows neither protocols nor connections; `now` is node time in ms.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.stream import journal as stream_journal
from nexo.brokers.stream.commons import Commons
from nexo.brokers.stream.definition import Definition
from nexo.brokers.stream.group import Group
from nexo.brokers.stream.log import StreamLog
from nexo.brokers.stream.waiters import Waiter, Waiting
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError, ServerError
from nexo.limits import GROUPS_PER_STREAM_MAX, KEY_BYTES_MAX


@final
class GroupCounters:
    """What groups have done since the process began."""

    __slots__ = ("acked", "delivered", "expired", "missed", "nacked", "redelivered")

    def __init__(self) -> None:
        self.delivered: i64 = 0
        self.redelivered: i64 = 0
        self.acked: i64 = 0
        self.nacked: i64 = 0
        self.expired: i64 = 0  # leases that ran out
        self.missed: i64 = 0  # messages that retention took before they were settled

    def add(self, other: GroupCounters) -> None:
        """Counts what others have done, too."""
        self.delivered += other.delivered
        self.redelivered += other.redelivered
        self.acked += other.acked
        self.nacked += other.nacked
        self.expired += other.expired
        self.missed += other.missed

    def add_group(self, group: Group) -> None:
        """Counts what a group has done, too."""
        backlog = group.backlog
        self.delivered += group.delivered
        self.redelivered += backlog.redelivered
        self.acked += group.acked
        self.nacked += group.nacked
        self.expired += backlog.expired
        self.missed += backlog.missed


@final
class GroupNumbers:
    """The groups of all streams by number, the number that the next one gets, and what those did that are gone."""

    __slots__ = ("gone", "groups", "next")

    def __init__(self) -> None:
        self.gone = GroupCounters()
        self.groups: dict[int, Group] = {}
        self.next: i64 = 1


@final
class Stream(StreamLog):
    """One stream. Appending and reading are those of its log."""

    def __init__(
        self,
        commons: Commons,
        numbers: GroupNumbers,
        number: i64,
        name: bytes,
        definition: Definition,
        created_at: i64,
    ) -> None:
        super().__init__(commons, number, definition)
        self.name = name
        self.created_at = created_at
        self.created_batch = commons.journal.batch
        self.groups: dict[bytes, Group] = {}
        self._numbers = numbers
        self._readers: dict[Waiting, None] = {}

    # Groups.

    def group(self, name: bytes, now: i64) -> Group:
        """The group of that name; a new one starts at the beginning of the stream."""
        group = self.groups.get(name)
        if group is None:
            if not name:
                raise InvalidArgumentError("a group's name must not be empty")
            if len(name) > KEY_BYTES_MAX:
                raise LimitExceededError(f"group name of {len(name)} bytes: key_bytes_max is {KEY_BYTES_MAX}")
            if len(self.groups) >= GROUPS_PER_STREAM_MAX:
                raise LimitExceededError(f"groups_per_stream_max is {GROUPS_PER_STREAM_MAX}")
            group = self.adopt(self._numbers.next, name, now)
            stream_journal.write_join(self, group.number, 0, name)
        return group

    def find_group(self, name: bytes) -> Group:
        """The group of that name. Raises ResourceNotFoundError."""
        group = self.groups.get(name)
        if group is None:
            raise ResourceNotFoundError(
                f"stream {self.name.decode(errors='replace')} has no group {name.decode(errors='replace')}"
            )
        return group

    def adopt(self, number: i64, name: bytes, now: i64) -> Group:
        """Makes a group with a number."""
        group = Group(self, number, name, now)
        self.groups[name] = group
        self._numbers.groups[number] = group
        self._numbers.next = max(self._numbers.next, number + 1)
        return group

    def delete_group(self, name: bytes) -> None:
        """Forgets a group and its dead letters. Raises ResourceNotFoundError."""
        group = self.find_group(name)
        stream_journal.write_group_delete(self, group.number)
        self.forget_group(group)

    def forget_group(self, group: Group) -> None:
        """As `delete_group`, without recording it."""
        del self.groups[group.name]
        del self._numbers.groups[group.number]
        self._numbers.gone.add_group(group)
        group.close(ResourceNotFoundError(f"group {group.name.decode(errors='replace')} has been deleted"))

    def group_idle(self, name: bytes, now: i64) -> None:
        self.delete_group(name)

    # Following.

    def wait(self, waiter: Waiter, from_seq: i64, deadline: i64) -> Waiting:
        """Tells a waiter at the end of a turn in which a sequence can be read; 0: no deadline."""
        waiting = Waiting(waiter, self._readers, self.commons.agenda, deadline)
        waiting.from_seq = from_seq
        self.commons.agenda.rouse(self)
        return waiting

    def news(self) -> None:
        for group in self.groups.values():
            group.appended()
        if self._readers:
            self.commons.agenda.rouse(self)

    def withdrawn(self) -> None:
        for group in self.groups.values():
            group.withdrawn(self.next_seq)

    def serve(self, now: i64) -> None:
        for waiting in list(self._readers):
            if waiting.from_seq <= self.last_seq and waiting.end():
                waiting.waiter.readable()

    def due(self, now: i64) -> i64:
        return self.retain(now)

    # The end.

    def close_down(self, error: ServerError) -> None:
        """The stream is gone: the log need not keep its blocks, and those who wait are told."""
        self.deleted = True
        self.drop_open()
        for group in list(self.groups.values()):
            self.forget_group(group)
        for waiting in list(self._readers):
            waiting.fail(error)
        self.trim(self.next_seq)
        self.commons.agenda.schedule(self, 0)
