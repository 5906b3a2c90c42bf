"""Queues and the journal: what is seen when, what a crash leaves, and bodies that are not in memory."""

from __future__ import annotations

import pytest

from nexo.brokers.journal import Journal
from nexo.brokers.queue import records
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.lending import DONE, FATAL, FENCED
from nexo.brokers.queue.message import Item
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.queues import Queues
from nexo.errors import ResourceNotFoundError, StorageError
from tests.brokers.queue_log import (
    FILE,
    START,
    Listener,
    MemoryLog,
    dumped,
    operations,
    replay,
    seen,
    seen_dead,
)


def new(resident: int = 1 << 40, **options: object) -> tuple[MemoryLog, Queues, Queue, Consumer]:
    log = MemoryLog()
    queues = Queues(log, 0, resident)
    queue, _ = queues.create(b"q", options, START)
    log.close()
    queues.settled(START)
    return log, queues, queue, Consumer()


def settle(log: MemoryLog, queues: Queues, now: int = START) -> None:
    log.close()
    queues.settled(now)


def push(queue: Queue, *numbers: int) -> None:
    for number in numbers:
        queue.push(b"\x00%05d" % number, 0, START)


def drain(log: MemoryLog, queues: Queues, queue: Queue, now: int = START) -> list[bytes]:
    consumer = Consumer()
    found = []
    while lent := queue.receive(7, consumer, now):
        found += [one.message.value for one in lent]
        queue.ack_many([one.message.id for one in lent], [one.token for one in lent], now)
    return found


# Staging.


@pytest.mark.parametrize(("level", "at"), [("memory", 0), ("flush", 1), ("fsync", 2)])
def test_a_push_is_seen_when_it_is_as_durable_as_promised(level: str, at: int) -> None:
    log, queues, queue, consumer = new(durability=level)
    waiter = Listener()
    queue.wait(waiter, consumer, 9, START + 100)
    batch = log.batch
    push(queue, 1)
    assert queue.newest_batch == (0 if level == "memory" else batch)
    got = []
    for step in range(3):
        if step == 1:
            log.written = batch
        if step == 2:
            log.synced = batch
        queues.settled(START)
        queues.flush(START)
        got.append(len(waiter.got))
    assert got == [int(step >= at) for step in range(3)]
    assert queue.newest_batch == 0


def test_nothing_is_written_without_a_journal_or_at_level_memory() -> None:
    quiet = Journal()
    queue, _ = Queues(quiet).create(b"q", {}, START)
    push(queue, 1)
    assert len(quiet.out) == 0 and queue.describe()["ready"] == 1
    log, _, queue, consumer = new(durability="memory")
    push(queue, 1, 2)
    one, two = queue.receive(2, consumer, START)
    queue.ack(one.message.id, one.token, START)
    queue.nack(two.message.id, two.token, b"", FATAL, 0, START)
    assert log.kinds() == []
    queues, _ = replay(log.data, START)
    assert queues.find(b"q").describe()["messages"] == 0


def test_one_operation_for_each_call() -> None:
    log, queues, queue, consumer = new()
    queue.push_many([Item(b"\x00", group=b"g"), Item(b"\x00"), Item(b"\x00")], START)
    assert log.kinds() == [records.PUSH]
    settle(log, queues)
    lent = queue.receive(9, consumer, START)
    queue.ack_many([one.message.id for one in lent], [one.token for one in lent], START)
    assert log.kinds() == [records.DELIVER, records.ACK]


def test_what_failed_never_was() -> None:
    log, queues, queue, _ = new(messages_max=5)
    push(queue, 1)
    settle(log, queues)
    push(queue, 2)
    queue.push_item(Item(b"\x00x", dedup=b"k", delay_ms=9, ttl_ms=99), START)
    queues.create(b"other", {}, START)
    queues.withdraw(log.fail())
    assert queue.describe()["messages"] == 1 and queue.describe()["staged"] == 0
    with pytest.raises(ResourceNotFoundError):
        queues.find(b"other")
    item = Item(b"\x00x", dedup=b"k")
    queue.push_item(item, START)
    assert not item.duplicate
    settle(log, queues)
    assert seen(replay(log.data, START)[0].find(b"q")) == seen(queue)


def test_a_time_to_live_that_ends_before_the_disk_has_it() -> None:
    log, queues, queue, _ = new()
    queue.push_item(Item(b"\x00", ttl_ms=10), START)
    assert queues.advance(START + 10, 9) == 0
    settle(log, queues, START + 20)
    shown = queue.describe()
    assert (shown["ready"], shown["expired"], shown["messages"]) == (0, 1, 0)


