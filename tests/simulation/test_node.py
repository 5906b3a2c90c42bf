"""A whole node over a simulated disk: what was confirmed is there after every kind of end. See simulate.py.

The last tests break the node on purpose: a simulation that finds nothing then would find nothing ever.
"""

from __future__ import annotations

import pytest

from nexo.brokers.journal import BATCH
from nexo.brokers.maps import DELETE
from nexo.brokers.moving import MOVE_BLOCKS, MOVE_BODIES
from nexo.brokers.queue.records import ACK
from nexo.errors import DamagedError
from nexo.protocols.native.session import NativeSession
from nexo.server.housekeeping import CLEAN, ROLL_TO_COMPACT, Housekeeper
from nexo.storage.format import LOG_NAME, SNAPSHOT_NAME, log_name
from nexo.storage.writer import Writer
from tests.brokers.journals import split
from tests.simulation.disk import Crash, Disk, Inode
from tests.simulation.image import differences
from tests.simulation.model import Step
from tests.simulation.node import Life
from tests.simulation.simulate import Tally, World, simulate
from tests.simulation.test_crashes import NeverSyncs

SEEDS = 5
CAUGHT_WITHIN_SEEDS = 40
WITH_CLEANING = 14
"""The seed of a short history in which the log is cleaned and compacted."""


@pytest.mark.parametrize("part", range(30))
def test_seeds(part: int) -> None:
    tally = Tally()
    for seed in range(part * SEEDS, part * SEEDS + SEEDS):
        wrong = simulate(seed, tally)
        assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
    assert tally.ends > SEEDS


def test_a_seed_repeats() -> None:
    first, second = World(11), World(11)
    first.run(300)
    second.run(300)
    assert first.last == second.last
    assert first.tally == second.tally


@pytest.mark.parametrize("power", [True, False], ids=["power cut", "kill"])
@pytest.mark.parametrize("seed", [1, 2, 3, WITH_CLEANING])
def test_an_end_at_every_call_to_the_disk(seed: int, power: bool) -> None:
    """The same short history, ended at its first, second, third … call until it comes to its end."""
    crash_at = 0
    ended = False
    while not ended:
        crash_at += 1
        world = World(seed, kinds="qs", faults=False)
        world.disk.faults.crash_at = world.disk.calls + crash_at
        ended = not short_history(world)
        world.ended(power)
        world.rest_and_end()
    assert crash_at > 20
    assert seed != WITH_CLEANING or world.tally.cleanings > 0


def short_history(world: World) -> bool:
    """Whether a crash came in it."""
    for _ in range(250):
        try:
            world.act()
        except Crash:
            return True
    return False


@pytest.mark.parametrize("kinds", ["q", "s", "qs"])
@pytest.mark.parametrize("seed", range(6))
def test_a_snapshot_and_the_tail_are_the_whole_log(seed: int, kinds: str) -> None:
    world = World(seed, kinds=kinds, faults=False, compacts=False)
    while world.life.log.file < 4:
        world.go()
    world.rest()
    before = {name: bytes(inode.cache) for name, inode in world.disk.inodes.items()}
    world.life.snapshot()
    for _ in range(100):
        world.go()
    world.rest()
    after = {name: bytes(inode.cache) for name, inode in world.disk.inodes.items()}
    assert [name for name in after if SNAPSHOT_NAME.fullmatch(name)]
    logs = {name: data for name, data in {**before, **after}.items() if LOG_NAME.fullmatch(name)}
    by_snapshot = Life(disk_with(after), world.life.now)
    by_log = Life(disk_with(logs), world.life.now)
    assert by_snapshot.report.snapshot_batch > 0
    assert by_log.report.snapshot_batch == 0
    assert by_snapshot.batch == by_log.batch
    assert differences(by_log.recovered, by_snapshot.recovered) == []


def disk_with(contents: dict[str, bytes]) -> Disk:
    disk = Disk(1)
    disk.inodes = {name: Inode(bytearray(data), data) for name, data in contents.items()}
    disk.durable_inodes = dict(disk.inodes)
    return disk


class RepliesEarly(Life):
    """Answers leave at once, whatever they promise."""

    def hold(self, session: NativeSession, number: int, step: Step) -> None:
        step.confirmed = True


class LendsEarly(Life):
    """Deliveries leave before it is recorded that they count."""

    def lend(self, session: NativeSession, number: int, step: Step) -> None:
        step.confirmed = True


class ForgetsAcks(Life):
    """A replay that passes over acknowledgements."""

    def apply(self, kind: int, data: bytes, start: int, end: int, address: int) -> None:
        if kind != ACK:
            super().apply(kind, data, start, end, address)


class ForgetsMoves(Life):
    """A replay that goes on referring to the old places."""

    def apply(self, kind: int, data: bytes, start: int, end: int, address: int) -> None:
        if kind not in (MOVE_BODIES, MOVE_BLOCKS):
            super().apply(kind, data, start, end, address)


