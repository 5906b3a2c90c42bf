"""The writer's thread. Owns the queue between the loop and the writer; knows nothing of files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from nexo.brokers.journal import FSYNC
from nexo.storage.batch import Batch, Sink
from nexo.storage.writer import Writer

AT_ONCE_BYTES_MAX: Final = 512 * 1024
"""A batch up to this size is handed to the operating system in less time than two threads take to pass it on."""
WAKE: Final = True
STOP: Final = False


class ThreadedWriter(Sink):
    """Drives a writer from one thread: while a round runs, the batches of the next one gather.

    The thread rests in a queue's `get` and wakes at most once for a batch. A small batch that needs no sync is
    written by whoever submits it, if the thread has nothing to do or waits for a sync that was due: so the
    confirmation of a single message waits for no other thread, and for no disk. Syncs, new files and everything
    large are the thread's, which may take long over them. `now_ms` is any clock in milliseconds that does not go
    back.
    """

    def __init__(self, writer: Writer, now_ms: Callable[[], int]) -> None:
        super().__init__()
        self._writer = writer
        self._now_ms = now_ms
        self._queue: SimpleQueue[Batch | bool] = SimpleQueue()
        # Held by whoever drives the writer.
        self._lock = threading.Lock()
        self._submitted = 0  # batches given to the thread, counted by the submitter
        self._done = 0  # those that it has finished with, counted by the thread
        self._awaited_ms = 0  # the sync that the thread knows to be due
        self._runner = threading.Thread(target=self._run, name="nexo-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._runner.start()

    def submit(self, batch: Batch) -> None:
        if (
            self._submitted == self._done
            and batch.size <= AT_ONCE_BYTES_MAX
            and batch.level != FSYNC
            and not batch.opens
            and not batch.after_sync
            and self._lock.acquire(blocking=False)
        ):
            try:
                self._write_at_once(batch)
            finally:
                self._lock.release()
        else:
            self._submitted += 1
            self._queue.put(batch)

    def stop(self) -> None:
        """Write and sync what was submitted, report it, and end the thread."""
        self._queue.put(STOP)
        self._runner.join()

    def _write_at_once(self, batch: Batch) -> None:
        try:
            self._writer.write([batch], self._now_ms())
        except Exception as error:  # noqa: BLE001
            self._writer.fence(f"the writer failed: {error!r}", [batch])
        if self._writer.due_ms and not self._awaited_ms:
            self._awaited_ms = self._writer.due_ms
            self._queue.put(WAKE)

    def _run(self) -> None:
        batches: list[Batch] = []
        running = True
        try:
            while running:
                batches, running = self._take()
                with self._lock:
                    if batches:
                        self._writer.write(batches, self._now_ms())
                    self._done += len(batches)
                    due_ms = self._writer.due_ms
                    handle = -1
                    if due_ms and due_ms <= self._now_ms():
                        handle = self._writer.sync_begins()
                if handle >= 0:
                    self._sync(handle)
            with self._lock:
                self._writer.close()
        except Exception as error:  # noqa: BLE001
            # A fault of ours: whoever waits for a batch is told, and nothing more is confirmed.
            self._writer.fence(f"the writer failed: {error!r}", batches)
            while running and (item := self._queue.get()) is not STOP:
                if isinstance(item, Batch):
                    self._writer.fence(f"the writer failed: {error!r}", [item])

    def _sync(self, handle: int) -> None:
        """The sync that is due; what comes meanwhile is written by whoever submits it, and confirmed."""
        error = self._writer.sync_runs(handle)
        with self._lock:
            self._writer.sync_ended(error)

    def _take(self) -> tuple[list[Batch], bool]:
        """All batches that wait, after waiting for one or until a sync is due; false: it was the last time."""
        with self._lock:
            due_ms = self._awaited_ms = self._writer.due_ms
        timeout = max(0, due_ms - self._now_ms()) / 1000 if due_ms else None
        batches: list[Batch] = []
        try:
            item = self._queue.get(timeout=timeout)
            while item is not STOP:
                if isinstance(item, Batch):
                    batches.append(item)
                item = self._queue.get_nowait()
        except Empty:
            return batches, True
        return batches, False
