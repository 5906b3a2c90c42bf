"""The log as the loop sees it: a journal whose batches go to a writer, and whose addresses are right at once.

Owns the open batch, where it will lie, and the batches that the writer has not written yet. Knows neither
thread nor clock, and of files only how to read one.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from nexo.brokers.journal import FSYNC, MEMORY, Journal
from nexo.errors import StorageError
from nexo.limits import LOG_FILE_BYTES, RESERVE_BYTES
from nexo.storage.batch import Batch, Hooks, Report, Sink
from nexo.storage.files import Files
from nexo.storage.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    KIND_LOG,
    OFFSET_BITS,
    OFFSET_MASK,
    OPERATION_END,
    Header,
    head,
    head_crc,
    log_name,
    operation,
)

RESERVE_NAME: Final = "reserve"
PROBE_NAME: Final = "probe.tmp"
NOWHERE: Final = 1 << 62
"""An address above all others: while it is the base, everything is read from files."""
BUFFER_KEPT_BYTES: Final = 1024 * 1024
"""A buffer that has grown past this is given back after its batch."""


@final
class Start:
    """Where a log goes on: recovery says it. `tail_…`: the last record that is there, or zeros."""

    def __init__(self, batch: i64, file: i64, epoch: i64, tail_file: i64, tail_crc: i64) -> None:
        self.batch = batch
        self.file = file
        self.epoch = epoch
        self.tail_file = tail_file
        self.tail_crc = tail_crc


@final
class Log(Journal):
    """The journal of a node that keeps its data.

    Until `go_on` it can only be read: brokers are made with it, and are brought back from what recovery finds.
    `pending_bytes` are not yet written: too many of them, and the node takes no more input. `full`: the disk
    is full, and only essential batches are taken until `try_again` is true. `fenced`: a write or a sync has
    failed, and nothing is taken until the node is started again. `fault` says why. Reading goes on always.
    `completed` are the files that are written to no more, with their bytes, for whoever empties the list.
    """

    def __init__(self, files: Files, hooks: Hooks, file_bytes: i64 = LOG_FILE_BYTES) -> None:
        super().__init__(False)
        self.base = NOWHERE
        self.full = False
        self.fenced = False
        self.fault = ""
        self.completed: list[tuple[int, int]] = []
        self._files = files
        self._sink = Sink()
        self._hooks = hooks
        self._file_bytes = file_bytes
        self._used = False
        self._reported: list[Report] = []
        self._waiting: list[Batch] = []
        self._wanted_bytes: i64 = 0
        self._valid_from: i64 = 0
        self._tail_file: i64 = 0
        self._tail_crc: i64 = 0
        self._file: i64 = 0
        self._offset: i64 = 0
        self._seed: i64 = 0
        self._chain: i64 = 0
        self._opens = b""

    def go_on(self, sink: Sink, start: Start) -> None:
        """Record from now on, where recovery has ended."""
        self.keeping = True
        self.batch = start.batch
        self.written = start.batch - 1
        self.synced = start.batch - 1
        self.epoch = start.epoch
        self._sink = sink
        self._valid_from = start.file
        self._tail_file = start.tail_file
        self._tail_crc = start.tail_crc
        self._open_file(start.file)
        try:
            self._files.allocate(RESERVE_NAME, RESERVE_BYTES)
        except OSError as error:
            self.full = True
            self.fault = f"{self._files.path(RESERVE_NAME)}: {error.strerror}"

    @property
    def file(self) -> i64:
        """Number of the file that the open batch will lie in."""
        return self._file

    @property
    def offset(self) -> i64:
        """Where in that file; everything before it there, and in earlier files, are the batches before."""
        return self._offset

    def close_batch(self, essential: bool = False) -> None:
        """The operations since the last call become one record, whole or not at all.

        `essential`: they free room (acks, deletes), so they may use the reserve of a full disk.
        """
        out = self.out
        if len(out) == 0:
            return
        payload = out.getvalue()
        if len(payload) > BUFFER_KEPT_BYTES:
            self.out = BytesWriter()
        else:
            out.truncate(0)
        if self.fenced or (self.full and not essential):
            lost = [self._batch(payload, essential, False)]
            self.level = MEMORY
            self.urgent = False
            self._hooks.failed(self.batch, self.fault, lost, not self.fenced)
        else:
            self._submit(payload, essential, False)

    def sync(self, essential: bool = False) -> i64:
        """Close the batch, even an empty one, as one that has to be on disk; its number, to wait for."""
        self.level = FSYNC
        number = self.batch
        if len(self.out) > 0 or self.fenced or (self.full and not essential):
            self.close_batch(essential)
        else:
            self._submit(b"", essential, False)
        return number

    def claim(self) -> i64:
        """Put this life's epoch on disk, in the header of its first file; the batch to wait for.

        Wait for it before anything is given out that counts on the epoch. It may use the reserve of a full disk.
        """
        return self.sync(essential=True)

    def roll(self) -> bool:
        """Complete the present file and begin the next one, if anything stands in it; False: not now.

        Call it when the open batch is empty. A batch of no operations begins the file: once that is written,
        everything before it is on disk.
        """
        if len(self.out) > 0 or self.fenced or self.full:
            return False
        if self._offset > HEADER_BYTES:
            self._open_file(self._file + 1)
        self.level = FSYNC
        self._submit(b"", False, False)
        return True

    def finish(self) -> None:
        """Close the last batch and mark the end of an orderly stop; then stop the writer."""
        self.close_batch()
        if self._used and not self.fenced and not self.full:
            self.level = FSYNC
            self._submit(operation(OPERATION_END, b""), False, True)

    def settle(self, report: Report) -> None:
        """Take the writer's report; calls the hooks. For the loop's thread."""
        if report.written > self.written:
            self.written = report.written
            self._drop_written()
        if report.synced > self.synced:
            self.synced = report.synced
        if not report.error:
            self._hooks.settled()
        elif not self.fenced and (not report.recoverable or report.failed[0].file >= self._valid_from):
            self._fail(report)

    def report(self, report: Report) -> None:
        """Keep a report of what was written while a turn ends: the turn takes it with `settle_reported`."""
        self._reported.append(report)

    def settle_reported(self) -> bool:
        if not self._reported:
            return False
        reported, self._reported = self._reported, []
        for report in reported:
            self.settle(report)
        return True

    def try_again(self) -> bool:
        """Whether there is room (again). Call it now and then while the log is `full`."""
        if self.full and not self.fenced:
            try:
                self._files.allocate(RESERVE_NAME, RESERVE_BYTES)
                self._files.allocate(PROBE_NAME, max(RESERVE_BYTES, self._wanted_bytes))
                self._files.remove(PROBE_NAME)
            except OSError:
                return False
            self.full = False
            self.fault = ""
        return not self.fenced

    def read(self, address: i64, size: i64) -> bytes:
        """Bytes of the log, wherever they are now; the caller has their checksum."""
        found = b""
        if address >= self.base:
            start = address - self.base
            found = self.out.getvalue()[start : start + size]
        elif self._waiting and address >= self._waiting[0].address:
            batch = self._waiting[bisect_right(self._waiting, address, key=address_of) - 1]
            start = address - batch.address
            found = batch.payload[start : start + size]
        else:
            name = log_name(address >> OFFSET_BITS)
            try:
                found = self._files.read_at(name, address & OFFSET_MASK, size)
            except OSError as error:
                raise StorageError(f"cannot read {self._files.path(name)}: {error.strerror}") from None
        if len(found) != size:
            raise StorageError(f"the log has no {size} bytes at address {address:#x}")
        return found

    def _batch(self, payload: bytes, essential: bool, after_sync: bool) -> Batch:
        behind = 0 if after_sync else self.batch - 1 - self.synced
        return Batch(
            self.batch,
            self.level,
            self._file,
            self.base,
            self._opens,
            head(self._seed, self.batch, self._chain, behind, payload),
            payload,
            essential,
            self.urgent,
            after_sync,
            self._tail_file,
            self._tail_crc,
        )

    def _submit(self, payload: bytes, essential: bool, after_sync: bool) -> None:
        batch = self._batch(payload, essential, after_sync)
        self._used = True
        self._waiting.append(batch)
        self.pending_bytes += batch.size
        self._opens = b""
        self._chain = self._tail_crc = head_crc(batch.head)
        self._tail_file = self._file
        self._offset += batch.size
        self.batch += 1
        self.level = MEMORY
        self.urgent = False
        if self._offset >= self._file_bytes:
            self._open_file(self._file + 1)
        else:
            self.base = (self._file << OFFSET_BITS) | (self._offset + HEAD_BYTES)
        self._sink.submit(batch)

    def _open_file(self, number: i64) -> None:
        if self._offset > HEADER_BYTES:
            self.completed.append((int(self._file), int(self._offset)))
        header = Header(
            KIND_LOG, self._files.salt(), self.epoch, number, self._tail_file, self.batch, self._tail_crc
        )
        self._opens = header.encode()
        self._seed = self._chain = header.crc
        self._file = number
        self._offset = HEADER_BYTES
        self.base = (number << OFFSET_BITS) | (HEADER_BYTES + HEAD_BYTES)

    def _drop_written(self) -> None:
        count = 0
        for batch in self._waiting:
            if batch.number > self.written:
                break
            self.pending_bytes -= batch.size
            count += 1
        del self._waiting[:count]

    def _fail(self, report: Report) -> None:
        """Give up what is not written; what comes next goes to a new file and uses the numbers again."""
        lost = self._waiting
        self._wanted_bytes = self.pending_bytes
        self._waiting = []
        self.pending_bytes = 0
        if len(self.out) > 0:
            lost.append(self._batch(self.out.getvalue(), False, False))
            self.out.truncate(0)
        self.level = MEMORY
        self.urgent = False
        self.fault = report.error
        if report.recoverable:
            self.full = True
        else:
            self.fenced = True
        if lost:
            self.batch = lost[0].number
            self._tail_file = lost[0].tail_file
            self._tail_crc = lost[0].tail_crc
        self._open_file(self._file + 1)
        self._valid_from = self._file
        self._hooks.failed(self.synced + 1, self.fault, lost, report.recoverable)


def address_of(batch: Batch) -> i64:
    """Where a batch begins; the waiting ones are in this order."""
    return batch.address
