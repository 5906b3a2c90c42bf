"""Batches across brokers: when what they do is seen, and what is left of them when the disk fails."""

from __future__ import annotations

import pytest

from nexo.brokers.batch.batches import KEY_EXISTS, KEY_VERSION, LAST_SEQ, QUEUE_EXISTS, Precondition
from nexo.brokers.changes import Change, Watcher
from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.errors import (
    BatchRefusedError,
    FencedError,
    LimitExceededError,
    MemoryLimitError,
    PreconditionFailedError,
    StorageError,
)
from tests.brokers.batchkit import Bench, bodies, number, records, retained


def work(bench: Bench) -> None:
    """One of everything: a job is lent, a message is fetched, and a batch acks both."""
    bench.queue.push(b"job", 0, bench.node.begin())
    bench.stream.append(b"", b"event", b"", bench.node.begin())
    bench.rest()
    (job,), (event,) = bench.receive(), bench.fetch()
    level = bench.batch(
        bench.ack(job),
        bench.group_ack(event),
        bench.set(b"k", b"result"),
        bench.incr(b"count", 1),
        bench.push(b"next"),
        bench.append(b"done"),
        bench.publish(b"t", b"news", retain=True),
    )
    assert level == FSYNC


def nothing_seen(bench: Bench) -> None:
    assert bench.receive() == []
    assert bench.fetch() == []
    assert bench.values() == [b"event"]
    assert bench.listener.heard == b""
    assert bench.node.pubsub.retained(b"t", bench.node.now) == []


def all_there(bench: Bench) -> None:
    assert bench.waiting() == [b"next"]
    assert bench.values() == [b"event", b"done"]
    assert bench.group.ack_floor == 1
    assert bench.get(b"k") == b"result"
    assert bench.get(b"count") == number(1)
    assert bench.listener.heard == b"t=news;"
    assert [one.value for one in bench.node.pubsub.retained(b"t", bench.node.now)] == [b"news"]


def test_it_is_seen_when_it_is_durable() -> None:
    bench = Bench()
    work(bench)
    assert bench.get(b"k") == b"result", "the store is the exception"
    nothing_seen(bench)
    batch = bench.turn()
    nothing_seen(bench)
    bench.reach(batch, batch - 1)
    nothing_seen(bench)
    bench.reach(batch, batch)
    all_there(bench)
    assert bench.queue.describe()["acked"] == 1
    assert bench.group.acked == 1


def test_it_is_one_record_of_the_journal() -> None:
    """Before the sync nothing comes back after a crash, after it everything does."""
    bench = Bench()
    work(bench)
    batch = bench.turn()
    bench.journal.reach(batch, batch - 1)
    stored = bench.journal.batches[-1]
    bench.journal.crash()
    again = bench.restarted()
    assert bodies(again) == [b"job"]
    assert records(again) == [b"event"]
    assert retained(again) == {}
    assert stored[0] == batch

    bench = Bench()
    work(bench)
    batch = bench.turn()
    bench.journal.reach(batch, batch)
    bench.journal.crash()
    again = bench.restarted()
    assert bodies(again) == [b"next"]
    assert records(again) == [b"event", b"done"]
    assert retained(again) == {b"t": b"news"}, (
        "the same record, and not what was done when it had become durable"
    )
    assert again.streams.groups[0].ack_floor == 1


@pytest.mark.parametrize("when", ["open", "closed", "not recoverable"])
def test_nothing_is_left_of_one_that_was_not_stored(when: str) -> None:
    bench = Bench()
    bench.store.set(b"k", b"before", 0)
    bench.store.incr(b"count", 41, bench.node.now)
    work(bench)
    first = int(bench.journal.batch)
    if when != "open":
        assert bench.turn() == first
    bench.fail(first, recoverable=when != "not recoverable")
    assert bench.get(b"k") == b"before"
    assert bench.get(b"count") == number(41)
    assert bench.waiting() == [b"job"]
    assert bench.values() == [b"event"]
    assert bench.group.ack_floor == 0
    assert bench.listener.heard == b""
    assert len(bench.node.batches) == 0
    # Job and message come again, as redeliveries.
    (job,) = bench.receive()
    assert (job.message.value, job.attempt) == (b"job", 2)
    assert [seq for seq, _ in bench.fetch()] == [1]
    if when == "not recoverable":
        with pytest.raises(StorageError, match="no room"):
            bench.batch(bench.push(b"more"))
        return
    bench.rest()
    again = bench.restarted()
    assert bodies(again) == [b"job"]
    assert records(again) == [b"event"]
    assert again.streams.groups[0].ack_floor == 0
    assert bench.batch(bench.ack(job), bench.push(b"next")) == FSYNC
    bench.rest()
    assert bodies(bench.restarted()) == [b"next"]