def test_staged_messages_make_room_too() -> None:
    log, queues, queue, _ = new(messages_max=2, overflow="drop_oldest")
    push(queue, 1, 2, 3, 4)
    settle(log, queues)
    assert drain(log, queues, queue) == [b"\x0000003", b"\x0000004"]
    log.close()
    assert drain(log, queues, replay(log.data, START)[0].find(b"q")) == []


# A crash.


def test_a_lost_end_of_the_log_revives_no_token() -> None:
    log, queues, queue, consumer = new()
    push(queue, 1)
    settle(log, queues)
    one = queue.receive(1, consumer, START)[0]  # recorded in a batch that is lost
    id, token = one.message.id, one.token
    again, _ = replay(log.data, START + 5)
    queue = again.find(b"q")
    two = queue.receive(1, Consumer(), START + 5)[0]
    assert two.message.id == id and two.token > token
    assert queue.ack(id, token, START + 5) == FENCED
    assert queue.push(b"\x00new", 0, START + 5) > id + 1_000_000  # ids that were lost are not given again
    assert queue.ack(id, two.token, START + 5) == DONE


def test_a_restart_counts_the_attempt_and_buries_the_last() -> None:
    log, queues, queue, consumer = new(max_deliveries=2)
    push(queue, 1, 2)
    settle(log, queues)
    one = queue.receive(2, consumer, START)[0]
    queue.nack(one.message.id, one.token, b"first", 0, 0, START)
    queue.receive(1, consumer, START)
    log.close()
    again, log = replay(log.data, START + 5)
    queue = again.find(b"q")
    assert [it[1:] for it in seen_dead(queue)] == [
        (b"\x0000001", 2, b"lease ended: the server restarted", START + 5)
    ]
    assert queue.receive(9, Consumer(), START + 5)[0].attempt == 2
    assert records.DEAD in log.kinds()  # or the next restart would bury it again


def test_dedup_pause_numbers_and_deletion_survive() -> None:
    log, queues, queue, _ = new(dedup_window_ms=1_000)
    id = queue.push_item(Item(b"\x00", dedup=b"k"), START)
    queue.pause(START + 500)
    queues.create(b"gone", {}, START)
    queues.delete(b"gone", START)
    settle(log, queues)
    for data in (log.data, dumped(queues, START + 1)):
        again, _ = replay(data, START + 1)
        other = again.find(b"q")
        assert again.names() == [b"q"] and other.describe()["paused_until"] == START + 500
        assert other.push_item(Item(b"\x00", dedup=b"k"), START + 999) == id
        assert other.push_item(Item(b"\x00", dedup=b"k"), START + 1_000) != id
        assert again.create(b"new", {}, START)[0].number == 3
        assert again.advance(START + 1, 9) == START + 500


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_an_operation_that_ends_early(cut: int) -> None:
    log, _, queue, _ = new()
    push(queue, 1)
    log.close()
    kind, start, end = operations(log.data)[-1]
    queues = Queues(Journal())
    for other, first, last in operations(log.data)[:-1]:
        queues.apply(other, log.data, first, last, 0, START)
    with pytest.raises(StorageError, match="ends early"):
        queues.apply(kind, log.data, start, end - cut, 0, START)


def test_operations_that_make_no_sense() -> None:
    log, _, queue, _ = new()
    push(queue, 1)
    log.close()
    data = log.data
    kind, start, end = operations(data)[-1]
    with pytest.raises(StorageError, match="is for queue number 1, which is not there"):
        Queues(Journal()).apply(kind, data, start, end, 0, START)
    damaged = data[:-1] + b"!"
    with pytest.raises(StorageError, match=r"message 1 of queue 'q': its body at \d+ of the log is damaged"):
        replay(damaged, START)


# Snapshots.


@pytest.mark.parametrize("resident", [0, 1 << 40])
def test_a_snapshot_in_slices(resident: int) -> None:
    log, queues, queue, consumer = new(resident)
    push(queue, *range(1_000))
    queue.push_item(Item(b"\x00later", delay_ms=5_000, headers=b"h" * 300, group=b"g"), START)
    settle(log, queues)
    for one in queue.receive(300, consumer, START):
        if one.message.id % 2:
            queue.nack(one.message.id, one.token, b"no", FATAL, 0, START)
    settle(log, queues)
    again, _ = replay(dumped(queues, START, 10), START, before=log.data)
    queues.drop(consumer, START)
    assert seen(again.find(b"q")) == seen(queue)
    assert seen_dead(again.find(b"q")) == seen_dead(queue)


