"""The bytes of a log file and of a snapshot. Knows no file and no broker: functions from bytes to values and back.

All numbers are big-endian. A file is one header and then records; nothing in it is ever written twice.

    header, 56 bytes
     0   8  magic      "NEXOLOG\\n"
     8   2  version    1; a reader refuses a higher one
    10   1  kind       1 log, 2 snapshot
    11   1  zero
    12   4  salt       drawn for each file, so that no message can contain a record of the file it lies in
    16   8  epoch      counts the starts of the node that this folder has seen
    24   8  number     of the log file; in a snapshot the highest log file at that time
    32   8  previous   number of the log file before this one, 0: there was none
    40   8  first      batch number of the first record; in a snapshot the last batch that it covers
    48   4  chain      crc of the last record before this file, or of a file before without any; 0: there was none
    52   4  crc        CRC32C of bytes 0 to 51

    record, 28 bytes and its payload
     0   4  crc        CRC32C of bytes 4 to 27, started with the header's crc
     4   4  length     of the payload
     8   8  batch      number of the batch; in a snapshot the records are counted from 1
    16   4  chain      crc of the head of the record before, or of the header
    20   4  behind     how many batches before this one were not known to be on disk when it was made
    24   4  payload    CRC32C of the payload
    28   …  payload    operations: u8 kind, u32 length, body (kinds: brokers/journal.py; 0x01 is END, see below)

END as the only operation of a record says: everything before it is complete and on disk. A snapshot without
END is no snapshot. A log file has END when the node was stopped in order.

A file is valid when
    F1  it has 56 bytes,                        F2  they begin with the magic,
    F3  their crc is right,                     F4  version is 1 and kind is known,
    F5  number (log) or first (snapshot) is the one in the file's name,
    F6  previous and chain are those of the log file before it, and first is above the last batch there
and a record is when
    R1  its 28 bytes are there and their crc is right,
    R2  batch is the one before + 1 (header: first; in a snapshot 1),
    R3  chain is the crc of the one before,     R4  its payload is there and its CRC32C is right,
    R5  the payload is a sequence of whole operations.

The magic, the version and the last four bytes of the header stay where they are in all versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final, final

from crc32c import crc32c
from mypy_extensions import i64

from nexo.brokers.journal import OPERATION_HEAD_BYTES
from nexo.errors import StorageError

MAGIC: Final = b"NEXOLOG\n"
VERSION: Final = 1
KIND_LOG: Final = 1
KIND_SNAPSHOT: Final = 2
HEADER_BYTES: Final = 56
HEAD_BYTES: Final = 28
FIRST_ADDRESS: Final = HEADER_BYTES + HEAD_BYTES
"""Offset of the first operation in a file."""
OPERATION_END: Final = 0x01
OFFSET_BITS: Final = 32
OFFSET_MASK: Final = 0xFFFFFFFF

LOG_NAME: Final = re.compile(r"log-(\d{10})\.nexo")
SNAPSHOT_NAME: Final = re.compile(r"snapshot-(\d{20})\.nexo")

_HEADER: Final = Struct(">8sHBBIQQQQI")
_HEAD: Final = Struct(">IQIII")
_U32: Final = Struct(">I")


def log_name(number: i64) -> str:
    """The name of a log file."""
    return f"log-{number:010d}.nexo"


def log_numbers(names: list[str]) -> list[int]:
    """The numbers of the log files among names, in order."""
    return sorted([int(found[1]) for name in names if (found := LOG_NAME.fullmatch(name))])


def snapshot_name(batch: i64) -> str:
    """The name of the snapshot that covers all batches up to one."""
    return f"snapshot-{batch:020d}.nexo"


@final
class Header:
    """A file's header; `crc` starts the checksums of its records."""

    def __init__(
        self, kind: i64, salt: i64, epoch: i64, number: i64, previous: i64, first: i64, chain: i64
    ) -> None:
        self.version: i64 = VERSION
        self.kind = kind
        self.salt = salt
        self.epoch = epoch
        self.number = number
        self.previous = previous
        self.first = first
        self.chain = chain
        self.crc: i64 = 0

    def encode(self) -> bytes:
        """The 56 bytes; sets `crc`."""
        data = _HEADER.pack(
            MAGIC,
            self.version,
            self.kind,
            0,
            self.salt,
            self.epoch,
            self.number,
            self.previous,
            self.first,
            self.chain,
        )
        self.crc = crc32c(data)
        return data + _U32.pack(self.crc)


def header_fault(data: bytes) -> str:
    """Why the beginning of a file is not a header of any version (F1–F3); empty when it is."""
    if len(data) < HEADER_BYTES:
        return f"the file ends inside its header, after {len(data)} bytes"
    if not data.startswith(MAGIC):
        return "the file does not begin with the magic of a Nexo log"
    if crc32c(data[: HEADER_BYTES - 4]) != _U32.unpack_from(data, HEADER_BYTES - 4)[0]:
        return "the checksum of the file's header is wrong"
    return ""


