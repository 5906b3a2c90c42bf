"""Batches across brokers, with all four clients: `client` is each of them in turn, `sdk` the async one."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

import nexo
from nexo.limits import BATCH_COMMANDS_MAX
from tests.client.surfaces import Awaited

pytestmark = pytest.mark.asyncio


async def done(call: Any) -> Any:
    """What a method that gathers gives; behind `Awaited` it is awaited, and a plain value otherwise."""
    return await call if inspect.isawaitable(call) else call


def bare(delivery: Any) -> Any:
    """A delivery as its own client has it."""
    return delivery._inner if isinstance(delivery, Awaited) else delivery


async def lent(client: Any, name: str) -> tuple[Any, Any]:
    """A job of a queue and a message of a group of a stream."""
    queue = await client.queue.create(name)
    await queue.push("job")
    (job,) = await queue.receive(1, 2_000)
    stream = await client.stream.create(name)
    await stream.publish("event")
    messages = await stream.group("g").consume().__aenter__()
    return job, (messages, await messages.__anext__())


async def test_everything_together(client: Any, name: str) -> None:
    """Consume a job, write its result, append an event, ack the job."""
    job, (messages, message) = await lent(client, name)
    await client.store.map.set(f"{name}:text", "old")
    async with client.batch() as b:
        await done(b.require(key=f"{name}:n", version=0))
        await done(b.require(key=f"{name}:text"))
        await done(b.require(queue=name))
        await done(b.require(stream=name, last_seq=1))
        outcomes = [
            await done(call)
            for call in (
                b.store.map.set(f"{name}:result", {"sum": 3}, ttl=60),
                b.store.map.put(f"{name}:text", "new", return_old=True),
                b.store.map.incr(f"{name}:n", 5),
                b.store.map.incr_bounded(f"{name}:n", 9, maximum=7, saturate=True),
                b.store.map.delete(f"{name}:none"),
                b.store.map.remove(f"{name}:none"),
                b.queue(name).push("next", priority=3, headers={"h": "v"}),
                b.queue(name).push_batch(["more", nexo.client.Push(value="most", dedup="d")]),
                b.pubsub.publish(f"{name}/topic", "news", retain=True, headers={"h": "v"}),
                b.stream(name).publish("done", key="k", headers={"h": "v"}),
                b.stream(name).publish_batch(["a", nexo.client.Publish(value="b", key="k")], expected_seq=2),
                b.ack(bare(job)),
                b.ack(bare(message)),
            )
        ]
        assert await client.store.map.get(f"{name}:result") is None, "nothing travels before the end"
        with pytest.raises(nexo.InvalidArgumentError, match="not been carried out"):
            outcomes[0].result  # noqa: B018
    results = [outcome.result for outcome in outcomes]
    assert results == b.results
    assert [outcome.index for outcome in outcomes] == list(range(13))
    assert results[0] is None
    assert (results[1].applied, results[1].old) == (True, "old")
    assert results[2] == 5
    assert (results[3].value, results[3].applied) == (7, 2)
    assert results[5] is False
    assert results[6].id < results[7][0].id < results[7][1].id
    assert not results[7][1].duplicate
    assert results[9] == 2
    assert results[10] == [3, 4]
    assert bare(job).settled
    assert bare(message).settled

    assert await client.store.map.get(f"{name}:result") == {"sum": 3}
    assert (await client.store.map.entry(f"{name}:text")).version == results[1].version
    queue = await client.queue.get(name)
    jobs = await queue.receive(9, 2_000)
    assert [(one.data, one.headers.get("h")) for one in jobs] == [
        ("next", b"v"),
        ("more", None),
        ("most", None),
    ]
    stream = await client.stream.get(name)
    assert [(one.seq, one.data) async for one in stream.read(2)] == [(2, "done"), (3, "a"), (4, "b")]
    async with client.pubsub.subscribe(f"{name}/topic") as subscription:
        assert (await anext(subscription)).data == "news"
    async with client.batch() as b:
        await done(b.pubsub.clear_retained(f"{name}/topic"))
    await messages.stop()
    group = stream.group("g")
    assert [one.seq for one in await drained(group, 3)] == [2, 3, 4], "the acked one does not come again"


async def drained(group: Any, count: int) -> list[Any]:
    found = []
    async with group.consume() as messages:
        async for message in messages:
            found.append(message)
            if len(found) == count:
                break
    return found


async def test_nothing_of_a_refused_one(client: Any, name: str) -> None:
    job, (messages, message) = await lent(client, name)

    async def batch() -> None:
        async with client.batch() as b:
            await done(b.store.map.set(name, "v"))
            await done(b.queue(name).push("next"))
            await done(b.ack(bare(job)))
            await done(b.stream(name).publish("done", expected_seq=7))
            await done(b.ack(bare(message)))

    with pytest.raises(nexo.BatchRefusedError, match="command 3 of the batch") as caught:
        await batch()
    error = caught.value
    assert isinstance(error, nexo.ServerError)
    assert (error.command, error.precondition) == (3, None)
    assert isinstance(error.reason, nexo.SequenceMismatchError)
    assert error.reason.details == {"actual": 1}
    assert not bare(job).settled
    assert await client.store.map.get(name) is None
    queue = await client.queue.get(name)
    assert await queue.receive() == []
    assert [one.data async for one in (await client.stream.get(name)).read()] == ["event"]
    await job.ack()
    await message.ack()
    await messages.stop()


async def test_a_precondition_that_does_not_hold(client: Any, name: str) -> None:
    await client.store.map.set(name, "v")

    async def batch() -> None:
        async with client.batch() as b:
            await done(b.require(key=name))
            assert await done(b.require(key=name, version=0)) == 1
            await done(b.store.map.set(name, "w"))

    with pytest.raises(nexo.BatchRefusedError) as caught:
        await batch()
    assert (caught.value.command, caught.value.precondition) == (None, 1)
    reason = caught.value.reason
    assert isinstance(reason, nexo.PreconditionFailedError)
    assert reason.details["actual"] == (await client.store.map.entry(name)).version


async def test_nothing_is_sent_on_an_exception(client: Any, name: str) -> None:
    kept = []

    async def batch() -> None:
        async with client.batch() as b:
            kept.append(b)
            await done(b.store.map.set(name, "v"))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await batch()
    assert await client.store.map.get(name) is None
    with pytest.raises(nexo.InvalidArgumentError, match="begin another"):
        await done(kept[0].store.map.set(name, "v"))


async def test_the_job_of_a_block_is_acked_once(client: Any, name: str) -> None:
    """`consume` and `async with job` leave alone what a batch has acked, and nack what it could not."""
    queue = await client.queue.create(name, backoff="none")
    await queue.push("job")

    async def batch(job: Any, **condition: int) -> None:
        async with job, client.batch() as b:
            await done(b.ack(bare(job)))
            await done(b.store.map.set(name, "v", **condition))

    async with queue.consume() as jobs:
        job = await anext(aiter(jobs))
        with pytest.raises(nexo.BatchRefusedError):
            await batch(job, version=99)
    (job,) = await queue.receive(1, 5_000)
    assert job.attempts == 2
    await batch(job)
    info = await queue.describe()
    assert (info.acked, info.nacked, info.messages) == (1, 1, 0)


async def test_a_batch_that_is_sent_again_is_refused(client: Any, name: str) -> None:
    """Its ack is what makes it happen once."""
    queue = await client.queue.create(name)
    await queue.push("job")
    (job,) = await queue.receive(1, 5_000)

    async def batch() -> None:
        async with client.batch() as b:
            await done(b.ack(bare(job)))
            await done(b.store.map.incr(name))

    await batch()
    with pytest.raises(nexo.BatchRefusedError) as caught:
        await batch()
    assert isinstance(caught.value.reason, nexo.FencedError)
    assert await client.store.map.get(name) == 1


async def test_an_empty_batch(client: Any) -> None:
    async with client.batch() as b:
        pass
    assert b.results == []


async def test_only_what_can_be_said_is_taken(sdk: nexo.Client, name: str) -> None:
    async with sdk.batch() as b:
        for wrong in (
            {},
            {"key": "a", "queue": "b"},
            {"version": 1},
            {"queue": "q", "last_seq": 1},
            {"key": "k", "version": -1},
        ):
            with pytest.raises(nexo.InvalidArgumentError):
                b.require(**wrong)
        with pytest.raises(nexo.InvalidArgumentError, match="priority"):
            b.queue(name).push("v", priority=256)
        for _ in range(BATCH_COMMANDS_MAX):
            b.store.map.incr(name)
        with pytest.raises(nexo.LimitExceededError, match="batch_commands_max"):
            b.store.map.incr(name)
        assert repr(b) == f"Batch(commands={BATCH_COMMANDS_MAX}, preconditions=0)"
    assert b.results[-1] == BATCH_COMMANDS_MAX
    with pytest.raises(nexo.LimitExceededError, match="batch_bytes_max"):
        async with sdk.batch() as b:
            b.store.map.set(name, bytes(5 * 1024 * 1024))


async def test_many_at_once_on_one_counter(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name)

    async def one(number: int) -> None:
        async with sdk.batch() as b:
            count = b.store.map.incr(name)
            b.queue(name).push(number)
        assert count.result > 0

    await asyncio.gather(*(one(number) for number in range(200)))
    assert await sdk.store.map.get(name) == 200
    assert sorted([job.data for job in await queue.receive(200, 2_000)]) == list(range(200))


async def test_a_publication_follows_what_it_tells_of(sdk: nexo.Client, name: str) -> None:
    """Whoever hears of it finds all of it."""
    queue = await sdk.queue.create(name)
    async with sdk.pubsub.subscribe(name) as heard:
        async with sdk.batch() as b:
            b.pubsub.publish(name, "pushed")
            b.queue(name).push("job")
        assert (await anext(heard)).data == "pushed"
        assert len(await queue.receive()) == 1
