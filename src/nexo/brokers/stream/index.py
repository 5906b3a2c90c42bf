"""The index of one stream: where each of its blocks lies.

A block is an entry in five arrays (32 bytes): first sequence, time of its last record, address in the log,
size, crc32c. Blocks follow one another without gaps, so a block's count is told by its successor. Address 0
is a block that lies in memory alone. Knows neither records nor the log.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import final

from mypy_extensions import i64


@final
class BlockIndex:
    """The blocks of a stream, oldest first; a *place* is a number from 0 on that trimming changes."""

    __slots__ = ("_addresses", "_crcs", "_firsts", "_sizes", "_times")

    def __init__(self) -> None:
        self._firsts = array("q")
        self._times = array("q")
        self._addresses = array("q")
        self._sizes = array("I")
        self._crcs = array("I")

    def __len__(self) -> int:
        return len(self._firsts)

    def append(self, first: i64, time: i64, address: i64, size: i64, crc: i64) -> None:
        """Adds the newest block."""
        self._firsts.append(first)
        self._times.append(time)
        self._addresses.append(address)
        self._sizes.append(size)
        self._crcs.append(crc)

    def place_of(self, seq: i64) -> i64:
        """The place of the block that holds a sequence, which must not be older than the oldest."""
        return bisect_right(self._firsts, seq) - 1

    def place_at_time(self, time: i64) -> i64:
        """The first place whose last record is not older than `time`; the number of blocks for none."""
        return bisect_left(self._times, time)

    def first(self, place: i64) -> i64:
        return self._firsts[place]

    def time(self, place: i64) -> i64:
        return self._times[place]

    def address(self, place: i64) -> i64:
        return self._addresses[place]

    def size(self, place: i64) -> i64:
        return self._sizes[place]

    def crc(self, place: i64) -> i64:
        return self._crcs[place]

    def move(self, place: i64, address: i64) -> None:
        """The block lies elsewhere now (0: in memory alone)."""
        self._addresses[place] = address

    def trim(self, count: i64) -> None:
        """Forgets the `count` oldest blocks."""
        del self._firsts[:count]
        del self._times[:count]
        del self._addresses[:count]
        del self._sizes[:count]
        del self._crcs[:count]

    def pop(self) -> None:
        """Forgets the newest block."""
        self._firsts.pop()
        self._times.pop()
        self._addresses.pop()
        self._sizes.pop()
        self._crcs.pop()
