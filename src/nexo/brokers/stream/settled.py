"""Which sequences a group has settled: all up to a floor, and runs above it.

Acks come in any order, but mostly in that of delivery: the runs are as few as the gaps. Knows no group.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import final

from mypy_extensions import i64


@final
class Settled:
    """A set of sequences. `floor`: every sequence up to it is in; `above` is how many more are."""

    __slots__ = ("_firsts", "_lasts", "above", "floor")

    def __init__(self, floor: i64) -> None:
        self.floor = floor
        self.above: i64 = 0
        self._firsts = array("q")  # of the runs, which neither touch nor overlap
        self._lasts = array("q")

    def reset(self, floor: i64) -> None:
        """Just the sequences up to a floor."""
        self.floor = floor
        self.above = 0
        del self._firsts[:]
        del self._lasts[:]

    def has(self, seq: i64) -> bool:
        return seq < self.after(seq)

    def after(self, seq: i64) -> i64:
        """The first sequence from `seq` on that is not in."""
        if seq <= self.floor:
            return self.floor + 1
        if self.above == 0:
            return seq
        run: i64 = bisect_right(self._firsts, seq) - 1
        if run >= 0:
            last: i64 = self._lasts[run]
            if seq <= last:
                return last + 1
        return seq

    def count_from(self, seq: i64) -> i64:
        """How many from `seq` on are in, where `seq` itself is not."""
        if self.above == 0:
            return 0
        count: i64 = 0
        run: i64 = bisect_right(self._firsts, seq)
        while run < len(self._firsts):
            first: i64 = self._firsts[run]
            last: i64 = self._lasts[run]
            count += last - first + 1
            run += 1
        return count

    def add(self, seq: i64) -> None:
        """Puts in one sequence; again is no error."""
        self.add_run(seq, seq)

    def add_run(self, first: i64, last: i64) -> None:
        """Puts in all from `first` to `last`."""
        if last <= self.floor:
            return
        if self.above == 0:
            if first <= self.floor + 1:
                self.floor = last
            else:
                self._firsts.append(first)
                self._lasts.append(last)
                self.above = last - first + 1
            return
        first = max(first, self.floor + 1)
        low: i64 = bisect_right(self._lasts, first - 2)  # the first run that touches or lies above
        high: i64 = bisect_right(self._firsts, last + 1)  # the first run that lies above
        if low < high:
            run_first: i64 = self._firsts[low]
            run_last: i64 = self._lasts[high - 1]
            first = min(first, run_first)
            last = max(last, run_last)
            place = low
            while place < high:
                run_first = self._firsts[place]
                run_last = self._lasts[place]
                self.above -= run_last - run_first + 1
                place += 1
        if first == self.floor + 1:
            self.floor = last
            del self._firsts[low:high]
            del self._lasts[low:high]
        elif low + 1 == high:
            self._firsts[low] = first
            self._lasts[low] = last
            self.above += last - first + 1
        else:
            self._firsts[low:high] = array("q", [first])
            self._lasts[low:high] = array("q", [last])
            self.above += last - first + 1

    def runs(self) -> list[tuple[int, int]]:
        """(first, last) of each run above the floor."""
        return list(zip(self._firsts, self._lasts, strict=True))
