"""The node's data directory: brings the brokers back from it, and runs the log while the node runs.

Owns the lock, the log, its writer's thread and the snapshots. Reports come from the writer, most often in its
thread, into the loop; everything else here runs in the loop. Knows the brokers only as what operations are for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Final

from nexo._version import __version__
from nexo.errors import DataLockedError, StorageError
from nexo.histogram import Histogram
from nexo.limits import LOG_FILE_BYTES
from nexo.node import Node
from nexo.server.backup import NodeBackups
from nexo.server.compaction import Compactor
from nexo.server.housekeeping import Housekeeper
from nexo.server.replaying import replay
from nexo.storage.backup import unpin_all
from nexo.storage.batch import Batch, Hooks, Report
from nexo.storage.files import Files, is_running
from nexo.storage.format import SNAPSHOT_NAME, log_numbers
from nexo.storage.log import Log
from nexo.storage.recovery import Recovery
from nexo.storage.thread import ThreadedWriter
from nexo.storage.writer import Writer

log: Final = logging.getLogger("nexo.storage")

TRY_AGAIN_SECONDS: Final = 0.5
"""How often a full disk is asked whether there is room again."""

ORPHAN_SECONDS: Final = 5.0
"""A compaction ends as soon as it notices that its server has gone."""


def monotonic_ms() -> int:
    """The writer's clock, which needs no date."""
    return time.monotonic_ns() // 1_000_000


