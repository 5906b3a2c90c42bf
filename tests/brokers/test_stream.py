"""Streams: definitions, appending, producers, what is visible, reading."""

from __future__ import annotations

import pytest

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY, Journal
from nexo.brokers.stream.records import Records
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.streams import Streams
from nexo.errors import (
    InvalidArgumentError,
    LimitExceededError,
    ResourceConfigConflictError,
    ResourceNotFoundError,
    SequenceMismatchError,
)
from nexo.limits import APPEND_RECORDS_MAX, BLOCK_BYTES_MAX, PRODUCER_APPENDS_MAX, STREAM_KEY_BYTES_MAX
from tests.brokers.streamkit import NOW, Kit, Told, recover, seen, snapshot, values


def fill(stream: Stream, kit: Kit, count: int, size: int = 10, turns: int = 1) -> None:
    """Appends records, in so many turns."""
    for _ in range(turns):
        for _ in range(count // turns):
            stream.append(b"", b"\x00" + b"x" * size, b"", kit.now)
        kit.turn()


# Definitions.


def test_create_and_find() -> None:
    kit = Kit()
    stream, created = kit.streams.create(b"orders", {"max_bytes": 10_000}, NOW)
    assert created
    assert kit.streams.create(b"orders", {"max_bytes": 10_000}, NOW) == (stream, False)
    assert kit.streams.create(b"orders", {}, NOW) == (stream, False)
    assert stream.definition.max_bytes == 10_000
    assert (stream.definition.max_age_ms, stream.definition.durability) == (7 * 24 * 3_600_000, FSYNC)
    assert kit.streams.names() == [b"orders"]
    assert kit.streams.find(b"orders") is stream
    with pytest.raises(ResourceNotFoundError):
        kit.streams.find(b"other")


def test_a_conflict_names_the_differences() -> None:
    kit = Kit()
    kit.create(max_bytes=10_000)
    with pytest.raises(ResourceConfigConflictError) as caught:
        kit.create(max_bytes=20_000, durability=MEMORY, max_age_ms=7 * 24 * 3_600_000)
    details = caught.value.details
    assert details["resourceKind"] == "stream"
    assert details["resourceName"] == "orders"
    assert details["requested"] == {
        "max_bytes": 20_000,
        "durability": "memory",
        "max_age_ms": 7 * 24 * 3_600_000,
    }
    assert details["actual"]["max_bytes"] == 10_000
    assert details["differences"] == [
        {"path": "max_bytes", "requested": 20_000, "actual": 10_000},
        {"path": "durability", "requested": "memory", "actual": "fsync"},
    ]


def test_options_that_make_no_sense() -> None:
    kit = Kit()
    for given in ({"max_ack_pending": 0}, {"durability": 3}, {"max_age_ms": -1}, {"colour": 1}):
        with pytest.raises(InvalidArgumentError):
            kit.create(**given)
    with pytest.raises(InvalidArgumentError):
        kit.create(b"")
    assert kit.streams.names() == []


def test_delete() -> None:
    kit = Kit()
    stream = kit.create()
    fill(stream, kit, 3)
    reader, fetcher = Told(), kit.join(stream).wait()
    stream.wait(reader, 99, 0)
    stream.append(b"", b"\x00lost", b"", kit.now)
    kit.streams.delete(b"orders", kit.now)
    kit.turn()
    for told in (reader, fetcher):
        assert isinstance(told.calls[-1], ResourceNotFoundError)
    assert kit.journal.live.by_file() == {}
    again = kit.create()
    assert again.number != stream.number
    assert again.append(b"", b"\x00", b"", kit.now) == 1
    kit.restart()
    assert values(kit.streams.find(b"orders")) == [(1, b"\x00")]


# Appending.


def test_sequences_start_at_one_and_a_turn_is_one_operation() -> None:
    kit = Kit()
    stream = kit.create()
    assert stream.append(b"k", b"\x01one", b"", NOW) == 1
    assert stream.append_many([(b"", b"\x01two", b""), (b"", b"\x01three", b"h")], NOW) == (2, 2, False)
    kit.turn()
    assert [kind for kind, *_ in kit.journal.operations()] == [0x30, 0x32]
    found = stream.read(1, 10, 1 << 20)
    assert len(found.runs) == 1
    assert [(one.seq, one.key, one.value, one.headers, one.timestamp) for one in found.each()] == [
        (1, b"k", b"\x01one", b"", NOW),
        (2, b"", b"\x01two", b"", NOW),
        (3, b"", b"\x01three", b"h", NOW),
    ]


def test_the_bytes_of_a_record_are_those_of_the_native_protocol() -> None:
    kit = Kit()
    stream = kit.create()
    stream.append(b"key", b"\x01value", b"", NOW)
    kit.turn()
    delivery = kit.join(stream).fetch()[0]
    expected = NOW.to_bytes(8, "big") + b"\x00\x03key" + b"\x00\x00\x00\x06\x01value"
    assert delivery.block[delivery.start : delivery.body_end] == expected


def test_expected_sequence() -> None:
    kit = Kit()
    stream = kit.create()
    one = [(b"", b"\x00", b"")]
    assert stream.append_many(one, NOW, expected_last=0) == (1, 1, False)
    # What has not settled yet counts: it was accepted.
    with pytest.raises(SequenceMismatchError, match="the last sequence is 1, not 0") as caught:
        stream.append_many(one, NOW, expected_last=0)
    assert caught.value.details == {"actual": 1}
    assert stream.append_many(one, NOW, expected_last=1) == (2, 1, False)


def test_a_batch_is_all_or_nothing() -> None:
    kit = Kit()
    stream = kit.create()
    with pytest.raises(LimitExceededError, match="stream_key_bytes_max"):
        stream.append_many([(b"", b"\x00", b""), (b"k" * (STREAM_KEY_BYTES_MAX + 1), b"\x00", b"")], NOW)
    with pytest.raises(LimitExceededError, match="append_records_max"):
        stream.append_many([(b"", b"\x00", b"")] * (APPEND_RECORDS_MAX + 1), NOW)
    with pytest.raises(LimitExceededError, match="stream_key_bytes_max"):
        stream.append(b"k" * (STREAM_KEY_BYTES_MAX + 1), b"\x00", b"", NOW)
    kit.turn()
    assert (stream.last_seq, stream.next_seq) == (0, 1)
    assert stream.append(b"k" * STREAM_KEY_BYTES_MAX, b"\x00", b"", NOW) == 1
    kit.turn()
    assert len(stream.read(1, 1, 1 << 20).each()[0].key) == STREAM_KEY_BYTES_MAX


def test_large_appends_become_several_blocks_of_one_operation() -> None:
    kit = Kit()
    stream = kit.create()
    stream.append_many([(b"", b"\x00" + b"x" * 1_000, b"")] * 300, NOW)
    kit.turn()
    assert len(stream.blocks) > 300_000 // BLOCK_BYTES_MAX
    assert [kind for kind, *_ in kit.journal.operations()].count(0x32) == 1
    assert [seq for seq, _ in values(stream)] == list(range(1, 301))


# Producers.


def test_a_repeated_append_gets_its_first_answer() -> None:
    kit = Kit()
    stream = kit.create()
    records = [(b"", b"\x00a", b""), (b"", b"\x00b", b"")]
    assert stream.append_many(records, NOW, producer=b"p", producer_seq=0) == (1, 2, False)
    assert stream.unsettled() == kit.journal.batch
    assert stream.append_many(records, NOW, producer=b"p", producer_seq=0) == (1, 2, True)
    assert stream.append_many(records[:1], NOW, producer=b"q", producer_seq=0) == (3, 1, False)
    kit.restart()
    stream = kit.streams.find(b"orders")
    assert stream.append_many(records, NOW, producer=b"p", producer_seq=0) == (1, 2, True)
    # The condition was met when it was first sent.
    assert stream.append_many(records, NOW, 0, producer=b"p", producer_seq=0) == (1, 2, True)
    assert stream.append_many(records, NOW, producer=b"p", producer_seq=7) == (4, 2, False)
    with pytest.raises(InvalidArgumentError, match="not remembered"):
        stream.append_many(records, NOW, producer=b"p", producer_seq=3)


def test_what_a_producer_is_remembered_for_is_bounded() -> None:
    kit = Kit()
    stream = kit.create()
    for number in range(PRODUCER_APPENDS_MAX + 1):
        stream.append_many([(b"", b"\x00", b"")], NOW, producer=b"p", producer_seq=number)
    assert stream.append_many([(b"", b"\x00", b"")], NOW, producer=b"p", producer_seq=1) == (2, 1, True)
    with pytest.raises(InvalidArgumentError):
        stream.append_many([(b"", b"\x00", b"")], NOW, producer=b"p", producer_seq=0)


# Visibility.


@pytest.mark.parametrize("level", [MEMORY, FLUSH, FSYNC])
def test_what_has_not_settled_is_not_seen(level: int) -> None:
    kit = Kit()
    stream = kit.create(durability=level)
    told = Told()
    stream.wait(told, 1, 0)
    stream.append(b"", b"\x00a", b"", NOW)
    assert stream.last_seq == 0
    kit.turn(reach=False)
    assert stream.last_seq == (1 if level == MEMORY else 0)
    batch = stream.unsettled()
    assert batch == (0 if level == MEMORY else kit.journal.batch - 1)
    kit.journal.reach(synced=0)
    kit.streams.settled()
    kit.streams.flush(NOW)
    assert stream.last_seq == (0 if level == FSYNC else 1)
    assert len(told.calls) == stream.last_seq
    stream.append(b"", b"\x00b", b"", NOW)
    kit.streams.flush(NOW)
    kit.journal.reach()
    kit.streams.settled()
    kit.streams.flush(NOW)
    assert values(stream)[0] == (1, b"\x00a")
    assert stream.last_seq == (2 if level == MEMORY else 1)  # the second one's batch is still open
    assert told.calls == ["readable"]
    kit.turn()
    assert stream.last_seq == 2
    assert stream.unsettled() == 0


def test_a_failed_batch_is_forgotten() -> None:
    kit = Kit()
    stream = kit.create()
    fill(stream, kit, 2)
    stream.append_many([(b"", b"\x00lost", b"")], NOW, producer=b"p", producer_seq=4)
    kit.turn(reach=False)
    stream.append(b"", b"\x00lost too", b"", NOW)
    kit.create(b"new").append(b"", b"\x00", b"", NOW)
    group = kit.join(stream).group
    first = kit.journal.written + 1
    kit.streams.withdraw(first)
    kit.journal.fail(first)
    assert kit.streams.names() == [b"orders"]
    assert group.name not in stream.groups
    assert (stream.last_seq, stream.next_seq) == (2, 3)
    # The producer sends it again, and that is no repetition.
    assert stream.append_many([(b"", b"\x00kept", b"")], NOW, producer=b"p", producer_seq=4) == (3, 1, False)
    kit.turn()
    state = seen(kit.streams, NOW)
    kit.restart()
    assert seen(kit.streams, NOW) == state
    assert values(kit.streams.find(b"orders"), 3) == [(3, b"\x00kept")]


def test_a_failure_undoes_nothing_that_was_replayed() -> None:
    kit = Kit()
    stream = kit.create()
    stream.group(b"g", NOW)
    fill(stream, kit, 2)
    kit.restart()
    kit.streams.withdraw(kit.journal.batch)
    stream = kit.streams.find(b"orders")
    assert list(stream.groups) == [b"g"]
    assert len(values(stream)) == 2


def test_level_memory_keeps_what_was_seen_when_the_disk_fails() -> None:
    kit = Kit(tail_bytes_max=0, cache_bytes_max=0)
    stream = kit.create(durability=MEMORY)
    kit.turn()
    stream.append(b"", b"\x00seen", b"", NOW)
    kit.turn(reach=False)
    kit.streams.withdraw(kit.journal.written + 1)
    kit.journal.fail(kit.journal.written + 1)
    assert values(stream) == [(1, b"\x00seen")]
    assert kit.journal.live.by_file() == {}
    kit.turn()
    job, dumped = snapshot(kit)
    assert job.step(1_000)
    assert seen(recover(kit, dumped, kit.journal.batch - 1), NOW) == seen(kit.streams, NOW)


def test_without_a_log_blocks_stay_in_memory() -> None:
    journal = Journal()
    streams = Streams(journal, 1)
    stream, _ = streams.create(b"orders", {"max_records": 3}, NOW)
    for number in range(10):
        stream.append(b"", b"\x00%d" % number, b"", NOW)
        streams.flush(NOW)
    assert values(stream)[-1] == (10, b"\x009")
    streams.advance(NOW, 100)
    assert [seq for seq, _ in values(stream)] == [8, 9, 10]
    assert journal.live.by_file() == {}


# Reading.


def test_reading_is_clamped() -> None:
    kit = Kit()
    stream = kit.create(max_records=4)
    fill(stream, kit, 10, turns=5)
    kit.later(0)
    assert (stream.first_seq, stream.last_seq) == (7, 10)
    assert [seq for seq, _ in values(stream, 0)] == [7, 8, 9, 10]
    assert [seq for seq, _ in values(stream, 9)] == [9, 10]
    assert [one.seq for one in stream.read(stream.last_seq - 2 + 1, 2, 1 << 20).each()] == [9, 10]
    beyond = stream.read(99, 5, 1 << 20)
    assert (beyond.count, beyond.next_seq) == (0, 11)


def test_limits_of_a_read() -> None:
    kit = Kit()
    stream = kit.create()
    fill(stream, kit, 10, size=81, turns=2)  # 100 bytes each

    def got(found: Records) -> tuple[int, int, int]:
        return found.count, found.size, found.next_seq

    assert got(stream.read(1, 3, 1 << 20)) == (3, 300, 4)
    assert got(stream.read(1, 100, 250)) == (2, 200, 3)
    assert got(stream.read(4, 100, 300)) == (3, 300, 7)  # over the edge of a block
    assert got(stream.read(1, 100, 1)) == (1, 100, 2)  # at least one
    assert got(stream.read(1, 0, 1 << 20)) == (0, 0, 1)


def test_reading_from_a_time() -> None:
    kit = Kit()
    stream = kit.create()
    for _ in range(3):
        fill(stream, kit, 2)
        kit.now += 1_000
    assert [stream.seq_at_time(NOW + ms) for ms in (-1, 0, 1, 1_000, 2_000, 2_001)] == [1, 1, 3, 3, 5, 7]


def test_times_never_go_back_even_if_the_clock_does() -> None:
    kit = Kit()
    fill(kit.create(), kit, 1)
    kit.now -= 60_000
    kit.restart()
    stream = kit.streams.find(b"orders")
    fill(stream, kit, 1)
    assert [one.timestamp for one in stream.read(1, 9, 1 << 20).each()] == [NOW, NOW]
    assert stream.seq_at_time(NOW) == 1


def test_a_reader_waits_until_there_is_more_or_time_is_over() -> None:
    kit = Kit()
    stream = kit.create()
    fill(stream, kit, 1)
    at_once, later, too_late, cancelled = Told(), Told(), Told(), Told()
    stream.wait(at_once, 1, 0)
    stream.wait(later, 2, NOW + 5_000)
    stream.wait(too_late, 9, NOW + 500)
    stream.wait(cancelled, 2, NOW + 500).end()
    assert at_once.calls == []
    kit.turn()
    assert at_once.calls == ["readable"]
    assert later.calls == []
    assert kit.later(0) == NOW + 500
    kit.later(500)
    assert too_late.calls == ["readable"]
    fill(stream, kit, 1)
    assert later.calls == ["readable"]
    kit.later(10_000)
    assert cancelled.calls == []
    assert len(later.calls) == len(too_late.calls) == 1
