"""What protocols ask of whoever makes backups, and how they are answered. The server has the implementation.

Knows no file and no protocol: a reader is one backup as one connection reads it.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from nexo.errors import NotAvailableError, ServerError


@mypyc_attr(allow_interpreted_subclasses=True)
class BackupReader:
    """Who reads a backup. `context` is what the reader gave with the request that is answered."""

    def backup_begun(self, backup: Backup, context: i64) -> None:
        """It is consistent, and can be read."""
        raise NotImplementedError

    def backup_read(self, context: i64, offset: i64, data: bytes) -> None:
        """The bytes from an offset on; empty at the end."""
        raise NotImplementedError

    def backup_failed(self, context: i64, error: ServerError) -> None:
        """The request that is answered failed: the backup has ended."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Backup:
    """A backup under way: `size` bytes of an archive, to be read once from the beginning to the end.

    It holds everything up to `batch` of the log, and was begun at `time_ms`.
    """

    def __init__(self) -> None:
        self.size: i64 = 0
        self.batch: i64 = 0
        self.time_ms: i64 = 0

    def read(self, context: i64) -> None:
        """Have `backup_read` called with the next bytes. LimitExceededError when too many reads wait."""
        raise NotImplementedError

    def close(self) -> None:
        """Nobody reads it any more: nothing is left of it, and what waits is answered with an error."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Backups:
    """The backups of a node. This one is of a node that keeps nothing on disk: there are none."""

    def begin(self, reader: BackupReader, context: i64) -> Backup:
        """Begin a backup of everything that was done before; `backup_begun` tells. LimitExceededError."""
        raise NotAvailableError("this broker keeps nothing on disk: there is nothing to back up")
