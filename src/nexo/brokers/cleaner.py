"""The cleaner: has what lives in some log files written once more, a slice in each turn, until nothing refers to them.

Which files, and when, is decided by whoever calls `start`; a compaction finds out afterwards which files can go.
Knows queues and streams as those who have a mover.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.journal import Journal
from nexo.brokers.moving import Mover, Moving
from nexo.brokers.queue.queues import Queues
from nexo.brokers.stream.streams import Streams


@final
class Cleaner:
    """`active` from `start` until all is moved and on disk, or given up, which `gave_up` tells."""

    def __init__(self, journal: Journal, queues: Queues, streams: Streams) -> None:
        self.moving = Moving(journal)
        self.active = False
        self.gave_up = False
        self._queues = queues
        self._streams = streams
        self._movers: list[Mover] = []

    def start(self, files: list[int]) -> None:
        """Move what lives in these files, which must be complete and on disk."""
        self.moving.begin(files)
        self._movers = [self._streams.mover(self.moving), self._queues.mover(self.moving)]
        self.active = True
        self.gave_up = False

    def step(self) -> bool:
        """A slice, for the end of a turn; whether more can be done at once."""
        moving = self.moving
        if not self._movers or moving.waiting:
            return False
        moving.begin_turn()
        while self._movers and self._movers[-1].step():
            self._movers.pop()
        self._look()
        return len(self._movers) > 0

    def settled(self) -> None:
        """The journal got further."""
        self.moving.settled()
        self._look()

    def withdraw(self, first_batch: i64) -> None:
        """Batches from this one on have failed: there is no room for moving now."""
        self.moving.withdraw(first_batch)
        self.gave_up = self.gave_up or self.active
        self._movers = []
        self._look()

    def _look(self) -> None:
        if self.active and not self._movers and self.moving.idle:
            self.active = False
