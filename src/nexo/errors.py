"""Every error that a user of Nexo can meet, with its code on the native wire.

    NexoError
    ├── ServerError                     the broker answered with an error; has .code and .details
    │   ├── InternalError               0x00
    │   ├── InvalidArgumentError        0x01
    │   ├── ResourceNotFoundError       0x02
    │   ├── ResourceConfigConflictError 0x03
    │   ├── NotAuthorizedError          0x04
    │   ├── FencedError                 0x05
    │   ├── NotMemberError              0x06
    │   ├── SlowConsumerError           0x07
    │   ├── StorageError                0x08
    │   ├── ProtocolError               0x09
    │   ├── MemoryLimitError            0x0A  the store is at its memory cap and may not evict
    │   ├── LimitExceededError          0x0B  a bound of limits.py, named in the message
    │   ├── TooOldError                 0x0C  the change log no longer holds the version asked for
    │   ├── NoRespondersError           0x0D  nobody subscribes to the topic of a request
    │   ├── ReplyTimeoutError           0x0E  (also TimeoutError) responders were there, none answered in time
    │   ├── NotAvailableError           0x0F  a command that this server does not have yet
    │   ├── SequenceMismatchError       0x10  an append expected another last sequence; details has "actual"
    │   ├── BatchRefusedError           0x11  nothing of a batch was done; has .command or .precondition, and .reason
    │   ├── PreconditionFailedError     0x12  a condition of a batch does not hold; details has "actual"
    │   └── AlarmError                  0x13  a write while memory or the disk is short; details has "alarm" and figures
    ├── NotConnectedError               the client is not connected and may not wait
    ├── ConnectionClosedError           the connection went away while the call was under way
    ├── RequestTimeoutError             (also TimeoutError) no answer within the client's timeout
    ├── VersionMismatchError            a compare-and-set found another version
    ├── ConfigError                     the server's configuration is not valid
    ├── DamagedBackupError              a backup is not as it was written; has .file and .offset
    ├── DamagedError                    a file of the data directory is not as it was written; has .file and .offset
    ├── DataLockedError                 another process uses the data directory; has .pid
    └── NewerFormatError                a file was written by a later version; has .file and .version

Codes 0x00–0x09 are those of the published protocol; a client that does not know a later code
still gets the message. The same classes are raised by the brokers, carried over the wire by a
session, and raised again by the client.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AlarmError",
    "BatchRefusedError",
    "ConfigError",
    "ConnectionClosedError",
    "DamagedBackupError",
    "DamagedError",
    "DataLockedError",
    "FencedError",
    "InternalError",
    "InvalidArgumentError",
    "LimitExceededError",
    "MemoryLimitError",
    "NewerFormatError",
    "NexoError",
    "NoRespondersError",
    "NotAuthorizedError",
    "NotAvailableError",
    "NotConnectedError",
    "NotMemberError",
    "PreconditionFailedError",
    "ProtocolError",
    "ReplyTimeoutError",
    "RequestTimeoutError",
    "ResourceConfigConflictError",
    "ResourceNotFoundError",
    "SequenceMismatchError",
    "ServerError",
    "SlowConsumerError",
    "StorageError",
    "TooOldError",
    "VersionMismatchError",
    "server_error",
]


class NexoError(Exception):
    """The root of the tree; catching it catches everything that Nexo raises on purpose."""


class ServerError(NexoError):
    """An error that the broker reports. `code` is the byte on the native wire."""

    code: ClassVar[int] = 0x00

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InternalError(ServerError):
    """A fault of the server itself; the log has the traceback."""

    code = 0x00


class InvalidArgumentError(ServerError):
    """A well-formed request that asks for something meaningless."""

    code = 0x01


class ResourceNotFoundError(ServerError):
    """A named queue, stream, watch or request that does not exist."""

    code = 0x02


class ResourceConfigConflictError(ServerError):
    """A resource exists with another definition; details lists the differences."""

    code = 0x03


class NotAuthorizedError(ServerError):
    """Wrong credentials, or an account that may not do this."""

    code = 0x04


class FencedError(ServerError):
    """The caller's lease or generation has been superseded."""

    code = 0x05


class NotMemberError(ServerError):
    """The consumer is not, or no longer, a member of the group."""

    code = 0x06


class SlowConsumerError(ServerError):
    """A subscriber fell behind and its policy is to be disconnected."""

    code = 0x07


class StorageError(ServerError):
    """The disk refused: nothing was confirmed."""

    code = 0x08


class ProtocolError(ServerError):
    """Bytes that are not the protocol; the connection is closed after it."""

    code = 0x09


