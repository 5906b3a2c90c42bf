"""Hypothesis drives the store against a dict of key -> (value, version, expires_at).

Checked after every step: what is readable, the order and number of keys, the account of memory, and that
a watch of everything, replayed, gives the same map.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nexo.brokers.changes import CHANGE_SET, Change, Watcher
from nexo.brokers.counters import I64_MAX, I64_MIN
from nexo.brokers.entry import ENTRY_BYTES
from nexo.brokers.message import int_value
from nexo.brokers.store import Store
from nexo.errors import InvalidArgumentError

KEYS = st.sampled_from([b"a", b"a\xff", b"a\xff\xff", b"ab", b"abc", b"b", b"ba", b"\x00", b"\xff", b"\xffa"])
PREFIXES = st.sampled_from([b"", b"a", b"a\xff", b"ab", b"b", b"\xff", b"zz"])
VALUES = st.sampled_from(
    [b"\x00", b"\x00long" * 9, b"\x01text", int_value(0), int_value(I64_MAX), int_value(-7)]
)
TTLS = st.sampled_from([0, 1, 15, 16, 17, 500, 5_000, 100_000, 10_000_000])
NUMBERS = st.one_of(st.integers(-9, 9), st.sampled_from([I64_MIN, I64_MAX, I64_MAX - 1]))


class Replica(Watcher):
    """Replays what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[bytes, bytes] = {}
        self.version = 0

    def changed(self, watch_id: int, changes: list[Change]) -> None:
        for change in changes:
            assert change.version > self.version
            self.version = change.version
            if change.kind == CHANGE_SET:
                assert change.value is not None
                self.keys[change.key] = change.value
            else:
                del self.keys[change.key]


