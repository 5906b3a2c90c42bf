"""Writing what groups did to the journal; the bodies are in stream_operations.

Each function writes one operation, or nothing where the journal does not keep. What was handed out is written
before it leaves, and synced within 100 ms: a delivery waits for no disk.
"""

from __future__ import annotations

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.journal import FLUSH, Journal
from nexo.brokers.stream.leases import Delivery, Pending
from nexo.brokers.stream.letters import DeadLetter
from nexo.brokers.stream.log import StreamLog
from nexo.brokers.stream.operations import (
    BURY,
    DEAD,
    DELIVER,
    GROUP_DELETE,
    JOIN,
    RETRY,
    SEEK,
    SETTLE,
    write_text,
)


def _begin(log: StreamLog, kind: i64, group: i64) -> BytesWriter:
    out = log.commons.journal.begin(kind, log.definition.durability)
    write_i64_be(out, group)
    return out


def write_join(log: StreamLog, group: i64, generation: i64, name: bytes) -> None:
    """A group exists, and its generations go on above this one."""
    journal = log.commons.journal
    if journal.keeping:
        out = journal.begin(JOIN, log.definition.durability)
        write_i64_be(out, log.number)
        write_i64_be(out, group)
        write_i64_be(out, generation)
        write_text(out, name)
        journal.end()


def write_delivered(log: StreamLog, group: i64, deliveries: list[Delivery]) -> None:
    """Messages were handed out: with those of equal attempts that follow one another, a run."""
    journal = log.commons.journal
    if not journal.keeping:
        return
    out = journal.begin(DELIVER, min(log.definition.durability, FLUSH))
    write_i64_be(out, group)
    runs = BytesWriter()
    count: i64 = 0
    first: i64 = deliveries[0].seq
    after = first
    attempts: i64 = deliveries[0].attempts
    for one in deliveries:
        if one.seq != after or one.attempts != attempts:
            _write_run(runs, first, after - first, attempts)
            count += 1
            first = one.seq
            attempts = one.attempts
        after = one.seq + 1
    _write_run(runs, first, after - first, attempts)
    write_i32_be(out, i32(count + 1))
    out.write(runs.getvalue())
    journal.end()


def _write_run(out: BytesWriter, first: i64, count: i64, attempts: i64) -> None:
    write_i64_be(out, first)
    write_i32_be(out, i32(count))
    write_i32_be(out, i32(attempts))


def write_settled(log: StreamLog, group: i64, first: i64, count: i64) -> None:
    """Messages that follow one another are settled."""
    journal = log.commons.journal
    if journal.keeping:
        out = _begin(log, SETTLE, group)
        write_i32_be(out, 1)
        write_i64_be(out, first)
        write_i64_be(out, count)
        journal.end()


def write_settled_many(log: StreamLog, group: i64, seqs: list[int]) -> None:
    """Messages are settled."""
    journal = log.commons.journal
    if not journal.keeping:
        return
    out = _begin(log, SETTLE, group)
    runs = BytesWriter()
    count: i64 = 0
    first: i64 = seqs[0]
    after = first
    for number in seqs:
        seq: i64 = number
        if seq != after:
            write_i64_be(runs, first)
            write_i64_be(runs, after - first)
            count += 1
            first = seq
        after = seq + 1
    write_i64_be(runs, first)
    write_i64_be(runs, after - first)
    write_i32_be(out, i32(count + 1))
    out.write(runs.getvalue())
    journal.end()


def write_retry(log: StreamLog, group: i64, pending: Pending, due: i64) -> None:
    """A message came back, and is put off until `due` (0: not)."""
    journal = log.commons.journal
    if journal.keeping:
        retry(journal, log.definition.durability, group, pending, due)


def retry(journal: Journal, level: i64, group: i64, pending: Pending, due: i64) -> None:
    """The operation of `write_retry`."""
    out = journal.begin(RETRY, level)
    write_i64_be(out, group)
    write_i64_be(out, pending.seq)
    write_i32_be(out, i32(pending.attempts))
    write_i64_be(out, due)
    write_text(out, pending.reason)
    journal.end()


def write_dead(log: StreamLog, group: i64, letter: DeadLetter) -> None:
    """A message was given up."""
    journal = log.commons.journal
    if journal.keeping:
        letter_body(journal.begin(DEAD, log.definition.durability), group, letter)
        journal.end()


def letter_body(out: BytesWriter, group: i64, letter: DeadLetter) -> None:
    """The body of DEAD and of LETTER."""
    write_i64_be(out, group)
    write_i64_be(out, letter.seq)
    write_i32_be(out, i32(letter.attempts))
    write_i64_be(out, letter.died_at)
    write_text(out, letter.reason)
    write_text(out, letter.record)


def write_bury(log: StreamLog, group: i64, seq: i64) -> None:
    """A dead letter is gone; 0: all of the group are."""
    journal = log.commons.journal
    if journal.keeping:
        out = _begin(log, BURY, group)
        write_i64_be(out, seq)
        journal.end()


def write_moved(log: StreamLog, group: i64, seq: i64) -> None:
    """A dead letter is gone, for its record has been appended in this turn: without that it is not."""
    journal = log.commons.journal
    if journal.keeping:
        out = _begin(log, BURY, group)
        write_i64_be(out, seq)
        write_i64_be(out, log.number)
        journal.end()


def write_seek(log: StreamLog, group: i64, floor: i64, generation: i64) -> None:
    """A group starts again after a sequence."""
    journal = log.commons.journal
    if journal.keeping:
        out = _begin(log, SEEK, group)
        write_i64_be(out, floor)
        write_i64_be(out, generation)
        journal.end()


def write_group_delete(log: StreamLog, group: i64) -> None:
    """A group is gone."""
    journal = log.commons.journal
    if journal.keeping:
        _begin(log, GROUP_DELETE, group)
        journal.end()
