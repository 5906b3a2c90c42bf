"""Consumer groups: who gets what, settling, retries, order per key, fencing, waiting."""

from __future__ import annotations

import pytest

from nexo.brokers.stream.group import BEGINNING, END, SEQUENCE, TIME
from nexo.brokers.stream.settled import Settled
from nexo.brokers.stream.stream import Stream
from nexo.errors import (
    FencedError,
    InvalidArgumentError,
    NotMemberError,
)
from tests.brokers.journals import MemoryJournal
from tests.brokers.streamkit import NOW, Kit, Told, record, recover, seqs, snapshot


def filled(kit: Kit, count: int = 5, keys: bytes = b"", **given: int) -> Stream:
    """A stream with records; each byte of `keys` is the key of one."""
    stream = kit.create(**given)
    for number in range(len(keys) or count):
        stream.append(keys[number : number + 1].strip(), b"\x00%d" % (number + 1), b"", kit.now)
    kit.turn()
    return stream


# Members.


def test_a_new_group_starts_at_the_beginning_and_groups_do_not_share() -> None:
    kit = Kit()
    stream = filled(kit)
    one, other = kit.join(stream, b"one"), kit.join(stream, b"other")
    assert seqs(one.fetch()) == [1, 2, 3, 4, 5]
    assert seqs(other.fetch(2)) == [1, 2]
    assert seqs(other.fetch(2)) == [3, 4]


def test_members_of_a_group_share_without_rebalancing() -> None:
    kit = Kit()
    stream = filled(kit, 6)
    one = kit.join(stream)
    got = one.fetch(2)
    two = kit.join(stream, consumer="other")
    assert two.member.generation == one.member.generation + 1
    assert seqs(two.fetch(2)) == [3, 4]
    # Joining fenced nobody.
    one.ack(got[0])
    assert seqs(one.fetch(2)) == [5, 6]


def test_who_is_not_a_member() -> None:
    kit = Kit()
    stream = filled(kit)
    seat = kit.join(stream)
    for me in ((b"nobody", 1), (b"\xff", 1)):
        with pytest.raises(NotMemberError):
            seat.group.fetch(*me, 1, NOW)
        with pytest.raises(NotMemberError):
            seat.group.leave(*me, NOW)
    with pytest.raises(FencedError):
        seat.group.fetch(seat.member.consumer_id, seat.member.generation + 1, 1, NOW)
    seat.leave()
    with pytest.raises(NotMemberError):
        seat.fetch()


def test_leases_of_a_member_that_leaves_come_back_at_once() -> None:
    kit = Kit()
    stream = filled(kit)
    one, two = kit.join(stream), kit.join(stream, consumer="other")
    got = one.fetch(3)
    told = two.wait(10)
    kit.turn()
    assert seqs(told.calls[0]) == [4, 5]
    again = two.wait(10)
    kit.turn()
    assert again.calls == []
    one.leave()
    kit.turn()
    assert [(one.seq, one.attempts) for one in again.calls[0]] == [(1, 2), (2, 2), (3, 2)]
    with pytest.raises(NotMemberError):
        one.ack(got[0])


def test_a_connection_that_dies_leaves_all_its_groups() -> None:
    kit = Kit()
    stream = filled(kit)
    dying = [kit.join(stream, b"g", "dying"), kit.join(stream, b"h", "dying")]
    healthy = kit.join(stream, b"g", "healthy")
    for seat in dying:
        seat.fetch()
    told = dying[0].wait()
    kit.streams.drop("dying", kit.now)
    assert isinstance(told.calls[0], NotMemberError)
    assert seqs(healthy.fetch()) == [1, 2, 3, 4, 5]
    assert seqs(kit.join(stream, b"h").fetch()) == [1, 2, 3, 4, 5]
    kit.streams.drop("dying", kit.now)


def test_a_connection_may_join_and_leave_for_ever() -> None:
    kit = Kit()
    stream = filled(kit)
    for _ in range(200):
        kit.join(stream).leave()
    assert len(kit.streams.find(b"orders").groups[b"g"].members) == 0
    assert kit.streams.commons.members == {}


# Settling.


def test_acks_in_any_order() -> None:
    kit = Kit()
    stream = filled(kit)
    seat = kit.join(stream)
    got = seat.fetch()
    settled = seat.group.backlog.settled
    for place in (3, 1, 4):
        seat.ack(got[place])
    assert (settled.floor, settled.runs()) == (0, [(2, 2), (4, 5)])
    seat.ack(got[0])
    assert (settled.floor, settled.runs()) == (2, [(4, 5)])
    seat.ack(got[2])
    assert (settled.floor, settled.runs()) == (5, [])
    kit.later(100_000)
    assert seat.fetch() == []


