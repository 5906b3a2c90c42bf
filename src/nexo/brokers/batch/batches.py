"""Batches across brokers: checked, applied in one turn, and complete when they are durable.

What a batch records is one BATCH operation of the journal, whose level is the highest that its steps ask for.
Until it has got that far the batch *waits*: its pushes, appends and publications are not seen, its acks are not
final, and its changes of the store can be undone. Batches become durable in their order: each waits for those
before it, so that one which builds on another never outlives it. Knows no protocol; reads no clock.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.batch.plan import Plan
from nexo.brokers.batch.steps import Step, refused
from nexo.brokers.batch.storesteps import failed, take_back
from nexo.brokers.changes import Hold
from nexo.brokers.journal import MEMORY, Journal
from nexo.brokers.queue.queues import Queues
from nexo.brokers.store import Store
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.streams import Streams
from nexo.errors import MemoryLimitError, SequenceMismatchError, ServerError

KEY_VERSION: Final = 1
KEY_EXISTS: Final = 2
QUEUE_EXISTS: Final = 3
STREAM_EXISTS: Final = 4
LAST_SEQ: Final = 5


@final
@mypyc_attr(acyclic=True)
class Precondition:
    """What must be so before a batch; `number` is the version of a KEY_VERSION, the sequence of a LAST_SEQ."""

    __slots__ = ("kind", "name", "number")

    def __init__(self, kind: i64, name: bytes, number: i64) -> None:
        self.kind = kind
        self.name = name
        self.number = number


@final
class _Applied:
    """A batch that has been applied in a batch of the journal."""

    __slots__ = ("batch", "holds", "level", "steps")

    def __init__(self, steps: list[Step], holds: list[Hold], level: i64, batch: i64) -> None:
        self.steps = steps
        self.holds = holds
        self.level = level
        self.batch = batch

    def commit(self, now: i64) -> None:
        for step in self.steps:
            step.commit(now)
        for hold in self.holds:
            hold.release()

    def undo(self, store: Store, now: i64) -> None:
        for step in reversed(self.steps):
            step.undo(now)
        for hold in self.holds:
            take_back(store, hold, now)


@final
class Batches:
    """The batches of one node."""

    __slots__ = ("_journal", "_queues", "_store", "_streams", "_waiting")

    def __init__(self, journal: Journal, store: Store, queues: Queues, streams: Streams) -> None:
        self._journal = journal
        self._store = store
        self._queues = queues
        self._streams = streams
        self._waiting: list[_Applied] = []

    def __len__(self) -> int:
        """How many are not durable yet."""
        return len(self._waiting)

    def check(self, preconditions: list[Precondition], steps: list[Step], now: i64) -> Plan:
        """Raises BatchRefusedError for the first precondition or step that is in the way; changes nothing."""
        for place, one in enumerate(preconditions):
            try:
                self._require(one, now)
            except ServerError as error:
                raise refused("precondition", place, error) from None
        plan = Plan(self._store, now)
        for step in steps:
            try:
                step.check(plan)
            except ServerError as error:
                raise refused("command", plan.place, error) from None
            plan.place += 1
        return plan

    def _require(self, one: Precondition, now: i64) -> None:
        if one.kind == QUEUE_EXISTS:
            self._queues.find(one.name)
        elif one.kind == STREAM_EXISTS:
            self._streams.find(one.name)
        elif one.kind == LAST_SEQ:
            last = self._streams.find(one.name).next_seq - 1
            if last != one.number:
                raise SequenceMismatchError(
                    f"the last sequence is {last}, not {one.number}", {"actual": int(last)}
                )
        else:
            entry = self._store.lookup(one.name, now)
            version: i64 = 0 if entry is None else entry.version
            if version != one.number if one.kind == KEY_VERSION else version == 0:
                raise failed(one.name, version)

    def level(self, steps: list[Step]) -> i64:
        """The durability that the answer promises: the highest of the steps, and no less than of batches that wait."""
        if not self._journal.keeping:
            return MEMORY
        level: i64 = self._waiting[-1].level if self._waiting else MEMORY
        for step in steps:
            level = max(level, step.level)
        return level

    def apply(self, plan: Plan, steps: list[Step], level: i64) -> None:
        """Does what was checked. Raises BatchRefusedError, and nothing has changed, when memory does not suffice."""
        now = plan.now
        try:
            self._store.reserve(plan.sizes, now)
        except MemoryLimitError as error:
            raise refused("command", plan.last_writer, error) from None
        holds = [self._store.hold(key, now) for key in plan.keys] if level != MEMORY else []
        if level == MEMORY:
            for step in steps:
                step.apply(now)
            _Applied(steps, holds, level, 0).commit(now)
            return
        streams = [stream for stream in [step.appends_to() for step in steps] if stream is not None]
        self._close(streams, now)
        start = self._journal.begin_batch(level)
        try:
            for step in steps:
                step.apply(now)
            self._close(streams, now)
        finally:
            self._journal.end_batch(start)
        for hold in holds:
            hold.begin()
        self._waiting.append(_Applied(steps, holds, level, self._journal.batch))

    def _close(self, streams: list[Stream], now: i64) -> None:
        """What was appended to these is an operation of its own."""
        for stream in streams:
            stream.close(now)

    def settled(self, now: i64) -> None:
        """The journal got further: completes what has become durable."""
        done: i64 = 0
        for one in self._waiting:
            if not self._journal.settled(one.batch, one.level):
                break
            done += 1
            one.commit(now)
        if done > 0:
            del self._waiting[:done]

    def withdraw(self, first_batch: i64, now: i64) -> None:
        """Batches of the journal from this one on have failed: what was applied in them never was."""
        while self._waiting and self._waiting[-1].batch >= first_batch:
            self._waiting.pop().undo(self._store, now)
