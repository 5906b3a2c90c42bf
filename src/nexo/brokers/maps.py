"""The store's maps: keys with a declared prefix, how durable they are, and what the journal is told of them.

A map is a prefix and a level. A key belongs to the map with the longest prefix that it begins with; a key that
belongs to none is in memory only, as one of a map of level `memory` is. Owns the declarations, the account of
each map, and what is recorded of their keys. It does not know the table: the store tells it of each change.

When a map comes or goes, the keys that change hands are *moved*, some in each turn of the node: counted for
their new map, recorded when they were not before, and taken from or given to the evictor.

    kind              body; integers are big-endian, a key or value without a length goes on to the end
    0x02 MAP          u8 level, prefix: declared
    0x03 MAP_GONE     prefix: no longer
    0x04 SET          u32 length of the key, key, i64 version, i64 expires at (ms, 0 = never), value
    0x05 EXPIRY       i64 expires at, key
    0x06 DELETE       i64 version, key
    0x07 CLEAR        i64 version, u32 length of the prefix, prefix, last key: all with the prefix, up to the last
    0x08 CLEAR_ALL    i64 version
    0x09 VERSION      i64 version: none up to this one is given again
    0x0A TIME         i64 ms: what was due by then has expired, here and among the retained messages

Operations say what is: a SET has the value, also of a counter. When a map comes or goes, keys that belong to a
map of level `memory` from then on are not kept any more. This module writes; mapreplay.py reads.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import write_i32_be, write_i64_be
from mypy_extensions import i32, i64, mypyc_attr, u8

from nexo.brokers.changes import CHANGE_EXPIRED
from nexo.brokers.entry import ENTRY_BYTES, Entry
from nexo.brokers.eviction import Evictor
from nexo.brokers.journal import FLUSH, LEVELS, MEMORY, Journal
from nexo.brokers.keyindex import KeyIndex
from nexo.brokers.table import Table
from nexo.errors import LimitExceededError, ResourceConfigConflictError, ResourceNotFoundError
from nexo.limits import JOURNAL_PENDING_BYTES_MAX, MAP_PREFIX_BYTES_MAX, STORE_MAPS_MAX

MAP: Final = 0x02
MAP_GONE: Final = 0x03
SET: Final = 0x04
EXPIRY: Final = 0x05
DELETE: Final = 0x06
CLEAR: Final = 0x07
CLEAR_ALL: Final = 0x08
VERSION: Final = 0x09
TIME: Final = 0x0A

VERSIONS_AHEAD: Final = 1 << 12
"""Versions that one VERSION covers. Few, so that after a restart the clock is ahead of them: a VERSION that a power
cut took with the end of the log is then not missed."""
_VALUE_BYTES_PER_STEP: Final = 1_024
"""What is recorded of a moved key costs its bytes as well: so many are one step of the budget."""


@final
@mypyc_attr(acyclic=True)
class StoreMap:
    """One map. `keys` that belong to it and their `bytes`, as the store's memory cap counts them."""

    __slots__ = ("bytes", "keys", "level", "prefix")

    def __init__(self, prefix: bytes, level: i64) -> None:
        self.prefix = prefix
        self.level = level
        self.keys: i64 = 0
        self.bytes: i64 = 0


@final
@mypyc_attr(acyclic=True)
class Move:
    """Keys with a prefix that go from one map to another. Those past `cursor` are still counted for `before`."""

    __slots__ = ("after", "before", "cursor", "prefix", "remove")

    def __init__(self, prefix: bytes, before: StoreMap, after: StoreMap, remove: bool) -> None:
        self.prefix = prefix
        self.before = before
        self.after = after
        self.remove = remove
        self.cursor = b""