def test_ack_many_gives_what_it_refused() -> None:
    kit = Kit()
    stream = filled(kit)
    seat, other = kit.join(stream), kit.join(stream, consumer="other")
    got = seat.fetch(3)
    theirs = other.fetch()
    seat.ack(got[1])
    tokens = [one.token for one in got]
    refused = seat.group.ack_many(
        *seat.me, [*seqs(got), theirs[0].seq, 77], [*tokens, theirs[0].token, 1], NOW
    )
    assert refused == [2, theirs[0].seq, 77]
    assert seat.group.backlog.settled.floor == 3


def test_a_receipt_is_good_once_and_for_its_holder() -> None:
    kit = Kit()
    stream = filled(kit, 1)
    seat, other = kit.join(stream), kit.join(stream, consumer="other")
    got = seat.fetch()[0]
    for wrong in ((other, got.token), (seat, got.token + 1), (seat, 0)):
        with pytest.raises(FencedError):
            wrong[0].group.ack(*wrong[0].me, got.seq, wrong[1], NOW)
    seat.ack(got)
    with pytest.raises(FencedError):
        seat.ack(got)


def test_a_late_ack_is_good_until_the_message_goes_out_again() -> None:
    kit = Kit()
    stream = filled(kit, 2)
    seat, other = kit.join(stream), kit.join(stream, consumer="other")
    first, second = seat.fetch()
    assert kit.later(29_999) == NOW + 30_000
    assert other.fetch() == []
    kit.later(1)
    seat.ack(first)
    again = other.fetch()
    assert [(one.seq, one.attempts) for one in again] == [(2, 2)]
    with pytest.raises(FencedError):
        seat.ack(second)
    other.ack(again[0])
    assert seat.group.backlog.expired == 2


def test_a_released_delivery_does_not_count() -> None:
    kit = Kit()
    stream = filled(kit, 2, max_deliveries=2)
    seat = kit.join(stream)
    for _ in range(5):
        got = seat.fetch()
        assert [(one.seq, one.attempts) for one in got] == [(1, 1), (2, 1)]
        for one in got:
            seat.nack(one, delay_ms=-1, release=True)
        kit.restart()
        stream = kit.streams.find(b"orders")
        seat = kit.join(stream)
    got = seat.fetch()
    seat.nack(got[0], delay_ms=0)
    seat.nack(got[1], delay_ms=5_000, release=True)
    again = seat.fetch()
    assert [(one.seq, one.attempts) for one in again] == [(1, 2)]
    seat.nack(again[0], release=True)
    assert [(one.seq, one.attempts) for one in seat.fetch()] == [(1, 2)]
    kit.later(5_000)
    assert [(one.seq, one.attempts) for one in seat.fetch()] == [(2, 1)]
    assert len(seat.group.backlog.letters) == 0


def test_a_release_with_a_delay_outlives_a_restart_and_a_snapshot() -> None:
    kit = Kit()
    seat = kit.join(filled(kit, 1))
    seat.nack(seat.fetch()[0], delay_ms=5_000, release=True)
    kit.turn()
    job, dumped = snapshot(kit)
    while not job.step(1):
        pass
    for streams in (recover(kit, dumped, kit.journal.batch), recover(kit, MemoryJournal(), 0)):
        kit.streams = streams
        seat = kit.join(streams.find(b"orders"))
        assert seat.fetch() == []
        kit.streams.advance(kit.now + 5_000, 100)
        assert [one.attempts for one in seat.group.fetch(*seat.me, 9, kit.now + 5_000)] == [1]


def test_a_nacked_message_comes_again_when_it_is_due() -> None:
    kit = Kit()
    stream = filled(kit, 3)
    seat = kit.join(stream)
    got = seat.fetch()
    seat.nack(got[0], delay_ms=0)
    seat.nack(got[1], delay_ms=5_000)
    with pytest.raises(FencedError):
        seat.ack(got[0])
    assert seqs(seat.fetch()) == [1]
    told = seat.wait(10, 60_000)
    kit.turn()
    assert kit.later(4_999) == NOW + 5_000
    assert told.calls == []
    kit.later(1)
    assert [(one.seq, one.attempts) for one in told.calls[0]] == [(2, 2)]


