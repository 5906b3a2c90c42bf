"""How much of each log file is still needed: the account of the bodies and blocks that somebody refers to.

Kept up as they come and go, never by looking at all of them. It decides what is worth cleaning, and nothing
else: which files can go is found out by a compaction, from the references themselves.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

ENTRY_BYTES: Final = 12
"""What a body or block takes in a MOVE beside its bytes. Counted with it, so that what moving would not make
smaller does not look as if it would."""


@final
class LiveBytes:
    """Bytes by log file, and `total` of all files. Address 0, a place outside the log, counts for nothing."""

    __slots__ = ("_by_file", "_bytes", "_file", "total")

    def __init__(self) -> None:
        self._by_file: dict[int, int] = {}
        # The file that was named last, which is most often named next; its entry in the table is old.
        self._file: i64 = 0
        self._bytes: i64 = 0
        self.total: i64 = 0

    def add(self, address: i64, size: i64) -> None:
        """So many bytes at an address are referred to from now on."""
        if address != 0:
            self._count(address >> 32, size + ENTRY_BYTES)

    def drop(self, address: i64, size: i64) -> None:
        """They are no longer."""
        if address != 0:
            self._count(address >> 32, -(size + ENTRY_BYTES))

    def _count(self, file: i64, change: i64) -> None:
        if file != self._file:
            self._note()
            self._file = file
            self._bytes = self._by_file.get(int(file), 0)
        self._bytes += change
        self.total += change

    def _note(self) -> None:
        if self._bytes != 0:
            self._by_file[int(self._file)] = int(self._bytes)
        else:
            self._by_file.pop(int(self._file), None)

    def of(self, file: i64) -> i64:
        """Bytes of one file that are referred to."""
        return self._bytes if file == self._file else self._by_file.get(int(file), 0)

    def by_file(self) -> dict[int, int]:
        """The files of which anything is referred to, and how many bytes."""
        self._note()
        return dict(self._by_file)
