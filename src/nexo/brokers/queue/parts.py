"""What one queue consists of, and the few things that all that happens to it is made of.

Parts are shared by intake (what comes in), queue (what is lent), admin (what an operator does), replay and
dump. Each message that leaves for good leaves through here, and is recorded here.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.journal import Journal
from nexo.brokers.moving import Move
from nexo.brokers.queue.agenda import Agenda
from nexo.brokers.queue.backlog import Backlog
from nexo.brokers.queue.bodies import Bodies, Residency
from nexo.brokers.queue.consumers import WaitLine
from nexo.brokers.queue.dead import DeadLetter, DeadLetters
from nexo.brokers.queue.dedup import Dedup
from nexo.brokers.queue.definition import DEAD_LETTER, Definition
from nexo.brokers.queue.leases import Leases
from nexo.brokers.queue.message import QueueMessage
from nexo.brokers.queue.records import REMOVE, REMOVE_DEAD, Records
from nexo.brokers.queue.trash import Trash
from nexo.histogram import AGES_MS, Histogram

EXPIRED: Final = b"expired: its time to live was over"


@final
class Surroundings:
    """What the queues of a node share."""

    __slots__ = ("account", "agenda", "ages", "journal", "resident_bytes_max", "trash")

    def __init__(self, journal: Journal, account: Residency, agenda: Agenda, resident_bytes_max: i64) -> None:
        self.ages = Ages()
        self.trash = Trash(journal.live)
        self.journal = journal
        self.account = account
        self.agenda = agenda
        self.resident_bytes_max = resident_bytes_max


@final
class Ages:
    """How long messages of a node's queues wait, in milliseconds. `now` is the time of the turn, for what is not told
    it."""

    __slots__ = ("acked", "delivered", "now")

    def __init__(self) -> None:
        self.now: i64 = 0
        self.delivered = Histogram(AGES_MS)  # from push to the first delivery
        self.acked = Histogram(AGES_MS)  # from push to the ack


@final
class Counters:
    """What a queue has done since the process started."""

    __slots__ = (
        "acked",
        "dead",
        "deduplicated",
        "delivered",
        "dropped",
        "expired",
        "nacked",
        "pushed",
        "redelivered",
        "redriven",
    )

    def __init__(self) -> None:
        self.pushed: i64 = 0
        self.deduplicated: i64 = 0
        self.delivered: i64 = 0
        self.redelivered: i64 = 0
        self.acked: i64 = 0
        self.nacked: i64 = 0
        self.expired: i64 = 0
        self.dead: i64 = 0
        self.dropped: i64 = 0
        self.redriven: i64 = 0

    def add(self, other: Counters) -> None:
        """Counts what another has counted, too."""
        self.pushed += other.pushed
        self.deduplicated += other.deduplicated
        self.delivered += other.delivered
        self.redelivered += other.redelivered
        self.acked += other.acked
        self.nacked += other.nacked
        self.expired += other.expired
        self.dead += other.dead
        self.dropped += other.dropped
        self.redriven += other.redriven


@final
class Parts:
    """One queue's parts. `paused_until` is 0 (not paused), -1 (until resumed) or a time."""

    __slots__ = (
        "_alarm",
        "_surroundings",
        "_wakeful",
        "agenda",
        "ages",
        "backlog",
        "counters",
        "created_at",
        "dead",
        "dedup",
        "definition",
        "leases",
        "moving",
        "name",
        "next_id",
        "number",
        "paused_until",
        "records",
        "waiters",
    )

    def __init__(
        self,
        surroundings: Surroundings,
        name: bytes,
        number: i64,
        definition: Definition,
        first_id: i64,
        first_token: i64,
        now: i64,
    ) -> None:
        journal = surroundings.journal
        account = surroundings.account
        self._surroundings = surroundings
        self._alarm: i64 = 0  # the earliest deadline that the agenda knows of, 0 for none
        self._wakeful = False
        self.ages = surroundings.ages
        self.agenda = surroundings.agenda
        self.name = name
        self.number = number
        self.definition = definition
        self.created_at = now
        self.next_id = first_id
        self.paused_until: i64 = 0
        self.counters = Counters()
        self.records = Records(journal, number, definition.level)
        self.backlog = Backlog(journal, account, surroundings.resident_bytes_max, name)
        self.dead = DeadLetters(Bodies(journal, account, surroundings.resident_bytes_max, name))
        self.dedup = Dedup()
        self.leases = Leases(first_token)
        self.waiters = WaitLine()
        self.moving: dict[int, Move] = {}  # by id: bodies whose copy is on its way to the disk

    @property
    def title(self) -> str:
        """The name for a message to a person."""
        return repr(self.name.decode("utf-8", "replace"))

    # What is to be done, and when.

    def due(self, deadline: i64) -> None:
        """There is something to do at a time (0 = never)."""
        if deadline != 0 and (self._alarm == 0 or deadline < self._alarm):
            self._alarm = deadline
            self.agenda.alarm(deadline, self.number)

    def alarmed(self) -> None:
        """The agenda has rung: it knows of no deadline now."""
        self._alarm = 0

    def wake(self) -> None:
        """Somebody may wait for what has become ready."""
        if not self._wakeful and len(self.waiters) > 0:
            self._wakeful = True
            self.agenda.wakeful.append(int(self.number))

    def slept(self) -> None:
        """The waiters are being served."""
        self._wakeful = False

    def next_deadline(self) -> i64:
        """When there is something to do next, 0 for never."""
        dead = self.dead.oldest()
        return earliest(
            [
                self.leases.next_deadline(),
                self.backlog.next_due(),
                self.backlog.next_expiry(),
                self.waiters.next_deadline(),
                self.dedup.next_deadline(),
                0 if dead == 0 else dead + self.definition.dead_retention_ms,
                self.paused_until if self.paused_until > 0 else 0,
            ]
        )

    # How messages leave.

    def discard(self, messages: list[QueueMessage]) -> None:
        """Messages are gone, though nobody acknowledged them. No lease may be left on them."""
        if not messages:
            return
        ids: list[i64] = []
        for message in messages:
            ids.append(message.id)
            self.backlog.finish(message)
        self.records.ids(REMOVE, ids)
        self.wake()

    def bury(self, messages: list[QueueMessage], reason: bytes, now: i64) -> None:
        """Messages become dead letters. No lease may be left on them."""
        if not messages:
            return
        ids: list[i64] = []
        for message in messages:
            ids.append(message.id)
            corpse = message.copy()
            self.backlog.finish(message)
            self.dead.add(corpse, reason, now)
        self.records.died(ids, reason, now)
        self.counters.dead += len(messages)
        surplus = len(self.dead) - self.definition.dead_letters_max
        if surplus > 0:
            self.discard_dead(self.dead.outlived(0, self.definition.dead_letters_max, surplus))
        self.due(self.dead.oldest() + self.definition.dead_retention_ms)
        self.wake()

    def expire(self, messages: list[QueueMessage], now: i64) -> None:
        """The time to live of these messages is over. No lease may be left on them."""
        self.counters.expired += len(messages)
        if self.definition.on_expiry == DEAD_LETTER:
            self.bury(messages, EXPIRED, now)
        else:
            self.discard(messages)

    def discard_dead(self, letters: list[DeadLetter]) -> None:
        """Dead letters are gone."""
        if not letters:
            return
        ids: list[i64] = []
        for letter in letters:
            ids.append(letter.message.id)
            self.dead.remove(letter)
        self.records.ids(REMOVE_DEAD, ids)

    def empty(self) -> None:
        """Gives up all messages at once, dead letters excepted. What is staged is not in its list any more."""
        around = self._surroundings
        for delivery in self.leases.all():
            self.leases.end(delivery, False)
        self.backlog.bodies.removed(self.backlog.bodies.bytes)
        around.trash.add(self.backlog)
        self.backlog = Backlog(around.journal, around.account, around.resident_bytes_max, self.name)

    def empty_dead(self) -> None:
        """Gives up all dead letters at once."""
        self._surroundings.trash.add_letters(self.dead.clear())


def earliest(deadlines: list[i64]) -> i64:
    """The first of several deadlines, where 0 is none."""
    first: i64 = 0
    for deadline in deadlines:
        if deadline != 0 and (first == 0 or deadline < first):
            first = deadline
    return first
