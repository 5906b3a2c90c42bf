"""Batches across brokers over a disk that fails: each is there whole or not at all, and whole once it was confirmed.

A worker takes job after job; for each one batch acks it, pushes a result, appends an event, and counts in the
store. The power goes at every call to the disk, N = 1, 2, 3 …; or a sync fails, or there is no room for a while.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from nexo.brokers.batch.queuesteps import AckStep, PushStep
from nexo.brokers.batch.steps import Step as BatchStep
from nexo.brokers.batch.storesteps import StepCounter
from nexo.brokers.batch.streamsteps import AppendStep
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.lending import RELEASE
from nexo.brokers.queue.message import Item
from nexo.errors import StorageError
from nexo.node import Node
from tests.brokers.batchkit import number
from tests.simulation.disk import Crash, Disk, Faults
from tests.simulation.model import Step
from tests.simulation.node import Life

START_MS = 1_700_000_000_000
JOBS = 12
JOBS_QUEUE, RESULTS, EVENTS = b"jobs", b"results", b"events"


@dataclass
class Told:
    """What the worker was told of its batches, by job."""

    steps: dict[int, Step]


class Worker:
    """One client of one life."""

    def __init__(self, life: Life, told: Told) -> None:
        self.life = life
        self.told = told
        self.session = life.session()
        self.consumer = Consumer()

    @property
    def node(self) -> Node:
        return self.life.node

    def set_up(self) -> None:
        now = self.node.begin()
        given = {"max_deliveries": 100, "backoff": "none"}
        queues = [self.node.queues.create(name, dict(given), now)[0] for name in (JOBS_QUEUE, RESULTS)]
        self.node.streams.create(EVENTS, {}, now)
        for job in range(JOBS):
            queues[0].push(b"%d" % job, 0, now)
        self.life.rest()

    def history(self) -> Iterator[None]:
        """Work until there is nothing left; stops after each step, so that the caller may look."""
        for turn in range(5 * JOBS):
            jobs = self.node.queues.find(JOBS_QUEUE)
            now = self.node.begin()
            for delivery in jobs.receive(1 + turn % 2, self.consumer, now):
                self.batch(int(delivery.message.value), (delivery.message.id, delivery.token))
            self.life.turn()
            if turn % 3 != 1:
                self.life.step()
            self.life.driver.time_ms += 30
            yield
        self.life.rest()
        yield

    def batch(self, job: int, lease: tuple[int, int]) -> None:
        node = self.node
        steps: list[BatchStep] = [
            StepCounter(node.store, b"done", 1),
            PushStep(node.queues.find(RESULTS), [Item(b"%d" % job)]),
            AppendStep(node.streams.find(EVENTS), [(b"", b"%d" % job, b"")]),
            AckStep(node.queues.find(JOBS_QUEUE), [lease[0]], [lease[1]]),
        ]
        try:
            level = node.carry_out([], steps)
        except StorageError:
            node.queues.find(JOBS_QUEUE).nack(*lease, b"", RELEASE, 0, node.now)
            return
        step = Step(int(level), int(node.journal.batch))
        self.told.steps[job] = step
        self.life.hold(self.session, job + 1, step)


def values(node: Node, queue: bytes) -> list[int]:
    live = node.queues.find(queue)
    return [int(live.view(one).value) for one in live.parts.backlog.index.after(0, 1_000)]


def events(node: Node) -> list[int]:
    stream = node.streams.find(EVENTS)
    found = []
    for seq in range(int(stream.first_seq), int(stream.last_seq) + 1):
        (run,) = stream.read(seq, 1, 1 << 20).runs
        record = run.block[run.start : run.end]
        found.append(int(record[14 : 10 + 4 + int.from_bytes(record[10:14], "big")]))
    return found


def check_whole(node: Node, told: Told) -> set[int]:
    """Every job is a job, or a result and an event; which are done."""
    jobs, results, appended = values(node, JOBS_QUEUE), values(node, RESULTS), events(node)
    assert sorted(results) == sorted(appended) == sorted(set(results))
    assert sorted(jobs + results) == list(range(JOBS))
    for job, step in told.steps.items():
        assert not (step.confirmed and job in jobs), f"the batch of job {job} was confirmed, and is gone"
    return set(results)


def work_until_the_end(disk: Disk, told: Told) -> None:
    """Another life, without faults, finishes what is left."""
    life = Life(disk, START_MS + 1_000_000)
    check_whole(life.node, told)
    for _ in Worker(life, told).history():
        pass
    assert check_whole(life.node, told) == set(range(JOBS))


def crashed(seed: int, crash_at: int, kill: bool) -> bool:
    """Work up to a crash, then finish the work. False: the work had ended before."""
    disk, told = Disk(seed), Told({})
    life = Life(disk, START_MS)
    worker = Worker(life, told)
    worker.set_up()
    disk.faults.crash_at = disk.calls + crash_at
    ended = False
    try:
        for _ in worker.history():
            life.collect(worker.session)
            if not told_all(told):
                continue
            ended = True
            break
    except Crash:
        life.collect(worker.session)
    disk.faults = Faults()
    work_until_the_end(disk.kill() if kill else disk.crash(), told)
    return not ended


def told_all(told: Told) -> bool:
    return len(told.steps) == JOBS and all(step.confirmed for step in told.steps.values())


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_or_a_kill_at_every_call(seed: int, kill: bool) -> None:
    crash_at = 1
    while crashed(seed, crash_at, kill):
        crash_at += 1
    assert crash_at > 15


@pytest.mark.parametrize("fail_at", range(1, 7))
def test_a_failed_sync(fail_at: int) -> None:
    """What was not confirmed is undone at once, whole; after a restart it is there whole, or not."""
    disk, told = Disk(fail_at), Told({})
    life = Life(disk, START_MS)
    worker = Worker(life, told)
    worker.set_up()
    disk.faults.fail_sync_at = disk.syncs + fail_at
    disk.faults.error = errno.EIO
    for _ in worker.history():
        life.collect(worker.session)
    confirmed = {job for job, step in told.steps.items() if step.confirmed}
    assert life.log.fenced == (not told_all(told))
    assert check_whole(life.node, told) == confirmed
    counted = life.node.store.get(b"done", life.now)
    assert counted == (number(len(confirmed)) if confirmed else None)
    disk.faults = Faults()
    work_until_the_end(disk.crash(), told)


@pytest.mark.parametrize("room", [1, 60, 150, 300, 500, 900])
def test_no_room_for_a_while(room: int) -> None:
    disk, told = Disk(room), Told({})
    life = Life(disk, START_MS)
    worker = Worker(life, told)
    worker.set_up()
    disk.faults.capacity = sum(disk.size(name) for name in disk.names()) + room
    refused = 0
    for place, _ in enumerate(worker.history()):
        life.collect(worker.session)
        refused += sum(step.refused for step in told.steps.values())
        if place == 12:
            disk.faults.capacity = 0
        life.driver.time_ms += 200
        life.advance()
        if not life.node.batches and not life.sink.queue:
            check_whole(life.node, told)
    assert refused > 0
    life.rest()
    life.collect(worker.session)
    assert check_whole(life.node, told) == set(range(JOBS))
    assert life.node.store.get(b"done", life.now) == number(JOBS)
    work_until_the_end(disk.crash(), told)
