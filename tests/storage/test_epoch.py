"""The epoch is on disk before a life counts on it, and a restore can raise it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexo.errors import StorageError
from nexo.limits import EPOCHS_MAX
from nexo.storage.files import Files
from nexo.storage.repair import apply, repair
from nexo.storage.verify import verify
from tests.simulation.disk import Disk
from tests.simulation.run import Run
from tests.storage.epochs import raise_epoch


def used(disk: Disk) -> int:
    return sum(map(disk.size, disk.names()))


def test_a_life_that_wrote_nothing_has_had_an_epoch() -> None:
    disk = Disk(1)
    for epoch in range(1, 5):
        run = Run(disk)
        assert run.log.epoch == epoch
        claimed = run.log.claim()
        run.step()
        assert run.log.synced == claimed
        disk = disk.crash() if epoch % 2 else disk.kill()


def test_the_epoch_is_claimed_on_a_full_disk() -> None:
    disk = Disk(1)
    run = Run(disk)
    run.write(b"one")
    disk.faults.capacity = used(disk) + 10
    disk.unlock()
    run = Run(disk)
    assert run.log.claim() == run.log.batch - 1
    run.step()
    assert run.log.synced == run.log.batch - 1
    assert "reserve" not in disk.names()


def test_a_disk_without_any_room_refuses_it() -> None:
    """The batch is open again: whoever waits for it sees that it will not come."""
    disk = Disk(1)
    Run(disk).write(b"one")
    disk.remove("reserve")
    disk.faults.capacity = used(disk)
    disk.unlock()
    run = Run(disk)
    assert run.log.full
    claimed = run.log.claim()
    run.step()
    assert run.log.batch == claimed
    assert run.failures[-1].recoverable


def test_a_restore_raises_the_epoch(tmp_path: Path) -> None:
    """Before a start it is a file with nothing but a header, which belongs to the log."""
    run = Run(Files(str(tmp_path)))
    run.write(b"one")
    run.stop()
    files = Files(str(tmp_path))
    files.lock()
    assert raise_epoch(files, by=1_000) == 1_001
    files.unlock()
    report = verify(str(tmp_path))
    assert not report.problems
    run = Run(Files(str(tmp_path)))
    assert run.log.epoch == 1_002
    assert run.bodies == [b"one"]
    assert run.write(b"two").confirmed
    run.stop()
    run = Run(Files(str(tmp_path)))
    assert run.bodies == [b"one", b"two"]
    assert run.log.epoch == 1_003
    run.stop()


def test_a_directory_without_a_log_can_be_raised() -> None:
    disk = Disk(1)
    assert raise_epoch(disk, by=10) == 10
    assert Run(disk).log.epoch == 11


def test_epochs_have_an_end() -> None:
    disk = Disk(1)
    with pytest.raises(StorageError, match="epochs_max"):
        raise_epoch(disk, by=EPOCHS_MAX)
    raise_epoch(disk, by=EPOCHS_MAX - 1)
    run = Run(disk)
    assert run.log.epoch == EPOCHS_MAX
    run.write(b"one")
    disk.unlock()
    with pytest.raises(StorageError, match="epochs_max"):
        Run(disk)


def test_a_repair_gives_no_epoch_again(tmp_path: Path) -> None:
    """What it moves away may hold an epoch for each file."""
    for number in range(4):
        run = Run(Files(str(tmp_path)))
        run.write(b"%d" % number)
        run.files.unlock()
    damaged = tmp_path / "log-0000000002.nexo"
    damaged.write_bytes(damaged.read_bytes()[:40])
    apply(repair(str(tmp_path)))
    run = Run(Files(str(tmp_path)))
    assert run.bodies == [b"0"]
    assert run.log.epoch > 4
    run.files.unlock()