def test_backoff_doubles_up_to_its_bound_with_jitter() -> None:
    kit = Kit()
    stream = filled(kit, 200, backoff_ms=1_000, backoff_max_ms=5_000, max_deliveries=0)
    seat = kit.join(stream)
    for low, high in ((800, 1_200), (1_600, 2_400), (3_200, 4_800), (4_000, 6_000), (4_000, 6_000)):
        delays = set()
        for one in seat.fetch(200):
            seat.nack(one, delay_ms=-1)
            delays.add(seat.group.backlog.pending[one.seq].deadline - kit.now)
        assert low <= min(delays) < max(delays) <= high
        assert len(delays) > 20
        kit.later(6_000)


def test_only_what_is_leased_counts_for_max_ack_pending() -> None:
    kit = Kit()
    stream = filled(kit, 10, max_ack_pending=3)
    seat = kit.join(stream)
    got = seat.fetch()
    assert seqs(got) == [1, 2, 3]
    assert seat.fetch() == []
    told = seat.wait()
    kit.turn()
    assert told.calls == []
    for one in got:
        seat.nack(one, delay_ms=60_000)
    kit.turn()
    # Those that are delayed do not hold the group up.
    assert seqs(told.calls[0]) == [4, 5, 6]


def test_a_fetch_has_a_bound_in_bytes() -> None:
    kit = Kit()
    stream = kit.create()
    for _ in range(6):
        stream.append(b"", b"\x00" + b"x" * 81, b"", NOW)  # 100 bytes each
    kit.turn()
    seat = kit.join(stream)
    assert seqs(seat.fetch(10, 250)) == [1, 2]
    assert seqs(seat.fetch(10, 1)) == [3]
    for one in seat.fetch(10):
        seat.nack(one)
    assert seqs(seat.fetch(10, 200)) == [4, 5]


# Order per key.


def test_the_next_of_a_key_goes_when_the_one_before_is_settled() -> None:
    kit = Kit()
    stream = filled(kit, keys=b"ab a b")
    seat, other = kit.join(stream), kit.join(stream, consumer="other")
    got = seat.fetch()
    assert [(one.seq, record(one).key) for one in got] == [(1, b"a"), (2, b"b"), (3, b""), (5, b"")]
    assert other.fetch() == []
    seat.ack(got[0])
    assert seqs(other.fetch()) == [4]
    seat.nack(got[1], delay_ms=5_000)
    assert other.fetch() == []
    kit.later(5_000)
    again = other.fetch()
    assert seqs(again) == [2]
    other.ack(again[0])
    assert seqs(seat.fetch()) == [6]


def test_a_key_is_held_across_a_restart() -> None:
    kit = Kit()
    stream = filled(kit, keys=b"aab")
    seat = kit.join(stream)
    got = seat.fetch()
    assert seqs(got) == [1, 3]
    seat.nack(got[0], delay_ms=5_000)
    kit.restart()
    stream = kit.streams.find(b"orders")
    seat = kit.join(stream)
    assert [(one.seq, one.attempts) for one in seat.fetch()] == [(3, 2)]
    kit.later(5_000)
    again = seat.fetch()
    assert [(one.seq, one.attempts) for one in again] == [(1, 2)]
    seat.ack(again[0])
    assert seqs(seat.fetch()) == [2]


def test_a_dead_letter_makes_room_for_the_next_of_its_key() -> None:
    kit = Kit()
    stream = filled(kit, keys=b"aa", max_deliveries=1)
    seat = kit.join(stream)
    seat.nack(seat.fetch()[0])
    assert seqs(seat.fetch()) == [2]


def test_keys_and_members_that_come_and_go() -> None:
    """Whoever consumes, the messages of a key are processed in order."""
    kit = Kit()
    stream = filled(kit, keys=b"abcab cabcba" * 5, max_deliveries=0)
    done: dict[bytes, list[int]] = {}
    seats = [kit.join(stream, consumer=number) for number in range(3)]
    for turn in range(300):
        seat = seats[turn % 3]
        for one in seat.fetch(4):
            if turn % 7 == 3:
                seat.nack(one)
            elif turn % 11 != 5:
                seat.ack(one)
                done.setdefault(record(one).key, []).append(one.seq)
        if turn % 13 == 6:
            seat.leave()
            seats[turn % 3] = kit.join(stream, consumer=turn)
    assert sum(len(order) for order in done.values()) == 60
    for key in (b"a", b"b", b"c"):
        assert done[key] == sorted(done[key])


# Seek.


