"""The Store's commands of the native protocol, each a call to the broker. Layouts: docs/protocol.md."""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo import limits
from nexo.brokers.batch.storesteps import SetKey, StepCounter
from nexo.brokers.changes import Change, Watch, Watcher
from nexo.brokers.entry import IncrResult
from nexo.brokers.journal import MEMORY
from nexo.brokers.message import int_value
from nexo.brokers.store import Store
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError
from nexo.protocols.native import frames
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import Channel, deadline, point
from nexo.protocols.native.frames import Payload, check_key, write_string

SCAN_PAGE_BYTES: Final = 1024 * 1024
"""One page of a scan: large enough to be worth the round trip, small enough not to hold the loop."""
CLEAR_SLICE: Final = 5_000
"""Keys that a prefix delete removes in one turn."""


@final
class Changes(Watcher):
    """Writes the store's changes to the session that watches."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def changed(self, watch_id: i64, changes: list[Change]) -> None:
        for start in range(0, len(changes), limits.KEYS_PER_COMMAND_MAX):
            piece = changes[start : start + limits.KEYS_PER_COMMAND_MAX]
            payload = BytesWriter()
            write_i32_be(payload, len(piece))
            for change in piece:
                payload.append(change.kind)
                write_i64_be(payload, change.version)
                write_string(payload, change.key)
                write_i64_be(payload, change.expires_at)
                value = change.value
                write_string(payload, value if value is not None else b"")
            self.channel.send(frames.event(op.MAP_WATCH, frames.low32(watch_id), payload.getvalue()))


@final
class StoreCommands:
    """What one connection asks of the store, and what it watches there."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.store = channel.node.store
        self.changes = Changes(channel)
        self.watches: dict[i64, Watch] = {}
        # A prefix delete that takes several turns: what it has removed so far.
        self.cleared: i64 = 0
        # The same for a map that comes or goes: what its answer will say.
        self.outcome = ""

    def close(self) -> None:
        """The connection has ended."""
        for watch in self.watches.values():
            self.store.unwatch(watch)
        self.watches = {}

    def dispatch(self, code: i64, payload: Payload, now: i64) -> None:
        """Run one of the opcodes 0x02 to 0x0F."""
        if code == op.MAP_DEL:
            key = payload.key()
            payload.finish()
            self.store.delete(key, now)
            self.channel.ok_at(self.store.level_of(key))
        elif code == op.MAP_INCR:
            self.incr(payload, now)
        elif code == op.MAP_GETX:
            self.get_with(payload, now)
        elif code == op.MAP_DELX:
            self.delete_with(payload, now)
        elif code == op.MAP_INCRX:
            self.incr_with(payload, now)
        elif code == op.MAP_MGET:
            self.get_many(payload, now)
        elif code == op.MAP_MSET:
            self.set_many(payload, now)
        elif code == op.MAP_SCAN:
            self.scan(payload, now)
        elif code == op.MAP_WATCH:
            self.watch(payload)
        elif code == op.MAP_UNWATCH:
            self.unwatch(payload)
        elif code == op.MAP_CLEAR_ALL:
            payload.finish()
            self.count_at(self.store.maps.level_over(b""), self.store.clear(now))
        elif code == op.MAP_CLEAR_PREFIX:
            self.clear_prefix(payload, now)
        else:
            # A MAP_GET that found nothing, or that the hot path did not take: is its key one?
            payload.key()
            payload.finish()
            self.channel.null()

    def check_write(self, level: i64) -> None:
        """For a write that is recorded at this level: StorageError while there is no room, AlarmError while it is short."""
        if level != MEMORY:
            self.channel.node.check_write()
        else:
            self.channel.node.check_memory()

    def level_to_write(self, key: bytes) -> i64:
        """What the answer to a change of this key promises, if there is room for it. Raises as `check_write`."""
        level = self.store.level_of(key)
        self.check_write(level)
        return level

    def count_at(self, level: i64, number: i64) -> None:
        self.channel.data_at(level, int_value(number))

    def set_mapped(self, key: bytes, value: bytes, now: i64) -> None:
        """A plain set where maps are declared."""
        level = self.level_to_write(key)
        self.store.set(key, value, now)
        self.channel.ok_at(level)

    def set_with(self, payload: Payload, now: i64) -> None:
        key = payload.key()
        flags = payload.u8("the flags")
        step = read_set(self.store, payload, key, flags, now)
        self.check_write(step.level)
        result = step.put(self.store, now)
        if flags & op.SET_ANSWERED:
            old = result.old if flags & op.SET_RETURN_OLD else None
            self.put_result(step.level, result.applied, result.version, old)
        else:
            self.channel.ok_at(step.level)

    def put_result(self, level: i64, applied: bool, version: i64, old: bytes | None) -> None:
        self.channel.data_at(level, written(applied, version, old))

    def incr(self, payload: Payload, now: i64) -> None:
        key = payload.key()
        delta = payload.signed64("the delta")
        payload.finish()
        level = self.level_to_write(key)
        self.count_at(level, self.store.incr(key, delta, now))

    def get_with(self, payload: Payload, now: i64) -> None:
        key = payload.key()
        flags = payload.u8("the flags")
        changes = flags & (op.GETX_TTL | op.GETX_TTL_ABSOLUTE | op.GETX_PERSIST)
        level: i64 = MEMORY
        if changes != 0:
            # No alarm refuses it: a key that is to expire is memory that comes back.
            level = self.store.level_of(key)
            if level != MEMORY:
                self.channel.node.check_room()
        if changes == op.GETX_TTL:
            entry = self.store.set_expiry(key, deadline(payload.u64("the TTL"), now), now)
        elif changes == op.GETX_TTL_ABSOLUTE:
            entry = self.store.set_expiry(key, point(payload.u64("the time")), now)
        elif changes == op.GETX_PERSIST:
            entry = self.store.set_expiry(key, 0, now)
        elif changes == 0:
            entry = self.store.lookup(key, now)
        else:
            raise InvalidArgumentError("only one of: set the TTL, set the time, remove the TTL")
        payload.finish()
        if entry is None:
            self.channel.null_at(level)
            return
        out = BytesWriter()
        write_i64_be(out, entry.version)
        write_expiry(out, entry.expires_at, now)
        if not flags & op.GETX_NO_VALUE:
            out.write(entry.value)
        self.channel.data_at(level, out.getvalue())

    def delete_with(self, payload: Payload, now: i64) -> None:
        key = payload.key()
        flags = payload.u8("the flags")
        expected: i64 = payload.u64("the expected version") if flags & op.DELX_VERSION else -1
        payload.finish()
        result = self.store.delete_if(key, now, expected)
        old = result.old if flags & op.DELX_RETURN_OLD else None
        self.put_result(self.store.level_of(key), result.deleted, result.version, old)

    def incr_with(self, payload: Payload, now: i64) -> None:
        step = read_counter(self.store, payload, now)
        self.check_write(step.level)
        self.channel.data_at(step.level, counted(step.step(self.store, now), now))

    def key_count(self, payload: Payload) -> i64:
        count = payload.u32("the number of keys")
        if count > limits.KEYS_PER_COMMAND_MAX:
            raise LimitExceededError(f"{count} keys: keys_per_command_max is {limits.KEYS_PER_COMMAND_MAX}")
        return count

    def get_many(self, payload: Payload, now: i64) -> None:
        count = self.key_count(payload)
        keys: list[bytes] = []
        for _ in range(count):
            keys.append(payload.key())
        payload.finish()
        out = BytesWriter()
        write_i32_be(out, i32(count))
        for value in self.store.get_many(keys, now):
            write_string(out, value if value is not None else b"")
            if len(out) > self.channel.server.frame_bytes_max:
                raise LimitExceededError(
                    f"the values together exceed frame_bytes_max ({self.channel.server.frame_bytes_max} bytes)"
                )
        self.channel.data(out.getvalue())

    def set_many(self, payload: Payload, now: i64) -> None:
        flags = payload.u8("the flags")
        expires_at: i64 = deadline(payload.u64("the TTL"), now) if flags & op.MSET_TTL else 0
        pairs: list[tuple[bytes, bytes]] = []
        level: i64 = MEMORY
        for _ in range(self.key_count(payload)):
            key = payload.key()
            pairs.append((key, payload.value_with_length()))
            level = max(level, self.level_to_write(key))
        payload.finish()
        result = self.store.put_many(
            pairs, now, expires_at=expires_at, if_absent=(flags & op.MSET_IF_ABSENT) != 0
        )
        self.put_result(level, result.applied, result.version, None)

    def scan(self, payload: Payload, now: i64) -> None:
        prefix = payload.string("the prefix")
        cursor = payload.string("the cursor")
        limit = payload.u32("the limit")
        flags = payload.u8("the flags")
        payload.finish()
        if limit > limits.SCAN_KEYS_MAX:
            raise LimitExceededError(f"a page of {limit} keys: scan_keys_max is {limits.SCAN_KEYS_MAX}")
        if not self.store.ready():
            self.channel.wait()
            return
        out = BytesWriter()
        if flags & op.SCAN_COUNT:
            write_i64_be(out, self.store.count(prefix, now))
            self.channel.data(out.getvalue())
            return
        with_values = (flags & op.SCAN_VALUES) != 0
        page = self.store.scan(prefix, cursor, limit or 1000, SCAN_PAGE_BYTES, now, with_values)
        out.append(1 if page.more else 0)
        write_i32_be(out, len(page.keys))
        for index, key in enumerate(page.keys):
            entry = page.entries[index]
            write_string(out, key)
            write_i64_be(out, entry.version)
            write_i64_be(out, entry.expires_at)
            if with_values:
                write_string(out, entry.value)
        self.channel.data(out.getvalue())

    def clear_prefix(self, payload: Payload, now: i64) -> None:
        prefix = payload.string("the prefix")
        payload.finish()
        if not self.store.ready():
            self.channel.wait()
            return
        removed = self.store.clear_prefix(prefix, now, CLEAR_SLICE)
        self.cleared += removed
        if removed == CLEAR_SLICE:
            self.channel.wait()
            return
        total, self.cleared = self.cleared, 0
        self.count_at(self.store.maps.level_over(prefix), total)

    def watch(self, payload: Payload) -> None:
        key = payload.string("the key")
        flags = payload.u8("the flags")
        from_version: i64 = payload.u64("the version") if flags & op.WATCH_FROM else -1
        payload.finish()
        if not self.channel.greeted:
            raise InvalidArgumentError("a watch needs HELLO: its events are frames of type 0x05")
        prefix = (flags & op.WATCH_PREFIX) != 0
        if not prefix:
            check_key(key)
        if len(self.watches) >= limits.WATCHES_PER_CONNECTION_MAX:
            raise LimitExceededError(f"watches_per_connection_max is {limits.WATCHES_PER_CONNECTION_MAX}")
        watch_id = i64(self.channel.frames.correlation)
        if watch_id in self.watches:
            raise InvalidArgumentError("this correlation id belongs to a watch already")
        self.watches[watch_id] = self.store.watch(self.changes, watch_id, key, prefix, from_version)
        out = BytesWriter()
        write_i64_be(out, self.store.version)
        self.channel.data(out.getvalue())

    def unwatch(self, payload: Payload) -> None:
        watch_id = i64(payload.signed32("the watch"))
        payload.finish()
        watch = self.watches.pop(watch_id, None)
        if watch is None:
            raise ResourceNotFoundError("no such watch on this connection")
        self.store.unwatch(watch)
        self.channel.ok()


