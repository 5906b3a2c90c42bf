"""Queues: definitions, values, priorities, subscriptions, refusals, dead letters, thousands in flight."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import check, connect, fails, run, until

from nexo import InvalidArgumentError, NexoClient, ResourceNotFoundError
from nexo.errors import ResourceConfigurationConflictError

VALUES = [
    b"",
    b"\x00\xff" * 100,
    "",
    "grün 🜁",
    0,
    -1,
    2**63 - 1,
    2**64,
    1.5,
    True,
    None,
    [],
    {"a": [1, {"b": None}]},
]


async def fresh(client: NexoClient, name: str, **options: int):
    """A new queue of this name."""
    created = await client.queue.create(name, **options)
    assert created.status.value == "created", created
    return await client.queue.get(name)


async def drain(queue, count: int, **options: int) -> list[object]:
    """The next messages, acknowledged one by one in the order of their delivery."""
    got: list[object] = []
    subscription = await queue.subscribe(got.append, concurrency=1, **{"wait_ms": 100, **options})
    await until(lambda: len(got) >= count)
    await subscription.stop()
    return got


@check
async def definitions(client: NexoClient) -> None:
    assert not await client.queue.exists("def")
    assert isinstance(await fails(client.queue.get("def")), ResourceNotFoundError)
    created = await client.queue.create("def", visibility_timeout_ms=1500)
    assert (created.status.value, created.definition.config.max_deliveries) == ("created", 5)
    again = await client.queue.create("def")
    assert (again.status.value, again.definition.config.visibility_timeout_ms) == ("unchanged", 1500)
    assert await client.queue.exists("def")
    assert (await client.queue.describe("def")).name == "def"
    error = await fails(client.queue.create("def", visibility_timeout_ms=9, max_deliveries=5))
    assert isinstance(error, ResourceConfigurationConflictError)
    assert error.details["resourceKind"] == "queue"
    assert error.details["resourceName"] == "def"
    assert error.details["differences"] == [{"path": "visibility_timeout_ms", "requested": 9, "actual": 1500}]
    assert isinstance(await fails(client.queue.create("", max_deliveries=1)), InvalidArgumentError)
    queue = await client.queue.get("def")
    await client.queue.delete("def")
    assert not await client.queue.exists("def")
    for call in (
        queue.push(1),
        queue.dlq.peek(),
        queue.dlq.purge(),
        client.queue.delete("def"),
        client.queue.describe("def"),
    ):
        assert isinstance(await fails(call), ResourceNotFoundError)


@check
async def values_of_every_type(client: NexoClient) -> None:
    queue = await fresh(client, "types")
    for value in VALUES[:3]:
        await queue.push(value)
    await queue.push_batch([{"data": value} for value in VALUES[3:]])
    got = await drain(queue, len(VALUES))
    assert got == VALUES
    assert [type(one) for one in got] == [type(one) for one in VALUES]


@check
async def priorities(client: NexoClient) -> None:
    queue = await fresh(client, "prio")
    for priority in (0, 7, 255, None, 7):
        await queue.push(priority, priority=priority)
    await queue.push_batch([{"data": "b", "priority": 8}, {"data": "a"}])
    assert await drain(queue, 7) == [255, "b", 7, 7, 0, None, "a"]


@check
async def acknowledged_messages_do_not_come_back(client: NexoClient) -> None:
    queue = await fresh(client, "acked", visibility_timeout_ms=300)
    await queue.push_batch([{"data": index} for index in range(100)])
    assert await drain(queue, 100) == list(range(100))
    await asyncio.sleep(0.5)
    await queue.push("last")
    assert await drain(queue, 1) == ["last"]


@check
async def a_refused_message_comes_again(client: NexoClient) -> None:
    queue = await fresh(client, "refused")
    got: list[str] = []

    def handler(data: str, meta: dict[str, str]) -> None:
        got.append(meta["id"])
        if len(got) < 3:
            raise RuntimeError("not yet")

    subscription = await queue.subscribe(handler)
    await queue.push("again")
    await until(lambda: len(got) == 3)
    await subscription.stop()
    assert len(set(got)) == 1
    assert (await queue.dlq.peek())["total"] == 0


@check
async def dead_letters(client: NexoClient) -> None:
    queue = await fresh(client, "dead", max_deliveries=2)
    deliveries = 0

    def handler(data: int) -> None:
        nonlocal deliveries
        deliveries += 1
        raise RuntimeError(f"no {data}")

    subscription = await queue.subscribe(handler, concurrency=1, batch_size=1, wait_ms=50)
    await queue.push_batch([{"data": index} for index in range(25)])
    await until(lambda: deliveries == 50)
    await subscription.stop()
    # The client forgets the call that it was waiting in; the server does when its time is over.
    await asyncio.sleep(0.15)
    page = await queue.dlq.peek(limit=10)
    while page["total"] < 25:  # the last NACK is not answered
        page = await queue.dlq.peek(limit=10)
    seen = []
    for offset in range(0, 30, 10):
        page = await queue.dlq.peek(limit=10, offset=offset)
        assert page["total"] == 25
        seen += page["items"]
    assert sorted(one["data"] for one in seen) == list(range(25))
    assert all(one["attempts"] == 2 and one["failure_reason"] == f"no {one['data']}" for one in seen)
    first, second = seen[0], seen[1]
    assert await queue.dlq.replay(first["id"]) is True
    assert await queue.dlq.replay(first["id"]) is False
    assert await queue.dlq.delete(second["id"]) is True
    assert await queue.dlq.delete(second["id"]) is False
    assert await drain(queue, 1) == [first["data"]]
    assert await queue.dlq.purge() == 23
    assert await queue.dlq.purge() == 0


@check
async def a_lease_that_runs_out(client: NexoClient) -> None:
    queue = await fresh(client, "slow", visibility_timeout_ms=100, max_deliveries=1)
    release = asyncio.Event()

    async def handler(data: object) -> None:
        await release.wait()

    subscription = await queue.subscribe(handler)
    await queue.push("slow")
    started = time.monotonic()
    while not (letters := (await queue.dlq.peek())["items"]):
        assert time.monotonic() - started < 5
        await asyncio.sleep(0.01)
    assert "expired" in letters[0]["failure_reason"]
    release.set()  # its acknowledgement is late and changes nothing
    await subscription.stop()
    assert (await queue.dlq.peek())["total"] == 1


@check
async def thousands_in_flight(client: NexoClient) -> None:
    queue = await fresh(client, "flight")
    got: list[int] = []
    subscription = await queue.subscribe(got.append, batch_size=500, concurrency=50)
    await asyncio.gather(*(queue.push(index) for index in range(3000)))
    await queue.push_batch([{"data": index} for index in range(3000, 10_000)])
    await until(lambda: len(got) >= 10_000, 20)
    await subscription.stop()
    assert sorted(got) == list(range(10_000))


@check
async def two_consumers_share(client: NexoClient) -> None:
    queue = await fresh(client, "shared")
    other = await connect()
    got: tuple[list[int], list[int]] = ([], [])
    one = await queue.subscribe(got[0].append, batch_size=5)
    two = await (await other.queue.get("shared")).subscribe(got[1].append, batch_size=5)
    for index in range(200):
        await queue.push(index)
    await until(lambda: len(got[0]) + len(got[1]) >= 200)
    assert sorted(got[0] + got[1]) == list(range(200))
    assert all(got)
    await one.stop()
    await two.stop()
    other.disconnect()


@check
async def a_long_poll_wakes(client: NexoClient) -> None:
    queue = await fresh(client, "poll")
    times: list[float] = []
    subscription = await queue.subscribe(lambda data: times.append(time.monotonic() - data), wait_ms=20_000)
    for _ in range(5):
        await asyncio.sleep(0.05)
        count = len(times)
        await queue.push(time.monotonic())
        await until(lambda count=count: len(times) > count)
    assert min(times) < 0.5, times
    await subscription.stop()


@check
async def a_consumer_that_dies_gives_back(client: NexoClient) -> None:
    queue = await fresh(client, "dies")
    other = await connect()
    held: list[object] = []

    async def never(data: object) -> None:
        held.append(data)
        await asyncio.sleep(60)

    await (await other.queue.get("dies")).subscribe(never)
    await queue.push("mine")
    await until(lambda: bool(held))
    other.disconnect()
    assert await drain(queue, 1) == ["mine"]


run()
