"""Does again what the journal's operations say: records.py has their layout.

Replaying changes fields of messages and nothing else; `recovered` then lets each message wait where it
belongs. What was lent is ready again, with its attempts. Bodies beyond the bound stay in the log.
"""

from __future__ import annotations

from typing import Final, final

from crc32c import crc32c
from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.journal import LOST_NUMBERS_MAX
from nexo.brokers.queue import records
from nexo.brokers.queue.admin import revive
from nexo.brokers.queue.message import LEASED, STAGED, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.errors import StorageError

RESTARTED: Final = b"lease ended: the server restarted"

WAS_DELIVERED: Final = 0x01
WAS_LENT: Final = 0x02


@final
class Reader:
    """Reads one operation's body. `address` is where data[start] lies in the log, 0 = nowhere that lasts."""

    __slots__ = ("_address", "_data", "_end", "_start", "at")

    def __init__(self, data: bytes, start: i64, end: i64, address: i64) -> None:
        self._data = data
        self._start = start
        self._end = end
        self._address = address
        self.at = start

    def _take(self, size: i64) -> i64:
        at = self.at
        if size < 0 or at + size > self._end:
            raise StorageError(f"an operation of a queue at {self._address} of the log ends early")
        self.at = at + size
        return at

    def u8(self) -> i64:
        return i64(self._data[self._take(1)])

    def u16(self) -> i64:
        return i64(read_i16_be(self._data, self._take(2))) & 0xFFFF

    def u32(self) -> i64:
        return i64(read_i32_be(self._data, self._take(4))) & 0xFFFF_FFFF

    def number(self) -> i64:
        return read_i64_be(self._data, self._take(8))

    def blob(self, size: i64) -> bytes:
        at = self._take(size)
        return self._data[at : at + size]

    def text(self) -> bytes:
        return self.blob(self.u16())

    def address(self) -> i64:
        """The address of what is read next, 0 if it cannot be read again."""
        return 0 if self._address == 0 else self._address + self.at - self._start

    def skip(self, size: i64) -> None:
        self._take(size)


def options(reader: Reader) -> dict[str, int]:
    """The options of a CREATE, as numbers; those that this version does not know are there, too."""
    numbers: dict[str, int] = {}
    for _ in range(reader.u8()):
        name = reader.blob(reader.u8()).decode("ascii", "replace")
        numbers[name] = reader.number()
    return numbers


def apply(parts: Parts, kind: i64, reader: Reader) -> None:
    """Does one operation of a queue; its number has been read. Raises StorageError for what makes no sense."""
    backlog = parts.backlog
    if kind == records.PUSH:
        _push(parts, reader)
    elif kind == records.DELIVER:
        token = reader.number()
        count = reader.u32()
        parts.leases.skip_to(token + count)
        for _ in range(count):
            message = backlog.index.get(reader.number())
            if message is not None:
                message.attempts += 1
                message.state = LEASED
    elif kind == records.ACK or kind == records.REMOVE:
        for _ in range(reader.u32()):
            message = backlog.index.get(reader.number())
            if message is not None:
                backlog.finish(message)
    elif kind == records.RETURN:
        _give_back(parts, reader)
    elif kind == records.DEAD:
        now = reader.number()
        reason = reader.text()
        for _ in range(reader.u32()):
            message = backlog.index.get(reader.number())
            if message is not None:
                corpse = message.copy()
                backlog.finish(message)
                parts.dead.add(corpse, reason, now)
    elif kind == records.PURGE:
        parts.next_id = max(parts.next_id, reader.number() + 1)
        parts.empty()
    elif kind == records.REDRIVE:
        for _ in range(reader.u32()):
            letter = parts.dead.get(reader.number())
            id = reader.number()
            if letter is not None:
                _know(parts, revive(parts, letter, id))
    elif kind == records.REMOVE_DEAD:
        count = reader.u32()
        if count == 0:
            parts.empty_dead()
        for _ in range(count):
            letter = parts.dead.get(reader.number())
            if letter is not None:
                parts.dead.remove(letter)
    elif kind == records.PAUSE:
        parts.paused_until = reader.number()
    else:
        _restore(parts, kind, reader)


def _push(parts: Parts, reader: Reader) -> None:
    now = reader.number()
    id = reader.number()
    for _ in range(reader.u32()):
        message = _item(parts, reader, id, now)
        extras = message.extras
        if extras is not None and extras.dedup:
            parts.dedup.add(extras.dedup, id, now + parts.definition.dedup_window_ms)
        parts.backlog.add(message)
        _know(parts, message)
        id += 1


