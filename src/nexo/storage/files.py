"""The operating system's files, and the only place in the broker that calls them.

Owns the descriptors, and the lock of the data directory. Knows names in one folder and bytes; not what they
mean. Every method may raise OSError. `tests/simulation/disk.py` is the same in memory, with faults.

A file is created, appended to and synced by one thread; any thread may read.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from typing import Any, Final

from mypy_extensions import i64, mypyc_attr

from nexo.errors import DataLockedError
from nexo.limits import READ_FILES_MAX

LOCK_NAME = "lock"
PARTS_MAX = 1024
"""Pieces that one call may gather: the least IOV_MAX of the systems we run on."""


_AIOCB_BYTES: Final = 512  # more than the structure has anywhere
_SIGEVENT_OFFSET: Final = 32
_SIGEV_NONE: Final = 1


def _c_library() -> Any:
    """The C library, when it has aio_fsync (POSIX.1-2017) with the layout that 64-bit Linux gives it; else None."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return None
    try:
        import ctypes

        # Its calls come back at once: the interpreter's lock is not given up for them.
        library = ctypes.PyDLL(None)
        for name in ("aio_fsync", "aio_error", "aio_return"):
            getattr(library, name)
    except (ImportError, OSError, AttributeError):
        return None
    return library


_LIBRARY: Final = _c_library()


class AsideSync:
    """A sync that the C library's own thread does, which needs no interpreter: so it can hold nobody up."""

    def __init__(self, handle: int) -> None:
        """Raises OSError when it cannot be begun."""
        import ctypes

        self.error: OSError | None = None
        self._handle = handle
        self._control = ctypes.create_string_buffer(_AIOCB_BYTES)
        struct.pack_into("i", self._control, 0, handle)
        struct.pack_into("i", self._control, _SIGEVENT_OFFSET + 12, _SIGEV_NONE)
        if _LIBRARY.aio_fsync(os.O_DSYNC, self._control) != 0:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def ended(self) -> bool:
        """Whether it is over: `error` is None when what was appended is on disk. Ask no more after that."""
        code = int(_LIBRARY.aio_error(self._control))
        if code == errno.EINPROGRESS:
            return False
        _LIBRARY.aio_return(self._control)
        os.close(self._handle)
        if code != 0:
            self.error = OSError(code, os.strerror(code))
        return True


