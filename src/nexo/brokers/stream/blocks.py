"""The blocks of one stream: where each lies, and which have their bytes in memory.

A block is *resident* while it must be in memory: until its batch has settled, or for good where the log has
no place for it. Afterwards the cache may have it, the newest of the stream in any case up to a bound; what is
in neither is read again from the log and checked. Knows no record.
"""

from __future__ import annotations

from typing import final

from crc32c import crc32c
from mypy_extensions import i64

from nexo.brokers.stream.commons import Commons
from nexo.brokers.stream.index import BlockIndex
from nexo.errors import StorageError


@final
class Blocks:
    """Blocks in order. `bytes` is the size of all of them."""

    __slots__ = ("_commons", "_live", "_resident", "_tail_bytes", "_tail_place", "bytes", "index")

    def __init__(self, commons: Commons) -> None:
        self.index = BlockIndex()
        self.bytes: i64 = 0
        self._commons = commons
        self._live = commons.journal.live
        self._resident: dict[int, bytes] = {}  # by first sequence
        self._tail_place: i64 = 0  # the settled blocks from here on have been put in the cache
        self._tail_bytes: i64 = 0

    def __len__(self) -> int:
        return len(self.index)

    def add(self, block: bytes, first: i64, time: i64, address: i64, crc: i64) -> None:
        """Takes the newest block, which stays resident; address 0: for good."""
        self._resident[first] = block
        self.enter(first, time, address, len(block), crc)

    def enter(self, first: i64, time: i64, address: i64, size: i64, crc: i64) -> None:
        """As `add`, for a block that is in the log alone."""
        self.index.append(first, time, address, size, crc)
        self.bytes += size
        self._live.add(address, size)

    def at(self, seq: i64) -> tuple[bytes, i64]:
        """The block that holds a sequence, and its first sequence. Raises StorageError."""
        place = self.index.place_of(seq)
        first = self.index.first(place)
        block = self.in_memory(place)
        if block is None:
            block = self.read(place)
            self._commons.cache.put(self.index.address(place), block)
        return block, first

    def in_memory(self, place: i64) -> bytes | None:
        """The block at a place, if it need not be read."""
        block = self._resident.get(self.index.first(place))
        if block is None:
            block = self._commons.cache.get(self.index.address(place))
        return block

    def read(self, place: i64) -> bytes:
        """The block at a place, from the log. Raises StorageError."""
        address = self.index.address(place)
        size = self.index.size(place)
        block = self._commons.journal.read(address, size)
        if len(block) != size or crc32c(block) != self.index.crc(place):
            raise StorageError(f"the block at {address >> 32}:{address & 0xFFFFFFFF} is damaged")
        return block

    def lies_at(self, first: i64, old: i64, new: i64) -> None:
        """The block that begins with a sequence lies elsewhere now, if it is still there, and at `old`."""
        index = self.index
        if len(index) == 0 or first < index.first(0):
            return
        place = index.place_of(first)
        if index.first(place) == first and index.address(place) == old:
            self._live.drop(old, index.size(place))
            self._live.add(new, index.size(place))
            index.move(place, new)
            self._commons.cache.move(old, new)

    def after(self, first: i64, end: i64) -> i64:
        """The sequence that follows the block which begins at `first`; `end` follows the newest."""
        place = self.index.place_of(first) + 1
        return self.index.first(place) if place < len(self.index) else end

    def settle(self, first: i64, last: i64) -> None:
        """The blocks of these sequences have settled: the cache takes them, and others of the tail leave it."""
        index = self.index
        if len(index) == 0 or last < index.first(0):
            return  # retention was faster
        cache = self._commons.cache
        place = index.place_of(max(first, index.first(0)))
        while place < len(index) and index.first(place) <= last:
            if index.address(place) != 0:
                block = self._resident.pop(index.first(place), None)
                if block is not None:
                    cache.put(index.address(place), block)
                    self._tail_bytes += len(block)
            place += 1
        while self._tail_bytes > self._commons.tail_bytes_max and self._tail_place < place - 1:
            cache.drop(index.address(self._tail_place))
            self._tail_bytes -= index.size(self._tail_place)
            self._tail_place += 1

    def skip_tail(self) -> None:
        """What is there is not in memory."""
        self._tail_place = len(self.index)
        self._tail_bytes = 0

    def unlog(self, first: i64) -> None:
        """The log has lost the blocks from a sequence on: they are resident for good."""
        index = self.index
        place: i64 = len(index) - 1
        while place >= 0 and index.first(place) >= first:
            self._live.drop(index.address(place), index.size(place))
            index.move(place, 0)
            place -= 1

    def cut(self, first: i64) -> None:
        """Forgets the blocks from a sequence on, which have not settled."""
        index = self.index
        place: i64 = len(index) - 1
        while place >= 0 and index.first(place) >= first:
            size = index.size(place)
            self._live.drop(index.address(place), size)
            self.bytes -= size
            self._resident.pop(index.first(place), None)
            index.pop()
            place -= 1

    def trim(self, first_kept: i64) -> None:
        """Forgets the blocks before a sequence."""
        index = self.index
        count: i64 = 0
        while count < len(index) and index.first(count) < first_kept:
            size = index.size(count)
            address = index.address(count)
            self.bytes -= size
            self._live.drop(address, size)
            resident = self._resident.pop(index.first(count), None)
            if resident is None:
                self._commons.cache.drop(address)
                if count >= self._tail_place:
                    self._tail_bytes -= size
            count += 1
        index.trim(count)
        self._tail_place = max(0, self._tail_place - count)
