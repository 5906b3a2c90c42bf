"""The store's whole surface, the same for all four clients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
import pytest

import nexo

pytestmark = pytest.mark.asyncio


class User(msgspec.Struct):
    name: str
    age: int = 0


@dataclass
class Point:
    x: int
    y: float


class Level(IntEnum):
    HIGH = 3


VALUES = [
    b"",
    b"\x00\xff" * 40,
    "",
    "grüße 🦉",
    0,
    -1,
    (1 << 63) - 1,
    -(1 << 63),
    1.5,
    True,
    False,
    None,
    [],
    {},
    {"a": [1, 2.5, None, {"b": "ü"}]},
    [1, "two", False],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_values_come_back_as_they_are(client: Any, value: Any) -> None:
    await client.store.map.set("v", value)
    found = await client.store.map.get("v")
    assert found == value
    assert type(found) is type(value)


async def test_values_that_become_something_else(client: Any) -> None:
    store = client.store.map
    for given, got in [
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (Level.HIGH, 3),
        (User("Ada", 36), {"name": "Ada", "age": 36}),
        (Point(1, 2.5), {"x": 1, "y": 2.5}),
        (msgspec.Raw(b'{"big": 12}'), {"big": 12}),
        ((1, 2), [1, 2]),
    ]:
        await store.set("v", given)
        assert await store.get("v") == got


async def test_json_is_decoded_as_the_type_asked_for(client: Any) -> None:
    store = client.store.map
    await store.set("user", User("Ada", 36))
    await store.set("point", Point(1, 2.5))
    await store.set("number", 5)
    assert await store.get("user", type=User) == User("Ada", 36)
    assert await store.get("point", type=Point) == Point(1, 2.5)
    assert await store.get("number", type=float) == 5.0
    assert await store.get("none", type=User) is None
    assert (await store.entry("user", type=User)).value == User("Ada", 36)
    assert await store.get_many(["user"], type=User) == {"user": User("Ada", 36)}
    assert [found.value async for found in store.scan("us", type=User)] == [User("Ada", 36)]
    with pytest.raises(nexo.InvalidArgumentError, match="not of type User"):
        await store.get("point", type=User)
    with pytest.raises(nexo.InvalidArgumentError, match="not of type User"):
        await store.get("number", type=User)


@pytest.mark.parametrize(
    "value",
    [1 << 63, -(1 << 63) - 1, object(), {1: {2, object()}}, "\ud800"],
    ids=["above", "below", "object", "nested", "surrogate"],
)
async def test_values_that_nothing_can_hold(client: Any, value: Any) -> None:
    with pytest.raises(nexo.InvalidArgumentError):
        await client.store.map.set("v", value)
    assert await client.store.map.get("v") is None


async def test_set_get_delete_exists(client: Any) -> None:
    store = client.store.map
    assert await store.get("k") is None
    assert not await store.exists("k")
    await store.set("k", "v")
    assert await store.exists("k")
    await store.delete("k")
    await store.delete("k")
    assert not await store.exists("k")
    with pytest.raises(nexo.InvalidArgumentError, match="empty"):
        await store.get("")
    with pytest.raises(nexo.InvalidArgumentError, match="Unicode"):
        await store.get("\ud800")
    with pytest.raises(nexo.LimitExceededError, match="key_bytes_max"):
        await store.set("k" * 65_537, 1)


async def test_conditions_and_versions(client: Any) -> None:
    store = client.store.map
    refused = await store.put("k", 1, if_present=True)
    assert (refused.applied, refused.version) == (False, 0)
    first = await store.put("k", 1, if_absent=True)
    assert first.applied
    again = await store.put("k", 2, if_absent=True)
    assert (again.applied, again.version) == (False, first.version)
    second = await store.put("k", 2, version=first.version, return_old=True)
    assert (second.applied, second.old) == (True, 1)
    assert second.version > first.version
    assert not (await store.put("k", 3, version=first.version)).applied
    plain = await store.put("k", 3)
    assert plain.applied
    assert plain.version > second.version
    assert plain.old is None
    assert (await store.entry("k")).version == plain.version
    with pytest.raises(nexo.VersionMismatchError) as caught:
        await store.set("k", 4, version=first.version)
    assert caught.value.actual == plain.version
    await store.set("k", 4, version=plain.version)
    assert await store.get("k") == 4
    assert not await store.remove("k", version=plain.version)
    assert await store.remove("k")
    assert not await store.remove("k")


async def test_time_to_live(client: Any) -> None:
    store = client.store.map
    await store.set("k", 1, ttl=60)
    entry = await store.entry("k")
    assert 0 < entry.ttl_ms <= 60_000
    assert entry.expires_at_ms is not None
    assert await store.persist("k")
    assert (await store.entry("k")).ttl_ms is None
    assert await store.expire("k", ttl_ms=90_000)
    assert 60_000 < (await store.entry("k")).ttl_ms <= 90_000
    assert await store.get("k", touch_ttl_ms=200_000) == 1
    assert 90_000 < (await store.entry("k")).ttl_ms <= 200_000
    await store.put("k", 2, keep_ttl=True)
    assert (await store.entry("k")).ttl_ms > 90_000
    at = entry.expires_at_ms + 1_000_000
    assert await store.expire("k", expires_at_ms=at)
    assert (await store.entry("k")).expires_at_ms == at
    await store.put("k", 3, expires_at_ms=at + 1)
    assert (await store.entry("k")).expires_at_ms == at + 1
    await store.set("k", 4)
    assert (await store.entry("k")).ttl_ms is None
    assert not await store.expire("none", ttl=1)
    assert not await store.persist("none")
    assert await store.entry("none") is None
    assert await store.get("none", touch_ttl_ms=5) is None


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0}, {"ttl_ms": 0}, {"ttl": -1}, {"ttl_ms": 1 << 60}, {"ttl": 1, "ttl_ms": 1}],
    ids=repr,
)
async def test_times_that_are_none(client: Any, options: dict[str, Any]) -> None:
    with pytest.raises(nexo.InvalidArgumentError, match=r"ttl|TTL"):
        await client.store.map.set("k", 1, **options)


async def test_counters(client: Any) -> None:
    store = client.store.map
    assert await store.incr("n") == 1
    assert await store.incr("n", -5) == -4
    bounded = await store.incr_bounded("calls", 2, maximum=3, ttl_ms=60_000)
    assert (bounded.value, bounded.applied) == (2, 2)
    assert 0 < bounded.ttl_ms <= 60_000
    assert (await store.incr_bounded("calls", 2, maximum=3)).applied == 0
    assert (await store.incr_bounded("calls", 2, maximum=3, saturate=True)).applied == 1
    assert (await store.incr_bounded("n", -1, minimum=-4)).applied == 0
    await store.set("text", "7")
    with pytest.raises(nexo.InvalidArgumentError):
        await store.incr("text")
    with pytest.raises(nexo.InvalidArgumentError, match="64 bits"):
        await store.incr("n", 1 << 63)


async def test_many_keys(client: Any) -> None:
    store = client.store.map
    assert await store.set_many({"a": 1, "b": b"2"}, ttl=50)
    assert not await store.set_many({"b": 1, "c": 2}, if_absent=True)
    assert await store.get_many(["b", "none", "a"]) == {"b": b"2", "a": 1}
    assert list(await store.get_many(["b", "a"])) == ["b", "a"]
    assert await store.get_many([]) == {}
    assert (await store.entry("a")).ttl_ms <= 50_000
    with pytest.raises(nexo.LimitExceededError, match="keys_per_command_max"):
        await store.get_many(map(str, range(10_001)))


async def test_prefixes(client: Any) -> None:
    store = client.store.map
    await store.set_many({f"p:{number:03}": number for number in range(250)})
    await store.set("q", 1)
    found = [entry async for entry in store.scan("p:", page_keys=100)]
    assert [entry.key for entry in found] == [f"p:{number:03}" for number in range(250)]
    assert [entry.value for entry in found] == list(range(250))
    bare = [entry async for entry in store.scan("p:", values=False, limit=7, page_keys=5)]
    assert [(entry.key, entry.value) for entry in bare] == [(f"p:{number:03}", None) for number in range(7)]
    assert await store.count("p:") == 250
    assert await store.count() == 251
    assert await store.clear_with_prefix("p:") == 250
    assert [entry.key async for entry in store.scan()] == ["q"]
    assert await store.clear_all() == 1


async def test_watch(client: Any) -> None:
    store = client.store.map
    async with store.watch("w:", prefix=True, type=User) as changes, store.watch("w:1") as one:
        await store.set("w:1", User("Ada"))
        await store.set("other", 1)
        await store.set("w:2", User("Bob"))
        await store.delete("w:1")
        seen = [await anext(changes) for _ in range(3)]
        assert [(change.kind, change.key) for change in seen] == [
            ("set", "w:1"),
            ("set", "w:2"),
            ("deleted", "w:1"),
        ]
        assert seen[0].value == User("Ada")
        assert seen[2].value is None
        assert seen[0].version < seen[1].version < seen[2].version
        assert [(await anext(one)).kind for _ in range(2)] == ["set", "deleted"]
    resumed = await store.watch("w:", prefix=True, from_version=seen[0].version)
    assert (await anext(resumed)).version == seen[1].version
    await resumed.stop()
    assert [change async for change in resumed] == []
    with pytest.raises(nexo.TooOldError):
        await store.watch("w:", from_version=1 << 40)


async def test_maps(client: Any) -> None:
    store = client.store
    await store.map.set("maps/1", 1)
    created = await store.create_map("maps/", durability="flush")
    assert (created.status, created.prefix, created.durability, created.keys) == (
        "created",
        "maps/",
        "flush",
        1,
    )
    assert created.bytes > 0
    assert (await store.create_map("maps/", durability="flush")).status == "unchanged"
    with pytest.raises(nexo.ResourceConfigConflictError, match="durability is flush"):
        await store.create_map("maps/")
    await store.map.set("maps/2", 2)
    assert await store.map.get("maps/2") == 2
    assert await store.describe_map("maps/") == nexo.MapInfo("maps/", "flush", 2, 2 * created.bytes)
    await store.create_map("maps/cache/", durability="memory")
    assert [one.prefix for one in await store.maps("maps/")] == ["maps/", "maps/cache/"]
    await store.delete_map("maps/cache/")
    await store.delete_map("maps/", keys=True)
    assert await store.map.count("maps/") == 0
    with pytest.raises(nexo.ResourceNotFoundError):
        await store.describe_map("maps/")
    with pytest.raises(nexo.InvalidArgumentError):
        await store.create_map("maps/", durability="disk")