def read_set(store: Store, payload: Payload, key: bytes, flags: i64, now: i64) -> SetKey:
    """The rest of a MAP_SET, whose key and flags have been read."""
    step = SetKey(store, key, b"")
    if flags & op.SET_TTL:
        ttl = payload.u64("the TTL")
        if flags & op.SET_TTL_ABSOLUTE:
            step.expires_at = point(ttl)
        else:
            if not flags & op.SET_TTL_MS:
                if ttl > limits.TTL_MS_MAX // 1000:
                    raise InvalidArgumentError(f"a TTL of {ttl} s: ttl_ms_max is {limits.TTL_MS_MAX}")
                ttl *= 1000
            step.expires_at = deadline(ttl, now)
        if flags & op.SET_KEEP_TTL:
            raise InvalidArgumentError("a TTL and the flag to keep the TTL exclude each other")
    elif flags & (op.SET_TTL_MS | op.SET_TTL_ABSOLUTE):
        raise InvalidArgumentError("flags that describe a TTL without a TTL")
    if flags & op.SET_IF_ABSENT and flags & op.SET_IF_PRESENT:
        raise InvalidArgumentError("only-if-absent and only-if-present exclude each other")
    step.keep_ttl = (flags & op.SET_KEEP_TTL) != 0
    step.if_absent = (flags & op.SET_IF_ABSENT) != 0
    step.if_present = (flags & op.SET_IF_PRESENT) != 0
    if flags & op.SET_VERSION:
        step.expected_version = payload.u64("the expected version")
    step.value = payload.value()
    return step


