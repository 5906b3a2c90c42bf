"""Durations in buckets whose width grows with the value: 64 to each doubling, an error below 1.6 %.

Counts and reads counts; takes no times itself.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

SUB_BITS: Final = 6
SUB_COUNT: Final = 64
BUCKETS: Final = 60 * SUB_COUNT


@final
class Histogram:
    """Nanoseconds from 0 to centuries."""

    __slots__ = ("_counts", "count", "maximum", "total")

    def __init__(self) -> None:
        self._counts: list[int] = [0] * BUCKETS
        self.count: i64 = 0
        self.maximum: i64 = 0
        self.total: i64 = 0

    def add(self, ns: i64) -> None:
        """Count one duration."""
        self.count += 1
        self.total += ns
        self.maximum = max(self.maximum, ns)
        exponent: i64 = 0
        mantissa = ns
        while mantissa >= 2 * SUB_COUNT:
            mantissa >>= 1
            exponent += 1
        # Below 2 * SUB_COUNT the bucket is the value itself; above, each exponent adds SUB_COUNT.
        self._counts[exponent * SUB_COUNT + mantissa] += 1

    def percentile(self, percent: float) -> int:
        """The upper edge in ns of the bucket that holds this percentile; 0 when empty."""
        wanted = max(1, -int(-int(self.count) * percent // 100))
        seen = 0
        for _, high, count in self.buckets():
            seen += count
            if seen >= wanted:
                return min(high, int(self.maximum))
        return int(self.maximum)

    def mean(self) -> float:
        """The mean in ns; 0 when empty."""
        return int(self.total) / int(self.count) if self.count else 0.0

    def buckets(self) -> list[tuple[int, int, int]]:
        """The buckets that hold something: (lowest ns, highest ns, count), in order."""
        found: list[tuple[int, int, int]] = []
        for index, count in enumerate(self._counts):
            if count:
                exponent = max(0, index // SUB_COUNT - 1)
                mantissa = index - exponent * SUB_COUNT
                found.append((mantissa << exponent, ((mantissa + 1) << exponent) - 1, count))
        return found

    def doublings(self) -> list[tuple[int, int]]:
        """The counts by powers of two: (upper bound in ns, count), from the first to the last not empty."""
        sums: dict[int, int] = {}
        for low, _, count in self.buckets():
            bits = low.bit_length()
            sums[bits] = sums.get(bits, 0) + count
        if not sums:
            return []
        return [(1 << bits, sums.get(bits, 0)) for bits in range(min(sums), max(sums) + 1)]
