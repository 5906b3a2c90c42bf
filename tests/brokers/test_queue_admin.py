"""Queues feature by feature: who waits, dead letters, looking and taking out, limits."""

from __future__ import annotations

import pytest

from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.dead import DeadFilter
from nexo.brokers.queue.lending import FATAL, FENCED
from nexo.brokers.queue.message import DELAYED, LEASED, READY, Delivery, Item
from nexo.brokers.queue.queue import Queue
from nexo.errors import (
    InvalidArgumentError,
    LimitExceededError,
)
from tests.brokers.queue_log import START, Listener, ack, nack, new_queue, numbers, push, take, value

HOUR = 3_600_000
DAY = 24 * HOUR


# Waiting.


def test_waiters_are_served_in_turn_and_share() -> None:
    queues, queue, _ = new_queue()
    waiters = [Listener() for _ in range(3)]
    for waiter in waiters:
        queue.wait(waiter, Consumer(), 10, START + 100)
    push(queue, 0)
    assert [len(waiter.got) for waiter in waiters] == [0, 0, 0]  # not before the end of the turn
    queues.flush(START)
    assert [len(waiter.got) for waiter in waiters] == [1, 0, 0]
    queue.wait(waiters[0], Consumer(), 10, START + 100)
    push(queue, *range(1, 7))
    queues.flush(START)
    assert [numbers(waiter.got) for waiter in waiters] == [[0, 5, 6], [1, 2], [3, 4]]


def test_waiters_time_out_and_cancel() -> None:
    queues, queue, consumer = new_queue()
    one, two, three = Listener(), Listener(), Listener()
    queue.wait(one, consumer, 1, START + 10)
    queue.wait(two, consumer, 1, START + 20)
    queue.wait(three, consumer, 1, START + 30)
    assert queue.cancel(two) and not queue.cancel(two)
    assert queues.advance(START + 10, 9) == START + 30
    assert (one.late, two.late, three.late) == (1, 0, 0)
    queues.drop(consumer, START + 10)
    push(queue, 1)
    queues.flush(START + 10)
    queues.advance(START + 50, 9)
    assert one.got == two.got == three.got == [] and three.late == 0
    assert queue.describe()["waiting_consumers"] == 0


def test_a_waiter_may_call_back() -> None:
    queues, queue, consumer = new_queue()

    class Worker(Listener):
        def delivered(self, deliveries: list[Delivery]) -> None:
            super().delivered([])
            self.done = [*getattr(self, "done", []), *numbers(deliveries)]
            for one in deliveries:
                ack(queue, one)
            queue.wait(self, consumer, 1, START + 100)

    worker = Worker()
    queue.wait(worker, consumer, 1, START + 100)
    push(queue, *range(5))
    queues.flush(START)
    assert worker.done == [0, 1, 2, 3, 4]
    assert queue.describe()["acked"] == 5


# Dead letters.


def dead(queue: Queue, consumer: Consumer, *which: int, now: int = START) -> None:
    push(queue, *which, now=now)
    for one in take(queue, consumer, now=now):
        reason = b"odd one" if int(one.message.value[1:]) % 2 else b"even one"
        queue.nack(one.message.id, one.token, reason, FATAL, 0, now)


def test_peek_pages_and_redrive() -> None:
    _, queue, consumer = new_queue()
    dead(queue, consumer, *range(5))
    assert [letter.message.value for letter in queue.peek(2, 1)] == [value(1), value(2)]
    id = queue.peek(1, 2)[0].message.id
    assert queue.delete_dead(id) and not queue.delete_dead(id)
    assert [letter.message.value for letter in queue.peek(9, 1)] == [value(1), value(3), value(4)]
    again = queue.redrive(queue.peek(1, 1)[0].message.id, START)
    assert again > 5 and queue.redrive(99, START) == 0
    one = take(queue, consumer)[0]
    assert (one.message.id, one.message.value, one.attempt) == (again, value(1), 1)
    assert queue.dead_count == 3 and queue.purge_dead() == 3 and queue.dead_count == 0