@final
class Maps:
    """The maps of one store. `rest` stands for the keys that belong to none; nobody asks for its account.

    `paused`: the disk takes nothing that needs room, so nothing is moved. `lost` are keys whose latest change
    could not be stored. `highest` is the highest version that was recorded in an earlier life,
    `reserved` the one up to which this life has.
    """

    __slots__ = (
        "_by_prefix",
        "_cleared",
        "_clearing",
        "_lengths",
        "expired",
        "highest",
        "journal",
        "lost",
        "moving",
        "paused",
        "reserved",
        "rest",
    )

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.rest = StoreMap(b"", MEMORY)
        self.moving: Move | None = None
        self.paused = False
        self.lost: dict[bytes, None] = {}
        self.expired = False
        self.highest: i64 = 0
        self._by_prefix: dict[bytes, StoreMap] = {}
        self._lengths: list[int] = []  # of prefixes, the longest first
        self._clearing = False
        self._cleared: i64 = MEMORY
        self.reserved: i64 = 0

    # Declarations.

    def find(self, key: bytes) -> StoreMap:
        """The map that a key belongs to."""
        size = len(key)
        for length in self._lengths:
            if length <= size:
                found = self._by_prefix.get(key[:length])
                if found is not None:
                    return found
        return self.rest

    def get(self, prefix: bytes) -> StoreMap:
        """The map of exactly this prefix. Raises ResourceNotFoundError."""
        found = self._by_prefix.get(prefix)
        if found is None:
            raise ResourceNotFoundError(f"no map of the prefix {prefix.decode('utf-8', 'replace')!r} exists")
        return found

    def all(self) -> list[StoreMap]:
        """Every map, in the byte order of the prefixes."""
        return [self._by_prefix[prefix] for prefix in sorted(self._by_prefix)]

    def level_over(self, prefix: bytes) -> i64:
        """The strictest level of any key that may begin with this prefix."""
        level: i64 = MEMORY
        for other, found in self._by_prefix.items():
            if found.level > level and (other.startswith(prefix) or prefix.startswith(other)):
                level = found.level
        return level

    def add(self, prefix: bytes, level: i64, filled: bool) -> bool:
        """Declare a map, or find it as it is declared here; whether it is new. `filled`: the store has keys.

        Raises ResourceConfigConflictError when it has another level, and LimitExceededError. Not while keys
        are moved.
        """
        assert self.moving is None, "maps come and go one at a time"
        found = self._by_prefix.get(prefix)
        if found is not None:
            if found.level != level:
                raise _conflict(prefix, level, found.level)
            return False
        if len(prefix) > MAP_PREFIX_BYTES_MAX:
            raise LimitExceededError(
                f"a prefix of {len(prefix)} bytes: map_prefix_bytes_max is {MAP_PREFIX_BYTES_MAX}"
            )
        if len(self._by_prefix) >= STORE_MAPS_MAX:
            raise LimitExceededError(f"store_maps_max is {STORE_MAPS_MAX}")
        before = self.find(prefix)
        found = StoreMap(prefix, level)
        self._by_prefix[prefix] = found
        self._sort()
        if filled:
            self.moving = Move(prefix, before, found, False)
        if self.journal.keeping:
            self.record_map(self.journal, found)
        return True

    def drop(self, prefix: bytes, remove: bool, filled: bool) -> None:
        """A map is declared no longer; its keys go to the next shorter one, or with `remove` are deleted.

        Raises ResourceNotFoundError. Not while keys are moved.
        """
        assert self.moving is None, "maps come and go one at a time"
        found = self.get(prefix)
        del self._by_prefix[prefix]
        self._sort()
        if filled:
            self.moving = Move(prefix, found, self.find(prefix), remove)
        if self.journal.keeping:
            out = self.journal.begin(MAP_GONE, max(found.level, FLUSH))
            out.write(prefix)
            self.journal.end()

    def _sort(self) -> None:
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix}, reverse=True)

    def record_map(self, journal: Journal, found: StoreMap) -> None:
        """The declaration of a map: kept even when its keys are not."""
        out = journal.begin(MAP, max(found.level, FLUSH))
        out.append(u8(found.level))
        out.write(found.prefix)
        journal.end()

    # What happens to keys.

    def _owner(self, key: bytes, found: StoreMap) -> StoreMap:
        """The map that a key is counted for: until it is moved, that is its earlier one."""
        moving = self.moving
        if moving is None or found is not moving.after or key <= moving.cursor:
            return found
        return moving.before if key.startswith(moving.prefix) else found

    def written(self, key: bytes, entry: Entry, growth: i64, fresh: bool) -> bool:
        """A key was set and takes `growth` bytes more; `fresh`: there was none. Whether it is kept on disk."""
        found = self.find(key)
        owner = self._owner(key, found)
        owner.bytes += growth
        if fresh:
            owner.keys += 1
        if found.level == MEMORY:
            return False
        if self.journal.keeping:
            self.record_set(self.journal, key, entry, found.level)
        return True

    def expiry_changed(self, key: bytes, entry: Entry) -> bool:
        """A key expires at another time; whether it is kept on disk."""
        level = self.find(key).level
        if level == MEMORY:
            return False
        if self.journal.keeping:
            out = self.journal.begin(EXPIRY, level)
            write_i64_be(out, entry.expires_at)
            out.write(key)
            self.journal.end()
        return True

    def removed(self, key: bytes, size: i64, kind: i64, version: i64) -> None:
        """A key that took `size` bytes is gone. That it has expired follows from the time, if the log has its TTL."""
        found = self.find(key)
        owner = self._owner(key, found)
        owner.bytes -= size
        owner.keys -= 1
        if found.level == MEMORY:
            return
        if kind == CHANGE_EXPIRED and key not in self.lost:
            self.expired = self.journal.keeping
        elif self._clearing:
            self._cleared = max(self._cleared, found.level)
        elif self.journal.keeping:
            self._record_delete(key, version, found.level)

    def begin_clear(self) -> None:
        """What is deleted from now on is recorded by `end_clear`."""
        self._clearing = True
        self._cleared = MEMORY

    def end_clear(self, prefix: bytes, last: bytes, version: i64) -> None:
        """All keys with a prefix, up to this one, have been deleted."""
        self._clearing = False
        if self._cleared != MEMORY and self.journal.keeping:
            out = self.journal.begin(CLEAR, self._cleared)
            write_i64_be(out, version)
            write_i32_be(out, i32(len(prefix)))
            out.write(prefix)
            out.write(last)
            self.journal.end()

    def cleared_all(self, version: i64) -> None:
        """Every key has been deleted."""
        level = self.level_over(b"")
        self.moving = None
        for found in self._by_prefix.values():
            found.keys = 0
            found.bytes = 0
        if level != MEMORY and self.journal.keeping:
            write_i64_be(self.journal.begin(CLEAR_ALL, level), version)
            self.journal.end()

    def record_set(self, journal: Journal, key: bytes, entry: Entry, level: i64) -> None:
        """What a key is."""
        out = journal.begin(SET, level)
        write_i32_be(out, i32(len(key)))
        out.write(key)
        write_i64_be(out, entry.version)
        write_i64_be(out, entry.expires_at)
        out.write(entry.value)
        journal.end()

    def _record_delete(self, key: bytes, version: i64, level: i64) -> None:
        out = self.journal.begin(DELETE, level)
        write_i64_be(out, version)
        out.write(key)
        self.journal.end()

    # Once in a turn.

    def note(self, version: i64, now: i64) -> None:
        """Records what the next life must know: which versions were given, and that time has passed."""
        journal = self.journal
        if not journal.keeping:
            return
        if version > self.reserved:
            self.reserved = version + VERSIONS_AHEAD
            self.record_version(journal, self.reserved)
        if self.expired:
            # With a clock that was set back a restart would else bring back what has expired.
            self.expired = False
            write_i64_be(journal.begin(TIME, FLUSH), now)
            journal.end()

    def record_version(self, journal: Journal, version: i64) -> None:
        """No version up to this one is given again."""
        write_i64_be(journal.begin(VERSION, MEMORY), version)
        journal.end()

    def seen(self, version: i64) -> None:
        """A version that was recorded in an earlier life."""
        if version > self.highest:
            self.highest = version

    # Moving.

    def move(self, index: KeyIndex, entries: Table, evictor: Evictor | None, budget: i64) -> list[bytes]:
        """Moves about `budget` keys on; those of them that the store has to delete.

        `index` is up to date. Does nothing while the journal has enough to write.
        """
        moving = self.moving
        removed: list[bytes] = []
        if moving is None or self.journal.pending_bytes > JOURNAL_PENDING_BYTES_MAX:
            return removed
        keys = index.following(moving.prefix, moving.cursor, budget)
        if not keys:
            self.moving = None
        for key in keys:
            if budget <= 0:
                break
            budget -= 1
            if self.find(key) is moving.after:
                budget -= self._move(key, entries[key], evictor, entries)
                if moving.remove:
                    removed.append(key)
            moving.cursor = key
        return removed

    def _move(self, key: bytes, entry: Entry, evictor: Evictor | None, entries: Table) -> i64:
        """One key; how many steps more than one that was."""
        moving = self.moving
        assert moving is not None
        before, after = moving.before, moving.after
        size: i64 = ENTRY_BYTES + len(key) + len(entry.value)
        before.keys -= 1
        before.bytes -= size
        after.keys += 1
        after.bytes += size
        if moving.remove:
            return 0
        if after.level == MEMORY:
            if evictor is not None:
                evictor.note(key, entry, size, entries)
            return 0
        if evictor is not None:
            evictor.forget(entry, size, entries)
        if before.level != MEMORY or not self.journal.keeping:
            return 0
        self.record_set(self.journal, key, entry, after.level)
        return len(entry.value) // _VALUE_BYTES_PER_STEP

    # When the disk takes nothing.

    def lose(self, key: bytes, there: bool, version: i64) -> None:
        """A change of a key could not be stored: what it is is recorded when there is room, that it is gone at once.

        For the log may have an older value, and a deletion of what is gone already records nothing.
        """
        if there:
            self.lost[key] = None
            return
        level = self.find(key).level
        if level != MEMORY:
            self._record_delete(key, version, level)

    def record_lost(self, entries: Table, version: i64) -> None:
        """There is room again: what the keys are whose latest change could not be stored."""
        lost, self.lost = self.lost, {}
        for key in lost:
            level = self.find(key).level
            if level != MEMORY:
                entry = entries.get(key)
                if entry is None:
                    self._record_delete(key, version, level)
                else:
                    self.record_set(self.journal, key, entry, level)


def _conflict(prefix: bytes, wanted: i64, actual: i64) -> ResourceConfigConflictError:
    name = prefix.decode("utf-8", "replace")
    requested = {"durability": LEVELS[wanted]}
    there = {"durability": LEVELS[actual]}
    return ResourceConfigConflictError(
        f"map {name!r} exists with another definition: durability is {LEVELS[actual]}",
        {
            "resourceKind": "map",
            "resourceName": name,
            "requested": requested,
            "actual": there,
            "differences": [{"path": "durability", "requested": LEVELS[wanted], "actual": LEVELS[actual]}],
        },
    )
