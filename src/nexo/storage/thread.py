"""The writer's thread. Owns the queue between the loop and the writer; knows nothing of files."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from nexo.brokers.journal import FSYNC
from nexo.histogram import SYNCS_MS, Histogram
from nexo.limits import WRITE_AT_ONCE_MS_MAX, WRITE_PAUSE_MS_MAX, WRITE_PAUSE_MS_MIN
from nexo.storage.batch import Batch, Sink
from nexo.storage.files import AsideSync
from nexo.storage.writer import Writer

AT_ONCE_BYTES_MAX: Final = 512 * 1024
"""A batch up to this size is handed to the operating system in less time than two threads take to pass it on."""
ASIDE_POLL_MS: Final = 2
"""How often a sync aside is asked whether it has ended: nobody waits for it."""
NAP_SECONDS: Final = 0.0002
"""The same of the thread, for whose sync somebody does wait."""
WAKE: Final = True
STOP: Final = False


class ThreadedWriter(Sink):
    """Drives a writer from one thread: while a round runs, the batches of the next one gather.

    The thread rests in a queue's `get` and wakes at most once for a batch. A small batch for which somebody waits
    that it be written is written by whoever submits it, with what waits before it, unless the thread is writing: so
    the confirmation of a single message, or a delivery, waits for no other thread, and for no disk. Syncs, new files
    and everything large are the thread's, which may take long over them; and everything is, for a while, once such
    a write has taken long: a disk that is throttled holds up the thread and not the loop. `now_ms` is any clock in
    milliseconds that does not go back.

    A thread that wakes takes the interpreter from the loop, and when the processors are busy may keep it for
    milliseconds. So a sync for which nobody waits (level flush) is not the thread's, where `call_later` is given: it
    has to call `tick` after so many milliseconds, in the thread that submits, and the C library then syncs aside.
    """

    def __init__(
        self, writer: Writer, now_ms: Callable[[], int], call_later: Callable[[int], None] | None = None
    ) -> None:
        super().__init__()
        self._writer = writer
        self._now_ms = now_ms
        self._call_later = call_later
        self._aside: AsideSync | None = None
        self._aside_began_ms = 0
        self._thread_syncs = False
        self._nap = threading.Event()  # never set
        self._waiting: deque[Batch] = deque()  # taken from by the holder of the lock alone
        self._signals: SimpleQueue[bool] = SimpleQueue()
        # Held by whoever drives the writer.
        self._lock = threading.Lock()
        self.sync_times = Histogram(SYNCS_MS)
        self.last_sync_ms = -1  # how long the latest sync took; -1 for none yet
        self.last_sync_ended_ms = 0  # when, by the clock that it was given
        self._awaited_ms = 0  # the sync that the thread knows to be due
        self._pause_ms = 0  # how long the last pause of writing at once was, 0: the last such write was quick
        self._pause_until_ms = 0
        self._runner = threading.Thread(target=self._run, name="nexo-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._runner.start()

    def submit(self, batch: Batch) -> None:
        self._waiting.append(batch)
        wanted = batch.urgent or batch.level != FSYNC
        if not wanted or batch.size > AT_ONCE_BYTES_MAX or not self._lock.acquire(blocking=False):
            self._signals.put(WAKE)
            return
        try:
            self._write_at_once()
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Write and sync what was submitted, report it, and end the thread."""
        self._signals.put(STOP)
        self._runner.join()

    def _write_at_once(self) -> None:
        """What waits, if that is quick; else the thread is woken for it."""
        now_ms = self._now_ms()
        size = 0
        for batch in self._waiting:
            size += batch.size
            if batch.opens or batch.after_sync:
                size = AT_ONCE_BYTES_MAX + 1
        if size > AT_ONCE_BYTES_MAX or now_ms < self._pause_until_ms:
            self._signals.put(WAKE)
            return
        batches = self._take()
        try:
            self._writer.write(batches, now_ms)
        except Exception as error:  # noqa: BLE001
            self._writer.fence(f"the writer failed: {error!r}", batches)
        self._pace(now_ms)
        due_ms = self._writer.due_ms
        if due_ms and (not self._awaited_ms or due_ms < self._awaited_ms):
            self._awaited_ms = due_ms
            if self._call_later is not None and due_ms > now_ms:
                self._call_later(due_ms - now_ms)
            else:
                self._signals.put(WAKE)

    def tick(self) -> int:
        """Go on with what is synced aside; after how many ms to call again, 0 for not. Called by who submits."""
        if not self._lock.acquire(blocking=False):
            return ASIDE_POLL_MS
        try:
            if self._thread_syncs or not self._aside_ended():
                return ASIDE_POLL_MS
            now_ms = self._now_ms()
            due_ms = self._awaited_ms = self._writer.due_ms
            if due_ms > now_ms:
                return due_ms - now_ms
            handle = self._writer.sync_begins() if due_ms else -1
            if handle < 0:
                self._awaited_ms = 0
                return 0
            self._awaited_ms = 0
            self._aside = self._writer.sync_aside(handle)
            if self._aside is None:
                # From now on by the thread, as where there is no such thing.
                self._call_later = None
                error = self._writer.sync_runs(handle)
                self._writer.sync_ended(error)
                return 0
            self._aside_began_ms = now_ms
            return ASIDE_POLL_MS
        finally:
            self._lock.release()

    def _aside_ended(self) -> bool:
        """Whether nothing is synced aside any more; tells how it ended. The caller holds the lock."""
        if self._aside is None:
            return True
        if not self._aside.ended():
            return False
        error, self._aside = self._aside.error, None
        self._note_sync(self._aside_began_ms)
        self._writer.sync_ended(error)
        return True

    def _note_sync(self, began_ms: int) -> None:
        """A sync has ended."""
        self.last_sync_ended_ms = self._now_ms()
        self.last_sync_ms = self.last_sync_ended_ms - began_ms
        self.sync_times.add(self.last_sync_ms)

    def _lock_alone(self) -> None:
        """Take the lock when nothing is synced aside: of two syncs only one is told of an error."""
        while True:
            self._lock.acquire()
            if self._aside_ended():
                return
            self._lock.release()
            self._nap.wait(NAP_SECONDS)

    def _pace(self, began_ms: int) -> None:
        """After a write that took long the next ones are left to the thread, each time for longer."""
        now_ms = self._now_ms()
        if now_ms - began_ms < WRITE_AT_ONCE_MS_MAX:
            self._pause_ms = 0
            return
        self._pause_ms = min(max(2 * self._pause_ms, WRITE_PAUSE_MS_MIN), WRITE_PAUSE_MS_MAX)
        self._pause_until_ms = now_ms + self._pause_ms

    def _take(self) -> list[Batch]:
        """All batches that wait; the caller holds the lock."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _run(self) -> None:
        batches: list[Batch] = []
        running = True
        try:
            while running:
                running = self._rest()
                self._lock_alone()
                try:
                    batches = self._take()
                    if batches:
                        self._writer.write(batches, self._now_ms())
                    due_ms = self._writer.due_ms
                    handle = -1
                    if due_ms and due_ms <= max(self._now_ms(), 1):
                        handle = self._writer.sync_begins()
                    self._thread_syncs = handle >= 0
                finally:
                    self._lock.release()
                if handle >= 0:
                    self._sync(handle)
            self._lock_alone()
            try:
                self._writer.close()
            finally:
                self._lock.release()
        except Exception as error:  # noqa: BLE001
            # A fault of ours: whoever waits for a batch is told, and nothing more is confirmed.
            with self._lock:
                self._writer.fence(f"the writer failed: {error!r}", batches)
            while running:
                running = self._signals.get()
                with self._lock:
                    self._writer.fence(f"the writer failed: {error!r}", self._take())

    def _sync(self, handle: int) -> None:
        """The sync that is due; what comes meanwhile may be written by whoever submits it, and confirmed."""
        began = self._now_ms()
        error = self._writer.sync_runs(handle)
        self._note_sync(began)
        with self._lock:
            self._thread_syncs = False
            self._writer.sync_ended(error)

    def _rest(self) -> bool:
        """Until there is something to do, a sync that is due included; false: it is the last time."""
        with self._lock:
            due_ms = self._awaited_ms = self._writer.due_ms
        timeout = max(0, due_ms - self._now_ms()) / 1000 if due_ms else None
        try:
            if self._signals.get(timeout=timeout) is STOP:
                return False
            while True:
                if self._signals.get_nowait() is STOP:
                    return False
        except Empty:
            return True
