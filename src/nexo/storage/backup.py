"""Making a backup of a data directory, and looking into one, through Files. archive.py has the bytes.

Owns which files a backup consists of, and how they are kept while a node goes on writing and compacting. Files of
a data directory are only ever appended to, renamed into place and removed as a whole, so a second name (a hard
link) for each of them is a consistent copy of all that was there at one moment, and costs no room and no time.
Restoring is restore.py's part.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple

from crc32c import crc32c

from nexo.errors import DamagedBackupError, DamagedError, StorageError
from nexo.limits import SCAN_BYTES
from nexo.storage.archive import (
    FORMAT,
    MANIFEST_NAME,
    VERSION,
    ArchiveReader,
    Entry,
    Layout,
    Manifest,
    Part,
    checksums,
    layout,
)
from nexo.storage.files import Files
from nexo.storage.format import HEADER_BYTES, SNAPSHOT_NAME, log_name, log_numbers
from nexo.storage.verify import Report, inspect

PINNED_NAME: Final = re.compile(r"backup-\d+\.tmp")
PIN_ATTEMPTS: Final = 100
"""A compaction between listing and linking makes one more attempt necessary; there is one in seconds at most."""
NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class Boundary(NamedTuple):
    """The end of a batch: log files before number `file` as they are, and `offset` bytes of that one."""

    batch: int
    file: int
    offset: int


def pinned_name(number: int) -> str:
    """The folder for the links of one backup, in the data directory."""
    return f"backup-{number}.tmp"


def unpin_all(files: Files) -> None:
    """Remove what backups of a server that was killed have left; for the owner of the lock."""
    for name in files.folders():
        if PINNED_NAME.fullmatch(name):
            unpin(files.inside(name))


def pin(files: Files, pinned: Files, boundary: Boundary) -> list[Entry]:
    """Link what a node needs to come back at a boundary, which the log has on disk; its names and sizes.

    Others may write meanwhile, and compact what is before the boundary, but nothing behind it. Raises StorageError
    when it cannot be done, and leaves nothing then.
    """
    try:
        pinned.make_folder()
        for _ in range(PIN_ATTEMPTS):
            names = _needed(files, boundary)
            if _linked(files, pinned, names) and _needed(files, boundary) == names:
                # A compaction makes its snapshot before it removes anything: had it begun to remove before all
                # links were made, the second list would have that snapshot.
                return [Entry(name, _size(pinned, name, boundary)) for name in names]
            pinned.remove_folder()
            pinned.make_folder()
        unpin(pinned)
        raise StorageError(f"{files.folder} changes too fast for a backup")
    except OSError as error:
        unpin(pinned)
        why = " (a backup of a running broker needs hard links)" if error.errno in NO_LINKS else ""
        raise StorageError(f"{pinned.folder}: {error.strerror or error}{why}") from None


def unpin(pinned: Files) -> None:
    """Give the files of a backup up."""
    with suppress(OSError):  # the next start removes what is left
        pinned.unlock()
        pinned.remove_folder()


def _needed(files: Files, boundary: Boundary) -> list[str]:
    """Snapshots, and log files up to the boundary: some may be superfluous, and go at the first start."""
    names = files.names()
    last = boundary.file if boundary.offset > HEADER_BYTES else boundary.file - 1
    found = [name for name in names if SNAPSHOT_NAME.fullmatch(name)]
    return found + [log_name(number) for number in log_numbers(names) if number <= last]


def _linked(files: Files, pinned: Files, names: list[str]) -> bool:
    try:
        for name in names:
            files.link(name, pinned)
    except FileNotFoundError:
        return False
    return True


def _size(pinned: Files, name: str, boundary: Boundary) -> int:
    return boundary.offset if name == log_name(boundary.file) else pinned.size(name)


def at_rest(files: Files) -> tuple[list[Entry], int]:
    """What a backup holds of a directory that no node uses and whose lock is held, and its last batch.

    A torn tail is left out, as a start would cut it. Raises DamagedError when a node would not start with it.
    """
    report = inspect(files)
    cut: dict[str, int] = {}
    for problem in report.problems:
        if problem.stops:
            raise DamagedError(files.path(problem.name), problem.offset, problem.reason)
        if problem.torn:
            cut[problem.name] = problem.offset
    entries = [Entry(file.name, cut.get(file.name, file.size)) for file in report.files]
    used = {file.name for file in report.files if file.role != "unused"}
    return [one for one in entries if one.name in used and one.size > 0], report.end.batch


class Source:
    """Reads a backup as the bytes of its archive, from the beginning to the end. For one thread at a time.

    `size` is how many there are, `position` how many have been read.
    """

    def __init__(self, files: Files, entries: list[Entry], batch: int, server: str, time_ms: int) -> None:
        self.manifest = Manifest(FORMAT, VERSION, server, time_ms, batch, entries)
        encoded = self.manifest.encode()
        self.position = 0
        self._files = files
        self._layout: Layout = layout(self.manifest, encoded)
        self._crcs = {MANIFEST_NAME: crc32c(encoded)}
        self._part = 0

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return self._layout.size

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; empty at the end. StorageError when the disk refuses."""
        pieces: list[bytes] = []
        while size > 0 and self.position < self.size:
            piece = self._piece(size)
            self.position += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        if self._part == len(self._layout.parts):
            data = checksums(self._crcs, self.manifest.time_ms)
            done = self.position - self._layout.checksums_offset
            return data[done : done + size]
        part = self._layout.parts[self._part]
        done = self.position - part.offset
        size = min(size, part.size - done)
        if done + size == part.size:
            self._part += 1
        return self._of_file(part, done, size) if part.name else part.data[done : done + size]

    def _of_file(self, part: Part, done: int, size: int) -> bytes:
        name = part.name
        try:
            data = self._files.read_at(name, done, size) if size else b""
        except OSError as error:
            raise StorageError(f"{self._files.path(name)}: {error.strerror or error}") from None
        if len(data) != size:
            raise StorageError(f"{self._files.path(name)} ends at byte {done + len(data)} of {part.size}")
        self._crcs[name] = crc32c(data, self._crcs.get(name, 0))
        return data


