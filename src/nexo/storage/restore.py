"""Bringing a data directory back from a backup, through Files.

Owns the order of the steps: whenever it is interrupted, the directory holds what it held before, or a node refuses
to start on it. Nothing is deleted but unfinished files.

    1  every file of the archive is written beside what is there, as *.tmp, with its checksum compared, and synced
    2  a file `restoring` is made: while it is there, no node starts
    3  what is there is moved into a folder of the directory, when it may be
    4  the new files get their names, and `restoring` goes
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from crc32c import crc32c

from nexo.errors import DamagedBackupError, StorageError
from nexo.limits import EPOCHS_MAX, RESTORED_EPOCHS, SCAN_BYTES
from nexo.storage.archive import ArchiveReader
from nexo.storage.backup import ArchiveFiles, unpin_all
from nexo.storage.files import LOCK_NAME, Files
from nexo.storage.format import HEADER_BYTES, KIND_LOG, Header, decode_header, log_name
from nexo.storage.log import RESERVE_NAME
from nexo.storage.recovery import LEFTOVER, RESTORING_NAME
from nexo.storage.verify import Report, inspect

ASIDE_PREFIX: Final = "before-restore-"
EMPTY_HAS: Final = (LOCK_NAME, RESERVE_NAME, RESTORING_NAME, "lost+found")
"""What may be in a directory that counts as empty; the last is in every new file system."""


class Restored(NamedTuple):
    """What a restore did. `aside`: the folder that has what was there before, if anything was; `epoch`: the next
    life's is above it; `report`: what `verify` says of the directory."""

    aside: str
    epoch: int
    report: Report


def restore(
    archive: ArchiveFiles, reader: ArchiveReader, contents: Report, target: Files, aside: str = ""
) -> Restored:
    """Fill a directory from an archive that has been checked, and whose contents are not damaged.

    `aside`: the end of the name of the folder to which what is in the directory is moved; without it a directory
    that is not empty is refused with StorageError. Raises DataLockedError while a node uses it, OSError when the
    disk refuses.
    """
    target.make_folder()
    target.lock()
    try:
        unpin_all(target)
        occupied = _occupied(target)
        if occupied and not aside:
            raise StorageError(
                f"{target.folder} is not empty: it holds {occupied[0]}"
                + (f" and {len(occupied) - 1} more" if len(occupied) > 1 else "")
                + f"; --force moves that to a folder {ASIDE_PREFIX}… in it"
            )
        mark = _mark(archive, contents)
        names = _extract(archive, reader, target, mark)
        if RESTORING_NAME not in target.names():
            _write(target, RESTORING_NAME, [])
        target.sync_folder()
        moved_to = ""
        if occupied:
            moved_to = ASIDE_PREFIX + aside
            _move_aside(target, occupied, moved_to)
        for name in names:
            target.rename(name + LEFTOVER, name)
        target.sync_folder()
        target.remove(RESTORING_NAME)
        target.sync_folder()
        # The name of a directory that was made just now, too.
        target.inside("..").sync_folder()
        return Restored(moved_to, mark.epoch, inspect(target))
    finally:
        _remove_unfinished(target)
        target.unlock()


def _occupied(target: Files) -> list[str]:
    """What is in a directory, without what a broker that never kept anything leaves there."""
    names = [name for name in target.names() if name not in EMPTY_HAS and not name.endswith(LEFTOVER)]
    folders = [name for name in target.folders() if not name.startswith(ASIDE_PREFIX)]
    return names + [name for name in folders if name not in EMPTY_HAS]


def _mark(archive: ArchiveFiles, contents: Report) -> Header:
    """The header of an empty log file behind all others: it raises the epoch. Raises StorageError at EPOCHS_MAX.

    The life that this restore takes back may have been started many times since the backup, and so may one that an
    earlier restore of the same archive began: what is drawn sees to it that theirs are others.
    """
    files = [decode_header(archive.read_at(name, 0, HEADER_BYTES)) for name in archive.names()]
    highest = max([0, *(int(header.epoch) for header in files)])
    epoch = highest + RESTORED_EPOCHS + archive.salt() % RESTORED_EPOCHS
    if epoch >= EPOCHS_MAX:
        raise StorageError(
            f"the epoch of the restored directory would be {epoch}, and epochs_max is {EPOCHS_MAX}"
        )
    number = max([0, *(int(header.number) for header in files)]) + 1
    end = contents.end
    return Header(KIND_LOG, archive.salt(), epoch, number, end.tail_file, end.batch + 1, end.tail_crc)


def _extract(archive: ArchiveFiles, reader: ArchiveReader, target: Files, mark: Header) -> list[str]:
    """Write all files under temporary names; the names that they shall have."""
    _remove_unfinished(target)
    marking = log_name(mark.number)
    _write(target, marking + LEFTOVER, [mark.encode()])
    for name in archive.names():
        _copy(archive, reader, target, name)
    target.sync_folder()
    return [*archive.names(), marking]


def _write(target: Files, name: str, parts: list[bytes]) -> None:
    handle = target.create(name)
    try:
        target.append(handle, parts)
        target.sync(handle)
    finally:
        target.close(handle)


def _copy(archive: ArchiveFiles, reader: ArchiveReader, target: Files, name: str) -> None:
    """One file, compared once more with its checksum: it is another reading of the archive."""
    handle = target.create(name + LEFTOVER)
    crc = 0
    try:
        for offset in range(0, archive.size(name), SCAN_BYTES):
            data = archive.read_at(name, offset, SCAN_BYTES)
            crc = crc32c(data, crc)
            target.append(handle, [data])
        target.sync(handle)
    finally:
        target.close(handle)
    if crc != reader.crcs[name]:
        raise DamagedBackupError(reader.path, 0, f"{name} in it has changed since it was checked")


def _move_aside(target: Files, names: list[str], folder: str) -> None:
    aside = target.inside(folder)
    aside.make_folder()
    target.sync_folder()
    for name in names:
        target.rename(name, f"{folder}/{name}")
    aside.sync_folder()
    target.sync_folder()


def _remove_unfinished(target: Files) -> None:
    with suppress(OSError):  # the next start removes what is left
        for name in target.names():
            if name.endswith(LEFTOVER):
                target.remove(name)