class MemoryLimitError(ServerError):
    """The memory cap is reached and eviction is off, or found nothing to evict."""

    code = 0x0A


class LimitExceededError(ServerError):
    """One of the bounds in limits.py; the message names the limit and its value."""

    code = 0x0B


class TooOldError(ServerError):
    """A watch asked to resume from a version that the change log has forgotten."""

    code = 0x0C


class NoRespondersError(ServerError):
    """A request was published to a topic that nobody can answer on."""

    code = 0x0D


class ReplyTimeoutError(ServerError, TimeoutError):
    """A request reached responders, and none replied before its deadline."""

    code = 0x0E


class NotAvailableError(ServerError):
    """The command exists in the protocol, and this server does not offer it."""

    code = 0x0F


class SequenceMismatchError(ServerError):
    """A stream's last sequence is not the one that an append expected; nothing was appended."""

    code = 0x10


class BatchRefusedError(ServerError):
    """One command or precondition of a batch was refused, and therefore nothing of the batch was done.

    Of `command` and `precondition` one is an index, counted from 0, and the other None. `reason` is the error
    that this one would have been alone.
    """

    code = 0x11

    @property
    def command(self) -> int | None:
        return self._place("command")

    @property
    def precondition(self) -> int | None:
        return self._place("precondition")

    @property
    def reason(self) -> ServerError:
        details = self.details if isinstance(self.details, dict) else {}
        code = details.get("code")
        message = str(details.get("message", self.message))
        return server_error(code if isinstance(code, int) else -1, message, details.get("details"))

    def _place(self, name: str) -> int | None:
        place = self.details.get(name) if isinstance(self.details, dict) else None
        return place if isinstance(place, int) else None


class PreconditionFailedError(ServerError):
    """A condition that a batch sets does not hold: a version, that a key exists or does not, a counter's bound."""

    code = 0x12


class AlarmError(ServerError):
    """A write, refused while the broker is short of memory or of room on its disk; nothing was done.

    It can be sent again when the alarm is cleared. details has "alarm" ("memory" or "disk"), "bytes", the figure
    when the write came, and "bound_bytes".
    """

    code = 0x13


class NotConnectedError(NexoError):
    """The client has no connection."""


class ConnectionClosedError(NexoError):
    """The connection ended before the answer came; the command may or may not have been done."""


class RequestTimeoutError(NexoError, TimeoutError):
    """No answer within the client's timeout; the command may or may not have been done."""


class VersionMismatchError(NexoError):
    """A compare-and-set found `actual` where the caller expected another version.

    `actual` is 0 when the key does not exist.
    """

    def __init__(self, message: str, actual: int) -> None:
        super().__init__(message)
        self.actual = actual


class ConfigError(NexoError):
    """A setting is unknown, of the wrong type or out of range; the message says where it stood."""


class DamagedError(NexoError):
    """A file of the data directory is damaged or missing: the node does not start on it.

    `file` is its path, `offset` the first byte that is not as it was written.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"{file} is damaged at byte {offset}: {reason}; see `nexo verify`")
        self.file = file
        self.offset = offset
        self.reason = reason


class DamagedBackupError(NexoError):
    """A backup is cut short, or not as it was written: nothing is restored from it.

    `file` is its path, `offset` the first byte that is known to be wrong, or where the file begins that is.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"the backup {file} is damaged at byte {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


class DataLockedError(NexoError):
    """Another process, `pid` (0: not known), has the data directory open."""

    def __init__(self, folder: str, pid: int) -> None:
        super().__init__(f"the data directory {folder} is in use by process {pid or 'unknown'}")
        self.pid = pid


class NewerFormatError(NexoError):
    """A file of the data directory, or a backup, has a format `version` that this release does not know."""

    def __init__(self, file: str, version: int) -> None:
        super().__init__(f"{file} has format version {version}, which a later release has written")
        self.file = file
        self.version = version


_BY_CODE: dict[int, type[ServerError]] = {
    error.code: error
    for error in (
        InternalError,
        InvalidArgumentError,
        ResourceNotFoundError,
        ResourceConfigConflictError,
        NotAuthorizedError,
        FencedError,
        NotMemberError,
        SlowConsumerError,
        StorageError,
        ProtocolError,
        MemoryLimitError,
        LimitExceededError,
        TooOldError,
        NoRespondersError,
        ReplyTimeoutError,
        NotAvailableError,
        SequenceMismatchError,
        BatchRefusedError,
        PreconditionFailedError,
        AlarmError,
    )
}


def server_error(code: int, message: str, details: Any = None) -> ServerError:
    """The exception for an error frame: a code that is not known becomes a plain ServerError."""
    return _BY_CODE.get(code, ServerError)(message, details)
