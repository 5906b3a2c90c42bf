"""Clients that do batches across brokers, with preconditions, and what must be there of them after an end: all or none.

Batch number k pushes k and appends k, sets a key to it and retains it, and may ack the number of an earlier one. So what
is appended says which batches were done, and everything else follows from that. The queue, the stream and the key are
theirs alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from nexo.brokers.batch.batches import KEY_VERSION, LAST_SEQ, QUEUE_EXISTS, Precondition
from nexo.brokers.batch.queuesteps import AckStep, PushStep
from nexo.brokers.batch.steps import Publication
from nexo.brokers.batch.steps import Step as BatchStep
from nexo.brokers.batch.storesteps import SetKey
from nexo.brokers.batch.streamsteps import AppendStep
from nexo.brokers.journal import FLUSH, MEMORY
from nexo.brokers.message import Message
from nexo.brokers.queue.message import Item
from nexo.errors import BatchRefusedError, StorageError
from tests.simulation.clients import Crowd
from tests.simulation.model import End, Step, check, lasts

ALL = 1 << 30
PLACE = b"batches"
"""The name of the queue, the stream, the key (which is the prefix of its map, too) and the topic."""


@dataclass
class Sent:
    """One batch: what it was told, and the number whose message it acked (0: none)."""

    step: Step
    acked: int


class BatchClients(Crowd):
    """The commands; each gives what it was, for a person to read."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.sent: dict[int, Sent] = {}
        self.held: list[tuple[int, int, int]] = []  # number, id and token of what was lent
        self.levels = random.choice((("fsync", 2), ("fsync", 0), ("flush", 1), ("flush", 2), ("flush", 0)))

    def ready(self) -> bool:
        return self.node.queues.exists(PLACE) and self.node.streams.exists(PLACE)

    def make_places(self) -> str:
        """The queue, the stream and the map, where a power cut has taken them."""
        if self.node.fault or self.node.store.maps.moving is not None:
            return "not now"
        self.node.queues.create(
            PLACE, {"durability": self.levels[0], "max_deliveries": 1_000, "backoff": "none"}, self.now
        )
        self.node.streams.create(PLACE, {"durability": self.levels[1], "max_age_ms": 0}, self.now)
        if not any(one.prefix == PLACE for one in self.node.store.maps.all()):
            self.node.store.declare(PLACE, FLUSH)
        return ""

    def lend_one(self) -> str:
        """A job, for a later batch to ack."""
        if not self.ready():
            return "not yet"
        client = self.random.choice(self.all)
        lent = self.node.queues.find(PLACE).receive(1, client.consumer, self.now)
        self.held += [(int(one.message.value), int(one.message.id), int(one.token)) for one in lent]
        return f"{self.held[-1:] if lent else 'none'}"

    def do_batch(self) -> str:
        if not self.ready():
            return self.make_places()
        node, draw = self.node, self.random
        queue, stream = node.queues.find(PLACE), node.streams.find(PLACE)
        self.count += 1
        number = self.count
        text = b"%d" % number
        entry = node.store.lookup(PLACE, self.now)
        wrong = draw.choice((0, 0, 0, 1))
        require = [
            Precondition(QUEUE_EXISTS, PLACE, 0),
            Precondition(LAST_SEQ, PLACE, stream.next_seq - 1 + wrong),
            Precondition(KEY_VERSION, PLACE, 0 if entry is None else entry.version),
        ]
        value = text + bytes(draw.choice((0, 0, 100, 900)))
        steps: list[BatchStep] = [
            PushStep(queue, [Item(text)]),
            AppendStep(stream, [(b"", value, b"")]),
            SetKey(node.store, PLACE, text),
            Publication(node.pubsub, Message(PLACE, text, b"", 0), True, False, 0),
        ]
        acked = 0
        if self.held and draw.random() < 0.6:
            acked, id, token = self.held.pop(draw.randrange(len(self.held)))
            steps.append(AckStep(queue, [id], [token]))
        draw.shuffle(steps)
        try:
            level = int(node.carry_out(require, steps))
        except BatchRefusedError as error:
            check(bool(wrong or acked), f"batch {number} was refused: {error}")
            return f"{number} refused"
        except StorageError:
            return f"{number}: no room"
        check(not wrong, f"batch {number} was done, and the last sequence is another one")
        step = self.step(level)
        self.sent[number] = Sent(step, acked)
        self.answer(step)
        return f"{number} acks {acked}"

    def done(self) -> list[int]:
        """The batches whose records are there, in their order."""
        stream, found = self.node.streams.find(PLACE), []
        while len(found) < stream.last_seq:
            records = [*stream.read(len(found) + 1, 1_000, 1 << 20).each()]
            check(bool(records), f"sequence {len(found) + 1} of {stream.last_seq} cannot be read")
            found += [int(one.value.rstrip(b"\0")) for one in records]
        return found

    def look_at_batches(self) -> None:
        """None is there by half: to look at once they are durable, or undone."""
        if self.ready() and not self.node.batches and not self.node.turn_open and not self.life.log.fenced:
            self.check_whole(self.done())

    def check_whole(self, done: list[int]) -> None:
        """Everything else says the same as the records."""
        queue = self.node.queues.find(PLACE)
        there = sorted(int(queue.view(one).value) for one in queue.parts.backlog.index.after(0, ALL))
        acked = {self.sent[number].acked for number in done}
        check(
            there == [one for one in done if one not in acked],
            f"{done} less {acked}: in the queue are {there}",
        )
        last = [b"%d" % done[-1]] if done else []
        value = self.node.store.get(PLACE, self.life.now)
        check([value] == (last or [None]), f"the key is {value!r} after {done}")
        if self.node.pubsub.kept.level != MEMORY:
            retained = [one.value for one in self.node.pubsub.retained(PLACE, self.life.now)]
            check(retained == last, f"retained is {retained} after {done}")


def restart_batches(clients: BatchClients, end: End) -> None:
    """The node is back: every batch is there whole or not at all, in their order, and what was confirmed is there."""
    clients.held = []
    done = clients.done() if clients.ready() else []
    check(done == sorted(set(done)) and set(done) <= set(clients.sent), f"what was done: {done}")
    for number, one in clients.sent.items():
        check(number in done or not lasts(one.step, end), f"batch {number} was confirmed, and is gone")
        if number in done:
            one.step.seen = True
    if clients.ready():
        clients.check_whole(done)
    clients.sent = {number: one for number, one in clients.sent.items() if number in done}
