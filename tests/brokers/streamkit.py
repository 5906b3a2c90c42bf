"""What the stream tests share: a turn, a restart, and all that can be seen of the streams."""

from __future__ import annotations

from typing import Any

from nexo.brokers.journal import Journal
from nexo.brokers.live import LiveBytes
from nexo.brokers.stream.group import Member
from nexo.brokers.stream.leases import DELAYED, KNOWN, Delivery
from nexo.brokers.stream.records import Record
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.streams import Streams
from nexo.brokers.stream.waiters import Waiter
from nexo.errors import ServerError
from tests.brokers.journals import MemoryJournal, split

NOW = 1_700_000_000_000


class Kit:
    """Streams with a journal, and the node's part of the work."""

    def __init__(self, journal: MemoryJournal | None = None, **bounds: int) -> None:
        self.journal = journal or MemoryJournal()
        self.bounds = bounds
        self.streams = Streams(self.journal, 7, **bounds)
        self.now = NOW

    def turn(self, reach: bool = True) -> None:
        """Ends a turn; what it did is on disk, unless the disk takes its time."""
        self.streams.flush(self.now)
        self.journal.close()
        if reach:
            self.settle()

    def settle(self) -> None:
        """All that was recorded is on disk."""
        self.journal.reach()
        self.streams.settled()
        self.streams.flush(self.now)

    def later(self, ms: int, budget: int = 10_000) -> int:
        """Time passes."""
        self.now += ms
        deadline = self.streams.advance(self.now, budget)
        self.streams.flush(self.now)
        return deadline

    def restart(self) -> None:
        """The process ends in order and starts again on the same log."""
        self.turn()
        self.journal.live = LiveBytes()
        self.streams = Streams(self.journal, 8, **self.bounds)
        for kind, data, start, end, address in self.journal.operations():
            self.streams.apply(kind, data, start, end, address, self.now)

    def create(self, name: bytes = b"orders", **given: int) -> Stream:
        stream, _ = self.streams.create(name, given, self.now)
        return stream

    def join(self, stream: Stream, group: bytes = b"g", consumer: object = "c") -> Seat:
        return Seat(self, self.streams.join(stream, group, consumer, self.now))


class Seat:
    """A member, with what it would pass along in each call."""

    def __init__(self, kit: Kit, member: Member) -> None:
        self.kit = kit
        self.member = member
        self.group = member.group
        self.me = (member.consumer_id, member.generation)

    def fetch(self, count: int = 100, bytes_max: int = 1 << 40) -> list[Delivery]:
        return self.group.fetch(*self.me, count, self.kit.now, bytes_max)

    def ack(self, delivery: Delivery) -> None:
        self.group.ack(*self.me, delivery.seq, delivery.token, self.kit.now)

    def nack(
        self, delivery: Delivery, reason: bytes = b"no", delay_ms: int = 0, release: bool = False
    ) -> None:
        self.group.nack(*self.me, delivery.seq, delivery.token, reason, delay_ms, self.kit.now, release)

    def leave(self) -> None:
        self.group.leave(*self.me, self.kit.now)

    def wait(self, count: int = 100, ms: int = 1_000) -> Told:
        told = Told()
        told.waiting = self.group.wait(told, *self.me, count, self.kit.now + ms if ms else 0)
        return told


class Told(Waiter):
    """A waiter that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Any = None
        self.calls: list[Any] = []

    def readable(self) -> None:
        self.calls.append("readable")

    def delivered(self, deliveries: list[Delivery]) -> None:
        self.calls.append(deliveries)

    def failed(self, error: ServerError) -> None:
        self.calls.append(error)


def seqs(deliveries: list[Delivery]) -> list[int]:
    return [one.seq for one in deliveries]


def record(delivery: Delivery) -> Record:
    return Record(delivery.seq, delivery.block, delivery.start, delivery.end)


def values(stream: Stream, from_seq: int = 1) -> list[tuple[int, bytes]]:
    """(sequence, value) of all records from a sequence on."""
    return [(one.seq, one.value) for one in stream.read(from_seq, 65_536, 1 << 40).each()]


def seen(streams: Streams, now: int) -> dict[bytes, Any]:
    """All that can be seen from outside and must outlive a restart."""
    state = {}
    for name in streams.names():
        stream = streams.find(name)
        records = [
            (one.seq, one.timestamp, one.key, one.value, one.headers)
            for one in stream.read(0, 65_536, 1 << 40).each()
        ]
        groups = {}
        for group in stream.groups.values():
            backlog = group.backlog
            attempts = {}
            for one in backlog.pending.values():
                if one.attempts:
                    due = one.deadline if one.state in (DELAYED, KNOWN) and one.deadline > now else 0
                    attempts[one.seq] = (one.attempts, due, one.reason)
            letters = [
                (one.seq, one.attempts, one.died_at, one.reason, one.record) for one in group.peek(0, 1_000)
            ]
            groups[group.name] = (
                group.number, group.generation, backlog.settled.floor, backlog.settled.runs(), attempts, letters
            )  # fmt: skip
        producers = {
            name: (list(one.numbers), list(one.firsts), list(one.counts))
            for name, one in stream.producers.known.items()
        }
        state[name] = (
            stream.number, stream.created_at, stream.definition.options(), stream.first_seq, stream.next_seq,
            stream.last_seq, records, groups, producers, stream.blocks.bytes,
        )  # fmt: skip
    return state


def snapshot(kit: Kit) -> Any:
    """Begins a snapshot; gives (job, journal): step the job until it is true."""
    journal = MemoryJournal()
    return kit.streams.dump(journal), journal


def recover(kit: Kit, dumped: Journal, after_batch: int) -> Streams:
    """Streams made of a snapshot and of the log after a batch."""
    kit.journal.live = LiveBytes()
    streams = Streams(kit.journal, 9, **kit.bounds)
    data = dumped.out.getvalue()
    for kind, start, end in split(data):
        streams.apply(kind, data, start, end, 0, kit.now)
    for kind, data, start, end, address in kit.journal.operations(after_batch):
        streams.apply(kind, data, start, end, address, kit.now)
    return streams
