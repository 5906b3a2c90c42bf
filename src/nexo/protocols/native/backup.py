"""The BACKUP commands of the native protocol: an archive that the client pulls, a piece for each request.

Owns the numbers of one connection's backups. What is in the archive and how it comes to be is not known here.
"""

from __future__ import annotations

from typing import final

from librt.strings import BytesWriter, write_i64_be
from mypy_extensions import i32, i64

from nexo.errors import InvalidArgumentError, ResourceNotFoundError, ServerError
from nexo.protocols.backups import Backup, BackupReader
from nexo.protocols.native import frames
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import Channel
from nexo.protocols.native.frames import Payload, write_head


@final
class BackupCommands(BackupReader):
    """The backups that one connection reads. The context of a request is its correlation id."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.backups = channel.server.backups
        self.running: dict[int, Backup] = {}
        self.beginning: dict[int, Backup] = {}  # by the context of their BEGIN
        self.last_number: i64 = 0

    def close(self) -> None:
        """The connection has ended, and its backups do."""
        for backup in [*self.beginning.values(), *self.running.values()]:
            backup.close()
        self.beginning.clear()
        self.running.clear()

    def dispatch(self, payload: Payload) -> None:
        """Run one command of BACKUP: the first byte of the payload."""
        command = payload.u8("the command")
        if self.channel.frames.kind != op.REQUEST:
            raise InvalidArgumentError("a backup is for who awaits the answer")
        context = i64(self.channel.frames.correlation)
        if command == op.BACKUP_BEGIN:
            payload.finish()
            if context in self.beginning:
                raise InvalidArgumentError("another BACKUP with this correlation id is not answered yet")
            self.beginning[int(context)] = self.backups.begin(self, context)
        elif command == op.BACKUP_READ or command == op.BACKUP_END:
            number = payload.u64("the backup's number")
            payload.finish()
            backup = self.running.get(int(number))
            if backup is None:
                raise ResourceNotFoundError(f"this connection has no backup {number}")
            if command == op.BACKUP_READ:
                backup.read(context)
            else:
                del self.running[int(number)]
                backup.close()
                self.channel.ok()
        else:
            raise InvalidArgumentError(f"unknown command 0x{command:02x} of BACKUP")

    def backup_begun(self, backup: Backup, context: i64) -> None:
        del self.beginning[int(context)]
        self.last_number += 1
        self.running[int(self.last_number)] = backup
        payload = BytesWriter()
        write_i64_be(payload, self.last_number)
        write_i64_be(payload, backup.size)
        write_i64_be(payload, backup.batch)
        write_i64_be(payload, backup.time_ms)
        self.answer(context, payload.getvalue())

    def backup_read(self, context: i64, offset: i64, data: bytes) -> None:
        payload = BytesWriter()
        write_i64_be(payload, offset)
        payload.write(data)
        self.answer(context, payload.getvalue())

    def backup_failed(self, context: i64, error: ServerError) -> None:
        self.beginning.pop(int(context), None)
        self.channel.send(frames.error_frame(i32(context), error))

    def answer(self, context: i64, payload: bytes) -> None:
        out = BytesWriter()
        write_head(out, op.DATA, i32(context), len(payload))
        out.write(payload)
        self.channel.send(out.getvalue())
