"""Blocks of streams, written once more so that the log files where they lie can go.

The indexes of all streams are looked through, a slice at a time. Dead letters of groups need none of this:
their records are in memory, and in every snapshot. Owns how MOVE_BLOCKS is written and done again;
brokers/moving.py has its layout, and when it counts.
"""

from __future__ import annotations

from typing import final

from librt.strings import write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.journal import FLUSH
from nexo.brokers.moving import MOVE_BLOCKS, Move, Mover, Moving
from nexo.brokers.stream.operations import Body
from nexo.brokers.stream.stream import Stream
from nexo.errors import StorageError


@final
class BlockMove(Move):
    """One block, which retention may take meanwhile."""

    def __init__(self, batch: i64, first: i64, size: i64, old: i64, new: i64, stream: Stream) -> None:
        super().__init__(batch, first, size, old, new)
        self._stream = stream

    def done(self) -> None:
        self._stream.blocks.lies_at(self.id, self.old, self.new)

    def lost(self) -> None:
        pass


@final
class BlockMover(Mover):
    """Goes through the streams that there were when it was made."""

    def __init__(self, moving: Moving, streams: list[Stream]) -> None:
        super().__init__()
        self._moving = moving
        self._left = streams
        self._from: i64 = 0  # the block with this sequence was looked at, if it does not begin with it

    def step(self) -> bool:
        moving = self._moving
        while self._left:
            if moving.spent:
                return False
            stream = self._left[-1]
            if not self._some(stream):
                moving.looked(1)
                self._left.pop()
                self._from = 0
        return True

    def _some(self, stream: Stream) -> bool:
        """Goes on with the blocks of a stream; False when there are no more."""
        moving = self._moving
        index = stream.blocks.index
        if stream.deleted or len(index) == 0:
            return False
        place: i64 = 0
        if self._from > index.first(0):
            place = index.place_of(self._from)
            if index.first(place) < self._from:
                place += 1
        if place >= len(index):
            return False
        places: list[i64] = []
        while place < len(index) and not moving.spent:
            moving.looked(1)
            if moving.wants(index.address(place)):
                absent = stream.blocks.in_memory(place) is None
                moving.chosen(index.address(place), index.size(place), absent)
                places.append(place)
            self._from = index.first(place) + 1
            place += 1
        self._move(stream, places)
        return True

    def _move(self, stream: Stream, places: list[i64]) -> None:
        blocks = self._readable(stream, places)
        if not blocks:
            return
        moving = self._moving
        journal = moving.journal
        index = stream.blocks.index
        out = journal.begin(MOVE_BLOCKS, FLUSH)
        write_i64_be(out, stream.number)
        write_i32_be(out, i32(len(blocks)))
        for place, block in blocks:
            first = index.first(place)
            size: i64 = len(block)
            write_i64_be(out, first)
            write_i32_be(out, i32(size))
            old = index.address(place)
            moving.add(BlockMove(journal.batch, first, size, old, journal.address(), stream))
            out.write(block)
        journal.end()

    def _readable(self, stream: Stream, places: list[i64]) -> list[tuple[i64, bytes]]:
        """The blocks at some places; without those that are damaged."""
        found: list[tuple[i64, bytes]] = []
        blocks = stream.blocks
        for place in places:
            block = blocks.in_memory(place)
            try:
                found.append((place, blocks.read(place) if block is None else block))
            except StorageError as error:
                name = stream.name.decode(errors="replace")
                self._moving.spoil(blocks.index.address(place), f"stream {name!r}: {error}")
        return found


def replay_blocks(stream: Stream, body: Body, shift: i64) -> None:
    """Does a MOVE_BLOCKS again, of which the stream's number has been read. Raises StorageError.

    `shift` is what a place in the data must be moved by to be an address.
    """
    index = stream.blocks.index
    count = body.small()
    while count > 0:
        count -= 1
        first = body.number()
        address = body.position + 4 + shift
        size = body.skip_text()
        if len(index) == 0 or first < index.first(0):
            continue  # retention was faster
        place = index.place_of(first)
        if index.first(place) == first and index.address(place) != 0:
            if index.size(place) != size:
                raise StorageError(
                    f"sequence {first} of stream {stream.number}: {index.size(place)} bytes, and {size} were moved"
                )
            stream.blocks.lies_at(first, index.address(place), address)
