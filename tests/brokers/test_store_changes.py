"""Watches: order, batches, resuming, and what is too old."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexo.brokers.changes import (
    CHANGE_BYTES,
    CHANGE_DELETED,
    CHANGE_EXPIRED,
    CHANGE_SET,
    Change,
    Changes,
    Watch,
    Watcher,
)
from nexo.brokers.message import int_value
from nexo.brokers.store import Store
from nexo.errors import TooOldError

T0 = 1_700_000_000_000


class Recorder(Watcher):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, list[Change]]] = []

    def changed(self, watch_id: int, changes: list[Change]) -> None:
        self.batches.append((watch_id, changes))

    def seen(self) -> list[tuple[int, int, bytes]]:
        return [(change.kind, change.version, change.key) for _, batch in self.batches for change in batch]


def test_one_batch_per_turn_in_order_of_versions() -> None:
    store = Store()
    recorder = Recorder()
    store.watch(recorder, 7, b"a", True, -1)
    store.set(b"a1", b"\x00x", T0)
    store.set(b"b1", b"\x00x", T0)
    store.incr(b"a2", 5, T0)
    store.put(b"a3", b"\x00y", T0, expires_at=T0 + 9)
    store.delete(b"a1", T0)
    assert recorder.batches == [], "told only at the end of the turn"
    store.flush_watches()
    store.flush_watches()
    assert [watch_id for watch_id, _ in recorder.batches] == [7]
    assert recorder.seen() == [(1, 1, b"a1"), (1, 3, b"a2"), (1, 4, b"a3"), (2, 5, b"a1")]
    batch = recorder.batches[0][1]
    assert [(change.value, change.expires_at) for change in batch] == [
        (b"\x00x", 0),
        (int_value(5), 0),
        (b"\x00y", T0 + 9),
        (None, 0),
    ]


def test_a_key_watch_a_prefix_watch_and_the_whole_store() -> None:
    store = Store()
    recorders = {name: Recorder() for name in ("key", "prefix", "all", "other", "long")}
    store.watch(recorders["key"], 1, b"ab", False, -1)
    store.watch(recorders["prefix"], 2, b"ab", True, -1)
    store.watch(recorders["all"], 3, b"", True, -1)
    store.watch(recorders["other"], 4, b"b", True, -1)
    store.watch(recorders["long"], 5, b"abcdef", True, -1)
    for key in (b"a", b"ab", b"abc"):
        store.set(key, b"\x00", T0)
    store.flush_watches()
    keys = {name: [key for _, _, key in recorder.seen()] for name, recorder in recorders.items()}
    assert keys == {
        "key": [b"ab"],
        "prefix": [b"ab", b"abc"],
        "all": [b"a", b"ab", b"abc"],
        "other": [],
        "long": [],
    }


def test_a_watch_begins_where_it_is_made_even_within_a_turn() -> None:
    store = Store()
    first, second = Recorder(), Recorder()
    store.watch(first, 1, b"", True, -1)
    store.set(b"before", b"\x00", T0)
    store.watch(second, 2, b"", True, -1)
    store.set(b"after", b"\x00", T0)
    store.flush_watches()
    assert [key for _, _, key in first.seen()] == [b"before", b"after"]
    assert [key for _, _, key in second.seen()] == [b"after"]


def test_resume_within_a_turn_tells_everything_once() -> None:
    store = Store()
    store.watch(Recorder(), 1, b"", True, -1)
    store.set(b"k", b"\x001", T0)
    seen = store.version
    store.set(b"k", b"\x002", T0)
    store.flush_watches()
    store.set(b"k", b"\x003", T0)
    store.set(b"other", b"\x00", T0)
    resumed = Recorder()
    store.watch(resumed, 2, b"k", False, seen)
    store.set(b"k", b"\x004", T0)
    store.flush_watches()
    assert [version - seen for _, version, _ in resumed.seen()] == [1, 2, 4]
    assert len(resumed.batches) == 1


def test_unwatch_is_final_at_once_and_may_come_from_a_watcher() -> None:
    store = Store()
    recorder = Recorder()
    watch = store.watch(recorder, 1, b"k", False, -1)
    store.set(b"k", b"\x00", T0)
    store.unwatch(watch)
    store.unwatch(watch)
    store.flush_watches()
    assert recorder.batches == []

    class Ender(Watcher):
        others: list[Watch]

        def changed(self, watch_id: int, changes: list[Change]) -> None:
            for other in self.others:
                store.unwatch(other)

    ender = Ender()
    ender.others = [store.watch(ender, 2, b"k", False, -1), store.watch(recorder, 3, b"k", True, -1)]
    store.set(b"k", b"\x00", T0)
    store.flush_watches()
    store.set(b"k", b"\x00", T0)
    store.flush_watches()
    assert recorder.batches == []


def test_too_old_by_count_by_bytes_and_before_the_first_watch() -> None:
    store = Store(changes_max=10)
    for _ in range(5):
        store.set(b"k", b"\x00", T0)
    with pytest.raises(
        TooOldError, match=r"after version 3: the change log begins at version 6 .* at version 5"
    ):
        store.watch(Recorder(), 1, b"k", False, 3)
    store.watch(Recorder(), 1, b"k", False, 5)
    for _ in range(20):
        store.set(b"k", b"\x00", T0)
    with pytest.raises(TooOldError):
        store.watch(Recorder(), 2, b"k", False, 14)
    held = Recorder()
    store.watch(held, 3, b"k", False, 15)
    store.flush_watches()
    assert [version for _, version, _ in held.seen()] == list(range(16, 26))
    with pytest.raises(TooOldError):
        store.watch(Recorder(), 4, b"k", False, 26)

    store = Store(changes_bytes_max=3 * (CHANGE_BYTES + 101))
    store.watch(Recorder(), 1, b"k", False, -1)
    for _ in range(5):
        store.set(b"k", bytes(100), T0)
    with pytest.raises(TooOldError):
        store.watch(Recorder(), 2, b"k", False, 1)
    store.watch(Recorder(), 2, b"k", False, 2)
    store.set(b"k", bytes(10_000), T0)  # larger than the log: it then holds nothing
    with pytest.raises(TooOldError):
        store.watch(Recorder(), 3, b"k", False, 5)
    store.watch(Recorder(), 3, b"k", False, 6)


def test_expiry_is_a_change_and_a_new_ttl_is_not() -> None:
    store = Store()
    recorder = Recorder()
    store.watch(recorder, 1, b"", True, -1)
    store.put(b"a", b"\x00", T0, expires_at=T0 + 10)
    store.put(b"b", b"\x00", T0, expires_at=T0 + 10)
    store.set_expiry(b"a", T0 + 20, T0)
    store.set(b"b", b"\x00", T0 + 15)  # was due: it expires first, then it is new
    store.expire(T0 + 100, 100)
    store.flush_watches()
    assert recorder.seen() == [
        (CHANGE_SET, 1, b"a"),
        (CHANGE_SET, 2, b"b"),
        (CHANGE_EXPIRED, 3, b"b"),
        (CHANGE_SET, 4, b"b"),
        (CHANGE_EXPIRED, 5, b"a"),
    ]


def test_clear_tells_each_watch_of_its_keys_and_cannot_be_resumed_from_before() -> None:
    store = Store()
    key, prefix, none = Recorder(), Recorder(), Recorder()
    store.watch(key, 1, b"a1", False, -1)
    for number in range(3):
        store.set(b"a%d" % number, b"\x00", T0)
        store.set(b"b%d" % number, b"\x00", T0)
    before = store.version
    store.watch(none, 2, b"c", False, -1)
    store.flush_watches()
    assert store.clear(T0) == 6
    store.set(b"a1", b"\x00", T0)
    store.flush_watches()
    kinds = [(kind, name) for kind, _, name in key.seen()]
    assert kinds == [(CHANGE_SET, b"a1"), (CHANGE_DELETED, b"a1"), (CHANGE_SET, b"a1")]
    store.watch(prefix, 3, b"a", True, -1)
    store.set(b"a2", b"\x00", T0)
    store.clear(T0)
    store.flush_watches()
    assert sorted(name for kind, _, name in prefix.seen() if kind == CHANGE_DELETED) == [b"a1", b"a2"]
    versions = [version for _, version, _ in prefix.seen()]
    assert versions == sorted(set(versions))
    assert versions[-1] < store.version
    assert none.batches == []
    with pytest.raises(TooOldError):
        store.watch(Recorder(), 4, b"a", True, before)
    store.watch(Recorder(), 4, b"a", True, store.version)


def test_nothing_is_recorded_before_the_first_watch() -> None:
    store = Store()
    store.set(b"k", b"\x00", T0)
    assert not store._changes.recording
    store.unwatch(store.watch(Recorder(), 1, b"k", False, -1))
    seen = store.version
    store.set(b"k", b"\x00new", T0)
    resumed = Recorder()
    store.watch(resumed, 2, b"k", False, seen)  # recorded although nobody watched meanwhile
    store.flush_watches()
    assert resumed.seen() == [(CHANGE_SET, seen + 1, b"k")]


def test_matching_does_not_walk_the_watches() -> None:
    """With 20,000 watches of other keys the matcher makes as many lookups as with one."""

    class Counting(dict[bytes, list[Watch]]):
        lookups = 0

        def get(self, *args: object) -> object:  # type: ignore[override]
            Counting.lookups += 1
            return super().get(*args)  # type: ignore[call-overload]

    changes = Changes(100, 10_000)
    changes.start(0)
    for number in range(10_000):
        changes.watch(Recorder(), number, b"key%d" % number, False, -1)
        changes.watch(Recorder(), number, b"prefix%05d" % number, True, -1)
    recorder = Recorder()
    changes.watch(recorder, 1, b"wanted", False, -1)
    changes._exact = Counting(changes._exact)
    changes._by_length = {length: Counting(found) for length, found in changes._by_length.items()}
    changes.record(CHANGE_SET, 1, b"wanted", b"\x00", 0)
    changes.flush()
    assert recorder.seen() == [(CHANGE_SET, 1, b"wanted")]
    assert Counting.lookups <= 2


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 150))
def test_replaying_from_a_version_gives_the_store_as_it_is(rng: random.Random, split: int) -> None:
    store = Store(changes_max=1_000)
    store.watch(Recorder(), 1, b"never", False, -1)
    seen = 0
    copy: dict[bytes, bytes] = {}
    for step in range(200):
        if step == split:
            seen = store.version
            page = store.scan(b"", b"", 1_000, 1 << 20, T0 + step, True)
            copy = {key: entry.value for key, entry in zip(page.keys, page.entries, strict=True)}
        key = b"k%d" % rng.randrange(12)
        action = rng.randrange(6)
        if action == 0:
            store.delete(key, T0 + step)
        elif action == 1:
            store.put(key, b"\x00%d" % step, T0 + step, expires_at=T0 + step + rng.randrange(1, 60))
        elif action == 2:
            store.expire(T0 + step, 5)
        elif action == 3 and step % 20 == 0:
            store.clear_prefix(b"k1", T0 + step, 2)
        else:
            store.set(key, b"\x00%d" % step, T0 + step)
        if step % 7 == 0:
            store.flush_watches()
    resumed = Recorder()
    store.watch(resumed, 2, b"k", True, seen)
    while 0 < store.expire(T0 + 1_000, 100) <= T0 + 1_000:
        pass
    store.flush_watches()
    for _, batch in resumed.batches:
        for change in batch:
            if change.kind == CHANGE_SET:
                assert change.value is not None
                copy[change.key] = change.value
            else:
                copy.pop(change.key, None)
    page = store.scan(b"", b"", 1_000, 1 << 20, T0 + 1_000, True)
    assert copy == {key: entry.value for key, entry in zip(page.keys, page.entries, strict=True)}
