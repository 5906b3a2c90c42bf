"""The writer: batches to the file, one write and one sync for all that wait, and reports of how far it is.

`Writer` is the state machine, driven a round at a time: by thread.ThreadedWriter, or step by step in
simulations. Owns the file that is being written and the rule that nothing is confirmed after a failed
sync. Knows records as bytes; not what is in them, not the loop.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from mypy_extensions import mypyc_attr

from nexo.brokers.journal import FLUSH, FSYNC
from nexo.limits import FLUSH_MS_MAX
from nexo.storage.batch import Batch, Report, Sink
from nexo.storage.files import AsideSync, Files
from nexo.storage.format import HEADER_BYTES, head_crc, log_name
from nexo.storage.log import RESERVE_NAME, Start

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
"""Errors that say: not now. They leave nothing half done that cannot be cut."""


@mypyc_attr(native_class=False)
class SyncFailed(OSError):
    """A sync among the steps of something else: never a reason to try again."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Writer:
    """Writes batches in the order in which they come. `report` is called with each Report.

    `due_ms` is when `sync` has to be called at the latest, 0: nothing waits for it. It is a time that has come
    when a batch asks for the disk: `write` does not wait for it.
    """

    def __init__(self, files: Files, start: Start, report: Callable[[Report], None]) -> None:
        self.due_ms = 0
        self.written = self.synced = start.batch - 1
        self.fenced = False
        self._files = files
        self._report = report
        self._told = (self.written, self.synced)
        self._error = ""
        self._handle = -1
        self._file = 0
        self._size = 0
        self._syncing = 0
        self._tail = (start.tail_file, start.tail_crc)

    def write(self, batches: list[Batch], now_ms: int) -> None:
        """One round: write all of them, and report unless all that is to be told comes with the sync."""
        told = False
        while batches and not self.fenced:
            count = run_length(batches)
            run, rest = batches[:count], batches[count:]
            if (run[0].tail_file, run[0].tail_crc) != self._tail:
                # It continues a batch that has failed; the log did not know yet.
                self._refuse(run)
                batches = rest
            elif self._prepare(run[0]) and self._append(run):
                batches = rest
                self._written(run, now_ms)
                told = told or any(batch.urgent or batch.level != FSYNC for batch in run)
            elif not self.fenced:
                self._refuse(batches)
                return
        if self.fenced:
            self._refuse(batches)
        elif told:
            self._tell()

    def sync(self) -> None:
        """Bring everything written to disk and report it: `due_ms` has come."""
        if not self.fenced:
            if self._sync():
                self._tell()
            else:
                self._refuse([])

    def sync_begins(self) -> int:
        """As `sync`, in parts between which `write` may be called: the handle for `sync_runs`, -1: nothing to sync.

        What is written from now on is for the next sync. Begin no second one before this has ended: an error is told
        to one of them only.
        """
        self.due_ms = 0
        if self.fenced or self.synced >= self.written:
            return -1
        self._syncing = self.written
        return self._files.duplicate(self._handle)

    def sync_aside(self, handle: int) -> AsideSync | None:
        """As `sync_runs`, by nobody who could be waited for: ask what is returned; None: do it another way."""
        return self._files.sync_aside(handle)

    def sync_runs(self, handle: int) -> OSError | None:
        """The part that takes long, and touches nothing that a write does; what went wrong."""
        try:
            self._sync_file(handle)
        except OSError as error:
            return error
        finally:
            self._files.close(handle)
        return None

    def sync_ended(self, error: OSError | None) -> None:
        """Reports how far a sync has got that was begun."""
        if self.fenced:
            return
        if error is None:
            self.synced = max(self.synced, self._syncing)
            self._tell()
        else:
            self.fence(f"{self._files.path(log_name(self._file))}: {error.strerror or error}", [])

    def fence(self, error: str, batches: list[Batch]) -> None:
        """Nothing is written, synced or confirmed from now on."""
        self.fenced = True
        self._error = error
        self._refuse(batches)

    def close(self) -> None:
        """Sync what is left, report, and close the file."""
        self.sync()
        if self._handle >= 0:
            self._files.close(self._handle)
            self._handle = -1

    def _prepare(self, first: Batch) -> bool:
        """What has to be done before a run is written; false: it failed."""
        if (first.opens or first.after_sync) and not self._sync():
            return False
        return not first.opens or self._open(first)

    def _open(self, first: Batch) -> bool:
        """A new file, on disk with its name before anything else is written to it: so a header is never torn.

        The file before it has been synced: only the last file of a log may have a torn tail.
        """
        name = log_name(first.file)
        try:
            self._close_handle()
            try:
                self._create(name, first.opens)
            except OSError as error:
                if error.errno not in NO_ROOM or not first.essential or not self._release():
                    raise
                self._close_handle()
                self._discard(name)
                self._create(name, first.opens)
        except OSError as error:
            self._failed(error, name, 0)
            return False
        self._file = first.file
        self._size = len(first.opens)
        return True

    def _create(self, name: str, header: bytes) -> None:
        self._handle = self._files.create(name)
        self._files.append(self._handle, [header])
        try:
            self._files.sync(self._handle)
            self._files.sync_folder()
        except OSError as error:
            raise SyncFailed(error.errno, error.strerror) from None

    def _append(self, run: list[Batch]) -> bool:
        """A run in one write; false: it failed, and nothing of it is in the file."""
        parts: list[bytes] = []
        for batch in run:
            parts += (batch.head, batch.payload)
        try:
            try:
                self._files.append(self._handle, parts)
            except OSError as error:
                essential = all(batch.essential for batch in run)
                if error.errno not in NO_ROOM or not essential or not self._release():
                    raise
                self._files.truncate(log_name(self._file), self._size)
                self._files.append(self._handle, parts)
        except OSError as error:
            self._failed(error, log_name(self._file), self._size)
            return False
        self._size += sum([batch.size for batch in run])
        return True

    def _written(self, run: list[Batch], now_ms: int) -> None:
        self.written = run[-1].number
        self._tail = (self._file, head_crc(run[-1].head))
        if any(batch.level == FSYNC for batch in run):
            self.due_ms = max(now_ms, 1)
        elif any(batch.level == FLUSH for batch in run):
            self.due_ms = self.due_ms or now_ms + FLUSH_MS_MAX // 2

    def _sync(self) -> bool:
        """Sync what is written; false: it failed, and is never tried again."""
        if self.synced < self.written:
            try:
                self._sync_file(self._handle)
            except OSError as error:
                self.fenced = True
                self._error = f"{self._files.path(log_name(self._file))}: {error.strerror or error}"
                return False
            self.synced = self.written
        self.due_ms = 0
        return True

    def _sync_file(self, handle: int) -> None:
        self._files.sync(handle)

    def _failed(self, error: OSError, name: str, size: int) -> None:
        """What a failed write leaves: a file that is cut to what was good and synced, or the fence."""
        self._error = f"{self._files.path(name)}: {error.strerror or error}"
        if isinstance(error, SyncFailed) or error.errno not in NO_ROOM:
            self.fenced = True
            return
        try:
            self._close_handle()
            if size > HEADER_BYTES:
                self._files.truncate(name, size)
            else:
                self._discard(name)
        except OSError as second:
            self.fenced = True
            self._error = f"{self._error}, and cannot cut it: {second.strerror or second}"
        else:
            self.synced = self.written
            self.due_ms = 0

    def _close_handle(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            self._files.close(handle)

    def _discard(self, name: str) -> None:
        if name in self._files.names():
            self._files.remove(name)
            self._files.sync_folder()

    def _release(self) -> bool:
        """Give the reserve to essential batches; whether there was one."""
        try:
            self._files.remove(RESERVE_NAME)
        except OSError:
            return False
        return True

    def _tell(self) -> None:
        if self._told != (self.written, self.synced):
            self._told = (self.written, self.synced)
            self._report(Report(self.written, self.synced, [], "", True))

    def _refuse(self, batches: list[Batch]) -> None:
        """Report a failure. What was written and not yet reported as such is no longer when we are fenced."""
        if not self.fenced:
            self._told = (self.written, self.synced)
        written, synced = self._told
        self._report(Report(written, synced, batches, self._error, not self.fenced))


class SteppedWriter(Sink):
    """Drives a writer by hand, for simulations: nothing happens until `step`."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.queue: list[Batch] = []
        self._writer = writer

    def submit(self, batch: Batch) -> None:
        self.queue.append(batch)

    def step(self, now_ms: int = 0) -> None:
        """One round with all that waits, and the sync that is due."""
        batches, self.queue = self.queue, []
        if batches:
            self._writer.write(batches, now_ms)
        if self._writer.due_ms and self._writer.due_ms <= max(now_ms, 1):
            self._writer.sync()


def run_length(batches: list[Batch]) -> int:
    """How many batches from the first on can be written in one go: up to the next that needs preparing."""
    for count, batch in enumerate(batches):
        if count and (batch.opens or batch.after_sync):
            return count
    return len(batches)
