"""Backups on the simulated disk: whatever the log goes through meanwhile, they hold what was confirmed before."""

from __future__ import annotations

from random import Random

import pytest

from nexo.brokers.journal import FSYNC
from nexo.storage.archive import ArchiveReader
from nexo.storage.backup import ArchiveFiles, Boundary, Source, Target, check_contents, pin
from nexo.storage.format import operation
from nexo.storage.restore import restore
from nexo.storage.writer import Writer
from tests.simulation.disk import Disk
from tests.simulation.run import KIND, LEVELS, Run, snapshot_now

SEEDS = 60
STEPS = 60


class Life:
    """A log that is written, compacted, and fills the disk, as a seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = Disk(seed)
        self.run = Run(self.disk, Writer, self.random.choice([200, 500, 5000]))
        self.count = 0

    def bodies(self) -> list[bytes]:
        """What a start would find, were everything written."""
        return self.run.bodies + [sent.body for sent in self.run.sent if not sent.failed]

    def step(self) -> None:
        run = self.run
        choice = self.random.random()
        if choice < 0.8:
            self.count += 1
            body = b"%d " % self.count + bytes(self.random.randrange(60))
            if self.random.random() < 0.7:
                run.write(body, self.random.choice(LEVELS))
            else:
                run.append(body, self.random.choice(LEVELS))
        elif choice < 0.9:
            run.close()
            run.step(self.random.choice([0, 30, 100]))
        elif choice < 0.95:
            self.disk.faults.capacity = 0 if self.disk.faults.capacity else 1
            run.log.try_again()
        elif not run.log.full:
            self.compact()

    def settle(self) -> None:
        """There is room, and everything is written and synced."""
        self.disk.faults.capacity = 0
        self.run.log.try_again()
        self.run.close()
        self.run.log.sync()
        self.run.step()

    def compact(self) -> None:
        self.settle()
        snapshot = snapshot_now(self.disk, self.run.log)
        for body in self.bodies():
            snapshot.add(operation(KIND, body))
        snapshot.finish(set())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_backup_is_what_was_there(seed: int) -> None:
    life = Life(seed)
    for _ in range(STEPS):
        life.step()
    life.settle()
    run = life.run
    confirmed = [sent.body for sent in run.sent if sent.confirmed]
    expected = life.bodies()
    batch = run.log.batch
    run.log.level = FSYNC
    assert run.log.sync() == batch
    run.step()
    end = Boundary(batch, run.log.file, run.log.offset)
    for _ in range(life.random.randrange(5)):
        run.write(b"between the boundary and the links")
    pinned = life.disk.inside("backup-1.tmp")
    source = Source(pinned, pin(life.disk, pinned, end), batch, "0", 0)
    elsewhere = Disk(seed)
    with Target(elsewhere, "a.tar") as target:
        while data := source.read(life.random.randrange(1, 3000)):
            target.write(data)
            life.step()
        target.finish()
    reader = ArchiveReader("a.tar")
    reader.receive(elsewhere.read_at("a.tar", 0, 1 << 30))
    reader.finish()
    contents = check_contents(elsewhere, "a.tar", reader)
    assert not contents.problems
    new = Disk(seed)
    restore(ArchiveFiles(elsewhere, "a.tar", reader), reader, contents, new, 1_000_000)
    # Everything of it is on disk: a power cut takes nothing.
    found = Run(new.crash()).bodies
    assert found == expected
    assert set(confirmed) <= set(found)
