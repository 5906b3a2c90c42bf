"""Compaction of a running server's log: files go, what they held stays, over SIGKILL and restart."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx

import nexo
from tests.conftest import Server, running

MESSAGES = 3_000
KEPT_EVERY = 10
SMALL_FILES = ("--log-file-bytes", "64kb")


def log_files(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder / "data") if name.startswith("log-"))


def snapshots(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder / "data") if name.startswith("snapshot-")]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


async def fill(server: Server, folder: Path) -> list[int]:
    """Push and settle all but every tenth, append to a stream; the sequences that the stream gave."""
    async with await nexo.connect(port=server.port) as client:
        await client.queue.create("work")
        queue = await client.queue.get("work")
        await client.stream.create("events")
        stream = await client.stream.get("events")
        seqs: list[int] = []
        for start in range(0, MESSAGES, 100):
            numbers = range(start, start + 100)
            await queue.push_batch([{"n": number, "pad": "x" * 100} for number in numbers])
            seqs += [await stream.publish({"n": number}) for number in list(numbers)[::10]]
            # Those that were given back come first.
            jobs = await queue.receive(100 + start // KEPT_EVERY, wait_ms=1_000)
            await asyncio.gather(*(job.ack() for job in jobs if job.data["n"] % KEPT_EVERY))
            await asyncio.gather(*(job.nack(release=True) for job in jobs if not job.data["n"] % KEPT_EVERY))
        await until(lambda: bool(snapshots(folder)))
    return seqs


async def check(server: Server, seqs: list[int]) -> None:
    async with await nexo.connect(port=server.port) as client:
        queue = await client.queue.get("work")
        found: list[int] = []
        while jobs := await queue.receive(100, wait_ms=0):
            found += [job.data["n"] for job in jobs]
        assert found == list(range(0, MESSAGES, KEPT_EVERY))
        stream = await client.stream.get("events")
        records = [record async for record in stream.read(start="beginning", limit=len(seqs) + 1)]
        assert [record.seq for record in records] == seqs
        assert [record.data["n"] for record in records] == list(range(0, MESSAGES, 10))


def test_what_was_compacted_is_there_after_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path, *SMALL_FILES)
    seqs = asyncio.run(fill(server, tmp_path))
    with httpx.Client(base_url=server.http, trust_env=False) as client:

        def agrees() -> bool:
            """Whether what is told is what the directory shows: compactions may follow one another."""
            shown = client.get("/api/v1/storage").json()
            names = [one["name"] for one in shown["files"]]
            assert shown["snapshot"]["bytes"] > 0
            assert 0 <= time.time() * 1000 - shown["snapshot"]["written_at"] < 3_600_000
            # The present file is made with its first batch.
            return [shown["snapshot"]["name"]] == snapshots(tmp_path) and log_files(tmp_path) in (
                names,
                names[:-1],
            )

        asyncio.run(until(agrees))
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    for _ in range(2):
        with running(tmp_path, *SMALL_FILES) as again:
            asyncio.run(check(again, seqs))
        assert "Traceback" not in again.log()


def test_files_that_nothing_needs_go(tmp_path: Path) -> None:
    async def churn(server: Server) -> None:
        async with await nexo.connect(port=server.port) as client:
            await client.queue.create("work")
            queue = await client.queue.get("work")
            first = log_files(tmp_path)[0]
            for _ in range(20):
                await queue.push_batch([b"x" * 1_000] * 100)
                jobs = await queue.receive(100, wait_ms=1_000)
                await asyncio.gather(*(job.ack() for job in jobs))
            await until(lambda: first not in log_files(tmp_path))

    with running(tmp_path, *SMALL_FILES) as server:
        asyncio.run(churn(server))
        assert "Traceback" not in server.log()
