"""A server that is killed and comes back on the same port and data: consumers go on, and what may be repeated is."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import nexo
from tests.client.proxies import Proxy, restarted
from tests.client.test_connection import until
from tests.conftest import Server

pytestmark = pytest.mark.asyncio

QUICK = nexo.Reconnect(first_seconds=0.01, longest_seconds=0.05)


class Killable:
    """A server that can be killed, and started anew where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(folder)
        self.port = self.server.port

    async def kill(self) -> None:
        """As a power cut, as far as a process can tell."""
        process = self.server.process
        process.kill()
        await asyncio.to_thread(process.wait)
        assert process.stdout is not None
        process.stdout.close()
        self.server.stopped = True

    async def start(self) -> None:
        """On the same port, with the same data."""
        self.server = await restarted(self.folder, self.port)


@asynccontextmanager
async def killable(folder: Path) -> AsyncIterator[tuple[Killable, nexo.Client]]:
    """A server and a client of it."""
    server = await asyncio.to_thread(Killable, folder)
    try:
        async with asyncio.timeout(25), nexo.connect(port=server.port, reconnect=QUICK) as client:
            yield server, client
    finally:
        if not server.server.stopped:
            assert await asyncio.to_thread(server.server.stop) == 0


async def test_everything_goes_on_after_a_kill(tmp_path: Path) -> None:
    async with killable(tmp_path) as (server, client):
        queue = await client.queue.create("q", backoff="none")
        stream = await client.stream.create("s")
        handled: asyncio.Queue[Any] = asyncio.Queue()
        grouped: asyncio.Queue[Any] = asyncio.Queue()
        jobs, followed = queue.consume(batch_size=1), stream.read(follow=True)
        subscription = await stream.group("g").subscribe(lambda message: grouped.put_nowait(message.data))
        messages = stream.group("h").consume(batch_size=1)
        worker = nexo.Worker(await client.queue.create("w"), lambda job: handled.put_nowait(job.data))
        working = asyncio.ensure_future(worker.run(signals=False))
        work = await client.queue.get("w")
        await queue.push_batch(["a", "b"])
        await stream.publish("a")
        await work.push("a")
        in_hand = await anext(jobs)
        assert in_hand.data == "a"
        assert [(await anext(followed)).data, (await anext(messages)).data] == ["a", "a"]
        assert [await handled.get(), await grouped.get()] == ["a", "a"]
        # The acks have arrived once nothing is lent any more.
        while (await work.describe()).messages or (await stream.group("g").lag()).messages:
            await asyncio.sleep(0.005)
        await server.kill()
        await until(client, nexo.Disconnected)
        await server.start()
        await until(client, nexo.Reconnected)
        await stream.publish("b")
        await work.push("b")
        # What was in hand is lent anew; what was confirmed is there.
        with pytest.raises(nexo.FencedError):
            await in_hand.ack()
        again = [(await anext(jobs)).data for _ in range(2)]
        assert sorted(again) == ["a", "b"]
        assert (await anext(followed)).data == "b"
        assert [await handled.get(), await grouped.get()] == ["b", "b"]
        # The ack that is sent when the next is asked for finds its membership gone, or was in time.
        data = ""
        while data != "b":
            data = (await anext(messages)).data
        await worker.stop()
        await working
        for ending in (jobs, messages, subscription):
            await ending.stop()
        assert worker.handled == 2
        assert (await work.describe()).messages == 0


async def test_only_what_may_be_repeated_is_pushed_again(tmp_path: Path) -> None:
    async with killable(tmp_path) as (server, client):
        queue = await client.queue.create("q")
        stream = await client.stream.create("s")
        producer = stream.producer("p")
        await producer.publish("before")
        server.server.process.send_signal(signal.SIGSTOP)  # requests are under way, and stay it
        plain = asyncio.ensure_future(queue.push("plain"))
        batch = asyncio.ensure_future(queue.push_batch([nexo.Push(value=1, dedup="a"), 2]))
        unique = asyncio.ensure_future(queue.push("unique", dedup="key", want_id=True))
        appended = asyncio.ensure_future(stream.publish("plain"))
        produced = [asyncio.ensure_future(producer.publish(number)) for number in range(50)]
        await asyncio.sleep(0.01)
        await server.kill()
        for lost in (plain, batch, appended):
            with pytest.raises(nexo.ConnectionClosedError):
                await lost
        await server.start()
        id = await unique
        assert await queue.push("unique", dedup="key", want_id=True) == id
        await asyncio.gather(*produced)
        assert [message.data async for message in queue.browse()] == ["unique"]
        assert [record.data async for record in stream.read()] == ["before", *range(50)]


