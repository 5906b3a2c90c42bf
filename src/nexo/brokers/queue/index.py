"""Every living message of a queue by its id, without a table entry for each.

Ids only grow, so messages lie in blocks of 256 consecutive ids. A block whose messages are mostly gone is
packed, so that one message which waits for a month does not hold the places of its neighbours. Knows
nothing of states.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.queue.bodies import Bodies
from nexo.brokers.queue.message import QueueMessage
from nexo.brokers.untracked import untrack

_BITS: Final = 8
_MASK: Final = (1 << _BITS) - 1
_SPARSE: Final = 32  # living messages at which a full block is packed
_SLACK: Final = 64  # numbers of blocks that are gone and not worth tidying


@final
@mypyc_attr(acyclic=True)
class Block:
    """Messages of 256 consecutive ids: one place for each, or, once packed, those that live in order."""

    __slots__ = ("living", "packed", "places")

    def __init__(self) -> None:
        self.places: list[QueueMessage | None] = []
        self.living: i64 = 0
        self.packed = False


@final
class Index:
    """Messages by id. `newest` is the highest id ever added."""

    __slots__ = ("_blocks", "_last", "_last_number", "_order", "count", "newest")

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}  # in the order of their ids
        self._order: list[int] = []  # the numbers of the blocks in order, and of some that are gone
        self._last = Block()  # the block used last, which need not be looked up
        self._last_number: i64 = -1
        self.count: i64 = 0
        self.newest: i64 = 0

    def _block(self, number: i64) -> Block | None:
        if number == self._last_number:
            return self._last
        block = self._blocks.get(int(number))
        if block is not None:
            self._last = block
            self._last_number = number
        return block

    def add(self, message: QueueMessage) -> None:
        """Adds a message whose id is above all that were ever added."""
        id = message.id
        block = self._block(id >> _BITS)
        if block is None:
            self._complete(self.newest >> _BITS)
            block = Block()
            self._blocks[int(id >> _BITS)] = block
            self._order.append(int(id >> _BITS))
            if len(self._order) > 2 * len(self._blocks) + _SLACK:
                self._order = list(self._blocks)
            self._last = block
            self._last_number = id >> _BITS
        self.newest = id
        self.count += 1
        block.living += 1
        places = block.places
        place = id & _MASK
        while len(places) < place:
            places.append(None)
        places.append(message)

    def _complete(self, number: i64) -> None:
        """Packs or lets go of the block that was the newest: its messages may have gone already."""
        block = self._blocks.get(int(number))
        if block is None:
            return
        if block.living <= _SPARSE:
            self._shrink(block, number)
        else:
            untrack(block.places)

    def _shrink(self, block: Block, number: i64) -> None:
        if block.living == 0:
            del self._blocks[int(number)]
            self._last_number = -1
            self._last = Block()
            return
        living = [one for one in block.places if one is not None]
        block.places = []
        block.places.extend(living)
        untrack(block.places)
        block.packed = True

    def get(self, id: i64) -> QueueMessage | None:
        block = self._block(id >> _BITS)
        if block is None:
            return None
        place = _place(block, id)
        return None if place < 0 else block.places[place]

    def remove(self, id: i64) -> None:
        """Removes a message that is there."""
        number = id >> _BITS
        block = self._block(number)
        if block is None:
            return
        place = _place(block, id)
        if place < 0:
            return
        self.count -= 1
        block.living -= 1
        if block.packed:
            del block.places[place]
        else:
            block.places[place] = None
        if number != self.newest >> _BITS and (
            block.living == 0 or (block.living <= _SPARSE and not block.packed)
        ):
            self._shrink(block, number)

    def after(self, id: i64, limit: i64) -> list[QueueMessage]:
        """Up to `limit` messages, more only to complete a block, with ids above `id` in their order."""
        found: list[QueueMessage] = []
        order = self._order
        place: i64 = bisect_left(order, int(id >> _BITS))
        while place < len(order):
            block = self._blocks.get(order[place])
            place += 1
            if block is None:
                continue
            for message in block.places:
                if message is not None and message.id > id:
                    found.append(message)
            if len(found) >= limit:
                break
        return found

    def first(self) -> QueueMessage | None:
        """The one with the lowest id."""
        for block in self._blocks.values():
            for message in block.places:
                if message is not None:
                    return message
        return None

    def free(self, budget: i64, bodies: Bodies) -> i64:
        """Lets go of about so many messages and their bodies; gives what is left of the budget."""
        self._last = Block()
        self._last_number = -1
        while self._blocks and budget > 0:
            _, block = self._blocks.popitem()
            budget -= 1 + block.living
            for message in block.places:
                if message is not None:
                    bodies.release(message)
        return budget


def _place(block: Block, id: i64) -> i64:
    """Where a message is in its block, -1 if it is not."""
    places = block.places
    size: i64 = len(places)
    if not block.packed:
        place = id & _MASK
        if place >= size or places[place] is None:
            return -1
        return place
    low: i64 = 0
    high = size
    while low < high:
        middle = (low + high) >> 1
        message = places[middle]
        if message is not None and message.id < id:
            low = middle + 1
        else:
            high = middle
    if low < size:
        message = places[low]
        if message is not None and message.id == id:
            return low
    return -1
