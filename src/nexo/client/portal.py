"""From plain code to the event loop and back: what the generated blocking client runs on.

Owns the one background thread with the loop, shared by all blocking clients of a process, and the threads
that callbacks run in. Knows nothing of clients: coroutines in, results out.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final, Generic, TypeVar, overload

from nexo.errors import NexoError

T = TypeVar("T")

CALLBACK_THREADS_MAX: Final = 64
"""Callbacks of blocking clients that run at once: one of each subscription, several of a worker. Threads are
made as they are needed."""


class Portal:
    """An event loop in a thread of its own. Its methods may be called from any other thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._callbacks = ThreadPoolExecutor(CALLBACK_THREADS_MAX, thread_name_prefix="nexo-callback")
        # A daemon: a program that forgets to close its client can end all the same.
        self._thread = threading.Thread(target=self._run, name="nexo-blocking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, make: Callable[[], Awaitable[T]]) -> T:
        """Await in the loop what `make` returns there, and wait for it: its result, or its exception.

        Whatever interrupts the wait, Ctrl-C above all, cancels it. NexoError in a process that was forked
        from the one with the client, and in the loop's own thread, which would wait for itself.
        """
        self._check()
        call = _Call(make)
        finished = False
        try:
            self._loop.call_soon_threadsafe(call.start)
            result = call.done.result()
            finished = True
        finally:
            if not finished:
                self._loop.call_soon_threadsafe(call.cancel)
        return result

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """A plain iterator over an async one."""
        while True:
            try:
                item = self.call(lambda: anext(items))
            except StopAsyncIteration:
                return
            yield item

    def next(self, items: AsyncIterator[T]) -> T:
        """The next item of an async iterator. StopIteration at its end."""
        try:
            return self.call(lambda: anext(items))
        except StopAsyncIteration:
            raise StopIteration from None

    def soon(self, function: Callable[[], object]) -> None:
        """Call a function in the loop, without waiting: for signal handlers."""
        self._loop.call_soon_threadsafe(function)

    @overload
    def callback(
        self, function: Callable[[Any], Any], wrap: Callable[[Portal, Any], Any] | None = None
    ) -> Callable[[Any], Awaitable[None]]: ...
    @overload
    def callback(
        self, function: Callable[[Any], Any] | None, wrap: Callable[[Portal, Any], Any] | None = None
    ) -> Callable[[Any], Awaitable[None]] | None: ...

    def callback(
        self, function: Callable[[Any], Any] | None, wrap: Callable[[Portal, Any], Any] | None = None
    ) -> Callable[[Any], Awaitable[None]] | None:
        """A plain function as the async client wants it: it runs in a thread, and may make calls."""
        if function is None:
            return None

        async def called(item: Any) -> None:
            argument = item if wrap is None else wrap(self, item)
            # The function is called in the context of its message, so that it finds its span.
            await self._loop.run_in_executor(self._callbacks, copy_context().run, function, argument)

        return called

    def _check(self) -> None:
        if os.getpid() != self.pid:
            raise NexoError(
                f"this blocking client belongs to process {self.pid}; after a fork, connect again in the child"
            )
        if threading.current_thread() is self._thread:
            raise NexoError("a blocking call inside the client's own event loop would wait for itself")


class _Call(Generic[T]):
    """A call that another thread waits for. It is there before it is started, so an interrupt always finds it."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self.done: Future[T] = Future()
        self._make = make
        self._task: asyncio.Future[T] | None = None

    def start(self) -> None:
        """In the loop."""
        self._task = asyncio.ensure_future(self._awaited())
        self._task.add_done_callback(self._finished)

    def cancel(self) -> None:
        """In the loop; a call that was never started has nothing to cancel."""
        if self._task is not None:
            self._task.cancel()

    async def _awaited(self) -> T:
        return await self._make()

    def _finished(self, task: asyncio.Future[T]) -> None:
        if task.cancelled():
            self.done.cancel()
        elif (error := task.exception()) is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


_portal: Portal | None = None
_making: threading.Lock = threading.Lock()


def portal() -> Portal:
    """The portal of this process; made at the first call, and anew in a forked child."""
    global _portal, _making
    if _portal is not None and _portal.pid == os.getpid():
        return _portal
    with _making:
        if _portal is None or _portal.pid != os.getpid():
            _portal = Portal()
        return _portal


def _after_fork() -> None:
    # The lock may have been held by a thread that does not exist in the child.
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
