"""Consumers of the async client: what they keep alive, what they give back, how they end."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
import pytest_asyncio

import nexo
from nexo.client.iterating import LEFT

pytestmark = pytest.mark.asyncio

WAIT_MS = 5_000


@pytest_asyncio.fixture(params=["socket", "embedded"])
async def client(request: pytest.FixtureRequest) -> Any:
    if request.param == "embedded":
        async with nexo.embedded() as one:
            yield one
    else:
        server = request.getfixturevalue("server")
        async with nexo.connect(port=server.port) as one:
            yield one


async def settled(queue: nexo.Queue) -> nexo.QueueInfo:
    """The queue's figures when nothing of it is lent any more."""
    async with asyncio.timeout(10):
        while (info := await queue.describe()).leased:
            await asyncio.sleep(0.005)
    return info


async def waiting(queue: nexo.Queue, consumers: int = 1) -> None:
    """Until so many wait for messages at the server."""
    async with asyncio.timeout(10):
        while (await queue.describe()).waiting_consumers != consumers:
            await asyncio.sleep(0.005)


async def test_a_loop_that_is_left_counts_as_failed(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", max_deliveries=1)
    await queue.push_batch(range(5))
    async for job in queue.consume():
        if job.data == 2:
            break
    gc.collect()
    info = await settled(queue)
    assert (info.acked, info.dead_letters, info.ready) == (2, 1, 2)
    (letter,) = await queue.dlq.peek()
    assert (letter.data, letter.reason) == (2, LEFT)


async def test_a_receive_that_is_cancelled_gives_back(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    given_up = asyncio.ensure_future(queue.receive(1, WAIT_MS))
    await waiting(queue)
    given_up.cancel()
    await asyncio.wait([given_up])
    await queue.push("late")
    (job,) = await queue.receive(1, WAIT_MS)
    assert (job.data, job.attempts) == ("late", 1)
    assert (await queue.describe()).nacked == 1


async def test_waiting_for_the_next_job_may_be_given_up(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    async with asyncio.timeout(10), queue.consume() as jobs:
        given_up = asyncio.ensure_future(anext(jobs))
        await waiting(queue)
        given_up.cancel()
        await asyncio.wait([given_up])
        await queue.push("late")
        assert (await anext(jobs)).data == "late"
    assert (await queue.describe()).nacked == 0


async def test_a_cancelled_body_does_not_count(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push("job")
    begun = asyncio.Event()

    async def consume() -> None:
        async with queue.consume() as jobs:
            async for _ in jobs:
                begun.set()
                await asyncio.Event().wait()

    task = asyncio.ensure_future(consume())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    (job,) = await queue.receive(1, WAIT_MS)
    assert job.attempts == 1


async def test_the_heartbeat_keeps_what_is_worked_on(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", visibility_timeout_ms=120)
    await queue.push_batch(["in hand", "fetched ahead"])
    # A timer that the server keeps: three leases long.
    timer = await client.queue.create(name + "-timer", durability="memory")
    async with asyncio.timeout(10), queue.consume() as jobs:
        job = await anext(jobs)
        await timer.push("now", delay_ms=360)
        assert await timer.receive(1, WAIT_MS)
        assert await queue.receive() == []
        await job.ack()
        second = await anext(jobs)
        assert second.attempts == 1
    info = await settled(queue)
    assert (info.acked, info.redelivered) == (2, 0)


async def test_without_heartbeat_a_lease_runs_out(
    client: nexo.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await client.queue.create(name, durability="memory", visibility_timeout_ms=30)
    await queue.push("job")
    async with asyncio.timeout(10), queue.consume(heartbeat=False) as jobs:
        first = await anext(jobs)
        (second,) = await queue.receive(1, WAIT_MS)
        assert (second.id, second.attempts) == (first.id, 2)
        await second.extend(60_000)
    async with asyncio.timeout(10):
        while not any("could not be acked" in record.getMessage() for record in caplog.records):
            await asyncio.sleep(0)
    await second.ack()


async def test_a_lost_lease_is_noticed_by_the_heartbeat(
    client: nexo.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await client.queue.create(name, durability="memory", visibility_timeout_ms=60)
    await queue.push_batch([1, 2])
    async with asyncio.timeout(10), queue.consume() as jobs:
        await anext(jobs)
        await queue.purge()
        while not any("has lost its lease" in record.getMessage() for record in caplog.records):
            await asyncio.sleep(0.005)
        await queue.push(3)
        # What was fetched ahead and is gone is not handed out.
        assert (await anext(jobs)).data == 3


async def test_acks_of_a_turn_leave_together(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push_batch(range(100))
    requests = []
    start = client._connection.start

    def counted(opcode: int, *arguments: Any, **options: Any) -> int:
        requests.append(opcode)
        return start(opcode, *arguments, **options)

    client._connection.start = counted  # type: ignore[method-assign]
    jobs = await queue.receive(100)
    await asyncio.gather(*(job.ack() for job in jobs))
    assert len(requests) == 2
    assert (await queue.describe()).acked == 100


async def test_a_bounded_number_of_calls_runs_at_once(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push_batch(range(30))
    running = most = 0
    done = asyncio.Event()

    async def callback(job: nexo.Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        if job.data == 29:
            done.set()

    consumer = await queue.subscribe(callback, concurrency=3, batch_size=10)
    async with asyncio.timeout(10):
        await done.wait()
    await consumer.stop()
    assert most == 3
    assert (await settled(queue)).acked == 30


async def test_stopping_waits_for_what_runs(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push_batch(range(4))
    begun, finish = asyncio.Event(), asyncio.Event()

    async def callback(job: nexo.Job) -> None:
        begun.set()
        await finish.wait()

    consumer = await queue.subscribe(callback, concurrency=1)
    await begun.wait()
    stopping = asyncio.ensure_future(consumer.stop())
    # What was fetched ahead is there for others at once, and has not been counted.
    async with asyncio.timeout(10):
        others = []
        while len(others) < 3:
            others += await queue.receive(3, WAIT_MS)
    assert {job.attempts for job in others} == {1}
    assert not stopping.done()
    finish.set()
    await stopping
    assert consumer.handled == 1
    assert (await queue.describe()).acked == 1


async def test_a_callback_may_stop_its_consumer(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push_batch(range(3))
    consumers: list[nexo.JobConsumer] = []
    done = asyncio.Event()

    async def callback(job: nexo.Job) -> None:
        await consumers[0].stop()
        done.set()

    consumers.append(await queue.subscribe(callback, concurrency=1))
    async with asyncio.timeout(10):
        await done.wait()
        await consumers[0].stop()
    info = await settled(queue)
    assert (info.acked, info.ready) == (1, 2)


async def test_a_queue_that_is_deleted_ends_its_consumers(
    client: nexo.Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await client.queue.create(name, durability="memory")
    consumer = await queue.subscribe(print)
    async with asyncio.timeout(10), queue.consume() as jobs:
        waits = asyncio.ensure_future(anext(jobs))
        await waiting(queue, 2)
        await client.queue.delete(name)
        with pytest.raises(nexo.ResourceNotFoundError):
            await waits
        while consumer.active:
            await asyncio.sleep(0)
        assert isinstance(consumer.error, nexo.ResourceNotFoundError)
    await consumer.stop()


async def test_closing_the_client_ends_everything(
    server: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "nexo.client")
    client = await nexo.connect(port=server.port)
    queue = await client.queue.create(name)
    stream = await client.stream.create(name)
    consumers = [await queue.subscribe(print), await stream.group("a").subscribe(print)]

    async def count(items: Any) -> int:
        return len([item async for item in items])

    loops = [
        asyncio.ensure_future(count(items))
        for items in (queue.consume(), stream.group("b").consume(), stream.read(follow=True))
    ]
    await waiting(queue, 2)
    while len(await stream.groups()) < 2:
        await asyncio.sleep(0.005)
    await client.close()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*loops) == [0, 0, 0]
        while any(consumer.active for consumer in consumers):
            await asyncio.sleep(0)
        for consumer in consumers:
            await consumer.stop()
    assert [consumer.error for consumer in consumers] == [None, None]
    assert caplog.records == []


async def test_a_fenced_member_drops_what_it_has_fetched(client: nexo.Client, name: str) -> None:
    stream = await client.stream.create(name, durability="memory")
    await stream.publish_batch(range(50))
    group = stream.group("g")
    async with asyncio.timeout(10), group.consume() as messages:
        await anext(messages)
        await group.seek(40)
        seen = [(await anext(messages)).seq]
        await asyncio.sleep(0.01)  # the ack that was refused has told it
        while seen[-1] < 50:
            seen.append((await anext(messages)).seq)
    assert seen[0] == 2
    assert seen[-11:] == list(range(40, 51))
    assert len(seen) <= 13
