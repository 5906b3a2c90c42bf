"""A journal that keeps its batches in memory: the disk of the brokers' tests, with its crashes and failures."""

from __future__ import annotations

from collections.abc import Iterator

from nexo.brokers.journal import OPERATION_HEAD_BYTES, Journal
from nexo.errors import StorageError

FILE_BYTES = 4_000
"""A file takes no further batch once it is this long."""


class MemoryJournal(Journal):
    """`close` ends a batch; `reach` says how far batches have got; `crash` forgets what was not synced."""

    def __init__(self) -> None:
        super().__init__(True)
        self.files: dict[int, bytearray] = {1: bytearray(16)}
        self.batches: list[tuple[int, int, int]] = []  # number, address, size
        self.base = self._end()
        self.reads = 0

    def _end(self) -> int:
        file = max(self.files)
        return (file << 32) + len(self.files[file])

    def close(self) -> int:
        """Ends the open batch; gives its number."""
        data = self.out.getvalue()
        self.out.truncate(0)
        self.files[max(self.files)] += data
        self.batches.append((self.batch, self.base, len(data)))
        if len(self.files[max(self.files)]) > FILE_BYTES:
            self.files[max(self.files) + 1] = bytearray(16)
        self.batch += 1
        self.level = 0
        self.base = self._end()
        return self.batch - 1

    def reach(self, written: int = -1, synced: int = -1) -> None:
        """Batches up to these are written, and on disk; by default all."""
        self.written = self.batch - 1 if written < 0 else written
        self.synced = self.written if synced < 0 else synced

    def fail(self, first_batch: int) -> None:
        """Batches from this one on, and the open one, never reach the disk; numbers are used again."""
        self.out.truncate(0)
        while self.batches and self.batches[-1][0] >= first_batch:
            self.batches.pop()
        self.files[max(self.files) + 1] = bytearray(16)
        self.batch = first_batch
        self.base = self._end()

    def crash(self) -> None:
        """What was not synced is gone."""
        self.fail(self.synced + 1)

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        data = self.files.get(address >> 32)
        if data is None:
            raise StorageError(f"file {address >> 32} is gone")
        offset = address & 0xFFFFFFFF
        return bytes(data[offset : offset + size])

    def operations(self, after_batch: int = 0) -> Iterator[tuple[int, bytes, int, int, int]]:
        """(kind, data, start, end, address) of all operations in batches above one, as `apply` takes them."""
        for number, address, size in self.batches:
            if number > after_batch:
                data = bytes(self.files[address >> 32][address & 0xFFFFFFFF :][:size])
                for kind, start, end in split(data):
                    yield kind, data, start, end, address + start


def split(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, start, end) of each operation in a batch."""
    at = 0
    while at < len(data):
        start = at + OPERATION_HEAD_BYTES
        end = start + int.from_bytes(data[at + 1 : start], "big")
        yield data[at], start, end
        at = end
