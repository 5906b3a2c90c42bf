"""The log over real files: addresses, levels, rolling, reading wherever a batch is, the thread, an orderly end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from random import Random

import pytest

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.errors import StorageError
from nexo.limits import FLUSH_MS_MAX, RESERVE_BYTES, WRITE_AT_ONCE_MS_MAX, WRITE_PAUSE_MS_MIN
from nexo.storage.batch import Batch, Hooks, Report
from nexo.storage.files import PARTS_MAX, Files
from nexo.storage.format import OFFSET_BITS, log_name, operations
from nexo.storage.log import BUFFER_KEPT_BYTES, Log
from nexo.storage.recovery import Recovery
from nexo.storage.thread import ThreadedWriter
from nexo.storage.writer import Writer
from tests.simulation.run import Run, Sent


def test_an_address_holds_wherever_the_batch_is(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)), file_bytes=200)
    sent = []
    for number in range(20):
        sent += [run.append(b"%d-%d" % (number, i), FLUSH) for i in range(3)]
        read(run, sent)
        run.close()
        read(run, sent)
        if number % 3 == 0:
            run.step()
            read(run, sent)
    run.step()
    files = {item.address >> OFFSET_BITS for item in sent}
    assert files == set(range(1, 1 + len(files)))
    assert len(files) > 4
    read(run, sent)
    run.stop()
    after = Run(Files(str(tmp_path)))
    read(after, sent)
    assert after.bodies == [item.body for item in sent]
    addresses = [item.address + start for item in after.replayed for _, start, _ in operations(item.payload)]
    assert addresses == [item.address for item in sent]
    after.stop()


def read(run: Run, sent: list[Sent]) -> None:
    for item in sent:
        assert run.log.read(item.address, len(item.body)) == item.body


def test_what_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    sent = run.write(b"body")
    waiting = run.append(b"waiting")
    run.close()
    last = run.append(b"open")
    for item in (sent, waiting, last):
        with pytest.raises(StorageError):
            run.log.read(item.address, 1000)
    with pytest.raises(StorageError, match=log_name(0)):
        run.log.read(5, 1)
    with pytest.raises(StorageError):
        run.log.read(sent.address + (1 << 20), 1)


def test_an_empty_turn_writes_nothing(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    run.close()
    run.step()
    run.log.finish()
    assert run.sink.queue == []
    assert run.log.batch == 1
    assert Files(str(tmp_path)).names() == ["lock", "reserve"]
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES


def test_pending_bytes_are_what_is_not_written(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    for _ in range(3):
        run.append(bytes(1000), MEMORY)
        run.close()
    assert 3000 < run.log.pending_bytes < 3200
    run.step()
    assert run.log.pending_bytes == 0


def test_a_large_batch_gives_its_buffer_back(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    small = run.log.out
    run.write(b"x")
    assert run.log.out is small
    sent = run.append(bytes(BUFFER_KEPT_BYTES + 1))
    run.close()
    assert run.log.out is not small
    run.append(b"y")
    run.close()
    run.step()
    assert run.log.read(sent.address, len(sent.body)) == sent.body
    run.stop()
    assert len(Run(Files(str(tmp_path))).bodies) == 3


def test_more_pieces_than_one_call_may_gather(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    random = Random(1)
    for _ in range(PARTS_MAX + 10):
        run.append(random.randbytes(random.randint(0, 40)))
        run.close()
    run.step()
    run.stop()
    assert Run(Files(str(tmp_path))).bodies == [item.body for item in run.sent]


def test_all_that_waits_is_one_write_and_one_sync(tmp_path: Path) -> None:
    class Counting(Files):
        appended = synced = 0

        def append(self, handle: int, parts: list[bytes]) -> None:
            self.appended += 1
            super().append(handle, parts)

        def sync(self, handle: int) -> None:
            self.synced += 1
            super().sync(handle)

    files = Counting(str(tmp_path))
    run = Run(files)
    run.write(b"the header, too")
    before = files.appended, files.synced
    sent = []
    for number in range(50):
        sent.append(run.append(b"%d" % number))
        run.close()
    run.step()
    assert all(item.confirmed for item in sent)
    assert (files.appended, files.synced) == (before[0] + 1, before[1] + 1)


class Collecting(Hooks):
    """What went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        self.failures.append(error)


