"""Hypothesis drives streams and groups against a model: a list of records, and per group a few sets.

Checked: sequences have no gaps, nothing is visible before it has settled, every delivery is one that the model
allows and none that it allows is kept back, per key in order, attempts only grow, nothing settled comes
again but for a seek. A restart, from the log alone or from a snapshot and the rest of the log, changes nothing
that can be seen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexo.brokers.live import ENTRY_BYTES
from nexo.brokers.stream.backlog import Backlog
from nexo.brokers.stream.leases import Delivery
from nexo.brokers.stream.operations import APPEND
from nexo.errors import FencedError, NotMemberError, SequenceMismatchError
from tests.brokers.streamkit import Kit, Seat, record, recover, seen, snapshot

KEYS = st.sampled_from([b"", b"", b"a", b"b"])
SIZES = st.sampled_from([0, 1, 30, 400])
GROUPS = st.sampled_from([b"g", b"h"])
PICK = st.integers(0, 1 << 20)
ACK_WAIT, LIMIT, LEASES = 30_000, 3, 6


@dataclass
class Of:
    """What one group may still be given. A lease is (seat, token, deadline)."""

    settled: set[int] = field(default_factory=set)
    start: int = 1
    attempts: dict[int, int] = field(default_factory=dict)
    leases: dict[int, tuple[Seat, int, int]] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    seats: list[Seat] = field(default_factory=list)
    stale: list[tuple[Seat, int, int]] = field(default_factory=list)  # receipts that are void


class StreamMachine(RuleBasedStateMachine):
    @initialize(keep=st.sampled_from([0, 5, 40]), level=st.integers(0, 2), tail=st.sampled_from([0, 1 << 20]))
    def start(self, keep: int, level: int, tail: int) -> None:
        self.kit = Kit(tail_bytes_max=tail, cache_bytes_max=tail)
        self.level, self.keep = level, keep
        self.stream = self.kit.create(
            max_records=keep, durability=level, max_deliveries=LIMIT, ack_wait_ms=ACK_WAIT,
            max_ack_pending=LEASES, backoff_ms=1_000,
        )  # fmt: skip
        self.records: list[tuple[bytes, bytes, int]] = []  # index + 1 is the sequence
        self.groups: defaultdict[bytes, Of] = defaultdict(Of)
        self.appends: dict[int, tuple[int, int]] = {}  # of the idempotent producer
        self.count = 0
        self.snapshot: Any = None
        self.append_many([b"a", b"", b"b", b"a", b"b", b"", b"a", b""], 3, -1)
        self.turn(reach=True)
        for name in (b"g", b"h"):
            self.join(name, "c")

    def make(self, key: bytes, size: int) -> tuple[bytes, bytes, bytes]:
        self.count += 1
        value = b"\x00%d." % self.count + b"x" * size
        self.records.append((key, value, self.kit.now))
        return key, value, b"h" * (size % 7)

    # Appending and reading.

    @rule(key=KEYS, size=SIZES)
    def append(self, key: bytes, size: int) -> None:
        assert self.stream.append(*self.make(key, size), self.kit.now) == len(self.records)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=8), size=SIZES, expected=st.sampled_from([-1, 0, 1]))
    def append_many(self, keys: list[bytes], size: int, expected: int) -> None:
        last = len(self.records)
        wanted = -1 if expected < 0 else last + expected
        if expected == 1:
            with pytest.raises(SequenceMismatchError) as caught:
                self.stream.append_many([(b"", b"\x00", b"")], self.kit.now, wanted)
            assert caught.value.details == {"actual": last}
            return
        records = [self.make(key, size) for key in keys]
        assert self.stream.append_many(records, self.kit.now, wanted) == (last + 1, len(keys), False)

    @rule(number=st.integers(0, 5), count=st.integers(1, 3))
    def produce(self, number: int, count: int) -> None:
        known = self.appends.get(number)
        if known is None and self.appends and number < max(self.appends):
            return
        before = len(self.records)
        records = [self.make(b"", 3) for _ in range(count)] if known is None else [(b"", b"\x00", b"")]
        result = self.stream.append_many(records, self.kit.now, -1, b"p", number)
        assert result == ((*known, True) if known else (before + 1, count, False))
        self.appends[number] = result[:2]

    @rule(from_seq=st.integers(-2, 60), count=st.integers(0, 9), size=st.sampled_from([1, 60, 900, 1 << 30]))
    def read(self, from_seq: int, count: int, size: int) -> None:
        found = self.stream.read(from_seq, count, size)
        first, last = max(from_seq, self.stream.first_seq), self.stream.last_seq
        each = found.each()
        assert [one.seq for one in each] == list(range(first, first + found.count))
        for one in each:
            assert (one.key, one.value, one.timestamp) == self.records[one.seq - 1]
        assert found.count <= count
        if found.count < min(count, last - first + 1):
            after = self.stream.read(first + found.count, 1, 1 << 30)
            assert found.count >= 1
            assert found.size + after.size > size
        assert found.size <= size or found.count == 1

    @rule(ms=st.integers(-5, 40_000))
    def find_time(self, ms: int) -> None:
        time = self.kit.now - ms
        visible = range(self.stream.first_seq, self.stream.last_seq + 1)
        expected = [seq for seq in visible if self.records[seq - 1][2] >= time]
        assert self.stream.seq_at_time(time) == (expected[0] if expected else self.stream.last_seq + 1)

    # The turn and the disk.

    @rule(reach=st.sampled_from([True, True, False]))
    def turn(self, reach: bool) -> None:
        visible = self.stream.last_seq
        self.kit.turn(reach)
        if reach or self.level == 0:
            assert self.stream.last_seq == len(self.records)
        else:
            assert self.stream.last_seq == visible
        self.kit.later(0)

    @precondition(lambda self: self.level > 0 and self.keep == 0 and not self.snapshot)
    @rule()
    def disk_fails(self) -> None:
        """What was not visible is gone, and its sequences are given again."""
        first = self.kit.journal.batch
        self.kit.turn(reach=False)
        kinds = {kind for kind, *_ in self.kit.journal.operations(first - 1)}
        if not kinds <= {APPEND} or self.kit.journal.written < first - 1:
            return  # what groups did would not be undone, and a restart would show it
        self.kit.streams.withdraw(first)
        self.kit.journal.fail(first)
        del self.records[self.stream.last_seq :]
        self.appends = {n: one for n, one in self.appends.items() if one[0] <= len(self.records)}

    # Groups.

    @rule(name=GROUPS, consumer=st.sampled_from(["c", "d"]))
    def join(self, name: bytes, consumer: str) -> None:
        seat = self.kit.join(self.stream, name, consumer)
        of = self.groups[name]
        of.seats = [one for one in of.seats if one.member.consumer_id in one.group.members]
        assert all(seat.member.generation > one.member.generation for one in of.seats)
        of.seats.append(seat)

    @rule(name=GROUPS, pick=PICK, count=st.integers(1, 8), size=st.sampled_from([1, 100, 1 << 30]))
    def fetch(self, name: bytes, pick: int, count: int, size: int) -> None:
        of = self.groups[name]
        if not of.seats:
            self.join(name, "d")
        seat = of.seats[pick % len(of.seats)]
        may, must = self.allowed(of, least=False), self.allowed(of, least=True)
        room = min(count, LEASES - len(of.leases))
        deliveries = seat.fetch(count, size)
        self.check(of, seat, deliveries)
        self.bury(of, seat.group.backlog)
        if len(deliveries) < room and size == 1 << 30:
            assert not self.allowed(of, least=True)
        if room > 0:
            assert bool(must) <= bool(deliveries) <= bool(may)

    def bury(self, of: Of, backlog: Backlog) -> None:
        """Messages that had used up their deliveries before a restart are given up when they are met."""
        for seq, attempts in list(of.attempts.items()):
            if attempts >= LIMIT and seq not in of.leases and backlog.settled.has(seq):
                self.settle(of, seq)

    def allowed(self, of: Of, least: bool) -> list[int]:
        """The messages that may go out now.

        One that was put off and then taken by retention holds its key until it is due or, after a restart,
        no longer. `least`: those that may go out either way.
        """
        held = set()
        found = []
        for seq in range(of.start, self.stream.last_seq + 1):
            if seq in of.settled:
                continue
            key = self.records[seq - 1][0]
            if seq not in of.leases and of.attempts.get(seq, 0) >= LIMIT:
                continue
            gone = seq < self.stream.first_seq
            out = seq in of.leases or (of.due.get(seq, 0) > self.kit.now and (least or not gone))
            if not out and not gone and key not in held:
                found.append(seq)
            if key and (out or not gone):
                held.add(key)
        return found

    def check(self, of: Of, seat: Seat, deliveries: list[Delivery]) -> None:
        for one in deliveries:
            assert one.seq in self.allowed(of, least=False)
            of.attempts[one.seq] = of.attempts.get(one.seq, 0) + 1
            assert one.attempts == of.attempts[one.seq]
            found = record(one)
            assert (found.key, found.value, found.timestamp) == self.records[one.seq - 1]
            of.leases[one.seq] = (seat, one.token, self.kit.now + ACK_WAIT)
            of.due.pop(one.seq, None)
        assert len(of.leases) <= LEASES

    @rule(name=GROUPS, pick=PICK, void=st.booleans(), many=st.booleans())
    def ack(self, name: bytes, pick: int, void: bool, many: bool) -> None:
        of = self.groups[name]
        leases = list(of.leases.items())
        if void and of.stale:
            seat, seq, token = of.stale[pick % len(of.stale)]
            with pytest.raises((FencedError, NotMemberError)):
                seat.group.ack(*seat.me, seq, token, self.kit.now)
        elif leases and many:
            seat = leases[pick % len(leases)][1][0]
            own = [(seq, lease[1]) for seq, lease in leases if lease[0] is seat]
            refused = seat.group.ack_many(
                *seat.me, [9_999, *(seq for seq, _ in own)], [1, *(token for _, token in own)], self.kit.now
            )
            assert refused == [9_999]
            for seq, _ in own:
                self.settle(of, seq)
        elif leases:
            seq, (seat, token, _) = leases[pick % len(leases)]
            seat.group.ack(*seat.me, seq, token, self.kit.now)
            self.settle(of, seq)

    def settle(self, of: Of, seq: int) -> None:
        if seq in of.leases:
            seat, token, _ = of.leases.pop(seq)
            of.stale.append((seat, seq, token))
        of.settled.add(seq)
        of.attempts.pop(seq, None)
        of.due.pop(seq, None)

    @rule(name=GROUPS, picks=st.lists(PICK, min_size=1, max_size=6), count=st.integers(2, 8))
    def consume(self, name: bytes, picks: list[int], count: int) -> None:
        """What consumers do all day: fetch, then settle one or the other."""
        self.fetch(name, picks[0], count, 1 << 30)
        for pick in picks:
            if pick % 3:
                self.ack(name, pick, void=False, many=False)
            else:
                self.nack(name, pick, [0, 5_000][pick % 2])

    @rule(name=GROUPS, pick=PICK, delay=st.sampled_from([-1, 0, 5_000]), release=st.booleans())
    def nack(self, name: bytes, pick: int, delay: int, release: bool = False) -> None:
        of = self.groups[name]
        if not of.leases:
            return
        seq, (seat, token, _) = list(of.leases.items())[pick % len(of.leases)]
        seat.group.nack(*seat.me, seq, token, b"why", delay, self.kit.now, release)
        if release:
            of.attempts[seq] -= 1
            delay = max(delay, 0)
        self.give_back(of, seq, seat)
        pending = seat.group.backlog.pending.get(seq)
        if pending is not None and delay != 0:
            least, most = (5_000, 5_000) if delay > 0 else (800, 2_400)
            assert least <= pending.deadline - self.kit.now <= most
            of.due[seq] = pending.deadline

    def give_back(self, of: Of, seq: int, seat: Seat, void: bool = True) -> None:
        """A lease has ended without an ack: the message comes again, or is dead, or retention has it."""
        _, token, _ = of.leases.pop(seq)
        if void or of.attempts[seq] >= LIMIT:
            of.stale.append((seat, seq, token))
        if of.attempts[seq] >= LIMIT:
            dead = seat.group.backlog.letters.get(seq)
            if seq >= self.stream.first_seq:
                assert dead is not None
                assert dead.attempts == LIMIT
                assert dead.contents().value == self.records[seq - 1][1]
            self.settle(of, seq)

    @rule(name=GROUPS, pick=PICK, dropped=st.booleans(), sometimes=st.booleans())
    def leave(self, name: bytes, pick: int, dropped: bool, sometimes: bool) -> None:
        seats = self.groups[name].seats
        if not seats or not sometimes:
            return
        seat = seats[pick % len(seats)]
        if dropped:
            self.kit.streams.drop(seat.member.consumer, self.kit.now)
        else:
            seat.leave()
        self.kit.streams.flush(self.kit.now)
        for of in self.groups.values():
            gone = [one for one in of.seats if one.member.consumer_id not in one.group.members]
            of.seats = [one for one in of.seats if one not in gone]
            for seq, lease in list(of.leases.items()):
                if lease[0] in gone:
                    self.give_back(of, seq, lease[0])

    @rule(name=GROUPS, kind=st.integers(0, 3), value=st.integers(-2, 60), sometimes=st.booleans())
    def seek(self, name: bytes, kind: int, value: int, sometimes: bool) -> None:
        group = self.stream.groups[name]
        if not sometimes:
            return
        time = self.kit.now - value * 500
        group.seek(kind, value if kind == 2 else time, self.kit.now)
        first, end = self.stream.first_seq, self.stream.last_seq + 1
        at = [first, end, max(first, min(value, end)), self.stream.seq_at_time(time)][kind]
        of = self.groups[name]
        stale = of.stale + [(seat, seq, token) for seq, (seat, token, _) in of.leases.items()]
        for seat in of.seats:
            with pytest.raises(FencedError):
                seat.fetch()
        self.groups[name] = Of(start=at, stale=stale)

    @rule(name=GROUPS, pick=PICK)
    def redrive(self, name: bytes, pick: int) -> None:
        group = self.stream.groups[name]
        letters = group.peek(0, 100)
        if not letters:
            return
        letter = letters[pick % len(letters)]
        key, value, _ = self.records[letter.seq - 1]
        assert group.move_to_stream(letter.seq, self.kit.now) == len(self.records) + 1
        self.records.append((key, value, self.kit.now))
        assert not group.delete(letter.seq)

    # Time and restarts.

    @rule(ms=st.sampled_from([0, 500, 5_000, ACK_WAIT]), late=st.booleans())
    def pass_time(self, ms: int, late: bool) -> None:
        self.kit.later(ms)
        for of in self.groups.values():
            for seq, (seat, token, deadline) in list(of.leases.items()):
                if deadline <= self.kit.now:
                    self.give_back(of, seq, seat, void=False)
                    if late and seq not in of.settled:
                        # Good until the message goes out again.
                        seat.group.ack(*seat.me, seq, token, self.kit.now)
                        self.settle(of, seq)

    @rule(budget=st.integers(1, 3))
    def dump(self, budget: int) -> None:
        """Begins a snapshot, or goes on with it."""
        if self.snapshot is None:
            self.kit.turn()
            self.snapshot = (*snapshot(self.kit), self.kit.journal.batch - 1)
        job, _, _ = self.snapshot
        job.step(budget)

    @rule(dumped=st.booleans(), sometimes=st.booleans())
    def restart(self, dumped: bool, sometimes: bool) -> None:
        if not sometimes:
            return
        self.kit.turn()
        for of in self.groups.values():
            for seq, (seat, _, _) in list(of.leases.items()):
                del of.leases[seq]
                of.stale.append((seat, seq, 1))
            of.seats = []
        state = seen(self.kit.streams, self.kit.now)
        if dumped and self.snapshot is not None:
            job, journal, batch = self.snapshot
            while not job.step(5):
                pass
            self.kit.streams = recover(self.kit, journal, batch)
        else:
            self.kit.restart()
        self.snapshot = None
        assert seen(self.kit.streams, self.kit.now) == state
        self.stream = self.kit.streams.find(b"orders")
        for name, of in self.groups.items():
            of.stale = [(Seat(self.kit, seat.member), seq, token) for seat, seq, token in of.stale]
            for seat, _, _ in of.stale:
                seat.group = self.stream.groups[name]

    @invariant()
    def holds(self) -> None:
        stream = self.stream
        assert stream.next_seq == len(self.records) + 1
        assert stream.last_seq <= len(self.records)
        live: dict[int, int] = {}
        index = stream.blocks.index
        for place in range(len(index)):
            if index.address(place):
                file = index.address(place) >> 32
                live[file] = live.get(file, 0) + index.size(place) + ENTRY_BYTES
        assert self.kit.journal.live.by_file() == live
        for name, of in self.groups.items():
            group = stream.groups[name]
            assert group.backlog.leases.count == len(of.leases)
            kept = range(max(of.start, stream.first_seq), stream.last_seq + 1)
            self.bury(of, group.backlog)
            assert group.lag(self.kit.now).messages == sum(seq not in of.settled for seq in kept)


StreamMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestStreamMachine = StreamMachine.TestCase
