"""The store's commands one by one, scans while keys change, and clearing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexo.brokers.counters import I64_MAX, I64_MIN
from nexo.brokers.entry import ENTRY_BYTES
from nexo.brokers.message import int_value
from nexo.brokers.store import Store
from nexo.errors import InvalidArgumentError, MemoryLimitError

T0 = 1_700_000_000_000
BIG = 1 << 20


def drain(store: Store) -> None:
    while store.work(1_000):
        pass


def test_versions_rise_over_all_keys() -> None:
    store = Store(first_version=1_000)
    store.set(b"a", b"\x00", T0)
    store.set(b"b", b"\x00", T0)
    store.set(b"a", b"\x00", T0)
    first, second = store.lookup(b"a", T0), store.lookup(b"b", T0)
    assert first is not None
    assert second is not None
    assert (first.version, second.version, store.version) == (1_003, 1_002, 1_003)


def test_set_clears_the_ttl_and_revives_nothing() -> None:
    store = Store()
    store.put(b"k", b"\x00old", T0, expires_at=T0 + 10)
    store.set(b"k", b"\x00new", T0)
    assert store.get(b"k", T0 + 10_000) == b"\x00new"
    store.put(b"n", int_value(41), T0, expires_at=T0 + 10)
    assert store.incr(b"n", 1, T0 + 10) == 1, "a counter that is due starts again"
    entry = store.lookup(b"n", T0 + 10)
    assert entry is not None
    assert entry.expires_at == 0
    assert store.expired == 1


def test_incr_keeps_the_ttl_and_counts_only_integers() -> None:
    store = Store()
    store.put(b"n", int_value(5), T0, expires_at=T0 + 100)
    assert store.incr(b"n", -7, T0) == -2
    assert store.get(b"n", T0 + 100) is None
    for value in (b"\x015", b"\x03short", b"\x00" + bytes(8), b"\x03" + bytes(9)):
        store.set(b"x", value, T0)
        with pytest.raises(InvalidArgumentError, match="not an integer"):
            store.incr(b"x", 1, T0)
        assert store.get(b"x", T0) == value


@pytest.mark.parametrize(
    ("start", "delta"), [(I64_MAX, 1), (I64_MIN, -1), (1, I64_MAX), (-1, I64_MIN), (I64_MIN, I64_MIN)]
)
def test_overflow_changes_nothing(start: int, delta: int) -> None:
    store = Store()
    store.set(b"n", int_value(start), T0)
    version = store.version
    with pytest.raises(InvalidArgumentError, match="64-bit"):
        store.incr(b"n", delta, T0)
    with pytest.raises(InvalidArgumentError, match="64-bit"):
        store.incr_bounded(b"n", delta, T0)
    assert (store.get(b"n", T0), store.version) == (int_value(start), version)
    result = store.incr_bounded(b"n", delta, T0, saturate=True)
    bound = I64_MAX if delta > 0 else I64_MIN
    assert (result.value, result.applied) == (bound, bound - start)


def test_the_whole_range_is_reachable() -> None:
    store = Store()
    assert store.incr(b"n", I64_MAX, T0) == I64_MAX
    assert store.incr(b"n", I64_MIN, T0) == -1
    assert store.incr(b"n", I64_MIN + 1, T0) == I64_MIN


def test_a_rate_limiter_in_one_call() -> None:
    store = Store()
    answers = [store.incr_bounded(b"ip", 1, T0 + n, maximum=3, expires_at=T0 + n + 1_000) for n in range(5)]
    assert [(one.value, one.applied) for one in answers] == [(1, 1), (2, 1), (3, 1), (3, 0), (3, 0)]
    assert {one.expires_at for one in answers} == {T0 + 1_000}, "set only at creation"
    again = store.incr_bounded(b"ip", 1, T0 + 1_000, maximum=3, expires_at=T0 + 2_000)
    assert (again.value, again.expires_at) == (1, T0 + 2_000)


def test_a_bound_in_the_way_creates_nothing() -> None:
    store = Store()
    result = store.incr_bounded(b"n", -1, T0, minimum=0)
    assert (result.value, result.applied, result.version, len(store)) == (0, 0, 0, 0)
    with pytest.raises(InvalidArgumentError, match="above the upper bound"):
        store.incr_bounded(b"n", 1, T0, minimum=2, maximum=1)


def test_put_many_is_atomic_at_the_cap() -> None:
    room = 3 * (ENTRY_BYTES + 2)
    store = Store(memory_max=room)
    store.set(b"a", b"\x00", T0)
    with pytest.raises(MemoryLimitError):
        store.put_many([(b"b", b"\x00"), (b"c", b"\x00"), (b"d", b"\x00")], T0)
    assert (len(store), store.rejected) == (1, 1)
    # The same key twice needs room once, and an overwrite needs none.
    assert store.put_many([(b"b", b"\x00"), (b"b", b"\x00"), (b"a", b"\x00"), (b"c", b"\x00")], T0).applied
    assert (len(store), store.memory_bytes) == (3, room)


def test_unknown_eviction() -> None:
    with pytest.raises(InvalidArgumentError, match="reject, lru, lfu, ttl"):
        Store(eviction="random")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=3), max_size=60, unique=True),
    st.binary(max_size=2),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_keys_that_stay_are_returned_exactly_once(
    keys: list[bytes], prefix: bytes, limit: int, rng: random.Random
) -> None:
    """Between the pages other keys come, go, come back, and are cleared."""
    store = Store()
    staying = keys[: len(keys) // 2]
    coming = keys[len(keys) // 2 :]
    for key in staying:
        store.set(key, b"\x00", T0)
    found: list[bytes] = []
    after = b""
    while True:
        page = store.scan(prefix, after, limit, BIG, T0, False)
        found += page.keys
        if not page.more:
            break
        after = page.keys[-1]
        for _ in range(3):
            if coming:
                key = rng.choice(coming)
                if not store.delete(key, T0):
                    store.set(key, b"\x00", T0)
    assert found == sorted(set(found)), "in order, none twice"
    assert {key for key in staying if key.startswith(prefix)} <= set(found)
    assert all(key.startswith(prefix) for key in found)


def test_pages_respect_their_bytes() -> None:
    store = Store()
    for number in range(10):
        store.set(b"k%d" % number, b"\x00" + bytes(99), T0)
    one = 4 + 2 + 8 + 8 + 4 + 100
    assert len(store.scan(b"k", b"", 100, 3 * one, T0, True).keys) == 3
    assert len(store.scan(b"k", b"", 100, 3 * one - 1, T0, True).keys) == 2
    assert len(store.scan(b"k", b"", 100, 1, T0, True).keys) == 1, "a page makes progress"
    assert len(store.scan(b"k", b"", 100, 3 * one, T0, False).keys) == 10


def test_a_large_store_is_indexed_in_slices_and_set_goes_on() -> None:
    store = Store()
    for number in range(20_000):
        store.set(b"k%05d" % number, b"\x00", T0)
    assert not store.ready()
    slices = 0
    while not store.ready():
        store.work(500)
        store.set(b"new%05d" % slices, b"\x00", T0)
        store.delete(b"k%05d" % slices, T0)
        slices += 1
    assert slices > 40
    assert store.count(b"k", T0) == 20_000 - slices
    assert store.count(b"new", T0) == slices
    assert store.scan(b"k", b"", 1, BIG, T0, False).keys == [b"k%05d" % slices]


def test_scan_is_right_even_when_not_ready() -> None:
    store = Store()
    for number in range(5_000):
        store.set(b"k%05d" % number, b"\x00", T0)
    assert not store.ready()
    assert store.scan(b"k", b"k04997", 10, BIG, T0, False).keys == [b"k04998", b"k04999"]
    assert store.ready()


def test_clear_prefix_never_touches_others() -> None:
    store = Store()
    names = [b"user:%04d" % n for n in range(3_000)] + [b"user", b"user;", b"uses:", b"use", b"v"]
    for name in names:
        store.set(name, b"\x00", T0)
    removed = 0
    while True:
        part = store.clear_prefix(b"user:", T0, 500)
        removed += part
        if part < 500:
            break
    assert removed == 3_000
    assert store.scan(b"", b"", 100, BIG, T0, False).keys == sorted(names[3_000:])
    assert store.memory_bytes == sum(ENTRY_BYTES + len(name) + 1 for name in names[3_000:])


@pytest.mark.parametrize("eviction", ["reject", "lru", "lfu", "ttl"])
@pytest.mark.parametrize("warm", [False, True])
def test_clear_gives_back_everything(eviction: str, warm: bool) -> None:
    store = Store(memory_max=10**9, eviction=eviction)
    for round_ in range(2):
        for number in range(3_000):
            store.put(
                b"k%d" % number, b"\x00" * (number % 50 + 1), T0, expires_at=T0 + 50_000 if number % 2 else 0
            )
        if warm:
            assert store.count(b"k", T0) == 3_000
        assert store.clear(T0) == 3_000, round_
        assert (store.memory_bytes, len(store), store.count(b"", T0)) == (0, 0, 0)
    drain(store)
    assert store.get(b"k1", T0) is None
