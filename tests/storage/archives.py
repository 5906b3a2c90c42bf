"""Backups of small data directories, for tests of what is in them and of what becomes of them."""

from __future__ import annotations

from pathlib import Path

from nexo.errors import NexoError
from nexo.storage.archive import ArchiveReader
from nexo.storage.backup import (
    ArchiveFiles,
    Boundary,
    Source,
    Target,
    at_rest,
    check_bytes,
    check_contents,
    pin,
    unpin,
)
from nexo.storage.files import Files
from nexo.storage.format import operation
from nexo.storage.restore import Restored, restore
from tests.simulation.run import KIND, Run, snapshot_now

FILE_BYTES = 300
OPENED: list[Files] = []
"""What tests have opened and do not close themselves: `close_all` does."""
TIME_MS = 1_700_000_000_123


def files_in(folder: Path) -> Files:
    """The files of a folder, closed by `close_all`."""
    files = Files(str(folder))
    OPENED.append(files)
    return files


def close_all() -> None:
    """Give up all descriptors and locks: a test that tries many cases does so after each."""
    while OPENED:
        OPENED.pop().unlock()


def filled(folder: Path, count: int = 20, first: int = 0) -> Run:
    """A running log in several files."""
    run = Run(files_in(folder), file_bytes=FILE_BYTES)
    for number in range(first, first + count):
        run.write(b"message %02d" % number)
    return run


def compact(run: Run, bodies: list[bytes], keep: set[int]) -> None:
    """A snapshot of everything that is closed, which is `bodies`; the files before it go."""
    snapshot = snapshot_now(run.files, run.log)
    for body in bodies:
        snapshot.add(operation(KIND, body))
    snapshot.finish(keep)


def bodies_of(run: Run) -> list[bytes]:
    return run.bodies + [sent.body for sent in run.sent]


def boundary(run: Run) -> Boundary:
    """The end of everything until now, on disk."""
    batch = run.log.sync()
    run.step()
    return Boundary(batch, run.log.file, run.log.offset)


def archived(source: Source, path: Path, piece: int = 100) -> Path:
    with Target(files_in(path.parent), path.name) as target:
        while data := source.read(piece):
            target.write(data)
        target.finish()
    return path


def backed_up(run: Run, path: Path) -> Path:
    """A backup of a log that goes on."""
    end = boundary(run)
    pinned = run.files.inside("backup-1.tmp")
    entries = pin(run.files, pinned, end)
    try:
        return archived(Source(pinned, entries, end.batch, "0.0.0", TIME_MS), path)
    finally:
        unpin(pinned)


def backed_up_at_rest(folder: Path, path: Path) -> Path:
    files = files_in(folder)
    entries, batch = at_rest(files)
    return archived(Source(files, entries, batch, "0.0.0", TIME_MS), path)


def opened(path: Path) -> tuple[ArchiveReader, ArchiveFiles]:
    files = files_in(path.parent)
    reader = check_bytes(files, path.name)
    return reader, ArchiveFiles(files, path.name, reader)


def restored(path: Path, target: Files, aside: str = "") -> Restored:
    reader, archive = opened(path)
    report = check_contents(files_in(path.parent), path.name, reader)
    assert not report.problems
    return restore(archive, reader, report, target, aside)


def bodies_in(folder: Path) -> list[bytes] | None:
    """What a start finds; None when it refuses."""
    files = Files(str(folder))
    try:
        run = Run(files, file_bytes=FILE_BYTES)
    except NexoError:
        return None
    files.unlock()
    return run.bodies