@mypyc_attr(allow_interpreted_subclasses=True)
class Files:
    """The files of one folder, which is made when it is not there."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._lock_fd = -1
        self._readers: dict[str, int] = {}  # by last use, the latest at the end
        self._readers_lock = threading.Lock()

    def path(self, name: str) -> str:
        """A file as the operator knows it, for messages."""
        return os.path.join(self.folder, name)

    # The folder.

    def make_folder(self) -> None:
        """Create the folder, and what is missing above it, for our user alone."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)

    def lock(self, shared: bool = False) -> None:
        """Own the folder until `unlock` or the end of the process. DataLockedError when somebody else does.

        `shared`: only keep others from owning it, and write nothing.
        """
        import fcntl

        if shared and not os.path.exists(self.path(LOCK_NAME)):
            return
        flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        fd = os.open(self.path(LOCK_NAME), flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise DataLockedError(self.folder, int(holder) if holder.isdigit() else 0) from None
        if not shared:
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        self._lock_fd = fd

    @property
    def lock_handle(self) -> int:
        """The descriptor of the lock: whoever inherits it keeps the folder locked, too. -1: not locked."""
        return self._lock_fd

    def unlock(self) -> None:
        """Give the folder up and close all descriptors for reading."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        with self._readers_lock:
            while self._readers:
                os.close(self._readers.popitem()[1])

    def names(self) -> list[str]:
        """All files of the folder, sorted."""
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file(follow_symlinks=False))

    def folders(self) -> list[str]:
        """The folders in the folder, sorted."""
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False))

    def inside(self, name: str) -> Files:
        """The files of a folder in the folder; `make_folder` makes it."""
        return Files(self.path(name))

    def remove_folder(self) -> None:
        """Remove the folder, in which there are files and nothing else."""
        for name in self.names():
            self.remove(name)
        os.rmdir(self.folder)

    def sync_folder(self) -> None:
        """After this, files that were created, renamed and removed are so after a power cut, too."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self) -> int:
        """Room that our user may fill."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def total_bytes(self) -> int:
        """Size of the file system."""
        state = os.statvfs(self.folder)
        return state.f_blocks * state.f_frsize

    # One file, by its name.

    def size(self, name: str) -> int:
        """Bytes in a file."""
        return os.stat(self.path(name)).st_size

    def modified_at(self, name: str) -> int:
        """When a file was last written, Unix ms."""
        return os.stat(self.path(name)).st_mtime_ns // 1_000_000

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what has it."""
        os.replace(self.path(old), self.path(new))

    def link(self, name: str, other: Files) -> None:
        """Give a file the same name in another folder, too: its bytes stay until both names are removed."""
        os.link(self.path(name), other.path(name))

    def remove(self, name: str) -> None:
        """Remove a file; its bytes are gone when the last reader has closed it."""
        self._forget(name)
        os.unlink(self.path(name))

    def truncate(self, name: str, size: int) -> None:
        """Cut a file, and sync that."""
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def settle(self, name: str) -> None:
        """Sync a file and forget what is cached of it, so that what is read next is what is on disk.

        A sync that failed in an earlier process leaves pages in the cache that look written and are not.
        """
        fd = os.open(self.path(name), os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(fd)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def allocate(self, name: str, size: int) -> None:
        """Make a file that occupies so many bytes, if it is not there. OSError (ENOSPC), and no file, if it cannot."""
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            os.unlink(self.path(name))
            raise
        finally:
            os.close(fd)

    def read_at(self, name: str, offset: i64, size: i64) -> bytes:
        """Up to `size` bytes of a file; fewer where it ends."""
        with self._readers_lock:
            fd = self._readers.pop(name, -1)
            if fd < 0:
                fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
                if len(self._readers) >= READ_FILES_MAX:
                    oldest = next(iter(self._readers))
                    os.close(self._readers.pop(oldest))
            self._readers[name] = fd
            return os.pread(fd, size, offset)

    def forget_removed(self) -> list[str]:
        """Close what is held open for reading and has been removed by another process, whose room is free then.

        The names of the files that there are. It may take a while: not for the loop's thread.
        """
        names = self.names()
        present = set(names)
        with self._readers_lock:
            gone = [name for name in self._readers if name not in present]
            handles = [self._readers.pop(name) for name in gone]
        for handle in handles:
            os.close(handle)
        return names

    def _forget(self, name: str) -> None:
        with self._readers_lock:
            fd = self._readers.pop(name, -1)
            if fd >= 0:
                os.close(fd)

    # One file, being written.

    def create(self, name: str) -> int:
        """A new file to append to. FileExistsError when there is one. Sync the folder to make it stay."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(self.path(name), flags, 0o600)

    def append(self, handle: int, parts: list[bytes]) -> None:
        """Write pieces at the end. After an error any part of them may be there."""
        for first in range(0, len(parts), PARTS_MAX):
            group = parts[first : first + PARTS_MAX]
            left = sum([len(part) for part in group]) - os.writev(handle, group)
            if left > 0:
                self._append_rest(handle, b"".join(group)[-left:])

    def _append_rest(self, handle: int, rest: bytes) -> None:
        while rest:
            rest = rest[os.write(handle, rest) :]

    def sync(self, handle: int) -> None:
        """Return when what was appended is on disk. After an error it may never be: do not try again."""
        if hasattr(os, "fdatasync"):
            os.fdatasync(handle)
        else:
            os.fsync(handle)

    def sync_aside(self, handle: int) -> AsideSync | None:
        """Begin what `sync` does, without waiting; `handle` is closed when it has ended. None where that cannot be."""
        if _LIBRARY is None:
            return None
        try:
            return AsideSync(handle)
        except OSError:
            return None

    def duplicate(self, handle: int) -> int:
        """A second handle of the same file, good for `sync` while the first may be closed; `close` it after."""
        return os.dup(handle)

    def close(self, handle: int) -> None:
        """No more appending."""
        os.close(handle)

    def salt(self) -> int:
        """32 random bits."""
        return int.from_bytes(os.urandom(4), "big")


def is_running(pid: int) -> bool:
    """Whether a process with this number exists; 0, an unknown one, counts as running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