def test_the_messages_of_a_queue_in_memory_are_in_the_last_snapshot_only() -> None:
    _, queues, queue, _ = new(durability="memory")
    push(queue, 1)
    assert seen(replay(dumped(queues, START), START)[0].find(b"q")) == seen(queue)
    out = MemoryLog()
    assert queues.dump(out, START, with_memory=False).step(100)
    out.close()
    assert replay(out.data, START)[0].find(b"q").describe()["messages"] == 0


def test_a_snapshot_refers_to_bodies_and_names_their_files() -> None:
    log, queues, queue, _ = new(0)
    push(queue, *range(3_000))
    settle(log, queues)
    out = MemoryLog()
    job = queues.dump(out, START)
    while not job.step(100):
        pass
    assert job.files == {FILE >> 32}
    assert len(out.out) < len(log.data) + 3_000 * 40
    assert b"%05d" % 2_999 not in out.out.getvalue()
    assert drain(log, queues, queue) == [b"\x00%05d" % number for number in range(3_000)]


# Bodies.


def test_bodies_beyond_the_bound_are_let_go_and_read_in_batches() -> None:
    log, queues, queue, _ = new(600)
    push(queue, *range(5_000))
    queue.push_item(Item(b"\x00last", headers=b"head"), START)
    settle(log, queues)
    assert queues.resident_bytes < 1_100 * 6
    consumer = Consumer()
    found = []
    while lent := queue.receive(10, consumer, START):
        found += [(one.message.value, one.message.headers) for one in lent]
        assert queues.resident_bytes < 3_000 * 6
        queue.ack_many([one.message.id for one in lent], [one.token for one in lent], START)
    assert found == [(b"\x00%05d" % number, b"") for number in range(5_000)] + [(b"\x00last", b"head")]
    assert 3 <= log.reads <= 10
    assert queues.resident_bytes == 0


def test_after_a_restart_only_the_head_is_in_memory() -> None:
    log, queues, queue, _ = new()
    push(queue, *range(3_000))
    settle(log, queues)
    again, log = replay(log.data, START, 600)
    assert again.resident_bytes <= 606
    assert drain(log, again, again.find(b"q")) == [b"\x00%05d" % number for number in range(3_000)]


def test_the_bound_over_all_queues() -> None:
    log = MemoryLog()
    queues = Queues(log, 0, 1 << 40, 600)
    for name in (b"a", b"b"):
        queue, _ = queues.create(name, {}, START)
        push(queue, *range(2_000))
        settle(log, queues)
    assert queues.resident_bytes < 2 * 1_100 * 6


def test_a_damaged_body_is_told_and_nothing_else_is_lost() -> None:
    log, queues, queue, consumer = new(0)
    push(queue, *range(3_000))
    settle(log, queues)
    lent = queue.receive(1_500, consumer, START)
    bad = log.data.index(b"\x0002900")
    log.data = log.data[:bad] + b"?" + log.data[bad + 1 :]
    waiter = Listener()
    lent += queue.receive(2_000, consumer, START)
    assert len(lent) == 2_900
    with pytest.raises(
        StorageError, match=r"message 2901 of queue 'q': its 6 bytes at \d+ of the log are damaged"
    ):
        queue.receive(1, consumer, START)
    queue.wait(waiter, consumer, 1, START + 100)
    queues.flush(START)
    assert [type(error) for error in waiter.errors] == [StorageError]
    assert queue.describe()["ready"] == 100
    assert queue.remove(2_901)
    assert len(queue.receive(1_000, consumer, START)) == 99


def test_looking_does_not_fill_the_memory() -> None:
    log, queues, queue, _ = new(0)
    push(queue, *range(3_000))
    settle(log, queues)
    before = queues.resident_bytes
    message = queue.get(2_999)
    assert message is not None and message.value == b"" and queue.view(message).value == b"\x0002998"
    assert queues.resident_bytes == before


def test_a_purged_million_is_freed_in_portions() -> None:
    _, queues, queue, _ = new(durability="memory")
    push(queue, *range(5_000))
    for number in range(500):
        queue.push_item(Item(b"\x00", group=b"%d" % (number % 9), delay_ms=number % 2, ttl_ms=9), START)
    assert queue.purge() == 5_500 and queues.resident_bytes == 0
    steps = 1
    while queues.work(1_000):
        steps += 1
    assert 6 <= steps <= 20
