"""Consumers that do not keep up, here and at the server: what is dropped, and how that is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import nexo
from tests.client.proxies import Proxy
from tests.client.test_reconnection import QUICK
from tests.conftest import Server

pytestmark = pytest.mark.asyncio


async def published(client: nexo.Client, topics: list[str]) -> None:
    """Numbers on these topics, which have all arrived at this client."""
    await asyncio.gather(*(client.pubsub.topic(topic).publish(number) for number, topic in enumerate(topics)))
    await client.ping()


async def walk(messages: nexo.Subscription) -> None:
    """All messages, to the end of the subscription."""
    async with asyncio.timeout(10):
        async for _ in messages:
            pass


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("drop_oldest", [("a", 6), ("b", 7), ("a", 8), ("b", 9)]),
        ("drop_newest", [("a", 0), ("b", 1), ("a", 2), ("b", 3)]),
        ("conflate", [("a", 8), ("b", 9)]),
    ],
)
async def test_what_is_lost_in_the_client(sdk: nexo.Client, policy: str, kept: list[Any]) -> None:
    told: list[int] = []
    async with (
        sdk.pubsub.pattern("+").subscribe(policy=policy, messages_max=4, on_dropped=told.append) as messages,
        sdk.pubsub.pattern("+").subscribe() as everything,
    ):
        await published(sdk, ["a", "b"] * 5)
        assert messages.dropped == 10 - len(kept)
        assert [((message := await anext(messages)).topic, message.data) for _ in kept] == kept
        await sdk.ping()
        assert sum(told) == messages.dropped
        assert [(await anext(everything)).data for _ in range(10)] == list(range(10))
        assert everything.dropped == 0


async def test_a_bound_in_bytes(sdk: nexo.Client) -> None:
    async with sdk.pubsub.pattern("t").subscribe(bytes_max=100) as messages:
        await sdk.pubsub.topic("t").publish("x" * 60)
        await sdk.pubsub.topic("t").publish("y" * 60)
        await sdk.pubsub.topic("t").publish("z" * 200)
        await sdk.ping()
        assert (await anext(messages)).data == "y" * 60
        assert messages.dropped == 2


async def test_a_consumer_that_cannot_bear_a_loss(sdk: nexo.Client) -> None:
    async with sdk.pubsub.pattern("t").subscribe(policy="disconnect", messages_max=2) as messages:
        await published(sdk, ["t"] * 5)
        assert not messages.active
        assert [(await anext(messages)).data for _ in range(2)] == [0, 1]
        with pytest.raises(nexo.SlowConsumerError):
            await anext(messages)
        # The connection, which others use, goes on; at the server the subscription is gone.
        assert await sdk.pubsub.topic("t").publish(1, count=True) == 0


async def test_an_async_callback_is_awaited_and_bounded(sdk: nexo.Client) -> None:
    seen: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def received(message: nexo.Message) -> None:
        begun.set()
        await go_on.wait()
        seen.append(message.data)
        if len(seen) == 4:
            await subscription.stop()  # from within

    subscription = await sdk.pubsub.subscribe("t", received, messages_max=3)
    await sdk.pubsub.topic("t").publish(0)
    await begun.wait()
    await published(sdk, ["t"] * 6)
    assert subscription.dropped == 3
    go_on.set()
    while subscription.active:
        await sdk.ping()
    assert seen == [0, 3, 4, 5]
    assert await sdk.pubsub.topic("t").publish(1, count=True) == 0


async def test_a_callback_goes_on_after_an_exception(sdk: nexo.Client) -> None:
    seen: list[int] = []

    def received(message: nexo.Message) -> None:
        if message.data in (0, 2):
            raise ValueError(message.data)
        seen.append(message.data)

    await sdk.pubsub.subscribe("t", received)
    await published(sdk, ["t"] * 5)
    async with asyncio.timeout(5):
        while len(seen) < 3:
            await sdk.ping()
    assert seen == [1, 3, 4]


async def test_what_the_server_had_to_drop(server: Server, sdk: nexo.Client) -> None:
    seen: list[int] = []
    told: list[int] = []
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port) as client:
        subscription = await client.pubsub.subscribe(
            "flood", lambda message: seen.append(message.data["n"]), messages_max=100, on_dropped=told.append
        )
        proxy.hold()
        load = "x" * 20_000
        topic = sdk.pubsub.topic("flood")
        await asyncio.gather(*(topic.publish({"n": number, "load": load}) for number in range(1500)))
        proxy.release()
        async with asyncio.timeout(10):
            while len(seen) + subscription.dropped < 1500:
                await client.ping()
        assert subscription.dropped > 0
        assert sum(told) == subscription.dropped
        assert seen == sorted(seen)
        assert seen[-1] == 1499


async def test_a_server_that_disconnects_a_slow_consumer(server: Server, sdk: nexo.Client) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port, reconnect=QUICK) as client:
        strict = await client.pubsub.pattern("flood").subscribe(policy="disconnect", messages_max=10)
        other = await client.pubsub.pattern("calm").subscribe()
        walking = asyncio.ensure_future(walk(strict))  # in the client nothing waits for long
        proxy.hold()
        topic = sdk.pubsub.topic("flood")
        await asyncio.gather(*(topic.publish(bytes(100_000)) for _ in range(300)))
        proxy.release()
        with pytest.raises(nexo.SlowConsumerError, match="did not keep up"):
            await walking
        async with asyncio.timeout(10):
            async for event in client.events:
                if isinstance(event, nexo.Reconnected):
                    break
        assert event == nexo.Reconnected(event.attempts, 1, 0)
        await sdk.pubsub.topic("calm").publish("still here")
        assert (await anext(other)).data == "still here"


async def test_a_wide_fan_out_in_one_client(sdk: nexo.Client) -> None:
    """Many filters that do not match cost a message nothing."""
    for number in range(500):
        await sdk.pubsub.subscribe(f"other/{number}/+", lambda message: None, retained=False)
    async with sdk.pubsub.pattern("other/7/#").subscribe() as messages:
        assert len(sdk._connection.restorers[0]._find(b"other/7/x").feeds) == 2  # type: ignore[attr-defined]
        await sdk.pubsub.topic("other/7/x").publish(1)
        assert (await anext(messages)).data == 1