def test_a_batch_of_the_store_alone_is_done_at_once() -> None:
    bench = Bench()
    assert bench.batch(bench.set(b"k", b"v"), bench.publish(b"t", b"m")) == MEMORY
    bench.turn()
    assert bench.listener.heard == b"t=m;"
    assert bench.get(b"k") == b"v"


def test_what_others_retain_before_a_batch_is_durable_comes_before_it() -> None:
    """Subscribers hear theirs first, so the batch's is the one that stays, after a restart as well."""
    bench = Bench()
    for value in (b"first", b"second"):
        bench.batch(bench.publish(b"t", value, retain=True), bench.publish(b"u", b"", clear=True))
        bench.node.pubsub.retain(b"t", b"other", b"", 0)
        bench.node.pubsub.retain(b"u", b"other", b"", 0)
        bench.turn()
    assert retained(bench.node) == {b"t": b"other", b"u": b"other"}
    bench.reach()
    assert retained(bench.node) == {b"t": b"second"}
    bench.rest()
    assert retained(bench.restarted()) == {b"t": b"second"}
    assert not bench.node.pubsub.kept._announced


def test_a_retained_value_alone_is_answered_when_it_is_durable() -> None:
    bench = Bench()
    assert bench.batch(bench.publish(b"t", b"m", retain=True)) == FSYNC


def test_a_value_that_a_lost_batch_cleared_stays() -> None:
    bench = Bench()
    bench.node.pubsub.retain(b"t", b"before", b"", 0)
    bench.rest()
    bench.batch(bench.publish(b"t", b"", clear=True), bench.push(b"a"))
    undone(bench)
    assert retained(bench.node) == {b"t": b"before"}
    bench.rest()
    assert retained(bench.restarted()) == {b"t": b"before"}


def test_a_batch_waits_for_those_before_it() -> None:
    """One that builds on a change that may be undone must not be confirmed before it."""
    bench = Bench()
    bench.batch(bench.set(b"k", b"v"), bench.push(b"a"))
    first = bench.turn()
    version = int(bench.store.lookup(b"k", 0).version)  # type: ignore[union-attr]
    assert bench.batch(bench.incr(b"n", 1), require=[Precondition(KEY_VERSION, b"k", version)]) == FSYNC, (
        "it records nothing that must be kept, and waits all the same"
    )
    bench.turn()
    bench.fail(first)
    assert bench.get(b"k") is None
    assert bench.get(b"n") is None


def test_the_highest_level_counts_for_all() -> None:
    """A queue of level flush and a stream of level memory show nothing until the sync that a third one asks for."""
    bench = Bench(queue="flush", stream=MEMORY)
    other, _ = bench.node.queues.create(b"other", {"durability": "fsync"}, bench.now)
    bench.rest()
    bench.stream.append(b"", b"before", b"", bench.now)
    assert bench.batch(bench.push(b"a"), bench.append(b"r"), bench.push(b"kept", queue=other)) == FSYNC
    batch = bench.turn()
    bench.stream.append(b"", b"after", b"", bench.now)
    assert bench.stream.level == FSYNC, "what follows is shown later, and confirmed later"
    bench.queue.push(b"b", 0, bench.now)
    last = bench.turn()
    bench.reach(last, batch - 1)
    assert [one.message.value for one in bench.receive(9)] == [b"b"]
    assert bench.values() == [b"before"]
    bench.reach(last, last)
    assert [one.message.value for one in bench.receive(9)] == [b"a"]
    assert bench.values() == [b"before", b"r", b"after"]
    assert bench.stream.level == MEMORY


@pytest.mark.parametrize("recoverable", [True, False])
def test_lower_levels_are_withdrawn_with_it(recoverable: bool) -> None:
    bench = Bench(queue="memory", stream=MEMORY)
    other, _ = bench.node.queues.create(b"other", {"durability": "fsync"}, bench.now)
    bench.rest()
    bench.stream.append(b"", b"before", b"", bench.now)
    bench.batch(bench.push(b"a"), bench.append(b"r"), bench.push(b"kept", queue=other))
    batch = bench.turn()
    bench.stream.append(b"", b"after", b"", bench.now)
    bench.queue.push(b"b", 0, bench.now)
    last = bench.turn()
    if not recoverable:
        bench.reach(last, batch - 1)
    bench.fail(batch, recoverable)
    assert [one.message.value for one in bench.receive(9)] == [b"b"]
    assert bench.values() == [b"before"]
    assert bench.stream.next_seq == 2
    if recoverable:
        bench.rest()
        assert records(bench.restarted()) == [b"before"]


