"""Snapshots: the state of the brokers as one compacted log, after which older log files can go.

Owns how a snapshot comes to be (whole or not at all) and which files it makes superfluous. Knows operations as
bytes; the node decides which ones describe its state, and which log files they still refer to.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from struct import Struct

from crc32c import crc32c

from nexo.errors import DamagedError, StorageError
from nexo.limits import SNAPSHOT_RECORD_BYTES
from nexo.storage.files import Files
from nexo.storage.format import (
    HEADER_BYTES,
    KIND_SNAPSHOT,
    LOG_NAME,
    OPERATION_END,
    SNAPSHOT_NAME,
    Header,
    decode_header,
    head,
    head_crc,
    header_fault,
    log_name,
    operation,
    snapshot_name,
)
from nexo.storage.reading import FileReader

TEMPORARY = "snapshot.tmp"
_U64 = Struct(">Q")


@dataclass(frozen=True)
class SnapshotEnd:
    """The body of a snapshot's END: records before it, the CRC32C over their payloads, and what it stands on.

    `replay_from` is the first log file with batches after the snapshot; `keep_files` are earlier ones that
    hold bodies.
    """

    records: int
    checksum: int
    replay_from: int
    keep_files: list[int]

    def encode(self) -> bytes:
        """Four u64, the last the number of kept files, and a u64 for each of them."""
        numbers = [self.records, self.checksum, self.replay_from, len(self.keep_files), *self.keep_files]
        return b"".join([_U64.pack(number) for number in numbers])


def decode_end(payload: bytes) -> SnapshotEnd | None:
    """The END that a record of a snapshot holds; None for any other record."""
    body = payload[5:]
    if not payload or payload[0] != OPERATION_END or len(body) % 8:
        return None
    numbers = [number for (number,) in _U64.iter_unpack(body)]
    if len(numbers) < 4 or len(numbers) != 4 + numbers[3]:
        return None
    return SnapshotEnd(numbers[0], numbers[1], numbers[2], numbers[4:])


def check_snapshot(files: Files, name: str) -> SnapshotEnd:
    """Read a snapshot from end to end. DamagedError when it is not whole."""
    reader = FileReader(files, name)
    checksum = 0
    count = 0
    end: SnapshotEnd | None = None
    for record in reader.records():
        if end is not None:
            raise DamagedError(reader.path, record.offset, "there are records after the end of the snapshot")
        end = decode_end(record.payload)
        if end is None:
            count += 1
            checksum = crc32c(record.payload, checksum)
    if reader.fault:
        raise DamagedError(reader.path, reader.position, reader.fault)
    if end is None:
        raise DamagedError(reader.path, reader.position, "the end of the snapshot is missing")
    if (end.records, end.checksum) != (count, checksum):
        raise DamagedError(reader.path, reader.position, "the snapshot's sum is not that of its records")
    return end


class SnapshotWriter:
    """A snapshot of everything up to a batch, which the log has on disk; what comes later is in `file` or after it.

    `add` may be called over some time. Each method raises StorageError when the disk refuses; the snapshot
    is then gone, and the node goes on without it.
    """

    def __init__(self, files: Files, batch: int, epoch: int, file: int) -> None:
        self.batch = batch
        self._files = files
        self._file = file
        self._parts: list[bytes] = []
        self._gathered = 0
        self._records = 0
        self._checksum = 0
        self._handle = -1
        header = Header(KIND_SNAPSHOT, files.salt(), epoch, file, 0, batch, 0)
        data = header.encode()
        self._seed = self._chain = header.crc
        try:
            if TEMPORARY in files.names():
                files.remove(TEMPORARY)
            self._handle = files.create(TEMPORARY)
            files.append(self._handle, [data])
        except OSError as error:
            raise self._give_up(error) from None

    def add(self, operations: bytes) -> None:
        """Whole operations, in the order in which they shall be replayed."""
        self._parts.append(operations)
        self._gathered += len(operations)
        if self._gathered >= SNAPSHOT_RECORD_BYTES:
            self._write_gathered()

    def finish(self, keep_files: set[int]) -> list[str]:
        """Make it the snapshot and remove what it replaces; returns the names of the removed files.

        `keep_files`: numbers of the log files that the snapshot's operations or the live state refer to. It
        waits for the disk: not for the loop's thread.
        """
        if self._gathered:
            self._write_gathered()
        try:
            old, end = self._superseded(keep_files)
            self._append(operation(OPERATION_END, end.encode()))
            self._files.sync(self._handle)
            self._close()
            self._files.rename(TEMPORARY, snapshot_name(self.batch))
            self._files.sync_folder()
            for name in old:
                self._files.remove(name)
        except OSError as error:
            raise self._give_up(error) from None
        return old

    def abort(self) -> None:
        """Forget it."""
        self._close()
        if TEMPORARY in self._files.names():
            self._files.remove(TEMPORARY)

    def _write_gathered(self) -> None:
        payload = b"".join(self._parts)
        self._parts = []
        self._gathered = 0
        self._checksum = crc32c(payload, self._checksum)
        try:
            self._append(payload)
        except OSError as error:
            raise self._give_up(error) from None
        self._records += 1

    def _append(self, payload: bytes) -> None:
        record_head = head(self._seed, self._records + 1, self._chain, 0, payload)
        self._chain = head_crc(record_head)
        self._files.append(self._handle, [record_head, payload])

    def _superseded(self, keep_files: set[int]) -> tuple[list[str], SnapshotEnd]:
        """The files that can go, and the END that says so. The last log file is being written: it stays."""
        names = self._files.names()
        numbers = sorted([int(found[1]) for name in names if (found := LOG_NAME.fullmatch(name))])
        replay_from = self._file
        for number, following in zip(numbers, [*numbers[1:], 0], strict=False):
            if following == 0 or self._first_batch(following) > self.batch + 1:
                replay_from = number
                break
        kept = sorted([number for number in keep_files if number < replay_from])
        old = [log_name(n) for n in numbers if n < replay_from and n not in keep_files]
        old += [n for n in names if SNAPSHOT_NAME.fullmatch(n) and n != snapshot_name(self.batch)]
        return old, SnapshotEnd(self._records, self._checksum, replay_from, kept)

    def _first_batch(self, number: int) -> int:
        data = self._files.read_at(log_name(number), 0, HEADER_BYTES)
        fault = header_fault(data)
        if fault:
            raise OSError(0, f"{log_name(number)}: {fault}")
        return decode_header(data).first

    def _close(self) -> None:
        if self._handle >= 0:
            self._files.close(self._handle)
            self._handle = -1

    def _give_up(self, error: OSError) -> StorageError:
        """Remove the unfinished snapshot as far as that is possible; the error to raise."""
        with suppress(OSError):  # a later snapshot, or the next start, removes what is left
            self.abort()
        return StorageError(f"the snapshot of batch {self.batch} failed: {error.strerror}")
