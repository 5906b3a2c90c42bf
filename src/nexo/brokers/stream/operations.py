"""What streams and their groups write to the journal: the kinds, and reading a body back.

Streams and groups are named by numbers, which are given once and never used again. An operation may be
applied to a state that has it already, or that has moved past it: a snapshot is written while turns go on,
and the log is replayed from where the snapshot began. So bodies say what is, not what is added.

    kind                  body (i64 unless it says otherwise; `text` is an i32 length and bytes)
    0x30 CREATE           stream, created at, first seq, text name, i32 options, options × i64
    0x31 DELETE           stream
    0x32 APPEND           stream, first seq, i32 blocks, blocks × (i32 count, time, crc32c, text block),
                          i32 notes, notes × (text producer, number, first seq, i32 count)
    0x33 TRIM             stream, first seq that is kept
    0x34 INDEX            stream, i32 blocks, blocks × (first seq, i32 count, time, address, i32 size, crc32c)
    0x35 PRODUCER         stream, text producer, i32 notes, notes × (number, first seq, i32 count)
    0x36 JOIN             stream, group, generation, text name of the group
    0x37 DELIVER          group, i32 runs, runs × (first seq, i32 count, i32 attempts)
    0x38 SETTLE           group, i32 runs, runs × (first seq, count)
    0x39 RETRY            group, seq, i32 attempts, due (0: at once), text reason
    0x3A DEAD             group, seq, i32 attempts, died at, text reason, text record
    0x3B BURY             group, seq (0: all dead letters), [stream: it was appended there again, in the same batch]
    0x3C SEEK             group, floor, generation
    0x3D GROUP_DELETE     group
    0x3E GROUP            stream, group, generation, floor, text name, i32 runs, runs × (first seq, count)
    0x3F LETTER           as DEAD, of a message that need not be settled: a seek may have come since

INDEX, PRODUCER, GROUP and LETTER stand in snapshots only. To change a body, give the stream's CREATE another
field that tells so, and go on reading the old one: no kind is free.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be
from mypy_extensions import i32, i64

from nexo.errors import StorageError

CREATE: Final = 0x30
DELETE: Final = 0x31
APPEND: Final = 0x32
TRIM: Final = 0x33
INDEX: Final = 0x34
PRODUCER: Final = 0x35
JOIN: Final = 0x36
DELIVER: Final = 0x37
SETTLE: Final = 0x38
RETRY: Final = 0x39
DEAD: Final = 0x3A
BURY: Final = 0x3B
SEEK: Final = 0x3C
GROUP_DELETE: Final = 0x3D
GROUP: Final = 0x3E
LETTER: Final = 0x3F

BURY_MOVED_BYTES: Final = 24
"""The body of a BURY that goes with an append; the stream's number is its last field."""


def write_text(out: BytesWriter, text: bytes) -> None:
    """A length and the bytes."""
    write_i32_be(out, i32(len(text)))
    out.write(text)


@final
class Body:
    """A cursor over one operation's body. Raises StorageError where it ends early."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: i64, end: i64) -> None:
        self.data = data
        self.position = start
        self.end = end

    def _step(self, size: i64) -> i64:
        start = self.position
        if size < 0 or size > self.end - start:
            raise StorageError(f"an operation of {self.end} bytes ends inside a field at {start}")
        self.position = start + size
        return start

    def number(self) -> i64:
        return read_i64_be(self.data, self._step(8))

    def small(self) -> i64:
        return i64(read_i32_be(self.data, self._step(4)))

    def skip_text(self) -> i64:
        """Passes over a text; its length."""
        size = self.small()
        self._step(size)
        return size

    def text(self) -> bytes:
        size = self.small()
        start = self._step(size)
        return self.data[start : start + size]