def test_flush_is_confirmed_when_written() -> None:
    bench = Bench(queue="flush", stream=FLUSH)
    assert bench.batch(bench.push(b"a"), bench.publish(b"t", b"m")) == FLUSH
    batch = bench.turn()
    bench.reach(batch, batch - 1)
    assert bench.listener.heard == b"t=m;"


# What others do to a key that may be given back.


def undone(bench: Bench) -> None:
    bench.turn()
    bench.fail(1 if not bench.journal.batches else int(bench.journal.synced) + 1)


def test_what_others_count_stays() -> None:
    bench = Bench()
    bench.store.incr(b"n", 100, bench.now)
    bench.batch(bench.incr(b"n", 7), bench.push(b"a"))
    bench.store.incr(b"n", 1, bench.now)
    bench.store.incr_bounded(b"n", 2, bench.now)
    assert bench.get(b"n") == number(110)
    undone(bench)
    assert bench.get(b"n") == number(103)


def test_what_others_write_stays() -> None:
    bench = Bench()
    for key in (b"set", b"deleted", b"kept", b"twice", b"pre:1", b"pre:2"):
        bench.store.set(key, b"before", bench.now)
    bench.batch(
        bench.set(b"set", b"x"), bench.set(b"deleted", b"x"), bench.set(b"new", b"x"), bench.delete(b"kept"),
        bench.incr(b"n", 5), bench.push(b"a"), bench.delete(b"twice"), bench.delete(b"pre:1"),
        bench.set(b"pre:2", b"x"),
    )  # fmt: skip
    bench.store.set(b"set", b"theirs", bench.now)
    bench.store.delete(b"deleted", bench.now)
    assert not bench.store.delete(b"twice", bench.now)
    assert bench.store.clear_prefix(b"pre:", bench.now, 9) == 1
    bench.store.set(b"n", number(9), bench.now)
    bench.store.incr(b"n", 1, bench.now)
    undone(bench)
    assert bench.get(b"set") == b"theirs"
    assert bench.get(b"deleted") is None
    for key in (b"new", b"twice", b"pre:1", b"pre:2"):
        assert bench.get(key) is None
    assert bench.get(b"kept") == b"before"
    assert bench.get(b"n") == number(10)


def test_a_clear_stays() -> None:
    bench = Bench()
    bench.store.set(b"k", b"before", bench.now)
    bench.batch(bench.set(b"k", b"x"), bench.push(b"a"))
    bench.store.clear(bench.now)
    undone(bench)
    assert bench.get(b"k") is None


def test_a_time_to_live_comes_back_with_its_value() -> None:
    bench = Bench()
    bench.store.put(b"k", b"before", bench.now, expires_at=bench.now + 1_000)
    bench.store.put(b"late", b"before", bench.now, expires_at=bench.now + 5)
    bench.batch(
        bench.set(b"k", b"x", expires_at=bench.now + 10),
        bench.set(b"late", b"x", expires_at=bench.now + 10),
        bench.push(b"a"),
    )
    bench.turn()
    bench.node.driver.time_ms += 20  # type: ignore[attr-defined]
    bench.node.advance()
    assert bench.get(b"k") is None, "the batch's own time to live is over"
    undone(bench)
    entry = bench.store.lookup(b"k", bench.node.now)
    assert entry is not None
    assert (entry.value, entry.expires_at) == (b"before", bench.now + 1_000)
    assert bench.get(b"late") is None, "this one would have expired without the batch"


def test_a_time_to_live_that_others_give_stays() -> None:
    bench = Bench()
    bench.store.set(b"k", b"before", bench.now)
    bench.batch(bench.set(b"k", b"x"), bench.push(b"a"))
    bench.store.set_expiry(b"k", bench.now + 1_000, bench.now)
    undone(bench)
    entry = bench.store.lookup(b"k", bench.node.now)
    assert entry is not None
    assert (entry.value, entry.expires_at) == (b"before", bench.now + 1_000)


def test_batches_on_one_key_are_undone_together() -> None:
    bench = Bench()
    bench.store.incr(b"n", 100, bench.now)
    for step in (1, 10):
        bench.batch(bench.incr(b"n", step), bench.push(b"a"))
        bench.store.incr(b"n", 1_000, bench.now)
        last = bench.turn()
    bench.reach(last - 1, last - 1)
    bench.batch(bench.incr(b"n", 20), bench.push(b"a"))
    bench.store.incr(b"n", 1_000, bench.now)
    assert bench.get(b"n") == number(3_131)
    bench.turn()
    bench.fail(last)
    assert bench.get(b"n") == number(3_101), "the first batch is durable"


