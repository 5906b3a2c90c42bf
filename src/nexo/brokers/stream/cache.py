"""Blocks of the log that are in memory too: one cache for all streams, with one budget.

The key is the block's address. What was used least recently leaves first, so streams that rest cost
nothing here. Knows no stream; whoever misses reads the log.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64


@final
class BlockCache:
    """At most `bytes_max` bytes of blocks, except that the newest one always fits."""

    __slots__ = ("_blocks", "bytes", "bytes_max")

    def __init__(self, bytes_max: i64) -> None:
        self._blocks: dict[int, bytes] = {}  # in the order of their last use
        self.bytes: i64 = 0
        self.bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, address: i64) -> bytes | None:
        """The block at an address, if it is here."""
        block = self._blocks.pop(address, None)
        if block is not None:
            self._blocks[address] = block
        return block

    def put(self, address: i64, block: bytes) -> None:
        """Keeps a block; others leave for it."""
        self.drop(address)
        self._blocks[address] = block
        self.bytes += len(block)
        while self.bytes > self.bytes_max and len(self._blocks) > 1:
            self.drop(next(iter(self._blocks)))

    def move(self, old: i64, new: i64) -> None:
        """The block at an address lies elsewhere now."""
        block = self._blocks.pop(old, None)
        if block is not None:
            self._blocks[new] = block

    def drop(self, address: i64) -> None:
        """Lets a block go, if it is here."""
        block = self._blocks.pop(address, None)
        if block is not None:
            self.bytes -= len(block)