class RemovesTooEarly(Housekeeper):
    """The cleaned files go as soon as their bodies are moved, before a snapshot says so."""

    def _look_at_cleaning(self) -> None:
        super()._look_at_cleaning()
        if self.state == ROLL_TO_COMPACT:
            for number in self._node.cleaner.moving.files:
                self._files.remove(log_name(number))


class NeverRefers(Housekeeper):
    """The node forgets what it has moved; a compaction does not."""

    def look(self) -> None:
        moving = self._node.cleaner.moving if self._node else None
        if moving and moving.bytes and self.state == CLEAN:
            moving.withdraw(0)
        super().look()


class RemovesEarly(Life):
    housekeeper_class = RemovesTooEarly


class LosesMoves(Life):
    housekeeper_class = NeverRefers


class SyncsNoSnapshot(Disk):
    """A disk whose user renames a snapshot that is not on disk."""

    def next_disk(self, seed: int) -> Disk:
        return SyncsNoSnapshot(seed)

    def sync(self, handle: int) -> None:
        if self.inodes.get("snapshot.tmp") is not self.handles[handle]:
            super().sync(handle)


class ForgetsAcksAndImages(ForgetsAcks):
    """The same where only the model of what clients were told can notice."""

    def check_recovered(self, least: int) -> None:
        self.images = {self.batch: self.recovered}


class ForgetsDeletes(Life):
    """A replay that passes over deleted keys, where only the model of what clients were told can notice."""

    def apply(self, kind: int, data: bytes, start: int, end: int, address: int) -> None:
        if kind != DELETE:
            super().apply(kind, data, start, end, address)

    def check_recovered(self, least: int) -> None:
        self.images = {self.batch: self.recovered}


class HalfABatch(Life):
    """Of a batch across brokers the first operation does not come back, and only clients can notice."""

    def check_recovered(self, least: int) -> None:
        self.images = {self.batch: self.recovered}

    def apply(self, kind: int, data: bytes, start: int, end: int, address: int) -> None:
        if kind == BATCH:
            _, _, first = next(split(data[start:end]))
            start += first
            address += first if address else 0
        super().apply(kind, data, start, end, address)


class ForgetsWhatWasLost(Life):
    """A node that does not record again what a full disk refused, so that a restart finds older values."""

    def try_again(self) -> None:
        self.node.store.maps.lost = {}
        self.node.pubsub.kept.lost = {}
        super().try_again()


def caught(
    life_class: type[Life],
    writer_class: type[Writer] = Writer,
    kinds: str = "qs",
    disk_class: type[Disk] = Disk,
) -> str:
    """What the first seed that notices says."""
    for seed in range(CAUGHT_WITHIN_SEEDS):
        try:
            World(seed, Tally(), life_class, writer_class, kinds, disk_class=disk_class).run()
        except (AssertionError, DamagedError) as error:
            return str(error)
    return ""


def test_a_missing_sync_is_caught() -> None:
    assert "was on disk" in caught(Life, NeverSyncs)


def test_replies_that_leave_early_are_caught() -> None:
    wrong = caught(RepliesEarly)
    assert "was confirmed" in wrong or "nobody ended it" in wrong


def test_deliveries_that_leave_early_are_caught() -> None:
    assert "are known" in caught(LendsEarly)


def test_a_replay_without_acks_is_caught() -> None:
    assert "after batch" in caught(ForgetsAcks)
    assert "came back" in caught(ForgetsAcksAndImages)


def test_replies_to_changes_of_keys_that_leave_early_are_caught() -> None:
    assert "after the restart" in caught(RepliesEarly, kinds="m")


def test_a_replay_without_deletions_of_keys_is_caught() -> None:
    assert "after the restart" in caught(ForgetsDeletes, kinds="m")


def test_a_node_that_forgets_what_a_full_disk_refused_is_caught() -> None:
    assert "after batch" in caught(ForgetsWhatWasLost, kinds="m")


def test_a_batch_across_brokers_that_comes_back_by_half_is_caught() -> None:
    wrong = caught(HalfABatch, kinds="b")
    assert "after [" in wrong or "in the queue are" in wrong, wrong


def test_removing_files_before_the_snapshot_is_caught() -> None:
    """As any other order of the steps of cleaning but the right one."""
    assert "missing" in caught(RemovesEarly)


def test_a_snapshot_that_is_not_synced_is_caught() -> None:
    assert caught(Life, disk_class=SyncsNoSnapshot)


def test_moves_that_are_not_noted_are_caught() -> None:
    assert "cannot be read" in caught(LosesMoves)
    assert "missing" in caught(ForgetsMoves) or "cannot be read" in caught(ForgetsMoves)