def read_counter(store: Store, payload: Payload, now: i64) -> StepCounter:
    """A MAP_INCRX."""
    key = payload.key()
    flags = payload.u8("the flags")
    step = StepCounter(store, key, payload.signed64("the delta"))
    if flags & op.INCRX_MIN:
        step.minimum = payload.signed64("the lower bound")
    if flags & op.INCRX_MAX:
        step.maximum = payload.signed64("the upper bound")
    if flags & op.INCRX_TTL:
        step.expires_at = deadline(payload.u64("the TTL"), now)
    step.saturate = (flags & op.INCRX_SATURATE) != 0
    payload.finish()
    return step


def written(applied: bool, version: i64, old: bytes | None) -> bytes:
    """The answer to a conditional write."""
    out = BytesWriter()
    out.append(1 if applied else 0)
    write_i64_be(out, version)
    if old is not None:
        out.write(old)
    return out.getvalue()


def counted(result: IncrResult, now: i64) -> bytes:
    """The answer to a MAP_INCRX."""
    out = BytesWriter()
    write_i64_be(out, result.value)
    write_i64_be(out, result.applied)
    write_i64_be(out, result.version)
    write_expiry(out, result.expires_at, now)
    return out.getvalue()


def write_expiry(out: BytesWriter, expires_at: i64, now: i64) -> None:
    """Both forms of an expiry: when, and how long from now."""
    write_i64_be(out, expires_at)
    write_i64_be(out, expires_at - now if expires_at != 0 else 0)
