"""The Store: a map from keys to values, with versions, expiry, counters, scans, eviction and watches.

Owns the account of its memory, and composes the modules beside it: keyspace (the table, the order of its
keys and its maps), expiry (when a key is due), eviction (who leaves at the cap), changes (who is told). It knows no protocol
and no socket, reads no clock (`now` is node time in ms) and does nothing by itself: whoever drives it
calls `expire` and `work` in small portions, and `flush_watches` once in a turn.

What is not in use costs `set` and `get` one test of `_tracking`. Every change of a key takes the next
version; a key whose time has passed counts as absent although `expire` may not have removed it yet.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.changes import (
    CHANGE_DELETED,
    CHANGE_EVICTED,
    CHANGE_EXPIRED,
    CHANGE_SET,
    Changes,
    Hold,
    Watch,
    Watcher,
)
from nexo.brokers.counters import I64_MAX, I64_MIN, added, counter, step
from nexo.brokers.entry import ENTRY_BYTES, Bucket, DeleteResult, Entry, IncrResult, PutResult, account
from nexo.brokers.eviction import POLICIES, REJECT, Evictor
from nexo.brokers.expiry import FINE_MS, Expiry
from nexo.brokers.journal import Journal
from nexo.brokers.keyindex import KeyIndex
from nexo.brokers.keyspace import CAP as _CAP
from nexo.brokers.keyspace import INDEX as _INDEX
from nexo.brokers.keyspace import LOG as _LOG
from nexo.brokers.keyspace import MAPS as _MAPS
from nexo.brokers.keyspace import Keyspace
from nexo.brokers.leftovers import Leftovers
from nexo.brokers.message import int_value
from nexo.brokers.table import Table
from nexo.errors import InvalidArgumentError, MemoryLimitError
from nexo.limits import CHANGES_BYTES_MAX, CHANGES_MAX

VERSION_BITS: Final = 10
"""Versions of a new life start at the time in ms shifted by this: above any of the lives before, though the
end of the log was lost, and still integers that JSON carries exactly."""


@final
class Store(Keyspace):
    """All keys of a node.

    `memory_max` is the cap on `memory_bytes` (0 = none), `eviction` what a write does at the cap:
    "reject", or evict by "lru", "lfu" or "ttl" (soonest to expire). `seed` makes the eviction's samples
    repeatable. `mapped`: `maps` were declared, which say what the journal is told of.
    """

    __slots__ = (
        "_expiry",
        "_leftovers",
        "_memory_max",
        "evicted",
        "expired",
        "memory_bytes",
        "rejected",
    )

    def __init__(
        self,
        memory_max: i64 = 0,
        eviction: str = "reject",
        seed: int = 0,
        changes_max: i64 = CHANGES_MAX,
        changes_bytes_max: i64 = CHANGES_BYTES_MAX,
        first_version: i64 = 0,
        journal: Journal | None = None,
    ) -> None:
        policy = POLICIES.get(eviction)
        if policy is None:
            raise InvalidArgumentError(f"eviction {eviction!r}: it is one of {', '.join(POLICIES)}")
        evictor = Evictor(policy if memory_max > 0 else REJECT, seed & 0xFFFF_FFFF)
        changes = Changes(changes_max, changes_bytes_max)
        super().__init__(evictor, Journal() if journal is None else journal, changes, memory_max > 0)
        self.version = first_version
        self.memory_bytes: i64 = 0
        # Counters for metrics: keys removed by their TTL, by the cap, and writes refused by the cap.
        self.expired: i64 = 0
        self.evicted: i64 = 0
        self.rejected: i64 = 0
        self._expiry = Expiry()
        self._leftovers = Leftovers()
        self._memory_max = memory_max

    def __len__(self) -> int:
        """Keys in the table, of which some may be due."""
        return len(self._entries)

    # Reading.

    def get(self, key: bytes, now: i64) -> bytes | None:
        """The value of a key, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at != 0 and entry.expires_at <= now:
            return None
        if self._tracking & _CAP:
            self._evictor.touch(entry, now)
        return entry.value

    def lookup(self, key: bytes, now: i64) -> Entry | None:
        """The entry of a key, or None. Its fields are for reading, until the next call."""
        entry = self._entries.get(key)
        if entry is None or (entry.expires_at != 0 and entry.expires_at <= now):
            return None
        if self._tracking & _CAP:
            self._evictor.touch(entry, now)
        return entry

    def get_many(self, keys: list[bytes], now: i64) -> list[bytes | None]:
        """The values of many keys, in their order."""
        return [self.get(key, now) for key in keys]

    # Writing one key.

    def set(self, key: bytes, value: bytes, now: i64) -> None:
        """Sets a key whatever it was, without a TTL. Raises MemoryLimitError, and changes nothing then."""
        entry = self._entries.get(key)
        if entry is None:
            if self._tracking != 0:
                self._write(key, None, value, 0, now)
                return
            version = self.version + 1
            self.version = version
            self._entries[key] = Entry(value, version)
            self.memory_bytes += ENTRY_BYTES + len(key) + len(value)
        elif entry.expires_at != 0 or self._tracking > _INDEX:
            self._write(key, self._living(key, now), value, 0, now)
        else:
            version = self.version + 1
            self.version = version
            self.memory_bytes += len(value) - len(entry.value)
            entry.value = value
            entry.version = version

    def put(
        self,
        key: bytes,
        value: bytes,
        now: i64,
        *,
        expires_at: i64 = 0,
        keep_ttl: bool = False,
        if_absent: bool = False,
        if_present: bool = False,
        expected_version: i64 = -1,
    ) -> PutResult:
        """Sets a key if all conditions hold; the result has what the key held before either way.

        `expires_at` is node time in ms (0 = never); a time that has passed deletes the key.
        `expected_version` 0 asks that the key be absent, -1 for nothing. Raises MemoryLimitError.
        """
        entry = self._living(key, now)
        present: i64 = 0
        old: bytes | None = None
        if entry is not None:
            present = entry.version
            old = entry.value
            if keep_ttl:
                expires_at = entry.expires_at
        refused = (if_absent and entry is not None) or (if_present and entry is None)
        if refused or (expected_version >= 0 and expected_version != present):
            return PutResult(False, present, old)
        if expires_at != 0 and expires_at <= now:
            if entry is not None:
                self._remove(key, entry, CHANGE_DELETED)
                present = self.version
            return PutResult(True, present, old)
        self._write(key, entry, value, expires_at, now)
        return PutResult(True, self.version, old)

    def delete(self, key: bytes, now: i64) -> bool:
        """Deletes a key; whether there was one."""
        entry = self._living(key, now)
        if entry is None:
            self._changes.holds.pop(key, None)
            return False
        self._remove(key, entry, CHANGE_DELETED)
        return True

    def delete_if(self, key: bytes, now: i64, expected_version: i64 = -1) -> DeleteResult:
        """Deletes a key if it has this version (-1 = any; 0 is never there to be deleted)."""
        entry = self._living(key, now)
        if entry is None:
            self._changes.holds.pop(key, None)
            return DeleteResult(False, 0, None)
        matches = expected_version < 0 or expected_version == entry.version
        result = DeleteResult(matches, entry.version, entry.value)
        if matches:
            self._remove(key, entry, CHANGE_DELETED)
        return result

    def set_expiry(self, key: bytes, expires_at: i64, now: i64) -> Entry | None:
        """Changes when a key expires (0 = never): no new version, and watches are not told.

        A time that has passed deletes the key. Returns the entry, or None if there is none (any more).
        """
        entry = self._living(key, now)
        if entry is None:
            return None
        if expires_at != 0 and expires_at <= now:
            self._remove(key, entry, CHANGE_DELETED)
            return None
        entry.expires_at = expires_at
        if self._tracking & _LOG:
            self._changes.rescheduled(key, expires_at)
        if expires_at != 0:
            self._expiry.schedule(key, entry, now)
        durable = self._tracking & _MAPS != 0 and self.maps.expiry_changed(key, entry)
        if self._tracking & _CAP:
            self._offer(key, entry, durable, now)
        return entry

    def hold(self, key: bytes, now: i64) -> Hold:
        """What a key holds now: the caller writes it next, `begin`s the hold, and may have to take it back."""
        self._tracking |= _LOG
        entry = self._living(key, now)
        return Hold(self._changes, key, entry.value if entry else None, entry.expires_at if entry else 0)

    # Counters.

    def incr(self, key: bytes, delta: i64, now: i64) -> i64:
        """Adds to a counter, which starts at 0 and keeps its TTL; gives its new value.

        Raises InvalidArgumentError when the value is not an INT or would leave the i64 range, and
        MemoryLimitError; the value is then as it was.
        """
        entry = self._living(key, now)
        number = added(counter(entry), delta)
        self._write(key, entry, int_value(number), entry.expires_at if entry is not None else 0, now)
        if self._tracking & _LOG:
            self._changes.stepped(delta)
        return number

    def incr_bounded(
        self,
        key: bytes,
        delta: i64,
        now: i64,
        *,
        minimum: i64 = I64_MIN,
        maximum: i64 = I64_MAX,
        expires_at: i64 = 0,
        saturate: bool = False,
    ) -> IncrResult:
        """Adds to a counter unless the result would be outside the bounds: then nothing changes.

        With `saturate` the value stops at the bound instead; that shortens a step, it never lengthens or
        reverses it. `expires_at` applies only when the key is created. Errors as `incr`, where leaving
        the i64 range is one only if that side has no other bound and `saturate` is off.
        """
        if minimum > maximum:
            raise InvalidArgumentError(f"the lower bound {minimum} is above the upper bound {maximum}")
        entry = self._living(key, now)
        number = counter(entry)
        if entry is not None:
            expires_at = entry.expires_at
        elif expires_at != 0 and expires_at <= now:
            raise InvalidArgumentError(f"the counter would expire at {expires_at}, which has passed")
        applied = step(number, delta, minimum, maximum, saturate)
        if (applied == 0 and delta != 0) or not minimum <= number + applied <= maximum:
            if entry is None:
                return IncrResult(0, 0, 0, 0)
            return IncrResult(number, 0, entry.version, expires_at)
        number += applied
        self._write(key, entry, int_value(number), expires_at, now)
        if self._tracking & _LOG:
            self._changes.stepped(applied)
        return IncrResult(number, applied, self.version, expires_at)

    # Many keys.

    def put_many(
        self, pairs: list[tuple[bytes, bytes]], now: i64, *, expires_at: i64 = 0, if_absent: bool = False
    ) -> PutResult:
        """Sets all pairs or none; of a key that occurs twice the last value stays.

        With `if_absent` only when none of the keys exists. The version is that of the last key written,
        or that of a key that was in the way. Raises MemoryLimitError when not all of them fit.
        """
        sizes: dict[bytes, int] = {}
        for key, value in pairs:
            entry = self._living(key, now)
            if if_absent and entry is not None:
                return PutResult(False, entry.version, None)
            sizes[key] = len(value)
        if expires_at != 0 and expires_at <= now:
            for key in sizes:
                self.delete(key, now)
            return PutResult(True, self.version if pairs else 0, None)
        self.reserve(sizes, now)
        for key, value in pairs:
            self._apply(key, self._entries.get(key), value, expires_at, now)
        return PutResult(True, self.version if pairs else 0, None)

    def reserve(self, sizes: dict[bytes, int], now: i64) -> None:
        """Makes room for values of these sizes together. Raises MemoryLimitError, and has evicted nothing then."""
        growth: i64 = 0
        kept: i64 = 0
        for key, size in sizes.items():
            entry = self._entries.get(key)
            if entry is None:
                growth += ENTRY_BYTES + len(key) + size
            else:
                growth += size - len(entry.value)
                if entry.slot >= 0:
                    kept += account(key, entry.value)
        if growth > 0 and self.memory_bytes + growth > self._memory_max > 0:
            self._make_room(growth, kept, sizes, now)

    # What every write goes through.

    def _living(self, key: bytes, now: i64) -> Entry | None:
        """The entry of a key, which is first removed if it is due: a write must not revive it."""
        entry = self._entries.get(key)
        if entry is not None and entry.expires_at != 0 and entry.expires_at <= now:
            self._remove(key, entry, CHANGE_EXPIRED)
            return None
        return entry

    def _write(self, key: bytes, entry: Entry | None, value: bytes, expires_at: i64, now: i64) -> None:
        if self._memory_max > 0 and self.memory_bytes + account(key, value) > self._memory_max:
            self.reserve({key: len(value)}, now)
        self._apply(key, entry, value, expires_at, now)

    def _apply(self, key: bytes, entry: Entry | None, value: bytes, expires_at: i64, now: i64) -> None:
        version = self.version + 1
        self.version = version
        tracking = self._tracking
        growth: i64 = len(value)
        fresh = entry is None
        if entry is None:
            entry = Entry(value, version)
            self._entries[key] = entry
            growth += ENTRY_BYTES + len(key)
            if tracking & _INDEX:
                self._index.note(key)
        else:
            growth -= len(entry.value)
            if entry.slot >= 0:
                self._evictor.bytes += growth
            entry.value = value
            entry.version = version
        self.memory_bytes += growth
        entry.expires_at = expires_at
        if expires_at != 0:
            self._expiry.schedule(key, entry, now)
        durable = tracking & _MAPS != 0 and self.maps.written(key, entry, growth, fresh)
        if tracking & _CAP:
            self._offer(key, entry, durable, now)
        if tracking & _LOG:
            self._changes.record(CHANGE_SET, version, key, value, expires_at)

    def _offer(self, key: bytes, entry: Entry, durable: bool, now: i64) -> None:
        """Lets the evictor know the entry. What is kept on disk is not evicted: it would be gone there, too."""
        if durable:
            self._evictor.forget(entry, account(key, entry.value), self._entries)
        else:
            self._evictor.note(key, entry, account(key, entry.value), self._entries)
            self._evictor.touch(entry, now)

    def _remove(self, key: bytes, entry: Entry, kind: i64) -> None:
        self.version += 1
        size = account(key, entry.value)
        self.memory_bytes -= size
        if entry.slot >= 0:
            self._evictor.forget(entry, size, self._entries)
        if entry.bucket is not None:
            self._expiry.stale += 1
        del self._entries[key]
        if kind == CHANGE_EXPIRED:
            self.expired += 1
        if self._tracking & _INDEX:
            self._index.note(key)
        if self._tracking & _MAPS:
            self.maps.removed(key, size, kind, self.version)
        if self._tracking & _LOG:
            self._changes.record(kind, self.version, key, None, 0)

    def _make_room(self, growth: i64, kept: i64, keys: dict[bytes, int], now: i64) -> None:
        """Evicts until `growth` bytes fit. `kept` is the account of `keys`, which may not be victims.

        Raises MemoryLimitError, and has evicted nothing, when that cannot be reached.
        """
        free = self._memory_max - self.memory_bytes
        if growth > free + self._evictor.bytes - kept:
            self.rejected += 1
            raise MemoryLimitError(
                f"{growth} bytes more would exceed memory_max ({self._memory_max} bytes,"
                f" {self.memory_bytes} in use): {self._evictor.excuse()}"
            )
        while self.memory_bytes + growth > self._memory_max:
            victim = self._evictor.choose(self._entries, now, keys)
            assert victim is not None, "the evictor's account is wrong"
            entry = self._entries[victim]
            if entry.expires_at != 0 and entry.expires_at <= now:
                self._remove(victim, entry, CHANGE_EXPIRED)
            else:
                self._remove(victim, entry, CHANGE_EVICTED)
                self.evicted += 1

    # All of it, and parts.

    def count(self, prefix: bytes, now: i64) -> i64:
        """How many keys have a prefix, without walking over them."""
        total = self._settle_index().count(prefix)
        for key in self._expiry.due_keys(now, self._entries):
            if key.startswith(prefix):
                total -= 1
        return total

    def clear(self, now: i64) -> i64:
        """Deletes every key; how many. The tables are given up here and freed in `work`.

        Each watch is told of the deletion of each of its keys, which takes time only where somebody
        watches. The change log does not hold them: a watch cannot resume from before a clear.
        """
        deleted: i64 = len(self._entries) - len(self._expiry.due_keys(now, self._entries))
        entries, self._entries = self._entries, Table()
        if self._tracking & _LOG:
            for key in self._changes.watched(entries):
                self.version += 1
                self._changes.tell(CHANGE_DELETED, self.version, key)
        if len(entries) > 0:
            self.version += 1
        if self._tracking & _LOG:
            self._changes.cleared(self.version)
        lists = self._expiry.lists() + self._evictor.lists() + self._index.lists()
        self._leftovers.add(entries.shards, lists)
        self._expiry = Expiry()
        self._evictor = self._evictor.emptied()
        self._index = KeyIndex()
        self._tracking &= ~_INDEX
        self._backlog = 0
        self.memory_bytes = 0
        if len(entries) > 0:
            self.maps.cleared_all(self.version)
        return deleted

    # What is done a little at a time.

    def work(self, budget: i64) -> bool:
        """Does about `budget` small steps of work that waits; whether there is more, or more to flush."""
        if self._backlog != 0:
            self.expire(self._backlog, budget)
            return True
        if self._index.busy():
            budget = self._index.step(self._entries, budget)
        moving = self.maps.moving is not None and not self.maps.paused
        if moving and self._index.ready():
            budget = self._move(budget)
        if budget > 0 and self._expiry.untidy():
            budget = self._expiry.sweep(self._entries, budget)
        if budget > 0 and self._leftovers:
            self._leftovers.step(budget)
        return moving or self._index.busy() or self._expiry.untidy() or bool(self._leftovers)

    def expire(self, now: i64, budget: i64) -> i64:
        """Removes keys that are due, looking at no more than `budget`.

        Gives the time at which it wants to be called again: 0 when no key has a TTL, at or before `now`
        when more may be due.
        """
        while budget > 0:
            bucket = self._expiry.due(now)
            if bucket is None:
                break
            budget = self._drain(bucket, now, budget)
        wake = self._expiry.next_wake(now)
        self._backlog = now if wake != 0 and wake <= now else 0
        return wake

    def expire_replayed(self, now: i64) -> None:
        """Removes exactly the keys that are due, as they had been by the time that the log names.

        In that life a key may have been met before its bucket was due, which is up to FINE_MS late.
        """
        undue: list[bytes] = []
        bucket = self._expiry.due(now + FINE_MS)
        while bucket is not None:
            self._drain(bucket, now, len(bucket.keys), undue)
            bucket = self._expiry.due(now + FINE_MS)
        for key in undue:
            self._expiry.schedule(key, self._entries[key], now)

    def _drain(self, bucket: Bucket, now: i64, budget: i64, undue: list[bytes] | None = None) -> i64:
        """Removes what is due of a bucket; what is not goes into a later one, or to `undue`."""
        keys = bucket.keys
        expiry = self._expiry
        while keys and budget > 0:
            budget -= 1
            key = keys.pop()
            expiry.items -= 1
            entry = self._entries.get(key)
            if entry is None or entry.bucket is not bucket:
                expiry.stale -= 1
                continue
            entry.bucket = None
            if entry.expires_at == 0:
                continue
            if entry.expires_at <= now:
                self._remove(key, entry, CHANGE_EXPIRED)
            elif undue is not None:
                undue.append(key)
            else:
                expiry.schedule(key, entry, now)
        return budget

    # Another life.

    def restore(self, key: bytes, value: bytes, version: i64, expires_at: i64, now: i64) -> None:
        """A key as it was recorded, whatever it was, and though it be due."""
        self.version = version - 1
        self._apply(key, self._entries.get(key), value, expires_at, now)

    def recovered(self, now: i64) -> None:
        """Everything recorded has been done again: what comes has versions above all that were ever given."""
        self.version = max(self.maps.highest + 1, now << VERSION_BITS)
        if self.maps.highest > 0:
            # There have been maps: versions are written down for as long as the log has some.
            self._tracking |= _MAPS
            self.mapped = True
            # What became due while the node was down is gone, whatever the clock of the next life says.
            self.maps.expired = self.maps.journal.keeping

    def lose(self, key: bytes) -> None:
        """A change of a key could not be stored: see Maps.lose."""
        self.maps.lose(key, key in self._entries, self.version)

    def room_again(self) -> None:
        """The disk takes everything again."""
        self.maps.paused = False
        self.maps.record_lost(self._entries, self.version)

    # Watches.

    def watch(
        self, watcher: Watcher, watch_id: i64, key: bytes, prefix: bool, from_version: i64 = -1
    ) -> Watch:
        """Tells the watcher of every later change of a key, or of the keys with a prefix.

        With a `from_version` not below 0 it is first told what has happened since that version; raises
        TooOldError when the change log does not hold that (it begins with the first watch).
        """
        if not self._changes.recording:
            self._changes.start(self.version)
            self._tracking |= _LOG
        return self._changes.watch(watcher, watch_id, key, prefix, from_version)

    def unwatch(self, watch: Watch) -> None:
        """Ends a watch; again is no error."""
        self._changes.unwatch(watch)

    def flush_watches(self) -> None:
        """Hands each watch the changes of the turn."""
        self._changes.flush()
        if self._changes.idle:
            self._tracking &= ~_LOG
