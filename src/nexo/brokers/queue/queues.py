"""All queues of a node: by name, by number, and what they share.

Owns creation and deletion, and drives what has something to do: `settled` when the journal got further,
`flush` at the end of a turn, `advance` when a deadline is due, `work` for what is freed bit by bit. Knows no
protocol; reads no clock.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.journal import Journal
from nexo.brokers.moving import MOVE_BODIES, Moving
from nexo.brokers.queue import records, replay
from nexo.brokers.queue.agenda import Agenda
from nexo.brokers.queue.bodies import Residency
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.definition import OPTIONS, Definition, compare
from nexo.brokers.queue.dump import DumpJob
from nexo.brokers.queue.moving import BodyMover, replay_bodies
from nexo.brokers.queue.parts import Ages, Counters, Parts, Surroundings
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.replay import Reader
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError, StorageError
from nexo.limits import (
    QUEUE_NAME_BYTES_MAX,
    QUEUES_MAX,
    RESIDENT_BYTES_DEFAULT,
    RESIDENT_BYTES_TOTAL_DEFAULT,
)


@final
class Counts:
    """What all queues hold together, and in `done` what they and those that are gone have done since the process began."""

    __slots__ = (
        "bytes",
        "dead_letters",
        "delayed",
        "done",
        "held",
        "leased",
        "ready",
        "waiting",
    )

    def __init__(self) -> None:
        self.done = Counters()
        self.ready: i64 = 0
        self.held: i64 = 0
        self.delayed: i64 = 0
        self.leased: i64 = 0
        self.dead_letters: i64 = 0
        self.waiting: i64 = 0
        self.bytes: i64 = 0


@final
class Queues:
    """The queues of one node. `seed` makes the jitter of backoffs repeatable."""

    __slots__ = ("_agenda", "_around", "_by_name", "_by_number", "_created", "_gone", "_last_number")

    def __init__(
        self,
        journal: Journal,
        seed: int = 0,
        resident_bytes_max: i64 = RESIDENT_BYTES_DEFAULT,
        resident_bytes_total_max: i64 = RESIDENT_BYTES_TOTAL_DEFAULT,
    ) -> None:
        self._agenda = Agenda(seed)
        self._around = Surroundings(
            journal, Residency(resident_bytes_total_max), self._agenda, resident_bytes_max
        )
        self._by_name: dict[bytes, Queue] = {}
        self._by_number: dict[int, Queue] = {}
        self._created: list[tuple[int, Queue]] = []  # with the batch that says so, until it is settled
        self._gone = Counters()  # what deleted queues have counted: totals never shrink
        self._last_number: i64 = 0

    def __len__(self) -> int:
        return len(self._by_name)

    def counts(self) -> Counts:
        """Totals over all queues, for metrics; the work is that of walking over them."""
        counts = Counts()
        counts.done.add(self._gone)
        for queue in self._by_name.values():
            parts = queue.parts
            counts.ready += parts.backlog.ready.count
            counts.held += parts.backlog.groups.held
            counts.delayed += parts.backlog.delayed
            counts.leased += parts.leases.count
            counts.dead_letters += len(parts.dead)
            counts.waiting += len(parts.waiters)
            counts.bytes += parts.backlog.bytes
            counts.done.add(parts.counters)
        return counts

    @property
    def ages(self) -> Ages:
        """How long messages wait, over all queues; whoever begins a turn sets the time in it."""
        return self._around.ages

    @property
    def resident_bytes(self) -> i64:
        """Bodies in memory, over all queues."""
        return self._around.account.bytes

    # Definitions.

    def create(self, name: bytes, given: dict[str, object], now: i64) -> tuple[Queue, bool]:
        """Creates a queue with these options (see OPTIONS), or finds it; whether it was created.

        Raises ResourceConfigConflictError when it exists and one of the options given is another there,
        InvalidArgumentError, and LimitExceededError at QUEUES_MAX.
        """
        queue = self._by_name.get(name)
        if queue is not None:
            compare(name.decode("utf-8", "replace"), queue.parts.definition, given)
            return queue, False
        if not 0 < len(name) <= QUEUE_NAME_BYTES_MAX:
            raise InvalidArgumentError(
                f"a queue's name has 1 to QUEUE_NAME_BYTES_MAX ({QUEUE_NAME_BYTES_MAX}) bytes, not {len(name)}"
            )
        if len(self._by_name) >= QUEUES_MAX:
            raise LimitExceededError(f"queues_max is {QUEUES_MAX}")
        # A queue whose creation was lost with the end of the log may have had the same number.
        first = self._around.journal.numbers_above() + 1
        queue = self._add(name, self._last_number + 1, Definition(given), first, first, now)
        parts = queue.parts
        parts.records.created(name, parts.definition, parts.next_id, parts.leases.next_token, now)
        if self._around.journal.keeping:
            self._created.append((int(self._around.journal.batch), queue))
        return queue, True

    def _add(
        self, name: bytes, number: i64, definition: Definition, first_id: i64, first_token: i64, now: i64
    ) -> Queue:
        queue = Queue(Parts(self._around, name, number, definition, first_id, first_token, now))
        self._last_number = max(self._last_number, number)
        self._by_name[name] = queue
        self._by_number[int(number)] = queue
        return queue

    def find(self, name: bytes) -> Queue:
        """The queue of this name. Raises ResourceNotFoundError."""
        queue = self._by_name.get(name)
        if queue is None:
            raise ResourceNotFoundError(f"queue {name.decode('utf-8', 'replace')!r} does not exist")
        return queue

    def exists(self, name: bytes) -> bool:
        return name in self._by_name

    def names(self) -> list[bytes]:
        """All names, in byte order."""
        return sorted(self._by_name)

    def delete(self, name: bytes, now: i64) -> bool:
        """Deletes a queue with all it holds; those who wait are told. Whether there was one."""
        queue = self._by_name.get(name)
        if queue is None:
            return False
        queue.parts.records.deleted()
        self._remove(queue)
        return True

    def _remove(self, queue: Queue) -> None:
        parts = queue.parts
        self._gone.add(parts.counters)
        del self._by_name[parts.name]
        del self._by_number[int(parts.number)]
        self._agenda.forget(parts.number)
        queue.intake.forget()
        parts.empty()
        parts.empty_dead()
        queue.close()

    # What drives them.

    def settled(self, now: i64) -> None:
        """The journal got further: messages that are durable now may be delivered."""
        if self._created:
            journal = self._around.journal
            self._created = [one for one in self._created if one[0] > journal.written]
        if not self._agenda.staging:
            return
        staging = self._agenda.staging
        self._agenda.staging = []
        for number in staging:
            queue = self._by_number.get(number)
            if queue is not None and queue.intake.settle(now):
                self._agenda.staging.append(number)

    def withdraw(self, first_batch: i64) -> None:
        """Batches from this one on have failed: what was pushed or created in them never was."""
        for number in self._agenda.staging:
            queue = self._by_number.get(number)
            if queue is not None:
                queue.intake.withdraw(first_batch)
        for batch, queue in self._created:
            if batch >= first_batch and not queue.closed:
                self._remove(queue)
        self._created = [one for one in self._created if one[0] < first_batch]

    def flush(self, now: i64) -> None:
        """The end of a turn: serves those who wait for what has become ready."""
        while self._agenda.wakeful:
            wakeful = self._agenda.wakeful
            self._agenda.wakeful = []
            for number in wakeful:
                queue = self._by_number.get(number)
                if queue is not None:
                    queue.serve(now)

    def advance(self, now: i64, budget: i64) -> i64:
        """Does what is due, at most about `budget` messages of it; gives the next deadline, 0 for none.

        A deadline at or before `now` says that there is more to do at once.
        """
        while budget > 0:
            number = self._agenda.due(now)
            if number == 0:
                break
            queue = self._by_number.get(number)
            if queue is None:
                continue
            budget = queue.advance(now, budget)
            if not queue.closed:
                queue.parts.due(now if budget <= 0 else queue.parts.next_deadline())
        self.flush(now)
        return self._agenda.next_alarm()

    def work(self, budget: i64) -> bool:
        """Frees about `budget` messages of what was purged or deleted; whether there is more."""
        trash = self._around.trash
        trash.step(budget)
        return bool(trash)

    def drop(self, consumer: Consumer, now: i64) -> None:
        """A consumer has gone: what was lent to it comes back at once, and it waits no longer."""
        for waiter in list(consumer.waiters):
            queue = self._by_number.get(int(waiter.queue_number))
            if queue is not None:
                queue.cancel(waiter)
        holdings = consumer.holdings
        consumer.holdings = {}
        for number, holding in holdings.items():
            queue = self._by_number.get(number)
            if queue is not None:
                queue.take_back(holding, now)

    # Storage.

    def apply(self, kind: i64, data: bytes, start: i64, end: i64, address: i64, now: i64) -> None:
        """Does one recorded operation again; its body is data[start:end] and lies at `address` of the log.

        An address of 0 says that it cannot be read from there later: message bodies then stay in memory.
        Call `recovered` after the last. Raises StorageError for an operation that makes no sense.
        """
        reader = Reader(data, start, end, address)
        number = reader.u32()
        if kind == records.RESTORE_NUMBER:
            self._last_number = max(self._last_number, number)
            return
        if kind == records.CREATE:
            created_at = reader.number()
            first_id = reader.number()
            first_token = reader.number()
            name = reader.text()
            self._add(name, number, _definition(replay.options(reader)), first_id, first_token, created_at)
            return
        queue = self._by_number.get(int(number))
        if queue is None:
            raise StorageError(
                f"an operation at {address} of the log is for queue number {number}, which is not there"
            )
        if kind == records.DELETE:
            self._remove(queue)
        elif kind == MOVE_BODIES:
            replay_bodies(queue.parts, reader)
        else:
            replay.apply(queue.parts, kind, reader)

    def recovered(self, now: i64) -> None:
        """All operations have been done again: everything that was lent may be delivered once more."""
        above = self._around.journal.numbers_above()
        for queue in self._by_number.values():
            replay.recovered(queue.parts, above, now)

    def mover(self, moving: Moving) -> BodyMover:
        """Writes bodies once more, whose files are to go; see brokers/moving.py."""
        return BodyMover(moving, [queue.parts for queue in self._by_number.values()])

    def dump(self, out: Journal, now: i64, with_memory: bool = True) -> DumpJob:
        """A job that writes what all queues are now; see DumpJob."""
        parts = [queue.parts for queue in self._by_number.values()]
        return DumpJob(out, parts, self._last_number, with_memory, now)


def _definition(numbers: dict[str, int]) -> Definition:
    """A definition from the log. Options that this version does not know are passed over."""
    return Definition(
        {name: OPTIONS[name].shown(number) for name, number in numbers.items() if name in OPTIONS}
    )
