"""When keys with a TTL are to be looked at: buckets that are wider the further away they are.

Owns the buckets and the order in which they fall due. It removes nothing and reads no clock: the store
takes due buckets from here, drains them at its own pace and puts back what is not due yet.

A key stands in one bucket, and its entry says in which. A TTL that is extended changes nothing here; the
bucket is met early and the key goes into a later one. An item whose entry is gone or stands elsewhere is
stale: it is skipped when met, and swept out before that when the stale outnumber the others.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.entry import Bucket, Entry
from nexo.brokers.table import Table

FINE_MS: Final = 16
"""Width of the nearest buckets: how late a key may be removed (it is not readable in between)."""
_SPREAD_BITS: Final = 6  # a bucket is at most 1/64 as wide as it is far away
_LEVEL_BITS: Final = 6  # the low bits of a bucket's code; more than the levels of a 63-bit distance
_STALE_SLACK: Final = 4_096  # stale items that are not worth sweeping


@final
class Expiry:
    """All scheduled keys. `items` counts list items, `stale` those that no entry refers to."""

    __slots__ = ("_buckets", "_draining", "_heap", "_sweep", "_sweeping", "items", "stale")

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._heap: list[int] = []  # codes; one may be there twice, or no longer stand for a bucket
        self._draining: Bucket | None = None
        self._sweeping: Bucket | None = None
        self._sweep: list[int] = []
        self.items: i64 = 0
        self.stale: i64 = 0

    def schedule(self, key: bytes, entry: Entry, now: i64) -> None:
        """Sees to it that the entry, whose `expires_at` is past `now`, is looked at in time."""
        expires_at = entry.expires_at
        distance = (expires_at - now) >> _SPREAD_BITS
        level: i64 = 0
        wake: i64
        if distance <= FINE_MS:
            wake = (expires_at + FINE_MS - 1) // FINE_MS * FINE_MS  # everything in it is due then
        else:
            level = int(distance).bit_length() - 1
            wake = (expires_at >> level) << level  # the first of it may be due then
        bucket = entry.bucket
        if bucket is not None:
            if bucket.wake <= wake:
                return
            self.stale += 1
        bucket = self._bucket((wake << _LEVEL_BITS) | level)
        bucket.keys.append(key)
        entry.bucket = bucket
        self.items += 1

    def _bucket(self, code: i64) -> Bucket:
        bucket = self._buckets.get(int(code))
        if bucket is None:
            bucket = Bucket(code, code >> _LEVEL_BITS)
            self._buckets[int(code)] = bucket
            heappush(self._heap, int(code))
        return bucket

    def due(self, now: i64) -> Bucket | None:
        """A bucket whose time has come. It is given again until its list is empty."""
        bucket = self._draining
        if bucket is not None:
            if bucket.keys:
                return bucket
            self._draining = None
        bucket = self._sweeping
        if bucket is not None and bucket.wake <= now:
            self._sweeping = None
            self._draining = bucket
            return bucket
        while self._heap:
            code = self._heap[0]
            if i64(code) >> _LEVEL_BITS > now:
                return None
            heappop(self._heap)
            bucket = self._buckets.pop(code, None)
            if bucket is not None:
                self._draining = bucket
                return bucket
        return None

    def next_wake(self, now: i64) -> i64:
        """When `due` will next have something: at or before `now` = at once, 0 = nothing is scheduled."""
        bucket = self._draining
        if bucket is not None and bucket.keys:
            return now
        while self._heap and self._heap[0] not in self._buckets:
            heappop(self._heap)
        wake: i64 = i64(self._heap[0]) >> _LEVEL_BITS if self._heap else 0
        bucket = self._sweeping
        if bucket is not None and (wake == 0 or bucket.wake < wake):
            wake = bucket.wake
        return wake

    def due_keys(self, now: i64, entries: Table) -> set[bytes]:
        """Keys that are past their time and still in the table."""
        found: set[bytes] = set()
        for bucket in self._all():
            if bucket.wake < now + FINE_MS:
                for key in bucket.keys:
                    entry = entries.get(key)
                    if entry is not None and entry.bucket is bucket and 0 < entry.expires_at <= now:
                        found.add(key)
        return found

    def _all(self) -> list[Bucket]:
        buckets = list(self._buckets.values())
        if self._draining is not None:
            buckets.append(self._draining)
        if self._sweeping is not None:
            buckets.append(self._sweeping)
        return buckets

    def lists(self) -> list[list[bytes]]:
        """Every list of keys, for whoever frees them when all of this is given up."""
        return [bucket.keys for bucket in self._all()]

    def untidy(self) -> bool:
        """Whether `sweep` has work to do."""
        if self._sweeping is not None or self._sweep:
            return True
        return self.stale > _STALE_SLACK and self.stale > self.items // 2

    def sweep(self, entries: Table, budget: i64) -> i64:
        """Drops stale items, looking at no more than `budget`; gives what is left of the budget.

        A bucket's living keys move to a new bucket of the same time, so that a key that stands twice in
        the old list (deleted, set again) is met the second time as one that stands elsewhere.
        """
        if self._sweeping is None and not self._sweep:
            self._sweep = list(self._buckets)
        while budget > 0:
            bucket = self._sweeping
            if bucket is None:
                if not self._sweep:
                    self._heap = list(self._buckets)
                    heapify(self._heap)
                    break
                budget -= 1
                bucket = self._buckets.pop(self._sweep.pop(), None)
                self._sweeping = bucket
                continue
            budget = self._sweep_bucket(bucket, entries, budget)
            if not bucket.keys:
                self._sweeping = None
        return budget

    def _sweep_bucket(self, bucket: Bucket, entries: Table, budget: i64) -> i64:
        keys = bucket.keys
        while keys and budget > 0:
            budget -= 1
            key = keys.pop()
            entry = entries.get(key)
            if entry is None or entry.bucket is not bucket:
                self.items -= 1
                self.stale -= 1
                continue
            other = self._bucket(bucket.code)
            other.keys.append(key)
            entry.bucket = other
        return budget
