"""The whole surface of Pub/Sub, the same for all four clients."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import msgspec
import pytest

import nexo
from tests.client.surfaces import opened
from tests.conftest import Server

pytestmark = pytest.mark.asyncio


class Reading(msgspec.Struct):
    celsius: float


async def take(messages: Any, count: int) -> list[tuple[str, Any]]:
    """The next messages; a test that waits for one too many fails by its timeout."""
    async with asyncio.timeout(10):
        found = [await anext(messages) for _ in range(count)]
    return [(message.topic, message.data) for message in found]


async def test_publish_and_subscribe(client: Any) -> None:
    async with client.pubsub.pattern("s/+/t").subscribe() as messages:
        for value in (b"raw", "text", 7, 21.5, {"a": None}):
            await client.pubsub.topic("s/k/t").publish(value)
        await client.pubsub.topic("s/k/x").publish("not for us")
        assert await take(messages, 5) == [
            ("s/k/t", value) for value in (b"raw", "text", 7, 21.5, {"a": None})
        ]
        assert (messages.filter, messages.group, messages.dropped, messages.active) == (
            "s/+/t",
            None,
            0,
            True,
        )
    assert not messages.active
    assert await client.pubsub.topic("s/k/t").publish(1, count=True) == 0


async def test_headers_and_count(client: Any) -> None:
    topic = client.pubsub.topic("h")
    async with topic.subscribe() as messages:
        assert await topic.publish(1, headers={"unit": "C", "raw": b"\xff"}, count=True) == 1
        assert await topic.publish(2, headers=[("a", "1"), ("a", "2")]) is None
        first, second = await anext(messages), await anext(messages)
    assert first.headers == (("unit", b"C"), ("raw", b"\xff"))
    assert first.headers.get("unit") == b"C"
    assert first.headers.get("none", b"x") == b"x"
    assert second.headers == (("a", b"1"), ("a", b"2"))
    with pytest.raises(nexo.InvalidArgumentError, match="empty"):
        await topic.publish(1, headers={"": "x"})
    with pytest.raises(nexo.LimitExceededError, match="65,535"):
        await topic.publish(1, headers={"a": b"x" * 65_536})


async def test_typed_messages(client: Any) -> None:
    async with (
        client.pubsub.pattern("typed").subscribe(type=Reading) as typed,
        client.pubsub.pattern("typed").subscribe() as plain,
    ):
        await client.pubsub.topic("typed").publish(Reading(21.5))
        await client.pubsub.topic("typed").publish("something else")
        assert (await anext(typed)).data == Reading(21.5)
        wrong = await anext(typed)
        with pytest.raises(nexo.InvalidArgumentError, match="Reading"):
            _ = wrong.data
        assert await take(plain, 2) == [("typed", {"celsius": 21.5}), ("typed", "something else")]


async def test_retained(client: Any) -> None:
    topic = client.pubsub.topic("kept/door")
    await topic.publish("open", retain=True)
    await client.pubsub.topic("kept/bell").publish("ding", retain=True, ttl=60)
    async with client.pubsub.pattern("kept/#").subscribe() as messages:
        assert await take(messages, 2) == [("kept/door", "open"), ("kept/bell", "ding")]
    await topic.clear_retained()
    async with client.pubsub.pattern("kept/#").subscribe() as messages:
        assert await take(messages, 1) == [("kept/bell", "ding")]
    async with client.pubsub.pattern("kept/#").subscribe(retained=False) as messages:
        await topic.publish("live")
        assert await take(messages, 1) == [("kept/door", "live")]
    await client.pubsub.topic("kept/bell").clear_retained()


async def test_retained_values_go_to_the_new_subscription_alone(client: Any) -> None:
    topic = client.pubsub.topic("late/x")
    await topic.publish("kept", retain=True)
    async with client.pubsub.pattern("late/#").subscribe() as first:
        assert await take(first, 1) == [("late/x", "kept")]
        async with (
            client.pubsub.pattern("late/#").subscribe() as second,
            client.pubsub.pattern("late/+").subscribe() as third,
        ):
            await topic.publish("live")
            assert await take(first, 1) == [("late/x", "live")]
            assert await take(second, 2) == [("late/x", "kept"), ("late/x", "live")]
            assert await take(third, 2) == [("late/x", "kept"), ("late/x", "live")]
        await topic.publish("still here")
        assert await take(first, 1) == [("late/x", "still here")]
    await topic.clear_retained()


async def test_callbacks_run_in_order_and_may_fail(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen: queue.Queue[Any] = queue.Queue()

    def received(message: Any) -> None:
        if message.data == 2:
            raise ValueError("two is not liked here")
        seen.put(message.data)

    subscription = await client.pubsub.subscribe("calls", received)
    for number in range(5):
        await client.pubsub.topic("calls").publish(number)
    got = [await asyncio.to_thread(seen.get, True, 10) for _ in range(4)]
    assert got == [0, 1, 3, 4]
    assert any(
        record.name == "nexo.client" and "two is not liked here" in str(record.exc_info)
        for record in caplog.records
    )
    with pytest.raises(nexo.InvalidArgumentError, match="callback"):
        await anext(subscription)
    await subscription.stop()
    assert await client.pubsub.topic("calls").publish(5, count=True) == 0


async def test_request_and_reply(surface: str, server: Server) -> None:
    async with opened(surface, server.port, 2) as (asking, answering):
        topic = asking.pubsub.topic("rpc/sum")
        with pytest.raises(nexo.NoRespondersError):
            await topic.request([1, 2])
        async with answering.pubsub.pattern("rpc/#").subscribe() as requests:
            waiting = asyncio.ensure_future(ask(topic, [1, 2, 3]))
            request = await anext(requests)
            assert request.is_request
            assert request.headers == (("from", b"me"),)
            await request.reply(sum(request.data), headers={"by": "us"})
            reply = await waiting
            assert (reply.topic, reply.data, reply.headers) == ("rpc/sum", 6, (("by", b"us"),))
            with pytest.raises(nexo.ResourceNotFoundError):
                await request.reply(0)
            with pytest.raises(nexo.ReplyTimeoutError):
                await topic.request(1, timeout=0.05)
            with pytest.raises(nexo.InvalidArgumentError, match="no request"):
                await reply.reply(1)
            with pytest.raises(nexo.InvalidArgumentError, match="timeout"):
                await topic.request(1, timeout=0)


async def ask(topic: Any, value: Any) -> Any:
    return await topic.request(value, timeout=5, headers={"from": "me"})


async def test_groups_share(surface: str, server: Server) -> None:
    async with (
        opened(surface, server.port, 2) as (one, other),
        one.pubsub.pattern("jobs/#").subscribe(group="g") as first,
        one.pubsub.pattern("jobs/#").subscribe(group="g") as second,
        other.pubsub.pattern("jobs/#").subscribe(group="g") as third,
        other.pubsub.pattern("jobs/#").subscribe() as everything,
    ):
        for number in range(8):
            await one.pubsub.topic("jobs/x").publish(number)
        got = [await take(member, count) for member, count in ((first, 2), (second, 2), (third, 4))]
        numbers = [value for member in got for _, value in member]
        assert sorted(numbers) == list(range(8))
        assert [value for _, value in await take(everything, 8)] == list(range(8))


async def test_members_of_a_group_that_start_together(sdk: nexo.Client) -> None:
    async with asyncio.timeout(5):
        members = [sdk.pubsub.pattern("together").subscribe(group="g") for _ in range(4)]
        await asyncio.gather(*(member.__aenter__() for member in members))
        assert await sdk.pubsub.topic("together").publish(1, count=True) == 1
        for _ in range(3):
            await sdk.pubsub.topic("together").publish(1)
        assert [(await anext(member)).data for member in members] == [1] * 4
        for member in members:
            await member.stop()


async def test_subscriptions_that_cannot_be(client: Any) -> None:
    with pytest.raises(nexo.InvalidArgumentError):
        await client.pubsub.subscribe("a/#/b")
    for options in ({"policy": "none"}, {"messages_max": 0}, {"bytes_max": -1}, {"group": ""}):
        with pytest.raises(nexo.InvalidArgumentError):
            await client.pubsub.pattern("a").subscribe(**options)
    with pytest.raises(nexo.InvalidArgumentError):
        await client.pubsub.topic("a/+").publish(1)


async def test_the_server_and_events(client: Any) -> None:
    await client.ping()
    assert client.server.name == "nexo"
    assert client.server.limits["frame_bytes_max"] == 10 * 1024 * 1024
    assert isinstance(await anext(client.events), nexo.Connected)
    async with client.pubsub.pattern("end").subscribe() as messages:
        await client.close()
        await client.close()
        assert [message async for message in messages] == []
    assert [event async for event in client.events] == []
    with pytest.raises(nexo.ConnectionClosedError, match="closed"):
        await client.ping()
