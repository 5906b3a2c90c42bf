"""A whole node, its clients and its disk, in one thread, from a seed.

    python -m tests.simulation.simulate --seconds 60      one seed after another
    python -m tests.simulation.simulate --seed 7          one of them again

The world does at random: a command, the end of a turn, a round of the writer, time that passes, a crash of the
process or of the machine at any call to the disk, a sync that fails, a disk that is full for a while, an orderly
stop, a compaction, a clock that goes back between two lives. After each end the node is brought back, and compared with what it
was (image.py) and with what clients were told (model.py). A seed that fails does so again.
"""

from __future__ import annotations

import argparse
import errno
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.storage.writer import Writer
from tests.simulation.batch_clients import BatchClients, restart_batches
from tests.simulation.disk import Crash, Disk, Faults
from tests.simulation.image import Image
from tests.simulation.model import End
from tests.simulation.node import Life
from tests.simulation.queue_clients import QueueClients, restart_queues
from tests.simulation.store_clients import StoreClients, restart_store
from tests.simulation.stream_clients import StreamClients, restart_streams

START_MS = 1_700_000_000_000
DAY_MS = 24 * 3_600_000
STEPS = 600
LAST_STEPS = 40


@dataclass
class Tally:
    """What a simulation did."""

    seeds: int = 0
    steps: int = 0
    commands: int = 0
    power_cuts: int = 0
    kills: int = 0
    stops: int = 0
    failed_syncs: int = 0
    full_disks: int = 0
    cleanings: int = 0
    compactions: int = 0

    @property
    def ends(self) -> int:
        return self.power_cuts + self.kills + self.stops

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.steps} steps, {self.commands} commands; {self.power_cuts} power cuts, "
            f"{self.kills} kills, {self.stops} orderly stops, {self.failed_syncs} failed syncs, "
            f"{self.full_disks} full disks, {self.cleanings} cleanings and "
            f"{self.compactions} compactions; each of {self.ends} restarts compared"
        )


class Clients(QueueClients, StreamClients, StoreClients, BatchClients):
    """All of them."""

    def __init__(self, random: Random, kinds: str) -> None:
        super().__init__(random)
        self.kinds: list[tuple[Callable[[], str], int]] = []
        if "q" in kinds:
            self.kinds += [
                (self.create_queue, 4), (self.delete_queue, 1), (self.push, 30), (self.receive, 20),
                (self.poll, 4), (self.ack, 16), (self.ack_many, 5), (self.nack, 10), (self.extend, 4),
                (self.stale_ack, 2), (self.purge, 1), (self.pause, 1), (self.remove, 2), (self.redrive, 5),
                (self.delete_dead, 2),
            ]  # fmt: skip
        if "s" in kinds:
            self.kinds += [
                (self.create_stream, 4), (self.delete_stream, 1), (self.append, 24), (self.read, 8),
                (self.join, 6), (self.fetch, 20), (self.ack_stream, 16), (self.nack_stream, 8),
                (self.leave, 2), (self.seek, 1), (self.dead_letter, 3),
            ]  # fmt: skip
        if "m" in kinds:
            self.kinds += [
                (self.create_map, 2), (self.delete_map, 1), (self.set_key, 30), (self.set_many, 6),
                (self.delete_key, 12), (self.count_up, 8), (self.expire_key, 6), (self.clear_keys, 3),
                (self.retain, 10), (self.clear_retained, 5),
            ]  # fmt: skip
        self.batching = "b" in kinds
        if self.batching:
            self.kinds += [(self.do_batch, 30), (self.lend_one, 20)]
        self.kinds.append((self.drop, 2))

    def command(self) -> str:
        """One command of one client; what it was."""
        self.now = self.node.begin()
        kinds, weights = zip(*self.kinds, strict=True)
        (kind,) = self.random.choices(kinds, weights)
        return f"{kind.__name__} {kind()}"

    def look(self) -> None:
        """Read the answers that have come, and compare what is there with the model."""
        for client in self.all:
            self.life.collect(client.session)
        self.look_at_queues()
        self.look_at_streams()
        self.look_at_store()
        if self.batching:
            self.look_at_batches()

    def restarted(self, end: End) -> None:
        if self.batching:
            restart_batches(self, end)
        else:
            restart_queues(self, end)
            restart_streams(self, end)
        restart_store(self, end)

    def drop(self) -> str:
        """A connection ends: what was lent to it comes back."""
        client = self.random.choice(self.all)
        self.drop_queues(client)
        self.node.streams.drop(client.session, self.now)
        client.members = []
        client.fetched = []
        return ""


