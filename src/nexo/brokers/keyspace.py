"""The table of the store as a whole: its keys in byte order, and the maps that they belong to.

Owns the table, the order and the declarations of maps, and what goes through many keys: pages of a scan,
counting, deleting by prefix, and moving keys from map to map. What a change of one key means is the store's
business: it is the class below this one, and the only one that is made.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.brokers.changes import CHANGE_DELETED, CHANGE_EXPIRED, Changes
from nexo.brokers.entry import Entry, Page
from nexo.brokers.eviction import Evictor
from nexo.brokers.journal import MEMORY, Journal
from nexo.brokers.keyindex import SMALL, KeyIndex, successor
from nexo.brokers.maps import Maps
from nexo.brokers.table import Table

# What `_tracking` says is in use.
INDEX: Final = 1
CAP: Final = 2
LOG: Final = 4
MAPS: Final = 8

_PAGE_KEY_BYTES: Final = 20  # of a key in a page besides its own: its length, version and expiry
_PAGE_VALUE_BYTES: Final = 4


class Keyspace:
    """The keys of a store. `mapped`: `maps` were declared, which say what the journal is told of."""

    __slots__ = (
        "_backlog",
        "_changes",
        "_entries",
        "_evictor",
        "_index",
        "_tracking",
        "mapped",
        "maps",
        "version",
    )

    def __init__(self, evictor: Evictor, journal: Journal, changes: Changes, capped: bool) -> None:
        self.version: i64 = 0
        self.mapped = False
        self.maps = Maps(journal)
        self._entries = Table()
        self._index = KeyIndex()
        self._evictor = evictor
        self._changes = changes
        self._backlog: i64 = 0  # the time of an `expire` that left due keys behind, else 0
        self._tracking: i64 = CAP if capped else 0

    def _remove(self, key: bytes, entry: Entry, kind: i64) -> None:
        """Takes a key from the table, with all that follows from it."""
        raise NotImplementedError

    def level_of(self, key: bytes) -> i64:
        """How durable a change of this key is when it is confirmed."""
        return self.maps.find(key).level if self.mapped else MEMORY

    # Byte order.

    def ready(self) -> bool:
        """Whether scan, count and clear_prefix would be quick; if not, `work` brings it about.

        They are right either way. The first call decides that the order of keys is kept from now on.
        Many keys that are due but still there would be in the way, so they are waited for too.
        """
        if self._backlog != 0:
            return False
        if self._index.cold():
            if len(self._entries) <= SMALL:
                return True
            self._start_index()
        return self._index.ready()

    def _start_index(self) -> None:
        self._index.start(self._entries)
        self._tracking |= INDEX

    def _settle_index(self) -> KeyIndex:
        if self._index.cold():
            self._start_index()
        self._index.settle(self._entries)
        return self._index

    def scan(
        self, prefix: bytes, after: bytes, limit: i64, bytes_max: i64, now: i64, with_values: bool
    ) -> Page:
        """The first keys with a prefix that are past `after`, in byte order: at most `limit`.

        A page ends before its payload on the wire exceeds `bytes_max`, but not before its first key.
        """
        index = self._settle_index()
        page = Page()
        number, place = index.seek(after, True) if after >= prefix and after else index.seek(prefix, False)
        end = successor(prefix)
        room = bytes_max
        while number < len(index.blocks):
            block = index.blocks[number]
            while place < len(block):
                key = block[place]
                if end is not None and key >= end:
                    return page
                place += 1
                entry = self._entries[key]
                if entry.expires_at != 0 and entry.expires_at <= now:
                    continue
                room -= _PAGE_KEY_BYTES + len(key)
                if with_values:
                    room -= _PAGE_VALUE_BYTES + len(entry.value)
                if len(page.keys) >= limit or (room < 0 and page.keys):
                    page.more = True
                    return page
                page.keys.append(key)
                page.entries.append(entry)
            number += 1
            place = 0
        return page

    def clear_prefix(self, prefix: bytes, now: i64, limit: i64, last: bytes = b"") -> i64:
        """Deletes keys with a prefix, up to `last` if that is given, at most `limit`; how many.

        While that is `limit`, there may be more.
        """
        deleted: i64 = 0
        self._changes.unhold(prefix)
        index = self._settle_index()
        while deleted < limit:
            keys = index.take(prefix, limit - deleted, last)
            if not keys:
                break
            self.maps.begin_clear()
            for key in keys:
                entry = self._entries[key]
                if entry.expires_at != 0 and entry.expires_at <= now:
                    self._remove(key, entry, CHANGE_EXPIRED)
                else:
                    self._remove(key, entry, CHANGE_DELETED)
                    deleted += 1
            self.maps.end_clear(prefix, keys[-1], self.version)
        return deleted

    # Maps.

    def declare(self, prefix: bytes, level: i64) -> bool:
        """Declares a map; whether it is new. Raises what Maps.add does. `work` moves its keys bit by bit."""
        created = self.maps.add(prefix, level, len(self._entries) > 0)
        self._tracking |= MAPS
        self.mapped = True
        self._start_move()
        return created

    def undeclare(self, prefix: bytes, remove: bool) -> None:
        """Declares a map no longer, and with `remove` deletes its keys. Raises ResourceNotFoundError."""
        self.maps.drop(prefix, remove, len(self._entries) > 0)
        self._start_move()

    def _start_move(self) -> None:
        if self.maps.moving is not None and self._index.cold():
            self._start_index()

    def _move(self, budget: i64) -> i64:
        evictor = self._evictor if self._tracking & CAP else None
        index = self._settle_index()
        for key in self.maps.move(index, self._entries, evictor, budget):
            self._remove(key, self._entries[key], CHANGE_DELETED)
        return 0

    def all_keys(self) -> list[bytes]:
        """Every key in the table, in no order."""
        return list(self._entries)