class StoreMachine(RuleBasedStateMachine):
    @initialize(watched=st.booleans(), cap=st.booleans())
    def start(self, watched: bool, cap: bool) -> None:
        # A cap that is never reached takes the other path through every write.
        self.store = Store(memory_max=10**9 if cap else 0, eviction="lru")
        self.now = 1_700_000_000_000
        self.model: dict[bytes, tuple[bytes, int, int]] = {}
        self.replica = Replica() if watched else None
        if self.replica is not None:
            self.store.watch(self.replica, 1, b"", True, -1)

    def living(self) -> dict[bytes, tuple[bytes, int, int]]:
        return {key: it for key, it in self.model.items() if it[2] == 0 or it[2] > self.now}

    def until(self, ttl: int) -> int:
        return self.now + ttl if ttl else 0

    @rule(key=KEYS, value=VALUES)
    def set(self, key: bytes, value: bytes) -> None:
        self.store.set(key, value, self.now)
        self.model[key] = (value, self.store.version, 0)

    @rule(
        key=KEYS,
        value=VALUES,
        ttl=TTLS,
        keep=st.booleans(),
        absent=st.booleans(),
        present=st.booleans(),
        expected=st.sampled_from(["any", "none", "same", "other"]),
        past=st.booleans(),
    )
    def put(
        self,
        key: bytes,
        value: bytes,
        ttl: int,
        keep: bool,
        absent: bool,
        present: bool,
        expected: str,
        past: bool,
    ) -> None:
        old = self.living().get(key)
        version = old[1] if old else 0
        wanted = {"any": -1, "none": 0, "same": version, "other": version + 1}[expected]
        expires_at = self.now if past else self.until(ttl)
        result = self.store.put(
            key, value, self.now, expires_at=expires_at, keep_ttl=keep, if_absent=absent, if_present=present,
            expected_version=wanted,
        )  # fmt: skip
        applied = not (absent and old) and not (present and not old) and wanted in (-1, version)
        assert (result.applied, result.old) == (applied, old[0] if old else None)
        if not applied:
            assert result.version == version
        elif past and not (keep and old):
            self.model.pop(key, None)
        else:
            assert result.version == self.store.version > version
            self.model[key] = (value, self.store.version, old[2] if keep and old else expires_at)

    @rule(key=KEYS, conditional=st.booleans(), right=st.booleans())
    def delete(self, key: bytes, conditional: bool, right: bool) -> None:
        old = self.living().get(key)
        if conditional:
            version = old[1] if old else 0
            result = self.store.delete_if(key, self.now, version if right else version + 1)
            assert (result.deleted, result.version) == (right and old is not None, version)
            assert result.old == (old[0] if old else None)
            if not right:
                return
        else:
            assert self.store.delete(key, self.now) == (old is not None)
        self.model.pop(key, None)

    @rule(key=KEYS, ttl=TTLS, past=st.booleans())
    def set_expiry(self, key: bytes, ttl: int, past: bool) -> None:
        old = self.living().get(key)
        entry = self.store.set_expiry(key, self.now - 1 if past else self.until(ttl), self.now)
        if old is None or past:
            assert entry is None
            self.model.pop(key, None)
        else:
            assert entry is not None
            assert entry.version == old[1]
            self.model[key] = (old[0], old[1], self.until(ttl))

    @rule(key=KEYS, delta=NUMBERS)
    def incr(self, key: bytes, delta: int) -> None:
        old = self.living().get(key, (int_value(0), 0, 0))
        is_int = len(old[0]) == 9 and old[0][0] == 3
        number = int.from_bytes(old[0][1:], "big", signed=True) + delta
        if not is_int or not I64_MIN <= number <= I64_MAX:
            with pytest.raises(InvalidArgumentError):
                self.store.incr(key, delta, self.now)
            return
        assert self.store.incr(key, delta, self.now) == number
        self.model[key] = (int_value(number), self.store.version, old[2])

    @rule(key=KEYS, delta=NUMBERS, low=NUMBERS, high=NUMBERS, ttl=TTLS, saturate=st.booleans())
    def incr_bounded(self, key: bytes, delta: int, low: int, high: int, ttl: int, saturate: bool) -> None:
        old = self.living().get(key)
        before = old[0] if old else int_value(0)
        number = int.from_bytes(before[1:], "big", signed=True)
        target = number + delta
        if saturate:  # no further than the bound on its side, and never back
            target = max(number, min(target, high)) if delta > 0 else min(number, max(target, low))
        unbounded = high == I64_MAX if delta > 0 else low == I64_MIN
        fails = low > high or len(before) != 9 or before[0] != 3
        if fails or (not I64_MIN <= target <= I64_MAX and unbounded):
            with pytest.raises(InvalidArgumentError):
                self._incr_bounded(key, delta, low, high, ttl, saturate)
            return
        result = self._incr_bounded(key, delta, low, high, ttl, saturate)
        if not low <= target <= high or (target == number and delta != 0):
            assert (result.applied, result.value) == (0, number if old else 0)
            assert (result.version, result.expires_at) == ((old[1], old[2]) if old else (0, 0))
            return
        expires_at = old[2] if old else self.until(ttl)
        assert (result.value, result.applied, result.expires_at) == (target, target - number, expires_at)
        self.model[key] = (int_value(target), result.version, expires_at)

    def _incr_bounded(self, key: bytes, delta: int, low: int, high: int, ttl: int, saturate: bool):  # type: ignore[no-untyped-def]
        return self.store.incr_bounded(
            key, delta, self.now, minimum=low, maximum=high, expires_at=self.until(ttl), saturate=saturate
        )

    @rule(pairs=st.lists(st.tuples(KEYS, VALUES), max_size=5), ttl=TTLS, absent=st.booleans())
    def put_many(self, pairs: list[tuple[bytes, bytes]], ttl: int, absent: bool) -> None:
        blocked = absent and any(key in self.living() for key, _ in pairs)
        result = self.store.put_many(pairs, self.now, expires_at=self.until(ttl), if_absent=absent)
        assert result.applied == (not blocked)
        if not blocked:
            first = self.store.version - len(pairs)
            for index, (key, value) in enumerate(pairs):
                self.model[key] = (value, first + index + 1, self.until(ttl))

    @rule(ms=st.sampled_from([1, 15, 16, 400, 4_000, 90_000, 20_000_000]))
    def pass_time(self, ms: int) -> None:
        self.now += ms

    @rule(budget=st.sampled_from([1, 3, 1_000]))
    def expire(self, budget: int) -> None:
        before = len(self.store)
        wake = self.store.expire(self.now, budget)
        assert before - len(self.store) <= budget
        due = [it[2] for it in self.living().values() if it[2]]
        if due:
            assert 0 < wake <= min(due) + 15
        if len(self.store) > len(self.living()):
            assert 0 < wake <= self.now + 15

    @rule(budget=st.sampled_from([1, 5, 1_000]))
    def work(self, budget: int) -> None:
        self.store.work(budget)

    @rule(
        prefix=PREFIXES, limit=st.integers(1, 4), room=st.sampled_from([1, 60, 10**6]), values=st.booleans()
    )
    def scan(self, prefix: bytes, limit: int, room: int, values: bool) -> None:
        found: list[bytes] = []
        after = b""
        while True:
            page = self.store.scan(prefix, after, limit, room, self.now, values)
            assert len(page.keys) == len(page.entries) <= limit
            found += page.keys
            if not page.more:
                break
            after = page.keys[-1]
        expected = sorted(key for key in self.living() if key.startswith(prefix))
        assert found == expected
        assert self.store.count(prefix, self.now) == len(expected)

    @rule(prefix=PREFIXES, limit=st.integers(1, 4))
    def clear_prefix(self, prefix: bytes, limit: int) -> None:
        under = sorted(key for key in self.living() if key.startswith(prefix))
        assert self.store.clear_prefix(prefix, self.now, limit) == min(limit, len(under))
        for key in under[:limit]:
            del self.model[key]

    @rule()
    def clear(self) -> None:
        assert self.store.clear(self.now) == len(self.living())
        assert self.store.memory_bytes == 0
        assert len(self.store) == 0
        self.model = {}

    @invariant()
    def agrees(self) -> None:
        living = self.living()
        for key in (b"a", b"ab", b"abc", b"b", b"\x00", b"\xff", *living):
            entry = self.store.lookup(key, self.now)
            found = (entry.value, entry.version, entry.expires_at) if entry is not None else None
            assert found == living.get(key)
            assert self.store.get(key, self.now) == (found[0] if found else None)

    @invariant()
    def accounts(self) -> None:
        # Keys that are due are still accounted until they are removed.
        least = sum(ENTRY_BYTES + len(key) + len(it[0]) for key, it in self.living().items())
        assert self.store.memory_bytes >= least
        if len(self.store) == len(self.living()):
            assert self.store.memory_bytes == least

    @invariant()
    def replays(self) -> None:
        if self.replica is not None:
            self.store.flush_watches()
            living = self.living()
            assert {key: self.replica.keys.get(key) for key in living} == {
                key: it[0] for key, it in living.items()
            }
            assert len(self.replica.keys) == len(self.store)


StoreMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestStoreMachine = StoreMachine.TestCase
