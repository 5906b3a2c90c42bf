"""The store: keys and values, each command one request. Layouts: docs/protocol.md; meaning: docs/store.md.

Owns what a command's options mean on the wire and what its answer means in Python. Knows no socket.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar, overload

import msgspec

from nexo.client import values
from nexo.client.connection import Connection
from nexo.client.entries import (
    Count,
    Entry,
    MapCreated,
    MapInfo,
    Scanned,
    Written,
    read_count,
    read_entry,
    read_int,
    read_page,
    read_written,
)
from nexo.client.frames import Reader, key_count, prefixed, string, u32, u64
from nexo.client.queueinfo import Durability, admin_answer
from nexo.client.ttl import ttl_ms_of
from nexo.client.watch import Watch, Watcher, Watches
from nexo.client.writes import incr_key, incr_key_bounded, put_key, remove_key, set_key
from nexo.errors import InvalidArgumentError, ProtocolError, VersionMismatchError
from nexo.protocols.native import opcodes as op

T = TypeVar("T")


class Store:
    """The store of a server: its keys, `map`, and the maps that say which of them are kept on disk.

    A declared map is a prefix with a durability. A key belongs to the one with the longest prefix that it begins
    with; a key that belongs to none is in memory only.
    """

    def __init__(self, connection: Connection, watches: Watches) -> None:
        self.map = Map(connection, watches)
        self._connection = connection

    async def create_map(self, prefix: str, *, durability: Durability = "fsync") -> MapCreated:
        """Declare a map, unless it is: `status` says which. Keys that are there already are kept from now on, too.

        `durability` says when a change of one of its keys is confirmed: "fsync" (on disk), "flush" (the
        operating system has it) or "memory". ResourceConfigConflictError when the map exists and has another;
        its `details` list the difference. StorageError while the disk is full.
        """
        created: MapCreated = await self._ask(prefix, "create", MapCreated, durability=durability)
        return created

    async def maps(self, prefix: str = "") -> list[MapInfo]:
        """The maps whose prefixes begin so, in the order of their bytes, with the keys and bytes of each."""
        found: list[MapInfo] = await self._ask(prefix, "list", list[MapInfo])
        return found

    async def describe_map(self, prefix: str) -> MapInfo:
        """The map of exactly this prefix. ResourceNotFoundError when there is none."""
        info: MapInfo = await self._ask(prefix, "describe", MapInfo)
        return info

    async def delete_map(self, prefix: str, *, keys: bool = False) -> None:
        """Declare a map no longer: its keys stay, as what they are without it, or with `keys` are deleted.

        ResourceNotFoundError when there is none.
        """
        await self._ask(prefix, "delete", dict, keys=keys)

    async def _ask(self, prefix: str, action: str, type: Any, **arguments: Any) -> Any:
        payload = string(prefix) + string(action) + msgspec.json.encode(arguments)
        return admin_answer(await self._connection.data(op.MAP_ADMIN, payload), type)


class Map:
    """Keys and values.

    A key is text of 1 to 65,536 bytes in UTF-8. A value is bytes, str, an int of 64 bits, or anything
    that msgspec says in JSON. `ttl` is in seconds, `ttl_ms` in milliseconds, at most 2^53 ms.

    Every method may raise, beside what it names itself: InvalidArgumentError and LimitExceededError for
    what the server does not take, RequestTimeoutError, NotConnectedError and ConnectionClosedError.
    """

    def __init__(self, connection: Connection, watches: Watches) -> None:
        self._connection = connection
        self._watches = watches

    @overload
    async def get(self, key: str, *, touch_ttl_ms: int | None = None) -> Any: ...
    @overload
    async def get(self, key: str, *, type: type[T], touch_ttl_ms: int | None = None) -> T | None: ...

    async def get(self, key: str, *, type: Any = None, touch_ttl_ms: int | None = None) -> Any:
        """The value of a key, or None if there is no such key.

        `type` decodes it as that type: a msgspec Struct, a dataclass, `list[int]`. A value of another
        type is an InvalidArgumentError. `touch_ttl_ms` gives the key this time to live, in the same step.
        """
        if touch_ttl_ms is None:
            reply = await self._connection.call(op.MAP_GET, string(key))
            return None if reply is None else values.decode(reply, type)
        payload = string(key) + bytes((op.GETX_TTL,)) + u64(touch_ttl_ms, "a TTL in ms")
        reply = await self._connection.call(op.MAP_GETX, payload)
        return None if reply is None else values.decode(reply[24:], type)

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        version: int | None = None,
    ) -> None:
        """Set a key. Without a TTL it lives for ever, even if it had one before.

        With `version` only if the key has this version (0: is absent), else VersionMismatchError.
        MemoryLimitError when the store is full.
        """
        if ttl is None and ttl_ms is None and version is None:
            await self._connection.call(op.MAP_SET, string(key) + b"\x00" + values.encode(value))
            return
        payload = set_key(key, value, ttl, ttl_ms, version)
        reply = await self._connection.data(op.MAP_SET, payload)
        if version is not None and not (written := read_written(reply, False)).applied:
            raise VersionMismatchError(
                f"{key!r} has version {written.version}, not {version}", written.version
            )

    async def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        expires_at_ms: int | None = None,
        keep_ttl: bool = False,
        if_absent: bool = False,
        if_present: bool = False,
        version: int | None = None,
        return_old: bool = False,
    ) -> Written:
        """Set a key under conditions, and tell whether that was done and the key's version.

        `expires_at_ms` is a Unix time in milliseconds instead of a TTL; `keep_ttl` leaves the time to live
        as it is. `version` asks for this version (0: absent). MemoryLimitError when the store is full.
        """
        payload = put_key(
            key, value, ttl, ttl_ms, expires_at_ms, keep_ttl, if_absent, if_present, version, return_old
        )
        return read_written(await self._connection.data(op.MAP_SET, payload), return_old)

    async def entry(self, key: str, *, type: Any = None) -> Entry | None:
        """A key's value, version and time to live, or None if there is no such key. `type` as in `get`."""
        reply = await self._connection.call(op.MAP_GETX, string(key) + b"\x00")
        return None if reply is None else read_entry(key, reply, type)

    async def exists(self, key: str) -> bool:
        """Whether there is such a key; its value does not travel."""
        payload = string(key) + bytes((op.GETX_NO_VALUE,))
        return await self._connection.call(op.MAP_GETX, payload) is not None

    async def delete(self, key: str) -> None:
        """Delete a key, if there is one."""
        await self._connection.call(op.MAP_DEL, string(key))

    async def remove(self, key: str, *, version: int | None = None) -> bool:
        """Delete a key, if it has this version; whether it was deleted."""
        reply = await self._connection.data(op.MAP_DELX, remove_key(key, version))
        return read_written(reply, False).applied

    async def incr(self, key: str, delta: int = 1) -> int:
        """Add to a counter, which starts at 0, and return its new value.

        InvalidArgumentError when the value is not an integer or the result does not fit into 64 bits.
        """
        return read_int(await self._connection.data(op.MAP_INCR, incr_key(key, delta)))

    async def incr_bounded(
        self,
        key: str,
        delta: int = 1,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        saturate: bool = False,
        ttl: float | None = None,
        ttl_ms: int | None = None,
    ) -> Count:
        """Add to a counter within bounds. Past one nothing changes, or with `saturate` the value stops there.

        The TTL is set only when the counter is created. Errors as `incr`.
        """
        payload = incr_key_bounded(key, delta, minimum, maximum, saturate, ttl, ttl_ms)
        return read_count(await self._connection.data(op.MAP_INCRX, payload))

    async def expire(
        self,
        key: str,
        *,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        expires_at_ms: int | None = None,
    ) -> bool:
        """Give a key a time to live, or a Unix time in milliseconds at which it ends; False without a key."""
        left = ttl_ms_of(ttl, ttl_ms)
        if (left is None) == (expires_at_ms is None):
            raise InvalidArgumentError("one of ttl, ttl_ms and expires_at_ms")
        if left is not None:
            change = bytes((op.GETX_TTL | op.GETX_NO_VALUE,)) + u64(left, "a TTL in ms")
        else:
            change = bytes((op.GETX_TTL_ABSOLUTE | op.GETX_NO_VALUE,)) + u64(
                expires_at_ms or 0, "a time in ms"
            )
        return await self._connection.call(op.MAP_GETX, string(key) + change) is not None

    async def persist(self, key: str) -> bool:
        """Take the time to live from a key, so that it stays; False if there is no such key."""
        payload = string(key) + bytes((op.GETX_PERSIST | op.GETX_NO_VALUE,))
        return await self._connection.call(op.MAP_GETX, payload) is not None

    async def get_many(self, keys: Iterable[str], *, type: Any = None) -> dict[str, Any]:
        """The keys that exist, with their values, in the order in which they were given. At most 10,000.

        `type` as in `get`, for all of them. LimitExceededError when the values do not fit into one frame.
        """
        wanted = list(keys)
        payload = key_count(len(wanted)) + b"".join(map(string, wanted))
        reader = Reader(await self._connection.data(op.MAP_MGET, payload))
        if reader.u32() != len(wanted):
            raise ProtocolError("the server answered for another number of keys")
        found = [(key, reader.prefixed()) for key in wanted]
        return {key: values.decode(value, type) for key, value in found if value}

    async def set_many(
        self,
        items: Mapping[str, Any],
        *,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        if_absent: bool = False,
    ) -> bool:
        """Set keys together: all of them or none. At most 10,000.

        With `if_absent` only if none of them exists; whether they were set. MemoryLimitError when the store
        is full.
        """
        flags = if_absent * op.MSET_IF_ABSENT
        left = ttl_ms_of(ttl, ttl_ms)
        when = b""
        if left is not None:
            flags |= op.MSET_TTL
            when = u64(left, "a TTL in ms")
        parts = [bytes((flags,)), when, key_count(len(items))]
        for key, value in items.items():
            parts += (string(key), prefixed(values.encode(value)))
        return read_written(await self._connection.data(op.MAP_MSET, b"".join(parts)), False).applied

    async def scan(
        self,
        prefix: str = "",
        *,
        values: bool = True,
        limit: int | None = None,
        page_keys: int = 1000,
        type: Any = None,
    ) -> AsyncIterator[Scanned]:
        """The keys that begin with a prefix, in the order of their bytes, at most `limit`.

        Read page by page, up to `page_keys` (1 to 10,000) at a time, while others write: a key that exists
        throughout is given exactly once. `values=False` leaves them at the server. `type` as in `get`.
        """
        cursor = ""
        left = limit
        while left is None or left > 0:
            asked = page_keys if left is None else min(page_keys, left)
            flags = bytes((values * op.SCAN_VALUES,))
            payload = string(prefix) + string(cursor) + u32(asked, "a page") + flags
            more, found = read_page(await self._connection.data(op.MAP_SCAN, payload), values, type)
            for entry in found:
                yield entry
            if not more or not found:
                return
            cursor = found[-1].key
            if left is not None:
                left -= len(found)

    async def count(self, prefix: str = "") -> int:
        """How many keys begin with a prefix; without one, how many there are."""
        payload = string(prefix) + string("") + u32(0, "a page") + bytes((op.SCAN_COUNT,))
        return Reader(await self._connection.data(op.MAP_SCAN, payload)).u64()

    async def clear_with_prefix(self, prefix: str) -> int:
        """Delete the keys that begin with a prefix; how many there were."""
        return read_int(await self._connection.data(op.MAP_CLEAR_PREFIX, string(prefix)))

    async def clear_all(self) -> int:
        """Delete every key; how many there were."""
        return read_int(await self._connection.data(op.MAP_CLEAR_ALL, b""))

    def watch(
        self, key: str, *, prefix: bool = False, from_version: int | None = None, type: Any = None
    ) -> Watch:
        """The changes of a key, or with `prefix` of all keys that begin so: see Watch.

        `from_version` begins with the changes after that version: TooOldError when the server no longer
        has all of them. `type` as in `get`, for the values.
        """
        return Watch(self._watches, Watcher(key, prefix, from_version, type))
