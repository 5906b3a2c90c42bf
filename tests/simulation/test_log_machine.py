"""Hypothesis drives a log over the simulated disk: batches, rounds, time, rolls, snapshots, crashes, full disks.

The model is a list: what was sent and not refused, in order. After a crash the log must hold a beginning of it
that goes at least as far as the last operation that was confirmed at its level.
"""

from __future__ import annotations

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.storage.format import operation
from nexo.storage.verify import inspect
from nexo.storage.writer import Writer
from tests.simulation.disk import Disk
from tests.simulation.run import KIND, Run, snapshot_now

FILE_BYTES = 600


class LogMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed: int) -> None:
        self.disk = Disk(seed)
        self.kept: list[bytes] = []  # what an earlier run has recovered
        self.count = 0
        self.run = Run(self.disk, Writer, FILE_BYTES)

    @rule(
        levels=st.lists(st.sampled_from([MEMORY, FLUSH, FSYNC]), min_size=1, max_size=4),
        size=st.integers(0, 700),
    )
    def turn(self, levels: list[int], size: int) -> None:
        for level in levels:
            self.count += 1
            self.run.append(b"%d:" % self.count + bytes(size), level)
        self.run.close()

    @rule(body=st.binary(max_size=20))
    def leave_a_batch_open(self, body: bytes) -> None:
        self.count += 1
        self.run.append(b"%d:" % self.count + body, FSYNC)

    @rule(ms=st.sampled_from([0, 20, 60]))
    def step(self, ms: int) -> None:
        self.run.step(ms)

    @precondition(lambda self: not self.run.log.full)
    @rule()
    def fill_the_disk(self) -> None:
        self.disk.faults.fail_write_at, self.disk.faults.error = self.disk.writes + 1, errno.ENOSPC

    @precondition(lambda self: self.run.log.full)
    @rule()
    def make_room(self) -> None:
        assert self.run.log.try_again()

    @rule()
    def snapshot(self) -> None:
        self.run.close()
        self.run.log.sync()
        self.run.step()
        if self.run.log.full:
            return
        taken = snapshot_now(self.disk, self.run.log)
        if self.run.log.synced < taken.batch:
            taken.abort()  # the disk has just become full
            return
        for body in self.model():
            taken.add(operation(KIND, body))
        taken.finish({sent.address >> 32 for sent in self.run.sent if not sent.failed})

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        before = self.run
        self.disk = self.disk.crash() if power else self.disk.kill()
        self.run = Run(self.disk, Writer, FILE_BYTES)
        model = self.model(before)
        assert self.run.bodies == model[: len(self.run.bodies)]
        level = FSYNC if power else FLUSH
        surely = [
            sent.body for sent in before.sent if sent.synced or (sent.confirmed and sent.level >= level)
        ]
        assert len(self.run.bodies) >= len(self.kept)
        assert set(surely) <= set(self.run.bodies)
        assert inspect(self.disk).problems == []
        self.kept = self.run.bodies

    @rule()
    def stop(self) -> None:
        self.run.close()
        self.run.step()
        if self.run.log.full:
            self.run.log.try_again()
        before = self.run
        self.disk.faults.fail_write_at = 0
        self.run.stop()
        self.disk = self.disk.crash()
        self.run = Run(self.disk, Writer, FILE_BYTES)
        assert self.run.bodies == self.model(before)
        self.kept = self.run.bodies

    def model(self, run: Run | None = None) -> list[bytes]:
        return [*self.kept, *[sent.body for sent in (run or self.run).sent if not sent.failed]]

    @invariant()
    def everything_that_was_not_refused_can_be_read(self) -> None:
        if not hasattr(self, "run"):
            return
        for sent in self.run.sent:
            if not sent.failed:
                assert self.run.log.read(sent.address, len(sent.body)) == sent.body

    @invariant()
    def nothing_is_confirmed_and_refused(self) -> None:
        if hasattr(self, "run"):
            assert not [
                sent for sent in self.run.sent if sent.failed and sent.confirmed and sent.level > MEMORY
            ]


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