class Keeper(Hooks):
    """Storage of one node. Make it, make the node with `journal`, then `recover`."""

    def __init__(
        self, folder: str, loop: asyncio.AbstractEventLoop, log_file_bytes: int = LOG_FILE_BYTES
    ) -> None:
        super().__init__()
        self.files = Files(folder)
        self.journal = Log(self.files, self, log_file_bytes)
        self.backups = NodeBackups(self.files, self.journal, __version__)
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._node: Node | None = None
        self._writer: ThreadedWriter | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._compactor = Compactor(self.files)
        self._housekeeper = Housekeeper(
            self.files, self.journal, self._compactor, log_file_bytes, self.backups.is_pinning
        )

    def recover(self, node: Node) -> None:
        """Bring the node's brokers back and record from now on.

        Raises DataLockedError, DamagedError, NewerFormatError, and StorageError when the disk refuses.
        """
        try:
            self._recover(node)
        except OSError as error:
            raise StorageError(f"{self.files.folder}: {error.strerror or error}") from None

    def _recover(self, node: Node) -> None:
        self._node = node
        self.files.make_folder()
        self._lock()
        unpin_all(self.files)
        recovery = Recovery(self.files)
        began = time.monotonic()
        replay(recovery, node)
        report = recovery.report
        for cut in report.cuts:
            log.warning("%s: %d bytes cut at %d: %s", cut.file, cut.size, cut.offset, cut.reason)
        log.info(
            "%s: %d batches, %d bytes read in %.2f s after %s",
            self.files.folder,
            report.batches,
            report.bytes,
            time.monotonic() - began,
            "an orderly end"
            if report.clean
            else "an end without notice"
            if report.batches
            else "no earlier life",
        )
        writer = Writer(self.files, recovery.start, self._report)
        self._writer = ThreadedWriter(writer, monotonic_ms, self._call_writer)
        self.journal.go_on(self._writer, recovery.start)
        self._housekeeper.begin(node, recovery.first_file)
        # What the restart itself decides (a message that was lent for the last time is dead) is recorded.
        node.recovered()
        self._writer.start()

    def _lock(self) -> None:
        """Own the directory. A compaction may outlive a server that was killed by an instant: it is waited for."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            try:
                self.files.lock()
                return
            except DataLockedError as error:
                if is_running(error.pid) or time.monotonic() > deadline:
                    raise
            time.sleep(ORPHAN_SECONDS / 100)

    async def claim(self) -> None:
        """Until the epoch of this life is on disk, before which nobody may be served. Not on a disk without room."""
        claimed = self.journal.claim()
        while self.journal.synced < claimed < self.journal.batch:
            self._moved.clear()
            await self._moved.wait()

    def turn_ended(self) -> None:
        """The open batch is empty."""
        self.backups.turn_ended()
        self._housekeeper.between_turns()

    @property
    def last_sync_ms(self) -> int | None:
        """How long the latest sync took, None before the first."""
        if self._writer is None or self._writer.last_sync_ms < 0:
            return None
        return self._writer.last_sync_ms

    @property
    def sync_times(self) -> Histogram | None:
        """How long syncs took, in milliseconds; None before the log is opened."""
        return None if self._writer is None else self._writer.sync_times

    def described(self) -> dict[str, object]:
        """Storage as an operator sees it: what the housekeeper knows, the snapshot, and how far the log has got.

        Reads the directory.
        """
        writer, journal = self._writer, self.journal
        snapshots = [name for name in self.files.names() if SNAPSHOT_NAME.fullmatch(name)]
        snapshot: dict[str, object] | None = None
        if snapshots:
            name = snapshots[-1]  # names sort as the batches do
            written_at = self.files.modified_at(name)
            snapshot = {"name": name, "bytes": self.files.size(name), "written_at": written_at}
        synced = writer is not None and writer.last_sync_ms >= 0
        return {
            "folder": self.files.folder,
            "epoch": int(journal.epoch),
            "batch": int(journal.batch) - 1,
            "written_batch": int(journal.written),
            "synced_batch": int(journal.synced),
            "pending_bytes": int(journal.pending_bytes),
            "last_sync_ms": self.last_sync_ms,
            "last_sync_ago_ms": monotonic_ms() - writer.last_sync_ended_ms if writer and synced else None,
            "free_bytes": self.files.free_bytes(),
            "snapshot": snapshot,
            **self._housekeeper.described(),
        }

    def log_files(self) -> int:
        """How many log files there are. Reads the directory."""
        return len(log_numbers(self.files.names()))

    async def settle(self) -> None:
        """Until every reply that waits for the log has been given."""
        node = self._node
        while node is not None and node.holding:
            self._moved.clear()
            await self._moved.wait()

    async def stop(self) -> None:
        """Write and sync what was recorded, and give up the directory."""
        if self._retry is not None:
            self._retry.cancel()
        await self._compactor.stop()
        await self.backups.stop()
        if self._writer is not None:
            self.journal.finish()
            if self._ticking is not None:
                self._ticking.cancel()
            await self._loop.run_in_executor(None, self._writer.stop)
            # The thread's last reports are in the loop's queue, ahead of this.
            await asyncio.sleep(0)
        self.files.unlock()

    # From the writer, in its thread or in the loop's.

    def _call_writer(self, after_ms: int) -> None:
        """The writer wants to be called, in the loop."""
        if self._ticking is None:
            self._ticking = self._loop.call_later(after_ms / 1000, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        if self._writer is not None and (after_ms := self._writer.tick()):
            self._call_writer(after_ms)

    def _report(self, report: Report) -> None:
        if threading.get_ident() != self._loop_thread:
            self._loop.call_soon_threadsafe(self.journal.settle, report)
        elif self._node is not None and self._node.ending and not report.error:
            self.journal.report(report)
        else:
            self._loop.call_soon(self.journal.settle, report)

    # From the log, in the loop.

    def settled(self) -> None:
        if self._node is not None:
            self._node.settled()
        self._moved.set()
        self.backups.settled()
        self._housekeeper.look()

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        if self._node is None:
            return
        if recoverable:
            log.error("the disk is full, and writes are refused until there is room: %s", error)
            if self._retry is None:
                self._retry = self._loop.call_later(TRY_AGAIN_SECONDS, self._try_again)
        elif not self._node.fenced:
            log.critical("no more is written until the server is started again: %s", error)
        self._node.withdraw(first_batch, error, [batch.payload for batch in lost], recoverable)
        self.backups.failed(first_batch, error)
        self._moved.set()
        self._housekeeper.look()

    def _try_again(self) -> None:
        self._retry = None
        if not self.journal.try_again():
            self._retry = self._loop.call_later(TRY_AGAIN_SECONDS, self._try_again)
        elif self._node is not None:
            log.warning("there is room on the disk again")
            self._node.room_again()
