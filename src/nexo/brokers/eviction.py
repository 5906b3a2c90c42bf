"""Which key leaves when the store is at its memory cap.

Owns the list of keys that may be evicted, in no order, so that a few can be drawn at random: the best
victim of a small sample is close to the best of all (the sampling and the logarithmic use counter are
Redis's). It removes nothing: the store asks, removes, and tells.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i32, i64

from nexo.brokers.entry import Entry
from nexo.brokers.table import Table
from nexo.brokers.untracked import untrack

REJECT: Final = 0
LRU: Final = 1
LFU: Final = 2
TTL: Final = 3
POLICIES: Final = {"reject": REJECT, "lru": LRU, "lfu": LFU, "ttl": TTL}

SAMPLES: Final = 8
_CLOCK_MS_BITS: Final = 4  # LRU counts in 16 ms, so that 31 bits last for a year
_CLOCK_MASK: Final = 0x7FFF_FFFF
_WORD: Final = 0xFFFF_FFFF
_LFU_START: Final = 5  # a new key is not the next victim at once
_LFU_MAX: Final = 255
_LFU_FACTOR: Final = 10  # 255 is reached after about a million uses
_MINUTE_MS: Final = 60_000
_MINUTES_MASK: Final = 0xFFFF
_I64_MAX: Final = (1 << 63) - 1


@final
class Evictor:
    """Keys that may be evicted: all of them, or with the policy `TTL` those that have one.

    `bytes` is their account.
    """

    __slots__ = ("_keys", "_random", "bytes", "policy")

    def __init__(self, policy: i64, seed: i64) -> None:
        self.policy = policy
        self.bytes: i64 = 0
        self._keys: list[bytes] = []
        untrack(self._keys)
        self._random: i64 = ((seed ^ 0x2545_F491) & _WORD) or 1

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: bytes, entry: Entry, size: i64, entries: Table) -> None:
        """An entry is new, or its expiry has changed. `size` is its account."""
        wanted = self.policy != REJECT and (self.policy != TTL or entry.expires_at != 0)
        if wanted and entry.slot < 0:
            entry.slot = i32(len(self._keys))
            self._keys.append(key)
            self.bytes += size
        elif not wanted and entry.slot >= 0:
            self.forget(entry, size, entries)

    def forget(self, entry: Entry, size: i64, entries: Table) -> None:
        """An entry leaves the table (where all others still are) or may no longer be evicted."""
        slot = entry.slot
        if slot < 0:
            return
        last = self._keys.pop()
        if slot < len(self._keys):
            self._keys[slot] = last
            entries[last].slot = slot
        entry.slot = -1
        self.bytes -= size

    def touch(self, entry: Entry, now: i64) -> None:
        """The entry was read or written."""
        if self.policy == LRU:
            entry.clock = i32((now >> _CLOCK_MS_BITS) & _CLOCK_MASK)
        elif self.policy == LFU:
            self._count_use(entry, now)

    def _count_use(self, entry: Entry, now: i64) -> None:
        minutes = (now // _MINUTE_MS) & _MINUTES_MASK
        if entry.clock == 0:
            entry.clock = i32((minutes << 8) | _LFU_START)
            return
        uses = _uses(entry, now)
        if uses < _LFU_MAX:
            over = uses - _LFU_START if uses > _LFU_START else 0
            if self._next(over * _LFU_FACTOR + 1) == 0:
                uses += 1
        entry.clock = i32((minutes << 8) | uses)

    def choose(self, entries: Table, now: i64, kept: dict[bytes, int]) -> bytes | None:
        """The best victim of a sample that is not among `kept`; None if all that may be evicted are."""
        count: i64 = len(self._keys)
        if count == 0:
            return None
        best: bytes | None = None
        best_score: i64 = 0
        for _ in range(SAMPLES):
            key = self._keys[self._next(count)]
            if key in kept:
                continue
            score = self._score(entries[key], now)
            if best is None or score < best_score:
                best = key
                best_score = score
        if best is None:
            for key in self._keys:
                if key not in kept:
                    return key
        return best

    def _score(self, entry: Entry, now: i64) -> i64:
        """Lower is a better victim; an entry that is due is the best."""
        if entry.expires_at != 0 and entry.expires_at <= now:
            return -_I64_MAX
        if self.policy == LRU:
            return -(((now >> _CLOCK_MS_BITS) - i64(entry.clock)) & _CLOCK_MASK)
        if self.policy == LFU:
            return _uses(entry, now)
        return entry.expires_at

    def _next(self, bound: i64) -> i64:
        """A number from 0 to below `bound` (xorshift, 32 bits: Marsaglia 2003)."""
        word = self._random
        word ^= (word << 13) & _WORD
        word ^= word >> 17
        word ^= (word << 5) & _WORD
        self._random = word
        return (word * bound) >> 32

    def excuse(self) -> str:
        """Why not enough could be evicted, for the error."""
        if self.policy == REJECT:
            return "eviction is off"
        if self.policy == TTL:
            return "the keys that have a TTL do not make enough room"
        return "evicting all other keys would not make enough room"

    def emptied(self) -> Evictor:
        """One like this that goes on with its random numbers and has no keys."""
        other = Evictor(self.policy, 0)
        other._random = self._random
        return other

    def lists(self) -> list[list[bytes]]:
        """Every list of keys, for whoever frees them when all of this is given up."""
        return [self._keys]


def _uses(entry: Entry, now: i64) -> i64:
    """The use counter, one less for every minute since the last use."""
    clock = i64(entry.clock)
    idle = (now // _MINUTE_MS - (clock >> 8)) & _MINUTES_MASK
    uses = clock & 0xFF
    return uses - idle if uses > idle else 0
