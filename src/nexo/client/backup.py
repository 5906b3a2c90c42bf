"""Pulling a backup from a server into a file. Needs crc32c, as the server does: every byte is checked on its way.

Owns the reads under way and the name of the file. The format, and that there is a whole file or none, are the
storage's part; files are written in a thread.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from struct import Struct
from typing import Final

from nexo.client.backupinfo import Backup, BackupProgress
from nexo.client.connection import Connection
from nexo.client.link import Reply
from nexo.errors import ProtocolError
from nexo.protocols.native import opcodes as op
from nexo.storage.archive import Manifest
from nexo.storage.backup import Target
from nexo.storage.files import Files

READS_UNDER_WAY: Final = 8
"""Unanswered reads, 2 MiB: the server reads while we write."""
PROGRESS_SECONDS: Final = 0.1
"""Progress is told no more often than this."""

_BEGUN: Final = Struct(">QQQQ")
_NUMBER: Final = Struct(">Q")

OnProgress = Callable[[BackupProgress], Awaitable[None] | None]


async def pull(connection: Connection, path: str, on_progress: OnProgress | None) -> Backup:
    """A backup of the server in a file; see Client.backup."""
    begun = await connection.data(op.BACKUP, bytes((op.BACKUP_BEGIN,)))
    if len(begun) != _BEGUN.size:
        raise ProtocolError(f"an answer of {len(begun)} bytes to the beginning of a backup")
    number, size, batch, time_ms = _BEGUN.unpack(begun)
    folder, name = place(path, batch, time_ms)
    try:
        with Target(Files(folder), name) as target:
            await _copy(connection, number, size, target, on_progress)
            await in_thread(target.finish)
    finally:
        connection.post(op.BACKUP, bytes((op.BACKUP_END,)) + _NUMBER.pack(number))
    return result(target.reader.manifest, os.path.join(folder, name), size)


def place(path: str, batch: int, time_ms: int) -> tuple[str, str]:
    """The folder and the name for a backup that was begun at this time; in a folder it gets a name of its own."""
    if os.path.isdir(path):
        return path, f"nexo-{moment(time_ms):%Y%m%dT%H%M%SZ}-{batch}.tar"
    folder, name = os.path.split(path)
    return folder or ".", name


def moment(time_ms: int) -> datetime:
    """Unix milliseconds as a time in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def result(manifest: Manifest, path: str, size: int) -> Backup:
    """What a finished backup is."""
    time = moment(manifest.time_ms)
    return Backup(path, size, manifest.batch, len(manifest.files), time, manifest.server)


async def in_thread(function: Callable[..., None], *arguments: bytes) -> None:
    """Call a function in a thread. When that is cancelled it ends first: nobody may close a file under it."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise


async def _copy(
    connection: Connection, number: int, size: int, target: Target, on_progress: OnProgress | None
) -> None:
    request = bytes((op.BACKUP_READ,)) + _NUMBER.pack(number)
    reads: deque[asyncio.Future[Reply]] = deque()
    done = 0
    tell_at = 0.0
    try:
        while done < size:
            while len(reads) < READS_UNDER_WAY:
                reads.append(connection.loop.create_future())
                connection.start(op.BACKUP, request, reads[-1])
            answer = await reads.popleft() or b""
            if len(answer) <= _NUMBER.size or _NUMBER.unpack_from(answer)[0] != done:
                raise ProtocolError(f"an answer that is not the bytes from {done} on of a backup of {size}")
            await in_thread(target.write, answer[_NUMBER.size :])
            done += len(answer) - _NUMBER.size
            if on_progress is not None and (connection.loop.time() >= tell_at or done == size):
                tell_at = connection.loop.time() + PROGRESS_SECONDS
                told = on_progress(BackupProgress(done, size))
                if inspect.isawaitable(told):
                    await told
    finally:
        for read in reads:
            read.cancel()
