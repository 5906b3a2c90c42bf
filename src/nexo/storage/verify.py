"""What is in a data directory and whether it is as it was written: every file, every record. Reads only.

Owns the list of what can be wrong and whether the node would start with it. Applies the rules of recovery to
all files instead of stopping at the first fault.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from nexo.errors import DamagedError, StorageError
from nexo.storage.files import Files
from nexo.storage.format import (
    HEADER_BYTES,
    KIND_SNAPSHOT,
    SNAPSHOT_NAME,
    Record,
    log_name,
    log_numbers,
    operations,
)
from nexo.storage.reading import FileReader
from nexo.storage.recovery import RESTORING_FAULT, RESTORING_NAME, Place, order_fault
from nexo.storage.snapshot import SnapshotEnd, check_snapshot
from nexo.storage.tail import damage

BEGINNING: Final = Place(0, 0, 0, 0)


@dataclass
class FileReport:
    """One file: what is valid in it, and what its role is: snapshot, log, bodies (kept for them) or unused."""

    name: str
    role: str
    size: int
    records: int = 0
    first_batch: int = 0
    last_batch: int = 0


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    `stops`: the node does not start with it. Else it is a torn tail, which a start cuts, or a place where some
    bodies cannot be read.
    """

    name: str
    offset: int
    reason: str
    stops: bool
    torn: bool = False


@dataclass
class Report:
    """All of a data directory. `chain` are the log files that a start replays."""

    folder: str
    files: list[FileReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    snapshot: str = ""
    chain: list[str] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    """Log files that the snapshot refers to and that are not there."""
    end: Place = BEGINNING
    """How far the log goes."""

    @property
    def damaged(self) -> bool:
        """Whether anything is wrong that is not an ordinary torn tail."""
        return any(not problem.torn for problem in self.problems)


def verify(folder: str) -> Report:
    """Read everything. DataLockedError when a node is using the directory, OSError when it cannot be read."""
    files = Files(folder)
    files.lock(shared=True)
    try:
        return inspect(files)
    finally:
        files.unlock()


def inspect(files: Files, without: Collection[str] = ()) -> Report:
    """The same with a lock that is held already, as if the files `without` were not there."""
    report = Report(files.folder)
    names = [name for name in files.names() if name not in without]
    if RESTORING_NAME in names:
        report.problems.append(Problem(RESTORING_NAME, 0, RESTORING_FAULT, stops=True))
    end = _snapshots(files, names, report)
    place = BEGINNING
    keep: list[int] = []
    if end is not None:
        place = Place(FileReader(files, report.snapshot).header.first, 0, 0, end.replay_from)
        keep = end.keep_files
    numbers = log_numbers(names)
    for number in keep:
        if number not in numbers:
            report.missing.append(number)
            reason = "the file is missing, and the snapshot refers to it"
            report.problems.append(Problem(log_name(number), 0, reason, stops=True))
    chain = [number for number in numbers if number >= place.replay_from]
    for number in numbers:
        if number not in chain:
            _bodies(files, log_name(number), report, used=number in keep)
    report.chain = [log_name(number) for number in chain]
    for number in chain:
        place = _log(files, number, chain, place, report)
    report.end = place
    return report


def _snapshots(files: Files, names: list[str], report: Report) -> SnapshotEnd | None:
    """Check all snapshots; the END of the one that a start takes."""
    found: SnapshotEnd | None = None
    first_damage: Problem | None = None
    for name in sorted([name for name in names if SNAPSHOT_NAME.fullmatch(name)], reverse=True):
        entry = FileReport(name, "unused" if found else "snapshot", files.size(name))
        report.files.append(entry)
        try:
            end = check_snapshot(files, name)
        except DamagedError as error:
            entry.role = "unused"
            problem = Problem(name, error.offset, error.reason, stops=False)
            report.problems.append(problem)
            first_damage = first_damage or problem
            continue
        entry.records = end.records
        entry.last_batch = FileReader(files, name).header.first
        if found is None:
            found, report.snapshot = end, name
    if found is None and first_damage is not None:
        report.problems.remove(first_damage)
        report.problems.insert(0, Problem(first_damage.name, first_damage.offset, first_damage.reason, True))
    return found


def _bodies(files: Files, name: str, report: Report, used: bool) -> None:
    """A file before the replay: only the bodies of messages in it are read, each with its own checksum."""
    reader = FileReader(files, name)
    _count(reader, "bodies" if used else "unused", report)
    if reader.fault and used:
        reason = f"{reader.fault}; messages whose bodies lie from here on may be answered with an error"
        report.problems.append(Problem(name, reader.position, reason, stops=False))


def _log(files: Files, number: int, chain: list[int], place: Place, report: Report) -> Place:
    """A file of the replay; returns how far it goes. What follows from an earlier fault is no fault of its own."""
    name = log_name(number)
    reader = FileReader(files, name)
    last = number == chain[-1]
    if reader.scanner is None:
        torn = last and reader.size <= HEADER_BYTES
        report.files.append(FileReport(name, "log", reader.size))
        report.problems.append(Problem(name, 0, reader.fault, stops=not torn, torn=torn))
        return place
    reason = order_fault(reader.header, place, first=number == chain[0])
    if reason and not _stops_at(report, log_name(reader.header.previous)):
        report.problems.append(Problem(name, 0, reason, stops=True))
    unwhole = _count(reader, "log", report)
    if unwhole is not None:
        reason = "the batch is not a sequence of whole operations"
        report.problems.append(Problem(name, unwhole.offset, reason, stops=True))
    if reader.fault:
        why = "the file was complete when the next one was begun"
        if last:
            data = files.read_at(name, 0, reader.size)
            why = damage(data, reader.position, reader.header.crc, reader.batch + 1)
        text = f"{reader.fault}, and {why}" if why else reader.fault
        report.problems.append(Problem(name, reader.position, text, stops=bool(why), torn=not why))
    return Place(max(place.batch, reader.batch), number, reader.chain, place.replay_from)


def _stops_at(report: Report, name: str) -> bool:
    return any(problem.name == name and problem.stops for problem in report.problems)


def _count(reader: FileReader, role: str, report: Report) -> Record | None:
    """Read a file to its end or its fault; the first record whose operations are not whole (R5)."""
    entry = FileReport(reader.name, role, reader.size, first_batch=reader.header.first)
    report.files.append(entry)
    unwhole: Record | None = None
    for record in reader.records():
        entry.records += 1
        entry.last_batch = record.batch
        if unwhole is None and reader.header.kind != KIND_SNAPSHOT:
            try:
                for _ in operations(record.payload):
                    pass
            except StorageError:
                unwhole = record
    return unwhole
