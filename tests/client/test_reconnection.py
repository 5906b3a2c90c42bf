"""Connections that are lost: what fails, what waits, what is restored, and what the client says of it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

import nexo
from tests.client.proxies import Proxy, restarted
from tests.client.test_connection import until
from tests.conftest import Server

pytestmark = pytest.mark.asyncio

QUICK = nexo.Reconnect(first_seconds=0.01, longest_seconds=0.05)


async def test_calls_under_way_fail_and_new_ones_wait(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nexo.client")
    told: list[nexo.Event] = []
    async with (
        Proxy(server.port) as proxy,
        nexo.connect(port=proxy.port, reconnect=QUICK, on_event=told.append) as client,
    ):
        await client.store.map.set("k", 1)
        proxy.hold()
        under_way = asyncio.ensure_future(client.store.map.get("k"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await proxy.shut()
        proxy.cut()
        with pytest.raises(nexo.ConnectionClosedError, match="connection was lost"):
            await under_way
        waiting = asyncio.ensure_future(client.store.map.get("k"))
        await until(client, nexo.Disconnected)
        assert not waiting.done()
        proxy.release()
        await proxy.open()
        assert await waiting == 1
        event = await until(client, nexo.Reconnected)
        assert isinstance(event, nexo.Reconnected)
        assert event.attempts >= 1
        assert (event.subscriptions, event.watches) == (0, 0)
        await asyncio.sleep(0)
        assert [type(event) for event in told] == [nexo.Connected, nexo.Disconnected, nexo.Reconnected]
    messages = [record.getMessage() for record in caplog.records if record.name == "nexo.client"]
    assert any("lost the connection" in message for message in messages)
    assert any("again" in message for message in messages)


async def test_subscriptions_and_watches_are_restored(server: Server) -> None:
    async with (
        asyncio.timeout(10),
        nexo.connect(port=server.port) as other,
        Proxy(server.port) as proxy,
        nexo.connect(port=proxy.port, reconnect=QUICK) as client,
    ):
        await other.pubsub.topic("r/kept").publish("kept", retain=True)
        async with (
            client.pubsub.pattern("r/#").subscribe() as plain,
            client.pubsub.pattern("r/#").subscribe(retained=False) as second,
            client.pubsub.pattern("r/+").subscribe(group="g") as shared,
            client.store.map.watch("r:", prefix=True) as changes,
            client.store.map.watch("r:2") as quiet,
        ):
            assert (await anext(plain)).data == "kept"
            await other.store.map.set("r:1", 1)
            assert (await anext(changes)).value == 1
            await proxy.shut()
            proxy.cut()
            await until(client, nexo.Disconnected)
            await other.store.map.set("r:2", 2)
            await proxy.open()
            event = await until(client, nexo.Reconnected)
            assert isinstance(event, nexo.Reconnected)
            assert (event.subscriptions, event.watches) == (3, 2)
            # The watch has missed nothing, and what is retained comes again.
            assert (await anext(changes)).value == 2
            assert (await anext(quiet)).value == 2
            assert (await anext(plain)).data == "kept"
            assert (await anext(second)).data == "kept"
            await other.pubsub.topic("r/x").publish("live")
            for messages in (plain, second, shared):
                assert (await anext(messages)).data == "live"
            await other.store.map.set("r:3", 3)
            assert (await anext(changes)).value == 3
        await other.pubsub.topic("r/kept").clear_retained()


async def test_a_server_that_comes_back_empty(tmp_path: Path) -> None:
    first = await asyncio.to_thread(Server, tmp_path)
    client = await nexo.connect(port=first.port, reconnect=QUICK)
    second: Server | None = None
    try:
        store = client.store.map
        watch = await store.watch("k")
        await store.set("k", 1)
        assert (await anext(watch)).value == 1
        messages = await client.pubsub.pattern("t").subscribe()
        assert await asyncio.to_thread(first.stop) == 0
        event = await until(client, nexo.Disconnected)
        assert isinstance(event, nexo.Disconnected)
        assert event.reason == "the server is going away"
        call = asyncio.ensure_future(store.get("k"))
        second = await restarted(tmp_path, first.port)
        assert await call is None
        with pytest.raises(nexo.TooOldError):
            await anext(watch)
        await client.pubsub.topic("t").publish("again")
        assert (await anext(messages)).data == "again"
        async with store.watch("k") as anew:
            await store.set("k", 2)
            assert (await anext(anew)).value == 2
    finally:
        await client.close()
        for server in (first, second):
            if server is not None and not server.stopped:
                server.stop()


async def test_waiting_for_a_connection_ends_with_the_timeout(server: Server) -> None:
    async with (
        Proxy(server.port) as proxy,
        nexo.connect(port=proxy.port, timeout=0.3, reconnect=QUICK) as client,
    ):
        await proxy.shut()
        proxy.cut()
        await until(client, nexo.Disconnected)
        with pytest.raises(nexo.NotConnectedError, match=f"127.0.0.1:{proxy.port}: .+"):
            await client.ping()


async def test_without_reconnection(server: Server) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port, reconnect=False) as client:
        messages = await client.pubsub.pattern("t").subscribe()
        watch = await client.store.map.watch("k")
        proxy.cut()
        with pytest.raises(nexo.NotConnectedError):
            await anext(messages)
        with pytest.raises(nexo.NotConnectedError):
            await anext(watch)
        with pytest.raises(nexo.NotConnectedError, match=r"not connected to 127\.0\.0\.1"):
            await client.ping()
        assert [type(event) async for event in client.events] == [nexo.Connected, nexo.Disconnected]


async def test_giving_up_after_so_many_attempts(server: Server) -> None:
    policy = nexo.Reconnect(first_seconds=0.001, longest_seconds=0.002, attempts_max=3)
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port, reconnect=policy) as client:
        await proxy.shut()
        proxy.cut()
        await until(client, nexo.Disconnected)
        with pytest.raises(nexo.NotConnectedError, match="refused"):
            await client.ping()


async def test_connections_that_do_not_hold_are_not_sought_in_a_hurry(server: Server) -> None:
    policy = nexo.Reconnect(first_seconds=0.001, longest_seconds=60.0)
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port, reconnect=policy) as client:
        for number in range(1, 5):
            proxy.cut()
            await until(client, nexo.Reconnected)
            assert client._connection._rests >= number
        # One that held for long enough begins anew.
        client._connection._standing_since -= 61.0
        proxy.cut()
        await until(client, nexo.Reconnected)
        assert client._connection._rests == 0


async def test_closing_while_disconnected(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        client = await nexo.connect(port=proxy.port, reconnect=QUICK)
        await proxy.shut()
        proxy.cut()
        await until(client, nexo.Disconnected)
        call = asyncio.ensure_future(client.ping())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(nexo.ConnectionClosedError):
            await call


async def test_waits_double_up_to_the_longest() -> None:
    policy = nexo.Reconnect(first_seconds=0.1, longest_seconds=2.0)
    for attempt, bound in enumerate((0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)):
        waits = [policy.wait_seconds(attempt) for _ in range(200)]
        assert 0 <= min(waits) < bound / 2 < max(waits) <= bound
    assert policy.wait_seconds(10_000) <= 2.0
