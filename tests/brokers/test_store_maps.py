"""Durable maps of the store against a dict, through restarts, snapshots and clocks that jump.

Checked after every step: what is readable, the account of each map, and that what is kept on disk is not offered
to the evictor. After a restart: what was recorded is there, nothing else, and no version is given twice.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexo.brokers import mapreplay, maps
from nexo.brokers.entry import ENTRY_BYTES
from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.brokers.message import int_value
from nexo.brokers.store import Store
from nexo.errors import MemoryLimitError, ResourceConfigConflictError, ResourceNotFoundError, StorageError
from tests.brokers.journals import MemoryJournal, split

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
KEYS = st.sampled_from([b"a", b"a/", b"a/1", b"a/2", b"a/b/1", b"a/b/2", b"a/b/c", b"b", b"b/1", b"\xff"])
PREFIXES = st.sampled_from([b"", b"a", b"a/", b"a/b/", b"a/b/c", b"b", b"zz"])
TTLS = st.sampled_from([0, 0, 1, 500, 100_000, 3 * HOUR_MS])


def store_of(journal: MemoryJournal, now: int, eviction: str = "lru") -> Store:
    """A store that has done everything again which a journal holds."""
    journal.keeping = False
    store = Store(memory_max=10**9, eviction=eviction, journal=journal)
    for kind, data, start, end, _ in journal.operations():
        mapreplay.apply(store, kind, data, start, end, now)
    journal.keeping = True
    store.recovered(now)
    return store


def dumped(store: Store) -> MemoryJournal:
    """A journal whose only batch is a snapshot."""
    out = MemoryJournal()
    job = mapreplay.DumpJob(out, store)
    while not job.step(2):
        pass
    out.close()
    return out


class MapsMachine(RuleBasedStateMachine):
    """`model`: key → (value, version, expires at). `unsure`: keys that change hands, so a restart may find them."""

    @initialize(eviction=st.sampled_from(["reject", "lru", "ttl"]))
    def start(self, eviction: str) -> None:
        self.journal = MemoryJournal()
        self.eviction = eviction
        self.now = START_MS
        self.store = Store(memory_max=10**9, eviction=eviction, journal=self.journal)
        self.model: dict[bytes, tuple[bytes, int, int]] = {}
        self.levels: dict[bytes, int] = {}
        self.unsure: set[bytes] = set()
        self.highest = 0

    def level(self, key: bytes) -> int:
        found = [prefix for prefix in self.levels if key.startswith(prefix)]
        return self.levels[max(found, key=len)] if found else MEMORY

    def living(self) -> dict[bytes, tuple[bytes, int, int]]:
        return {key: it for key, it in self.model.items() if it[2] == 0 or it[2] > self.now}

    def wrote(self, key: bytes) -> None:
        self.unsure.discard(key)

    @rule(key=KEYS, value=st.binary(max_size=9), ttl=TTLS, keep=st.booleans())
    def put(self, key: bytes, value: bytes, ttl: int, keep: bool) -> None:
        old = self.living().get(key)
        expires_at = self.now + ttl if ttl else 0
        if ttl or keep:
            self.store.put(key, value, self.now, expires_at=expires_at, keep_ttl=keep)
        else:
            self.store.set(key, value, self.now)
        self.model[key] = (value, self.store.version, old[2] if keep and old else expires_at)
        self.wrote(key)

    @rule(keys=st.lists(KEYS, max_size=4), value=st.binary(max_size=3))
    def put_many(self, keys: list[bytes], value: bytes) -> None:
        before = self.store.version
        self.store.put_many([(key, value) for key in keys], self.now)
        for key in dict.fromkeys(keys):
            entry = self.store.lookup(key, self.now)
            assert entry is not None and entry.version > before
            self.model[key] = (value, entry.version, 0)
            self.wrote(key)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        assert self.store.delete(key, self.now) == (key in self.living())
        self.model.pop(key, None)
        self.wrote(key)

    @rule(key=KEYS, delta=st.integers(-5, 5))
    def count(self, key: bytes, delta: int) -> None:
        old = self.living().get(key)
        if old is None or old[0].startswith(b"\x03"):
            if old is not None and len(old[0]) != 9:
                return
            number = self.store.incr(key, delta, self.now)
            self.model[key] = (int_value(number), self.store.version, old[2] if old else 0)
            self.wrote(key)

    @rule(key=KEYS, ttl=TTLS)
    def set_expiry(self, key: bytes, ttl: int) -> None:
        expires_at = self.now + ttl if ttl else 0
        self.store.set_expiry(key, expires_at, self.now)
        if key in self.living():
            value, version, _ = self.model[key]
            self.model[key] = (value, version, expires_at)
            if self.level(key) == MEMORY or key not in self.unsure:
                return
            self.unsure.add(key)

    @rule(prefix=PREFIXES, limit=st.sampled_from([1, 2, 100]))
    def clear_prefix(self, prefix: bytes, limit: int) -> None:
        expected = sorted(key for key in self.living() if key.startswith(prefix))[:limit]
        assert self.store.clear_prefix(prefix, self.now, limit) == len(expected)
        for key in expected:
            del self.model[key]
            self.wrote(key)

    @rule()
    def clear(self) -> None:
        self.store.clear(self.now)
        self.model = {}
        self.unsure = set()

    @precondition(lambda self: self.store.maps.moving is None)
    @rule(prefix=PREFIXES, level=st.sampled_from([MEMORY, FLUSH, FSYNC]))
    def declare(self, prefix: bytes, level: int) -> None:
        there = self.levels.get(prefix)
        if there is not None and there != level:
            with pytest.raises(ResourceConfigConflictError) as caught:
                self.store.declare(prefix, level)
            assert caught.value.details["differences"][0]["path"] == "durability"  # type: ignore[index]
            return
        old = {key: self.level(key) for key in self.model}
        assert self.store.declare(prefix, level) == (there is None)
        self.levels[prefix] = level
        self.unsure = {key for key, was in old.items() if was == MEMORY != self.level(key)}

    @precondition(lambda self: self.levels and self.store.maps.moving is None)
    @rule(number=st.integers(0, 6), remove=st.booleans())
    def undeclare(self, number: int, remove: bool) -> None:
        prefix = sorted(self.levels)[number % len(self.levels)]
        old = {key: self.level(key) for key in self.model}
        owned = {key for key in self.model if self.store.maps.find(key).prefix == prefix}
        self.store.undeclare(prefix, remove)
        del self.levels[prefix]
        self.unsure = {key for key in owned if old[key] == MEMORY != self.level(key)}
        if remove:
            self.settle()
            for key in owned:
                self.model.pop(key, None)

    @rule(budget=st.sampled_from([1, 2, 100]))
    def work(self, budget: int) -> None:
        self.store.work(budget)
        if self.store.maps.moving is None:
            self.unsure = set()

    def settle(self) -> None:
        while self.store.work(100):
            pass
        self.unsure = set()

    @rule(ms=st.sampled_from([1, 20, 600, 2 * HOUR_MS]))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        while 0 < self.store.expire(self.now, 100) <= self.now:
            pass
        self.model = self.living()
        self.unsure &= self.model.keys()
        self.end_turn()

    def end_turn(self) -> None:
        if self.store.mapped:
            self.store.maps.note(self.store.version, self.now)
            self.highest = int(self.store.version)
        self.journal.close()

    @rule(jump=st.sampled_from([0, 0, 1, -HOUR_MS, HOUR_MS]), by_snapshot=st.booleans())
    def restart(self, jump: int, by_snapshot: bool) -> None:
        self.end_turn()
        self.model = self.living()
        self.now += jump
        if by_snapshot:
            # As a compaction does it, in whose brokers no time passes.
            journal = dumped(store_of(self.journal, 0))
        else:
            journal = self.journal
        self.store = store_of(journal, self.now, self.eviction)
        self.journal = journal
        expected = {key: it for key, it in self.living().items() if self.level(key) != MEMORY}
        for key in self.unsure:
            if self.store.lookup(key, self.now) is None:
                expected.pop(key, None)
        self.model = expected
        self.unsure = set()
        assert {one.prefix: one.level for one in self.store.maps.all()} == self.levels
        assert self.store.version > self.highest

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        living = self.living()
        for key in self.store.all_keys():
            entry = self.store.lookup(key, self.now)
            if entry is not None:
                assert (entry.value, entry.version, entry.expires_at) == living.pop(key)
        assert living == {}

    @invariant()
    def accounts_are_right(self) -> None:
        if self.store.maps.moving is not None or not self.store.mapped:
            return
        found: dict[bytes, list[int]] = {prefix: [0, 0] for prefix in self.levels}
        for key in self.store.all_keys():
            entry = self.store.lookup(key, -1)
            assert entry is not None
            one = self.store.maps.find(key)
            if one.prefix in found and one is not self.store.maps.rest:
                found[one.prefix][0] += 1
                found[one.prefix][1] += ENTRY_BYTES + len(key) + len(entry.value)
            if one.level != MEMORY:
                assert entry.slot == -1
        assert {one.prefix: [one.keys, one.bytes] for one in self.store.maps.all()} == found


MapsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMaps = MapsMachine.TestCase


def test_the_longest_prefix_wins() -> None:
    store = Store()
    for prefix, level in ((b"", FLUSH), (b"a/", FSYNC), (b"a/cache/", MEMORY)):
        assert store.declare(prefix, level)
    keys = [b"x", b"a", b"a/1", b"a/cache/1", b"a/cach"]
    assert [store.maps.find(key).prefix for key in keys] == [b"", b"", b"a/", b"a/cache/", b"a/"]
    assert [store.maps.level_over(prefix) for prefix in (b"", b"a/cache/x", b"b")] == [FSYNC, FSYNC, FLUSH]


def test_a_map_that_is_declared_no_longer_keeps_nothing() -> None:
    journal = MemoryJournal()
    store = Store(journal=journal)
    with pytest.raises(ResourceNotFoundError):
        store.undeclare(b"d/", False)
    store.declare(b"d/", FSYNC)
    store.set(b"d/1", b"\0v", START_MS)
    store.undeclare(b"d/", False)
    while store.work(10):
        pass
    assert store.get(b"d/1", START_MS) == b"\0v"
    journal.close()
    again = store_of(journal, START_MS)
    assert again.all_keys() == [] and again.maps.all() == []
    # Nor is it there again when the prefix is, though nothing was recorded of its end.
    store.delete(b"d/1", START_MS)
    store.declare(b"d/", FSYNC)
    journal.close()
    assert store_of(journal, START_MS).all_keys() == []


def test_nothing_is_recorded_without_a_map() -> None:
    journal = MemoryJournal()
    store = Store(journal=journal)
    store.set(b"k", b"\0v", START_MS)
    store.clear_prefix(b"k", START_MS, 10)
    store.declare(b"k", MEMORY)
    declared = len(journal.out)
    store.set(b"k", b"\0v", START_MS)
    store.delete(b"k", START_MS)
    assert len(journal.out) == declared


def test_a_cleared_prefix_is_one_operation_for_each_slice() -> None:
    journal = MemoryJournal()
    store = Store(journal=journal)
    store.declare(b"d/", FSYNC)
    store.put_many([(b"d/%d" % n, b"\0") for n in range(10)] + [(b"c", b"\0"), (b"e", b"\0")], START_MS)
    journal.close()
    store.clear_prefix(b"", START_MS, 5)
    assert [kind for kind, _, _ in split(journal.out.getvalue())] == [maps.CLEAR]
    journal.close()
    again = store_of(journal, START_MS)
    assert sorted(again.all_keys()) == [b"d/%d" % n for n in range(4, 10)]


def test_what_is_kept_on_disk_is_not_evicted() -> None:
    room = 20 * (ENTRY_BYTES + 12)
    store = Store(memory_max=room, eviction="lru", journal=MemoryJournal())
    store.declare(b"d/", FSYNC)
    for number in range(15):
        store.set(b"d/%02d" % number, b"\0value", START_MS)
    for number in range(100):
        store.set(b"c/%02d" % number, b"\0value", START_MS)
    assert store.maps.get(b"d/").keys == 15
    assert store.evicted > 90
    store.put_many([(b"d/%02d" % number, b"\0value") for number in range(15, 20)], START_MS)
    with pytest.raises(MemoryLimitError):
        store.set(b"d/20", b"\0value", START_MS)
    assert store.maps.get(b"d/").keys == 20


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (maps.MAP, b""),
        (maps.MAP, b"\x03a"),
        (maps.SET, b"\0\0\0"),
        (maps.SET, b"\0\0\0\x09k" + bytes(16)),
        (maps.SET, b"\xff\xff\xff\xffk" + bytes(16)),
        (maps.EXPIRY, bytes(7)),
        (maps.DELETE, b""),
        (maps.CLEAR, bytes(8)),
        (maps.CLEAR, bytes(8) + b"\0\0\0\x05"),
        (maps.TIME, bytes(3)),
    ],
)
def test_operations_that_end_early_are_refused(kind: int, body: bytes) -> None:
    with pytest.raises(StorageError):
        mapreplay.apply(Store(), kind, body, 0, len(body), START_MS)
