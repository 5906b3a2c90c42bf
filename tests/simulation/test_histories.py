"""Short histories of a node in which something was once lost, given twice, or waited for without end.

Each is what is left of a seed of simulate.py; the docstring says what went wrong.
"""

from __future__ import annotations

import pytest

from nexo.brokers.journal import FLUSH, MEMORY
from nexo.brokers.queue.dead import DeadFilter
from nexo.brokers.queue.lending import DONE, REPEATED
from nexo.brokers.queue.message import Item
from nexo.brokers.stream.group import Group
from nexo.errors import StorageError
from nexo.protocols.native.opcodes import (
    CREATE_OPTIONS,
    QUEUE_CREATE,
    STREAM_CREATE,
)
from tests.simulation.history import History, dead, values
from tests.simulation.node import RESIDENT_BYTES
from tests.vectors.session import Recorder
from tests.vectors.wire import request, string


@pytest.fixture
def history() -> History:
    return History()


# Restarts.


def test_bodies_from_a_snapshot_have_no_address(history: History) -> None:
    """They were let go, and read again from a log file that never was."""
    queue = history.queue()
    sent = [b"\0%d" % number + bytes(RESIDENT_BYTES // 2) for number in range(6)]
    for value in sent:
        history.do(lambda value=value: queue.push(value, 0, history.now))  # type: ignore[misc]
        history.rest()
    history.life.snapshot()
    history.restart()
    assert history.life.report.snapshot_batch > 0
    history.node.begin()
    given = history.found().receive(6, history.consumer, history.now)
    assert [delivery.message.value for delivery in given] == sent


def test_what_a_restart_gives_up_is_recorded(history: History) -> None:
    """A dead letter that was redriven and acked came back with the second restart."""
    queue = history.queue(max_deliveries=1)
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.rest()
    history.do(lambda: queue.receive(1, history.consumer, history.now))
    history.rest()
    history.restart()
    queue = history.found()
    assert dead(queue) == [b"\0one"]
    history.do(lambda: queue.redrive(queue.peek(1, 0)[0].message.id, history.now))
    history.rest()
    (lent,) = queue.receive(1, history.consumer, history.now)
    acked = history.do(lambda: queue.ack(lent.message.id, lent.token, history.now))
    history.rest()
    assert acked.confirmed
    history.restart()
    assert (values(history.found()), dead(history.found())) == ([], [])


def test_a_place_in_a_list_of_dead_letters_outlives_no_restart(history: History) -> None:
    """The list is read from its beginning then: places are numbered by life, and none is passed over."""
    queue = history.queue(max_deliveries=1)
    group = group_with_letters(history, 3)
    for value in (b"\0one", b"\0two"):
        history.do(lambda value=value: queue.push(value, 0, history.now))  # type: ignore[misc]
    history.rest()
    history.do(lambda: queue.receive(2, history.consumer, history.now))
    history.rest()
    seen = [letter.serial for letter in group.peek(0, 9)]
    history.restart()
    queue, group = history.found(), history.node.streams.find(b"s").find_group(b"g")
    first = queue.dead_after(0, 9)
    assert [one.message.id for one in first] == [1, 2]
    assert [one.seq for one in group.dead_after(seen[-1], 9)] == [1, 2, 3]
    history.restart()
    assert [one.message.id for one in history.found().dead_after(first[-1].serial, 9)] == [1, 2]


def test_a_snapshot_with_dead_letters_of_a_stream_is_read(history: History) -> None:
    """Their kind of operation was not known to the node, and no server started after a compaction (seed 1)."""
    group = group_with_letters(history, 2)
    while history.life.writer._file < 2:
        history.do(lambda: group.log.append(b"", b"\0" + bytes(900), b"", history.now))
        history.rest()
    history.life.snapshot()
    history.restart()
    assert history.life.report.snapshot_batch > 0
    found = history.node.streams.find(b"s").find_group(b"g")
    assert [letter.seq for letter in found.peek(0, 9)] == [1, 2]


# A full disk.


def test_a_queue_that_was_refused_leaves_nothing_behind(history: History) -> None:
    """What had been done to it was recorded once more, and the node could not be started again."""
    history.do(lambda: history.stream())
    history.rest()
    history.fill_the_disk()
    refused = history.do(lambda: history.queue().pause(-1))
    history.rest()
    assert refused.refused
    history.make_room()
    history.restart(power=False)
    assert history.node.queues.names() == []


def test_a_full_disk_is_left_in_peace(history: History) -> None:
    """Without room even for acks they were written again and again, as fast as the loop could turn."""
    queue = history.queue()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.rest()
    (lent,) = queue.receive(1, history.consumer, history.now)
    history.rest()
    history.fill_the_disk()
    history.disk.remove("reserve")
    history.fill_the_disk()
    acked = history.do(lambda: queue.ack(lent.message.id, lent.token, history.now))
    history.rest()
    assert acked.refused
    writes = history.disk.writes
    for _ in range(3):
        history.life.driver.time_ms += 10_000
        history.life.advance()
        history.rest()
    assert history.disk.writes <= writes + 1
    history.make_room()
    history.restart()
    assert values(history.found()) == []


def test_a_stream_of_level_memory_goes_on(history: History) -> None:
    """Its records in the lost batch left a gap, with which the node could not be started again."""
    stream = history.stream(durability=MEMORY)
    history.rest()
    history.fill_the_disk()
    history.do(lambda: stream.append(b"", b"\0one", b"", history.now), MEMORY)
    history.life.turn()
    history.do(lambda: stream.append(b"", b"\0two", b"", history.now), MEMORY)
    history.life.step()
    assert stream.next_seq == 3
    history.rest()
    assert stream.last_seq == 2
    history.make_room()
    history.do(lambda: stream.append(b"", b"\0three", b"", history.now), MEMORY)
    history.rest()
    history.restart(power=False)
    found = history.node.streams.find(b"s")
    assert [record.value for record in found.read(1, 9, 1 << 20).each()] == [b"\0one", b"\0two", b"\0three"]


@pytest.mark.parametrize("opcode", [QUEUE_CREATE, STREAM_CREATE])
def test_a_creation_of_level_memory_waits_for_the_log(history: History, opcode: int) -> None:
    """It was confirmed at once, and was gone when the disk turned out to be full."""
    options = b'{"durability": "memory"}'
    history.session.data_received(request(opcode, 7, string("name") + bytes((CREATE_OPTIONS,)) + options))
    recorder = history.session.output
    assert isinstance(recorder, Recorder)
    history.life.turn()
    assert recorder.total == 0
    history.life.step()
    history.life.turn()
    frame = recorder.written.next()
    assert frame is not None
    assert frame.correlation == 7


def test_a_dedup_key_goes_with_its_refused_push(history: History) -> None:
    """Its message had made room for another meanwhile: the key stayed, and the repeated push was swallowed."""
    queue = history.queue(messages_max=1, overflow="drop_oldest")
    history.rest()
    history.fill_the_disk()
    refused = history.do(lambda: queue.push_item(Item(b"\0one", dedup=b"key"), history.now))
    history.do(lambda: queue.push(b"\0two", 0, history.now))
    history.rest()
    assert refused.refused
    history.make_room()
    again = Item(b"\0one", dedup=b"key")
    history.do(lambda: queue.push_item(again, history.now))
    history.rest()
    assert not again.duplicate
    assert values(queue) == [b"\0one"]


def test_a_purge_does_not_keep_the_key_of_a_refused_push(history: History) -> None:
    queue = history.queue()
    history.rest()
    history.fill_the_disk()
    history.do(lambda: queue.push_item(Item(b"\0one", dedup=b"key"), history.now))
    history.do(queue.purge)
    history.rest()
    history.make_room()
    again = Item(b"\0one", dedup=b"key")
    history.do(lambda: queue.push_item(again, history.now))
    assert not again.duplicate


def test_a_refused_push_is_no_dead_letter(history: History) -> None:
    """It had become one to make room for another: it was refused, and there."""
    queue = history.queue(messages_max=1, overflow="dead_letter")
    history.rest()
    history.fill_the_disk()
    refused = history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.do(lambda: queue.push(b"\0two", 0, history.now))
    history.rest()
    assert refused.refused
    assert (values(queue), dead(queue)) == ([], [])


def test_a_dead_letter_is_not_redriven_before_its_push_is_durable(history: History) -> None:
    """It was delivered, and then its push was refused (seed 500106)."""
    queue = history.queue(messages_max=1, overflow="dead_letter")
    history.rest()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.do(lambda: queue.push(b"\0two", 0, history.now))
    id = queue.peek(1, 0)[0].message.id
    assert queue.redrive(id, history.now) == 0
    assert queue.redrive_some(DeadFilter(), 0, 1 << 30, 10, history.now).count == 0
    history.rest()
    assert queue.redrive(id, history.now) != 0


def test_a_dead_letter_of_a_stream_outlives_a_refused_move(history: History) -> None:
    """It was buried at once, and not brought back when the append was refused."""
    group = group_with_letters(history, 3)
    history.fill_the_disk()
    moved = history.do(lambda: group.move_to_stream(2, history.now))
    assert [letter.seq for letter in group.peek(0, 9)] == [1, 3]
    history.rest()
    assert moved.refused
    assert [letter.seq for letter in group.peek(0, 9)] == [1, 2, 3]
    history.make_room()
    history.restart(power=False)
    stream = history.node.streams.find(b"s")
    assert stream.last_seq == 3
    group = stream.find_group(b"g")
    assert [letter.seq for letter in group.peek(0, 9)] == [1, 2, 3]
    moved = history.do(lambda: group.move_to_stream(2, history.now))
    history.rest()
    assert moved.confirmed
    history.restart()
    stream = history.node.streams.find(b"s")
    assert [letter.seq for letter in stream.find_group(b"g").peek(0, 9)] == [1, 3]
    assert [record.value for record in stream.read(4, 9, 1 << 20).each()] == [b"\0n2"]


def test_a_dead_letter_stays_moved_in_a_stream_of_level_memory(history: History) -> None:
    """What such a stream confirms at once happened, though its batch is lost."""
    group = group_with_letters(history, 1, durability=MEMORY)
    history.fill_the_disk()
    history.do(lambda: group.move_to_stream(1, history.now), MEMORY)
    history.rest()
    assert group.peek(0, 9) == []
    history.make_room()
    history.restart(power=False)
    stream = history.node.streams.find(b"s")
    assert stream.last_seq == 2
    assert stream.find_group(b"g").peek(0, 9) == []


def test_a_purge_takes_the_letter_that_is_being_moved(history: History) -> None:
    group = group_with_letters(history, 2)
    history.fill_the_disk()
    history.do(lambda: group.move_to_stream(1, history.now))
    history.do(group.purge)
    history.rest()
    history.make_room()
    assert group.peek(0, 9) == []
    history.restart(power=False)
    assert history.node.streams.find(b"s").find_group(b"g").peek(0, 9) == []


def group_with_letters(history: History, count: int, **options: int) -> Group:
    """A group whose messages 1 to `count` are dead letters."""
    stream = history.stream(max_deliveries=1, **options)
    for number in range(count):
        history.do(lambda number=number: stream.append(b"", b"\0n%d" % (number + 1), b"", history.now))  # type: ignore[misc]  # fmt: skip
    history.rest()
    group, member = history.join(stream)
    history.rest()
    history.node.begin()
    for lent in group.fetch(member.consumer_id, member.generation, count, history.now):
        history.do(lambda lent=lent: group.nack(member.consumer_id, member.generation, lent.seq, lent.token, b"", 0, history.now))  # type: ignore[misc]  # fmt: skip
    history.rest()
    assert [letter.seq for letter in group.peek(0, 9)] == list(range(1, count + 1))
    return group


def test_what_was_written_before_the_disk_was_full_is_delivered(history: History) -> None:
    """It was confirmed, and waited for the next batch to be written."""
    queue = history.queue()
    history.rest()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.life.turn()
    history.fill_the_disk(200)
    history.do(lambda: queue.push(b"\0" + bytes(500), 0, history.now))
    history.life.turn()
    batches, history.life.sink.queue = history.life.sink.queue, []
    reports: list[object] = []
    history.life.writer._report = reports.append  # both rounds are over before the loop hears of them
    for batch in batches:
        history.life.writer.write([batch], history.now)
    newest = reports[-1]
    history.life.log.settle(newest)  # type: ignore[arg-type]
    history.life.turn()
    assert [delivery.message.value for delivery in queue.receive(5, history.consumer, history.now)] == [
        b"\0one"
    ]


# A failed sync.


def test_nothing_is_confirmed_and_nothing_turns_after_a_failed_sync(history: History) -> None:
    """Acks were recorded again for ever, and a repeated one was confirmed though the first was lost."""
    queue = history.queue()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.rest()
    (lent,) = queue.receive(1, history.consumer, history.now)
    history.rest()
    history.fail_a_sync()
    outcomes: list[int] = []
    id, token = lent.message.id, lent.token
    first = history.do(lambda: outcomes.append(queue.ack(id, token, history.now)))
    history.rest()
    assert history.life.log.fenced
    second = history.do(lambda: outcomes.append(queue.ack(id, token, history.now)))
    history.rest()
    assert outcomes == [DONE, REPEATED]
    assert first.refused
    assert second.refused
    assert len(history.node.journal.out) == 0
    with pytest.raises(StorageError):
        history.node.check_room()


def test_a_failed_sync_takes_nothing_that_was_confirmed_at_flush(history: History) -> None:
    """The stream was forgotten, and readers were told that there is none."""
    stream = history.stream(durability=FLUSH)
    group, _ = history.join(stream)
    appended = history.do(lambda: stream.append(b"", b"\0one", b"", history.now), FLUSH)
    history.life.turn()
    history.life.step()
    history.life.collect(history.session)
    assert appended.confirmed
    history.fail_a_sync()
    history.rest()
    assert history.life.log.fenced
    found = history.node.streams.find(b"s")
    assert [record.value for record in found.read(1, 9, 1 << 20).each()] == [b"\0one"]
    assert found.find_group(b"g") is group


# Answers.


@pytest.mark.parametrize("same_turn", [True, False])
def test_a_repeated_append_waits_for_no_sync_that_never_comes(history: History, same_turn: bool) -> None:
    """It recorded nothing, and waited for a batch of which nobody had asked that it be synced."""
    stream = history.stream()

    def append() -> None:
        stream.append_many([(b"", b"\0one", b"")], history.now, -1, b"p", 1)

    history.do(append)
    history.rest()
    group, member = history.join(stream)
    history.rest()
    history.node.begin()
    assert group.fetch(member.consumer_id, member.generation, 1, history.now)
    if not same_turn:
        history.life.turn()
    again = history.do(append)
    history.rest()
    assert again.confirmed
