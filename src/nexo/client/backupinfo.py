"""What is told of a backup: how far it is, and what it has become."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class BackupProgress(NamedTuple):
    """`bytes` of `total` have been written."""

    bytes: int
    total: int


class Backup(NamedTuple):
    """A backup that is complete and on disk, at `path`.

    It holds everything up to `batch` of the server's log, in `files` log files and snapshots, and was begun at
    `time` (in UTC) by a server of this `version`. `bytes` is the size of the file.
    """

    path: str
    bytes: int
    batch: int
    files: int
    time: datetime
    version: str
