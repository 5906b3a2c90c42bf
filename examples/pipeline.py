#!/usr/bin/env python3
"""Puts this machine's package log through stream, queue and store, and checks that every line counts once.

    file → stream "pipeline-lines" → group "to-jobs" → queue "pipeline-jobs" → workers
         → stream "pipeline-results" → counters in the store → compared with the file

Every line is appended to a stream. A group makes a job of each; its dedup key is the sequence of the line, so
that a crash between push and ack doubles nothing. Workers fail one time in ten, drawn from a seed; a job that
failed twice is a dead letter, and dead letters are redriven until there are none.

A worker may crash after it has written its result and before its job is acked, and then writes it again. So
results go to a stream, which survives a crash, and are folded into the store in the end: a marker for each
line, set only if it is absent, decides whether a result still counts. The store is in memory. When the broker
goes away during the fold, the fold begins again from an empty store.

    python examples/pipeline.py                       with a broker of its own
    python examples/pipeline.py --kill 3              which is killed (SIGKILL) and restarted three times
    python examples/pipeline.py --port 7654           with one that runs already
    python examples/pipeline.py path/to/file          with another file

Ends with 0 only if all totals agree.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import nexo

LOG = Path("/var/log/dpkg.log")
STATUS = Path("/var/lib/dpkg/status")
LINES, JOBS, RESULTS, GROUP = "pipeline-lines", "pipeline-jobs", "pipeline-results", "to-jobs"
DAY_MS = 24 * 3_600_000
LOST = (nexo.ConnectionClosedError, nexo.NotConnectedError, nexo.RequestTimeoutError)
"""Errors after which nobody knows whether a call was done."""

T = TypeVar("T")


class BadLuckError(Exception):
    """What a worker fails with, one time in ten."""


def action_and_package(line: str) -> tuple[str, str]:
    """What a line is about; of a line without a package, "-".

    A line of the log: `2026-01-31 12:00:00 status unpacked libc6:amd64 2.36-9`. One of the package database:
    `Package: libc6`, with the name of its field as the action.
    """
    words = line.split()
    if re.match(r"\d{4}-\d\d-\d\d ", line) and len(words) > 3:
        action, rest = words[2], words[3:]
        if action == "status" and len(rest) > 1:
            return f"status {rest[0]}", rest[1].partition(":")[0]
        return action, "-" if action in ("startup", "conffile") else rest[0].partition(":")[0]
    found = re.match(r"([A-Za-z][A-Za-z0-9-]*):(.*)", line)
    if found is None:
        return "(text)", "-"
    return found[1], found[2].strip() if found[1] == "Package" else "-"


def say(text: str) -> None:
    """Progress, for people: the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Table:
    """What was expected and what came."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, bool]] = []

    def compare(self, what: str, expected: Any, got: Any) -> None:
        """One row: the two must be equal, of lists and dicts every member; their sizes are shown."""
        shown = [str(len(side)) if isinstance(side, (list, dict)) else str(side) for side in (expected, got)]
        self._rows.append((what, *shown, expected == got))

    def print(self) -> bool:
        """To standard output; whether everything agreed."""
        width = max(len(row[0]) for row in self._rows)
        print(f"{'check':<{width}}  {'expected':>8}  {'got':>8}")
        for what, expected, got, agrees in self._rows:
            print(f"{what:<{width}}  {expected:>8}  {got:>8}  {'✓' if agrees else '✗ DIFFERENT'}")
        return all(row[3] for row in self._rows)


class Broker:
    """A broker in a process of its own, that can be killed and comes back with its data on its port."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.port = 0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nexo", "serve", "--http", "off", "--log-level", "warning"]
        process = subprocess.Popen(
            [*command, "--port", str(self.port), "--data-dir", self._folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        ready = process.stdout.readline().strip()
        if not ready:
            raise SystemExit(f"the broker ended with {process.wait()} instead of being ready")
        say(ready)
        self.port = int(ready.split(" on ")[1].split()[0].rpartition(":")[2])
        return process

    def kill_and_restart(self) -> None:
        """As when the power fails, and comes back."""
        self._process.kill()
        self.close()
        self._process = self._start()

    def close(self) -> None:
        """Wait until it has ended, having told it to."""
        self._process.terminate()
        self._process.communicate()


@contextmanager
def own_broker() -> Iterator[Broker]:
    """A broker on a free port, for the time of the run."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(folder)
        try:
            yield broker
        finally:
            broker.close()


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call until it is answered: only for calls that may be made twice."""
    while True:
        try:
            return await call()
        except LOST:
            await asyncio.sleep(0.05)


class Pipeline:
    """The way of the lines from the file to their results."""

    def __init__(self, client: nexo.Client, lines: list[str], seed: int) -> None:
        self._client = client
        self._lines = lines
        self._random = random.Random(seed)
        self.appended = 0
        self.handled = 0
        self.failed = 0
        self.redriven = 0

    async def run(self) -> None:
        """From nothing to a result for each line."""
        await self._prepare()
        group = self._source.group(GROUP)
        moving = await persist(lambda: group.subscribe(self._to_job, batch_size=500, concurrency=100))
        worker = nexo.Worker(self._jobs, self._work, concurrency=100)
        working = asyncio.create_task(worker.run(signals=False))
        try:
            await self._append()
            await self._settled(group, working)
        finally:
            await worker.stop()
            await working
            await moving.stop()

    async def _prepare(self) -> None:
        queues, streams = self._client.queue, self._client.stream
        for name in (LINES, RESULTS):
            if await streams.exists(name):
                await streams.delete(name)
        if await queues.exists(JOBS):
            await queues.delete(JOBS)
        # A line may be tried as often as it takes; a job is given up after two failures.
        self._source = await streams.create(LINES, max_deliveries=0, backoff_ms=10)
        self._results = await streams.create(RESULTS)
        self._jobs = await queues.create(JOBS, max_deliveries=2, dedup_window_ms=DAY_MS)
        self._writer = self._results.producer("workers")

    async def _append(self) -> None:
        # A producer: what it appends is there once, however often it had to be sent.
        producer = self._source.producer("file")
        for start in range(0, len(self._lines), 100):
            part = self._lines[start : start + 100]
            await asyncio.gather(*map(producer.publish, part))
            self.appended += len(part)

    async def _to_job(self, message: nexo.GroupMessage) -> None:
        """Called with each line, and again when it is not known that it was acked."""
        job = {"seq": message.seq, "line": message.data}
        await persist(lambda: self._jobs.push(job, dedup=str(message.seq)))

    async def _work(self, job: nexo.Job) -> None:
        """Called with each job; what it raises makes it come again, or a dead letter."""
        if self._random.random() < 0.1:
            self.failed += 1
            raise BadLuckError("bad luck")
        action, package = action_and_package(job.data["line"])
        await self._writer.publish({"seq": job.data["seq"], "action": action, "package": package})
        self.handled += 1

    async def _settled(self, group: nexo.Group, working: asyncio.Task[None]) -> None:
        """Until every line is a job, every job is acked, and no dead letter is left."""
        said = time.monotonic()
        while True:
            behind = (await persist(group.lag)).messages
            info = await persist(self._jobs.describe)
            if not behind and not info.messages:
                if not info.dead_letters:
                    return
                self.redriven += await persist(self._redrive)
            if time.monotonic() - said > 1:
                said = time.monotonic()
                say(f"{behind} lines to go, {info.messages} jobs, {info.dead_letters} dead letters")
            if working.done():
                await working  # why it ended
            await asyncio.sleep(0.02)

    async def _redrive(self) -> int:
        moved = 0
        async for step in self._jobs.dlq.redrive():
            moved = step.moved
        return moved


class Totals:
    """What the store holds after the fold."""

    def __init__(self) -> None:
        self.results = 0
        self.markers = 0
        self.counters: dict[str, int] = {}


async def fold(host: str, port: int, on_progress: Callable[[int], None]) -> Totals:
    """All results into counters, in one connection: if it breaks the store may be another, an empty one.

    NotConnectedError or ConnectionClosedError then; what was counted so far is to be forgotten.
    """
    totals = Totals()
    async with nexo.connect(host=host, port=port, reconnect=False) as client:
        store = client.store.map
        await store.clear_with_prefix("pipeline:")
        results = await client.stream.get(RESULTS)

        async def count(result: dict[str, Any]) -> None:
            if (await store.put(f"pipeline:line:{result['seq']}", result, if_absent=True)).applied:
                await store.incr(f"pipeline:count:action:{result['action']}")
                await store.incr(f"pipeline:count:package:{result['package']}")

        batch: list[dict[str, Any]] = []
        async for record in results.read():
            batch.append(record.data)
            if len(batch) == 200:
                await asyncio.gather(*map(count, batch))
                totals.results += len(batch)
                batch.clear()
                on_progress(totals.results)
        await asyncio.gather(*map(count, batch))
        totals.results += len(batch)
        on_progress(totals.results)
        totals.markers = await store.count("pipeline:line:")
        async for entry in store.scan("pipeline:count:"):
            totals.counters[entry.key.removeprefix("pipeline:count:")] = entry.value
    return totals


class Killer:
    """Kills a broker when so much is done: all but the last time under way, the last time during the fold."""

    def __init__(self, broker: Broker | None, kills: int, lines: int) -> None:
        self._broker = broker
        self._in_fold = kills > 1
        self._left = kills - self._in_fold
        self._step = 2 * lines / (self._left + 1)
        self._lines = lines
        self.killed = 0

    async def watch(self, pipeline: Pipeline) -> None:
        """A line counts twice: when it is appended, and when its result is written."""
        while self._broker is not None and self._left:
            if pipeline.appended + pipeline.handled >= self._step * (self.killed + 1):
                await asyncio.to_thread(self._broker.kill_and_restart)
                self.killed += 1
                self._left -= 1
            await asyncio.sleep(0.005)

    def folded(self, results: int) -> None:
        """So many results are counted."""
        if self._broker is not None and self._in_fold and results * 2 >= self._lines:
            self._in_fold = False
            self._broker.kill_and_restart()
            self.killed += 1


async def compare(client: nexo.Client, lines: list[str], totals: Totals) -> Table:
    """What is in the brokers in the end, against the file."""
    table = Table()
    expected: Counter[str] = Counter()
    for line in lines:
        action, package = action_and_package(line)
        expected[f"action:{action}"] += 1
        expected[f"package:{package}"] += 1
    source = await client.stream.get(LINES)
    stored = [(record.seq, record.data) async for record in source.read()]
    table.compare(f"stream {LINES}: records, in order", list(enumerate(lines, 1)), stored)
    table.compare(f"group {GROUP}: lines behind", 0, (await source.group(GROUP).lag()).messages)
    info = await client.queue.describe(JOBS)
    table.compare(f"queue {JOBS}: jobs left", 0, info.messages)
    table.compare(f"queue {JOBS}: dead letters left", 0, info.dead_letters)
    table.compare("store: a marker for each line", len(lines), totals.markers)
    for kind in ("action:", "package:"):
        wanted = {name: count for name, count in expected.items() if name.startswith(kind)}
        got = {name: count for name, count in totals.counters.items() if name.startswith(kind)}
        table.compare(f"store: counters by {kind[:-1]}", wanted, got)
        table.compare(f"store: sum of counters by {kind[:-1]}", len(lines), sum(got.values()))
    for name, count in sorted(expected.items(), key=lambda item: -item[1])[:4]:
        table.compare(name, count, totals.counters.get(name, 0))
    return table


async def run(lines: list[str], host: str, port: int, seed: int, broker: Broker | None, kills: int) -> int:
    """All of it, and the table; 0 if everything agrees."""
    killer = Killer(broker, kills, len(lines))
    begin = time.perf_counter()
    async with nexo.connect(host=host, port=port, timeout=30) as client:
        pipeline = Pipeline(client, lines, seed)
        watching = asyncio.create_task(killer.watch(pipeline))
        try:
            await pipeline.run()
        finally:
            watching.cancel()
        say(
            f"{len(lines)} lines in {time.perf_counter() - begin:.1f} s: {pipeline.failed} failures,"
            f" {pipeline.redriven} dead letters redriven"
        )
        while True:
            try:
                totals = await fold(host, port, killer.folded)
                break
            except LOST as error:
                say(f"the fold begins again: {error}")
        twice = totals.results - totals.markers
        say(f"{totals.results} results, {twice} of them written twice; killed {killer.killed} times")
        table = await compare(client, lines, totals)
        table.compare("broker: times killed", kills, killer.killed)
    return 0 if table.print() else 1


def main() -> int:
    """Read the file, run against a broker, print the table; 0 if everything agrees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = LOG if LOG.exists() else STATUS
    parser.add_argument("path", nargs="?", type=Path, default=path, help=f"a file of lines ({path})")
    parser.add_argument("--lines", type=int, default=10_000, help="at most so many lines (10000)")
    parser.add_argument("--seed", type=int, default=1, help="of the workers' bad luck (1)")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="kill the broker so many times")
    parser.add_argument("--seconds", type=float, default=120, help="give up after this time (120)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="of a broker that runs already")
    options = parser.parse_args()
    if options.kill and options.port is not None:
        parser.error("--kill is for a broker of its own: without --port")
    try:
        lines = options.path.read_text(encoding="utf-8", errors="replace").splitlines()[: options.lines]
    except FileNotFoundError:
        say(f"{options.path} does not exist: not a Debian system? Name a file as an argument.")
        return 1
    say(f"{len(lines)} lines of {options.path}")
    # Failing handlers and lost connections are what this is about: no news.
    logging.getLogger("nexo").addHandler(logging.NullHandler())

    async def bounded(host: str, port: int, broker: Broker | None) -> int:
        try:
            async with asyncio.timeout(options.seconds):
                return await run(lines, host, port, options.seed, broker, options.kill)
        except TimeoutError:
            say(f"not done in {options.seconds:g} seconds")
            return 1

    if options.port is not None:
        return asyncio.run(bounded(options.host, options.port, None))
    with own_broker() as broker:
        return asyncio.run(bounded("127.0.0.1", broker.port, broker))


if __name__ == "__main__":
    sys.exit(main())
