"""What a queue writes to the journal, operation by operation.

Integers are big-endian. `text` is a u16 length and bytes. Every body starts with the queue's number (u32)
and, where it says so, the time of the operation (i64 ms): replayed, an operation does what it did.

    kind                 body after the queue's number
    0x10 CREATE          time, i64 first id, i64 first token, text name, options
    0x11 DELETE          -
    0x12 PUSH            time, i64 first id, u32 count, items; ids are consecutive
    0x13 DELIVER         i64 first token, ids: each was delivered once more
    0x14 ACK             ids: gone
    0x15 RETURN          u8 1 = counted, text reason, u32 count, count x { i64 id, i64 due }: lent no longer
    0x16 DEAD            time, text reason, ids: now dead letters
    0x17 REMOVE          ids: gone, by their age, for want of room, or by hand
    0x18 PURGE           i64 id: all up to it are gone, dead letters excepted
    0x19 REDRIVE         u32 count, count x { i64 dead id, i64 new id }: dead letters that are messages again
    0x1A REMOVE_DEAD     ids; none = all dead letters
    0x1B PAUSE           i64 until (0 = not paused, -1 = until resumed)
    0x1C RESTORE         u32 count, count x { i64 id, i64 enqueued, u32 attempts, u8 1 = was delivered, text reason, item }
    0x1D RESTORE_DEAD    u32 count, count x { i64 id, i64 enqueued, u32 attempts, i64 died, text reason, item }
    0x1E RESTORE_DEDUP   u32 count, count x { text key, i64 id, i64 until }
    0x1F RESTORE_NUMBER  no queue's number before it: u32 highest queue number

    ids      u32 count, count x i64
    options  u8 count, count x { u8 length, name, i64 number }
    item     u8 priority, u8 flags, [0x01: i64 due] [0x02: i64 expires] [0x04: text dedup] [0x08: text group],
             u32 length of the headers, u32 CRC-32C of the body, u32 length of the body, body;
             with 0x10 instead of the body: i64 address in the log

A body is headers and value; it lies in the log where it can be read again by its address.
This module writes; replay.py reads. To change a layout, change both and this page.
"""

from __future__ import annotations

from typing import Final, final

from crc32c import crc32c
from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be
from mypy_extensions import i16, i32, i64, u8

from nexo.brokers.journal import FLUSH, MEMORY, Journal
from nexo.brokers.queue.definition import Definition
from nexo.brokers.queue.message import Delivery, QueueMessage

CREATE: Final = 0x10
DELETE: Final = 0x11
PUSH: Final = 0x12
DELIVER: Final = 0x13
ACK: Final = 0x14
RETURN: Final = 0x15
DEAD: Final = 0x16
REMOVE: Final = 0x17
PURGE: Final = 0x18
REDRIVE: Final = 0x19
REMOVE_DEAD: Final = 0x1A
PAUSE: Final = 0x1B
RESTORE: Final = 0x1C
RESTORE_DEAD: Final = 0x1D
RESTORE_DEDUP: Final = 0x1E
RESTORE_NUMBER: Final = 0x1F

ITEM_DUE: Final = 0x01
ITEM_EXPIRES: Final = 0x02
ITEM_DEDUP: Final = 0x04
ITEM_GROUP: Final = 0x08
ITEM_ELSEWHERE: Final = 0x10


