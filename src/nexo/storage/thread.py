"""The writer's thread. Owns the queue between the loop and the writer; knows nothing of files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from nexo.storage.batch import Batch, Sink
from nexo.storage.writer import Writer


class ThreadedWriter(Sink):
    """Drives a writer from one thread: while a round runs, the batches of the next one gather.

    The thread rests in a queue's `get` and wakes at most once for a batch. `now_ms` is any clock in
    milliseconds that does not go back.
    """

    def __init__(self, writer: Writer, now_ms: Callable[[], int]) -> None:
        super().__init__()
        self._writer = writer
        self._now_ms = now_ms
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="nexo-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        self._queue.put(batch)

    def stop(self) -> None:
        """Write and sync what was submitted, report it, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        batches: list[Batch] = []
        running = True
        try:
            while running:
                batches, running = self._take()
                if batches:
                    self._writer.write(batches, self._now_ms())
                due_ms = self._writer.due_ms
                if due_ms and due_ms <= self._now_ms():
                    self._writer.sync()
            self._writer.close()
        except Exception as error:  # noqa: BLE001
            # A fault of ours: whoever waits for a batch is told, and nothing more is confirmed.
            self._writer.fence(f"the writer failed: {error!r}", batches)
            while running and (batch := self._queue.get()) is not None:
                self._writer.fence(f"the writer failed: {error!r}", [batch])

    def _take(self) -> tuple[list[Batch], bool]:
        """All batches that wait, after waiting for one or until a sync is due; false: it was the last time."""
        due_ms = self._writer.due_ms
        timeout = max(0, due_ms - self._now_ms()) / 1000 if due_ms else None
        batches: list[Batch] = []
        try:
            batch = self._queue.get(timeout=timeout)
            while batch is not None:
                batches.append(batch)
                batch = self._queue.get_nowait()
        except Empty:
            return batches, True
        return batches, False