def test_redrive_of_those_that_match_in_slices() -> None:
    _, queue, consumer = new_queue()
    dead(queue, consumer, *range(9))
    dead(queue, consumer, *range(9, 12), now=START + 500)
    until = queue.parts.dead.last_serial
    dead(queue, consumer, 13, now=START + 900)  # dies while it runs
    some = DeadFilter(reason=b"odd", died_from=START, died_until=START + 900)
    after = 0
    slices = []
    while True:
        result = queue.redrive_some(some, after, until, 5, START + 900)
        slices.append(int(result.count))
        after = int(result.after)
        if after == 0:
            break
    assert slices == [2, 3, 1]
    assert numbers(take(queue, consumer, now=START + 900)) == [1, 3, 5, 7, 9, 11]
    assert queue.dead_count == 7
    only = DeadFilter(died_from=START + 500, died_until=START + 600)
    assert queue.redrive_some(only, 0, queue.parts.dead.last_serial, 99, START).count == 1


def test_dead_letters_have_a_retention_of_their_own() -> None:
    queues, queue, consumer = new_queue(dead_retention_ms=1_000, dead_letters_max=3)
    dead(queue, consumer, 0, 1)
    dead(queue, consumer, 2, 3, now=START + 500)
    assert [letter.message.value for letter in queue.peek(9, 0)] == [value(1), value(2), value(3)]
    assert queues.advance(START + 999, 9) == START + 1_000
    queues.advance(START + 1_000, 9)
    assert [letter.message.value for letter in queue.peek(9, 0)] == [value(2), value(3)]
    queues.advance(START + 1_500, 9)
    assert queue.dead_count == 0


# Looking, and taking out.


def test_browse_pages() -> None:
    _, queue, consumer = new_queue()
    ids = push(queue, *range(5))
    push(queue, 9, delay_ms=10)
    take(queue, consumer, 2)
    page = queue.browse(READY, 0, 2)
    assert [int(one.id) for one in page.messages] == ids[2:4] and page.after == ids[3]
    page = queue.browse(READY, page.after, 2)
    assert [int(one.id) for one in page.messages] == ids[4:] and page.after == 0
    assert [int(one.id) for one in queue.browse(LEASED, ids[0], 9).messages] == ids[1:2]
    assert [one.value for one in queue.browse(DELAYED, 0, 9).messages] == [value(9)]


def test_remove_and_purge() -> None:
    queues, queue, consumer = new_queue()
    ids = push(queue, *range(4))
    push(queue, 9, delay_ms=10)
    one, two = take(queue, consumer, 2)
    assert queue.remove(ids[0]) and one.message.id == 0
    assert queue.remove(ids[2]) and queue.get(ids[2]) is None
    id, token = two.message.id, two.token
    assert queue.purge() == 3
    assert queue.ack(id, token, START) == FENCED
    assert queue.describe()["bytes"] == 0 and queues.resident_bytes == 0
    push(queue, 7)
    assert numbers(take(queue, consumer)) == [7]


def test_describe_counts_and_ages() -> None:
    _, queue, consumer = new_queue()
    push(queue, 1)
    push(queue, 2, now=START + 5)
    ack(queue, take(queue, consumer, 1)[0])
    nack(queue, take(queue, consumer, 1)[0])
    take(queue, consumer, 1)
    shown = queue.describe()
    assert shown["oldest_enqueued_at"] == START + 5
    assert [shown[name] for name in ("pushed", "delivered", "redelivered", "acked", "nacked")] == [
        2,
        3,
        1,
        1,
        1,
    ]


# Limits.


def test_a_full_queue_rejects_and_changes_nothing() -> None:
    _, queue, _ = new_queue(messages_max=2, bytes_max=10)
    push(queue, 1, 2)
    with pytest.raises(LimitExceededError) as error:
        push(queue, 3)
    assert str(error.value) == "queue 'mail' is full: messages_max (2), and it holds 2"
    queue.remove(1)
    with pytest.raises(LimitExceededError) as error:
        queue.push(b"\x00" * 9, 0, START)
    assert str(error.value) == "queue 'mail' is full: bytes_max (10), it holds 2 and 9 more do not fit"
    with pytest.raises(LimitExceededError, match="messages_max"):
        queue.push_many([Item(value(1)), Item(value(2))], START)
    assert queue.describe()["messages"] == 1
    assert queue.push(b"\x00" * 8, 0, START) > 0


