"""Cleaning of a running server's log: the data directory shrinks to what is alive, and all of that is there."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nexo
from tests.conftest import Server, running

MESSAGES = int(os.environ.get("NEXO_CLEANING_MESSAGES", "20000"))
"""With a million, one in ten thousand is kept; that takes a minute and a half, compiled."""
KEPT_EVERY = MESSAGES // 100
FILES = ("--log-file-bytes", "256kb" if MESSAGES < 100_000 else "4mb")
FILE_BYTES = 256 * 1024 if MESSAGES < 100_000 else 4 * 1024 * 1024
BATCH = 1_000


def size(folder: Path, prefix: str = "log-") -> int:
    """Bytes of the log files."""
    data = folder / "data"
    total = 0
    for name in os.listdir(data):
        if name.startswith(prefix):
            with suppress(FileNotFoundError):  # it may go meanwhile
                total += os.stat(data / name).st_size
    return total


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.05)


async def fill(server: Server, folder: Path) -> None:
    """Push, settle all but a few, of which some are dead letters and some wait for next year; the same with records."""
    async with await nexo.connect(port=server.port) as client:
        await client.queue.create("work", visibility_timeout_ms=600_000)
        work = await client.queue.get("work")
        await client.queue.create("later")
        later = await client.queue.get("later")
        await client.stream.create("events")
        events = await client.stream.get("events")
        for start in range(0, MESSAGES, BATCH):
            numbers = range(start, start + BATCH)
            await work.push_batch([{"n": number, "pad": "x" * 100} for number in numbers])
            if start % KEPT_EVERY == 0:
                await later.push({"n": start}, delay_ms=365 * 24 * 3_600_000)
                await events.publish({"n": start})
        assert size(folder) > MESSAGES * 100
        for start in range(0, MESSAGES, BATCH):
            jobs = await work.receive(BATCH, wait_ms=1_000)
            assert [job.data["n"] for job in jobs] == list(range(start, start + BATCH))
            await asyncio.gather(*(job.ack() for job in jobs if job.data["n"] % KEPT_EVERY))
            kept = [job for job in jobs if job.data["n"] % KEPT_EVERY == 0]
            for job in kept:
                if job.data["n"] % (2 * KEPT_EVERY) == 0:
                    await job.nack("broken", fatal=True)


async def check(server: Server) -> None:
    kept = range(0, MESSAGES, KEPT_EVERY)
    async with await nexo.connect(port=server.port) as client:
        work = await client.queue.get("work")
        jobs = await work.receive(1_000, wait_ms=1_000)
        assert [job.data["n"] for job in jobs] == [n for n in kept if n % (2 * KEPT_EVERY)]
        await asyncio.gather(*(job.nack(release=True) for job in jobs))
        letters = await work.dlq.peek(1_000)
        assert [letter.data["n"] for letter in letters] == [n for n in kept if n % (2 * KEPT_EVERY) == 0]
        later = await client.queue.get("later")
        assert (await later.describe()).delayed == len(
            [s for s in range(0, MESSAGES, BATCH) if s % KEPT_EVERY == 0]
        )
        events = await client.stream.get("events")
        records = [record.data["n"] async for record in events.read(start="beginning", limit=10_000)]
        assert records == [s for s in range(0, MESSAGES, BATCH) if s % KEPT_EVERY == 0]


def test_the_directory_shrinks_to_what_is_alive(tmp_path: Path) -> None:
    server = Server(tmp_path, *FILES)
    try:
        asyncio.run(fill(server, tmp_path))
        asyncio.run(until(lambda: size(tmp_path) < 4 * FILE_BYTES))
        assert "cleaning" in server.log()
        asyncio.run(check(server))
    finally:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    for _ in range(2):
        with running(tmp_path, *FILES) as again:
            asyncio.run(check(again))
        assert "Traceback" not in again.log()
    assert size(tmp_path) < 5 * FILE_BYTES
