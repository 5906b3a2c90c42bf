"""What the log and its writer hand to each other: batches one way, reports the other. Knows no thread and no file."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64, mypyc_attr

from nexo.storage.format import HEAD_BYTES


@final
class Batch:
    """One closed batch: the record to write, and where it will lie.

    `opens` is the header of a new file when the batch is the first in one. `address` is that of the first
    operation. `essential` batches may use the reserve of a full disk. Of `urgent` ones it is told when they are
    written, also when they wait for a sync. An `after_sync` batch is written when everything before it is on disk.
    `tail_file` and `tail_crc` name the record before it.
    """

    def __init__(
        self,
        number: i64,
        level: i64,
        file: i64,
        address: i64,
        opens: bytes,
        head: bytes,
        payload: bytes,
        essential: bool,
        urgent: bool,
        after_sync: bool,
        tail_file: i64,
        tail_crc: i64,
    ) -> None:
        self.number = number
        self.level = level
        self.file = file
        self.address = address
        self.opens = opens
        self.head = head
        self.payload = payload
        self.essential = essential
        self.urgent = urgent
        self.after_sync = after_sync
        self.tail_file = tail_file
        self.tail_crc = tail_crc
        self.size: i64 = HEAD_BYTES + len(payload)


@final
class Report:
    """What the writer has done: batches up to `written` and up to `synced` have got so far.

    When `error` is not empty, `failed` are batches that are not in the log and never will be. `recoverable`:
    there was no room, and when there is the log goes on; else it never goes on.
    """

    def __init__(self, written: i64, synced: i64, failed: list[Batch], error: str, recoverable: bool) -> None:
        self.written = written
        self.synced = synced
        self.failed = failed
        self.error = error
        self.recoverable = recoverable


@mypyc_attr(allow_interpreted_subclasses=True)
class Sink:
    """Who takes the batches: a writer, however it is driven."""

    def submit(self, batch: Batch) -> None:
        """Write this next. A Report will tell; no error is raised here."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Hooks:
    """Whom the log tells what has become of its batches."""

    def settled(self) -> None:
        """`written` or `synced` has moved."""

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        """Nothing from this batch on is confirmed. Called before the log takes anything else.

        `lost` are the batches, the open one included, that are not in the log: their addresses mean nothing,
        their numbers are used again. `recoverable`: there was no room, and everything before is on disk. Else
        the log is fenced, and what was written without being lost may or may not be on disk.
        """
