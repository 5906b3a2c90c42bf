"""Writing the state of all streams as operations: for a snapshot, a portion at a time.

The log's records are not copied; the index refers to them. Turns go on meanwhile, and what they do is
replayed from the log after the snapshot, so each part may be as new as it likes, with one exception: a
sequence is only mentioned if it was recorded before the dump began. A later one may be lost in a power cut
with the end of the log, and would then be given again.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.journal import FLUSH, MEMORY, Journal
from nexo.brokers.stream.backlog import put_off
from nexo.brokers.stream.group import Group
from nexo.brokers.stream.journal import letter_body, retry
from nexo.brokers.stream.operations import APPEND, CREATE, GROUP, INDEX, LETTER, PRODUCER, TRIM, write_text
from nexo.brokers.stream.registry import Registry
from nexo.brokers.stream.stream import Stream

_INDEX_BLOCKS: Final = 500  # in one operation


@final
class DumpJob:
    """Call `step` until it is true. Begin when the open batch is empty; use it when that is on disk.

    A block that is in the log is referred to by its address: `files` are the numbers of the log files that must
    stay as long as the snapshot does.
    """

    def __init__(self, registry: Registry, journal: Journal) -> None:
        self.files: set[int] = set()
        self._journal = journal
        self._streams = [(stream, int(stream.recorded_seq())) for stream in registry.by_number.values()]
        self._streams.reverse()
        self._stream: Stream | None = None
        self._end: i64 = 0  # sequences from here on are not mentioned
        self._index_from: i64 = 0  # 0: the index is done
        self._producers: list[bytes] = []
        self._groups: list[Group] = []
        self._group: Group | None = None
        self._pending: list[int] = []
        self._letters: list[int] = []

    def step(self, budget: i64) -> bool:
        """Writes about `budget` entries; whether all is written."""
        while budget > 0:
            budget -= 1
            stream = self._stream
            if stream is None or stream.deleted:
                if not self._streams:
                    return True
                self._begin()
            elif self._index_from != 0:
                budget -= self._write_index(stream)
            elif self._producers:
                self._write_producer(stream, self._producers.pop())
            elif self._pending or self._letters:
                self._write_message()
            elif self._groups:
                budget -= self._write_group(stream, self._groups.pop())
            else:
                self._stream = None
        return False

    def _begin(self) -> None:
        stream, end = self._streams.pop()
        self._stream = stream
        self._end = end
        self._group = None
        self._pending = []
        self._letters = []
        if not stream.deleted:
            write_create(self._journal, stream)
            self._index_from = stream.first_seq
            self._producers = list(stream.producers.known)
            self._producers.reverse()
            self._groups = list(stream.groups.values())

    def _write_index(self, stream: Stream) -> i64:
        index = stream.blocks.index
        journal = self._journal
        if stream.first_seq > self._index_from:
            # Retention has caught up with what is written so far.
            self._index_from = stream.first_seq
            out = journal.begin(TRIM, MEMORY)
            write_i64_be(out, stream.number)
            write_i64_be(out, self._index_from)
            journal.end()
        if self._index_from >= self._end or len(index) == 0:
            self._index_from = 0
            return 0
        place = index.place_of(self._index_from)
        if index.address(place) == 0:
            self._write_block(stream, place)
            return 0
        entries = BytesWriter()
        count: i64 = 0
        first = self._index_from
        while count < _INDEX_BLOCKS and first < self._end and index.address(place) != 0:
            after = index.first(place + 1) if place + 1 < len(index) else stream.recorded_seq()
            write_i64_be(entries, first)
            write_i32_be(entries, i32(after - first))
            write_i64_be(entries, index.time(place))
            write_i64_be(entries, index.address(place))
            self.files.add(int(index.address(place) >> 32))
            write_i32_be(entries, i32(index.size(place)))
            write_i64_be(entries, index.crc(place))
            count += 1
            place += 1
            first = after
            if place >= len(index):
                break
        out = journal.begin(INDEX, MEMORY)
        write_i64_be(out, stream.number)
        write_i32_be(out, i32(count))
        out.write(entries.getvalue())
        journal.end()
        self._index_from = first
        return count

    def _write_block(self, stream: Stream, place: i64) -> None:
        """A block that the log does not have goes into the snapshot itself."""
        index = stream.blocks.index
        first = index.first(place)
        after = index.first(place + 1) if place + 1 < len(index) else stream.recorded_seq()
        block, _ = stream.blocks.at(first)
        out = self._journal.begin(APPEND, MEMORY)
        write_i64_be(out, stream.number)
        write_i64_be(out, first)
        write_i32_be(out, 1)
        write_i32_be(out, i32(after - first))
        write_i64_be(out, index.time(place))
        write_i64_be(out, index.crc(place))
        write_text(out, block)
        write_i32_be(out, 0)
        self._journal.end()
        self._index_from = after

    def _write_producer(self, stream: Stream, name: bytes) -> None:
        producer = stream.producers.known.get(name)
        if producer is None:
            return
        count: i64 = len(producer.firsts)
        while count > 0 and producer.firsts[count - 1] >= self._end:
            count -= 1
        out = self._journal.begin(PRODUCER, MEMORY)
        write_i64_be(out, stream.number)
        write_text(out, name)
        write_i32_be(out, i32(count))
        place: i64 = 0
        while place < count:
            number: i64 = producer.numbers[place]
            first: i64 = producer.firsts[place]
            records: i64 = producer.counts[place]
            write_i64_be(out, number)
            write_i64_be(out, first)
            write_i32_be(out, i32(records))
            place += 1
        self._journal.end()

    def _write_group(self, stream: Stream, group: Group) -> i64:
        """The position; what is pending and dead follows, message by message."""
        last = self._end - 1
        settled = group.backlog.settled
        runs = [run for run in settled.runs() if run[0] <= last]
        out = self._journal.begin(GROUP, MEMORY)
        write_i64_be(out, stream.number)
        write_i64_be(out, group.number)
        write_i64_be(out, group.generation)
        write_i64_be(out, min(settled.floor, last))
        write_text(out, group.name)
        write_i32_be(out, i32(len(runs)))
        for run_first, run_last in runs:
            first: i64 = run_first
            until: i64 = min(i64(run_last), last)
            write_i64_be(out, first)
            write_i64_be(out, until - first + 1)
        self._journal.end()
        self._group = group
        self._pending = [seq for seq in group.backlog.pending if seq <= last]
        self._letters = [
            letter.seq for letter in group.peek(0, len(group.backlog.letters)) if letter.seq <= last
        ]
        self._letters.reverse()
        return len(runs)

    def _write_message(self) -> None:
        group = self._group
        assert group is not None
        if self._pending:
            pending = group.backlog.known(self._pending.pop())
            if pending is not None:
                retry(self._journal, MEMORY, group.number, pending, put_off(pending))
            return
        letter = group.backlog.letters.get(self._letters.pop())
        if letter is not None:
            letter_body(self._journal.begin(LETTER, MEMORY), group.number, letter)
            self._journal.end()


def write_create(journal: Journal, stream: Stream) -> None:
    """The definition of a stream, and where it begins: it is kept even when its records are not."""
    out = journal.begin(CREATE, max(stream.definition.durability, FLUSH))
    write_i64_be(out, stream.number)
    write_i64_be(out, stream.created_at)
    write_i64_be(out, stream.first_seq)
    write_text(out, stream.name)
    options = stream.definition.options()
    write_i32_be(out, i32(len(options)))
    for option in options:
        write_i64_be(out, option)
    journal.end()
