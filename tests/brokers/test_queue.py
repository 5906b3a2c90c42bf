"""Queues feature by feature: definitions, order, leases, refusals, and what time does."""

from __future__ import annotations

import pytest

from nexo.brokers.journal import Journal
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.definition import OPTIONS
from nexo.brokers.queue.lending import DIED, DONE, FAILED, FATAL, FENCED, RELEASE, REPEATED
from nexo.brokers.queue.message import DELAYED, Item
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.queues import Queues
from nexo.errors import (
    InvalidArgumentError,
    ResourceConfigConflictError,
    ResourceNotFoundError,
)
from tests.brokers.queue_log import START, Listener, ack, nack, new_queue, numbers, push, take, value

HOUR = 3_600_000
DAY = 24 * HOUR


# Definitions.


def test_created_unchanged_and_in_conflict() -> None:
    queues, queue, _ = new_queue(max_deliveries=3)
    assert queues.create(b"mail", {"max_deliveries": 3}, START) == (queue, False)
    assert queues.create(b"mail", {}, START) == (queue, False)
    assert queues.create(b"mail", {"visibility_timeout_ms": 30_000}, START) == (queue, False)
    with pytest.raises(
        ResourceConfigConflictError, match="'mail' exists with another definition: max_del"
    ) as e:
        queues.create(b"mail", {"max_deliveries": 4, "visibility_timeout_ms": 30_000}, START)
    assert e.value.details == {
        "resourceKind": "queue",
        "resourceName": "mail",
        "requested": {"max_deliveries": 4, "visibility_timeout_ms": 30_000},
        "actual": {"max_deliveries": 3, "visibility_timeout_ms": 30_000},
        "differences": [{"path": "max_deliveries", "requested": 4, "actual": 3}],
    }
    with pytest.raises(ResourceConfigConflictError) as e:
        queues.create(b"mail", {"overflow": "drop_oldest"}, START)
    assert e.value.details["differences"] == [
        {"path": "overflow", "requested": "drop_oldest", "actual": "reject"}
    ]


def test_defaults() -> None:
    _, queue, _ = new_queue()
    shown = queue.describe()
    assert {name: shown[name] for name in OPTIONS} == {
        "visibility_timeout_ms": 30_000,
        "max_deliveries": 5,
        "durability": "fsync",
        "backoff": "none",
        "backoff_ms": 1_000,
        "backoff_max_ms": 15 * 60_000,
        "backoff_jitter_percent": 20,
        "dedup_window_ms": 300_000,
        "messages_max": 0,
        "bytes_max": 0,
        "overflow": "reject",
        "in_flight_max": 0,
        "on_expiry": "drop",
        "dead_retention_ms": 14 * DAY,
        "dead_letters_max": 1_000_000,
    }


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"max_deliverys": 3}, "'max_deliverys' is no option of a queue; there are visibility_timeout_ms, "),
        ({"max_deliveries": 0}, "max_deliveries 0: it is 1 to 4294967295"),
        ({"max_deliveries": "3"}, "max_deliveries '3': it is an integer"),
        ({"max_deliveries": True}, "max_deliveries True: it is an integer"),
        ({"overflow": "explode"}, "overflow 'explode': it is one of reject, drop_oldest, dead_letter"),
        ({"durability": 2}, "durability 2: it is one of memory, flush, fsync"),
    ],
)
def test_options_that_are_refused(given: dict[str, object], text: str) -> None:
    queues = Queues(Journal())
    with pytest.raises(InvalidArgumentError) as error:
        queues.create(b"q", given, START)
    assert str(error.value).startswith(text)
    assert not queues.exists(b"q")


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    queues, queue, _ = new_queue()
    for name in (b"", b"x" * 256):
        with pytest.raises(InvalidArgumentError, match=r"QUEUE_NAME_BYTES_MAX \(255\)"):
            queues.create(name, {}, START)
    queues.create(b"x" * 255, {}, START)
    queues.create(b"a", {}, START)
    assert queues.names() == [b"a", b"mail", b"x" * 255]
    assert queues.find(b"mail") is queue
    with pytest.raises(ResourceNotFoundError, match="queue 'post' does not exist"):
        queues.find(b"post")


def test_a_deleted_queue_is_gone_with_all_it_held() -> None:
    queues, queue, consumer = new_queue()
    push(queue, 1, 2)
    one = take(queue, consumer, 1)[0]
    id, token = one.message.id, one.token
    waiter = Listener()
    queue.wait(waiter, consumer, 1, START + 10)
    assert queues.delete(b"mail", START) and not queues.delete(b"mail", START)
    assert [str(error) for error in waiter.errors] == ["queue 'mail' was deleted"]
    assert isinstance(waiter.errors[0], ResourceNotFoundError)
    again, created = queues.create(b"mail", {}, START + 1)
    assert created and again.number != queue.number
    assert again.ack(id, token, START + 1) == FENCED
    queues.drop(consumer, START + 1)
    assert again.describe()["messages"] == 0 and queues.resident_bytes == 0
    while queues.work(1):
        pass


