"""What the movers of queues and streams share while bodies are written once more, so that old log files can go.

A body that lives in one of the `files` is recorded again as part of a MOVE. The broker goes on referring to
its old place until the copy is on disk: so it does not matter whether the MOVE gets there, and nothing has to be
taken back when it does not. Knows no broker.

    kind                body
    0x41 MOVE_BODIES    u32 queue, u32 count, count x { i64 id, u32 size, body }: of messages, dead or not
    0x42 MOVE_BLOCKS    i64 stream, u32 count, count x { i64 first seq, u32 size, block }

Replayed, a MOVE changes where things lie and nothing else; what is gone by then is passed over.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.journal import Journal
from nexo.limits import (
    CLEANING_FLIGHT_BYTES,
    CLEANING_LOOKS,
    CLEANING_READS,
    CLEANING_SLICE_BYTES,
    READ_GAP_BYTES,
)

MOVE_BODIES: Final = 0x41
MOVE_BLOCKS: Final = 0x42


class Move:
    """One body that was written once more, in a batch of the journal: that of a message `id`, or of the block that
    begins with sequence `id`. `size` is its length, `old` and `new` are its addresses."""

    def __init__(self, batch: i64, id: i64, size: i64, old: i64, new: i64) -> None:
        self.batch = batch
        self.id = id
        self.size = size
        self.old = old
        self.new = new

    def done(self) -> None:
        """The copy is on disk: refer to it from now on."""
        raise NotImplementedError

    def lost(self) -> None:
        """The copy is not in the log and never will be."""
        raise NotImplementedError


@final
class Moving:
    """Which files are left, what may still be done in this turn, and what is on its way to the disk.

    `faults` are bodies that could not be read, in words; they stay where they are, and so do their files, whose
    numbers are `spoiled`. The bounds are those of limits.py, unless somebody sets others.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.files: dict[int, None] = {}
        self.faults: list[str] = []
        self.spoiled: set[int] = set()
        self.slice_bytes: i64 = CLEANING_SLICE_BYTES
        self.looks: i64 = CLEANING_LOOKS
        self.reads: i64 = CLEANING_READS
        self.flight_bytes: i64 = CLEANING_FLIGHT_BYTES
        self.bytes: i64 = 0  # moved since `files` were given
        self._flight: deque[Move] = deque()
        self._flight_bytes: i64 = 0
        self._looks: i64 = 0
        self._bytes: i64 = 0
        self._reads: i64 = 0
        self._read_end: i64 = 0
        self._last_file: i64 = 0  # the answer about the file that was asked for last
        self._last_wanted = False

    def begin(self, files: list[int]) -> None:
        """Move what lives in these files."""
        self.files = dict.fromkeys(files)
        self.bytes = 0
        self._last_file = 0
        self._last_wanted = False

    def begin_turn(self) -> None:
        """Another slice may be done."""
        self._looks = self.looks
        self._bytes = self.slice_bytes
        self._reads = self.reads
        self._read_end = 0

    @property
    def waiting(self) -> bool:
        """Whether more must get to the disk before more is moved."""
        return self._flight_bytes >= self.flight_bytes

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way to the disk."""
        return len(self._flight) == 0

    @property
    def spent(self) -> bool:
        """Whether enough was done in this turn."""
        return self._looks <= 0 or self._bytes <= 0 or self._reads <= 0

    def looked(self, count: i64) -> None:
        """So many messages or blocks were looked at."""
        self._looks -= count

    def wants(self, address: i64) -> bool:
        """Whether what lies there is to be moved."""
        file = address >> 32
        if file != self._last_file:
            self._last_file = file
            self._last_wanted = int(file) in self.files
        return self._last_wanted

    def chosen(self, address: i64, size: i64, absent: bool) -> None:
        """Something is going to be moved; `absent`: it has to be read for that."""
        self._bytes -= size
        if absent:
            if not self._read_end <= address <= self._read_end + READ_GAP_BYTES:
                self._reads -= 1
            self._read_end = address + size

    def spoil(self, address: i64, fault: str) -> None:
        """Something cannot be read: it stays where it is."""
        self.spoiled.add(int(address >> 32))
        self.faults.append(fault)

    def add(self, move: Move) -> None:
        """Something was written once more."""
        self._flight.append(move)
        self._flight_bytes += move.size
        self.bytes += move.size

    def settled(self) -> None:
        """The journal got further: what is on disk now is referred to there."""
        flight = self._flight
        while flight and flight[0].batch <= self.journal.synced:
            move = flight.popleft()
            self._flight_bytes -= move.size
            move.done()

    def withdraw(self, first_batch: i64) -> None:
        """Batches from this one on have failed: what they moved stays where it was."""
        flight = self._flight
        while flight and flight[-1].batch >= first_batch:
            move = flight.pop()
            self._flight_bytes -= move.size
            move.lost()


class Mover:
    """Looks through what one broker has; base of those of queues and streams."""

    def step(self) -> bool:
        """Goes on until enough was done in this turn; whether it has come to its end."""
        raise NotImplementedError
