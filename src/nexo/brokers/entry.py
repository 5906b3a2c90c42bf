"""One key's entry in the store, and the answers that the store's methods give.

An entry is a native object without a cycle collector header: 64 bytes when compiled, whatever features
are in use. It knows neither its key nor the structures that refer to it; those keep their own marks here
so that no second table is needed.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i32, i64, mypyc_attr

from nexo.brokers.untracked import untrack

ENTRY_BYTES: Final = 208
"""What a key costs beyond its own bytes and those of its value: the entry (64), the headers of two byte
strings (33 each) and its share of the table. Measured with a million keys of 16 + 64 bytes, compiled."""


@final
@mypyc_attr(acyclic=True)
class Bucket:
    """Keys that are looked at together at `wake` (node time in ms); `code` orders buckets by it."""

    __slots__ = ("code", "keys", "wake")

    def __init__(self, code: i64, wake: i64) -> None:
        self.code = code
        self.wake = wake
        self.keys: list[bytes] = []
        untrack(self.keys)


@final
@mypyc_attr(acyclic=True)
class Entry:
    """A value with its version and its expiry (node time in ms, 0 = never).

    `bucket` is where the expiry is scheduled; its key is in that bucket's list exactly as long as this
    is set. `slot` is the key's place among those that may be evicted (-1: none), `clock` what the
    eviction policy remembers about its use.
    """

    __slots__ = ("bucket", "clock", "expires_at", "slot", "value", "version")

    def __init__(self, value: bytes, version: i64) -> None:
        self.value = value
        self.version = version
        self.expires_at: i64 = 0
        self.bucket: Bucket | None = None
        self.slot: i32 = -1
        self.clock: i32 = 0


def account(key: bytes, value: bytes) -> i64:
    """What a key costs with its value, in bytes."""
    return ENTRY_BYTES + len(key) + len(value)


@final
@mypyc_attr(acyclic=True)
class PutResult:
    """`version` is the new one, or the present one (0 = no such key) when nothing was applied."""

    __slots__ = ("applied", "old", "version")

    def __init__(self, applied: bool, version: i64, old: bytes | None) -> None:
        self.applied = applied
        self.version = version
        self.old = old


@final
@mypyc_attr(acyclic=True)
class DeleteResult:
    """`version` and `old` are what the key had before (0 and None = no such key)."""

    __slots__ = ("deleted", "old", "version")

    def __init__(self, deleted: bool, version: i64, old: bytes | None) -> None:
        self.deleted = deleted
        self.version = version
        self.old = old


@final
@mypyc_attr(acyclic=True)
class IncrResult:
    """The counter after the call, and what was really added to it."""

    __slots__ = ("applied", "expires_at", "value", "version")

    def __init__(self, value: i64, applied: i64, version: i64, expires_at: i64) -> None:
        self.value = value
        self.applied = applied
        self.version = version
        self.expires_at = expires_at


@final
@mypyc_attr(acyclic=True)
class Page:
    """One page of a scan: keys in byte order with their entries, and whether more follow."""

    __slots__ = ("entries", "keys", "more")

    def __init__(self) -> None:
        self.more = False
        self.keys: list[bytes] = []
        self.entries: list[Entry] = []
