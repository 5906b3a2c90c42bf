"""Where a stream's records are: the log and the cache, what retention takes, restarts and snapshots."""

from __future__ import annotations

import pytest

from nexo.brokers.journal import FLUSH
from nexo.brokers.stream.group import BEGINNING
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.streams import Streams
from nexo.errors import (
    StorageError,
)
from tests.brokers.streamkit import NOW, Kit, recover, seen, snapshot, values


def fill(stream: Stream, kit: Kit, count: int, size: int = 10, turns: int = 1) -> None:
    """Appends records, in so many turns."""
    for _ in range(turns):
        for _ in range(count // turns):
            stream.append(b"", b"\x00" + b"x" * size, b"", kit.now)
        kit.turn()


# The log is the storage.


def test_old_blocks_are_read_again_from_the_log() -> None:
    kit = Kit(tail_bytes_max=500, cache_bytes_max=2_000)
    stream = kit.create()
    fill(stream, kit, 50, size=81, turns=25)  # 200 bytes a block
    assert kit.streams.commons.cache.bytes <= 600
    kit.journal.reads = 0
    values(stream, 48)
    assert kit.journal.reads == 0
    assert [seq for seq, _ in values(stream)] == list(range(1, 51))
    assert kit.journal.reads >= 20
    assert kit.streams.commons.cache.bytes <= 2_000


def test_a_damaged_block_is_an_error_and_is_never_served() -> None:
    kit = Kit(tail_bytes_max=0, cache_bytes_max=0)
    stream = kit.create()
    fill(stream, kit, 4, turns=2)
    fill(stream, kit, 1)
    seat = kit.join(stream)
    address = stream.blocks.index.address(0)
    kit.journal.files[address >> 32][(address & 0xFFFFFFFF) + 20] ^= 1
    for _ in range(2):
        with pytest.raises(StorageError, match="damaged"):
            stream.read(1, 1, 1 << 20)
        with pytest.raises(StorageError, match="damaged"):
            seat.fetch()
    told = seat.wait()
    kit.turn()
    assert isinstance(told.calls[0], StorageError)
    assert [seq for seq, _ in values(stream, 3)] == [3, 4, 5]


def test_files_that_nobody_refers_to() -> None:
    kit = Kit()
    stream = kit.create(max_records=10)
    other = kit.create(b"other")
    fill(other, kit, 1)
    fill(stream, kit, 100, size=200, turns=50)
    assert len(kit.journal.files) > 4
    kit.later(0)
    live = kit.journal.live.by_file()
    assert 1 in live  # the other stream's record
    assert 2 not in live
    for file in list(kit.journal.files):
        if file not in live:
            kit.journal.files[file] = bytearray()
    assert len(values(stream)) == 10
    assert len(values(other)) == 1
    kit.streams.delete(b"other", kit.now)
    assert 1 not in kit.journal.live.by_file()


def test_thousands_of_streams_that_rest() -> None:
    kit = Kit(cache_bytes_max=10_000)
    for number in range(3_000):
        kit.create(b"s%d" % number).append(b"", b"\x00" + b"x" * 100, b"", NOW)
    kit.turn()
    assert kit.streams.commons.cache.bytes <= 10_000
    assert values(kit.streams.find(b"s0"))[0][0] == 1


# Retention.


def test_age() -> None:
    kit = Kit()
    stream = kit.create(max_age_ms=10_000)
    fill(stream, kit, 2)
    kit.now += 6_000
    fill(stream, kit, 2)
    assert kit.later(0) == NOW + 10_000
    kit.later(3_999)
    assert stream.first_seq == 1
    assert kit.later(1) == NOW + 16_000
    assert [seq for seq, _ in values(stream)] == [3, 4]
    kit.later(6_000)
    assert (stream.first_seq, stream.last_seq, stream.next_seq) == (5, 4, 5)
    assert kit.journal.live.by_file() == {}
    kit.restart()
    assert kit.streams.find(b"orders").append(b"", b"\x00", b"", kit.now) == 5


def test_bytes_and_records_keep_the_newest_block() -> None:
    kit = Kit()
    small, few = kit.create(b"small", max_bytes=450), kit.create(b"few", max_records=3)
    for stream in (small, few):
        fill(stream, kit, 8, size=81, turns=4)  # 200 bytes a block
    kit.later(0)
    assert (small.first_seq, small.blocks.bytes) == (5, 400)
    assert few.first_seq == 7
    fill(small, kit, 50, size=81)
    kit.later(0)
    assert small.first_seq == 9
    assert len(values(small)) == 50


def test_what_has_not_settled_is_not_dropped() -> None:
    kit = Kit()
    stream = kit.create(max_age_ms=1_000, max_records=1)
    stream.append(b"", b"\x00a", b"", NOW)
    kit.turn(reach=False)
    stream.append(b"", b"\x00b", b"", NOW)
    kit.turn(reach=False)
    assert kit.later(5_000, budget=50) > kit.now
    assert stream.first_seq == 1
    kit.settle()
    kit.later(0)
    assert stream.first_seq == 3


def test_a_reader_goes_on_with_what_is_left() -> None:
    kit = Kit()
    stream = kit.create(max_records=2)
    fill(stream, kit, 2)
    first = stream.read(1, 1, 1 << 20)
    fill(stream, kit, 6, turns=3)
    kit.later(0)
    assert [seq for seq, _ in values(stream, first.next_seq)] == [7, 8]


# Restarts.


def test_a_crash_loses_what_was_not_synced_and_no_more() -> None:
    kit = Kit()
    stream = kit.create()
    fill(stream, kit, 3)
    stream.append(b"", b"\x00unsynced", b"", NOW)
    kit.turn(reach=False)
    kit.journal.crash()
    kit.restart()
    stream = kit.streams.find(b"orders")
    assert [seq for seq, _ in values(stream)] == [1, 2, 3]
    assert stream.append(b"", b"\x00", b"", NOW) == 4


def test_a_snapshot_mentions_no_sequence_that_came_after_its_beginning() -> None:
    kit = Kit()
    stream = kit.create(durability=FLUSH)
    seat = kit.join(stream)
    fill(stream, kit, 4)
    job, dumped = snapshot(kit)
    batch = kit.journal.batch - 1
    assert not job.step(1)
    fill(stream, kit, 4)
    for delivery in seat.fetch():
        seat.ack(delivery)
    kit.turn(reach=False)
    assert job.step(1_000)
    kit.journal.reach(synced=batch)
    kit.journal.crash()  # the power is cut: the batches after the snapshot are gone
    streams = recover(kit, dumped, batch)
    again = streams.find(b"orders")
    assert again.append(b"", b"\x00new", b"", NOW) == 5
    streams.flush(NOW)
    kit.journal.close()
    kit.journal.reach()
    streams.settled()
    member = streams.join(again, b"g", "c", NOW)
    got = member.group.fetch(member.consumer_id, member.generation, 100, NOW)
    assert 5 in [one.seq for one in got]


def test_a_snapshot_while_retention_goes_on() -> None:
    kit = Kit()
    stream = kit.create(max_age_ms=1_000)
    fill(stream, kit, 1_200, turns=600)
    kit.now += 500
    fill(stream, kit, 2)
    job, dumped = snapshot(kit)
    batch = kit.journal.batch - 1
    for _ in range(2):
        assert not job.step(1)  # the definition, and a portion of the index
    kit.later(500)
    assert stream.first_seq == 1_201
    assert job.step(1_000)
    state = seen(kit.streams, kit.now)
    kit.journal.crash()  # the log does not tell of what retention took; the snapshot does
    assert seen(recover(kit, dumped, batch), kit.now) == state


def test_a_dead_letter_and_a_seek_in_a_snapshot() -> None:
    kit = Kit()
    stream = kit.create(max_deliveries=1)
    seat = kit.join(stream)
    fill(stream, kit, 1)
    seat.nack(seat.fetch()[0])
    seat.group.seek(BEGINNING, 0, NOW)
    kit.turn()
    job, dumped = snapshot(kit)
    assert job.step(1_000)
    streams = recover(kit, dumped, kit.journal.batch - 1)
    assert seen(streams, NOW) == seen(kit.streams, NOW)
    member = streams.join(streams.find(b"orders"), b"g", "c", NOW)
    assert len(member.group.peek(0, 9)) == 1
    assert len(member.group.fetch(member.consumer_id, member.generation, 9, NOW)) == 1


def test_an_operation_that_ends_early_is_damage() -> None:
    kit = Kit()
    fill(kit.create(), kit, 1)
    for kind, data, start, end, address in kit.journal.operations():
        with pytest.raises(StorageError):
            Streams(kit.journal, 1).apply(kind, data, start, end - 1, address, NOW) if kind == 0x30 else (
                kit.streams.apply(kind, data, start, end - 1, address, NOW)
            )
    with pytest.raises(StorageError):
        kit.streams.apply(0x7F, b"", 0, 0, 0, NOW)
