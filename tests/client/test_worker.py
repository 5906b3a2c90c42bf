"""Workers: how they end, what becomes of their jobs, and signals, with an event loop and without one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import nexo
from tests.conftest import SOURCE, Server

pytestmark = pytest.mark.asyncio

WAIT_MS = 5_000


async def test_it_handles_jobs_until_it_is_stopped(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory", max_deliveries=1)
    await queue.push_batch(range(20))
    seen: list[int] = []

    async def handle(job: nexo.Job) -> None:
        seen.append(job.data)
        if job.data == 3:
            raise ValueError("three")
        if len(seen) == 20:
            worker.request_stop()

    worker = nexo.Worker(queue, handle, concurrency=2, prefetch=5)
    async with asyncio.timeout(10):
        await worker.run()
    assert sorted(seen) == list(range(20))
    assert (worker.handled, worker.failed) == (19, 1)
    info = await queue.describe()
    assert (info.acked, info.dead_letters, info.messages, info.waiting_consumers) == (19, 1, 0, 0)
    assert [letter.reason for letter in await queue.dlq.peek()] == ["three"]


async def test_a_graceful_stop(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push_batch(range(10))
    begun, finish = asyncio.Semaphore(0), asyncio.Event()

    async def handle(job: nexo.Job) -> None:
        begun.release()
        await finish.wait()

    worker = nexo.Worker(queue, handle, concurrency=2, prefetch=3)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        for _ in range(2):
            await begun.acquire()
        stopping = asyncio.ensure_future(worker.stop())
        # What it had not begun with is there for others, and none is taken any more.
        others: list[nexo.Job] = []
        while len(others) < 8:
            others += await queue.receive(10, WAIT_MS)
        assert {job.attempts for job in others} == {1}
        assert not running.done() and not stopping.done()
        finish.set()
        await asyncio.gather(running, stopping)
    assert (worker.handled, worker.failed) == (2, 0)
    assert (await queue.describe()).acked == 2


async def test_what_does_not_finish_in_time_goes_back(
    sdk: nexo.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push("job")
    begun = asyncio.Event()

    async def handle(job: nexo.Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = nexo.Worker(queue, handle, grace_seconds=0.02)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        await begun.wait()
        await worker.stop()
        await running
    (job,) = await queue.receive(1, WAIT_MS)
    assert job.attempts == 1
    assert any("did not finish in time" in record.getMessage() for record in caplog.records)


async def test_being_cancelled_is_being_stopped(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push("job")
    begun = asyncio.Event()

    async def handle(job: nexo.Job) -> None:
        begun.set()
        await asyncio.sleep(0.02)

    worker = nexo.Worker(queue, handle)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert worker.handled == 1
    assert (await queue.describe()).acked == 1


async def test_a_long_handler_keeps_its_lease(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory", visibility_timeout_ms=120)
    timer = await sdk.queue.create(name + "-timer", durability="memory")
    await queue.push("job")

    async def handle(job: nexo.Job) -> None:
        await timer.push("now", delay_ms=360)  # three leases long
        assert await timer.receive(1, WAIT_MS)
        worker.request_stop()

    worker = nexo.Worker(queue, handle)
    async with asyncio.timeout(10):
        await worker.run()
    info = await queue.describe()
    assert (info.acked, info.redelivered) == (1, 0)


async def test_what_ends_it_is_raised(sdk: nexo.Client, name: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    worker = nexo.Worker(queue, print)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        while not (await queue.describe()).waiting_consumers:
            await asyncio.sleep(0.005)
        await sdk.queue.delete(name)
        with pytest.raises(nexo.ResourceNotFoundError):
            await running
        with pytest.raises(nexo.ResourceNotFoundError):
            await nexo.Worker(queue, print).run()
    with pytest.raises(nexo.InvalidArgumentError):
        nexo.Worker(queue, print, concurrency=0)


async def test_stopped_before_it_runs(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    worker = nexo.Worker(queue, print)
    await worker.stop()
    async with asyncio.timeout(10):
        await worker.run()


async def test_the_log_tells_how_it_goes(
    sdk: nexo.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nexo.client")
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push("job")

    def handle(job: nexo.Job) -> None:
        worker.request_stop()
        raise ValueError("no")

    worker = nexo.Worker(queue, handle)
    async with asyncio.timeout(10):
        await worker.run()
    lines = [record.getMessage() for record in caplog.records if record.name == "nexo.client"]
    for words in ("has started", "the handler failed on Job(id=1", "is stopping", "0 handled, 1 failed"):
        assert any(words in line for line in lines), words


PROGRAM = """
import asyncio, nexo, sys

async def main():
    async with nexo.connect(port={port}) as client:
        queue = await client.queue.get("{name}")

        async def handle(job):
            print(job.data, flush=True)
            await asyncio.sleep(0.05)

        await nexo.Worker(queue, handle, concurrency=1).run()
        print("ended", flush=True)

asyncio.run(main())
"""
BLOCKING_PROGRAM = """
import nexo, time

with nexo.blocking.connect(port={port}) as client:
    queue = client.queue.get("{name}")

    def handle(job):
        print(job.data, flush=True)
        time.sleep(0.05)

    nexo.blocking.Worker(queue, handle, concurrency=1).run()
    print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("program", [PROGRAM, BLOCKING_PROGRAM], ids=["async", "blocking"])
async def test_a_signal_ends_it(
    sdk: nexo.Client, server: Server, name: str, program: str, number: signal.Signals, tmp_path: Path
) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push_batch(range(3))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program.format(port=server.port, name=name),
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"0\n"
        process.send_signal(number)
        output, errors = await process.communicate()
    assert (process.returncode, output) == (0, b"ended\n"), errors.decode()
    info = await queue.describe()
    assert (info.acked, info.ready, info.leased) == (1, 2, 0)


async def test_without_an_event_loop(server: Server, name: str) -> None:
    def program() -> tuple[int, int, list[Any]]:
        with nexo.blocking.connect(port=server.port) as client:
            queue = client.queue.create(name, durability="memory", max_deliveries=1)
            queue.push_batch(range(10))
            both = threading.Barrier(2)
            seen = []

            def handle(job: nexo.blocking.Job) -> None:
                if job.data < 2:
                    both.wait(5)  # two run at once, each in a thread of its own
                seen.append(job.data)
                if job.data == 5:
                    raise ValueError("five")
                if len(seen) == 10:
                    worker.request_stop()

            worker = nexo.blocking.Worker(queue, handle, concurrency=2)
            worker.run()
            letters = [letter.reason for letter in queue.dlq.peek()]
            return worker.handled, worker.failed, letters

    async with asyncio.timeout(10):
        assert await asyncio.to_thread(program) == (9, 1, ["five"])


async def test_a_blocking_worker_in_a_thread_is_stopped_from_another(server: Server, name: str) -> None:
    def program() -> int:
        with nexo.blocking.connect(port=server.port) as client:
            queue = client.queue.create(name, durability="memory")
            begun = threading.Event()
            worker = nexo.blocking.Worker(queue, lambda job: begun.set())
            thread = threading.Thread(target=worker.run)
            thread.start()
            queue.push("job")
            assert begun.wait(5)
            worker.stop()
            thread.join(5)
            assert not thread.is_alive()
            return worker.handled

    async with asyncio.timeout(10):
        assert await asyncio.to_thread(program) == 1
