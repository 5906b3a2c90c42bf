"""Streams: definitions, publishing, groups, order of keys, redelivery, dead letters, seek, fencing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import check, connect, fails, run, until

from nexo import NexoClient, ResourceNotFoundError
from nexo.errors import ResourceConfigurationConflictError


async def fresh(client: NexoClient, name: str):
    """A new stream of this name."""
    created = await client.stream.create(name)
    assert created.status.value == "created", created
    return await client.stream.get(name)


class Inbox:
    def __init__(self) -> None:
        self.got: list[tuple[int, object, bytes | None]] = []

    def __call__(self, data: object, meta: dict[str, object]) -> None:
        self.got.append((meta["seq"], data, meta["key"]))

    @property
    def data(self) -> list[object]:
        return [data for _, data, _ in self.got]


@check
async def definitions(client: NexoClient) -> None:
    assert not await client.stream.exists("def")
    assert isinstance(await fails(client.stream.get("def")), ResourceNotFoundError)
    created = await client.stream.create("def", max_age_ms=60_000, max_bytes=9_000)
    config = created.definition.config
    assert (config.retention.max_age_ms, config.retention.max_bytes) == (60_000, 9_000)
    assert (config.max_ack_pending, config.ack_wait_ms, config.max_deliveries) == (10_000, 30_000, 5)
    assert (await client.stream.create("def")).status.value == "unchanged"
    assert (await client.stream.describe("def")).config == config
    error = await fails(client.stream.create("def", max_age_ms=60_000, max_bytes=1))
    assert isinstance(error, ResourceConfigurationConflictError)
    assert error.details["resourceKind"] == "stream"
    assert error.details["differences"] == [{"path": "max_bytes", "requested": 1, "actual": 9_000}]
    stream = await client.stream.get("def")
    await client.stream.delete("def")
    assert not await client.stream.exists("def")
    for call in (
        stream.publish(1),
        stream.group("g").seek("end"),
        stream.group("g").subscribe(print),
        client.stream.delete("def"),
    ):
        assert isinstance(await fails(call), ResourceNotFoundError)


@check
async def publish_and_subscribe(client: NexoClient) -> None:
    stream = await fresh(client, "pub")
    values = [b"", b"\xff\x00", "", "grün", 0, -(2**63), 2**64, 1.5, True, None, [], {"a": [1, {}]}]
    assert [await stream.publish(value) for value in values[:6]] == [1, 2, 3, 4, 5, 6]
    assert await stream.publish("keyed", key="key") == 7
    batch = [
        {"data": value, "key": b"\x00\xff" if index % 2 else None} for index, value in enumerate(values[6:])
    ]
    assert await stream.publish_batch(batch) == list(range(8, 14))
    inbox = Inbox()
    subscription = await stream.group("g").subscribe(inbox)
    await until(lambda: len(inbox.got) >= 13)
    inbox.got.sort(key=lambda one: one[0])  # a message waits for the one before of its key, others pass it
    expected = [*values[:6], "keyed", *values[6:]]
    assert inbox.data == expected
    assert [type(one) for one in inbox.data] == [type(one) for one in expected]
    assert [seq for seq, _, _ in inbox.got] == list(range(1, 14))
    assert [key for _, _, key in inbox.got][6:10] == [b"key", None, b"\x00\xff", None]
    await stream.publish("live")
    await until(lambda: inbox.data[-1] == "live")
    await subscription.stop()
    # What was acknowledged does not come again; another group begins at the beginning.
    await stream.publish("next")
    again, other = Inbox(), Inbox()
    one = await stream.group("g").subscribe(again)
    two = await stream.group("h").subscribe(other)
    await until(lambda: len(again.got) >= 1 and len(other.got) >= 15)
    other.got.sort(key=lambda one: one[0])
    assert again.data == ["next"]
    assert other.data == [*expected, "live", "next"]
    await one.stop()
    await two.stop()


@check
async def order_of_a_key_between_two_consumers(client: NexoClient) -> None:
    stream = await fresh(client, "keys")
    other = await connect()
    got: list[tuple[bytes, int]] = []
    by: tuple[set[int], set[int]] = (set(), set())
    working: set[bytes] = set()

    def handler(who: int):
        async def handle(data: int, meta: dict[str, object]) -> None:
            key = meta["key"]
            assert key not in working, "two messages of a key at once"
            working.add(key)
            await asyncio.sleep(0)
            working.discard(key)
            got.append((key, data))
            by[who].add(data)

        return handle

    one = await stream.group("g").subscribe(handler(0), batch_size=8)
    two = await (await other.stream.get("keys")).group("g").subscribe(handler(1), batch_size=8)
    for start in range(0, 600, 60):
        await stream.publish_batch(
            [{"data": index, "key": f"k{index % 7}"} for index in range(start, start + 60)]
        )
    await until(lambda: len(got) >= 600, 20)
    await one.stop()
    await two.stop()
    other.disconnect()
    assert len(got) == 600 and all(by) and not by[0] & by[1]
    for index in range(7):
        mine = [data for key, data in got if key == f"k{index}".encode()]
        assert mine == sorted(mine)


@check
async def a_consumer_that_dies_gives_back(client: NexoClient) -> None:
    stream = await fresh(client, "dies")
    other = await connect()
    held: list[object] = []

    async def never(data: object) -> None:
        held.append(data)
        await asyncio.sleep(60)

    await (await other.stream.get("dies")).group("g").subscribe(never)
    await stream.publish_batch([{"data": index} for index in range(10)])
    await until(lambda: bool(held))
    other.disconnect()
    inbox = Inbox()
    subscription = await stream.group("g").subscribe(inbox)
    await until(lambda: len(inbox.got) >= 10)
    assert inbox.data == list(range(10))
    await subscription.stop()


@check
async def dead_letters(client: NexoClient) -> None:
    """A member that leaves with a message five times: the message is given up."""
    stream = await fresh(client, "dead")
    group = stream.group("g")
    await stream.publish_batch([{"data": index, "key": f"k{index}"} for index in range(3)])

    def refuse(data: object) -> None:
        raise RuntimeError("no")

    for _ in range(5):
        subscription = await group.subscribe(refuse, wait_ms=50)
        await asyncio.sleep(0.05)
        await subscription.stop()
    inbox = Inbox()
    subscription = await group.subscribe(inbox)
    await stream.publish("after")
    await until(lambda: "after" in inbox.data)
    letters = await group.dls.peek()
    assert [one["seq"] for one in letters] == [1, 2, 3], letters
    assert [one["key"] for one in letters] == [b"k0", b"k1", b"k2"]
    assert all(one["attempts"] == 5 and one["reason"] for one in letters)
    assert [one["seq"] for one in await group.dls.peek(limit=2, offset=1)] == [2, 3]
    await group.dls.replay(1)
    await until(lambda: 0 in inbox.data)
    assert inbox.got[-1] == (5, 0, b"k0")
    assert isinstance(await fails(group.dls.replay(1)), ResourceNotFoundError)
    await group.dls.delete(2)
    assert await group.dls.purge() == 1
    assert await group.dls.peek() == []
    await subscription.stop()


@check
async def seek_fences_and_begins_again(client: NexoClient) -> None:
    stream = await fresh(client, "seek")
    await stream.publish_batch([{"data": index} for index in range(5)])
    inbox = Inbox()
    group = stream.group("g")
    subscription = await group.subscribe(inbox)
    await until(lambda: len(inbox.got) == 5)
    await group.seek("beginning")  # the waiting fetch is fenced; the client joins again
    await until(lambda: len(inbox.got) == 10)
    assert inbox.data == [*range(5), *range(5)]
    await subscription.stop()
    await stream.publish("skipped")
    await group.seek("end")
    await stream.publish("seen")
    late = Inbox()
    subscription = await group.subscribe(late)
    await until(lambda: bool(late.got))
    assert late.data == ["seen"]
    await subscription.stop()


@check
async def acknowledgements_after_a_seek_are_refused(client: NexoClient) -> None:
    stream = await fresh(client, "fenced")
    group = stream.group("g")
    await stream.publish("x")
    got: list[int] = []

    async def handler(data: str) -> None:
        got.append(1)
        if len(got) == 1:
            await group.seek("beginning")

    subscription = await group.subscribe(handler)
    await until(lambda: len(got) == 2)
    await subscription.stop()


@check
async def thousands_in_flight(client: NexoClient) -> None:
    stream = await fresh(client, "flight")
    inbox = Inbox()
    subscription = await stream.group("g").subscribe(inbox, batch_size=1000)
    seqs = await asyncio.gather(*(stream.publish(index) for index in range(3000)))
    assert sorted(seqs) == list(range(1, 3001))
    await until(lambda: len(inbox.got) >= 3000, 20)
    assert [seq for seq, _, _ in inbox.got] == list(range(1, 3001))
    assert {seq: data for seq, data, _ in inbox.got} == dict(zip(seqs, range(3000), strict=True))
    await subscription.stop()


run()