@pytest.mark.parametrize("policy", ["drop_oldest", "dead_letter"])
def test_a_full_queue_makes_room(policy: str) -> None:
    _, queue, consumer = new_queue(messages_max=3, overflow=policy)
    push(queue, 1, priority=9)
    push(queue, 2, 3)
    take(queue, consumer, 1)  # the first is lent, and cannot go
    push(queue, 4, 5)
    assert [letter.reason for letter in queue.peek(9, 0)] == (
        [b"overflow: the queue was full"] * 2 if policy == "dead_letter" else []
    )
    assert queue.describe()["dropped"] == (0 if policy == "dead_letter" else 2)
    with pytest.raises(LimitExceededError, match=r"messages_max \(3\)"):
        queue.push_many([Item(value(1))] * 3, START)
    assert numbers(take(queue, consumer)) == [4, 5]
    with pytest.raises(LimitExceededError, match=r"messages_max \(3\), and it holds 3"):
        push(queue, 6)


def test_the_lowest_priority_goes_first() -> None:
    _, queue, consumer = new_queue(messages_max=2, overflow="drop_oldest")
    push(queue, 1, priority=9)
    push(queue, 2)
    push(queue, 3, priority=9)
    assert numbers(take(queue, consumer)) == [1, 3]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (Item(b""), "a message has no value"),
        (Item(b"\x00", 256), "priority 256: it is 0 to 255"),
        (Item(b"\x00", -1), "priority -1: it is 0 to 255"),
        (Item(b"\x00" * 10_354_689), "MESSAGE_BYTES_MAX (10354688) is below a value of 10354689 bytes"),
        (Item(b"\x00", headers=b"h" * 65_537), "HEADERS_BYTES_MAX (65536) is below headers of 65537 bytes"),
        (Item(b"\x00", dedup=b"d" * 1_025), "QUEUE_KEY_BYTES_MAX (1024) is below a dedup key of 1025 bytes"),
        (Item(b"\x00", group=b"g" * 1_025), "QUEUE_KEY_BYTES_MAX (1024) is below a group key of 1025 bytes"),
        (Item(b"\x00", delay_ms=-1), "delay_ms -1: it is 0 to"),
        (Item(b"\x00", ttl_ms=2**53 + 1), "ttl_ms 9007199254740993: it is 0 (for ever) to 9007199254740992"),
        (Item(b"\x00", delay_ms=1, due_at=1), "delay_ms and due_at exclude each other"),
    ],
)
def test_messages_that_are_refused(item: Item, text: str) -> None:
    _, queue, _ = new_queue()
    with pytest.raises((InvalidArgumentError, LimitExceededError)) as error:
        queue.push_many([Item(b"\x00fine", dedup=b"k"), item], START)
    assert str(error.value).startswith(text)
    assert queue.describe()["messages"] == 0 and len(queue.parts.dedup) == 0
    if len(item.value) != 1:
        with pytest.raises((InvalidArgumentError, LimitExceededError)):
            queue.push(item.value, item.priority, START)


def test_calls_have_bounds() -> None:
    _, queue, consumer = new_queue()
    with pytest.raises(LimitExceededError, match=r"MESSAGES_PER_PUSH_MAX \(10000\) is below 10001 messages"):
        queue.push_many([Item(b"\x00")] * 10_001, START)
    for count in (0, 10_001):
        with pytest.raises(
            LimitExceededError, match=rf"1 to DELIVERIES_PER_RECEIVE_MAX \(10000\) messages, not {count}"
        ):
            queue.receive(count, consumer, START)
        with pytest.raises(LimitExceededError, match="DELIVERIES_PER_RECEIVE_MAX"):
            queue.wait(Listener(), consumer, count, START)
    with pytest.raises(LimitExceededError, match=r"\(10000\) is below 10001 acknowledgements"):
        queue.ack_many([1] * 10_001, [1] * 10_001, START)
