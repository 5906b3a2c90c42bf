"""Store: values of every type, TTL, counters, prefixes, large values, thousands of calls in flight."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import check, fails, run

from nexo import InvalidArgumentError, NexoClient

MIB = 1024 * 1024
VALUES = [
    b"",
    b"\x00\xff" * 100,
    bytearray(b"array"),
    "",
    "plain",
    "grün 日本語 🜁",
    "123",
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    2**63,
    -(2**80),
    0.0,
    -1.5,
    1e300,
    True,
    False,
    None,
    [],
    {},
    [1, "two", None, [3.5, {"x": [True]}]],
    {"a": {"b": {"c": [1, 2, {"d": "ü"}]}}, "": 0},
]


@check
async def values_of_every_type(client: NexoClient) -> None:
    for index, value in enumerate(VALUES):
        await client.store.map.set(f"type:{index}", value)
    for index, value in enumerate(VALUES):
        got = await client.store.map.get(f"type:{index}")
        expected = bytes(value) if isinstance(value, bytearray) else value
        assert got == expected, (got, expected)
        assert type(got) is type(expected), (got, expected)


@check
async def unicode_and_odd_keys(client: NexoClient) -> None:
    for key in ("ключ", "a b", "\n", "k" * 65_536, "{}", "🜁"):
        await client.store.map.set(key, key)
        assert await client.store.map.get(key) == key
        await client.store.map.delete(key)
        assert await client.store.map.get(key) is None
    assert isinstance(await fails(client.store.map.set("", 1)), InvalidArgumentError)
    assert isinstance(await fails(client.store.map.get("")), InvalidArgumentError)
    error = await fails(client.store.map.set("k" * 65_537, 1))
    assert "key_bytes_max" in str(error), error


@check
async def set_replaces_and_delete_removes(client: NexoClient) -> None:
    await client.store.map.set("one", "a")
    await client.store.map.set("one", 7)
    assert await client.store.map.get("one") == 7
    await client.store.map.delete("one")
    assert await client.store.map.get("one") is None
    await client.store.map.delete("one")


@check
async def ttl_expires(client: NexoClient) -> None:
    """Also: a set without TTL clears an earlier one, a set with TTL moves it."""
    await asyncio.gather(
        *(client.store.map.set(f"ttl:{name}", name, ttl=1) for name in ("gone", "kept", "moved"))
    )
    started = time.monotonic()
    await client.store.map.set("ttl:kept", "kept")
    await client.store.map.set("ttl:moved", "moved", ttl=60)
    while await client.store.map.get("ttl:gone") is not None:
        assert time.monotonic() - started < 5
        await asyncio.sleep(0.01)
    assert time.monotonic() - started > 0.8
    assert await client.store.map.get("ttl:kept") == "kept"
    assert await client.store.map.get("ttl:moved") == "moved"
    assert isinstance(await fails(client.store.map.set("ttl:zero", 1, ttl=0)), InvalidArgumentError)


@check
async def counters(client: NexoClient) -> None:
    await client.store.map.delete("n")
    assert await client.store.map.incr("n") == 1
    assert await client.store.map.incr("n", 10) == 11
    assert await client.store.map.incr("n", -20) == -9
    assert await client.store.map.get("n") == -9
    for start, delta in ((2**63 - 1, 1), (-(2**63), -1)):
        await client.store.map.set("n", start)
        assert isinstance(await fails(client.store.map.incr("n", delta)), InvalidArgumentError)
        assert await client.store.map.get("n") == start
    for value in ("12", b"12", 1.5, None, True, [1]):
        await client.store.map.set("n", value)
        assert isinstance(await fails(client.store.map.incr("n")), InvalidArgumentError)
        assert await client.store.map.get("n") == value
    await client.store.map.delete("n")
    answers = await asyncio.gather(*(client.store.map.incr("n") for _ in range(500)))
    assert sorted(answers) == list(range(1, 501))


@check
async def clear_a_prefix(client: NexoClient) -> None:
    await client.store.map.clear_all()
    inside = [f"user:{index}" for index in range(50)]
    outside = ["user", "user;", "use", "v", "usez:1"]
    for key in inside + outside:
        await client.store.map.set(key, 1)
    assert await client.store.map.clear_with_prefix("user:") == 50
    assert await client.store.map.clear_with_prefix("user:") == 0
    assert all([await client.store.map.get(key) == 1 for key in outside])
    assert all([await client.store.map.get(key) is None for key in inside])
    assert await client.store.map.clear_all() == len(outside)
    assert await client.store.map.clear_all() == 0


@check
async def large_values(client: NexoClient) -> None:
    for size in (MIB, 9 * MIB):
        value = bytes(range(256)) * (size // 256)
        await client.store.map.set("large", value)
        assert await client.store.map.get("large") == value
    await client.store.map.delete("large")


@check
async def thousands_in_flight(client: NexoClient) -> None:
    keys = [f"flight:{index}" for index in range(5000)]
    await asyncio.gather(*(client.store.map.set(key, index) for index, key in enumerate(keys)))
    assert await asyncio.gather(*(client.store.map.get(key) for key in keys)) == list(range(5000))
    assert await client.store.map.clear_with_prefix("flight:") == 5000


@check
async def too_large_is_refused(client: NexoClient) -> None:
    """A frame above 10 MiB: an error that names the limit, and the server goes on."""
    error = await fails(client.store.map.set("huge", b"x" * (10 * MIB + 1)))
    # The client may see the closed connection before it reads why.
    assert "frame_bytes_max" in str(error) or type(error).__name__ == "ConnectionClosedError", repr(error)


run()
