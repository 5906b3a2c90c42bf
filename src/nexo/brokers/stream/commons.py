"""What all streams of a node share: the journal, the cache of blocks, the agenda, the account of the log.

A block that was recorded is *staged* until its batch has got as far as the stream's level promises; the two
lines here are the staged blocks that wait for the operating system and for the disk. Knows no stream.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import final

from mypy_extensions import i64

from nexo.brokers.journal import FSYNC, Journal
from nexo.brokers.stream.agenda import Agenda, Scheduled
from nexo.brokers.stream.cache import BlockCache


class Stager(Scheduled):
    """One whose blocks are staged."""

    def close(self, now: i64) -> None:
        """Records what was appended in this turn."""
        raise NotImplementedError

    def commit(self, staged: Staged) -> None:
        """The blocks have got as far as they must; they need not stay in memory for it."""
        raise NotImplementedError

    def retract(self, staged: Staged) -> None:
        """The batch failed."""
        raise NotImplementedError


class Membership:
    """What a consumer gives up when it goes."""

    def end(self, now: i64) -> None:
        """The consumer has gone."""
        raise NotImplementedError


@final
class Staged:
    """The blocks that one stream recorded in one batch: `count` blocks from sequence `first` to `last`."""

    __slots__ = ("batch", "count", "first", "last", "stager")

    def __init__(self, stager: Stager, batch: i64, first: i64, last: i64, count: i64) -> None:
        self.stager = stager
        self.batch = batch
        self.first = first
        self.last = last
        self.count = count


@final
class Commons:
    """Shared by the streams of one node."""

    __slots__ = (
        "_to_disk",
        "_to_system",
        "agenda",
        "cache",
        "journal",
        "members",
        "opened",
        "random",
        "tail_bytes_max",
    )

    def __init__(self, journal: Journal, seed: int, cache_bytes_max: i64, tail_bytes_max: i64) -> None:
        self.journal = journal
        self.random = Random(seed)
        self.agenda = Agenda()
        self.cache = BlockCache(cache_bytes_max)
        self.tail_bytes_max = tail_bytes_max
        self.members: dict[object, dict[bytes, Membership]] = {}  # by consumer, and consumer id
        self.opened: list[Stager] = []  # those with appends that are not recorded yet
        self._to_system: deque[Staged] = deque()
        self._to_disk: deque[Staged] = deque()

    def enter(self, consumer: object, consumer_id: bytes, membership: Membership) -> None:
        """A consumer has become a member."""
        own = self.members.get(consumer)
        if own is None:
            own = {}
            self.members[consumer] = own
        own[consumer_id] = membership

    def exit(self, consumer: object, consumer_id: bytes) -> None:
        """A membership has ended."""
        own = self.members.get(consumer)
        if own is not None:
            own.pop(consumer_id, None)
            if not own:
                del self.members[consumer]

    def close(self, now: i64) -> None:
        """Records what was appended in this turn to any stream."""
        while self.opened:
            opened, self.opened = self.opened, []
            for one in opened:
                one.close(now)

    def stage(self, staged: Staged, level: i64) -> None:
        """Keeps what a batch recorded in sight until it has settled."""
        if level == FSYNC:
            self._to_disk.append(staged)
        else:
            self._to_system.append(staged)

    def settled(self) -> None:
        """Commits what has got far enough."""
        journal = self.journal
        while self._to_system and self._to_system[0].batch <= journal.written:
            staged = self._to_system.popleft()
            staged.stager.commit(staged)
        while self._to_disk and self._to_disk[0].batch <= journal.synced:
            staged = self._to_disk.popleft()
            staged.stager.commit(staged)

    def withdraw(self, first_batch: i64) -> None:
        """Retracts what failed batches recorded, the newest first."""
        for line in (self._to_system, self._to_disk):
            while line and line[-1].batch >= first_batch:
                staged = line.pop()
                staged.stager.retract(staged)