def decode_header(data: bytes) -> Header:
    """The header of a file without a `header_fault`; the caller looks at `version` (F4) before the rest."""
    _, version, kind, _, salt, epoch, number, previous, first, chain = _HEADER.unpack_from(data)
    header = Header(kind, salt, epoch, number, previous, first, chain)
    header.version = version
    header.crc = _U32.unpack_from(data, HEADER_BYTES - 4)[0]
    return header


def head(seed: i64, batch: i64, chain: i64, behind: i64, payload: bytes) -> bytes:
    """The head of a record; its first four bytes are its checksum, see `head_crc`."""
    covered = _HEAD.pack(len(payload), batch, chain, behind, crc32c(payload))
    return _U32.pack(crc32c(covered, seed)) + covered


def head_crc(record_head: bytes) -> i64:
    """What the next record's chain must be."""
    crc: int = _U32.unpack_from(record_head)[0]
    return crc


def is_head(data: bytes, offset: i64, seed: i64) -> bool:
    """Whether the bytes at an offset are the head of a record of the file (R1)."""
    if offset + HEAD_BYTES > len(data):
        return False
    crc: int = _U32.unpack_from(data, offset)[0]
    return crc32c(data[offset + 4 : offset + HEAD_BYTES], seed) == crc


def operation(kind: i64, body: bytes) -> bytes:
    """One operation."""
    return bytes((kind,)) + _U32.pack(len(body)) + body


def operations(payload: bytes) -> Iterator[tuple[i64, i64, i64]]:
    """(kind, start, end) of the body of each operation. StorageError when they are not whole (R5)."""
    position: i64 = 0
    size: i64 = len(payload)
    while position < size:
        if size - position < OPERATION_HEAD_BYTES:
            raise StorageError(f"a batch ends inside the head of an operation, at byte {position}")
        kind: i64 = payload[position]
        length: i64 = _U32.unpack_from(payload, position + 1)[0]
        start: i64 = position + OPERATION_HEAD_BYTES
        position = start + length
        if position > size:
            raise StorageError(f"a batch ends inside an operation of kind 0x{kind:02x}")
        yield kind, start, position


@final
class Record:
    """A valid record. `synced`: everything up to this batch was on disk when it was made."""

    def __init__(self, offset: i64, batch: i64, synced: i64, crc: i64, payload: bytes) -> None:
        self.offset = offset
        self.batch = batch
        self.synced = synced
        self.crc = crc
        self.payload = payload

    @property
    def end(self) -> i64:
        """Offset of the first byte after it."""
        return self.offset + HEAD_BYTES + len(self.payload)


@final
class Scanner:
    """Bytes of one file in, its records out; knows neither where the bytes come from nor what they mean.

    `next` returns None when it wants more bytes (`wanted`: how many at least) or has met a bad place. Then, or
    when there are no more bytes, `finish` says what is wrong at `position`, which is the end of the last
    valid record.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.position: i64 = HEADER_BYTES
        self.batch: i64 = header.first - 1 if header.kind == KIND_LOG else 0
        self.chain: i64 = header.crc
        self.fault = ""
        self.wanted: i64 = HEAD_BYTES
        self._data = b""
        self._at: i64 = 0

    def receive(self, data: bytes) -> None:
        """The next bytes of the file; the first ones follow its header."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> Record | None:
        """The next record."""
        data, at = self._data, self._at
        left = len(data) - at
        if self.fault or left < HEAD_BYTES:
            self.wanted = HEAD_BYTES - left
            return None
        if not is_head(data, at, self.header.crc):
            self.fault = "the checksum of a record's head is wrong"
            return None
        length, batch, chain, behind, payload_crc = _HEAD.unpack_from(data, at + 4)
        if batch != self.batch + 1:
            self.fault = f"batch {batch} where {self.batch + 1} should be"
        elif chain != self.chain:
            self.fault = "a record does not continue the one before it"
        elif length > left - HEAD_BYTES:
            self.wanted = length + HEAD_BYTES - left
            return None
        if self.fault:
            return None
        start = at + HEAD_BYTES
        payload = data[start : start + length]
        if crc32c(payload) != payload_crc:
            self.fault = "the checksum of a record's payload is wrong"
            return None
        record = Record(self.position, batch, batch - 1 - behind, head_crc(data[at : at + 4]), payload)
        self._at = start + length
        self.position = record.end
        self.batch = batch
        self.chain = record.crc
        return record

    def finish(self) -> str:
        """What is wrong at `position` now that there are no more bytes; empty when the file ends there."""
        if not self.fault and self._at < len(self._data):
            self.fault = "the file ends inside a record"
        return self.fault


def head_fields(data: bytes, offset: i64) -> tuple[int, int, int]:
    """(length, batch, behind) of a head that `is_head`."""
    length, batch, _, behind, _ = _HEAD.unpack_from(data, offset + 4)
    return length, batch, behind


def is_whole(data: bytes, offset: i64) -> bool:
    """Whether the payload of a head that `is_head` is there and right (R4)."""
    length, _, _, _, payload_crc = _HEAD.unpack_from(data, offset + 4)
    start = offset + HEAD_BYTES
    return bool(start + length <= len(data) and crc32c(data[start : start + length]) == payload_crc)