class Threaded:
    """A log with its thread; `pump` stands for the loop, which takes the reports in its own thread."""

    def __init__(
        self,
        files: Files,
        writer_class: type[Writer] = Writer,
        now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        call_later: Callable[[int], None] | None = None,
    ) -> None:
        files.make_folder()
        files.lock()
        recovery = Recovery(files)
        self.bodies = [
            item.payload[start:end]
            for item in recovery.replay()
            for _, start, end in operations(item.payload)
        ]
        self.hooks = Collecting()
        self.reports: SimpleQueue[Report] = SimpleQueue()
        writer = writer_class(files, recovery.start, self.reports.put)
        self.thread = ThreadedWriter(writer, now_ms, call_later)
        self.log = Log(files, self.hooks)
        self.log.go_on(self.thread, recovery.start)
        self.thread.start()

    def pump(self) -> None:
        """Wait for a report."""
        self.log.settle(self.reports.get(timeout=10))

    def stop(self) -> None:
        self.thread.stop()
        while not self.reports.empty():
            self.pump()

    def append(self, body: bytes, level: int, urgent: bool = False) -> int:
        out = self.log.begin(0x10, level)
        out.write(body)
        self.log.end()
        self.log.urgent = urgent
        number = self.log.batch
        self.log.close_batch()
        return number

    def wait(self, batch: int, level: int) -> None:
        while not self.log.settled(batch, level):
            self.pump()
        assert self.hooks.failures == []


@pytest.mark.parametrize("level", [FLUSH, FSYNC])
def test_the_thread_confirms(tmp_path: Path, level: int) -> None:
    run = Threaded(Files(str(tmp_path)))
    for number in range(20):
        run.wait(run.append(b"%d" % number, level), level)
    # Level flush is synced by the thread itself, without being asked again.
    run.wait(run.append(b"last", level), FSYNC)
    run.log.finish()
    run.stop()


