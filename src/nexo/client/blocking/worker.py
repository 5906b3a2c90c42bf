"""The worker without an event loop. Written by hand: signals reach the main thread, not the loop's."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nexo.client import worker as async_worker
from nexo.client.blocking.queue import Job, Queue
from nexo.client.lending import WAIT_MS_DEFAULT
from nexo.client.running import GRACE_SECONDS_DEFAULT


class Worker:
    """Calls a handler, in threads of its own, with each job of a queue: `worker.run()`.

    A job is acked when the handler returns, and nacked with the exception's text when it raises, unless the
    handler has settled it. Up to `concurrency` handlers run at once (at most 64 in a process), and `prefetch`
    more jobs are borrowed ahead. `heartbeat` extends the leases while handlers run. `type` decodes JSON
    values as that type.

    It goes on after lost connections. Told to stop it takes no more jobs and gives back what it has not
    begun with; handlers have `grace_seconds` to finish, then their jobs go back without counting, though a
    thread cannot be interrupted.
    """

    def __init__(
        self,
        queue: Queue,
        handler: Callable[[Job], object],
        *,
        concurrency: int = 8,
        prefetch: int = 0,
        wait_ms: int = WAIT_MS_DEFAULT,
        grace_seconds: float = GRACE_SECONDS_DEFAULT,
        heartbeat: bool = True,
        type: Any = None,
    ) -> None:
        self._portal = queue._portal

        async def made() -> async_worker.Worker:
            return async_worker.Worker(
                queue._async,
                self._portal.callback(handler, Job),
                concurrency=concurrency,
                prefetch=prefetch,
                wait_ms=wait_ms,
                grace_seconds=grace_seconds,
                heartbeat=heartbeat,
                type=type,
            )

        self._async = self._portal.call(made)

    @property
    def handled(self) -> int:
        """Jobs whose handler returned."""
        return self._async.handled

    @property
    def failed(self) -> int:
        """Jobs whose handler raised."""
        return self._async.failed

    def run(self, *, signals: bool = True) -> None:
        """Handle jobs until `stop`, SIGTERM or SIGINT; returns when all is settled, or the grace is over.

        A second signal ends the grace. With `signals=False`, or in another thread than the main one, signals
        are left alone. Raises what ended it otherwise: ResourceNotFoundError when the queue was deleted,
        NotConnectedError when the connection is given up.
        """
        with self._signals(signals):
            self._portal.call(lambda: self._async.run(signals=False))

    def request_stop(self) -> None:
        """Begin to stop, without waiting: for signal handlers. Again, it waits for handlers no longer."""
        self._portal.soon(self._async.request_stop)

    def stop(self) -> None:
        """Stop, and wait until `run` has ended in its thread."""
        self._portal.call(lambda: self._async.stop())

    @contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        if not wanted or threading.current_thread() is not threading.main_thread():
            yield
            return

        def told(number: int, frame: FrameType | None) -> None:
            self.request_stop()

        before = {number: signal.signal(number, told) for number in async_worker.ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
