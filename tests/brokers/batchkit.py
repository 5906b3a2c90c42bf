"""What tests of batches across brokers share: a node on a journal in memory, whose disk fails when told to."""

from __future__ import annotations

from collections.abc import Iterable

from nexo.brokers.batch.batches import Precondition
from nexo.brokers.batch.queuesteps import AckStep, PushStep
from nexo.brokers.batch.steps import Publication, Step
from nexo.brokers.batch.storesteps import DeleteKey, SetKey, StepCounter
from nexo.brokers.batch.streamsteps import AppendStep, GroupAckStep
from nexo.brokers.journal import FSYNC, Journal
from nexo.brokers.message import Message, int_value
from nexo.brokers.outbox import Batch, Encoding, Receiver, Subscription
from nexo.brokers.pubsub import PubSub
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.message import Delivery, Item
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.queues import Queues
from nexo.brokers.store import Store
from nexo.brokers.stream.streams import Streams
from nexo.errors import BatchRefusedError
from nexo.node import Node
from tests.brokers.journals import MemoryJournal
from tests.vectors.session import Hand

NAME = b"n"
ALL = 1 << 30


class TurnJournal(MemoryJournal):
    """Batches are closed by the node, at the end of a turn."""

    def close_batch(self, essential: bool = False) -> None:
        if len(self.out) > 0:
            self.close()


class Topics(Encoding):
    def encode(self, messages: list[Message], tag: int) -> bytes:
        return b"".join(message.topic + b"=" + message.value + b";" for message in messages)


class Listener(Receiver):
    """Gets every message."""

    def __init__(self) -> None:
        super().__init__(Topics())
        self.heard = b""

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        self.heard += batch.encoded(self.encoding, subscription.tag)


class Bench:
    """A node with a queue, a stream whose group has a member, and a listener to all topics."""

    def __init__(
        self,
        *,
        queue: str = "fsync",
        stream: int = 2,
        memory_max: int = 0,
        eviction: str = "reject",
        **options: object,
    ) -> None:
        self.journal = TurnJournal()
        self.store = Store(memory_max=memory_max, eviction=eviction)
        self.node = node_on(self.journal, self.store)
        self.now = self.node.begin()
        self.listener = Listener()
        self.node.pubsub.subscribe(self.listener, b"#")
        self.consumer = Consumer()
        self.queue, _ = self.node.queues.create(NAME, {"durability": queue, **options}, self.now)
        self.stream, _ = self.node.streams.create(NAME, {"durability": stream, "max_deliveries": 0}, self.now)
        self.member = self.node.streams.join(self.stream, b"g", self, self.now)
        self.group = self.member.group
        self.rest()

    # Time, turns and the disk.

    def turn(self) -> int:
        """End the turn; the number of the batch that it became."""
        while self.node.turn():
            pass
        return int(self.journal.batch) - 1

    def reach(self, written: int = -1, synced: int = -1) -> None:
        """The disk has got so far; by default with all."""
        self.journal.reach(written, synced)
        self.node.settled()
        self.turn()

    def rest(self) -> None:
        """Everything is on disk."""
        self.turn()
        self.reach()
        self.reach()

    def fail(self, first_batch: int, recoverable: bool = True) -> None:
        """Batches from this one on, and the open one, could not be written."""
        lost = [
            bytes(self.journal.files[address >> 32][address & 0xFFFFFFFF :][:size])
            for number, address, size in self.journal.batches
            if number >= first_batch
        ]
        if len(self.journal.out) > 0:
            lost.append(self.journal.out.getvalue())
        self.journal.fail(first_batch)
        self.node.withdraw(first_batch, "no room", lost, recoverable)
        if recoverable:
            self.node.room_again()

    def restarted(self) -> Node:
        """Another node, on what is on disk."""
        self.journal.keeping = False
        again = node_on(self.journal, Store())
        for operation in self.journal.operations():
            again.apply(*operation)
        again.recovered()
        self.journal.keeping = True
        return again

    # Batches.

    def batch(self, *steps: Step, require: Iterable[Precondition] = ()) -> int:
        """Carry out a batch; the level of its answer."""
        self.node.begin()
        return int(self.node.carry_out(list(require), list(steps)))

    def refused(self, *steps: Step, require: Iterable[Precondition] = ()) -> BatchRefusedError:
        """The same of one that must be refused, and must change nothing."""
        before = dump(self)
        try:
            self.batch(*steps, require=require)
        except BatchRefusedError as error:
            assert dump(self) == before
            return error
        raise AssertionError("it was not refused")

    def set(self, key: bytes, value: bytes, **conditions: object) -> SetKey:
        step = SetKey(self.store, key, value)
        for name, condition in conditions.items():
            setattr(step, name, condition)
        return step

    def delete(self, key: bytes, version: int = -1) -> DeleteKey:
        return DeleteKey(self.store, key, version)

    def incr(self, key: bytes, delta: int, **bounds: object) -> StepCounter:
        step = StepCounter(self.store, key, delta)
        for name, bound in bounds.items():
            setattr(step, name, bound)
        return step

    def push(self, *values: bytes, dedup: bytes = b"", queue: Queue | None = None) -> PushStep:
        return PushStep(queue or self.queue, [Item(value, dedup=dedup) for value in values])

    def publish(self, topic: bytes, value: bytes, retain: bool = False, clear: bool = False) -> Publication:
        return Publication(self.node.pubsub, Message(topic, value, b"", 0), retain, clear, 0)

    def append(self, *values: bytes, expected: int = -1) -> AppendStep:
        step = AppendStep(self.stream, [(b"", value, b"") for value in values])
        step.expected_last = expected
        return step

    def ack(self, *deliveries: Delivery) -> AckStep:
        return self.ack_leases(*((int(one.message.id), int(one.token)) for one in deliveries))

    def ack_leases(self, *leases: tuple[int, int]) -> AckStep:
        return AckStep(self.queue, [id for id, _ in leases], [token for _, token in leases])

    def group_ack(self, *fetched: tuple[int, int]) -> GroupAckStep:
        seqs, tokens = [seq for seq, _ in fetched], [token for _, token in fetched]
        member = self.member
        return GroupAckStep(self.stream, self.group, member.consumer_id, member.generation, seqs, tokens)

    # What is there.

    def receive(self, count: int = 1) -> list[Delivery]:
        return self.queue.receive(count, self.consumer, self.node.begin())

    def fetch(self, count: int = 1) -> list[tuple[int, int]]:
        """Sequence and token of each."""
        member, now = self.member, self.node.begin()
        found = self.group.fetch(member.consumer_id, member.generation, count, now)
        return [(int(one.seq), int(one.token)) for one in found]

    def get(self, key: bytes) -> bytes | None:
        return self.store.get(key, self.node.now)

    def values(self) -> list[bytes]:
        """The records that can be read."""
        return records(self.node)

    def waiting(self) -> list[bytes]:
        """What is in the queue, dead letters excepted."""
        return bodies(self.node)


