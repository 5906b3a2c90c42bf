"""The longest turn of the loop, with millions of keys and messages alive: python tests/faults/turns.py

A server runs in a process of its own, over an event loop that measures each of its turns: from the moment when a
poll returns to the next poll. Meanwhile clients fill it, read and write, scan, let keys expire, and consume, so
that the log is compacted and cleaned; and a full collection of cycles is forced now and then. What is printed for each
phase is the longest turn in milliseconds, on the clock and of CPU. On a machine that others use as well the clock
also counts their time, so it is the CPU that is held to TURN_MS_MAX.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import nexo  # noqa: E402  needs the path above
from nexo.server.app import Server, serve  # noqa: E402
from nexo.server.config import resolve  # noqa: E402
from tests.vectors.serving import environment  # noqa: E402

TURN_MS_MAX = 20.0
KEYS_PER_CALL = 250
MESSAGES_PER_CALL = 500
TTL_SHARE = 10
"""One key in so many expires, all of them at about the same time."""
LOAD_TASKS = 4
CALL_SECONDS_MAX = 120
"""A first scan of five million keys takes five seconds on an idle machine."""
KEPT_EVERY = 100
"""One message in so many is left when the others are consumed."""


class MeasuringSelector(selectors.DefaultSelector):
    """Notes how long the loop was away from its poll."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.perf_counter_ns()
        self.began_cpu = time.thread_time_ns()
        self.reset()

    def reset(self) -> None:
        self.turns = 0
        self.longest = 0
        self.longest_cpu = 0
        self.late = 0

    def select(self, timeout: float | None = None) -> Any:
        turn, turn_cpu = time.perf_counter_ns() - self.began, time.thread_time_ns() - self.began_cpu
        self.turns += 1
        self.longest = max(self.longest, turn)
        self.longest_cpu = max(self.longest_cpu, turn_cpu)
        self.late += turn_cpu > TURN_MS_MAX * 1e6
        found = super().select(timeout)
        self.began, self.began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        return found


class Collections:
    """Notes how long the collections of cycles took."""

    def __init__(self) -> None:
        self.longest = [0, 0, 0]
        self.counts = [0, 0, 0]
        self._began = 0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter_ns()
        else:
            generation = info["generation"]
            self.counts[generation] += 1
            self.longest[generation] = max(self.longest[generation], time.perf_counter_ns() - self._began)

    def reset(self) -> None:
        self.longest = [0, 0, 0]
        self.counts = [0, 0, 0]


def be_server(folder: str, log_file_bytes: int) -> None:
    """The server's process: `phase` on standard input gives the figures since the last one, `collect` collects."""
    selector = MeasuringSelector()
    loop = asyncio.SelectorEventLoop(selector)
    collections = Collections()
    began = time.monotonic()

    def hear() -> None:
        for word in sys.stdin.readline().split():
            if word == "collect":
                gc.collect()
            else:
                print(json.dumps(figures()), flush=True)
                selector.reset()
                collections.reset()

    def figures() -> dict[str, Any]:
        return {
            "turns": selector.turns,
            "longest_ms": selector.longest / 1e6,
            "longest_cpu_ms": selector.longest_cpu / 1e6,
            "late": selector.late,
            "collections": collections.counts,
            "collection_ms": [round(longest / 1e6, 2) for longest in collections.longest],
        }

    def ready(server: Server) -> None:
        print(json.dumps({"port": server.port, "start_s": time.monotonic() - began}), flush=True)
        loop.add_reader(sys.stdin.fileno(), hear)
        selector.reset()
        collections.reset()

    given = {"port": "0", "http": "off", "data_dir": folder, "log_file_bytes": str(log_file_bytes)}
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve(resolve(None, {}, given), ready))


@dataclass
class Phase:
    """What one phase was like."""

    name: str
    seconds: float
    turns: int
    longest_ms: float
    longest_cpu_ms: float
    late: int
    collections: list[int]
    collection_ms: list[float]

    def __str__(self) -> str:
        return (
            f"{self.name:<28} {self.seconds:7.1f} s {self.turns:8} turns  longest {self.longest_ms:7.1f} ms, "
            f"of CPU {self.longest_cpu_ms:7.1f} ms  late {self.late:4}  gc {self.collections} {self.collection_ms} ms"
        )


class Measured:
    """A measured server and its phases."""

    def __init__(self, folder: str, log_file_bytes: int) -> None:
        self.phases: list[Phase] = []
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder, "--log-file-bytes", str(log_file_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
            env=environment(),
        )
        ready = self._answer()
        self.port = int(ready["port"])
        self.start_seconds = float(ready["start_s"])
        self.began = time.monotonic()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server has ended"
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def phase(self, name: str) -> None:
        """A phase has ended."""
        self.say("phase")
        now = time.monotonic()
        self.phases.append(Phase(name, now - self.began, **self._answer()))
        self.began = now
        print(self.phases[-1], flush=True)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@asynccontextmanager
