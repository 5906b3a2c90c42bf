"""A snapshot of the queues: operations that, replayed, make them what they are now.

Written in bounded slices while nothing else changes, and nothing is on its way to another place in the log
(moving.py); who runs it sees to that.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, u8

from nexo.brokers.journal import FLUSH, MEMORY, Journal
from nexo.brokers.queue import records
from nexo.brokers.queue.message import LEASED, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.brokers.queue.records import Records, write_item, write_reference, write_text
from nexo.brokers.queue.replay import WAS_DELIVERED, WAS_LENT
from nexo.limits import DUMP_BYTES

_MESSAGES: Final = 256  # in one operation, and read from the index at a time

# What of a queue comes next.
_HEAD: Final = 0
_LIVING: Final = 1
_DEAD: Final = 2
_DEDUP: Final = 3


@final
class DumpJob:
    """Writes all queues to a journal.

    With `with_memory` the messages of queues at level memory, too: that is for the orderly end of a node,
    after which nothing happens that is not recorded. A body that is in the log is referred to by its
    address: `files` are the numbers of the log files that must stay as long as the snapshot does.
    """

    __slots__ = ("_after", "_now", "_number", "_out", "_part", "_parts", "_with_memory", "files")

    def __init__(self, out: Journal, parts: list[Parts], number: i64, with_memory: bool, now: i64) -> None:
        self.files: set[int] = set()
        self._out = out
        self._parts = parts
        self._number = number
        self._with_memory = with_memory
        self._now = now
        self._part: i64 = _HEAD
        self._after: i64 = 0
        parts.reverse()

    def step(self, budget: i64) -> bool:
        """Writes about `budget` messages; True when all is written."""
        while self._parts:
            if budget <= 0:
                return False
            parts = self._parts[-1]
            if self._part == _HEAD:
                self._head(parts)
                budget -= 1
                if parts.definition.level != MEMORY or self._with_memory:
                    self._part = _LIVING
                else:
                    self._parts.pop()
            elif self._part == _LIVING:
                budget -= self._living(parts)
            elif self._part == _DEAD:
                budget -= self._dead(parts)
            else:
                budget -= self._dedup(parts)
        out = self._out
        write_i32_be(out.begin(records.RESTORE_NUMBER, FLUSH), i32(self._number))
        out.end()
        return True

    def _next_part(self) -> i64:
        self._part += 1
        self._after = 0
        if self._part > _DEDUP:
            self._part = _HEAD
            self._parts.pop()
        return 1

    def _begin(self, parts: Parts, kind: i64) -> BytesWriter:
        out = self._out.begin(kind, FLUSH)
        write_i32_be(out, i32(parts.number))
        return out

    def _head(self, parts: Parts) -> None:
        writer = Records(self._out, parts.number, parts.definition.level)
        writer.created(parts.name, parts.definition, parts.next_id, parts.leases.next_token, parts.created_at)
        if parts.paused_until != 0:
            writer.paused(parts.paused_until)

    def _living(self, parts: Parts) -> i64:
        messages = parts.backlog.index.after(self._after, _MESSAGES)
        if not messages:
            return self._next_part()
        done: i64 = 0
        while done < len(messages):
            chunk = some(messages, done)
            out = self._begin(parts, records.RESTORE)
            write_i32_be(out, i32(len(chunk)))
            for message in chunk:
                write_i64_be(out, message.id)
                write_i64_be(out, message.enqueued_at)
                write_i32_be(out, i32(message.attempts))
                flags: i64 = WAS_LENT if message.state == LEASED else 0
                if message.extras is not None and message.extras.delivered:
                    flags |= WAS_DELIVERED
                out.append(u8(flags))
                write_text(out, message.reason)
                self._item(out, message)
            self._out.end()
            done += len(chunk)
        self._after = messages[-1].id
        return done

    def _dead(self, parts: Parts) -> i64:
        letters = parts.dead.following(self._after, _MESSAGES)
        if not letters:
            return self._next_part()
        for letter in letters:
            message = letter.message
            out = self._begin(parts, records.RESTORE_DEAD)
            write_i32_be(out, 1)
            write_i64_be(out, message.id)
            write_i64_be(out, message.enqueued_at)
            write_i32_be(out, i32(message.attempts))
            write_i64_be(out, letter.died_at)
            write_text(out, letter.reason)
            self._item(out, message)
            self._out.end()
        self._after = letters[-1].serial
        return len(letters)

    def _item(self, out: BytesWriter, message: QueueMessage) -> None:
        if message.address == 0:
            write_item(self._out, out, message.copy())  # it notes where the copy lies
        else:
            write_reference(out, message)
            self.files.add(int(message.address >> 32))

    def _dedup(self, parts: Parts) -> i64:
        keys = parts.dedup.living(self._now, self._after, _MESSAGES)
        if not keys:
            return self._next_part()
        out = self._begin(parts, records.RESTORE_DEDUP)
        write_i32_be(out, i32(len(keys)))
        for entry in keys:
            write_text(out, entry.key)
            write_i64_be(out, entry.id)
            write_i64_be(out, entry.until)
        self._out.end()
        self._after += len(keys)
        return len(keys)


def some(messages: list[QueueMessage], start: i64) -> list[QueueMessage]:
    """The messages from a place on whose bodies fit into one operation, at least one."""
    size: i64 = 0
    end = start
    while end < len(messages) and (end == start or size + messages[end].size <= DUMP_BYTES):
        size += messages[end].size
        end += 1
    return messages[start:end]
