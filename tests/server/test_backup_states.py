"""What a backup waits for and what ends it, between the log and whoever reads: without a socket."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexo.errors import ServerError, StorageError
from nexo.limits import KIB
from nexo.node import make_node
from nexo.protocols.backups import Backup, BackupReader
from nexo.server import backup as backup_module
from nexo.server.backup import NodeBackups
from nexo.server.housekeeping import COMPACT
from nexo.server.keeper import Keeper
from nexo.storage.archive import ArchiveReader
from nexo.storage.batch import Batch
from tests.simulation.disk import Disk
from tests.simulation.run import Run
from tests.vectors.session import Hand

pytestmark = pytest.mark.asyncio


class Told(BackupReader):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[Backup] = []
        self.failures: list[tuple[int, ServerError]] = []
        self.data = b""
        self.something = asyncio.Event()

    def backup_begun(self, backup: Backup, context: int) -> None:
        self.begun.append(backup)
        self.something.set()

    def backup_read(self, context: int, offset: int, data: bytes) -> None:
        assert offset == len(self.data)
        self.data += data
        self.something.set()

    def backup_failed(self, context: int, error: ServerError) -> None:
        self.failures.append((context, error))
        self.something.set()


class Backed(Run):
    """A log that tells its backups what the keeper tells them."""

    backups: NodeBackups | None = None

    def settled(self) -> None:
        super().settled()
        if self.backups is not None:
            self.backups.settled()

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        super().failed(first_batch, error, lost, recoverable)
        if self.backups is not None:
            self.backups.failed(first_batch, error)


def backed(disk: Disk) -> tuple[Backed, NodeBackups]:
    run = Backed(disk)
    run.backups = NodeBackups(disk, run.log, "0")
    run.write(b"first")
    return run, run.backups


def asked(backups: NodeBackups, context: int) -> Told:
    """One that is asked for in a turn which has ended."""
    told = Told()
    backups.begin(told, context)
    backups.turn_ended()
    return told


async def test_a_sync_that_fails_fails_the_backup() -> None:
    disk = Disk(1)
    run, backups = backed(disk)
    disk.faults.fail_sync_at = disk.syncs + 1
    told = asked(backups, 5)
    assert backups.is_pinning()
    run.step()
    ((context, error),) = told.failures
    assert context == 5
    assert isinstance(error, StorageError)
    assert not backups.is_pinning()
    # The log is fenced, and there are no more backups.
    ((context, error),) = asked(backups, 6).failures
    assert context == 6
    assert "no backup while nothing can be written" in error.message


async def test_a_full_disk_refuses_backups_until_there_is_room() -> None:
    disk = Disk(1)
    run, backups = backed(disk)
    disk.faults.capacity = 1
    told = asked(backups, 5)
    run.step()
    assert os.strerror(errno.ENOSPC) in told.failures[0][1].message
    assert len(asked(backups, 6).failures) == 1
    disk.faults.capacity = 0
    assert run.log.try_again()
    told = asked(backups, 7)
    assert not told.failures
    assert backups.is_pinning()
    await backups.stop()
    assert [context for context, _ in told.failures] == [7]
    assert not backups.is_pinning()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


async def test_no_compaction_begins_until_the_files_are_linked(tmp_path: Path) -> None:
    """It would make a snapshot of what came after the backup, and remove what the backup needs."""
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(1)
    loop.set_default_executor(threads)
    keeper = Keeper(str(tmp_path), loop, 64 * KIB)
    node = make_node(Hand(), keeper.journal)
    keeper.recover(node)
    queue, _ = node.queues.create(b"q", {}, node.begin())

    async def write() -> None:
        """Two more log files."""
        for _ in range(16):
            queue.push(b"\0" + bytes(8 * KIB), 0, node.begin())
            node.turn()
            keeper.turn_ended()
            await until(lambda: not queue.newest_batch)

    await write()
    told = Told()
    keeper.backups.begin(told, 1)
    # The thread that would link the files has something else to do.
    go_on = threading.Event()
    threads.submit(go_on.wait)
    node.begin()
    node.turn()
    keeper.turn_ended()
    try:
        for _ in range(4):
            await write()
        assert not told.begun
        assert keeper.backups.is_pinning()
        assert keeper._housekeeper.state != COMPACT
        assert not list(tmp_path.glob("snapshot-*.nexo"))
    finally:
        go_on.set()
    await until(lambda: told.begun)
    await write()
    await until(lambda: list(tmp_path.glob("snapshot-*.nexo")))
    (backup,) = told.begun
    while len(told.data) < backup.size:
        told.something.clear()
        backup.read(2)
        await told.something.wait()
    reader = ArchiveReader("read")
    reader.receive(told.data)
    reader.finish()
    assert reader.manifest.batch == backup.batch
    await keeper.stop()


async def test_a_backup_that_nobody_reads_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "BACKUP_IDLE_SECONDS_MAX", 0.05)
    keeper = Keeper(str(tmp_path), asyncio.get_running_loop())
    node = make_node(Hand(), keeper.journal)
    keeper.recover(node)
    told = Told()
    backup = keeper.backups.begin(told, 1)
    node.begin()
    node.turn()
    keeper.turn_ended()
    await until(lambda: told.begun)
    assert keeper.files.folders()
    await until(lambda: not keeper.files.folders())
    with pytest.raises(StorageError, match=r"backup_idle_seconds_max is 0\.05"):
        backup.read(2)
    await keeper.stop()
