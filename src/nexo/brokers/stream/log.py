"""One stream's log: appending, the blocks that hold the records, reading, retention.

Appends of a turn are gathered in open blocks; `close` records them as one operation. A recorded block is
staged until its batch has got as far as the stream's level promises, and only then is it visible. From then
on the log is its storage: the index says where it lies, the cache may have its bytes. Without a journal that
keeps, blocks stay in memory.

Knows neither groups nor who waits; `news` tells its subclass that more is visible.
"""

from __future__ import annotations

from typing import Final

from crc32c import crc32c
from librt.strings import BytesWriter, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.journal import MEMORY
from nexo.brokers.stream.blocks import Blocks
from nexo.brokers.stream.commons import Commons, Staged, Stager
from nexo.brokers.stream.definition import Definition
from nexo.brokers.stream.operations import APPEND, TRIM, write_text
from nexo.brokers.stream.producers import Producers
from nexo.brokers.stream.records import Records, Run, record_end, skip, write_record
from nexo.brokers.stream.retention import excess, next_check
from nexo.errors import InvalidArgumentError, LimitExceededError, SequenceMismatchError, StorageError
from nexo.limits import (
    APPEND_RECORDS_MAX,
    BLOCK_BYTES_MAX,
    FETCH_RECORDS_MAX,
    MESSAGE_BYTES_MAX,
    PRODUCER_ID_BYTES_MAX,
    STREAM_KEY_BYTES_MAX,
)

_UNSETTLED_MS: Final = 1_000  # until a block that is due but not visible is looked at again


