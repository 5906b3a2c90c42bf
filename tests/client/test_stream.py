"""The stream's whole surface, the same for all four clients."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

import nexo

pytestmark = pytest.mark.asyncio

QUICK = {"durability": "memory", "backoff_ms": 0}


class Order(msgspec.Struct):
    number: int


async def seqs(records: Any) -> list[int]:
    return [record.seq async for record in records]


async def first(items: Any) -> Any:
    async for item in items:
        return item
    return None


async def test_create_get_exists_delete(client: Any, name: str) -> None:
    assert not await client.stream.exists(name)
    with pytest.raises(nexo.ResourceNotFoundError):
        await client.stream.get(name)
    stream = await client.stream.create(name, max_age_ms=60_000, max_bytes=0, ack_wait_ms=1_000)
    assert (stream.name, stream.status) == (name, "created")
    assert stream.definition == nexo.StreamDefinition(name, 60_000, None, 10_000, 1_000, 5)
    again = await client.stream.create(name, ack_wait_ms=1_000)
    assert (again.status, again.definition) == ("unchanged", stream.definition)
    assert (await client.stream.get(name)).definition == stream.definition
    with pytest.raises(nexo.ResourceConfigConflictError) as conflict:
        await client.stream.create(name, max_age_ms=1)
    assert conflict.value.details["differences"][0]["actual"] == 60_000
    await client.stream.delete(name)
    assert not await client.stream.exists(name)
    for call in (
        lambda: stream.publish(1),
        lambda: first(stream.read()),
        lambda: first(stream.group("g").consume()),
    ):
        with pytest.raises(nexo.ResourceNotFoundError):
            await call()


async def test_every_option_arrives(client: Any, name: str) -> None:
    options = {
        "max_age_ms": 1_000,
        "max_bytes": 2_000,
        "max_records": 3,
        "max_ack_pending": 4,
        "ack_wait_ms": 5,
        "max_deliveries": 6,
        "backoff_ms": 7,
        "backoff_max_ms": 8,
        "group_idle_ms": 9,
        "durability": "flush",
    }
    stream = await client.stream.create(name, **options)
    info = await stream.describe()
    assert {option: getattr(info, option) for option in options} == options
    assert (info.first_seq, info.last_seq, info.records, info.groups) == (1, 0, 0, 0)
    assert await client.stream.describe(name) == info
    assert [one async for one in client.stream.list(name)] == [info]


async def test_publishing_and_reading(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    assert await stream.publish("one") == 1
    assert await stream.publish({"two": 2}, key="k", headers={"h": "v"}) == 2
    assert await stream.publish_batch(
        [3, nexo.Publish(value=b"\xff", key=b"\x00", headers=[("a", b"b")])]
    ) == [3, 4]
    assert await stream.publish_batch([]) == []
    records = [record async for record in stream.read()]
    assert [record.data for record in records] == ["one", {"two": 2}, 3, b"\xff"]
    assert [record.key for record in records] == [None, b"k", None, b"\x00"]
    assert [tuple(record.headers) for record in records] == [(), (("h", b"v"),), (), (("a", b"b"),)]
    assert records[0].timestamp == datetime.fromtimestamp(records[0].timestamp_ms / 1000, UTC)
    assert abs(datetime.now(UTC) - records[0].timestamp) < timedelta(minutes=1)
    with pytest.raises(nexo.InvalidArgumentError):
        await stream.publish(1, key="")


async def test_places_to_read_from(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    await stream.publish_batch(range(10))
    hour = timedelta(hours=1)
    for start, found in [
        ("beginning", range(1, 11)),
        ("end", []),
        (8, [8, 9, 10]),
        (99, []),
        (datetime.now(UTC) - hour, range(1, 11)),
        (datetime.now(UTC) + hour, []),
        (nexo.last(2), [9, 10]),
    ]:
        assert await seqs(stream.read(start)) == list(found), start
    assert await seqs(stream.read(limit=4, page_records=3)) == [1, 2, 3, 4]
    assert await seqs(stream.read(page_records=3)) == list(range(1, 11))
    assert await seqs(stream.read(limit=0)) == []
    for nowhere in ("middle", 1.5, None):
        with pytest.raises(nexo.InvalidArgumentError, match="no place"):
            await first(stream.read(nowhere))


async def test_following(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    await stream.publish("before")
    async with asyncio.timeout(10):
        late = asyncio.ensure_future(first(stream.read("end", follow=True, type=Order)))
        while not late.done():
            await stream.publish(Order(1))  # as often as it takes until the reader is there
            await asyncio.sleep(0.01)
        assert (await late).data == Order(1)
        assert (await first(stream.read(follow=True))).data == "before"
        count = (await stream.describe()).last_seq
        more = asyncio.ensure_future(seqs(stream.read(count + 1, follow=True, limit=2)))
        for _ in range(3):
            await asyncio.sleep(0.01)
            await stream.publish("after")
        assert await more == [count + 1, count + 2]


async def test_values_of_a_type(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    await stream.publish_batch([Order(7), "text"])
    good, bad = [record async for record in stream.read(type=Order)]
    assert good.value == Order(7)
    with pytest.raises(nexo.InvalidArgumentError, match="not of type Order"):
        _ = bad.data


async def test_an_expected_sequence(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    assert await stream.publish("first", expected_seq=0) == 1
    with pytest.raises(nexo.SequenceMismatchError) as mismatch:
        await stream.publish("also first", expected_seq=0)
    assert mismatch.value.details == {"actual": 1}
    assert await stream.publish_batch([2, 3], expected_seq=1) == [2, 3]


async def test_a_producer_does_not_repeat_itself(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    producer = stream.producer("importer")
    found = await asyncio.gather(*(producer.publish(number) for number in range(20)))
    assert sorted(found) == list(range(1, 21))
    assert await producer.publish("row", key="k", headers={"h": "v"}, number=1 << 60) == 21
    assert await producer.publish("row", number=1 << 60) == 21
    again = stream.producer("importer")
    assert await again.publish("row", number=1 << 60) == 21
    with pytest.raises(nexo.InvalidArgumentError):
        await again.publish("an old one", number=5)
    for bad in (0, -1, 1 << 64):
        with pytest.raises(nexo.InvalidArgumentError):
            await again.publish("x", number=bad)
    assert len(await seqs(stream.read())) == 21


async def test_a_group_consumes_everything_once(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    await stream.publish_batch([nexo.Publish(value=number, headers={"h": "v"}) for number in range(25)])
    group = stream.group("billing")
    seen = []
    async with group.consume(batch_size=4) as messages:
        async for message in messages:
            seen.append(message.data)
            assert (message.seq, message.attempts, message.key) == (message.data + 1, 1, None)
            assert message.headers.get("h") == b"v"
            if message.data == 24:
                break
    assert seen == list(range(25))
    assert await group.lag() == nexo.Lag(0, 0)
    (info,) = await stream.groups()
    assert (info.name, info.ack_floor, info.members, info.acked) == ("billing", 25, 0, 25)
    await stream.delete_group("billing")
    assert await stream.groups() == []
    with pytest.raises(nexo.ResourceNotFoundError):
        await group.lag()


async def test_dead_letters_of_a_group(client: Any, name: str) -> None:
    stream = await client.stream.create(name, max_deliveries=2, **QUICK)
    await stream.publish({"n": 1}, key="k", headers={"h": "v"})
    group = stream.group("g")
    async with asyncio.timeout(10), group.consume(type=dict) as messages:
        once = await anext(messages)
        await once.nack("once")
        with pytest.raises(nexo.FencedError):
            await once.ack()
        released = await anext(messages)
        assert released.attempts == 2
        await released.nack(release=True)
        again = await anext(messages)
        assert again.attempts == 2
        with pytest.raises(ValueError, match="twice"):
            async with again:
                raise ValueError("twice")
    (letter,) = await group.dls.peek()
    assert (letter.seq, letter.data, letter.reason, letter.attempts) == (1, {"n": 1}, "twice", 2)
    assert (letter.key, tuple(letter.headers)) == (b"k", (("h", b"v"),))
    await group.dls.move_to_stream(1)
    assert await group.dls.peek() == []
    with pytest.raises(nexo.ResourceNotFoundError):
        await group.dls.move_to_stream(1)
    assert [record.data async for record in stream.read(2)] == [{"n": 1}]
    await group.dls.delete(5)
    assert await group.dls.purge() == 0


async def test_the_same_key_in_order(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    await stream.publish_batch([nexo.Publish(value=number, key=f"k{number % 3}") for number in range(30)])
    seen: list[int] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def callback(message: Any) -> None:
        seen.append(message.data)
        if len(seen) == 30:
            loop.call_soon_threadsafe(done.set)

    consumer = await stream.group("g").subscribe(callback, concurrency=4)
    async with asyncio.timeout(10):
        await done.wait()
    await consumer.stop()
    for rest in range(3):
        assert [number for number in seen if number % 3 == rest] == list(range(rest, 30, 3))
    assert (consumer.handled, consumer.failed, consumer.error) == (30, 0, None)
    assert (await stream.group("g").lag()).messages == 0


async def test_a_callback_that_fails(client: Any, name: str) -> None:
    stream = await client.stream.create(name, max_deliveries=1, **QUICK)
    await stream.publish_batch(["good", "bad", "good"])

    def callback(message: Any) -> None:
        if message.data == "bad":
            raise ValueError("no good")

    group = stream.group("g")
    consumer = await group.subscribe(callback)
    async with asyncio.timeout(10):
        while (await group.lag()).messages:
            await asyncio.sleep(0.005)
    await consumer.stop()
    assert (consumer.handled, consumer.failed) == (2, 1)
    assert [letter.reason for letter in await group.dls.peek()] == ["no good"]


async def test_seeking(client: Any, name: str) -> None:
    stream = await client.stream.create(name, **QUICK)
    await stream.publish_batch(range(5))
    group = stream.group("late")
    await group.seek("end")  # a group that is not there yet begins where it is told to
    assert await group.lag() == nexo.Lag(0, 0)
    async with asyncio.timeout(10), group.consume(batch_size=1) as messages:
        for target, seq in [
            ("beginning", 1),
            (4, 4),
            (datetime.now(UTC) - timedelta(hours=1), 1),
        ]:
            await group.seek(target)
            # It is fenced by the seek, and joins again.
            message = await anext(messages)
            assert message.seq == seq
        stale = message
        await group.seek("end")
        with pytest.raises(nexo.FencedError):
            await stale.ack()
        await stream.publish("new")
        assert (await anext(messages)).data == "new"
    with pytest.raises(nexo.InvalidArgumentError):
        await group.seek(nexo.last(3))
    with pytest.raises(nexo.ResourceNotFoundError):
        await client.stream.delete(name + "x")