def test_watches_are_told_of_both() -> None:
    class Told(Watcher):
        def __init__(self) -> None:
            super().__init__()
            self.values: list[bytes | None] = []

        def changed(self, watch_id: int, changes: list[Change]) -> None:
            self.values += [change.value for change in changes]

    bench = Bench()
    bench.store.set(b"k", b"before", bench.now)
    told = Told()
    bench.store.watch(told, 1, b"k", False)
    bench.batch(bench.set(b"k", b"x"), bench.push(b"a"))
    undone(bench)
    bench.turn()
    assert told.values == [b"x", b"before"]


def test_nothing_is_looked_after_when_all_is_durable() -> None:
    bench = Bench()
    bench.batch(bench.set(b"k", b"v"), bench.push(b"a"))
    assert bench.store._changes.holds
    bench.rest()
    assert not bench.store._changes.holds
    assert bench.store._tracking == 0, "the hot path is what it was"


# What others do to a job that a batch has acked.


def test_a_purge_takes_what_is_acked_and_not_durable() -> None:
    bench = Bench()
    bench.queue.push(b"job", 0, bench.now)
    bench.rest()
    bench.batch(bench.ack(*bench.receive()), bench.set(b"k", b"v"))
    bench.queue.purge()
    undone(bench)
    assert bench.waiting() == []


def test_an_operator_removes_what_is_acked_and_not_durable() -> None:
    bench = Bench()
    bench.queue.push(b"job", 0, bench.now)
    bench.rest()
    (job,) = bench.receive()
    id = int(job.message.id)
    bench.batch(bench.ack(job), bench.set(b"k", b"v"))
    assert bench.queue.remove(id)
    bench.rest()
    assert bench.waiting() == []
    assert bench.queue.describe()["acked"] == 0


def test_a_consumer_that_goes_gets_nothing_back_that_it_acked() -> None:
    bench = Bench()
    bench.queue.push(b"job", 0, bench.now)
    bench.rest()
    bench.batch(bench.ack(*bench.receive()))
    bench.node.queues.drop(bench.consumer, bench.now)
    assert bench.receive() == []
    bench.rest()
    assert bench.waiting() == []


def test_a_group_key_is_free_when_the_ack_is_durable() -> None:
    bench = Bench()
    for value in (b"1", b"2"):
        item = bench.push(value).items[0]
        item.group = b"g"
        bench.queue.push_item(item, bench.now)
    bench.rest()
    (job,) = bench.receive(9)
    bench.batch(bench.ack(job))
    assert bench.receive(9) == []
    batch = bench.turn()
    bench.fail(batch)
    (job,) = bench.receive(9)
    assert job.message.value == b"1", "the order of the group holds"
    bench.batch(bench.ack(job))
    bench.rest()
    assert [one.message.value for one in bench.receive(9)] == [b"2"]


def test_a_seek_makes_an_ack_without_meaning() -> None:
    bench = Bench()
    bench.stream.append_many([(b"k", b"1", b""), (b"k", b"2", b"")], bench.now)
    bench.rest()
    (event,) = bench.fetch(9)
    bench.batch(bench.group_ack(event))
    bench.group.seek(0, 0, bench.now)
    bench.rest()
    assert bench.group.ack_floor == 0
    assert bench.group.acked == 0


def test_an_ack_frees_the_next_of_its_key() -> None:
    bench = Bench()
    bench.stream.append_many([(b"k", b"1", b""), (b"k", b"2", b"")], bench.now)
    bench.rest()
    (event,) = bench.fetch(9)
    bench.batch(bench.group_ack(event))
    assert bench.fetch() == []
    bench.rest()
    assert [seq for seq, _ in bench.fetch()] == [2]


def test_what_is_deleted_meanwhile_is_left_alone() -> None:
    for outcome in (Bench.rest, undone):
        bench = Bench()
        bench.queue.push(b"job", 0, bench.now)
        bench.stream.append(b"", b"event", b"", bench.now)
        bench.rest()
        bench.batch(bench.ack(*bench.receive()), bench.group_ack(*bench.fetch()))
        bench.node.queues.delete(bench.queue.name, bench.now)
        bench.node.streams.delete(bench.stream.name, bench.now)
        outcome(bench)


# What is refused.