class Target:
    """Writes an archive to a file that is there whole or not at all, and checks every byte on its way.

    Use it as a context: the file has its name when `finish` has returned, else nothing is left of it. Raises
    StorageError when the disk refuses or the name is taken, DamagedBackupError for bytes that are no backup.
    """

    def __init__(self, files: Files, name: str) -> None:
        self.reader = ArchiveReader(files.path(name))
        self._files = files
        self._name = name
        self._temporary = f"{name}.tmp"
        self._handle = -1

    def __enter__(self) -> Target:
        self._check_free()
        try:
            self._handle = self._files.create(self._temporary)
        except FileExistsError:
            path = self._files.path(self._temporary)
            reason = "is there already: another backup writes it, or did when it was killed; then remove it"
            raise StorageError(f"{path} {reason}") from None
        except OSError as error:
            raise self._refused(error) from None
        return self

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self.reader.receive(data)
        try:
            self._files.append(self._handle, [data])
        except OSError as error:
            raise self._refused(error) from None

    def finish(self) -> None:
        """It is complete, on disk and has its name."""
        self.reader.finish()
        try:
            self._files.sync(self._handle)
            self._close()
            self._check_free()
            self._files.rename(self._temporary, self._name)
            self._files.sync_folder()
        except OSError as error:
            raise self._refused(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        with suppress(OSError):  # after `finish` there is none
            self._files.remove(self._temporary)

    def _close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            self._files.close(handle)

    def _check_free(self) -> None:
        try:
            taken = self._name in self._files.names() or self._name in self._files.folders()
        except OSError as error:
            raise self._refused(error) from None
        if taken:
            raise StorageError(f"{self._files.path(self._name)} is there already, and is not overwritten")

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(f"{self._files.path(self._name)}: {error.strerror or error}")


class ArchiveFiles(Files):
    """The files in an archive that has been read to its end, as if they were a folder. Reads only."""

    def __init__(self, files: Files, name: str, reader: ArchiveReader) -> None:
        super().__init__(files.path(name))
        self._archive = files
        self._archive_name = name
        self._places = {part.name: (part.offset, part.size) for part in reader.layout.parts if part.name}

    def names(self) -> list[str]:
        return sorted(self._places)

    def size(self, name: str) -> int:
        return self._places[name][1]

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        start, length = self._places[name]
        return self._archive.read_at(self._archive_name, start + offset, max(0, min(size, length - offset)))


def chunks(files: Files, name: str) -> Iterator[bytes]:
    """A file from its beginning to its end."""
    offset = 0
    while data := files.read_at(name, offset, SCAN_BYTES):
        offset += len(data)
        yield data


def check_bytes(files: Files, name: str) -> ArchiveReader:
    """Read an archive and compare every checksum. Raises what ArchiveReader does, and OSError."""
    reader = ArchiveReader(files.path(name))
    for data in chunks(files, name):
        reader.receive(data)
    reader.finish()
    return reader


def check_contents(files: Files, name: str, reader: ArchiveReader) -> Report:
    """What `verify` would say of the directory that is in an archive whose bytes are as they were written.

    Raises DamagedBackupError when it ends at another batch than the one that its manifest names.
    """
    report = inspect(ArchiveFiles(files, name, reader))
    stops = any(problem.stops for problem in report.problems)
    if not stops and report.end.batch != reader.manifest.batch:
        reason = f"its log ends with batch {report.end.batch}, not {reader.manifest.batch}"
        raise DamagedBackupError(files.path(name), 0, reason)
    return report