@final
class Records:
    """The operations of one queue. Nothing is written unless `keeping()`."""

    __slots__ = ("_journal", "_level", "_number")

    def __init__(self, journal: Journal, number: i64, level: i64) -> None:
        self._journal = journal
        self._number = number
        self._level = level

    def keeping(self) -> bool:
        """Whether messages of this queue are recorded now."""
        return self._level != MEMORY and self._journal.keeping

    def raised(self) -> bool:
        """Whether what is done now is part of a batch across brokers, and waits for it."""
        return self._journal.floor != MEMORY

    def level(self) -> i64:
        """What has to be reached before that which is written now is shown."""
        return max(self._level, self._journal.floor)

    def settled(self, batch: i64, level: i64) -> bool:
        """Whether what was written in a batch is as durable as a level promises."""
        return self._journal.settled(batch, level)

    def batch(self) -> i64:
        """The number of the batch that takes what is written now."""
        return self._journal.batch

    def _begin(self, kind: i64) -> BytesWriter:
        out = self._journal.begin(kind, self._level)
        write_i32_be(out, i32(self._number))
        return out

    # The queue itself: its definition is kept even when its messages are not.

    def created(self, name: bytes, definition: Definition, first_id: i64, first_token: i64, now: i64) -> None:
        journal = self._journal
        if not journal.keeping:
            return
        out = journal.begin(CREATE, max(self._level, FLUSH))
        write_i32_be(out, i32(self._number))
        write_i64_be(out, now)
        write_i64_be(out, first_id)
        write_i64_be(out, first_token)
        write_text(out, name)
        out.append(u8(len(definition.numbers)))
        for option, number in definition.numbers.items():
            encoded = option.encode()
            out.append(u8(len(encoded)))
            out.write(encoded)
            write_i64_be(out, number)
        journal.end()

    def deleted(self) -> None:
        journal = self._journal
        if journal.keeping:
            out = journal.begin(DELETE, max(self._level, FLUSH))
            write_i32_be(out, i32(self._number))
            journal.end()

    def paused(self, until: i64) -> None:
        journal = self._journal
        if journal.keeping:
            out = journal.begin(PAUSE, max(self._level, FLUSH))
            write_i32_be(out, i32(self._number))
            write_i64_be(out, until)
            journal.end()

    # Messages.

    def pushed(self, message: QueueMessage, now: i64) -> None:
        """One message; its address and checksum are set."""
        journal = self._journal
        out = journal.begin(PUSH, self._level)
        write_i32_be(out, i32(self._number))
        write_i64_be(out, now)
        write_i64_be(out, message.id)
        write_i32_be(out, 1)
        write_item(journal, out, message)
        journal.end()
        journal.live.add(message.address, message.size)

    def pushed_many(self, messages: list[QueueMessage], now: i64) -> None:
        """Messages with consecutive ids, as one operation."""
        journal = self._journal
        out = self._begin(PUSH)
        write_i64_be(out, now)
        write_i64_be(out, messages[0].id)
        write_i32_be(out, i32(len(messages)))
        for message in messages:
            write_item(journal, out, message)
            journal.live.add(message.address, message.size)
        journal.end()

    def delivered(self, deliveries: list[Delivery]) -> None:
        """Nobody waits for the disk: it is written before the deliveries leave, and synced within 100 ms."""
        if not self.keeping():
            return
        out = self._journal.begin(DELIVER, FLUSH)
        write_i32_be(out, i32(self._number))
        write_i64_be(out, deliveries[0].token)
        write_i32_be(out, i32(len(deliveries)))
        for delivery in deliveries:
            write_i64_be(out, delivery.message.id)
        self._journal.end()

    def acked(self, id: i64) -> None:
        if not self.keeping():
            return
        out = self._begin(ACK)
        write_i32_be(out, 1)
        write_i64_be(out, id)
        self._journal.end()

    def returned(self, messages: list[QueueMessage], counted: bool, reason: bytes) -> None:
        """Messages that are lent no longer and may be delivered again from their due time on."""
        if not self.keeping():
            return
        out = self._begin(RETURN)
        out.append(1 if counted else 0)
        write_text(out, reason)
        write_i32_be(out, i32(len(messages)))
        for message in messages:
            write_i64_be(out, message.id)
            write_i64_be(out, message.due_at)
        self._journal.end()

    def died(self, ids: list[i64], reason: bytes, now: i64) -> None:
        if not self.keeping():
            return
        out = self._begin(DEAD)
        write_i64_be(out, now)
        write_text(out, reason)
        _write_ids(out, ids)
        self._journal.end()

    def ids(self, kind: i64, ids: list[i64]) -> None:
        """An operation of which ids are all there is: ACK, REMOVE, REMOVE_DEAD."""
        if not self.keeping():
            return
        out = self._begin(kind)
        _write_ids(out, ids)
        self._journal.end()

    def purged(self, newest: i64) -> None:
        if not self.keeping():
            return
        write_i64_be(self._begin(PURGE), newest)
        self._journal.end()

    def redriven(self, dead: list[i64], ids: list[i64]) -> None:
        if not self.keeping():
            return
        out = self._begin(REDRIVE)
        write_i32_be(out, i32(len(dead)))
        for place, id in enumerate(dead):
            write_i64_be(out, id)
            write_i64_be(out, ids[place])
        self._journal.end()


def write_text(out: BytesWriter, text: bytes) -> None:
    write_i16_be(out, signed16(len(text)))
    out.write(text)


def _write_ids(out: BytesWriter, ids: list[i64]) -> None:
    write_i32_be(out, i32(len(ids)))
    for id in ids:
        write_i64_be(out, id)


def write_item(journal: Journal, out: BytesWriter, message: QueueMessage) -> None:
    """Writes a message whose body is in memory, and notes in it where the body lies and its checksum."""
    extras = message.extras
    value = message.value
    headers = b"" if extras is None else extras.headers
    checksum: i64 = crc32c(value) if extras is None else crc32c(value, crc32c(headers))
    out.append(u8(message.priority))
    if extras is None and message.due_at == 0 and message.expires_at == 0:
        out.append(0)
    else:
        _write_options(out, message, 0)
    write_i32_be(out, i32(len(headers)))
    if checksum > 0x7FFF_FFFF:
        checksum -= 0x1_0000_0000
    message.checksum = i32(checksum)
    write_i32_be(out, i32(checksum))
    write_i32_be(out, i32(message.size))
    message.address = journal.address()
    if headers:
        out.write(headers)
    out.write(value)


def write_reference(out: BytesWriter, message: QueueMessage) -> None:
    """Writes a message whose body is in the log by its address there."""
    extras = message.extras
    out.append(u8(message.priority))
    _write_options(out, message, ITEM_ELSEWHERE)
    write_i32_be(out, i32(0 if extras is None else extras.headers_bytes or len(extras.headers)))
    write_i32_be(out, message.checksum)
    write_i32_be(out, i32(message.size))
    write_i64_be(out, message.address)


def _write_options(out: BytesWriter, message: QueueMessage, flags: i64) -> None:
    extras = message.extras
    if message.due_at != 0:
        flags |= ITEM_DUE
    if message.expires_at != 0:
        flags |= ITEM_EXPIRES
    if extras is not None and extras.dedup:
        flags |= ITEM_DEDUP
    if extras is not None and extras.group:
        flags |= ITEM_GROUP
    out.append(u8(flags))
    if message.due_at != 0:
        write_i64_be(out, message.due_at)
    if message.expires_at != 0:
        write_i64_be(out, message.expires_at)
    if extras is not None and extras.dedup:
        write_text(out, extras.dedup)
    if extras is not None and extras.group:
        write_text(out, extras.group)


def signed16(number: i64) -> i16:
    """The signed number with the bits of an unsigned one, for a writer that knows signed ones only."""
    return i16(number - 0x1_0000 if number > 0x7FFF else number)
