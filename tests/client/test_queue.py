"""The queue's whole surface, the same for all four clients."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

import nexo

pytestmark = pytest.mark.asyncio

WAIT_MS = 5_000


class Mail(msgspec.Struct):
    to: str
    lines: int = 1


async def data_of(queue: Any, count: int = 100) -> list[Any]:
    """What the queue lends now, acked."""
    jobs = await queue.receive(count)
    for job in jobs:
        await job.ack()
    return [job.data for job in jobs]


async def test_create_get_exists_delete(client: Any, name: str) -> None:
    assert not await client.queue.exists(name)
    with pytest.raises(nexo.ResourceNotFoundError):
        await client.queue.get(name)
    queue = await client.queue.create(name, visibility_timeout_ms=9_000, max_deliveries=3, backoff="none")
    assert (queue.name, queue.status) == (name, "created")
    assert queue.definition == nexo.QueueDefinition(name, 9_000, 3)
    again = await client.queue.create(name, backoff="none")
    assert (again.status, again.definition) == ("unchanged", queue.definition)
    assert (await client.queue.get(name)).definition == queue.definition
    assert await client.queue.exists(name)
    with pytest.raises(nexo.ResourceConfigConflictError) as conflict:
        await client.queue.create(name, max_deliveries=4)
    assert conflict.value.details["differences"] == [{"path": "max_deliveries", "requested": 4, "actual": 3}]
    await client.queue.delete(name)
    assert not await client.queue.exists(name)
    with pytest.raises(nexo.ResourceNotFoundError):
        await queue.push(1)
    with pytest.raises(nexo.ResourceNotFoundError):
        await client.queue.delete(name)


async def test_every_option_arrives(client: Any, name: str) -> None:
    options = {
        "visibility_timeout_ms": 1_000,
        "max_deliveries": 2,
        "durability": "memory",
        "backoff": "exponential",
        "backoff_ms": 3,
        "backoff_max_ms": 4,
        "backoff_jitter_percent": 5,
        "dedup_window_ms": 6,
        "messages_max": 7,
        "bytes_max": 8_000,
        "overflow": "drop_oldest",
        "in_flight_max": 9,
        "on_expiry": "dead_letter",
        "dead_retention_ms": 10,
        "dead_letters_max": 11,
    }
    queue = await client.queue.create(name, **options)
    info = await queue.describe()
    assert {option: getattr(info, option) for option in options} == options
    assert await client.queue.describe(name) == info
    with pytest.raises(nexo.InvalidArgumentError, match="backoff"):
        await client.queue.create(name + "x", backoff="sometimes")


async def test_list_by_prefix(client: Any, name: str) -> None:
    for letter in "bac":
        await client.queue.create(f"{name}/{letter}", durability="memory")
    assert [info.name async for info in client.queue.list(f"{name}/")] == [f"{name}/{one}" for one in "abc"]
    assert [info.name async for info in client.queue.list(f"{name}/x")] == []


@pytest.mark.parametrize("value", [b"\x00\xff", "grüße", -5, {"a": [1, None]}, None, 1.5], ids=repr)
async def test_values_come_back_as_they_are(client: Any, name: str, value: Any) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push(value)
    (job,) = await queue.receive(10)
    assert job.data == value
    assert type(job.value) is type(value)


async def test_values_of_a_type(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push(Mail("ada", 3))
    await queue.push({"to": 5})
    good, bad = await queue.receive(2, type=Mail)
    assert good.data == Mail("ada", 3)
    with pytest.raises(nexo.InvalidArgumentError, match="not of type Mail"):
        _ = bad.data
    await bad.nack("what is this", fatal=True)
    with pytest.raises(nexo.InvalidArgumentError, match="not of type Mail"):
        await queue.dlq.peek(type=Mail)


async def test_what_a_job_knows(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    assert await queue.push("plain") is None
    id = await queue.push(
        "full", priority=9, headers=[("a", "1"), ("a", b"\xff")], group="g", ttl_ms=60_000, want_id=True
    )
    first, second = await queue.receive(2)
    assert (first.id, first.data, first.priority, first.group) == (id, "full", 9, "g")
    assert tuple(first.headers) == (("a", b"1"), ("a", b"\xff"))
    assert first.attempts == 1
    assert first.enqueued_at == datetime.fromtimestamp(first.enqueued_at_ms / 1000, UTC)
    assert (second.priority, second.group, tuple(second.headers)) == (0, None, ())
    assert not first.settled
    await first.ack()
    assert first.settled


async def test_delay_and_time(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push("an hour", delay_ms=3_600_000)
    await queue.push("a time", at=datetime.now(UTC) + timedelta(hours=1))
    await queue.push("soon", delay_ms=30)
    await queue.push("long ago", at=datetime(2001, 2, 3, tzinfo=UTC))
    assert await data_of(queue) == ["long ago"]
    (job,) = await queue.receive(10, WAIT_MS)
    assert job.data == "soon"
    delayed = [message async for message in queue.browse("delayed")]
    assert [message.data for message in delayed] == ["an hour", "a time"]
    assert abs(delayed[0].due_at - delayed[1].due_at) < 60_000
    with pytest.raises(nexo.InvalidArgumentError, match="either"):
        await queue.push(1, delay_ms=5, at=datetime.now(UTC))


async def test_deduplication(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    first = await queue.push(1, dedup="key", want_id=True)
    assert await queue.push(2, dedup="key", want_id=True) == first
    await queue.push(3, dedup="key")
    pushed = await queue.push_batch(
        [nexo.Push(value=4, dedup="key"), nexo.Push(value=5, dedup="other"), 6], want_ids=True
    )
    assert [one.duplicate for one in pushed] == [True, False, False]
    assert pushed[0].id == first
    await queue.push_batch([nexo.Push(value=7, dedup="other")])
    assert await data_of(queue) == [1, 5, 6]
    for bad in ("", "x" * 2000):
        with pytest.raises(nexo.ServerError):
            await queue.push(1, dedup=bad)


async def test_a_batch_is_pushed_all_or_not_at_all(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", messages_max=3)
    await queue.push_batch([])
    assert await queue.push_batch([], want_ids=True) == []
    await queue.push_batch(["low", nexo.Push(value="high", priority=1)])
    with pytest.raises(nexo.LimitExceededError):
        await queue.push_batch([1, 2])
    assert await data_of(queue) == ["high", "low"]


async def test_groups_go_one_at_a_time(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    for number in range(2):
        await queue.push(("a", number), group="a")
    await queue.push(("b", 0), group="b")
    jobs = await queue.receive(10)
    assert [job.data for job in jobs] == [["a", 0], ["b", 0]]
    await jobs[0].ack()
    assert await data_of(queue) == [["a", 1]]


async def test_settling(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", max_deliveries=2, backoff="none")
    await queue.push("job")
    (job,) = await queue.receive()
    await job.nack(release=True)
    (job,) = await queue.receive()
    assert job.attempts == 1
    await job.extend(60_000)
    await job.nack("try again", delay_ms=20)
    for late in (job.ack, job.nack, lambda: job.extend(5)):
        with pytest.raises(nexo.FencedError):
            await late()
    (job,) = await queue.receive(1, WAIT_MS)
    assert job.attempts == 2
    await job.nack("was für ein Fehler")
    assert await queue.receive() == []
    (letter,) = await queue.dlq.peek()
    assert (letter.data, letter.attempts, letter.reason) == ("job", 2, "was für ein Fehler")
    with pytest.raises(nexo.InvalidArgumentError):
        await job.nack(release=True, fatal=True)


async def test_a_lease_that_runs_out(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", visibility_timeout_ms=30)
    await queue.push("job")
    (first,) = await queue.receive()
    (second,) = await queue.receive(1, WAIT_MS)
    assert (second.id, second.attempts) == (first.id, 2)
    with pytest.raises(nexo.FencedError):
        await first.ack()
    await second.ack()


async def test_a_job_as_a_context(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", max_deliveries=1)
    for number in range(3):
        await queue.push(number)
    good, bad, own = await queue.receive(3)
    async with good:
        pass
    with pytest.raises(ValueError, match="not today"):
        async with bad:
            raise ValueError("not today")
    async with own:
        await own.nack("by hand", fatal=True)
    assert [(letter.data, letter.reason) for letter in await queue.dlq.peek()] == [
        (1, "not today"),
        (2, "by hand"),
    ]
    assert (await queue.describe()).acked == 1


async def buried(queue: Any, *reasons: str) -> None:
    """A dead letter for each reason, whose value is its number."""
    await queue.push_batch(range(len(reasons)))
    for job, reason in zip(await queue.receive(len(reasons)), reasons, strict=True):
        await job.nack(reason, fatal=True)


async def test_dead_letters(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await buried(queue, "timeout of a", "timeout of b", "bad address", "other")
    letters = await queue.dlq.peek(2, 1)
    assert letters.total == 4
    assert [(letter.data, letter.reason, letter.attempts) for letter in letters] == [
        (1, "timeout of b", 1),
        (2, "bad address", 1),
    ]
    steps = [step async for step in queue.dlq.redrive(reason="timeout")]
    assert steps == [nexo.Redriven(2, True)]
    assert await data_of(queue) == [0, 1]
    bad, other = await queue.dlq.peek()
    assert await queue.dlq.move_to_queue(bad.id)
    assert not await queue.dlq.move_to_queue(bad.id)
    (alive,) = [message async for message in queue.browse()]
    assert alive.data == 2
    # What lives is not a dead letter, whatever its number.
    assert not await queue.dlq.delete(alive.id)
    assert await queue.dlq.delete(other.id)
    assert await data_of(queue) == [2]
    await buried(queue, "x", "y")
    assert await queue.dlq.purge() == 2
    assert (await queue.dlq.peek()).total == 0


async def test_redriving_by_the_time_of_death(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await buried(queue, "x")
    hour = timedelta(hours=1)
    later = datetime.now(UTC) + hour
    assert [step.moved async for step in queue.dlq.redrive(died_from=later)] == [0]
    between = queue.dlq.redrive(died_from=later - 2 * hour, died_until=later)
    assert [step.moved async for step in between] == [1]


async def test_looking_and_removing(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push_batch(
        [{"n": 1}, b"\x00\x01", nexo.Push(value="last", headers={"h": b"\xff"}, group="g")]
    )
    messages = [message async for message in queue.browse()]
    assert [message.data for message in messages] == [{"n": 1}, b"\x00\x01", "last"]
    assert (messages[2].group, tuple(messages[2].headers)) == ("g", (("h", b"\xff"),))
    assert [message.data async for message in queue.browse(limit=2)] == [{"n": 1}, b"\x00\x01"]
    assert [message.data async for message in queue.browse("leased")] == []
    assert await queue.get(messages[0].id, type=dict[str, int]) == messages[0]
    assert await queue.remove(messages[0].id)
    assert not await queue.remove(messages[0].id)
    with pytest.raises(nexo.ResourceNotFoundError):
        await queue.get(messages[0].id)
    assert await queue.purge() == 2
    assert await queue.receive() == []


async def test_pause_and_resume(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push(1)
    await queue.pause()
    assert (await queue.describe()).paused_until == -1
    assert await queue.receive() == []
    await queue.resume()
    (job,) = await queue.receive()
    await job.nack(release=True)
    await queue.pause(30)
    assert await queue.receive() == []
    assert len(await queue.receive(1, WAIT_MS)) == 1


async def test_consuming_acks_what_came_before(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    await queue.push_batch(range(25))
    seen = []
    async with queue.consume(batch_size=4) as jobs:
        async for job in jobs:
            seen.append(job.data)
            if job.data == 24:
                break
    assert seen == list(range(25))
    info = await queue.describe()
    assert (info.messages, info.acked, info.nacked) == (0, 25, 0)


async def test_consuming_ends_with_an_error(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", max_deliveries=1)
    await queue.push_batch(range(5))

    async def consume() -> None:
        async with queue.consume() as jobs:
            async for job in jobs:
                if job.data == 1:
                    await job.nack("by hand", release=True)
                if job.data == 2:
                    raise ValueError("two is too many")

    with pytest.raises(ValueError, match="two is too many"):
        await consume()
    assert [(letter.data, letter.reason) for letter in await queue.dlq.peek()] == [(2, "two is too many")]
    # What was fetched ahead has come back, and has not been counted.
    jobs = await queue.receive(10)
    assert [(job.data, job.attempts) for job in jobs] == [(1, 1), (3, 1), (4, 1)]


async def test_consuming_waits_for_more(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    async with asyncio.timeout(10), queue.consume(wait_ms=50, type=Mail) as jobs:
        await queue.push(Mail("ada"), delay_ms=120)
        assert (await anext(jobs)).data == Mail("ada")


async def test_consuming_what_does_not_exist(client: Any, name: str) -> None:
    queue = await client.queue.create(name)
    await client.queue.delete(name)
    with pytest.raises(nexo.ResourceNotFoundError):
        async for _ in queue.consume():
            pass
    with pytest.raises(nexo.ResourceNotFoundError):
        await queue.subscribe(print)
    for arguments in ({"batch_size": 0}, {"wait_ms": 0}):
        with pytest.raises(nexo.InvalidArgumentError):
            await queue.consume(**arguments).stop()
    with pytest.raises(nexo.InvalidArgumentError):
        await queue.subscribe(print, concurrency=0)


async def test_a_callback_is_called_with_jobs(client: Any, name: str) -> None:
    queue = await client.queue.create(name, durability="memory", max_deliveries=1)
    await queue.push_batch(range(10))
    seen: list[int] = []

    def callback(job: Any) -> None:
        seen.append(job.data)
        if job.data % 5 == 4:
            raise ValueError(f"no {job.data}")

    consumer = await queue.subscribe(callback, concurrency=1)
    async with asyncio.timeout(10):
        while (await queue.describe()).messages:
            await asyncio.sleep(0.005)
    assert consumer.active
    await consumer.stop()
    assert not consumer.active
    assert (seen, consumer.handled, consumer.failed) == (list(range(10)), 8, 2)
    assert [letter.reason for letter in await queue.dlq.peek()] == ["no 4", "no 9"]
    await queue.push("nobody wants this")
    assert (await queue.describe()).waiting_consumers == 0 or await queue.receive(1, WAIT_MS)
