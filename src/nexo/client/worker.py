"""A worker: a program that handles the jobs of a queue until it is told to end.

Owns the signals and the way from the first of them to the end. The calls themselves are in running.py.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from nexo.client.events import log
from nexo.client.job import Job
from nexo.client.lending import WAIT_MS_DEFAULT, checked_consumer
from nexo.client.queue import Queue
from nexo.client.running import GRACE_SECONDS_DEFAULT, Runner

ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class Worker:
    """Calls a handler, plain or async, with each job of a queue: `await worker.run()`.

    A job is acked when the handler returns, and nacked with the exception's text when it raises, unless the
    handler has settled it. Up to `concurrency` handlers run at once, and
    `prefetch` more jobs are borrowed ahead. `heartbeat` extends the leases while handlers run. `type` decodes JSON
    values as that type.

    It goes on after lost connections. Told to stop it takes no more jobs and gives back what it has not
    begun with; handlers have `grace_seconds` to finish, then they are cancelled and their jobs go back without
    counting.
    """

    def __init__(
        self,
        queue: Queue,
        handler: Callable[[Job], Awaitable[object] | object],
        *,
        concurrency: int = 8,
        prefetch: int = 0,
        wait_ms: int = WAIT_MS_DEFAULT,
        grace_seconds: float = GRACE_SECONDS_DEFAULT,
        heartbeat: bool = True,
        type: Any = None,
    ) -> None:
        checked_consumer(prefetch + concurrency, wait_ms, concurrency)
        self._name = queue.name
        self._grace_seconds = grace_seconds
        self._started = False
        self._stop_wanted = False
        self._done = asyncio.Event()
        self._runner = Runner(
            queue._leases(type, heartbeat),
            handler,
            batch_size=prefetch + concurrency,
            wait_ms=wait_ms,
            concurrency=concurrency,
        )

    @property
    def handled(self) -> int:
        """Jobs whose handler returned."""
        return self._runner.handled

    @property
    def failed(self) -> int:
        """Jobs whose handler raised."""
        return self._runner.failed

    async def run(self, *, signals: bool = True) -> None:
        """Handle jobs until `stop`, SIGTERM or SIGINT; returns when all is settled, or the grace is over.

        A second signal ends the grace. With `signals=False`, or in another thread than the main one, signals
        are left alone. To be cancelled is to be told to stop. Raises what ended it otherwise:
        ResourceNotFoundError when the queue was deleted, NotConnectedError when the connection is given up.
        """
        runner = self._runner
        self._started = True
        try:
            if not self._stop_wanted:
                await runner.start()
                log.info("the worker of queue %r has started", self._name)
                with self._signals(signals):
                    try:
                        await asyncio.shield(runner.stopping)
                    finally:
                        await runner.stop(self._grace_seconds)
                log.info(
                    "the worker of queue %r has ended: %d handled, %d failed",
                    self._name,
                    runner.handled,
                    runner.failed,
                )
        finally:
            self._done.set()
        if runner.error is not None:
            raise runner.error

    def request_stop(self) -> None:
        """Begin to stop, without waiting: for signal handlers. Again, it cancels the handlers that run."""
        if self._stop_wanted:
            self._runner.hurry()
            return
        self._stop_wanted = True
        log.info("the worker of queue %r is stopping", self._name)
        self._runner.request_stop()

    async def stop(self) -> None:
        """Stop, and wait until `run` has ended."""
        if not self._stop_wanted:
            self.request_stop()
        if self._started:
            await self._done.wait()

    @contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        if not wanted or threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in ENDING}
        for number in ENDING:
            loop.add_signal_handler(number, self.request_stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
