"""The order of keys: built in slices, kept by notes, and exactly the table's when it is settled."""

from __future__ import annotations

import random

import pytest

from nexo.brokers.entry import Entry
from nexo.brokers.keyindex import BLOCK_KEYS_MAX, SMALL, KeyIndex, successor
from nexo.brokers.table import Table


def table(count: int, seed: int = 1) -> Table:
    rng = random.Random(seed)
    return filled([b"%08d" % rng.randrange(10**8) for _ in range(count)])


def filled(keys: list[bytes]) -> Table:
    entries = Table()
    for key in keys:
        entries[key] = Entry(b"", 1)
    return entries


def keys_of(index: KeyIndex) -> list[bytes]:
    assert all(0 < len(block) <= BLOCK_KEYS_MAX for block in index.blocks)
    return [key for block in index.blocks for key in block]


@pytest.mark.parametrize(
    ("prefix", "after"),
    [(b"a", b"b"), (b"ab", b"ac"), (b"a\xff", b"b"), (b"\xff", None), (b"\xff\xff", None), (b"", None)],
)
def test_successor(prefix: bytes, after: bytes | None) -> None:
    assert successor(prefix) == after


def test_build_in_slices_while_keys_come_and_go() -> None:
    entries = table(20_000)
    index = KeyIndex()
    assert index.cold()
    assert not index.busy()
    index.start(entries)
    rng = random.Random(2)
    steps = 0
    while index.busy():
        assert index.step(entries, 500) <= 500
        steps += 1
        for _ in range(20):
            key = b"%08d" % rng.randrange(10**8)
            entries[key] = Entry(b"", 1)
            index.note(key)
            gone = next(iter(entries))
            del entries[gone]
            index.note(gone)
            if rng.random() < 0.5:  # set again: it must not stand there twice
                entries[gone] = Entry(b"", 1)
                index.note(gone)
    assert steps > 40, "the build was not sliced"
    index.settle(entries)
    assert keys_of(index) == sorted(entries)


@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_inserts_and_removals_keep_the_order(order: str) -> None:
    entries = Table()
    index = KeyIndex()
    index.settle(entries)
    keys = [b"%06d" % number for number in range(6_000)]
    if order == "down":
        keys.reverse()
    if order == "random":
        random.Random(3).shuffle(keys)
    for start in range(0, len(keys), 100):
        for key in keys[start : start + 100]:
            entries[key] = Entry(b"", 1)
            index.note(key)
        index.settle(entries)
    assert keys_of(index) == sorted(keys)
    for key in keys[: len(keys) - 100]:
        del entries[key]
        index.note(key)
    index.settle(entries)
    assert keys_of(index) == sorted(keys[-100:])
    assert len(index.blocks) <= 8, "small blocks were not joined"


def test_few_notes_wait_and_many_are_merged_in_slices() -> None:
    entries = table(100)
    index = KeyIndex()
    index.settle(entries)
    for number in range(SMALL + 1):
        key = b"n%06d" % number
        entries[key] = Entry(b"", 1)
        assert index.ready() == (number <= SMALL)
        index.note(key)
    assert not index.ready()
    assert index.busy()
    assert index.step(entries, 10) == 0
    assert index.ready()
    index.settle(entries)
    assert keys_of(index) == sorted(entries)


def test_count_and_take_touch_only_the_prefix() -> None:
    entries = filled([b"%s:%05d" % (name, number) for name in (b"a", b"b", b"c") for number in range(3_000)])
    index = KeyIndex()
    index.settle(entries)
    assert (index.count(b""), index.count(b"b:"), index.count(b"b:0001"), index.count(b"d")) == (
        9_000,
        3_000,
        10,
        0,
    )
    taken: list[bytes] = []
    while True:
        part = index.take(b"b:", 700)
        taken += part
        if len(part) < 700:
            break
    assert taken == [key for key in sorted(entries) if key.startswith(b"b:")]
    assert keys_of(index) == [key for key in sorted(entries) if not key.startswith(b"b:")]


def test_seek_past_and_at() -> None:
    entries = table(5_000)
    index = KeyIndex()
    index.settle(entries)
    ordered = sorted(entries)
    for place, key in enumerate(ordered[::37]):
        number, at = index.seek(key, False)
        assert index.blocks[number][at] == key
        number, at = index.seek(key, True)
        following = ordered[place * 37 + 1] if place * 37 + 1 < len(ordered) else None
        found = None
        if number < len(index.blocks):
            block = index.blocks[number]
            found = block[at] if at < len(block) else index.blocks[number + 1][0]
        assert found == following
