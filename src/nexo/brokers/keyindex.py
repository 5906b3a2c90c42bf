"""The keys of the store in byte order, for scans by prefix.

Owns sorted blocks of keys and the list of keys that have come or gone since they were last in order. It
does not know values or expiry. Until the first prefix operation it is cold and costs nothing; then it is
built in slices from copies of the table's parts, and from there on a new or deleted key costs one append.
Whether a key that was noted is in the table is looked up when it is merged: merging twice does no harm,
and a key that was deleted and set again stands in the order once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice
from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.table import Table
from nexo.brokers.untracked import untrack

BLOCK_KEYS_MAX: Final = 1_024
"""A block that grows past this is split: insertion moves half of it, a few hundred bytes."""
SMALL: Final = 2_000
"""Noted keys that a prefix operation merges by itself, in about two milliseconds."""
_BLOCK_KEYS: Final = 512  # of a new block
_BLOCK_KEYS_MIN: Final = 64  # a smaller block is joined to its neighbour, if both fit in a new one
_SPLITTERS_MAX: Final = 8_192  # sorted in one go when a build starts

_COLD: Final = 0
_SPREADING: Final = 1
_SORTING: Final = 2
_WARM: Final = 3


@final
class KeyIndex:
    """Sorted blocks of keys. `blocks` are for reading, and only after `settle`."""

    __slots__ = ("_last", "_noted", "_piles", "_shard", "_source", "_splitters", "_state", "blocks")

    def __init__(self) -> None:
        self.blocks: list[list[bytes]] = []
        self._last: list[bytes] = []  # the last key of each block
        self._noted: list[bytes] = []
        self._state: i64 = _COLD
        # While it is built: the part of the table that is next, keys of the one before it, the keys that part the
        # piles, the piles (in reverse when sorting).
        self._shard: i64 = 0
        self._source: list[bytes] = []
        self._splitters: list[bytes] = []
        self._piles: list[list[bytes]] = []

    def cold(self) -> bool:
        """Whether nothing is kept, so that `note` need not be called."""
        return self._state == _COLD

    def note(self, key: bytes) -> None:
        """A key has come or gone."""
        self._noted.append(key)

    def start(self, entries: Table) -> None:
        """Leaves the cold state: from here on every key that comes or goes must be noted."""
        wanted = min(_SPLITTERS_MAX, len(entries) // (_BLOCK_KEYS // 2) + 1)
        sample: list[bytes] = []
        for shard in entries.shards:  # keys are in them at random, so the first are as good as any
            if len(sample) >= wanted:
                break
            sample.extend(islice(shard, wanted - len(sample)))
        sample.sort()
        self._splitters = sample
        self._piles = [[] for _ in range(len(self._splitters) + 1)]
        self._shard = 0
        self._state = _SPREADING

    def ready(self) -> bool:
        """Whether `settle` would be short. If not, `step` will make it so."""
        return self._state == _WARM and len(self._noted) <= SMALL

    def busy(self) -> bool:
        """Whether `step` has work to do."""
        return self._state != _COLD and not self.ready()

    def step(self, entries: Table, budget: i64) -> i64:
        """Handles about `budget` keys; gives what is left of the budget."""
        if self._state == _SPREADING:
            budget = self._spread(entries, budget)
        while self._state == _SORTING and budget > 0:
            budget -= self._sort_pile()
        if self._state == _WARM and budget > 0:
            budget = self._merge(entries, budget)
        return budget

    def settle(self, entries: Table) -> None:
        """Brings the order fully up to date, however long it takes: the keys are then exactly the table's."""
        if self._state == _COLD:
            self.start(entries)
        while self._state != _WARM or self._noted:
            self.step(entries, 1_000_000)

    def _spread(self, entries: Table, budget: i64) -> i64:
        """Puts keys on piles, one part of the table after the other: what comes to one meanwhile is noted, too."""
        splitters, piles = self._splitters, self._piles
        while budget > 0:
            source = self._source
            if not source:
                if self._shard == len(entries.shards):
                    piles.reverse()
                    self._splitters = []
                    self._state = _SORTING
                    break
                self._source = list(entries.shards[self._shard])
                self._shard += 1
                budget -= 1
                continue
            budget -= 1
            key = source.pop()
            piles[bisect_right(splitters, key)].append(key)
        return budget

    def _sort_pile(self) -> i64:
        """Makes blocks of one pile, the next in order; gives its size."""
        if not self._piles:
            self._state = _WARM
            return 1
        pile = self._piles.pop()
        pile.sort()
        count = len(pile)
        for start in range(0, count, _BLOCK_KEYS):
            block = pile[start : start + _BLOCK_KEYS]
            untrack(block)
            self.blocks.append(block)
            self._last.append(block[-1])
        return count + 1

    def _merge(self, entries: Table, budget: i64) -> i64:
        """Puts noted keys where they belong, the latest first: taking the oldest would move the others."""
        noted = self._noted
        count: i64 = len(noted)
        if count <= budget:
            self._noted = []
        else:
            rest = count - budget
            count = budget
            batch = noted[rest:]
            del noted[rest:]
            noted = batch
        noted.sort()  # neighbours go into the same block, which is then in the processor's cache
        for key in noted:
            if key in entries:
                self._insert(key)
            else:
                self._remove(key)
        return budget - count

    def _insert(self, key: bytes) -> None:
        if not self.blocks:
            self.blocks.append([key])
            self._last.append(key)
            return
        number: i64 = bisect_left(self._last, key)
        if number == len(self.blocks):
            number -= 1
            block = self.blocks[number]
            block.append(key)
            self._last[number] = key
        else:
            block = self.blocks[number]
            place = bisect_left(block, key)
            if block[place] == key:
                return
            block.insert(place, key)
        if len(block) > BLOCK_KEYS_MAX:
            # Keys that only grow leave full blocks behind, others need room on both sides.
            half = BLOCK_KEYS_MAX if number == len(self.blocks) - 1 else len(block) // 2
            upper = block[half:]
            untrack(upper)
            self.blocks.insert(number + 1, upper)
            self._last.insert(number, block[half - 1])
            del block[half:]

    def _remove(self, key: bytes) -> None:
        number: i64 = bisect_left(self._last, key)
        if number == len(self.blocks):
            return
        block = self.blocks[number]
        place = bisect_left(block, key)
        if block[place] != key:
            return
        del block[place]
        self._shrunk(number)

    def _shrunk(self, number: i64) -> None:
        """A block has lost keys: its last may be another, and it may have become too small."""
        block = self.blocks[number]
        if not block:
            del self.blocks[number]
            del self._last[number]
            return
        self._last[number] = block[-1]
        if len(block) < _BLOCK_KEYS_MIN and number + 1 < len(self.blocks):
            following = self.blocks[number + 1]
            if len(block) + len(following) <= _BLOCK_KEYS:
                block.extend(following)
                del self.blocks[number + 1]
                del self._last[number]

    def seek(self, key: bytes, past: bool) -> tuple[int, int]:
        """Block and place of the first key that is not before `key`, or if `past`, that is after it."""
        if past:
            number = bisect_right(self._last, key)
            if number == len(self.blocks):
                return number, 0
            return number, bisect_right(self.blocks[number], key)
        number = bisect_left(self._last, key)
        if number == len(self.blocks):
            return number, 0
        return number, bisect_left(self.blocks[number], key)

    def count(self, prefix: bytes) -> i64:
        """How many keys begin with the prefix; walks blocks, not keys."""
        number, place = self.seek(prefix, False)
        after = successor(prefix)
        last, end = (len(self.blocks), 0) if after is None else self.seek(after, False)
        if number == last:
            return end - place
        total: i64 = len(self.blocks[number]) - place + end
        for between in range(number + 1, last):
            total += len(self.blocks[between])
        return total

    def take(self, prefix: bytes, limit: i64, last: bytes = b"") -> list[bytes]:
        """Removes the first keys with the prefix, at most `limit`, and gives them in order.

        With `last` none that comes after it.
        """
        taken: list[bytes] = []
        after = last + b"\x00" if last else successor(prefix)
        while len(taken) < limit:
            number, place = self.seek(prefix, False)
            if number == len(self.blocks):
                break
            block = self.blocks[number]
            end = min(len(block), place + int(limit) - len(taken))
            if after is not None:
                end = bisect_left(block, after, place, end)
            if end == place:
                break
            taken.extend(block[place:end])
            del block[place:end]
            self._shrunk(number)
        return taken

    def following(self, prefix: bytes, after: bytes, limit: i64) -> list[bytes]:
        """The first keys with a prefix that come after a key (empty: from the first on), at most `limit`."""
        found: list[bytes] = []
        end = successor(prefix)
        number, place = self.seek(after, True) if after else self.seek(prefix, False)
        while number < len(self.blocks) and len(found) < limit:
            block = self.blocks[number]
            stop = len(block) if end is None else bisect_left(block, end, place)
            found.extend(block[place : min(stop, place + int(limit) - len(found))])
            if stop < len(block):
                break
            number += 1
            place = 0
        return found

    def lists(self) -> list[list[bytes]]:
        """Every list of keys, for whoever frees them when all of this is given up."""
        return [*self.blocks, self._last, self._noted, self._source, *self._piles]


def successor(prefix: bytes) -> bytes | None:
    """The first byte string after all that begin with the prefix; None if there is none."""
    end = len(prefix)
    while end > 0 and prefix[end - 1] == 0xFF:
        end -= 1
    if end == 0:
        return None
    return prefix[: end - 1] + bytes([prefix[end - 1] + 1])