class World:
    """One seed. `kinds`: q for queues, s for streams, m for the store's maps and retained messages; or b for
    batches across brokers, alone."""

    def __init__(
        self,
        seed: int,
        tally: Tally | None = None,
        life_class: type[Life] = Life,
        writer_class: type[Writer] = Writer,
        kinds: str = "",
        faults: bool = True,
        clients_class: Callable[[Random, str], Any] = Clients,
        disk_class: type[Disk] = Disk,
        compacts: bool = True,
    ) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.tally = tally or Tally()
        self.life_class = life_class
        self.writer_class = writer_class
        self.kinds = kinds or self.random.choice(("q", "s", "qs", "qs", "m", "m", "qsm", "b", "b"))
        self.retained_level = self.random.choice((FSYNC, FLUSH, MEMORY))
        self.clients = clients_class(self.random, self.kinds)
        self.disk = disk_class(self.random.getrandbits(64))
        self.now = START_MS
        self.images: dict[int, Image] | None = None
        self.end = End(True, 0)
        self.least = 0
        self.last: deque[str] = deque(maxlen=LAST_STEPS)
        self.actions: list[tuple[Callable[[], str], float]] = [
            (self.command, 60),
            (self.turn, 18),
            (self.step, 12),
            (self.some_time, 7),
        ]
        if compacts:
            self.actions.append((self.compact, 2))
        if faults:
            self.actions += [
                (self.much_time, 0.4),
                (self.rest, 0.5),
                (self.end_now, 0.5),
                (self.end_soon, 0.7),
                (self.stop, 0.2),
                (self.fail_a_sync, 0.15),
                (self.fill_the_disk, 0.4),
                (self.make_room, 1),
            ]
        self.start()

    def run(self, steps: int = STEPS) -> None:
        self.tally.seeds += 1
        for _ in range(steps):
            self.go()
        self.rest_and_end()

    def go(self) -> None:
        """One step, and what follows from it."""
        try:
            self.act()
        except Crash:
            self.ended(self.random.random() < 0.7)

    def act(self) -> None:
        """One step. Crash: the process has ended in it."""
        self.tally.steps += 1
        actions, weights = zip(*self.actions, strict=True)
        (action,) = self.random.choices(actions, weights)
        self.last.append(action.__name__)
        self.last[-1] += f": {action()}"
        self.clients.look()

    # Lives.

    def start(self) -> None:
        """Bring the node back, however often that takes."""
        while True:
            try:
                self.life = self.life_class(
                    self.disk, self.now, self.seed, self.images, self.writer_class, self.retained_level
                )
                self.life.check_recovered(self.least)
                self.images = self.life.images
                self.life.claim()
                break
            except Crash:
                self.end = End(True, self.end.synced, self.end.back)
                self.least = self.end.synced
                self.disk = self.disk.crash()
        self.disk.faults.crash_at = 0
        self.clients.start(self.life)
        self.clients.restarted(self.end)

    def ended(self, power: bool) -> None:
        """The process has ended: what comes next, on the same disk or on what a power cut left."""
        self.clients.look()
        self.tally.power_cuts += power
        self.tally.kills += not power
        log = self.life.log
        # What a failed sync has left in the cache is as good as lost.
        ms = self.random.choice((1, 20, 2_000, 2_000, DAY_MS, -2_000, -DAY_MS))
        self.end = End(power or log.fenced, int(log.synced), ms < 0)
        self.least = int(log.synced if self.end.power else log.written)
        self.images = self.life.images
        self.now = self.life.now + ms
        self.disk = self.disk.crash() if power else self.disk.kill()
        if self.random.random() < 0.2:
            self.disk.faults.crash_at = self.random.randint(1, 8)
        self.last.append(
            f"{'power cut' if power else 'kill'}: batches {log.synced} {log.written} {log.batch}"
        )
        self.start()

    # What happens.

    def command(self) -> str:
        self.tally.commands += 1
        return self.clients.command()

    def turn(self) -> str:
        turns = self.life.turn()
        return f"{turns}, batch {self.life.log.batch - 1}"

    def step(self) -> str:
        self.life.step()
        return f"{self.life.log.written} written, {self.life.log.synced} synced"

    def some_time(self) -> str:
        return self.pass_time(self.random.choice((1, 10, 50, 100, 600, 3_000)))

    def much_time(self) -> str:
        return self.pass_time(self.random.choice((40_000, 3_600_000, 20 * 24 * 3_600_000)))

    def pass_time(self, ms: int) -> str:
        self.life.turn()
        self.life.driver.time_ms += ms
        self.life.advance()
        self.life.turn()
        return f"{ms} ms"

    def rest(self) -> str:
        self.life.rest()
        return ""

    def rest_and_end(self) -> None:
        """Heal what can heal, let everything come to its end, and look once more after a restart."""
        self.disk.faults = Faults()
        self.pass_time(1_000)
        self.rest()
        self.clients.look()
        self.ended(self.random.random() < 0.5)

    def end_now(self) -> str:
        raise Crash

    def end_soon(self) -> str:
        """At one of the next calls to the disk."""
        self.disk.faults.crash_at = self.disk.calls + self.random.randint(1, 12)
        return f"at call {self.disk.faults.crash_at}"

    def stop(self) -> str:
        self.life.stop()
        self.tally.stops += 1
        raise Crash

    def fail_a_sync(self) -> str:
        self.tally.failed_syncs += 1
        self.disk.faults.fail_sync_at = self.disk.syncs + self.random.randint(1, 5)
        self.disk.faults.error = errno.EIO
        return ""

    def fill_the_disk(self) -> str:
        self.tally.full_disks += 1
        used = sum(self.disk.size(name) for name in self.disk.names())
        self.disk.faults.capacity = used + self.random.choice((1, 100, 1_000, 5_000))
        return ""

    def make_room(self) -> str:
        self.disk.faults.capacity = 0
        return ""

    def compact(self) -> str:
        removed = self.life.compact()
        if removed is None:
            return self.life.housekeeper.state
        moving = self.life.node.cleaner.moving
        moved, moving.bytes = int(moving.bytes), 0
        self.tally.compactions += 1
        self.tally.cleanings += moved > 0
        return f"{moved} bytes were moved, removed {removed}"


