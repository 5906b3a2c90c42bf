"""Which bodies stay in memory: those at the head of a queue, as far as a bound allows.

The body of a message that is in the log may be let go, and is read again, together with those that come
next, shortly before it is delivered. Knows addresses and checksums, and no order of messages.
"""

from __future__ import annotations

from typing import final

from crc32c import crc32c
from mypy_extensions import i64

from nexo.brokers.journal import Journal
from nexo.brokers.queue.message import QueueMessage
from nexo.errors import StorageError
from nexo.limits import READ_AHEAD_BYTES, READ_GAP_BYTES


@final
class Residency:
    """The account over all queues of a node."""

    __slots__ = ("bytes", "bytes_max")

    def __init__(self, bytes_max: i64) -> None:
        self.bytes: i64 = 0
        self.bytes_max = bytes_max


@final
class Bodies:
    """The bodies of one queue. `bytes` is what is in memory, of dead letters, too."""

    __slots__ = ("_account", "_journal", "bytes", "bytes_max", "name")

    def __init__(self, journal: Journal, account: Residency, bytes_max: i64, name: bytes) -> None:
        self._journal = journal
        self._account = account
        self.bytes: i64 = 0
        self.bytes_max = bytes_max
        self.name = name

    def refer(self, message: QueueMessage) -> None:
        """The message is here: the log must keep its body, if that is there."""
        self._journal.live.add(message.address, message.size)

    def release(self, message: QueueMessage) -> None:
        """The message is gone from here: the log need not keep its body for it."""
        self._journal.live.drop(message.address, message.size)

    def added(self, size: i64) -> None:
        self.bytes += size
        self._account.bytes += size

    def removed(self, size: i64) -> None:
        self.bytes -= size
        self._account.bytes -= size

    @property
    def full(self) -> bool:
        """Whether the bodies of messages that are not wanted soon should be let go."""
        return self.bytes > self.bytes_max or self._account.bytes > self._account.bytes_max

    def let_go(self, message: QueueMessage) -> None:
        """Frees a body, if it can be read again."""
        if message.address == 0 or is_absent(message):
            return
        self.removed(message.size)
        message.value = b""
        extras = message.extras
        if extras is not None:
            extras.headers = b""

    def forget(self, message: QueueMessage) -> None:
        """The message is gone: frees its body for good."""
        self.release(message)
        if not is_absent(message):
            self.removed(message.size)
        message.value = b""

    def load(self, messages: list[QueueMessage]) -> None:
        """Reads the body of the first message, which is absent, and those of as many others as fit.

        Raises StorageError when the first cannot be read; of the others, the damaged stay absent.
        """
        wanted: list[QueueMessage] = []
        size: i64 = 0
        for message in messages:
            if not is_absent(message):
                continue
            size += message.size
            if wanted and size > READ_AHEAD_BYTES:
                break
            wanted.append(message)
        first: i64 = 0
        while first < len(wanted):
            # A run: bodies that lie close enough together, in one log file, to be read at once.
            start = wanted[first].address
            end = start + wanted[first].size
            after = first + 1
            while after < len(wanted):
                address = wanted[after].address
                if address < end or address > end + READ_GAP_BYTES or address >> 32 != start >> 32:
                    break
                end = address + wanted[after].size
                after += 1
            try:
                data = self._journal.read(start, end - start)
            except StorageError:
                if first == 0:
                    raise
                return  # those that come next are only read ahead; whoever wants them is told
            while first < after:
                message = wanted[first]
                offset = message.address - start
                body = data[offset : offset + message.size]
                if self._is_right(message, body):
                    self._fill(message, body)
                elif first == 0:
                    raise StorageError(
                        f"message {message.id} of queue {self.name.decode('utf-8', 'replace')!r}: "
                        f"its {message.size} bytes at {message.address} of the log are damaged"
                    )
                first += 1

    def view(self, message: QueueMessage) -> QueueMessage:
        """The message with its body; a copy, if the body is not in memory. Raises StorageError."""
        if not is_absent(message):
            return message
        copy = message.copy()
        self.load([copy])
        self.removed(copy.size)  # the copy goes with whoever looks at it
        return copy

    def _is_right(self, message: QueueMessage, body: bytes) -> bool:
        checksum: i64 = crc32c(body)
        if checksum > 0x7FFF_FFFF:
            checksum -= 0x1_0000_0000
        return len(body) == message.size and checksum == i64(message.checksum)

    def _fill(self, message: QueueMessage, body: bytes) -> None:
        extras = message.extras
        if extras is not None and extras.headers_bytes > 0:
            extras.headers = body[: extras.headers_bytes]
            message.value = body[extras.headers_bytes :]
        else:
            message.value = body
        self.added(message.size)


def is_absent(message: QueueMessage) -> bool:
    """Whether the body is let go. A value has at least its type, so an empty one is none."""
    return len(message.value) == 0 and message.size > 0