class StreamLog(Stager):
    """The records of one stream. Sequences start at 1 and have no gaps.

    `first_seq` is the oldest record that is kept, `last_seq` the newest that is visible (`first_seq - 1`
    when there is none), `next_seq` the sequence that the next append gets.
    """

    def __init__(self, commons: Commons, number: i64, definition: Definition) -> None:
        super().__init__()
        self.commons = commons
        self.number = number
        self.definition = definition
        self.first_seq: i64 = 1
        self.last_seq: i64 = 0
        self.next_seq: i64 = 1
        self.blocks = Blocks(commons)
        self.producers = Producers()
        self.staged_batch: i64 = 0
        self.deleted = False
        self._last_time: i64 = 0
        self._raised: i64 = MEMORY  # the level that batches across brokers have asked for,
        self._raised_batch: i64 = 0  # and the batch of the journal that has to reach it
        self._writer: BytesWriter | None = None
        self._open_first: i64 = 0  # of the block that is being written
        self._closed: list[tuple[bytes, int, int]] = []  # blocks of the turn: bytes, first sequence, time
        self._notes: list[tuple[bytes, int, int, int]] = []  # what idempotent producers did in the turn

    # Appending.

    def append(self, key: bytes, value: bytes, headers: bytes, now: i64) -> i64:
        """Adds a record and gives its sequence. It is visible once its turn has ended and settled."""
        check(key, value)
        writer = self._writer
        if writer is None:
            writer = self._open()
        if now < self._last_time:
            now = self._last_time  # the clock was set back while the process was away
        write_record(writer, now, key, value, headers)
        self._last_time = now
        seq = self.next_seq
        self.next_seq = seq + 1
        if len(writer) >= BLOCK_BYTES_MAX:
            self._end_block(writer)
        return seq

    def append_many(
        self,
        records: list[tuple[bytes, bytes, bytes]],
        now: i64,
        expected_last: i64 = -1,
        producer: bytes = b"",
        producer_seq: i64 = -1,
    ) -> tuple[i64, i64, bool]:
        """Adds records of (key, value, headers), all or none: (first sequence, count, known already).

        With `expected_last` not below 0, raises SequenceMismatchError unless that is the sequence of the
        last append. An append that a producer repeats adds nothing and gets the answer it got before; until
        `unsettled()` says otherwise that one is not durable either.
        """
        known_first, known_count = self.known(producer, producer_seq)
        if known_first != 0:
            return known_first, known_count, True
        self.check(records, expected_last, self.next_seq - 1)
        first = self.next_seq
        count: i64 = len(records)
        for key, value, headers in records:
            self.append(key, value, headers, now)
        if producer and count > 0:
            self.producers.note(producer, producer_seq, first, count)
            self._notes.append((producer, producer_seq, first, count))
        return first, count, False

    def known(self, producer: bytes, number: i64) -> tuple[i64, i64]:
        """The first sequence and the count of an append that is here already; (0, 0) for a new one, or no producer."""
        if not producer:
            return 0, 0
        if len(producer) > PRODUCER_ID_BYTES_MAX:
            raise LimitExceededError(
                f"producer id of {len(producer)} bytes: producer_id_bytes_max is {PRODUCER_ID_BYTES_MAX}"
            )
        if number < 0:
            raise InvalidArgumentError("a producer numbers its appends from 0 on")
        return self.producers.find(producer, number)

    def check(self, records: list[tuple[bytes, bytes, bytes]], expected_last: i64, last: i64) -> None:
        """Raises what `append_many` would for a new append, if the last sequence were `last`."""
        if expected_last >= 0 and expected_last != last:
            raise SequenceMismatchError(
                f"the last sequence is {last}, not {expected_last}", {"actual": int(last)}
            )
        if len(records) > APPEND_RECORDS_MAX:
            raise LimitExceededError(
                f"{len(records)} records in one append: append_records_max is {APPEND_RECORDS_MAX}"
            )
        for key, value, _ in records:
            check(key, value)

    @property
    def level(self) -> i64:
        """What an answer to an append promises: the stream's durability, or more while records of a batch across
        brokers wait for more, because what follows them is shown after them."""
        if self._raised != MEMORY and self.commons.journal.settled(self._raised_batch, self._raised):
            self._raised = MEMORY
        return max(self.definition.durability, self._raised)

    def unsettled(self) -> i64:
        """The batch that must settle before all that was appended is durable; 0 when it is."""
        if self.last_seq == self.next_seq - 1:
            return 0
        return self.staged_batch if self._writer is None else self.commons.journal.batch

    def _open(self) -> BytesWriter:
        writer = BytesWriter()
        self._writer = writer
        self._open_first = self.next_seq
        self.commons.opened.append(self)
        return writer

    def _end_block(self, writer: BytesWriter) -> None:
        if len(writer) > 0:
            self._closed.append((writer.getvalue(), self._open_first, self._last_time))
            writer.truncate(0)
            self._open_first = self.next_seq

    def close(self, now: i64) -> None:
        """Records what was appended in this turn."""
        writer = self._writer
        if writer is None or self.deleted:
            return
        self._end_block(writer)
        self._writer = None
        blocks, self._closed = self._closed, []
        notes, self._notes = self._notes, []
        if not blocks:
            return
        first: i64 = blocks[0][1]
        journal = self.commons.journal
        if not journal.keeping:
            for block, start, time in blocks:
                self.blocks.add(block, start, time, 0, 0)
            self._look_at_bounds()
            self._show(self.next_seq - 1)
            return
        if journal.floor > self.definition.durability and journal.floor >= self.level:
            self._raised = journal.floor
            self._raised_batch = journal.batch
        level = self.level
        out = journal.begin(APPEND, level)
        write_i64_be(out, self.number)
        write_i64_be(out, first)
        write_i32_be(out, i32(len(blocks)))
        place: i64 = 0
        for block, start, time in blocks:
            place += 1
            after: i64 = blocks[place][1] if place < len(blocks) else self.next_seq
            crc: i64 = crc32c(block)
            write_i32_be(out, i32(after - start))
            write_i64_be(out, time)
            write_i64_be(out, crc)
            write_i32_be(out, i32(len(block)))
            self.blocks.add(block, start, time, journal.address(), crc)
            out.write(block)
        write_i32_be(out, i32(len(notes)))
        for name, number, note_first, count in notes:
            write_text(out, name)
            write_i64_be(out, number)
            write_i64_be(out, note_first)
            write_i32_be(out, i32(count))
        journal.end()
        self._look_at_bounds()
        self.staged_batch = journal.batch
        self.commons.stage(Staged(self, journal.batch, first, self.next_seq - 1, place), level)
        if level == MEMORY:
            self._show(self.next_seq - 1)

    def _show(self, last: i64) -> None:
        self.last_seq = last
        self.news()

    def news(self) -> None:
        """Told when more has become visible."""

    def withdrawn(self) -> None:
        """Told when what was appended from `next_seq` on never was."""

    def group_idle(self, name: bytes, now: i64) -> None:
        """Told when a group has had no members for as long as it may."""

    # What became of a batch.

    def commit(self, staged: Staged) -> None:
        """A batch has settled: its blocks are visible, and memory may let them go."""
        if self.deleted:
            return
        self.blocks.settle(staged.first, staged.last)
        if staged.last > self.last_seq:
            self._show(staged.last)
        self._look_at_bounds()

    def retract(self, staged: Staged) -> None:
        """A batch failed. What nobody has seen is forgotten; what was visible stays, in memory alone."""
        if self.deleted or staged.first >= self.next_seq:
            return
        if staged.last <= self.last_seq:
            self.blocks.unlog(staged.first)
            return
        self.drop_open()
        self.blocks.cut(staged.first)
        self.next_seq = staged.first
        self.producers.retract(self.next_seq)
        self.withdrawn()

    def drop_open(self) -> None:
        """Forgets what was appended since the last `close`."""
        if self._writer is not None:
            self.next_seq = self._closed[0][1] if self._closed else self._open_first
            self._writer = None
            self._closed = []
            self._notes = []
            self.producers.retract(self.next_seq)
            self.withdrawn()

    # Replay.

    def start_at(self, first_seq: i64) -> None:
        """A stream that is made again: retention had removed what came before a sequence."""
        self.first_seq = first_seq
        self.next_seq = first_seq
        self.last_seq = first_seq - 1

    def restore(
        self, block: bytes, first: i64, count: i64, time: i64, address: i64, size: i64, crc: i64
    ) -> None:
        """Takes over a block that was recorded before; one that is here already is left alone."""
        if first < self.next_seq:
            return
        if first != self.next_seq:
            raise StorageError(f"stream {self.number}: sequence {first} follows {self.next_seq - 1}")
        if address == 0:
            self.blocks.add(block, first, time, 0, crc)
        else:
            self.blocks.enter(first, time, address, size, crc)
            self.blocks.skip_tail()
        self._last_time = time
        self.next_seq = first + count
        self.last_seq = self.next_seq - 1
        self._look_at_bounds()

    # Reading.

    def read(self, from_seq: i64, count: i64, bytes_max: i64) -> Records:
        """Up to `count` visible records from a sequence on, which is clamped to what there is.

        Ends before `bytes_max` bytes of records are passed, but not before the first. Raises StorageError
        when the log is damaged there.
        """
        seq = max(from_seq, self.first_seq)
        found = Records(min(seq, self.last_seq + 1))
        left = min(count, FETCH_RECORDS_MAX)
        while seq <= self.last_seq and left > 0:
            block, first = self.blocks.at(seq)
            size: i64 = len(block)
            if seq == first and found.size + size <= bytes_max:
                whole = self.blocks.after(seq, self.last_seq + 1) - seq
                if whole <= left:
                    found.add(Run(seq, whole, block, 0, size))
                    seq += whole
                    left -= whole
                    continue
            start = skip(block, 0, seq - first)
            end = start
            taken: i64 = 0
            while end < size and taken < left:
                after = record_end(block, end)
                if found.size + after - start > bytes_max and found.count + taken > 0:
                    break
                end = after
                taken += 1
            if taken == 0:
                break
            found.add(Run(seq, taken, block, start, end))
            if end < size:
                break
            seq += taken
            left -= taken
        return found

    def seq_at_time(self, time: i64) -> i64:
        """The first visible sequence that is not older than a time; `last_seq + 1` when there is none."""
        index = self.blocks.index
        place = index.place_at_time(time)
        if place >= len(index) or index.first(place) > self.last_seq:
            return self.last_seq + 1
        block, seq = self.blocks.at(index.first(place))
        start: i64 = 0
        while read_i64_be(block, start) < time:
            start = record_end(block, start)
            seq += 1
        return seq

    def time_of(self, seq: i64) -> i64:
        """When the block of a sequence was written, Unix ms."""
        return self.blocks.index.time(self.blocks.index.place_of(seq))

    # Retention.

    def retain(self, now: i64) -> i64:
        """Drops the oldest blocks where a bound asks for it; gives the time at which to look again, 0 for never."""
        index = self.blocks.index
        end = self.recorded_seq()
        count = excess(self.definition, self.blocks, self.last_seq, end, now)
        if count > 0:
            self.trim(index.first(count) if count < len(index) else end)
            journal = self.commons.journal
            if journal.keeping:
                out = journal.begin(TRIM, MEMORY)
                write_i64_be(out, self.number)
                write_i64_be(out, self.first_seq)
                journal.end()
        again = next_check(self.definition, self.blocks, end)
        # What is due and still there is not visible yet: it is looked at again when it is.
        return again if again == 0 or again > now else now + _UNSETTLED_MS

    def _look_at_bounds(self) -> None:
        """Has `retain` called when it has something to do."""
        again = next_check(self.definition, self.blocks, self.next_seq)
        if again != 0:
            self.commons.agenda.sooner(self, again)

    def recorded_seq(self) -> i64:
        """The sequence after the last one that a `close` has recorded."""
        if self._writer is None:
            return self.next_seq
        return self._closed[0][1] if self._closed else self._open_first

    def trim(self, first_kept: i64) -> None:
        """Forgets what comes before a sequence, which is a block's first or the one after the last."""
        self.blocks.trim(first_kept)
        self.first_seq = max(self.first_seq, first_kept)
        self.next_seq = max(self.next_seq, first_kept)
        self.last_seq = max(self.last_seq, first_kept - 1)


def check(key: bytes, value: bytes) -> None:
    """Raises LimitExceededError for what no stream takes."""
    if len(key) > STREAM_KEY_BYTES_MAX:
        raise LimitExceededError(
            f"stream key of {len(key)} bytes: stream_key_bytes_max is {STREAM_KEY_BYTES_MAX}"
        )
    if len(value) > MESSAGE_BYTES_MAX:
        raise LimitExceededError(f"value of {len(value)} bytes: message_bytes_max is {MESSAGE_BYTES_MAX}")
