"""The server as such, as the people who run it see it."""

from __future__ import annotations

import pytest

import nexo
from tests.client.surfaces import opened
from tests.conftest import Server

pytestmark = pytest.mark.asyncio


async def test_the_status_counts_what_brokers_hold(client: nexo.Client, name: str) -> None:
    before = await client.server.status()
    await client.queue.create(name, durability="memory")
    await client.store.map.set(name, 1)
    top = await client.server.top()
    assert before.ready and before.reasons == []
    assert top.status.at >= before.at > 0 and "keys" in top.status.store
    assert name in [queue.name for queue in top.queues]


async def test_the_busiest_come_first(client: nexo.Client, name: str) -> None:
    idle, busy = f"{name}/idle", f"{name}/busy"
    await client.queue.create(idle, durability="memory")
    queue = await client.queue.create(busy, durability="memory")
    for number in range(3):
        await queue.push(number)
    names = [one.name for one in (await client.server.top()).queues]
    assert names.index(busy) < names.index(idle)
    assert len((await client.server.top(1)).queues) == 1
    shown = next(one for one in (await client.server.top()).queues if one.name == busy)
    assert (shown.ready, shown.pushed) == (3, 3)


async def test_what_an_embedded_broker_has_not(client: nexo.Client, surface: str) -> None:
    if "embedded" not in surface:
        return
    for ask in (client.server.config, lambda: client.server.close_connection(1)):
        with pytest.raises(nexo.NotAvailableError, match="embedded"):
            await ask()
    with pytest.raises(nexo.NotAvailableError, match="embedded"):
        async for _ in client.server.connections():
            pass


async def test_connections_are_found_and_closed(sdk: nexo.Client, server: Server, name: str) -> None:
    async with opened("async", server.port) as other:
        await other.close()
    async with nexo.connect(port=server.port, name=name, reconnect=False) as other:
        found = [one async for one in sdk.server.connections(name)]
        assert [one.name for one in found] == [name] and found[0].protocol == "native"
        assert found[0].received_bytes > 0 and found[0].sent_bytes > 0
        assert await sdk.server.connection(found[0].id) == found[0]
        await sdk.server.close_connection(found[0].id)
        with pytest.raises((nexo.ConnectionClosedError, nexo.NotConnectedError)):
            await pings(other)
    for ask in (sdk.server.connection, sdk.server.close_connection):
        with pytest.raises(nexo.ResourceNotFoundError, match="no connection 999999"):
            await ask(999_999)


async def pings(client: nexo.Client) -> None:
    while True:
        await client.ping()


async def test_pages_of_connections(
    sdk: nexo.Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = sdk.server._ask

    async def in_small_pages(action: str, type: object, **arguments: object) -> object:
        asked.append(action)
        return await ask(action, type, **arguments, limit=1)

    async with nexo.connect(port=server.port), nexo.connect(port=server.port):
        monkeypatch.setattr(sdk.server, "_ask", in_small_pages)
        found = [one.id async for one in sdk.server.connections()]
    assert len(found) >= 3 and found == sorted(set(found)) and len(asked) == len(found)


async def test_settings_with_their_sources(sdk: nexo.Client) -> None:
    settings = {one.name: one for one in await sdk.server.config()}
    assert settings["port"].source == "--port"
    assert settings["eviction"].value == "reject" and settings["eviction"].source == "default"
