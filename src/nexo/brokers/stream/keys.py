"""Order per key within one group: the next message of a key goes out when the one before is settled.

A key is held by one sequence at a time; later ones of that key wait behind it, in order. There are no
partitions: who consumes does not matter, and members may come and go. Knows no message.
"""

from __future__ import annotations

from collections import deque
from typing import final

from mypy_extensions import i64


@final
class KeyOrder:
    """The keys that are held, and who waits. `blocked` is how many wait over all keys."""

    __slots__ = ("_held", "blocked")

    def __init__(self) -> None:
        self._held: dict[bytes, deque[int] | None] = {}  # None: held, and nobody waits
        self.blocked: i64 = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, key: bytes, seq: i64) -> bool:
        """Whether a sequence may go out; if not, it waits until `release` gives it."""
        if key not in self._held:
            self._held[key] = None
            return True
        line = self._held[key]
        if line is None:
            self._held[key] = deque((int(seq),))
        else:
            line.append(seq)
        self.blocked += 1
        return False

    def release(self, key: bytes) -> i64:
        """The holder is settled; gives the sequence that holds the key now, 0 for none."""
        line = self._held[key]
        if line is None:
            del self._held[key]
            return 0
        seq: i64 = line.popleft()
        if not line:
            self._held[key] = None
        self.blocked -= 1
        return seq
