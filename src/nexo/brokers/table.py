"""The store's table: a map from keys to entries that never grows in one go.

A dict that is full is copied to one of twice the size. With three million keys that takes a fifth of a second,
in which nobody is served. So the keys are spread over many dicts, each of which grows by itself, at a time of
its own. Knows nothing of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.entry import Entry

SHARDS: Final = 256
"""With 50 million keys the largest step is that of 200,000: about ten milliseconds."""
_SHIFT: Final = 40
"""A dict takes the low bits of a hash for itself: a shard whose keys had them in common would be slow."""


@final
class Table:
    """What the store needs of a dict. `shards` are its parts, for whoever goes through all keys bit by bit."""

    __slots__ = ("shards",)

    def __init__(self) -> None:
        self.shards: list[dict[bytes, Entry]] = [{} for _ in range(SHARDS)]

    def get(self, key: bytes) -> Entry | None:
        hashed: i64 = hash(key)
        return self.shards[(hashed >> _SHIFT) & (SHARDS - 1)].get(key)

    def __getitem__(self, key: bytes) -> Entry:
        hashed: i64 = hash(key)
        return self.shards[(hashed >> _SHIFT) & (SHARDS - 1)][key]

    def __setitem__(self, key: bytes, entry: Entry) -> None:
        hashed: i64 = hash(key)
        self.shards[(hashed >> _SHIFT) & (SHARDS - 1)][key] = entry

    def __delitem__(self, key: bytes) -> None:
        hashed: i64 = hash(key)
        del self.shards[(hashed >> _SHIFT) & (SHARDS - 1)][key]

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        count: i64 = 0
        for shard in self.shards:
            count += len(shard)
        return count

    def __iter__(self) -> Iterator[bytes]:
        """The keys of now, in no order."""
        keys: list[bytes] = []
        for shard in self.shards:
            keys.extend(shard)
        return iter(keys)
