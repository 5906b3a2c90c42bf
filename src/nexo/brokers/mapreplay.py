"""Does again what the journal's operations say of the store, and writes down what the store is.

Layouts: maps.py. A key that is due stays until the log says that the time has come: a later operation may have
extended its life.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64

from nexo.brokers import maps
from nexo.brokers.journal import FSYNC, MEMORY, Journal
from nexo.brokers.store import Store
from nexo.errors import StorageError

EVERYTHING: Final = 1 << 60


def apply(store: Store, kind: i64, data: bytes, start: i64, end: i64, now: i64) -> None:
    """Does one recorded operation again; its body is data[start:end]. StorageError when it makes no sense."""
    if kind == maps.SET:
        place = start + 4 + _length(data, start, end, 16)
        value_at = place + 16
        expires_at = read_i64_be(data, place + 8)
        version = read_i64_be(data, place)
        store.maps.seen(version)
        store.restore(data[start + 4 : place], data[value_at:end], version, expires_at, now)
    elif kind == maps.MAP or kind == maps.MAP_GONE:
        _apply_map(store, kind, data[start:end])
    elif end - start < 8:
        raise _ends_early(start)
    elif kind == maps.EXPIRY:
        store.set_expiry(data[start + 8 : end], read_i64_be(data, start), 0)
    else:
        number = read_i64_be(data, start)
        if kind == maps.TIME:
            store.expire_replayed(number)
            return
        store.maps.seen(number)
        if kind == maps.DELETE:
            store.delete(data[start + 8 : end], 0)
        elif kind == maps.CLEAR:
            last = start + 12 + _length(data, start + 8, end, 0)
            store.clear_prefix(data[start + 12 : last], 0, EVERYTHING, data[last:end])
        elif kind == maps.CLEAR_ALL:
            store.clear(0)


def key_of(kind: i64, data: bytes, body: i64, end: i64) -> bytes:
    """The key of a SET or an EXPIRY."""
    if kind == maps.EXPIRY:
        return data[body + 8 : end]
    return data[body + 4 : body + 4 + i64(read_i32_be(data, body))]


def _apply_map(store: Store, kind: i64, body: bytes) -> None:
    if kind == maps.MAP:
        if not body or body[0] > FSYNC:
            raise StorageError("the log declares a map of a level that this version does not know")
        store.declare(body[1:], i64(body[0]))
    else:
        store.undeclare(body, False)
    moving = store.maps.moving
    if moving is not None:
        # What was recorded of these keys is void, and what they are now was not recorded.
        moving.remove = moving.after.level == MEMORY
        while store.maps.moving is not None:
            store.work(EVERYTHING)


def _length(data: bytes, at: i64, end: i64, more: i64) -> i64:
    """The length that stands at a place; as many bytes follow it, and `more` after them."""
    if end - at < 4:
        raise _ends_early(at)
    length = i64(read_i32_be(data, at))
    if length < 0 or at + 4 + length + more > end:
        raise _ends_early(at)
    return length


def _ends_early(at: i64) -> StorageError:
    return StorageError(f"an operation of the store ends early, at byte {at} of its batch")


@final
class DumpJob:
    """Writes what is kept of a store, some keys at a time; turns may go on between two steps."""

    __slots__ = ("_keys", "_out", "_store")

    def __init__(self, out: Journal, store: Store) -> None:
        self._out = out
        self._store = store
        self._keys = store.all_keys()
        for one in store.maps.all():
            store.maps.record_map(out, one)
        store.maps.record_version(out, max(store.version, store.maps.highest, store.maps.reserved))

    def step(self, budget: i64) -> bool:
        """Writes about `budget` keys; True when all is written."""
        found = self._store.maps
        while self._keys and budget > 0:
            budget -= 1
            key = self._keys.pop()
            level = found.find(key).level
            entry = self._store.lookup(key, 0) if level != MEMORY else None
            if entry is not None:
                found.record_set(self._out, key, entry, level)
        return not self._keys
