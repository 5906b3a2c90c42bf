"""A broker in the test's own process: its time, its clients, and that it is the real thing."""

from __future__ import annotations

import asyncio

import pytest

import nexo

pytestmark = pytest.mark.asyncio


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


async def test_the_test_decides_what_time_it_is() -> None:
    time = Time()
    async with asyncio.timeout(5), nexo.embedded(now=time) as client:
        store = client.store.map
        async with store.watch("", prefix=True) as changes:
            await store.set("k", 1, ttl=60)
            assert await store.entry("k") == nexo.Entry("k", 1, 1, 1_060_000, 60_000)
            time.ms += 59_999
            assert await store.get("k") == 1
            time.ms += 1
            assert await store.get("k") is None
            kinds = [(await anext(changes)).kind for _ in range(2)]
            assert kinds == ["set", "expired"]
            # Nobody has to ask: what is due happens by itself.
            await store.set("k", 2, ttl=60)
            await anext(changes)
            time.ms += 60_000
            assert (await anext(changes)).kind == "expired"


async def test_further_clients_of_one_broker() -> None:
    async with nexo.embedded() as one, one.connect(name="other") as other:
        await one.store.map.set("k", 1)
        assert await other.store.map.get("k") == 1
        async with other.pubsub.pattern("#").subscribe() as messages:
            await one.pubsub.topic("t").publish("x")
            assert (await anext(messages)).data == "x"
        await one.close()
        assert await other.store.map.get("k") == 1
    async with nexo.embedded() as another:
        assert await another.store.map.get("k") is None


async def test_the_broker_rests_when_nobody_is_connected() -> None:
    client = await nexo.embedded()
    driver = client._broker._driver
    assert driver._timer is not None
    await client.close()
    assert driver._timer is None
    async with client.connect() as again:
        assert driver._timer is not None
        await again.ping()


async def test_flow_control_in_both_directions() -> None:
    async with nexo.embedded() as client, client.connect() as other:
        value = bytes(300_000)
        await asyncio.gather(*(client.store.map.set(f"k{n}", value) for n in range(50)))
        assert set(await asyncio.gather(*(client.store.map.get(f"k{n}") for n in range(50)))) == {value}
        seen: list[int] = []
        await other.pubsub.subscribe("t", lambda message: seen.append(message.data["n"]))
        load = "x" * 10_000
        await asyncio.gather(*(client.pubsub.topic("t").publish({"n": n, "load": load}) for n in range(500)))
        await other.ping()
        assert seen == list(range(500))


async def test_a_pipe_that_breaks() -> None:
    client = await nexo.embedded()
    link = client._connection.link
    assert link is not None
    call = asyncio.ensure_future(client.ping())
    await asyncio.sleep(0)
    link.abort("the test wants it")
    with pytest.raises(nexo.ConnectionClosedError, match="the test wants it"):
        await call
    with pytest.raises(nexo.NotConnectedError, match="not connected to embedded"):
        await client.ping()
    await client.close()
