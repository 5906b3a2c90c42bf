"""Expiry: in time, in portions, and nothing piles up."""

from __future__ import annotations

import gc
import time

import pytest

import nexo.brokers.store as store_module
from nexo.brokers.expiry import FINE_MS
from nexo.brokers.leftovers import Leftovers
from nexo.brokers.store import Store

COMPILED = not (store_module.__file__ or "").endswith(".py")
T0 = 1_700_000_000_000


def items(store: Store) -> int:
    """List items of the expiry, read through what it gives up."""
    return sum(len(keys) for keys in store._expiry.lists())


def removed_at(store: Store, now: int) -> int:
    """Follows the deadlines that `expire` gives until the last key is gone: when that was."""
    while True:
        wake = store.expire(now, 1_000)
        if not len(store):
            return now
        assert wake > 0, "a key with a TTL is not scheduled"
        now = max(now, wake)


@pytest.mark.parametrize("ttl", [1, 16, 17, 1_000, 1_024, 65_537, 3_600_000, 86_400_000 * 365 * 100])
def test_a_key_is_removed_soon_after_its_time_and_never_before(ttl: int) -> None:
    store = Store()
    store.put(b"k", b"\x00", T0, expires_at=T0 + ttl)
    wake, calls = store.expire(T0, 10), 0
    while wake <= T0 + ttl - 1:
        assert wake > 0
        wake = store.expire(wake, 10)
        assert len(store) == 1
        calls += 1
    assert calls <= 12, "too many looks at one key"
    assert wake <= T0 + ttl + FINE_MS
    assert store.get(b"k", T0 + ttl - 1) == b"\x00"
    assert store.get(b"k", T0 + ttl) is None, "a due key is not readable even before it is removed"
    assert store.expire(wake, 10) == 0
    assert len(store) == 0
    assert store.expired == 1


def test_a_sliding_ttl_does_not_pile_up() -> None:
    store = Store()
    for step in range(10_000):
        store.put(b"session", b"\x00", T0 + step, expires_at=T0 + step + 60_000)
        store.set_expiry(b"other", 0, T0 + step)
    assert items(store) == 1
    expires_at = T0 + 9_999 + 60_000
    assert expires_at <= removed_at(store, T0 + 10_000) <= expires_at + FINE_MS


def test_deleted_and_set_again_does_not_pile_up_nor_lose_the_key() -> None:
    store = Store()
    for step in range(40_000):
        store.put(b"k", b"\x00", T0, expires_at=T0 + 3_600_000)
        store.put(b"k%d" % (step % 10), b"\x00", T0, expires_at=T0 + 3_700_000)
        store.delete(b"k", T0)
        store.delete(b"k%d" % (step % 10), T0)
        store.work(100)
    store.put(b"k", b"\x00", T0, expires_at=T0 + 3_600_000)
    while store.work(1_000):
        pass
    assert items(store) < 10_000
    assert T0 + 3_600_000 <= removed_at(store, T0) <= T0 + 3_600_000 + FINE_MS


def test_a_sweep_that_is_overtaken_by_the_time_loses_nothing() -> None:
    store = Store()
    for number in range(20_000):
        store.put(b"%d" % number, b"\x00", T0, expires_at=T0 + 1_000)
    for number in range(12_000):
        store.delete(b"%d" % number, T0)
    assert store.work(50), "the sweep has begun and is not done"
    later = T0 + 2_000
    for number in range(100):
        store.put(b"new%d" % number, b"\x00", later - 1_500, expires_at=T0 + 1_000)
    while True:
        wake = store.expire(later, 100)
        if wake == 0 or wake > later:
            break
        store.work(10)
    assert len(store) == 0
    assert store.memory_bytes == 0


def test_persist_and_shorten() -> None:
    store = Store()
    store.put(b"forever", b"\x00", T0, expires_at=T0 + 1_000)
    store.put(b"shorter", b"\x00", T0, expires_at=T0 + 1_000_000)
    assert store.set_expiry(b"forever", 0, T0) is not None
    assert store.set_expiry(b"shorter", T0 + 100, T0) is not None
    assert store.expire(T0 + 200, 10) in range(T0 + 201, T0 + 1_000_001)
    assert store.lookup(b"shorter", T0) is None
    assert len(store) == 1
    assert store.expire(T0 + 2_000_000, 10) == 0
    assert store.get(b"forever", T0 + 2_000_000) == b"\x00"


def test_many_keys_due_in_one_second_make_no_long_turn() -> None:
    """A million keys when compiled; the bound is what the issue asks for."""
    count, bound = (1_000_000, 0.010) if COMPILED else (100_000, 0.050)
    store = Store()
    for number in range(count):
        store.put(b"key:%012d" % number, b"\x00value", T0, expires_at=T0 + 5_000 + number % 1_000)
    now = T0 + 7_000
    turns: list[float] = []
    gc.collect()
    while True:
        started = time.thread_time()  # what the turn takes, not what others take from it
        wake = store.expire(now, 2_000)
        turns.append(time.thread_time() - started)
        if wake == 0 or wake > now:
            break
    assert len(turns) >= count // 2_000
    assert len(store) == 0
    assert store.memory_bytes == 0
    assert store.expired == count
    turns.sort()
    assert turns[-3] < bound  # the first ones meet memory that nobody has touched yet


def test_a_backlog_is_worked_off_before_a_scan() -> None:
    store = Store()
    for number in range(5_000):
        store.put(b"k%d" % number, b"\x00", T0, expires_at=T0 + 10)
    assert store.ready() is False  # cold, and not small
    while store.work(1_000):
        pass
    assert store.ready()
    assert store.expire(T0 + 100, 100) <= T0 + 100
    assert not store.ready()
    while store.work(1_000):
        pass
    assert store.ready()
    assert len(store) == 0


def test_clear_frees_in_portions() -> None:
    store = Store()
    for number in range(10_000):
        store.put(b"k%d" % number, b"\x00", T0, expires_at=T0 + 10_000)
    assert store.clear(T0) == 10_000
    assert (store.memory_bytes, len(store), store.expire(T0 + 20_000, 10)) == (0, 0, 0)
    slices = 1
    while store.work(1_000):
        slices += 1
    assert slices >= 10


def test_a_long_list_is_freed_in_portions_too() -> None:
    left = Leftovers()
    keys = [b"%d" % number for number in range(10_000)]
    left.add([], [keys, [b"x"]])
    assert left.step(1_000) == 0
    assert len(keys) == 10_000 - 998, "the short list costs one step, its key another"
    assert bool(left)
    for _ in range(11):
        left.step(1_000)
    assert not left
