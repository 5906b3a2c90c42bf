"""Making a damaged data directory one that a node starts with, by moving away what cannot be used.

Owns the plan and how it is carried out; never deletes a byte. What follows a damaged record cannot be replayed
without it, so a repair keeps everything before the damage and moves everything after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nexo.errors import StorageError
from nexo.storage.files import Files
from nexo.storage.format import (
    HEADER_BYTES,
    KIND_LOG,
    SNAPSHOT_NAME,
    Header,
    head_fields,
    is_whole,
    log_name,
)
from nexo.storage.reading import FileReader
from nexo.storage.tail import next_head
from nexo.storage.verify import Report, inspect


@dataclass(frozen=True)
class Move:
    """Bytes from `offset` to the end of a file, with so many whole records, become another file."""

    name: str
    offset: int
    size: int
    records: int
    reason: str

    @property
    def target(self) -> str:
        """Where they go."""
        return f"{self.name}.damaged-{self.offset}"


@dataclass(frozen=True)
class Plan:
    """What a repair would do. `empty_files`: log files that are missing and get an empty one in their place."""

    folder: str
    moves: list[Move] = field(default_factory=list)
    empty_files: list[int] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Whole records that would be lost."""
        return sum([move.records for move in self.moves])

    @property
    def bytes(self) -> int:
        """Bytes that would be moved away."""
        return sum([move.size for move in self.moves])


def repair(folder: str) -> Plan:
    """The plan; nothing to do when it is empty. DataLockedError while a node is using the directory."""
    files = Files(folder)
    files.lock(shared=True)
    try:
        return plan(files)
    finally:
        files.unlock()


def plan(files: Files) -> Plan:
    """The same with a lock that is held already."""
    moves: list[Move] = []
    report = inspect(files)
    while not report.snapshot and (broken := _damaged_snapshot(report)):
        # Without a whole snapshot the log alone must do: it does when it goes back to the beginning.
        moves.append(Move(broken, 0, files.size(broken), 0, _reason(report, broken)))
        report = inspect(files, [move.name for move in moves])
    stops = {problem.name: problem for problem in reversed(report.problems) if problem.stops}
    broken_from = next((n for n, name in enumerate(report.chain) if name in stops), len(report.chain))
    for number, name in enumerate(report.chain[broken_from:]):
        offset = stops[name].offset if number == 0 else 0
        if offset <= HEADER_BYTES:
            offset = 0
        reason = stops[name].reason if number == 0 else "it follows the damage"
        records = count_records(files, name, offset)
        moves.append(Move(name, offset, files.size(name) - offset, records, reason))
    return Plan(files.folder, moves, report.missing)


def apply(plan_: Plan) -> None:
    """Do it. StorageError when the directory is no longer as it was planned for."""
    files = Files(plan_.folder)
    files.lock()
    try:
        if plan(files) != plan_:
            raise StorageError(f"{plan_.folder} has changed since the repair was planned; look again")
        taken = {move.target for move in plan_.moves}.intersection(files.names())
        if taken:
            raise StorageError(f"{files.path(min(taken))} exists already: move it somewhere else")
        # The last first: a repair that is interrupted leaves the same damage at the same place.
        for move in reversed(plan_.moves):
            _carry_out(files, move)
        for number in plan_.empty_files:
            handle = files.create(log_name(number))
            files.append(handle, [Header(KIND_LOG, files.salt(), 0, number, 0, 0, 0).encode()])
            files.sync(handle)
            files.close(handle)
        files.sync_folder()
    finally:
        files.unlock()


def _carry_out(files: Files, move: Move) -> None:
    if move.offset == 0:
        files.rename(move.name, move.target)
        files.sync_folder()
        return
    handle = files.create(move.target)
    files.append(handle, [files.read_at(move.name, move.offset, move.size)])
    files.sync(handle)
    files.close(handle)
    files.sync_folder()
    files.truncate(move.name, move.offset)


def _damaged_snapshot(report: Report) -> str:
    found = (p.name for p in report.problems if p.stops and SNAPSHOT_NAME.fullmatch(p.name))
    return next(found, "")


def _reason(report: Report, name: str) -> str:
    return next(problem.reason for problem in report.problems if problem.name == name)


def count_records(files: Files, name: str, offset: int) -> int:
    """Whole records of a log file from an offset on; damaged places between them are passed over."""
    reader = FileReader(files, name)
    count = 0
    for record in reader.records():
        count += record.offset >= offset
    if reader.scanner is None or not reader.fault:
        return count
    data = files.read_at(name, 0, reader.size)
    at, batch = reader.position, reader.batch
    while (at := next_head(data, at, reader.header.crc, batch)) >= 0:
        count += is_whole(data, at)
        _, batch, _ = head_fields(data, at)
    return count