async def beside(*tasks: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run these again and again until the block ends."""

    async def again(task: Callable[[], Awaitable[None]]) -> None:
        while True:
            await task()

    running = [asyncio.ensure_future(again(task)) for task in tasks]
    try:
        yield
    finally:
        for one in running:
            one.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome


async def bounded(calls: list[Callable[[], Awaitable[Any]]]) -> None:
    """All of them, LOAD_TASKS at a time."""
    left = list(reversed(calls))

    async def worker() -> None:
        while left:
            await left.pop()()

    await asyncio.gather(*(worker() for _ in range(LOAD_TASKS)))


async def run(server: Measured, keys: int, messages: int, seconds: float) -> None:
    """All phases."""
    async with (
        await nexo.connect(port=server.port, timeout=CALL_SECONDS_MAX) as client,
        await nexo.connect(port=server.port, timeout=CALL_SECONDS_MAX) as other,
    ):
        store = client.store.map
        await client.queue.create("work", visibility_timeout_ms=600_000)
        work = await client.queue.get("work")
        await client.queue.create("busy")
        busy = await other.queue.get("busy")
        await client.stream.create("events")
        events = await other.stream.get("events")
        number = 0

        async def some_load() -> None:
            nonlocal number
            number += 1
            await other.store.map.set(f"busy:{number % 10_000}", number)
            await other.store.map.get(f"key:{number * 7919 % keys}")
            await busy.push(b"x" * 200)
            for job in await busy.receive(10, wait_ms=0):
                await job.ack()
            await events.publish({"n": number})

        async def collect() -> None:
            await asyncio.sleep(0.3)
            server.say("collect")

        def set_some(start: int) -> Callable[[], Awaitable[Any]]:
            return lambda: store.set_many(
                {f"key:{n}": n for n in range(start, min(start + KEYS_PER_CALL, keys))}
            )

        load = [some_load] * LOAD_TASKS
        async with beside(*load):
            await bounded([set_some(start) for start in range(0, keys, KEYS_PER_CALL)])
        server.phase("set keys")
        payload = b"x" * 100
        calls = [lambda: work.push_batch([payload] * MESSAGES_PER_CALL)] * (messages // MESSAGES_PER_CALL)
        async with beside(*load):
            await bounded(calls)
        server.phase("push messages")
        async with beside(*load, collect):
            await asyncio.sleep(seconds)
        server.phase("load, full collections")

        def expiring(start: int) -> Callable[[], Awaitable[Any]]:
            some = {f"ttl:{n}": n for n in range(start, start + KEYS_PER_CALL)}
            return lambda: store.set_many(some, ttl_ms=3_000)

        async with beside(*load):
            await bounded([expiring(start) for start in range(0, keys // TTL_SHARE, KEYS_PER_CALL)])
            await asyncio.sleep(4)
        server.phase("keys expire")
        async with beside(*load):
            left = messages
            while left > 0:
                jobs = await work.receive(MESSAGES_PER_CALL, wait_ms=1_000)
                left -= len(jobs)
                await asyncio.gather(*(job.ack() for place, job in enumerate(jobs) if place % KEPT_EVERY))
        server.phase("consume messages")
        async with beside(*load, collect):
            await asyncio.sleep(seconds)
        server.phase("load, compact and clean")
        async with beside(*load):
            await store.count("key:1")
        server.phase("first scan")
        async with beside(*load):
            await store.clear_with_prefix("key:1")
            await store.clear_all()
            await asyncio.sleep(1)
        server.phase("delete by prefix, clear")


def measure(keys: int, messages: int, seconds: float, log_file_bytes: int) -> list[Phase]:
    """All phases, and a restart among them; prints each as it ends."""
    with tempfile.TemporaryDirectory(prefix="nexo-turns-") as folder:
        server = Measured(folder, log_file_bytes)
        try:
            asyncio.run(run(server, keys, messages, seconds))
        finally:
            server.stop()
        again = Measured(folder, log_file_bytes)
        print(f"a start took {again.start_seconds:.2f} s")
        again.stop()
        return server.phases


def main() -> int:
    parser = argparse.ArgumentParser(description="The longest turn of the loop with much alive.")
    parser.add_argument("--keys", type=int, default=5_000_000, help="in the store (default %(default)s)")
    parser.add_argument("--messages", type=int, default=1_000_000, help="in a queue (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=10, help="of load in some phases (default %(default)s)"
    )
    parser.add_argument("--log-file-bytes", type=int, default=16 << 20, help="(default %(default)s)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        be_server(given.serve, given.log_file_bytes)
        return 0
    phases = measure(given.keys, given.messages, given.seconds, given.log_file_bytes)
    late = [phase for phase in phases if phase.longest_cpu_ms > TURN_MS_MAX]
    print(
        f"{len(phases) - len(late)} of {len(phases)} phases had no turn of more than {TURN_MS_MAX:.0f} ms of CPU"
    )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
