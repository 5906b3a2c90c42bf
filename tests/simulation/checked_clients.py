"""Clients of one queue and one stream whose histories are checked as those of a real server are: tests/checkers.

They know nothing of what the node holds; a step has happened when its answer has been read.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from nexo.brokers.journal import FSYNC
from nexo.brokers.queue.lending import BY_POLICY, DONE, FAILED
from nexo.brokers.queue.queue import Queue
from nexo.brokers.stream.stream import Stream
from nexo.errors import StorageError
from tests.checkers import log, queue
from tests.checkers.log import Polled, Sent
from tests.checkers.queue import Outcome, Pushed, Received, Settled
from tests.simulation.clients import Client, Crowd
from tests.simulation.image import ALL
from tests.simulation.model import End, Step

OPTIONS: dict[str, object] = {"max_deliveries": 1_000, "visibility_timeout_ms": 2_000, "backoff": "none"}


@dataclass
class Asked:
    """Something under way: what it is, when it was asked for, and when its answer was read (0: not yet).

    `unsure`: it was refused because a sync had failed, so nobody knows what is on disk.
    """

    what: Pushed | Received | Settled | Sent
    step: Step
    began: int
    ended: int = 0
    unsure: bool = False

    @property
    def outcome(self) -> Outcome:
        if self.step.confirmed:
            return Outcome.OK
        return Outcome.REFUSED if self.step.refused and not self.unsure else Outcome.UNKNOWN


class CheckedClients(Crowd):
    """Times are numbers of commands."""

    def __init__(self, random: Random, kinds: str) -> None:
        super().__init__(random)
        self.kinds = kinds
        self.tick = 0
        self.asked: list[Asked] = []
        self.open: list[Asked] = []
        self.lent: list[tuple[Client, Step, tuple[int, int, int]]] = []
        self.polls: list[tuple[int, Polled]] = []
        self.next_seq = [1, 1, 1]
        self.anew = [True, True, True]

    def command(self) -> str:
        """One command of one client; what it was."""
        self.now = self.node.begin()
        kinds = (self.push, self.push, self.receive, self.ack, self.nack, self.append, self.append, self.poll)
        kind = self.random.choice(kinds)
        kind()
        return kind.__name__

    def look(self) -> None:
        """Read the answers that have come."""
        self.tick += 1
        for client in self.all:
            self.life.collect(client.session)
        for one in self.open:
            one.ended = self.tick if one.step.confirmed or one.step.refused else 0
            one.unsure = bool(self.life.log.fenced)
        self.open = [one for one in self.open if not one.ended]
        # Nobody settles what has not reached him.
        for client, step, lease in self.lent:
            if step.confirmed:
                client.leases.append(lease)
        self.lent = [one for one in self.lent if not one[1].confirmed]

    def restarted(self, end: End) -> None:
        self.open = []
        self.lent = []

    def ask(self, what: Pushed | Received | Settled | Sent, step: Step) -> None:
        self.asked.append(Asked(what, step, self.tick))
        self.open.append(self.asked[-1])

    def queue_here(self) -> Queue:
        return self.node.queues.create(b"q", OPTIONS, self.now)[0]

    def stream_here(self) -> Stream:
        return self.node.streams.create(b"s", {"max_age_ms": 0}, self.now)[0]

    def new_value(self) -> tuple[int, bytes]:
        self.count += 1
        return self.count, b"\0%d" % self.count + bytes(self.random.choice((0, 100, 700)))

    def push(self) -> None:
        try:
            self.node.check_room()
        except StorageError:
            return
        number, value = self.new_value()
        self.queue_here().push(value, 0, self.now)
        step = self.step(FSYNC)
        self.ask(Pushed(number, Outcome.UNKNOWN), step)
        self.answer(step)

    def receive(self) -> None:
        if not self.node.queues.exists(b"q"):
            return
        client = self.random.choice(self.all)
        lent = self.queue_here().receive(self.random.choice((1, 3)), client.consumer, self.now)
        if lent:
            step = self.leaves(client, FSYNC)
            for one in lent:
                number = number_in(one.message.value)
                self.ask(Received(number, int(one.attempt), 0, 0), step)
                self.lent.append((client, step, (number, int(one.message.id), int(one.token))))

    def ack(self) -> None:
        client = self.random.choice(self.all)
        if client.leases:
            number, id, token = client.leases.pop(self.random.randrange(len(client.leases)))
            if self.queue_here().ack(id, token, self.now) == DONE:
                step = self.step(FSYNC)
                self.ask(Settled(number, Outcome.UNKNOWN, 0), step)
                self.answer(step)

    def nack(self) -> None:
        client = self.random.choice(self.all)
        if client.leases:
            _, id, token = client.leases.pop(self.random.randrange(len(client.leases)))
            self.queue_here().nack(id, token, b"", FAILED, self.random.choice((BY_POLICY, 500)), self.now)

    def append(self) -> None:
        try:
            self.node.check_room()
        except StorageError:
            return
        number, value = self.new_value()
        seq = int(self.stream_here().append(b"", value, b"", self.now))
        step = self.step(FSYNC)
        self.ask(Sent(0, number, Outcome.UNKNOWN, seq), step)
        self.answer(step)

    def poll(self, reader: int | None = None, count: int = 5) -> int:
        if not self.node.streams.exists(b"s"):
            return 0
        reader = self.random.randrange(2) if reader is None else reader
        found = self.stream_here().read(self.next_seq[reader], count, 1 << 20)
        records = tuple((int(one.seq), number_in(one.value)) for one in found.each())
        self.polls.append((self.tick, Polled(reader, records, self.anew[reader])))
        self.next_seq[reader] = int(found.next_seq)
        self.anew[reader] = False
        return len(records)

    def drain(self) -> None:
        """Everything is taken out of the queue and acknowledged, and the stream read from the beginning."""
        self.now = self.node.begin()
        if self.node.queues.exists(b"q"):
            lent = self.queue_here().receive(1_000, self.all[0].consumer, self.now)
            step = self.leaves(self.all[0], FSYNC) if lent else None
            for one in lent:
                assert step is not None
                self.ask(Received(number_in(one.message.value), int(one.attempt), 0, 0), step)
        while self.poll(2, ALL):
            pass

    def anomalies(self) -> dict[str, list[object]]:
        """Of both histories."""
        of_queue: list[queue.Event] = []
        of_stream: list[tuple[int, log.Event]] = [*self.polls]
        for one in self.asked:
            what = one.what
            if isinstance(what, Pushed):
                of_queue.append(Pushed(what.value, one.outcome))
            elif isinstance(what, Sent):
                of_stream.append((one.ended, Sent(0, what.value, one.outcome, what.seq)))
            elif isinstance(what, Settled):
                of_queue.append(Settled(what.value, one.outcome, one.ended))
            elif one.outcome is Outcome.OK:
                of_queue.append(Received(what.value, what.attempt, one.began, one.ended))
        of_stream.sort(key=lambda timed: timed[0])
        return {**queue.anomalies(of_queue), **log.anomalies([event for _, event in of_stream])}


def number_in(value: bytes) -> int:
    return int(value[1:].rstrip(b"\0"))
