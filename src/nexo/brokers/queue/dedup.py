"""Dedup keys: which message a key stands for, for a while after its push.

A key is remembered from the first push on; a repeated one does not prolong it. Owns keys and their ends,
and knows nothing of messages but their ids.
"""

from __future__ import annotations

from itertools import islice
from typing import final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.untracked import untrack
from nexo.errors import LimitExceededError
from nexo.limits import DEDUP_KEYS_MAX


@final
@mypyc_attr(acyclic=True)
class DedupKey:
    """A key, the message it stands for, and until when."""

    __slots__ = ("id", "key", "until")

    def __init__(self, key: bytes, id: i64, until: i64) -> None:
        self.key = key
        self.id = id
        self.until = until


@final
class Dedup:
    """The keys of one queue. Their windows are equally long, so they end in the order of the pushes."""

    __slots__ = ("_keys", "_new", "_old")

    def __init__(self) -> None:
        self._keys: dict[bytes, DedupKey] = {}
        self._new: list[DedupKey] = []
        untrack(self._new)
        self._old: list[DedupKey] = []  # the next to end is last

    def __len__(self) -> int:
        return len(self._keys)

    def known(self, key: bytes, now: i64) -> i64:
        """The id of the message that the key stands for, 0 for none."""
        found = self._keys.get(key)
        return 0 if found is None or found.until <= now else found.id

    def check_room(self, count: i64) -> None:
        """Raises LimitExceededError when so many more keys may not be added."""
        if len(self._keys) + count > DEDUP_KEYS_MAX:
            raise LimitExceededError(
                f"DEDUP_KEYS_MAX ({DEDUP_KEYS_MAX}) dedup keys are remembered by the queue"
            )

    def add(self, key: bytes, id: i64, until: i64) -> None:
        entry = DedupKey(key, id, until)
        self._keys[key] = entry
        self._new.append(entry)

    def withdraw(self, key: bytes, id: i64) -> None:
        """Forgets a key whose message was withdrawn."""
        found = self._keys.get(key)
        if found is not None and found.id == id:
            del self._keys[key]

    def _next(self) -> DedupKey | None:
        while True:
            if not self._old:
                if not self._new:
                    return None
                self._old = self._new
                self._new = []
                untrack(self._new)
                self._old.reverse()
            entry = self._old[-1]
            if self._keys.get(entry.key) is entry:
                return entry
            self._old.pop()

    def expire(self, now: i64, budget: i64) -> i64:
        """Forgets keys whose window is over; gives what is left of the budget."""
        while budget > 0:
            entry = self._next()
            if entry is None or entry.until > now:
                break
            del self._keys[entry.key]
            self._old.pop()
            budget -= 1
        return budget

    def next_deadline(self) -> i64:
        """When the first key is to be forgotten, 0 for none."""
        entry = self._next()
        return 0 if entry is None else entry.until

    def living(self, now: i64, skip: i64, limit: i64) -> list[DedupKey]:
        """Up to `limit` of the keys that are remembered, after the first `skip`, for a snapshot."""
        found: list[DedupKey] = []
        for entry in islice(self._keys.values(), int(skip), None):
            if len(found) >= limit:
                break
            if entry.until > now:
                found.append(entry)
        return found
