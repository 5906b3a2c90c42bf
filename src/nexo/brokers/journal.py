"""The journal: where a broker says what it did, and learns how far that has got to the disk.

Brokers that keep something write an *operation* here for each thing they do, in the order in which they do
it. The operations of one turn are a batch; the log stores a batch whole or not at all. Without storage
nothing is recorded and everything counts as settled at once: the same broker code serves both.

This module knows neither the log's format nor a file. `storage.log.Log` is the journal that does.

    kind                operations of
    0x02 … 0x0F         the store's durable maps
    0x10 … 0x1F         queues
    0x20 … 0x2F         retained messages
    0x30 … 0x3F         streams and their groups
    0x40                BATCH: a batch across brokers; its body is operations of the kinds above
    0x41, 0x42          bodies of queues, blocks of streams that were written once more: brokers/moving.py
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr, u8

from nexo.brokers.live import LiveBytes
from nexo.errors import InvalidArgumentError

MEMORY: Final = 0
"""Confirmed at once; lost when the process ends, unless a snapshot has caught it."""
FLUSH: Final = 1
"""Confirmed when the operating system has it: survives the end of the process. Synced within 100 ms."""
FSYNC: Final = 2
"""Confirmed when it is on disk: survives a power cut."""

LEVELS: Final = ("memory", "flush", "fsync")

OPERATION_HEAD_BYTES: Final = 5  # kind and length of the body
BATCH: Final = 0x40

EPOCH_BITS: Final = 40
"""An epoch has so many numbers that no other one gives: a million a second for twelve days, for each queue."""
LOST_NUMBERS_MAX: Final = 1 << 32
"""Numbers that may have stood in an end of the log which a power cut took: each has 8 bytes there."""


def level_number(name: str) -> i64:
    """The number of a level that a user named. Raises InvalidArgumentError."""
    for number, known in enumerate(LEVELS):
        if known == name:
            return number
    raise InvalidArgumentError(f"durability {name!r}: it is one of {', '.join(LEVELS)}")


@mypyc_attr(allow_interpreted_subclasses=True)
class Journal:
    """The open batch, and how far the batches before it have got.

    `batch` is the number of the open batch; those up to `written` and up to `synced` have reached the
    operating system and the disk. `level` is the strictest level asked for in the open batch, `urgent` that
    somebody waits for it to be written, though others wait for the sync. `base` is
    the address at which the open batch's operations will lie. An *address* is a place in the log, the
    number of a log file in the high 32 bits and an offset below: a body that is found there again need
    not stay in memory. `pending_bytes` have been recorded and are not written yet. `live` says how much of
    each log file the brokers refer to. While a batch across brokers is applied, `floor` is its level: what is
    recorded then is shown no sooner than it promises.

    `epoch` is the number of this life of the node: higher than that of any life before it on the same data,
    whatever the clock says and whatever was lost of the log. 0: nothing is kept, so there was none before.
    """

    def __init__(self, keeping: bool = False) -> None:
        self.keeping = keeping
        self.out = BytesWriter()
        self.batch: i64 = 1
        self.level: i64 = MEMORY
        self.floor: i64 = MEMORY
        self.urgent = False
        self.written: i64 = 0
        self.synced: i64 = 0
        self.base: i64 = 0
        self.pending_bytes: i64 = 0
        self.epoch: i64 = 0
        self.live = LiveBytes()
        self._body_start: i64 = 0

    def numbers_above(self) -> i64:
        """Above this are the numbers (ids, tokens, generations) that no other life gives; 0 in the first one."""
        return max(self.epoch - 1, 0) << EPOCH_BITS

    def close_batch(self, essential: bool = False) -> None:
        """Ends the open batch, if anything stands in it, and opens the next one.

        `essential`: it frees room (acks, deletes), so it may use what is kept for a full disk.
        """

    def settle_reported(self) -> bool:
        """Take what has been reported since the turn's last batch was closed; whether there was anything."""
        return False

    def begin(self, kind: i64, level: i64) -> BytesWriter:
        """Starts an operation; its body is written to what this returns, then `end` is called.

        Only for a journal that is `keeping`.
        """
        out = self.out
        out.append(u8(kind))
        out.write(b"\x00\x00\x00\x00")
        self._body_start = len(out)
        if level > self.level:
            self.level = level
        return out

    def address(self) -> i64:
        """The address at which the next byte of the operation being written will lie."""
        return self.base + len(self.out)

    def end(self) -> None:
        """Completes the operation: its length is known now."""
        self.end_at(self._body_start)

    def begin_batch(self, level: i64) -> i64:
        """Starts a BATCH, whose body is the operations until `end_batch`, which gets what this gives."""
        self.begin(BATCH, level)
        self.floor = level
        return self._body_start

    def end_batch(self, start: i64) -> None:
        """Completes a BATCH."""
        self.floor = MEMORY
        self.end_at(start)

    def end_at(self, start: i64) -> None:
        """Completes the operation whose body begins at a place of `out`."""
        out = self.out
        size: i64 = len(out) - start
        out[start - 4] = u8((size >> 24) & 0xFF)
        out[start - 3] = u8((size >> 16) & 0xFF)
        out[start - 2] = u8((size >> 8) & 0xFF)
        out[start - 1] = u8(size & 0xFF)

    def settled(self, batch: i64, level: i64) -> bool:
        """Whether what was recorded in a batch at a level has got as far as the level promises."""
        if level == MEMORY or not self.keeping:
            return True
        if level == FLUSH:
            return batch <= self.written
        return batch <= self.synced

    def read(self, address: i64, size: i64) -> bytes:
        """Bytes that were recorded, from the log. Raises StorageError when they are damaged or gone."""
        raise NotImplementedError