# Order.


def test_first_in_first_out_within_a_priority() -> None:
    _, queue, consumer = new_queue()
    push(queue, 1, 2)
    push(queue, 3, 4, priority=200)
    push(queue, 5)
    assert numbers(take(queue, consumer, 3)) == [3, 4, 1]
    assert numbers(take(queue, consumer)) == [2, 5]
    assert take(queue, consumer) == []


def test_what_comes_back_keeps_its_place() -> None:
    _, queue, consumer = new_queue()
    push(queue, *range(5))
    first = take(queue, consumer, 3)
    for one in (first[2], first[0]):
        assert nack(queue, one) == DONE
    assert numbers(take(queue, consumer)) == [0, 2, 3, 4]


def test_a_blocked_group_blocks_nobody_else() -> None:
    _, queue, consumer = new_queue()
    push(queue, 1, 2, 3, group=b"a")
    push(queue, 4, 5, group=b"b")
    push(queue, 6)
    first = take(queue, consumer)
    assert numbers(first) == [1, 4, 6]
    assert take(queue, consumer) == []
    nack(queue, first[0], delay=50)  # the group waits for it
    ack(queue, first[1])
    assert numbers(take(queue, consumer)) == [5]
    queues_now = START + 50
    queue.advance(queues_now, 100)
    again = take(queue, consumer, now=queues_now)
    assert numbers(again) == [1]
    nack(queue, again[0], FATAL, now=queues_now)
    assert numbers(take(queue, consumer, now=queues_now)) == [2]


def test_a_group_of_many_while_others_pass() -> None:
    _, queue, consumer = new_queue()
    push(queue, *range(300), group=b"slow")
    push(queue, *range(300, 310))
    held = queue.describe()["held"]
    assert held == 299
    assert numbers(take(queue, consumer)) == [0, *range(300, 310)]


# Leases.


def test_a_lease_runs_out_and_fences() -> None:
    queues, queue, consumer = new_queue(visibility_timeout_ms=100)
    push(queue, 1)
    one = take(queue, consumer)[0]
    assert (one.attempt, one.deadline) == (1, START + 100)
    id, token = one.message.id, one.token
    assert queues.advance(START + 99, 100) == START + 100
    assert take(queue, consumer, now=START + 99) == []
    queues.advance(START + 100, 100)
    two = take(queue, consumer, now=START + 100)[0]
    assert two.attempt == 2 and two.token > token and two.message.id == id
    assert queue.ack(id, token, START + 100) == FENCED
    assert queue.extend(id, token, 10, START + 100) == FENCED
    assert queue.nack(id, token, b"", FATAL, 0, START + 100) == FENCED
    assert ack(queue, two) == DONE
    assert queue.ack(id, two.token, START + 100) == REPEATED
    assert queue.ack(id, token, START + 100) == FENCED


def test_a_repeated_acknowledgement_is_of_the_same_message() -> None:
    """Only the token was compared: an ack of another message, with a token that had been used, was confirmed."""
    _, queue, consumer = new_queue()
    push(queue, 1, 2)
    one, two = take(queue, consumer)
    id, other, token = one.message.id, two.message.id, one.token
    assert ack(queue, one) == DONE
    assert [queue.ack(wrong, token, START) for wrong in (other, 0, -1, 99)] == [FENCED] * 4
    assert list(queue.ack_many([other, 0, id], [token] * 3, START)) == [FENCED, FENCED, REPEATED]
    assert queue.nack(0, token, b"", FATAL, 0, START) == queue.extend(0, token, 10, START) == FENCED
    assert queue.ack(id, token, START) == REPEATED
    assert ack(queue, two) == DONE


def test_an_extended_lease() -> None:
    queues, queue, consumer = new_queue(visibility_timeout_ms=100)
    push(queue, 1, 2)
    one, two = take(queue, consumer)
    assert queue.extend(one.message.id, one.token, 1_000, START + 50) == START + 1_050
    assert queues.advance(START + 100, 100) == START + 1_050
    assert queue.describe()["leased"] == 1 and two.message.id == 0
    assert queue.extend(one.message.id, one.token, 10, START + 200) == START + 210
    assert queues.advance(START + 210, 100) == 0
    assert numbers(take(queue, consumer, now=START + 210)) == [1, 2]
    with pytest.raises(InvalidArgumentError, match="a lease of 0 ms: it is 1 to 604800000"):
        queue.extend(1, 1, 0, START)