def test_the_thread_takes_everything_in_order(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    run = Threaded(files)
    random = Random(2)
    bodies = [b"%d:" % number + bytes(random.randint(0, 300)) for number in range(3000)]
    for body in bodies:
        run.append(body, random.choice([MEMORY, FLUSH, FSYNC]))
    run.log.finish()
    run.stop()
    assert run.log.synced == run.log.batch - 1 == len(bodies) + 1
    assert run.log.pending_bytes == 0
    files.unlock()
    assert Threaded(Files(str(tmp_path))).bodies == bodies


def test_stopping_drains(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    run = Threaded(files)
    numbers = [run.append(b"%d" % number, MEMORY) for number in range(100)]
    run.stop()
    assert run.log.synced == numbers[-1]


def test_a_fault_at_the_very_end_does_not_hang(tmp_path: Path) -> None:
    class Broken(Writer):
        def close(self) -> None:
            raise RuntimeError("a fault of ours")

    run = Threaded(Files(str(tmp_path)), Broken)
    run.append(b"confirmed", FSYNC)
    run.stop()
    assert run.log.synced == 1
    assert run.log.fenced


def test_a_fault_of_the_writer_fences_and_tells(tmp_path: Path) -> None:
    class Broken(Writer):
        def _sync_file(self, handle: int) -> None:
            raise RuntimeError("a fault of ours")

    run = Threaded(Files(str(tmp_path)), Broken)
    run.append(b"doomed", FSYNC)
    run.pump()
    assert "a fault of ours" in run.hooks.failures[0]
    assert run.log.fenced
    run.append(b"refused", FSYNC)
    assert len(run.hooks.failures) == 2
    run.stop()


def test_what_is_urgent_is_written_while_a_sync_runs(tmp_path: Path) -> None:
    """With what waits before it; and what is not, is told of once, when it is on disk."""
    began, let_end = threading.Semaphore(0), threading.Semaphore(0)

    class Slow(Writer):
        def _sync_file(self, handle: int) -> None:
            began.release()
            assert let_end.acquire(timeout=10)
            super()._sync_file(handle)

    run = Threaded(Files(str(tmp_path)), Slow)
    run.append(b"one", FSYNC)
    assert began.acquire(timeout=10)
    run.append(b"two", FSYNC)
    assert run.reports.empty()
    run.append(b"three", FSYNC, urgent=True)
    run.log.settle(run.reports.get_nowait())
    assert (run.log.written, run.log.synced) == (3, 0)
    let_end.release()
    run.pump()
    assert (run.log.written, run.log.synced) == (3, 1)
    let_end.release(8)
    run.wait(3, FSYNC)
    run.append(b"four", FSYNC)
    run.pump()
    assert (run.log.written, run.log.synced) == (4, 4)
    run.stop()


def test_a_disk_that_takes_long_to_write_to_is_left_to_the_thread(tmp_path: Path) -> None:
    """For a second, then for two, and so on; until a write is quick again."""
    now_ms = 1_000
    write_ms = 0
    wrote: list[bool] = []

    class Throttled(Files):
        def append(self, handle: int, parts: list[bytes]) -> None:
            nonlocal now_ms
            now_ms += write_ms
            wrote.append(threading.get_ident() == mine)
            super().append(handle, parts)

    def write(ms_later: int, takes_ms: int) -> bool:
        """Whether it was written by the one who submits."""
        nonlocal now_ms, write_ms
        now_ms, write_ms = now_ms + ms_later, takes_ms
        if wrote and not wrote[-1]:
            time.sleep(0.01)  # the thread tells of a write an instant before it rests
        run.wait(run.append(b"body", MEMORY), FLUSH)
        return wrote[-1]

    mine = threading.get_ident()
    run = Threaded(Throttled(str(tmp_path)), Writer, lambda: now_ms)
    assert not write(0, 0)  # a new file is the thread's
    assert write(0, WRITE_AT_ONCE_MS_MAX - 1)
    assert write(0, WRITE_AT_ONCE_MS_MAX)
    assert not write(0, 0)
    assert not write(WRITE_PAUSE_MS_MIN - 1, 0)
    assert write(1, WRITE_AT_ONCE_MS_MAX)
    assert not write(2 * WRITE_PAUSE_MS_MIN - 1, 0)
    assert write(1, 0)
    assert write(0, WRITE_AT_ONCE_MS_MAX)
    assert not write(WRITE_PAUSE_MS_MIN - 1, 0)
    assert write(1, 0)
    run.stop()


class Aside(Threaded):
    """A log whose flushes are synced aside; `tick` stands for the loop's timer."""

    def __init__(self, files: Files, now_ms: Callable[[], int]) -> None:
        self.wanted: list[int] = []
        super().__init__(files, Writer, now_ms, self.wanted.append)

    def tick_until_synced(self, batch: int) -> None:
        deadline = time.monotonic() + 10
        while self.log.synced < batch:
            self.thread.tick()
            while not self.reports.empty():
                self.pump()
            assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform != "linux", reason="only there is a layout of aio_fsync known")
def test_a_flush_is_synced_aside_and_by_nobody_else(tmp_path: Path) -> None:
    now_ms = 1_000
    threads: list[int] = []

    class Watched(Files):
        def sync(self, handle: int) -> None:
            threads.append(threading.get_ident())
            super().sync(handle)

    run = Aside(Watched(str(tmp_path)), lambda: now_ms)
    run.wait(run.append(b"the file is there", FSYNC), FSYNC)
    threads.clear()
    for number in range(5):
        last = run.append(b"%d" % number, FLUSH)
        run.wait(last, FLUSH)
    assert run.wanted == [FLUSH_MS_MAX // 2], "asked for once"
    assert run.thread.tick() == FLUSH_MS_MAX // 2, "not due yet"
    now_ms += FLUSH_MS_MAX // 2
    run.tick_until_synced(last)
    assert run.thread.tick() == 0
    assert threads == []
    run.wait(run.append(b"again", FLUSH), FLUSH)
    assert run.wanted == [FLUSH_MS_MAX // 2] * 2
    now_ms += FLUSH_MS_MAX
    run.thread.tick()
    run.wait(run.append(b"beside it", FSYNC), FSYNC)  # the thread waits for what is synced aside
    assert len(threads) == 1
    run.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only there is a layout of aio_fsync known")
def test_a_sync_aside_that_fails_fences(tmp_path: Path) -> None:
    class Broken(Files):
        def duplicate(self, handle: int) -> int:
            read, write = os.pipe()  # of which aio_fsync says EINVAL
            os.close(write)
            return read

    now_ms = 1_000
    run = Aside(Broken(str(tmp_path)), lambda: now_ms)
    run.wait(run.append(b"one", FLUSH), FLUSH)  # a new file is the thread's
    now_ms += FLUSH_MS_MAX
    deadline = time.monotonic() + 10
    while not run.hooks.failures:
        run.thread.tick()
        while not run.reports.empty():
            run.pump()
        assert time.monotonic() < deadline
    assert "Invalid argument" in run.hooks.failures[0]
    assert run.log.fenced
    run.stop()
