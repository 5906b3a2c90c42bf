"""Dead letters, retention under a group, lag, groups that nobody uses, and what a restart leaves of a group."""

from __future__ import annotations

import pytest

from nexo.brokers.stream.stream import Stream
from nexo.errors import (
    InvalidArgumentError,
    LimitExceededError,
    ResourceNotFoundError,
)
from nexo.limits import GROUPS_PER_STREAM_MAX, KEY_BYTES_MAX, REASON_BYTES_MAX
from tests.brokers.streamkit import NOW, Kit, seen, seqs, values


def filled(kit: Kit, count: int = 5, keys: bytes = b"", **given: int) -> Stream:
    """A stream with records; each byte of `keys` is the key of one."""
    stream = kit.create(**given)
    for number in range(len(keys) or count):
        stream.append(keys[number : number + 1].strip(), b"\x00%d" % (number + 1), b"", kit.now)
    kit.turn()
    return stream


# Dead letters.


def test_the_delivery_limit_makes_a_dead_letter() -> None:
    kit = Kit()
    stream = filled(kit, 3, max_deliveries=2)
    seat, other = kit.join(stream), kit.join(stream, consumer="other")
    for reason in (b"first", b"r" * (REASON_BYTES_MAX + 1)):
        got = seat.fetch(1)
        assert seqs(got) == [1]
        seat.nack(got[0], reason)
    for _ in range(2):
        assert seqs(seat.fetch(1)) == [2]
        kit.later(30_000)
    for _ in range(2):
        third = other.fetch(1)
        assert seqs(third) == [3]
        other.leave()
        other = kit.join(stream, consumer="other")
    assert seat.fetch() == []
    letters = seat.group.peek(0, 10)
    assert [(one.seq, one.attempts, one.reason, one.died_at - NOW) for one in letters] == [
        (1, 2, b"r" * REASON_BYTES_MAX, 0),
        (2, 2, b"the lease ran out", 60_000),
        (3, 2, b"the consumer left", 60_000),
    ]
    assert seqs_of(seat.group.peek(1, 1)) == [2]
    assert seat.group.lag(kit.now).messages == 0


def seqs_of(letters: list) -> list[int]:  # type: ignore[type-arg]
    return [one.seq for one in letters]


def test_a_dead_letter_survives_retention_and_a_restart() -> None:
    kit = Kit()
    stream = kit.create(max_deliveries=1, max_age_ms=10_000)
    stream.append(b"k", b"\x01payload", b"headers", NOW)
    kit.turn()
    seat = kit.join(stream)
    seat.nack(seat.fetch()[0], b"broken")
    kit.later(10_000)
    assert stream.first_seq == 2
    state = seen(kit.streams, kit.now)
    kit.restart()
    assert seen(kit.streams, kit.now) == state
    stream = kit.streams.find(b"orders")
    group = stream.find_group(b"g")
    contents = group.peek(0, 1)[0].contents()
    assert (contents.key, contents.value, contents.headers) == (b"k", b"\x01payload", b"headers")
    assert group.move_to_stream(1, kit.now) == 2
    kit.turn()
    found = stream.read(1, 10, 1 << 20).each()
    assert [(one.seq, one.key, one.value, one.headers, one.timestamp) for one in found] == [
        (2, b"k", b"\x01payload", b"headers", kit.now)
    ]
    with pytest.raises(ResourceNotFoundError):
        group.move_to_stream(1, kit.now)
    assert not group.delete(1)


def test_deleting_and_purging_dead_letters() -> None:
    kit = Kit()
    stream = filled(kit, 4, max_deliveries=1)
    seat = kit.join(stream)
    for one in seat.fetch():
        seat.nack(one)
    assert seat.group.delete(2)
    assert not seat.group.delete(2)
    kit.restart()
    group = kit.streams.find(b"orders").find_group(b"g")
    assert seqs_of(group.peek(0, 10)) == [1, 3, 4]
    assert group.purge() == 3
    assert group.purge() == 0
    kit.restart()
    assert kit.streams.find(b"orders").find_group(b"g").peek(0, 10) == []


def test_a_message_that_was_out_for_the_last_time_when_the_process_ended() -> None:
    kit = Kit()
    stream = filled(kit, 1, max_deliveries=1)
    kit.join(stream).fetch()
    kit.restart()
    seat = kit.join(kit.streams.find(b"orders"))
    assert seat.fetch() == []
    assert [(one.attempts, one.reason) for one in seat.group.peek(0, 1)] == [(1, b"the broker restarted")]


# Retention, lag, idle groups.


