"""The layout of records in a block, and what a read hands out.

    offset        bytes  field
    0             8      timestamp, Unix ms
    8             2      length of the key (0: none)
    10            k      key
    10 + k        4      length of the value, its type byte counted
    14 + k        v      value
    14 + k + v    4      length of the headers
    18 + k + v    h      headers, the encoded block

Integers are big-endian, and up to the value this is what the native protocol sends for a delivered
record: it is copied, not composed. A block is records one after another; where each begins is found by
walking, so nothing is kept per record. To change the layout, give the append operation another kind.

Knows no stream and no file.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i16_be, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, mypyc_attr, u8

RECORD_BYTES: Final = 18
"""What a record takes beyond its key, value and headers."""
_KEY_AT: Final = 10


def write_record(out: BytesWriter, timestamp: i64, key: bytes, value: bytes, headers: bytes) -> None:
    """Appends one record to a block that is being written."""
    write_i64_be(out, timestamp)
    size: i64 = len(key)
    out.append(u8(size >> 8))
    out.append(u8(size & 0xFF))
    if size > 0:
        out.write(key)
    write_i32_be(out, i32(len(value)))
    out.write(value)
    write_i32_be(out, i32(len(headers)))
    if headers:
        out.write(headers)


def key_size(block: bytes, start: i64) -> i64:
    """The length of the key of the record at `start`."""
    return i64(read_i16_be(block, start + 8)) & 0xFFFF


def key_at(block: bytes, start: i64) -> bytes:
    """The key of the record at `start`; b"" for none."""
    return block[start + _KEY_AT : start + _KEY_AT + key_size(block, start)]


def body_end(block: bytes, start: i64) -> i64:
    """Where the value of the record at `start` ends and the length of its headers begins."""
    at = start + _KEY_AT + key_size(block, start)
    return at + 4 + i64(read_i32_be(block, at))


def record_end(block: bytes, start: i64) -> i64:
    """Where the record at `start` ends and the next one begins."""
    at = body_end(block, start)
    return at + 4 + i64(read_i32_be(block, at))


def skip(block: bytes, start: i64, count: i64) -> i64:
    """Where the record begins that is `count` records after the one at `start`."""
    while count > 0:
        start = record_end(block, start)
        count -= 1
    return start


@final
@mypyc_attr(acyclic=True)
class Record:
    """One record, looked at in the bytes of its block. `start` and `end` are its bounds there."""

    __slots__ = ("block", "end", "seq", "start")

    def __init__(self, seq: i64, block: bytes, start: i64, end: i64) -> None:
        self.seq = seq
        self.block = block
        self.start = start
        self.end = end

    @property
    def timestamp(self) -> i64:
        """When it was appended, Unix ms."""
        return read_i64_be(self.block, self.start)

    @property
    def key(self) -> bytes:
        return key_at(self.block, self.start)

    @property
    def value(self) -> bytes:
        at = self.start + _KEY_AT + key_size(self.block, self.start)
        return self.block[at + 4 : body_end(self.block, self.start)]

    @property
    def headers(self) -> bytes:
        return self.block[body_end(self.block, self.start) + 4 : self.end]


@final
@mypyc_attr(acyclic=True)
class Run:
    """Records that lie one after another: `count` of them in `block[start:end]`, from `first_seq` on."""

    __slots__ = ("block", "count", "end", "first_seq", "start")

    def __init__(self, first_seq: i64, count: i64, block: bytes, start: i64, end: i64) -> None:
        self.first_seq = first_seq
        self.count = count
        self.block = block
        self.start = start
        self.end = end


@final
class Records:
    """What a read found: runs in order, and the sequence at which to go on."""

    __slots__ = ("count", "next_seq", "runs", "size")

    def __init__(self, next_seq: i64) -> None:
        self.runs: list[Run] = []
        self.count: i64 = 0
        self.size: i64 = 0
        self.next_seq = next_seq

    def add(self, run: Run) -> None:
        """Takes the run that follows those before."""
        self.runs.append(run)
        self.count += run.count
        self.size += run.end - run.start
        self.next_seq = run.first_seq + run.count

    def each(self) -> list[Record]:
        """The records one by one, for those who do not copy whole runs."""
        found: list[Record] = []
        for run in self.runs:
            start = run.start
            seq = run.first_seq
            while start < run.end:
                end = record_end(run.block, start)
                found.append(Record(seq, run.block, start, end))
                start = end
                seq += 1
        return found
