"""Power cuts at every call, for N = 1, 2, 3 …, with torn writes: what was confirmed is there afterwards.

The checker is shown to work by a writer that confirms without a sync.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from random import Random

import pytest

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.storage.format import operation
from nexo.storage.writer import Writer
from tests.simulation.disk import Crash, Disk, Faults
from tests.simulation.run import KIND, LEVELS, Run, Sent, snapshot_now

FILE_BYTES = 700
"""Small, so that a short history has several files."""


class NeverSyncs(Writer):
    """Confirms what is only written."""

    def _sync_file(self, handle: int) -> None:
        pass


class SyncsNoFolder(Disk):
    """A disk whose user forgets to sync the folder."""

    def sync_folder(self) -> None:
        pass


def history(run: Run, seed: int) -> Iterator[None]:
    """A few turns of a node; stops after each, so that the caller may end it anywhere."""
    random = Random(seed)
    for turn in range(12):
        for number in range(random.randint(1, 3)):
            size = random.choice([1, 30, 200, 1500])
            run.append(b"%d.%d:" % (turn, number) + random.randbytes(size), random.choice(LEVELS))
        run.close()
        if random.random() < 0.6:
            run.step(random.choice([0, 10, 60]))
        yield
    run.stop()


def check(sent: list[Sent], after: Run, level: int) -> None:
    """What was confirmed at a level or above is there; what is there was sent, in order and without gaps."""
    bodies = [item.body for item in sent]
    assert after.bodies == bodies[: len(after.bodies)]
    for item in sent:
        if item.confirmed and item.level >= level:
            assert item.body in after.bodies, f"{item.body[:9]!r} was confirmed and is gone"
        if item.synced:
            assert item.body in after.bodies, f"{item.body[:9]!r} was synced and is gone"
    for item in sent[: len(after.bodies)]:
        assert after.log.read(item.address, len(item.body)) == item.body


def crashed(seed: int, crash_at: int, writer: type[Writer], disk_class: type[Disk], kill: bool) -> bool:
    """Run the history up to a crash, restart, check, go on, restart again. False: it ended before the crash."""
    disk = disk_class(seed, Faults(crash_at=crash_at))
    sent: list[Sent] = []
    ended = False
    try:
        run = Run(disk, writer, FILE_BYTES)
        sent = run.sent
        for _ in history(run, seed):
            pass
        ended = True
    except Crash:
        pass
    again = disk.kill() if kill else disk.crash()
    level = FLUSH if kill else FSYNC
    after = Run(again, Writer, FILE_BYTES)
    check(sent, after, level)
    more = after.write(b"after the crash")
    assert more.confirmed
    last = Run(again.crash(), Writer, FILE_BYTES)
    assert last.bodies == [*after.bodies, b"after the crash"]
    return not ended


def crash_everywhere(seed: int, writer: type[Writer], disk: type[Disk] = Disk, kill: bool = False) -> int:
    crash_at = 1
    while crashed(seed, crash_at, writer, disk, kill):
        crash_at += 1
    return crash_at


def crash_everywhere_often(writer: type[Writer], disk: type[Disk] = Disk) -> None:
    for seed in range(5):
        crash_everywhere(seed, writer, disk)


@pytest.mark.parametrize("seed", range(12))
def test_a_power_cut_at_every_call(seed: int) -> None:
    assert crash_everywhere(seed, Writer) > 20


@pytest.mark.parametrize("seed", range(4))
def test_sigkill_at_every_call(seed: int) -> None:
    assert crash_everywhere(seed, Writer, kill=True) > 20


def test_the_checker_finds_a_missing_sync() -> None:
    with pytest.raises(AssertionError, match="is gone"):
        crash_everywhere_often(NeverSyncs)


def test_the_checker_finds_a_missing_sync_of_the_folder() -> None:
    with pytest.raises(AssertionError, match="is gone"):
        crash_everywhere_often(Writer, SyncsNoFolder)


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_at_every_call_of_a_snapshot(seed: int) -> None:
    """Before or after: never in between, and what came after the snapshot is there, too."""
    crash_at = 1
    ended = False
    while not ended:
        disk = Disk(seed)
        run = Run(disk, Writer, 100)
        for number in range(6):
            run.write(b"%d" % number)
        disk.calls, disk.faults.crash_at = 0, crash_at
        confirmed = False
        try:
            snapshot = snapshot_now(disk, run.log)
            snapshot.add(b"".join([operation(KIND, b"%d" % number) for number in range(6)]))
            confirmed = run.write(b"late").confirmed
            snapshot.finish(set())
            run.write(b"later")
            ended = True
        except Crash:
            pass
        after = Run(disk.crash(), Writer, 100)
        expected = [b"%d" % number for number in range(6)]
        assert after.bodies[:6] == expected
        assert after.bodies[6:] in ([], [b"late"], [b"late", b"later"])
        assert len(after.bodies) > 6 or not confirmed
        crash_at += 1
    assert after.report.snapshot_batch == 6
    assert crash_at > 10


@pytest.mark.parametrize("fail_at", range(1, 12))
def test_after_a_failed_sync_nothing_is_confirmed(fail_at: int) -> None:
    """P7: neither this batch nor a later one, though later syncs would succeed; reading goes on."""
    disk = Disk(fail_at, Faults(fail_sync_at=fail_at))
    run = Run(disk, Writer, 300)
    first_failed = None
    for number in range(12):
        sent = run.write(b"%d" % number + bytes(60), LEVELS[1 + number % 2])
        if run.log.fenced and first_failed is None:
            first_failed = number
        if first_failed is not None and sent.level == FSYNC:
            assert not sent.confirmed
        if first_failed is not None and number > first_failed:
            assert sent.failed
            assert not sent.confirmed
        run.step(100)
    assert first_failed is not None
    assert run.log.fenced
    assert not run.log.try_again()
    syncs = disk.syncs
    run.write(b"more")
    run.writer.close()
    assert disk.syncs == syncs, "synced again"
    assert not any(failure.recoverable for failure in run.failures)
    for sent in run.sent:
        if sent.confirmed:
            assert run.log.read(sent.address, len(sent.body)) == sent.body
    check([sent for sent in run.sent if not sent.failed], Run(disk.crash(), Writer, 300), FSYNC)


def test_a_restart_does_not_trust_the_cache_after_a_failed_sync() -> None:
    """The pages of a failed sync look written; what recovery serves has to be on disk."""
    disk = Disk(1)
    run = Run(disk)
    run.write(b"good")
    disk.faults.fail_sync_at = disk.syncs + 1
    assert run.write(b"in the cache alone").failed
    after = Run(disk.kill())
    assert after.bodies == [b"good"]
    assert len(after.report.cuts) == 1
    assert after.write(b"better").confirmed
    assert Run(disk.crash()).bodies in ([b"good"], [b"good", b"better"])


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_write_that_fails_for_good_fences(fail_at: int) -> None:
    disk = Disk(fail_at, Faults(fail_write_at=fail_at))
    run = Run(disk, Writer, 200)
    for number in range(9):
        run.write(b"%d" % number + bytes(40))
    assert run.log.fenced
    assert run.failures[0].recoverable is False
    check([sent for sent in run.sent if not sent.failed], Run(disk.crash(), Writer, 200), FSYNC)


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_full_disk_heals(fail_at: int) -> None:
    """P6: nothing of the failed batch is confirmed or there; the next ones go to a new file."""
    disk = Disk(fail_at, Faults(fail_write_at=fail_at, error=errno.ENOSPC))
    run = Run(disk, Writer, 200)
    for number in range(9):
        sent = run.write(b"%d" % number + bytes(40))
        if run.log.full:
            assert sent.failed
            assert run.failures[-1].recoverable
            assert run.failures[-1].first_batch == sent.batch
            assert [batch.number for batch in run.failures[-1].lost] == [sent.batch]
            assert sent.body in run.failures[-1].lost[0].payload
            assert run.write(b"refused").failed
            assert run.log.try_again()
    assert len(run.failures) == 2
    good = [sent for sent in run.sent if not sent.failed]
    assert all(sent.confirmed for sent in good)
    assert len(good) == 8
    check(good, Run(disk.crash(), Writer, 200), FSYNC)


def test_batches_behind_a_failed_one_fail_with_it() -> None:
    disk = Disk(1)
    run = Run(disk)
    run.write(b"first")
    disk.faults.fail_write_at, disk.faults.error = disk.writes + 1, errno.ENOSPC
    doomed = [run.append(b"one")]
    run.close()
    doomed.append(run.append(b"two"))
    run.close()
    # The log does not know yet: these go to the queue, and the open batch has an address, too.
    queue, run.sink.queue = run.sink.queue, []
    doomed.append(run.append(b"three"))
    run.close()
    late, run.sink.queue = run.sink.queue, queue
    doomed.append(run.append(b"open"))
    run.step()
    assert all(sent.failed for sent in doomed)
    assert [batch.number for batch in run.failures[0].lost] == [2, 3, 4, 5]
    assert run.log.pending_bytes == 0
    assert run.log.try_again()
    run.sink.queue = late
    again = run.append(b"again")
    run.close()
    run.step()
    assert again.confirmed
    assert again.batch == 2
    assert len(run.failures) == 1
    assert Run(disk.crash()).bodies == [b"first", b"again"]


def test_the_reserve_is_for_what_frees_room() -> None:
    disk = Disk(1)
    run = Run(disk)
    run.write(b"message")
    disk.faults.capacity = sum(map(disk.size, disk.names())) + 10
    assert run.write(bytes(100)).failed
    assert run.log.full
    assert not run.log.try_again()
    acks = [run.write(b"ack", essential=True) for _ in range(100)]
    assert all(ack.confirmed for ack in acks)
    assert run.write(bytes(100)).failed
    assert "reserve" not in disk.names()
    assert not run.log.try_again()
    disk.faults.capacity = 0
    assert run.log.try_again()
    assert "reserve" in disk.names()
    assert run.write(b"goes on").confirmed
    assert Run(disk.crash()).bodies == [b"message", *[b"ack"] * 100, b"goes on"]


def test_the_reserve_helps_at_the_first_failure_too() -> None:
    disk = Disk(1)
    run = Run(disk)
    run.write(b"message")
    disk.faults.capacity = sum(map(disk.size, disk.names())) + 10
    assert run.write(b"ack", essential=True).confirmed
    assert Run(disk.crash()).bodies == [b"message", b"ack"]


def test_levels_wait_for_what_they_promise() -> None:
    run = Run(Disk(1))
    memory, flush = run.append(b"m", MEMORY), run.append(b"f", FLUSH)
    run.close()
    assert run.log.settled(memory.batch, MEMORY)
    assert not run.log.settled(flush.batch, FLUSH)
    run.step()
    assert flush.confirmed
    assert not run.log.settled(flush.batch, FSYNC)
    run.step(49)
    assert run.log.synced == 0
    run.step(1)
    assert run.log.synced == flush.batch
    assert run.writer.due_ms == 0
    number = run.log.sync()
    run.step()
    assert run.log.synced == number == flush.batch + 1