def test_a_delivery_that_is_settled_refuses() -> None:
    """So a batch that is sent again after its answer was lost does nothing twice."""
    bench = Bench()
    bench.queue.push(b"job", 0, bench.now)
    bench.rest()
    (job,) = bench.receive()
    lease = (int(job.message.id), int(job.token))
    bench.batch(bench.ack(job), bench.incr(b"n", 1))
    again = (bench.ack_leases(lease), bench.incr(b"n", 1))
    assert isinstance(bench.refused(*again).reason, FencedError)
    bench.rest()
    assert bench.refused(*again).command == 0


def test_a_refusal_names_what_and_why() -> None:
    bench = Bench(messages_max=1)
    error = bench.refused(bench.set(b"k", b"v"), bench.push(b"a"), bench.push(b"b"))
    assert (error.command, error.precondition) == (2, None)
    assert isinstance(error.reason, LimitExceededError)
    error = bench.refused(
        bench.push(b"a"), require=[Precondition(QUEUE_EXISTS, b"n", 0), Precondition(KEY_EXISTS, b"k", 0)]
    )
    assert (error.command, error.precondition) == (None, 1)
    assert isinstance(error.reason, PreconditionFailedError)
    assert error.reason.details == {"actual": 0}
    assert bench.refused(require=[Precondition(LAST_SEQ, b"n", 4)]).reason.details == {"actual": 0}


def test_room_that_an_ack_will_make_is_not_there_yet() -> None:
    bench = Bench(messages_max=1)
    bench.queue.push(b"a", 0, bench.now)
    bench.rest()
    (job,) = bench.receive()
    assert bench.refused(bench.ack(job), bench.push(b"b")).command == 1


def test_what_a_full_queue_drops_is_chosen_among_the_others() -> None:
    bench = Bench(messages_max=2, overflow="drop_oldest")
    for value in (b"1", b"2"):
        bench.queue.push(value, 0, bench.now)
    bench.rest()
    assert bench.refused(bench.push(b"3"), bench.push(b"4"), bench.push(b"5")).command == 2
    bench.batch(bench.push(b"3"), bench.push(b"4"))
    bench.rest()
    assert bench.waiting() == [b"3", b"4"]


def test_a_repeated_dedup_key_is_answered_with_the_first() -> None:
    bench = Bench(messages_max=2)
    first, second = bench.push(b"a", dedup=b"d"), bench.push(b"b", dedup=b"d")
    bench.batch(first, second, bench.push(b"c"))
    assert second.ids == first.ids
    assert second.items[0].duplicate


def test_memory_is_checked_for_all_keys_together() -> None:
    bench = Bench(memory_max=2_000)
    bench.store.set(b"old", bytes(1_000), bench.now)
    error = bench.refused(bench.set(b"a", bytes(300)), bench.set(b"b", bytes(300)), bench.push(b"x"))
    assert error.command == 1
    assert isinstance(error.reason, MemoryLimitError)
    # The largest moment counts, not the last.
    assert isinstance(bench.refused(bench.set(b"a", bytes(900)), bench.delete(b"a")).reason, MemoryLimitError)
    bench.batch(bench.set(b"a", bytes(300)))


def test_what_is_not_there_takes_no_room() -> None:
    bench = Bench(memory_max=1_300)
    bench.store.set(b"old", bytes(1_000), bench.now)
    bench.batch(bench.delete(b"none"), bench.set(b"old", bytes(1_080)), bench.push(b"x"))


def test_eviction_spares_the_keys_of_the_batch() -> None:
    bench = Bench(memory_max=2_000, eviction="lru")
    bench.store.set(b"old", bytes(500), bench.now)
    bench.store.set(b"mine", bytes(500), bench.now)
    bench.batch(bench.set(b"mine", bytes(600)), bench.set(b"new", bytes(600)), bench.push(b"x"))
    assert bench.get(b"old") is None
    assert bench.get(b"mine") == bytes(600)
    assert bench.get(b"new") == bytes(600)


def test_while_the_disk_is_full_nothing_durable_is_taken() -> None:
    bench = Bench()
    bench.node.withdraw(bench.journal.batch, "no room", [])
    with pytest.raises(StorageError, match="no room"):
        bench.batch(bench.set(b"k", b"v"), bench.push(b"a"))
    assert bench.get(b"k") is None
    bench.batch(bench.set(b"k", b"v"))
    bench.node.room_again()
    bench.batch(bench.push(b"a"))


def test_a_refusal_is_a_server_error_like_others() -> None:
    error = BatchRefusedError("text", None)
    assert (error.command, error.precondition, error.reason.message) == (None, None, "text")
