"""Backups of a running node: its files are kept under second names, and read in a thread as fast as somebody asks.

Owns how a backup goes: asked for in a turn, it covers everything up to the end of that turn; it waits until the log
has that on disk, links the files (storage/backup.py) in a thread, and then answers reads, one at a time, from
another. The loop only passes chunks on. Writing goes on meanwhile; no compaction begins until the files are linked.

A backup that is closed, that nobody reads from any more or that meets an error leaves nothing behind; what a server
that was killed has left, its next start removes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from nexo.errors import LimitExceededError, NexoError, ServerError, StorageError
from nexo.limits import BACKUP_CHUNK_BYTES, BACKUP_IDLE_SECONDS_MAX, BACKUP_READS_MAX, BACKUPS_MAX
from nexo.protocols.backups import Backup, BackupReader, Backups
from nexo.storage.backup import Boundary, Source, pin, pinned_name, unpin
from nexo.storage.files import Files
from nexo.storage.log import Log

log: Final = logging.getLogger("nexo.storage")


class NodeBackups(Backups):
    """All backups of a node that are under way. Everything here runs in the loop."""

    def __init__(self, files: Files, journal: Log, version: str) -> None:
        super().__init__()
        self.files = files
        self.version = version
        self._journal = journal
        self._last_number = 0
        self._alive: set[NodeBackup] = set()
        self._asked: list[NodeBackup] = []
        self._syncing: list[NodeBackup] = []

    def begin(self, reader: BackupReader, context: int) -> NodeBackup:
        """Within a turn: what it has done when it ends is in the backup. LimitExceededError."""
        if len(self._alive) >= BACKUPS_MAX:
            raise LimitExceededError(f"backups_max is {BACKUPS_MAX}, and so many are under way")
        self._last_number += 1
        backup = NodeBackup(self, self._last_number, reader, context)
        self._alive.add(backup)
        self._asked.append(backup)
        return backup

    def is_pinning(self) -> bool:
        """Whether one is about to link its files: a compaction that begins now would take what it needs.

        One that runs already is of batches that the backup has, too.
        """
        return any(backup.pinning for backup in self._alive)

    def turn_ended(self) -> None:
        """The turn's batch is closed: what was asked for in it ends here, once that is on disk."""
        if not self._asked:
            return
        asked, self._asked = self._asked, []
        journal = self._journal
        if journal.full or journal.fenced:
            for backup in asked:
                backup.refuse(StorageError(f"no backup while nothing can be written: {journal.fault}"))
            return
        batch = journal.sync()
        for backup in asked:
            backup.boundary = Boundary(int(batch), int(journal.file), int(journal.offset))
            backup.pinning = True
            self._syncing.append(backup)

    def settled(self) -> None:
        """The log has got further."""
        if self._syncing:
            syncing, self._syncing = self._syncing, []
            for backup in syncing:
                if backup.boundary.batch <= self._journal.synced:
                    backup.start()
                else:
                    self._syncing.append(backup)

    def failed(self, first_batch: int, error: str) -> None:
        """Batches from this one on are not in the log."""
        syncing, self._syncing = self._syncing, []
        for backup in syncing:
            if backup.boundary.batch >= first_batch:
                backup.refuse(StorageError(error))
            else:
                self._syncing.append(backup)

    def forget(self, backup: NodeBackup) -> None:
        """It has ended."""
        self._alive.discard(backup)
        for waiting in (self._asked, self._syncing):
            if backup in waiting:
                waiting.remove(backup)

    async def stop(self) -> None:
        """End them all, and wait until nothing is left of them."""
        tasks = [backup.task for backup in self._alive if backup.task is not None]
        for backup in list(self._alive):
            backup.close()
        if tasks:
            await asyncio.wait(tasks)


class NodeBackup(Backup):
    """One backup: its task, and the reads that wait."""

    def __init__(self, owner: NodeBackups, number: int, reader: BackupReader, context: int) -> None:
        super().__init__()
        self.time_ms = time.time_ns() // 1_000_000
        self.boundary = Boundary(0, 0, 0)
        self.pinning = False
        self.task: asyncio.Task[None] | None = None
        self._owner = owner
        self._reader = reader
        self._contexts = deque([context])  # of the requests that wait; first that which began it
        self._wanted = asyncio.Event()
        self._pinned = owner.files.inside(pinned_name(number))
        self._ended = ""
        self._read_to_the_end = False
        self._closed = False
        self._clearing = False

    # For the reader.

    def read(self, context: int) -> None:
        if self._ended:
            raise StorageError(self._ended)
        if self._read_to_the_end:
            self._reader.backup_read(context, self.size, b"")
            return
        if len(self._contexts) >= BACKUP_READS_MAX:
            raise LimitExceededError(f"backup_reads_max is {BACKUP_READS_MAX}")
        self._contexts.append(context)
        self._wanted.set()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._fail(StorageError("it was closed"))
        if self.task is None:
            self._owner.forget(self)
        elif not self._clearing:
            self.task.cancel()

    # For the owner.

    def refuse(self, error: ServerError) -> None:
        """It does not come about."""
        self._owner.forget(self)
        self._fail(error)

    def start(self) -> None:
        """Everything that belongs to it is on disk."""
        self.task = asyncio.get_running_loop().create_task(self._run(), name="nexo-backup")
        self.task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.task = None
        self._owner.forget(self)

    def _fail(self, error: ServerError) -> None:
        self._ended = f"the backup has ended: {error.message}"
        while self._contexts:
            self._reader.backup_failed(self._contexts.popleft(), error)

    async def _run(self) -> None:
        calls = Calls()
        try:
            entries = await calls.run(pin, self._owner.files, self._pinned, self.boundary)
            self.pinning = False
            source = Source(
                self._pinned, entries, self.boundary.batch, self._owner.version, int(self.time_ms)
            )
            self.size, self.batch = source.size, self.boundary.batch
            log.info("backup of batch %d: %d files, %d bytes", self.batch, len(entries), self.size)
            self._reader.backup_begun(self, self._contexts.popleft())
            while source.position < source.size:
                await self._next_read()
                offset = source.position
                data = await calls.run(source.read, BACKUP_CHUNK_BYTES)
                self._reader.backup_read(self._contexts.popleft(), offset, data)
            log.info("backup of batch %d: read to the end", self.batch)
            self._read_to_the_end = True
            while self._contexts:
                self._reader.backup_read(self._contexts.popleft(), self.size, b"")
        except NexoError as error:
            log.error("backup of batch %d: %s", self.boundary.batch, error)
            self._fail(error if isinstance(error, ServerError) else StorageError(str(error)))
        finally:
            self._clearing = True
            await calls.end()
            await calls.run(unpin, self._pinned)

    async def _next_read(self) -> None:
        """Wait for a read, but not for ever."""
        while not self._contexts:
            self._wanted.clear()
            try:
                async with asyncio.timeout(BACKUP_IDLE_SECONDS_MAX):
                    await self._wanted.wait()
            except TimeoutError:
                limit = f"backup_idle_seconds_max is {BACKUP_IDLE_SECONDS_MAX:g}"
                raise StorageError(f"nobody has read from the backup for too long: {limit}") from None


class Calls:
    """Calls in threads, one at a time; one that was given up is waited for at the end."""

    def __init__(self) -> None:
        self._call: asyncio.Future[Any] | None = None

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives."""
        loop = asyncio.get_running_loop()
        self._call = loop.run_in_executor(None, function, *arguments)
        return await asyncio.shield(self._call)

    async def end(self) -> None:
        """Until the last call has returned."""
        if self._call is not None:
            await asyncio.wait([self._call])
