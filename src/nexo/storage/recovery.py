"""Starting again: what a data directory holds, in the order in which it happened.

Owns the decision what is a torn tail, and cuts it; what is damage, and refuses it. Knows the files of one
directory and their order, and nothing of what the operations mean.

Newest snapshot → the log files from the one that the snapshot names → the next batch number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from nexo.errors import DamagedError, StorageError
from nexo.limits import EPOCHS_MAX
from nexo.storage.files import Files
from nexo.storage.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    OFFSET_BITS,
    OPERATION_END,
    SNAPSHOT_NAME,
    Header,
    log_name,
    log_numbers,
    snapshot_name,
)
from nexo.storage.log import Start
from nexo.storage.reading import FileReader
from nexo.storage.snapshot import check_snapshot
from nexo.storage.tail import damage

DAMAGED_NAME: Final = re.compile(r"log-(\d{10})\.nexo\.damaged-\d+")
"""What a repair has moved away."""
LEFTOVER: Final = ".tmp"
RESTORING_NAME: Final = "restoring"
RESTORING_FAULT: Final = "a restore was interrupted, and is to be repeated with --force"
END_KIND: Final = bytes((OPERATION_END,))


@dataclass(frozen=True)
class Cut:
    """A torn tail that was cut: bytes from an offset to the end of a file (0: the whole file is gone)."""

    file: str
    offset: int
    size: int
    reason: str


@dataclass
class RecoveryReport:
    """What a start found. `clean`: the node had been stopped in order."""

    clean: bool = False
    snapshot_batch: int = 0
    batches: int = 0
    bytes: int = 0
    cuts: list[Cut] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Newer snapshots that were passed over because they are damaged."""


@dataclass(frozen=True)
class Replayed:
    """Operations of one batch. `address` is that of the first byte of `payload`; 0 in a snapshot: it has none."""

    batch: int
    payload: bytes
    address: int


@dataclass(frozen=True)
class Place:
    """How far a replay has come: the last batch, the last log file and the crc of its last record."""

    batch: int
    tail_file: int
    tail_crc: int
    replay_from: int


def order_fault(header: Header, before: Place, first: bool) -> str:
    """F6: a file continues the one before it, the first one what the snapshot covers; empty when it does."""
    if first and header.first > before.batch + 1:
        return f"batches {before.batch + 1} to {header.first - 1} are missing before it"
    if first and header.previous != 0 and before.replay_from == 0:
        return f"{log_name(header.previous)} is missing before it"
    if not first and header.previous != before.tail_file:
        return f"it continues {log_name(header.previous)}, which is missing"
    if not first and (header.chain != before.tail_crc or header.first <= before.batch):
        return f"it does not continue {log_name(header.previous)}"
    return ""


