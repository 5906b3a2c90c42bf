"""What a cleared store leaves behind, freed a little in every turn.

Giving up a table of a million keys at once would hold the loop for a tenth of a second. Owns tables and
lists that nobody else refers to any more, and knows nothing of what they were for.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.entry import Entry


@final
class Leftovers:
    """Tables and key lists that wait to be freed."""

    __slots__ = ("_lists", "_tables")

    def __init__(self) -> None:
        self._tables: list[dict[bytes, Entry]] = []
        self._lists: list[list[bytes]] = []

    def __bool__(self) -> bool:
        return len(self._tables) > 0 or len(self._lists) > 0

    def add(self, tables: list[dict[bytes, Entry]], lists: list[list[bytes]]) -> None:
        """Takes over what is given up; the caller must keep no reference."""
        self._tables.extend([table for table in tables if table])
        self._lists.extend(lists)

    def step(self, budget: i64) -> i64:
        """Frees about `budget` keys; gives what is left of the budget."""
        while budget > 0 and self._tables:
            table = self._tables[-1]
            while table and budget > 0:
                budget -= 1
                table.popitem()
            if not table:
                self._tables.pop()
        while budget > 0 and self._lists:
            keys = self._lists[-1]
            count: i64 = len(keys)
            if count > budget:
                del keys[count - budget :]
                return 0
            self._lists.pop()
            budget -= count + 1
        return budget