def test_messages_that_retention_took_are_counted_and_passed_over() -> None:
    kit = Kit()
    stream = filled(kit, 3, max_records=2)
    seat = kit.join(stream)
    got = seat.fetch(2)
    for _ in range(3):
        stream.append(b"", b"\x00", b"", kit.now)
        kit.turn()
    kit.later(0)
    assert stream.first_seq == 5
    assert seqs(seat.fetch(1)) == [5]
    assert seat.group.backlog.missed == 2  # 3 and 4
    seat.ack(got[0])  # is still good
    seat.nack(got[1])
    assert seqs(seat.fetch()) == [6]
    assert seat.group.backlog.missed == 3
    assert seat.group.peek(0, 9) == []
    assert seat.group.backlog.settled.floor == 4


def test_lag_in_messages_and_time() -> None:
    kit = Kit()
    stream = kit.create(max_records=4)
    seat = kit.join(stream)

    def lag() -> tuple[int, int]:
        found = seat.group.lag(kit.now)
        return found.messages, found.ms

    assert lag() == (0, 0)
    for _ in range(4):
        stream.append(b"", b"\x00", b"", kit.now)
        kit.turn()
        kit.later(1_000)
    assert lag() == (4, 4_000)
    got = seat.fetch()
    seat.ack(got[1])
    assert lag() == (3, 4_000)
    seat.ack(got[0])
    assert lag() == (2, 2_000)
    for _ in range(2):
        stream.append(b"", b"\x00", b"", kit.now)
        kit.turn()
    stream.append(b"", b"\x00", b"", kit.now)
    kit.turn()
    kit.later(0)
    assert stream.first_seq == 4
    assert lag() == (4, 1_000)


def test_idle_groups_are_deleted_where_the_stream_says_so() -> None:
    kit = Kit()
    stream = filled(kit, 1, group_idle_ms=10_000)
    seat = kit.join(stream)
    kit.later(20_000)
    assert b"g" in stream.groups
    seat.leave()
    assert kit.later(9_999) == kit.now + 1
    kit.join(stream).leave()
    kit.later(9_999)
    assert b"g" in stream.groups
    kit.restart()
    stream = kit.streams.find(b"orders")
    kit.later(9_999)
    assert b"g" in stream.groups
    kit.later(1)
    assert b"g" not in stream.groups
    kit.restart()
    assert kit.streams.find(b"orders").groups == {}


def test_deleting_a_group() -> None:
    kit = Kit()
    stream = filled(kit)
    seat = kit.join(stream)
    seat.fetch(2)
    told = seat.wait()
    stream.delete_group(b"g")
    assert isinstance(told.calls[0], ResourceNotFoundError)
    kit.streams.drop("c", NOW)
    kit.later(60_000)
    with pytest.raises(ResourceNotFoundError):
        stream.find_group(b"g")
    kit.restart()
    assert seqs(kit.join(kit.streams.find(b"orders")).fetch()) == [1, 2, 3, 4, 5]


def test_names_and_number_of_groups() -> None:
    kit = Kit()
    stream = kit.create()
    with pytest.raises(InvalidArgumentError):
        stream.group(b"", NOW)
    with pytest.raises(LimitExceededError, match="key_bytes_max"):
        stream.group(b"g" * (KEY_BYTES_MAX + 1), NOW)
    for number in range(GROUPS_PER_STREAM_MAX):
        stream.group(b"%d" % number, NOW)
    with pytest.raises(LimitExceededError, match="groups_per_stream_max"):
        stream.group(b"more", NOW)


def test_a_group_goes_on_where_it_was_after_a_restart() -> None:
    kit = Kit()
    stream = filled(kit, 8)
    seat = kit.join(stream)
    got = seat.fetch(6)
    for place in (0, 2, 3):
        seat.ack(got[place])
    seat.nack(got[4], b"later", 60_000)
    kit.restart()
    seat = kit.join(kit.streams.find(b"orders"))
    assert [(one.seq, one.attempts) for one in seat.fetch()] == [(2, 2), (6, 2), (7, 1), (8, 1)]
    kit.later(60_000)
    assert (5, 2) in [(one.seq, one.attempts) for one in seat.fetch()]
    assert values(kit.streams.find(b"orders"))[0] == (1, b"\x001")


def test_counts() -> None:
    kit = Kit()
    stream = filled(kit, 5, max_deliveries=2)
    kit.join(stream, b"other")
    seat = kit.join(stream)
    got = seat.fetch(4)
    seat.ack(got[0])
    seat.nack(got[1])
    seat.nack(seat.fetch(1)[0])
    kit.later(30_000)
    counts = kit.streams.counts()
    assert (counts.streams, counts.records, counts.bytes) == (1, 5, stream.blocks.bytes)
    assert (counts.groups, counts.members, counts.leased, counts.dead_letters) == (2, 2, 0, 1)
    done = counts.done
    assert (done.delivered, done.redelivered, done.acked) == (5, 1, 1)
    assert (done.nacked, done.expired, done.missed) == (2, 2, 0)
    assert counts.cache_bytes == counts.bytes