def node_on(journal: Journal, store: Store) -> Node:
    return Node(Hand(), journal, store, PubSub(0, journal, FSYNC), Queues(journal), Streams(journal, 0))


def number(value: int) -> bytes:
    return int_value(value)


def records(node: Node) -> list[bytes]:
    """The values that can be read from the stream."""
    found = []
    for run in node.streams.find(NAME).read(1, ALL, ALL).runs:
        position = run.start
        while position < run.end:
            position += 8
            for size_bytes in (2, 4, 4):
                size = int.from_bytes(run.block[position : position + size_bytes], "big")
                position += size_bytes
                if size_bytes == 4:
                    found.append(run.block[position : position + size])
                position += size
    return found[::2]


def bodies(node: Node) -> list[bytes]:
    """The values in the queue, in the order of their ids."""
    queue = node.queues.find(NAME)
    return [bytes(queue.view(one).value) for one in queue.parts.backlog.index.after(0, ALL)]


def retained(node: Node, filter: bytes = b"#") -> dict[bytes, bytes]:
    """The retained values by topic."""
    return {one.topic: one.value for one in node.pubsub.retained(filter, node.now)}


def dump(bench: Bench) -> dict[str, object]:
    """All that a client or the disk could tell."""
    node, journal = bench.node, bench.journal
    group = bench.group
    page = node.store.scan(b"", b"", ALL, ALL, node.now, True)
    return {
        "keys": [
            (key, entry.value, int(entry.version), int(entry.expires_at))
            for key, entry in zip(page.keys, page.entries, strict=True)
        ],
        "store": (int(node.store.version), int(node.store.memory_bytes), int(node.store.evicted)),
        "queue": bench.queue.describe(),
        "messages": [(int(one.id), int(one.state)) for one in bench.queue.parts.backlog.index.after(0, ALL)],
        "leases": sorted(int(one.token) for one in bench.queue.parts.leases.all()),
        "stream": (int(bench.stream.next_seq), int(bench.stream.last_seq), bench.values()),
        "group": (int(group.ack_floor), group.backlog.settled.runs(), int(group.backlog.leases.count)),
        "pending": [(seq, int(one.state), int(one.token)) for seq, one in group.backlog.pending.items()],
        "retained": [one.value for one in node.pubsub.retained(b"#", node.now)],
        "published": int(node.pubsub.published),
        "journal": (int(journal.batch), int(journal.level), journal.out.getvalue(), len(node.batches)),
    }
