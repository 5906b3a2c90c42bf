"""A disk in memory that does what real ones do at their worst: the simulated twin of storage.files.Files.

It keeps apart what was written (the cache: what a running process reads) and what is on disk. Everything is
drawn from a seed, so a failing run repeats.

    disk = Disk(seed)            use it as Files
    disk.faults.…                what goes wrong, and when
    disk.crash()                 a power cut: the disk that a restart finds
    disk.kill()                  the process ends, the machine goes on: the cache stays

What a power cut may leave of unsynced writes to a file: nothing; all; the beginning up to any byte; or any
mixture of old and new sectors with any size between, so that a later write is there and an earlier one reads
as zeros. Of files created, renamed and removed since the last sync of the folder, any first few are done. After
a sync that failed the data is in the cache, never reaches the disk, and later syncs succeed (as on ext4).
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from random import Random

from nexo.errors import DataLockedError
from nexo.storage.files import Files

SECTOR = 512


class Crash(BaseException):
    """The power goes. No handler of errors may take it for one."""


@dataclass
class Faults:
    """What goes wrong: counted from 1 over all files. `crash_at` counts every call that changes something."""

    fail_write_at: int = 0
    fail_sync_at: int = 0
    error: int = errno.EIO
    crash_at: int = 0
    capacity: int = 0


@dataclass
class Inode:
    """A file: the cache, what is on disk, and the writes in between (offset, bytes, never gets there)."""

    cache: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    writes: list[tuple[int, bytes, bool]] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.version(len(self.writes))
        self.writes = []

    def version(self, count: int) -> bytes:
        """What the disk would hold after the first few of the writes."""
        data = bytearray(self.durable)
        for offset, piece, doomed in self.writes[:count]:
            data.extend(bytes(max(0, offset + len(piece) - len(data))))
            if not doomed:
                data[offset : offset + len(piece)] = piece
        return bytes(data)

    def after_power_cut(self, random: Random) -> bytes:
        count = len(self.writes)
        newest = self.version(count)
        kind = random.randrange(4)
        if kind == 0 or not count:
            return self.durable
        if kind == 1:
            return newest
        size = random.randint(min(len(self.durable), len(newest)), len(newest))
        if kind == 2:
            return newest[:size]
        versions = [self.version(n) for n in range(count + 1)]
        data = bytearray()
        for offset in range(0, size, SECTOR):
            first = (
                0 if offset >= len(self.durable) - SECTOR else count
            )  # whole synced sectors are as they are
            sector = versions[random.randint(first, count)][offset : offset + SECTOR]
            data += sector.ljust(SECTOR, b"\0")
        return bytes(data[:size])


class Disk(Files):
    """Files in memory; see the module."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        super().__init__("/simulated")
        self.random = Random(seed)
        self.faults = faults or Faults()
        self.inodes: dict[str, Inode] = {}
        self.durable_inodes: dict[str, Inode] = {}
        self.folder_calls: list[tuple[str, str, Inode | None]] = []
        self.handles: dict[int, Inode] = {}
        self.calls = self.writes = self.syncs = self.opened = 0
        self.locked = False
        self.inner: dict[str, Disk] = {}
        self.outer: dict[str, Disk] = {}  # of the disk that this is a folder of, and the name there
        self.name = ""

    # Restarts. Folders in the folder hold second names only, which a power cut takes.

    def next_disk(self, seed: int) -> Disk:
        """An empty one, for the next process."""
        return Disk(seed)

    def crash(self) -> Disk:
        """The disk after a power cut."""
        after = self.next_disk(self.random.getrandbits(64))
        found = dict(self.durable_inodes)
        for kind, name, inode in self.folder_calls[: self.random.randint(0, len(self.folder_calls))]:
            apply(found, kind, name, inode)
        for name, inode in found.items():
            data = inode.after_power_cut(self.random)
            after.inodes[name] = Inode(bytearray(data), data)
        after.durable_inodes = dict(after.inodes)
        return after

    def kill(self) -> Disk:
        """The same disk and cache, for another process."""
        after = self.next_disk(self.random.getrandbits(64))
        after.inodes, after.durable_inodes = self.inodes, self.durable_inodes
        after.folder_calls = self.folder_calls
        after.inner = self.inner
        return after

    def flip(self, name: str, bit: int) -> None:
        """Change one bit of a file, in the cache and on disk."""
        inode = self.inodes[name]
        inode.cache[bit // 8] ^= 1 << bit % 8
        inode.durable = bytes(inode.cache)

    # What Files does.

    def make_folder(self) -> None:
        if self.name:
            self.outer[self.name] = self

    def lock(self, shared: bool = False) -> None:
        if self.locked:
            raise DataLockedError(self.folder, 1)
        self.locked = True

    def unlock(self) -> None:
        self.locked = False

    def names(self) -> list[str]:
        return sorted(self.inodes)

    def forget_removed(self) -> list[str]:
        return self.names()

    def folders(self) -> list[str]:
        return sorted(self.inner)

    def inside(self, name: str) -> Disk:
        found = self.inner.get(name)
        if found is None:
            found = Disk(self.random.getrandbits(64))
            found.folder, found.outer, found.name = self.path(name), self.inner, name
        return found

    def remove_folder(self) -> None:
        for name in self.names():
            self.remove(name)
        del self.outer[self.name]

    def link(self, name: str, other: Files) -> None:
        assert isinstance(other, Disk)
        inode = self._inode(name)
        if name in other.inodes:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        other._folder_call("create", name, inode)

    def sync_folder(self) -> None:
        self._called()
        self._sync_fault()
        self.durable_inodes = dict(self.inodes)
        self.folder_calls = []

    def free_bytes(self) -> int:
        return self.faults.capacity - self._used() if self.faults.capacity else 1 << 40

    def total_bytes(self) -> int:
        return self.faults.capacity or 1 << 40

    def modified_at(self, name: str) -> int:
        self._inode(name)
        return 0

    def size(self, name: str) -> int:
        return len(self._inode(name).cache)

    def rename(self, old: str, new: str) -> None:
        self._called()
        inode = self._inode(old)
        self._folder_call("rename", f"{old}/{new}", inode)

    def remove(self, name: str) -> None:
        self._called()
        self._folder_call("remove", name, self._inode(name))

    def truncate(self, name: str, size: int) -> None:
        self._called()
        inode = self._inode(name)
        self._sync_fault(inode)
        del inode.cache[size:]
        inode.sync()
        inode.durable = inode.durable[:size]

    def settle(self, name: str) -> None:
        self._called()
        inode = self._inode(name)
        self._sync_fault(inode)
        inode.sync()
        inode.cache = bytearray(inode.durable)

    def allocate(self, name: str, size: int) -> None:
        self._called()
        missing = size - len(self.inodes[name].cache) if name in self.inodes else size
        if self._room() < missing:
            if name in self.inodes:
                self._folder_call("remove", name, self.inodes[name])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if name not in self.inodes:
            self._folder_call("create", name, Inode(bytearray(size), bytes(size)))

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._inode(name).cache[offset : offset + size])

    def create(self, name: str) -> int:
        self._called()
        if name in self.inodes:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        inode = Inode()
        self._folder_call("create", name, inode)
        self.opened += 1
        self.handles[self.opened] = inode
        return self.opened

    def append(self, handle: int, parts: list[bytes]) -> None:
        inode = self.handles[handle]
        data = b"".join(parts)
        self.writes += 1
        if self._crashes():
            self._write(inode, data[: self.random.randint(0, len(data))])
            raise Crash
        if self.writes == self.faults.fail_write_at:
            self._write(inode, data[: self.random.randint(0, len(data) - 1)])
            raise OSError(self.faults.error, os.strerror(self.faults.error))
        room = self._room()
        self._write(inode, data[:room])
        if room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, handle: int) -> None:
        self._called()
        self._sync_fault(self.handles[handle])
        self.handles[handle].sync()

    def sync_aside(self, handle: int) -> None:
        """There is nobody aside: a simulation takes one step after another."""

    def duplicate(self, handle: int) -> int:
        self.opened += 1
        self.handles[self.opened] = self.handles[handle]
        return self.opened

    def close(self, handle: int) -> None:
        del self.handles[handle]

    def salt(self) -> int:
        return self.random.getrandbits(32)

    # How.

    def _inode(self, name: str) -> Inode:
        if name not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.inodes[name]

    def _used(self) -> int:
        return sum(len(inode.cache) for inode in self.inodes.values())

    def _room(self) -> int:
        return max(0, self.faults.capacity - self._used()) if self.faults.capacity else 1 << 40

    def _crashes(self) -> bool:
        self.calls += 1
        return self.calls == self.faults.crash_at

    def _called(self) -> None:
        """Power cuts come before or after a call; within one only while writing."""
        if self._crashes():
            raise Crash

    def _sync_fault(self, inode: Inode | None = None) -> None:
        self.syncs += 1
        if self.syncs == self.faults.fail_sync_at:
            if inode is not None:
                inode.writes = [(offset, piece, True) for offset, piece, _ in inode.writes]
            raise OSError(self.faults.error, os.strerror(self.faults.error))

    def _write(self, inode: Inode, data: bytes) -> None:
        if data:
            inode.writes.append((len(inode.cache), data, False))
            inode.cache += data

    def _folder_call(self, kind: str, name: str, inode: Inode | None) -> None:
        self.folder_calls.append((kind, name, inode))
        apply(self.inodes, kind, name, inode)


def apply(inodes: dict[str, Inode], kind: str, name: str, inode: Inode | None) -> None:
    """One change of a folder."""
    if kind == "create":
        assert inode is not None
        inodes[name] = inode
    elif kind == "remove":
        inodes.pop(name, None)
    else:
        old, new = name.split("/")
        found = inodes.pop(old, None)
        if found is not None:
            inodes[new] = found
