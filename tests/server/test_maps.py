"""Durable maps and retained messages of a running server: over SIGKILL, compaction, and a full disk's refusal."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import nexo
from nexo.errors import ResourceConfigConflictError, ResourceNotFoundError, TooOldError
from tests.conftest import Server, running
from tests.server.test_compaction import log_files, snapshots, until

SMALL_FILES = ("--log-file-bytes", "64kb")


def kill(server: Server) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


@pytest.mark.parametrize("durability", ["fsync", "flush"])
def test_what_was_confirmed_is_there_after_a_kill(tmp_path: Path, durability: str) -> None:
    async def write(server: Server) -> int:
        async with await nexo.connect(port=server.port) as client:
            keys = client.store.map
            await keys.set("d/before", "there before the map")
            created = await client.store.create_map("d/", durability=durability)  # type: ignore[arg-type]
            assert (created.status, created.keys) == ("created", 1)
            again = await client.store.create_map("d/", durability=durability)  # type: ignore[arg-type]
            assert again.status == "unchanged"
            other = "flush" if durability == "fsync" else "fsync"
            with pytest.raises(ResourceConfigConflictError) as caught:
                await client.store.create_map("d/", durability=other)  # type: ignore[arg-type]
            assert caught.value.details["differences"] == [  # type: ignore[index]
                {"path": "durability", "requested": other, "actual": durability}
            ]
            await asyncio.gather(*(keys.set(f"d/{number}", number) for number in range(100)))
            await keys.set("d/short", 1, ttl_ms=1)
            await keys.set("d/long", {"a": [1]}, ttl=3600)
            await keys.set_many({"d/m1": b"1", "d/m2": b"2", "memory": 1})
            assert await keys.incr("d/n", 5) == 5
            await keys.delete("d/7")
            await keys.clear_with_prefix("d/1")
            entry = await keys.entry("d/n")
            assert entry is not None
            return entry.version

    async def read(server: Server, version: int) -> None:
        async with await nexo.connect(port=server.port) as client:
            keys = client.store.map
            found = {entry.key: entry.value async for entry in keys.scan()}
            numbers = {f"d/{n}": n for n in range(100) if n != 7 and not str(n).startswith("1")}
            assert found == numbers | {
                "d/before": "there before the map", "d/long": {"a": [1]}, "d/m1": b"1", "d/m2": b"2", "d/n": 5,
            }  # fmt: skip
            entry = await keys.entry("d/n")
            assert entry is not None and entry.version == version
            long = await keys.entry("d/long")
            assert long is not None and long.ttl_ms is not None and 0 < long.ttl_ms <= 3_600_000
            (info,) = await client.store.maps()
            assert (info.prefix, info.durability) == ("d/", durability)
            assert info.keys - len(found) in (0, 1)  # d/short counts until it is removed
            with pytest.raises(TooOldError):
                async with keys.watch("d/", prefix=True, from_version=version):
                    pass
            result = await keys.put("d/n", 6, version=version)
            assert result.applied and result.version > version
            await keys.put("d/n", 5, version=result.version)

    server = Server(tmp_path)
    version = asyncio.run(write(server))
    kill(server)
    with running(tmp_path) as again:
        asyncio.run(read(again, version))
    assert "Traceback" not in again.log()


def test_overwriting_a_key_does_not_fill_the_disk(tmp_path: Path) -> None:
    async def overwrite(server: Server) -> None:
        async with await nexo.connect(port=server.port) as client:
            await client.store.create_map("d/")
            await client.store.map.set("d/first", 1)
            first = log_files(tmp_path)[0]
            for turn in range(40):
                await asyncio.gather(
                    *(client.store.map.set(f"d/{n}", f"{turn}" + "x" * 1_000) for n in range(20))
                )
            await until(lambda: bool(snapshots(tmp_path)) and first not in log_files(tmp_path))

    async def look(server: Server) -> None:
        async with await nexo.connect(port=server.port) as client:
            assert await client.store.map.get("d/first") == 1
            for number in range(20):
                assert await client.store.map.get(f"d/{number}") == "39" + "x" * 1_000
            assert (await client.store.describe_map("d/")).keys == 21

    server = Server(tmp_path, *SMALL_FILES)
    asyncio.run(overwrite(server))
    kill(server)
    held = sum(os.path.getsize(tmp_path / "data" / name) for name in log_files(tmp_path))
    assert held < 40 * 20 * 1_000
    with running(tmp_path, *SMALL_FILES) as again:
        asyncio.run(look(again))


def test_a_map_that_is_deleted_keeps_nothing(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        async with await nexo.connect(port=server.port) as client:
            for prefix in ("a/", "b/"):
                await client.store.create_map(prefix)
                await client.store.map.set(f"{prefix}1", prefix)
            await client.store.delete_map("a/")
            await client.store.delete_map("b/", keys=True)
            assert await client.store.map.get("a/1") == "a/"
            assert await client.store.map.get("b/1") is None
            with pytest.raises(ResourceNotFoundError):
                await client.store.delete_map("a/")

    async def look(server: Server) -> None:
        async with await nexo.connect(port=server.port) as client:
            assert await client.store.map.count() == 0
            assert await client.store.maps() == []

    server = Server(tmp_path)
    asyncio.run(work(server))
    kill(server)
    with running(tmp_path) as again:
        asyncio.run(look(again))


def test_retained_messages_that_are_kept(tmp_path: Path) -> None:
    async def publish(server: Server) -> None:
        async with await nexo.connect(port=server.port) as client:
            await client.pubsub.topic("s/1").publish("old", retain=True)
            await client.pubsub.topic("s/1").publish("new", retain=True, headers={"h": b"v"})
            await client.pubsub.topic("s/2").publish(2, retain=True)
            await client.pubsub.topic("s/3").publish(3, retain=True, ttl_ms=1)
            await client.pubsub.topic("s/4").publish(4, retain=True, ttl=3600)
            await client.pubsub.topic("s/2").clear_retained()

    async def look(server: Server, expected: list[object]) -> None:
        async with await nexo.connect(port=server.port) as client:
            got: list[object] = []
            async with client.pubsub.pattern("s/#").subscribe() as messages:
                await client.pubsub.topic("s/end").publish("end")
                async for message in messages:
                    if message.data == "end":
                        break
                    got.append(message.data)
            assert got == expected

    server = Server(tmp_path, "--retained-level", "fsync")
    asyncio.run(publish(server))
    kill(server)
    with running(tmp_path, "--retained-level", "flush") as again:
        asyncio.run(look(again, ["new", 4]))
    # With the level memory they are given up for good.
    with running(tmp_path) as again:
        asyncio.run(look(again, []))
    with running(tmp_path, "--retained-level", "flush") as again:
        asyncio.run(look(again, []))