def test_a_consumer_that_dies_gives_back_at_once_and_the_attempt_counts() -> None:
    queues, queue, consumer = new_queue(max_deliveries=2, backoff="fixed")
    other = Consumer()
    push(queue, 1, 2, 3)
    take(queue, consumer, 2)
    take(queue, other, 1)
    queues.drop(consumer, START)
    assert [(one.attempt, one.message.value) for one in take(queue, other)] == [(2, value(1)), (2, value(2))]
    queues.drop(other, START)
    assert [letter.reason for letter in queue.peek(10, 0)] == [b"lease ended: its consumer disconnected"] * 2
    assert [(one.attempt, one.message.value) for one in take(queue, consumer)] == [(2, value(3))]


def test_ack_many() -> None:
    _, queue, consumer = new_queue()
    push(queue, *range(4))
    lent = take(queue, consumer)
    ids = [one.message.id for one in lent]
    tokens = [one.token for one in lent]
    assert queue.ack_many([*ids[:2], ids[0], ids[3]], [*tokens[:2], tokens[0], tokens[2]], START) == [
        DONE,
        DONE,
        REPEATED,
        FENCED,
    ]
    assert queue.describe()["leased"] == 2


def test_a_bound_in_flight() -> None:
    queues, queue, consumer = new_queue(in_flight_max=2)
    push(queue, *range(4))
    lent = take(queue, consumer)
    assert numbers(lent) == [0, 1]
    waiter = Listener()
    queue.wait(waiter, consumer, 5, START + 10)
    queues.flush(START)
    assert waiter.got == []
    ack(queue, lent[0])
    queues.flush(START)
    assert numbers(waiter.got) == [2]


def test_a_receive_stops_before_its_bytes_pass_the_bound() -> None:
    _, queue, consumer = new_queue()
    big = b"\x00" * 5_000_000
    for _ in range(3):
        queue.push(big, 0, START)
    assert [len(take(queue, consumer)) for _ in range(4)] == [1, 1, 1, 0]


# Refusals.


def test_three_ways_to_refuse() -> None:
    _, queue, consumer = new_queue(max_deliveries=2)
    push(queue, 1, 2)
    released, failed = take(queue, consumer)
    assert nack(queue, released, RELEASE) == DONE
    assert nack(queue, failed) == DONE
    one, two = take(queue, consumer)
    assert (one.attempt, two.attempt) == (1, 2)
    assert (one.message.reason, two.message.reason) == (b"broken", b"broken")
    assert nack(queue, two) == DIED
    assert nack(queue, one, FATAL) == DIED
    assert [(letter.message.value, letter.message.attempts) for letter in queue.peek(9, 0)] == [
        (value(2), 2),
        (value(1), 1),
    ]
    with pytest.raises(InvalidArgumentError, match="mode 3: it is 0"):
        queue.nack(1, 1, b"", 3, 0, START)
    with pytest.raises(InvalidArgumentError, match="delay_ms -2: it is 0 to"):
        queue.nack(1, 1, b"", FAILED, -2, START)


def delays(queues: Queues, queue: Queue, consumer: Consumer, count: int) -> list[int]:
    """How long one message stays away each time that it fails."""
    found = []
    now = START
    for _ in range(count):
        one = take(queue, consumer, now=now)[0]
        message = one.message
        nack(queue, one, now=now)
        found.append(max(int(message.due_at) - now, 0))
        now += found[-1]
        queues.advance(now, 100)
    return found


def test_backoff() -> None:
    for options, expected in (
        ({}, [0, 0, 0]),
        ({"backoff": "fixed", "backoff_ms": 70}, [70, 70, 70]),
        (
            {"backoff": "exponential", "backoff_ms": 100, "backoff_max_ms": 350, "backoff_jitter_percent": 0},
            [100, 200, 350, 350],
        ),
    ):
        queues, queue, consumer = new_queue(max_deliveries=9, **options)
        push(queue, 1)
        assert delays(queues, queue, consumer, len(expected)) == expected


def test_jitter_shortens_and_comes_from_the_seed() -> None:
    def once(seed: int) -> list[int]:
        queues = Queues(Journal(), seed)
        options = {
            "backoff": "exponential",
            "backoff_ms": 1_000,
            "backoff_max_ms": 1_000,
            "max_deliveries": 99,
        }
        queue, _ = queues.create(b"q", options, START)
        push(queue, 1)
        return delays(queues, queue, Consumer(), 30)

    first = once(1)
    assert all(800 <= delay <= 1_000 for delay in first) and len(set(first)) > 20
    assert first == once(1) != once(2)


