"""Raises the epoch of a data directory, as a restore from a backup does."""

from __future__ import annotations

from nexo.errors import StorageError
from nexo.limits import EPOCHS_MAX, RESTORED_EPOCHS
from nexo.storage.files import Files
from nexo.storage.format import KIND_LOG, Header, log_name
from nexo.storage.recovery import Recovery


def raise_epoch(files: Files, by: int = RESTORED_EPOCHS) -> int:
    """Passes over so many epochs; gives the one that the directory is in then. The caller holds the lock.

    Adds a log file that has nothing but a header, on disk when this returns. Raises what Recovery does,
    StorageError at EPOCHS_MAX, and OSError.
    """
    recovery = Recovery(files)
    for _ in recovery.replay():
        pass
    start = recovery.start
    epoch = int(start.epoch) - 1 + by
    if epoch >= EPOCHS_MAX:
        raise StorageError(f"{files.folder}: its epoch would be {epoch}, and epochs_max is {EPOCHS_MAX}")
    header = Header(KIND_LOG, files.salt(), epoch, start.file, start.tail_file, start.batch, start.tail_crc)
    handle = files.create(log_name(start.file))
    try:
        files.append(handle, [header.encode()])
        files.sync(handle)
    finally:
        files.close(handle)
    files.sync_folder()
    return epoch
