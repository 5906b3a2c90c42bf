"""Counts of values by size, as Prometheus has them: fixed bounds, counts that only grow. Knows no unit and no clock."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

TIMES_US: Final[list[int]] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
]  # fmt: skip
"""Bounds in microseconds, for what a loop or a request takes."""
SYNCS_MS: Final[list[int]] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]
"""Bounds in milliseconds, for what a disk takes."""
AGES_MS: Final[list[int]] = [
    1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000, 300_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000,
]  # fmt: skip
"""Bounds in milliseconds, for how long a message waits: up to a day."""


@final
class Histogram:
    """How many values there were up to each bound. Adding one allocates nothing; most values are within the first
    bound, which is a field of its own.

    `total` is the sum of all values. One thread adds; others may read, and see each number right.
    """

    __slots__ = ("_counts", "_first", "_first_bound", "bounds", "total")

    def __init__(self, bounds: list[int]) -> None:
        self.bounds = bounds
        self.total: i64 = 0
        self._first_bound: i64 = bounds[0]
        self._first: i64 = 0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: i64) -> None:
        """Count one value; a negative one, which only a clock can give that was set back, as 0."""
        if value <= self._first_bound:
            self._first += 1
            if value > 0:
                self.total += value
            return
        self.total += value
        place: i64 = 1
        bounds = self.bounds
        end: i64 = len(bounds)
        while place < end and value > bounds[place]:
            place += 1
        self._counts[place] += 1

    def cumulative(self) -> list[int]:
        """For each bound, and for infinity at last, how many values were not above it."""
        found = []
        sum = int(self._first)
        for count in self._counts:
            sum += count
            found.append(sum)
        return found
