"""One connection for many calls: pipelining, back-pressure, timeouts, cancellation, refusals."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

import nexo
from nexo.client import calls as calls_module
from tests.client.proxies import Proxy
from tests.conftest import Server

pytestmark = pytest.mark.asyncio


async def test_calls_of_one_turn_leave_together(server: Server) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port) as client:
        store = client.store.map
        await store.set("n", 0)
        proxy.chunks.clear()
        results = await asyncio.gather(*(store.incr("n") for _ in range(2000)))
        assert results == list(range(1, 2001))
        assert len(proxy.chunks) <= 4
        assert sum(map(len, proxy.chunks)) == 2000 * (11 + 4 + 1 + 8)


async def test_thousands_of_calls_of_many_kinds(sdk: nexo.Client) -> None:
    store = sdk.store.map

    async def one(number: int) -> None:
        await store.set(f"k{number}", number)
        assert await store.get(f"k{number}") == number
        assert (await store.entry(f"k{number}")).value == number  # type: ignore[union-attr]

    await asyncio.gather(*map(one, range(3000)))
    assert await store.count("k") == 3000


async def test_an_answer_in_single_bytes(server: Server) -> None:
    async with Proxy(server.port, piece_bytes=1) as proxy, nexo.connect(port=proxy.port) as client:
        await client.store.map.set("k", "v" * 300)
        assert await client.store.map.get("k") == "v" * 300
        async with client.pubsub.pattern("#").subscribe() as messages:
            await client.pubsub.topic("t").publish({"a": 1}, headers={"h": "v"})
            assert (await anext(messages)).data == {"a": 1}


async def test_large_values(sdk: nexo.Client) -> None:
    value = bytes(range(256)) * 40_000
    await sdk.store.map.set("large", value)
    assert await sdk.store.map.get("large") == value
    assert (await sdk.store.map.entry("large")).value == value  # type: ignore[union-attr]
    with pytest.raises(nexo.LimitExceededError, match="frame_bytes_max is 10485760"):
        await sdk.store.map.set("large", b"x" * (10 * 1024 * 1024))
    await sdk.ping()


async def test_the_servers_own_bound_is_kept(start_server: Callable[..., Server]) -> None:
    small = start_server("--frame-bytes-max", "262144")
    async with nexo.connect(port=small.port) as client:
        with pytest.raises(nexo.LimitExceededError, match="frame_bytes_max is 262144"):
            await client.store.map.set("k", bytes(262_144))
        await client.store.map.set("k", bytes(262_000))


async def test_a_full_connection_makes_calls_wait_in_their_order(server: Server) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port) as client:
        proxy.hold()
        calls = [asyncio.ensure_future(client.store.map.set("k", bytes(500_000))) for _ in range(40)]
        calls.append(asyncio.ensure_future(client.store.map.set("k", "last")))
        await asyncio.sleep(0)  # every call has begun
        connection = client._connection
        async with asyncio.timeout(10):
            while connection.link is None or not connection.link.full:
                await asyncio.sleep(0)
        assert connection._waiting_bytes > 1_000_000
        assert not any(call.done() for call in calls)
        calls[-1].cancel()
        await asyncio.wait([calls[-1]])
        proxy.release()
        await asyncio.gather(*calls[:-1])
        assert connection._waiting_bytes == 0
        assert await client.store.map.get("k") == bytes(500_000)


async def test_a_subscription_that_is_cancelled_while_it_waits(server: Server, sdk: nexo.Client) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port) as client:
        await client.pubsub.subscribe("other", lambda message: None)
        proxy.hold()
        filling = [asyncio.ensure_future(client.store.map.set("k", bytes(500_000))) for _ in range(40)]
        subscribing = asyncio.ensure_future(client.pubsub.subscribe("t", lambda message: None).__aenter__())
        watching = asyncio.ensure_future(client.store.map.watch("k").__aenter__())
        async with asyncio.timeout(10):
            while len(client._connection._waiting) < 3:
                await asyncio.sleep(0)
        for task in (subscribing, watching):
            task.cancel()
            await asyncio.wait([task])
        proxy.release()
        await asyncio.gather(*filling)
        await client.ping()
        assert await sdk.pubsub.topic("t").publish(1, count=True) == 0
        assert client._connection._reserved == set()


async def test_what_waits_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "WAITING_CALLS_MAX", 10)
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port) as client:
        await proxy.shut()
        proxy.cut()
        await until(client, nexo.Disconnected)
        calls = [asyncio.ensure_future(client.ping()) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(nexo.LimitExceededError, match="10 calls"):
            await client.ping()
        await proxy.open()
        await asyncio.gather(*calls)


async def until(client: nexo.Client, kind: type) -> nexo.Event:
    """The next event of this kind."""
    async with asyncio.timeout(10):
        async for event in client.events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


async def test_no_answer_in_time(server: Server) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port, timeout=0.2) as client:
        proxy.hold()
        began = time.monotonic()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*(client.ping() for _ in range(50)), return_exceptions=True)
        assert 0.19 <= time.monotonic() - began < 2
        assert {type(result) for result in results} == {nexo.RequestTimeoutError}
        assert all(isinstance(result, TimeoutError) for result in results)
        proxy.release()
        # The late answers are for nobody; the connection goes on.
        await client.store.map.set("after", 1)
        assert await client.store.map.get("after") == 1


async def test_a_cancelled_call_is_forgotten(server: Server) -> None:
    async with Proxy(server.port) as proxy, nexo.connect(port=proxy.port) as client:
        proxy.hold()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.store.map.incr("n")
        link = client._connection.link
        assert link is not None
        assert link.calls == {}
        proxy.release()
        await client.ping()


async def test_close_lets_writes_leave_and_fails_what_waits(server: Server) -> None:
    async with nexo.connect(port=server.port) as other:
        await other.store.map.delete("n")
        client = await nexo.connect(port=server.port)
        calls = [asyncio.ensure_future(client.store.map.incr("n")) for _ in range(100)]
        await asyncio.sleep(0)
        await client.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {nexo.ConnectionClosedError}
        async with other.store.map.watch("n") as changes:
            value = await other.store.map.get("n")
            while value != 100:
                value = (await anext(changes)).value
        with pytest.raises(nexo.ConnectionClosedError):
            await client.store.map.get("n")


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(nexo.NotConnectedError, match=f"127.0.0.1:{port}: connection refused"):
            await nexo.connect(port=port, reconnect=False)
        began = time.monotonic()
        with pytest.raises(nexo.NotConnectedError, match="connection refused"):
            await nexo.connect(port=port, timeout=0.3)
        assert time.monotonic() - began >= 0.29
        # It listens, and nobody answers.
        taken.listen()
        with pytest.raises(nexo.NotConnectedError, match="does not answer"):
            await nexo.connect(port=port, timeout=0.2)
    with pytest.raises(nexo.NotConnectedError, match=r"nowhere\.invalid:7654"):
        await nexo.connect(host="nowhere.invalid", reconnect=False)
    with pytest.raises(nexo.InvalidArgumentError):
        nexo.connect(timeout=0)


async def test_a_server_that_speaks_something_else() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(http, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(nexo.NexoError, match="does not speak protocol version"):
            await nexo.connect(port=port, reconnect=False)


async def test_credentials_are_sent(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        for given, sent in [
            ({"user": "ada", "password": "pw"}, b"\x01\x00\x00\x00\x03ada\x00\x00\x00\x02pw"),
            ({"token": "abc"}, b"\x02\x00\x00\x00\x03abc"),
        ]:
            proxy.chunks.clear()
            with pytest.raises(nexo.NotAuthorizedError):
                await nexo.connect(port=proxy.port, name="me", **given)
            hello = b"\x00\x00\x00\x02me\x00\x00\x00\x00" + sent
            assert proxy.chunks[0][:3] == b"\x09\x01\x01"
            assert proxy.chunks[0][11:] == hello
        assert proxy.accepted == 2  # a refusal is not tried again
    for wrong in ({"user": "ada"}, {"password": "x"}, {"token": "t", "user": "u", "password": "p"}):
        with pytest.raises(nexo.InvalidArgumentError):
            nexo.connect(**wrong)  # type: ignore[arg-type]


async def test_correlation_ids_go_round(sdk: nexo.Client) -> None:
    async with sdk.store.map.watch("k") as changes:
        sdk._connection._last_id = 0xFFFFFFFF - 2
        for number in range(6):
            await sdk.store.map.set("k", number)
        assert [(await anext(changes)).value for _ in range(6)] == list(range(6))
    assert 0 < sdk._connection._last_id < 100