def _know(parts: Parts, message: QueueMessage) -> None:
    """A message that exists but waits nowhere until the replay is over."""
    message.state = STAGED
    if message.id >= parts.next_id:
        parts.next_id = message.id + 1


def _item(parts: Parts, reader: Reader, id: i64, enqueued_at: i64) -> QueueMessage:
    priority = reader.u8()
    message = QueueMessage(id, b"", priority, enqueued_at)
    flags = reader.u8()
    if flags & records.ITEM_DUE:
        message.due_at = reader.number()
    if flags & records.ITEM_EXPIRES:
        message.expires_at = reader.number()
    if flags & records.ITEM_DEDUP:
        message.more().dedup = reader.text()
    if flags & records.ITEM_GROUP:
        message.more().group = reader.text()
    headers_bytes = reader.u32()
    checksum = reader.u32()
    size = reader.u32()
    elsewhere = (flags & records.ITEM_ELSEWHERE) != 0
    message.address = reader.number() if elsewhere else reader.address()
    message.size = size
    message.checksum = i32(checksum - 0x1_0000_0000 if checksum > 0x7FFF_FFFF else checksum)
    if headers_bytes > 0:
        message.more().headers_bytes = headers_bytes
    if elsewhere:
        return message
    if parts.backlog.bodies.full and message.address != 0:
        reader.skip(size)
        return message
    body = reader.blob(size)
    if i64(crc32c(body)) != checksum:
        raise StorageError(
            f"message {id} of queue {parts.title}: its body at {message.address} of the log is damaged"
        )
    if headers_bytes > 0:
        message.more().headers = body[:headers_bytes]
    message.value = body[headers_bytes:]
    return message


def _give_back(parts: Parts, reader: Reader) -> None:
    counted = reader.u8() == 1
    reason = reader.text()
    for _ in range(reader.u32()):
        message = parts.backlog.index.get(reader.number())
        due_at = reader.number()
        if message is None:
            continue
        message.state = STAGED
        message.due_at = due_at
        if not counted:
            message.attempts -= 1
        if reason:
            message.more().reason = reason
        if message.extras is not None:
            message.extras.delivered = True


def _restore(parts: Parts, kind: i64, reader: Reader) -> None:
    """What a snapshot says."""
    count = reader.u32()
    for _ in range(count):
        if kind == records.RESTORE_DEDUP:
            key = reader.text()
            id = reader.number()
            parts.dedup.add(key, id, reader.number())
            continue
        id = reader.number()
        enqueued_at = reader.number()
        attempts = reader.u32()
        flags: i64 = 0
        died_at: i64 = 0
        if kind == records.RESTORE:
            flags = reader.u8()
        elif kind == records.RESTORE_DEAD:
            died_at = reader.number()
        else:
            raise StorageError(f"an operation of kind {kind} is none that a queue knows")
        reason = reader.text()
        message = _item(parts, reader, id, enqueued_at)
        message.attempts = attempts
        if kind == records.RESTORE_DEAD:
            parts.dead.add(message, reason, died_at)
            continue
        if reason:
            message.more().reason = reason
        if flags & WAS_DELIVERED:
            message.more().delivered = True
        parts.backlog.add(message)
        _know(parts, message)
        if flags & WAS_LENT:
            message.state = LEASED


def recovered(parts: Parts, above: i64, now: i64) -> None:
    """The replay is over: everything waits where it belongs, and what was lent for the last time is dead.

    Ids, tokens and places among the dead letters go on above this number at the least.
    """
    backlog = parts.backlog
    # Above any that an earlier life can have given, though the end of the log was lost.
    parts.leases.skip_to(max(parts.leases.next_token + LOST_NUMBERS_MAX, above + 1))
    parts.next_id = max(parts.next_id + LOST_NUMBERS_MAX, above + 1)
    parts.dead.restarted(above)
    lost: list[QueueMessage] = []
    for message in backlog.index.after(0, backlog.index.count):
        if message.state == LEASED and message.attempts >= parts.definition.max_deliveries:
            lost.append(message)
    backlog.rebuild(now)
    if lost:
        parts.bury(lost, RESTARTED, now)
    parts.due(parts.next_deadline())