def test_seek_fences_what_was_handed_out() -> None:
    kit = Kit()
    stream = filled(kit)
    seat = kit.join(stream)
    got = seat.fetch()
    seat.ack(got[0])
    told = seat.wait()
    seat.group.seek(BEGINNING, 0, NOW)
    assert isinstance(told.calls[0], FencedError)
    with pytest.raises(FencedError):
        seat.ack(got[1])
    with pytest.raises(FencedError):
        seat.fetch()
    again = kit.join(stream)
    assert [(one.seq, one.attempts) for one in again.fetch()] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]
    # The fenced membership of the same consumer has ended.
    assert len(again.group.members) == 1


def test_where_a_seek_goes() -> None:
    kit = Kit()
    stream = kit.create(max_records=4)
    for _ in range(6):
        stream.append(b"", b"\x00", b"", kit.now)
        kit.turn()
        kit.now += 1_000
    kit.later(0)
    group = stream.group(b"g", kit.now)
    places = [
        (BEGINNING, 0, 3),
        (END, 0, 7),
        (SEQUENCE, 5, 5),
        (SEQUENCE, 1, 3),
        (SEQUENCE, 99, 7),
        (TIME, NOW + 3_500, 5),
        (TIME, 0, 3),
        (TIME, NOW + 99_000, 7),
    ]
    for kind, value, expected in places:
        group.seek(kind, value, kit.now)
        got = seqs(kit.join(stream).fetch(1))
        assert got == ([expected] if expected < 7 else []), (kind, value)
    with pytest.raises(InvalidArgumentError):
        group.seek(4, 0, kit.now)


def test_generations_go_on_above_the_former_ones_after_a_restart() -> None:
    kit = Kit()
    stream = filled(kit)
    kit.join(stream)
    seat = kit.join(stream)
    seat.group.seek(END, 0, NOW)
    kit.restart()
    stream = kit.streams.find(b"orders")
    with pytest.raises(NotMemberError):
        stream.group(b"g", NOW).fetch(*seat.me, 1, NOW)
    again = kit.join(stream)
    assert again.member.generation == 4
    assert again.fetch() == []
    assert again.member.consumer_id != seat.member.consumer_id


# Waiting.


def test_a_fetch_waits_for_its_turn_or_its_deadline() -> None:
    kit = Kit()
    stream = filled(kit, 1)
    seats = [kit.join(stream, consumer=number) for number in range(3)]
    tolds = [seat.wait(1, 20_000) for seat in seats]
    assert [told.calls for told in tolds] == [[], [], []]
    kit.turn()
    assert seqs(tolds[0].calls[0]) == [1]  # who came first
    stream.append(b"", b"\x00", b"", kit.now)
    kit.turn(reach=False)
    assert tolds[1].calls == []  # nobody gets what has not settled
    kit.settle()
    assert seqs(tolds[1].calls[0]) == [2]
    assert kit.later(19_999) == NOW + 20_000
    kit.later(1)
    assert tolds[2].calls == [[]]
    tolds[1].waiting.end()
    kit.turn()
    assert [len(told.calls) for told in tolds] == [1, 1, 1]


def test_a_cancelled_wait_is_not_answered() -> None:
    kit = Kit()
    stream = filled(kit, 0)
    seat = kit.join(stream)
    told = seat.wait()
    assert told.waiting.end()
    stream.append(b"", b"\x00", b"", NOW)
    kit.turn()
    kit.later(60_000)
    assert told.calls == []
    assert seqs(seat.fetch()) == [1]


def test_a_waiter_may_ask_again_when_it_is_answered() -> None:
    kit = Kit()
    stream = filled(kit, 5)
    seat = kit.join(stream)
    got: list[int] = []

    class Again(Told):
        def delivered(self, deliveries: list) -> None:  # type: ignore[type-arg]
            got.extend(seqs(deliveries))
            if deliveries:
                seat.group.wait(self, *seat.me, 2, 0)

    seat.group.wait(Again(), *seat.me, 2, 0)
    kit.turn()
    assert got == [1, 2, 3, 4, 5]


def test_a_set_of_sequences() -> None:
    settled, model = Settled(2), {1, 2}
    for first, last in ((5, 5), (9, 12), (6, 6), (3, 3), (20, 22), (8, 8), (7, 7), (4, 4), (11, 21), (1, 2)):
        settled.add_run(first, last)
        model |= set(range(first, last + 1))
        floor = next(seq for seq in range(1, 99) if seq + 1 not in model)
        assert settled.floor == floor
        assert settled.above == len(model) - floor
        assert {seq for seq in range(1, 40) if settled.has(seq)} == model
        for seq in range(1, 40):
            assert settled.after(seq) == next(one for one in range(seq, 99) if one not in model)
    assert settled.runs() == []