def simulate(seed: int, tally: Tally, steps: int = STEPS) -> list[str]:
    """Run a seed; what went wrong with the steps before it, or nothing."""
    world: World | None = None
    try:
        world = World(seed, tally)
        world.run(steps)
    except Exception as error:
        last = list(world.last) if world else []
        where = traceback.format_tb(error.__traceback__)[-3:]
        return [*last, *where, f"{type(error).__name__}: {str(error)[:2_000]}"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulates a whole node from a seed, with faults.")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default %(default)s)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--first", type=int, help="the first seed (default: from the clock)")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each seed (default %(default)s)")
    given = parser.parse_args()
    tally = Tally()
    until = time.monotonic() + given.seconds
    seed = given.seed if given.seed is not None else given.first
    if seed is None:
        seed = time.time_ns() % 1_000_000_000
    print(f"from seed {seed}, {given.steps} steps each")
    while True:
        wrong = simulate(seed, tally, given.steps)
        if wrong:
            print("\n".join(wrong))
            print(
                f"seed {seed} fails: python -m tests.simulation.simulate --seed {seed} --steps {given.steps}"
            )
            print(tally)
            return 1
        seed += 1
        if given.seed is not None or time.monotonic() > until:
            print(tally)
            return 0


if __name__ == "__main__":
    sys.exit(main())
