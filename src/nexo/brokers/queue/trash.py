"""What purged and deleted queues leave behind, freed a little at a time.

Giving up a million messages at once would hold the loop for a tenth of a second. Owns what nobody else
refers to any more.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.live import LiveBytes
from nexo.brokers.queue.backlog import Backlog
from nexo.brokers.queue.dead import DeadLetter


@final
class Trash:
    """Backlogs and lists of dead letters that wait to be freed."""

    __slots__ = ("_backlogs", "_letters", "_live")

    def __init__(self, live: LiveBytes) -> None:
        self._live = live
        self._backlogs: list[Backlog] = []
        self._letters: list[list[DeadLetter]] = []

    def __bool__(self) -> bool:
        return len(self._backlogs) > 0 or len(self._letters) > 0

    def add(self, backlog: Backlog) -> None:
        """Takes over what is given up; the caller must keep no reference."""
        self._backlogs.append(backlog)

    def add_letters(self, letters: list[DeadLetter]) -> None:
        """The same for dead letters."""
        self._letters.append(letters)

    def step(self, budget: i64) -> None:
        """Frees about `budget` messages."""
        while budget > 0 and self._backlogs:
            budget = self._backlogs[-1].free(budget)
            if budget > 0:
                self._backlogs.pop()
        while budget > 0 and self._letters:
            letters = self._letters[-1]
            while letters and budget > 0:
                letter = letters.pop()
                if letter.serial != 0:
                    self._live.drop(letter.message.address, letter.message.size)
                budget -= 1
            if not letters:
                self._letters.pop()