def test_a_lease_that_runs_out_backs_off_and_dies_with_its_reason() -> None:
    queues, queue, consumer = new_queue(
        visibility_timeout_ms=100, max_deliveries=2, backoff="fixed", backoff_ms=40
    )
    push(queue, 1)
    take(queue, consumer)
    assert queues.advance(START + 100, 9) == START + 140
    assert take(queue, consumer, now=START + 100) == []
    queues.advance(START + 140, 9)
    take(queue, consumer, now=START + 140)
    queues.advance(START + 240, 9)
    letter = queue.peek(1, 0)[0]
    assert letter.reason == b"lease expired: neither acknowledged nor extended in time"
    assert (letter.message.attempts, letter.died_at, letter.message.enqueued_at) == (2, START + 240, START)


def test_a_long_reason_is_cut() -> None:
    _, queue, consumer = new_queue()
    push(queue, 1)
    one = take(queue, consumer)[0]
    queue.nack(one.message.id, one.token, b"x" * 9_999, FATAL, 0, START)
    assert queue.peek(1, 0)[0].reason == b"x" * 4_096


# Time.


def test_delayed_scheduled_and_cancelled() -> None:
    queues, queue, consumer = new_queue()
    push(queue, 1, delay_ms=100)
    later = push(queue, 2, due_at=START + 50)[0]
    gone = push(queue, 3, delay_ms=10)[0]
    push(queue, 4, due_at=START - 5)
    assert numbers(take(queue, consumer)) == [4]
    assert queue.remove(gone) and not queue.remove(gone)
    message = queue.get(later)
    assert message is not None and message.state == DELAYED
    assert queues.advance(START + 30, 9) == START + 50
    assert queues.advance(START + 50, 9) == START + 100
    assert numbers(take(queue, consumer, now=START + 50)) == [2]
    queues.advance(START + 400, 9)
    assert numbers(take(queue, consumer, now=START + 400)) == [1]


def test_a_thousand_years() -> None:
    queues, queue, consumer = new_queue()
    push(queue, 1, delay_ms=1_000 * 365 * DAY)
    assert queues.advance(START, 9) == START + 1_000 * 365 * DAY
    queues.advance(START + 1_000 * 365 * DAY, 9)
    assert numbers(take(queue, consumer, now=START + 1_000 * 365 * DAY)) == [1]


@pytest.mark.parametrize("policy", ["drop", "dead_letter"])
def test_time_to_live(policy: str) -> None:
    queues, queue, consumer = new_queue(on_expiry=policy)
    push(queue, 1, 2, ttl_ms=100)
    push(queue, 3)
    lent = take(queue, consumer, 1)
    # One that is lent is its consumer's; the other is not given out a millisecond late.
    assert numbers(take(queue, consumer, now=START + 100)) == [3]
    nack(queue, lent[0], now=START + 101)
    assert queue.describe()["expired"] == 2
    assert [letter.reason for letter in queue.peek(9, 0)] == (
        [b"expired: its time to live was over"] * 2 if policy == "dead_letter" else []
    )
    push(queue, 4, ttl_ms=5, delay_ms=50)
    assert queues.advance(START + 5, 9) > 0
    assert queue.describe()["expired"] == 3


def test_dedup_within_its_window() -> None:
    queues, queue, consumer = new_queue(dedup_window_ms=1_000)
    first = push(queue, 1, dedup=b"k")
    item = Item(value(2), dedup=b"k")
    assert [int(id) for id in queue.push_many([item, Item(value(3), dedup=b"l")], START + 999)] == [
        first[0],
        first[0] + 1,
    ]
    assert item.duplicate
    assert numbers(take(queue, consumer)) == [1, 3]
    assert push(queue, 4, dedup=b"k", now=START + 1_000) == [first[0] + 2]
    assert queue.describe()["deduplicated"] == 1
    queues.advance(START + 5_000, 1_000)
    assert len(queue.parts.dedup) == 0


def test_pause_with_and_without_an_end() -> None:
    queues, queue, consumer = new_queue()
    push(queue, 1, 2)
    queue.pause(START + 100)
    waiter = Listener()
    queue.wait(waiter, consumer, 1, START + 500)
    queues.flush(START)
    assert take(queue, consumer) == [] and waiter.got == []
    queues.advance(START + 100, 9)
    assert numbers(waiter.got) == [1]
    queue.pause(-1)
    queues.advance(START + HOUR, 9)
    assert take(queue, consumer, now=START + HOUR) == []
    queue.resume()
    assert numbers(take(queue, consumer, now=START + HOUR)) == [1, 2]
    with pytest.raises(InvalidArgumentError, match="a pause until 0"):
        queue.pause(0)