class Recovery:
    """Reads a data directory whose lock is held. Iterate over `replay`, then `start` says where the log goes on.

    Raises DamagedError, NewerFormatError, StorageError at EPOCHS_MAX, and OSError when the disk itself refuses.
    Then nothing but torn tails has been changed, and what was replayed is void.

    With `before`, only what is older than that log file, which must be complete: nothing is changed then, and
    whoever holds the lock may go on writing.
    """

    def __init__(self, files: Files, before: int = 0) -> None:
        self.report = RecoveryReport()
        self._files = files
        self._before = before
        self._start: Start | None = None
        self._replay_from = 0
        self._first_file = 0
        self._keep: list[int] = []
        self._batch = 0
        self._epoch = 0
        self._number = 0
        self._tail_file = 0
        self._tail_crc = 0

    @property
    def start(self) -> Start:
        """Where the log goes on."""
        assert self._start is not None, "the replay has not ended"
        return self._start

    @property
    def first_file(self) -> int:
        """The first log file that was replayed, or the one with which the log goes on."""
        return self._first_file or int(self.start.file)

    def replay(self) -> Iterator[Replayed]:
        """Everything that the node had recorded, oldest first."""
        names = self._files.names()
        if RESTORING_NAME in names:
            raise DamagedError(self._files.path(RESTORING_NAME), 0, RESTORING_FAULT)
        if not self._before:
            for name in names:
                if name.endswith(LEFTOVER):
                    self._files.remove(name)
        yield from self._snapshot(names)
        numbers = log_numbers(names)
        for number in self._keep:
            if number not in numbers:
                path = self._files.path(log_name(number))
                raise DamagedError(path, 0, "the file is missing, and the snapshot refers to it")
        chain = [number for number in numbers if number >= self._replay_from]
        if self._before:
            chain = [number for number in chain if number < self._before]
        else:
            chain = self._without_torn_header(chain)
        self._first_file = chain[0] if chain else 0
        for number in chain:
            yield from self._log(number, chain)
        # A number that was used is not used again, not even after a repair: old addresses must not find new bytes.
        damaged = damaged_numbers(names)
        last = max([0, self._number, *chain, *damaged])
        # Each start has a file of its own: what was moved away holds no more epochs than files.
        epoch = self._epoch + 1 + len(damaged)
        if epoch > EPOCHS_MAX:
            raise StorageError(
                f"{self._files.folder}: its epoch would be {epoch}, and epochs_max is {EPOCHS_MAX}"
            )
        self._start = Start(self._batch + 1, last + 1, epoch, self._tail_file, self._tail_crc)
        if not self._before:
            self._tidy(numbers)

    def _snapshot(self, names: list[str]) -> Iterator[Replayed]:
        """The newest snapshot that is whole. An older one does as well, when the log since then is there."""
        snapshots = sorted([name for name in names if SNAPSHOT_NAME.fullmatch(name)], reverse=True)
        first_error: DamagedError | None = None
        for name in snapshots:
            try:
                end = check_snapshot(self._files, name)
            except DamagedError as error:
                first_error = first_error or error
                self.report.skipped.append(name)
                continue
            reader = FileReader(self._files, name)
            self.report.snapshot_batch = self._batch = reader.header.first
            self._epoch, self._number = reader.header.epoch, reader.header.number
            self._replay_from, self._keep = end.replay_from, end.keep_files
            for record in reader.records():
                if record.batch <= end.records:
                    yield Replayed(self._batch, record.payload, 0)
            return
        if first_error is not None:
            raise first_error

    def _without_torn_header(self, chain: list[int]) -> list[int]:
        """A crash while the last file was being made leaves a piece of its header, and no record."""
        if not chain:
            return chain
        name = log_name(chain[-1])
        self._files.settle(name)
        reader = FileReader(self._files, name)
        if reader.scanner is not None or reader.size > HEADER_BYTES:
            return chain
        self._files.remove(name)
        self._files.sync_folder()
        self.report.cuts.append(Cut(reader.path, 0, reader.size, reader.fault))
        return chain[:-1]

    def _log(self, number: int, chain: list[int]) -> Iterator[Replayed]:
        reader = FileReader(self._files, log_name(number))
        if reader.fault:
            raise DamagedError(reader.path, 0, reader.fault)
        before = Place(self._batch, self._tail_file, self._tail_crc, self._replay_from)
        reason = order_fault(reader.header, before, first=number == chain[0])
        if reason:
            raise DamagedError(reader.path, 0, reason)
        self.report.clean = False
        snapshot_batch = self.report.snapshot_batch
        for record in reader.records():
            self.report.clean = record.payload[:1] == END_KIND
            if record.batch > snapshot_batch and record.payload and not self.report.clean:
                self.report.batches += 1
                self.report.bytes += len(record.payload)
                address = (number << OFFSET_BITS) | (record.offset + HEAD_BYTES)
                yield Replayed(record.batch, record.payload, address)
        if reader.fault:
            self._cut(reader, last=number == chain[-1] and not self._had_torn_header())
        self._batch = max(self._batch, reader.batch)
        self._epoch = max(self._epoch, reader.header.epoch)
        self._tail_file, self._tail_crc = number, reader.chain

    def _had_torn_header(self) -> bool:
        return len(self.report.cuts) > 0

    def _cut(self, reader: FileReader, last: bool) -> None:
        last = last and not self._before
        reason = "" if last else "the file was complete when the next one was begun"
        if last:
            data = self._files.read_at(reader.name, 0, reader.size)
            reason = damage(data, reader.position, reader.header.crc, reader.batch + 1)
        if reason:
            raise DamagedError(reader.path, reader.position, f"{reader.fault}, and {reason}")
        self._files.truncate(reader.name, reader.position)
        self._files.sync_folder()
        size = reader.size - reader.position
        self.report.cuts.append(Cut(reader.path, reader.position, size, reader.fault))

    def _tidy(self, numbers: list[int]) -> None:
        """Remove what the snapshot has made superfluous, if a crash came before it could be removed."""
        if self.report.skipped or not self.report.snapshot_batch:
            return
        old = [log_name(n) for n in numbers if n < self._replay_from and n not in self._keep]
        newest = snapshot_name(self.report.snapshot_batch)
        old += [name for name in self._files.names() if SNAPSHOT_NAME.fullmatch(name) and name < newest]
        for name in old:
            self._files.remove(name)
        self.report.removed += old


def damaged_numbers(names: list[str]) -> list[int]:
    """The numbers of log files that a repair has moved away, in whole or in part."""
    return [int(found[1]) for name in names if (found := DAMAGED_NAME.fullmatch(name))]