async def test_a_repeated_push_is_in_the_queue_once(server: Server) -> None:
    # The answers are lost, not the requests: each is done, and sent again.
    async with (
        asyncio.timeout(20),
        nexo.connect(port=server.port) as direct,
        Proxy(server.port) as proxy,
        nexo.connect(port=proxy.port, reconnect=QUICK) as client,
    ):
        queue = await client.queue.create("once")
        stream = await client.stream.create("once")
        producer = stream.producer("p")
        there, records = await direct.queue.get("once"), await direct.stream.get("once")
        for number in range(3):
            sent = len(proxy.chunks)
            pushing = asyncio.ensure_future(queue.push(number, dedup=f"key {number}"))
            publishing = asyncio.ensure_future(producer.publish(number))
            while len(proxy.chunks) == sent:
                await asyncio.sleep(0)
            proxy.hold()
            while (await there.describe()).messages <= number and not pushing.done():
                proxy.release()
                await asyncio.sleep(0)
                proxy.hold()
            proxy.cut()
            proxy.release()
            await asyncio.gather(pushing, publishing)
        assert [message.data async for message in there.browse()] == [0, 1, 2]
        assert [record.data async for record in records.read()] == [0, 1, 2]


async def test_a_connection_that_breaks_takes_its_jobs_with_it(server: Server) -> None:
    async with (
        asyncio.timeout(20),
        Proxy(server.port) as proxy,
        nexo.connect(port=proxy.port, reconnect=QUICK) as client,
    ):
        queue = await client.queue.create("broken", durability="memory", backoff="none")
        await queue.push_batch(range(3))
        async with queue.consume(batch_size=3) as jobs:
            assert (await anext(jobs)).data == 0
            proxy.cut()
            await until(client, nexo.Reconnected)
            # What was fetched ahead is not handed out: it comes again.
            again = [await anext(jobs) for _ in range(3)]
            assert [(job.data, job.attempts) for job in again] == [(0, 2), (1, 2), (2, 2)]
        info = await queue.describe()
        assert (info.messages, info.acked) == (0, 3)


async def test_a_server_that_goes_away_does_not_wait_for_consumers(tmp_path: Path) -> None:
    async with killable(tmp_path) as (server, client):
        queue = await client.queue.create("q")
        stream = await client.stream.create("s")
        got: asyncio.Queue[Any] = asyncio.Queue()
        consumer = await queue.subscribe(lambda job: got.put_nowait(job.data))
        member = await stream.group("g").subscribe(lambda message: got.put_nowait(message.data))
        while not (await queue.describe()).waiting_consumers:
            await asyncio.sleep(0.005)
        before = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(server.server.stop) == 0
        assert asyncio.get_running_loop().time() - before < 5.0
        await server.start()
        await queue.push("job")
        assert await got.get() == "job"
        await stream.publish("record")
        assert await got.get() == "record"
        await consumer.stop()
        await member.stop()


async def test_what_a_restart_buried_stays_gone_once_it_was_dealt_with(tmp_path: Path) -> None:
    async with killable(tmp_path) as (server, client):
        queue = await client.queue.create("q", max_deliveries=1)
        await queue.push_batch(["again", "never"])
        assert len(await queue.receive(2, 1000)) == 2
        await client.queue.create("later")  # confirmed when all before it is on disk, the deliveries, too

        async def kill() -> None:
            await server.kill()
            await until(client, nexo.Disconnected)
            await server.start()
            await until(client, nexo.Reconnected)

        await kill()
        again, never = await queue.dlq.peek()
        assert again.reason == never.reason == "lease ended: the server restarted"
        assert await queue.dlq.move_to_queue(again.id)
        assert await queue.dlq.delete(never.id)
        (job,) = await queue.receive(2, 1000)
        assert job.data == "again"
        await job.ack()
        await kill()
        info = await queue.describe()
        assert (info.messages, info.dead_letters) == (0, 0)
