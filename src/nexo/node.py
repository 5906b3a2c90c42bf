"""One broker node: the brokers, their journal, their clock and the turn that they share.

A node does no I/O and reads no clock. Whoever drives it (the server's loop, an embedded client, a
simulation) calls it at the right time: see Driver. Everything that a turn's commands did is handed
out once, when the turn ends, and what they recorded becomes one batch of the journal. Replies that
promise durability wait here until their batch has got as far as they promise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64, mypyc_attr, trait

from nexo.brokers import mapreplay, maps, retained
from nexo.brokers.alarms import DISK_ALARM, MEMORY_ALARM, Alarm
from nexo.brokers.batch.batches import Batches, Precondition
from nexo.brokers.batch.steps import Step
from nexo.brokers.cleaner import Cleaner
from nexo.brokers.journal import BATCH, FLUSH, FSYNC, MEMORY, OPERATION_HEAD_BYTES, Journal
from nexo.brokers.moving import MOVE_BLOCKS, MOVE_BODIES
from nexo.brokers.pubsub import PubSub
from nexo.brokers.queue import records as queue_records
from nexo.brokers.queue.queues import Queues
from nexo.brokers.requests import Requests
from nexo.brokers.sleepers import Sleepers
from nexo.brokers.store import Store
from nexo.brokers.stream import operations as stream_operations
from nexo.brokers.stream.streams import Streams
from nexo.errors import StorageError
from nexo.limits import JOURNAL_PENDING_BYTES_MAX

EXPIRE_BUDGET: Final = 2_000
"""Keys or retained messages removed in one go: about a millisecond, so that a million that are due
at once are spread over many turns and none of them is long."""
WORK_BUDGET: Final = 2_000
"""Small steps of background work in one turn, for the same reason."""


NEVER: Final = 1 << 62
"""More bytes than there are."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Driver:
    """What a node asks of its surroundings: the time, and to be called when the turn is over."""

    def now(self) -> i64:
        """Node time: Unix milliseconds that never go back."""
        raise NotImplementedError

    def turn_opened(self) -> None:
        """The first command of a turn is about to run: call `node.turn` once all input is done."""
        raise NotImplementedError

    def memory_grown(self) -> None:
        """The brokers hold `Node.look_at_bytes`. For most nobody wants to know."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Job:
    """A command that takes more than one turn, such as a prefix delete of a million keys."""

    def step(self) -> bool:
        """Do a small part. True when nothing is left to do."""
        raise NotImplementedError


@trait
class Connected:
    """A connection as the node sees it: what it is sent waits for the end of the turn, or for the journal."""

    def write_out(self) -> None:
        """The turn has ended: write what was gathered in it, in one piece."""
        raise NotImplementedError

    def confirmed(self, replies: bytes) -> None:
        """What these replies promise has been reached: send them."""
        raise NotImplementedError

    def lent(self, deliveries: bytes) -> None:
        """That these deliveries count is recorded: send them."""
        raise NotImplementedError

    def refused(self, replies: bytes, error: StorageError) -> None:
        """It will not be reached: each of these replies must become an error."""
        raise NotImplementedError

    def resume(self) -> None:
        """The journal takes more again: go on with the input that was left unread."""
        raise NotImplementedError


@final
class Promise(Connected):
    """One who is no connection and waits once: for `Node.hold` or `lend` (of b""), or for `wait_for_journal`.

    `told` is called with None when what was waited for has come, or with the error when it will not.
    """

    def __init__(self, told: Callable[[StorageError | None], None]) -> None:
        self.told = told

    def write_out(self) -> None:
        """Nothing is gathered for one who is no connection."""

    def confirmed(self, replies: bytes) -> None:
        self.told(None)

    def lent(self, deliveries: bytes) -> None:
        self.told(None)

    def refused(self, replies: bytes, error: StorageError) -> None:
        self.told(error)

    def resume(self) -> None:
        self.told(None)


@final
@mypyc_attr(acyclic=True)
class _Held:
    """Replies of one connection that wait for a batch."""

    __slots__ = ("batch", "owner", "replies")

    def __init__(self, owner: Connected, batch: i64, replies: bytes) -> None:
        self.owner = owner
        self.batch = batch
        self.replies = replies


@final
class Node:
    """The brokers behind every protocol. One writer: call it from one thread.

    `congested` says that the disk does not keep up: whoever runs commands then stops and registers
    with `wait_for_journal`.
    """

    def __init__(
        self,
        driver: Driver,
        journal: Journal,
        store: Store,
        pubsub: PubSub,
        queues: Queues,
        streams: Streams,
    ) -> None:
        self.driver = driver
        self.journal = journal
        self.store = store
        self.pubsub = pubsub
        self.queues = queues
        self.streams = streams
        self.batches = Batches(journal, store, queues, streams)
        self.requests = Requests()
        self.cleaner = Cleaner(journal, queues, streams)
        self.sleepers = Sleepers()
        self.memory_alarm = Alarm(MEMORY_ALARM)
        self.disk_alarm = Alarm(DISK_ALARM)
        # What the brokers hold at which whoever watches the process's memory wants to look at once.
        self.look_at_bytes: i64 = NEVER
        self.now: i64 = driver.now()
        self.jobs: list[Job] = []
        self.turn_open = False
        self.ending = False
        self.congested = False
        self.fault = ""
        self.fenced = False
        self._last_flush: i64 = 0  # the newest batches that were closed at these levels
        self._last_fsync: i64 = 0
        self._left_bytes: i64 = 0  # recorded once more, and waiting for room on the disk
        self._held_flush: list[_Held] = []
        self._held_fsync: list[_Held] = []
        self._held_lent: list[_Held] = []
        self._waiting: list[Connected] = []
        self._gathered: list[Connected] = []

    def begin(self) -> i64:
        """Called before commands are run: opens the turn and returns the time in it."""
        if not self.turn_open:
            self.turn_open = True
            self.now = self.driver.now()
            self.queues.ages.now = self.now
            self.driver.turn_opened()
        return self.now

    def turn(self) -> bool:
        """End the turn: hand out messages and changes, do a slice of what takes long, record, and write to clients.

        What could be written to the log at once is confirmed, and has its consequences, in the same turn; clients
        are written to once, after that. Returns True when there is more to do at once, even if no input comes.
        """
        self.ending = True
        try:
            more = self._hand_out()
            while self.journal.settle_reported():
                more = self._hand_out() or more
            while self._gathered:
                gathered, self._gathered = self._gathered, []
                for connection in gathered:
                    connection.write_out()
        finally:
            self.ending = False
        if self.held_bytes() > self.look_at_bytes:
            self.look_at_bytes = NEVER
            self.driver.memory_grown()
        return more

    def held_bytes(self) -> i64:
        """What the brokers hold in memory, accounted, and what waits to be written."""
        brokers = self.store.memory_bytes + self.queues.resident_bytes + self.pubsub.retained_bytes
        return brokers + self.journal.pending_bytes

    def gather(self, connection: Connected) -> None:
        """Call `write_out` of this connection when the turn ends."""
        self._gathered.append(connection)
        if not self.ending:
            self.begin()

    def _hand_out(self) -> bool:
        self.turn_open = False
        now = self.now
        self.pubsub.flush()
        self.store.flush_watches()
        self.queues.flush(now)
        self.streams.flush(now)
        more = self.store.work(WORK_BUDGET)
        if self.queues.work(WORK_BUDGET):
            more = True
        if self.jobs:
            jobs, self.jobs = self.jobs, []
            for job in jobs:
                if not job.step():
                    self.jobs.append(job)
            # What the jobs finished may have published and changed.
            self.pubsub.flush()
            self.store.flush_watches()
            self.queues.flush(now)
            self.streams.flush(now)
        if self.store.mapped or self.pubsub.kept.expired:
            self._note()
        if self.cleaner.active and not self.fault and self.cleaner.step():
            more = True
        self._close_batch()
        if self.journal.pending_bytes > JOURNAL_PENDING_BYTES_MAX:
            self.congested = True
        return more or len(self.jobs) > 0

    def carry_out(self, preconditions: list[Precondition], steps: list[Step]) -> i64:
        """Do all steps of a batch across brokers, or none; gives the level that the answer has to wait for.

        Raises BatchRefusedError, StorageError while the disk takes nothing, and AlarmError as `check_write`.
        """
        plan = self.batches.check(preconditions, steps, self.now)
        level = self.batches.level(steps)
        for step in steps:
            if step.takes_room():
                if step.recorded_at() == MEMORY:
                    self.check_memory()
                else:
                    self.check_write()
        if level != MEMORY:
            self.check_room()
        self.batches.apply(plan, steps, level)
        return level

    def _note(self) -> None:
        """Let the journal know of time and versions, which nobody waits for."""
        kept = self.pubsub.kept
        if kept.expired:
            kept.expired = False
            self.store.maps.expired = True
        self.store.maps.note(self.store.version, self.now)

    # The journal.

    def _close_batch(self) -> None:
        """What the turn recorded is a batch. Replies wait for the last one that asked for what they promise.

        A reply to a command that recorded nothing (an acknowledgement that is refused, a CREATE of what is there)
        promises only what was recorded before; later batches of a lower level may never be synced by themselves.
        """
        journal = self.journal
        if not journal.keeping:
            return
        size: i64 = len(self.journal.out)
        if size > 0:
            if size > self._left_bytes or self._answers_open_batch():
                self._left_bytes = 0
                self._note_level()
                self.journal.close_batch(self.fault != "")
            return
        if self.fenced:
            # A repeated command records nothing: what it repeats may be lost.
            self._refuse(self.journal.synced + 1)
            return
        self._wait_for(self._held_flush, self._last_flush)
        self._wait_for(self._held_fsync, self._last_fsync)
        self._release_settled()

    def _note_level(self) -> None:
        """The open batch is as durable as the replies that wait for it ask, whatever it is that they confirm."""
        journal = self.journal
        if self._held_fsync and self._held_fsync[-1].batch == journal.batch:
            journal.level = FSYNC
        elif self._held_flush and self._held_flush[-1].batch == journal.batch and journal.level < FLUSH:
            journal.level = FLUSH
        if journal.level >= FLUSH:
            self._last_flush = journal.batch
        if journal.level >= FSYNC:
            self._last_fsync = journal.batch

    def _wait_for(self, held: list[_Held], last: i64) -> None:
        """Replies to commands that recorded nothing wait for what they repeat: no later than the last at the level."""
        recorded = min(last, self.journal.batch - 1)
        for one in reversed(held):
            if one.batch <= self.journal.batch - 1:
                break
            one.batch = recorded

    def _answers_open_batch(self) -> bool:
        """Whether replies wait for the batch that is open."""
        batch = self.journal.batch
        for held in (self._held_flush, self._held_fsync):
            if held and held[-1].batch == batch:
                return True
        return False

    def check_room(self) -> None:
        """Raises StorageError while the disk takes nothing that needs more room."""
        if self.fault:
            raise StorageError(self.fault)

    def check_memory(self) -> None:
        """For a write that takes memory alone. Raises AlarmError while memory is short."""
        if self.memory_alarm.stands:
            raise self.memory_alarm.refuse()

    def check_write(self) -> None:
        """For a write that takes memory, and room on the disk. Raises StorageError as `check_room`, and AlarmError.

        Not for what frees room in the end: who settles, deletes, or declares what it will consume from, goes on.
        """
        self.check_room()
        if self.memory_alarm.stands:
            raise self.memory_alarm.refuse()
        if self.disk_alarm.stands:
            raise self.disk_alarm.refuse()

    def hold(self, owner: Connected, level: i64, replies: bytes) -> None:
        """Keep replies to this turn's commands until their batch is settled at a level."""
        held = _Held(owner, self.journal.batch, replies)
        if level == FLUSH:
            self._held_flush.append(held)
        else:
            self._held_fsync.append(held)

    def lend(self, owner: Connected, deliveries: bytes) -> None:
        """Keep deliveries until the turn's batch is written: a kill after that does not undo that they count.

        They wait for no sync. When the batch cannot be written they are sent all the same: reading goes on.
        """
        self.journal.urgent = True
        self._held_lent.append(_Held(owner, self.journal.batch, deliveries))

    @property
    def holding(self) -> bool:
        """Whether replies, deliveries, or batches across brokers, wait for the journal."""
        return (
            len(self._held_flush) > 0
            or len(self._held_fsync) > 0
            or len(self._held_lent) > 0
            or len(self.batches) > 0
        )

    def wait_for_journal(self, owner: Connected) -> None:
        """Have `owner.resume` called when the node is not congested any more."""
        self._waiting.append(owner)

    def settled(self) -> None:
        """The journal has got further: release the replies that waited for that."""
        self._settle()
        if self.congested and self.journal.pending_bytes <= JOURNAL_PENDING_BYTES_MAX // 2:
            self.congested = False
            waiting, self._waiting = self._waiting, []
            for owner in waiting:
                owner.resume()

    def _settle(self) -> None:
        now = self.begin()
        self.queues.settled(now)
        self.streams.settled()
        self.batches.settled(now)
        self.cleaner.settled()
        self._release_settled()

    def _release_settled(self) -> None:
        self._held_flush = self._release(self._held_flush, FLUSH)
        self._held_fsync = self._release(self._held_fsync, FSYNC)
        self._release_lent()

    def _release_lent(self) -> None:
        """Send the deliveries that are recorded; their owners may run commands then, and be lent more."""
        count: i64 = 0
        while count < len(self._held_lent) and self._held_lent[count].batch <= self.journal.written:
            count += 1
        if count > 0:
            released = self._held_lent[:count]
            del self._held_lent[:count]
            for one in released:
                one.owner.lent(one.replies)

    def _release(self, held: list[_Held], level: i64) -> list[_Held]:
        """Send what is settled at this level; what is left, in its order."""
        count: i64 = 0
        for one in held:
            if not self.journal.settled(one.batch, level):
                break
            count += 1
            one.owner.confirmed(one.replies)
        return held[count:] if count > 0 else held

    def withdraw(self, first_batch: i64, fault: str, lost: list[bytes], recoverable: bool = True) -> None:
        """Batches from this one on could not be stored: what waited for them is refused, and never was.

        Until `room_again` nothing is taken that needs room on the disk. What else stood in the `lost`
        batches has happened (a message was delivered, settled, has expired): it is recorded once more, and
        written with what comes next, or when there is room. Pushes, appends, joins and creations never were, and
        nothing of a batch across brokers.
        When the log is not `recoverable` nothing is confirmed any more.
        """
        self.fault = fault
        self.fenced = not recoverable
        self.store.maps.paused = True
        now = self.begin()
        self.queues.withdraw(first_batch)
        self.streams.withdraw(first_batch)
        self.cleaner.withdraw(first_batch)
        self._refuse(first_batch)
        if recoverable:
            gone: dict[int, None] = {}
            for payload in lost:
                self._record_again(payload, 0, len(payload), gone, False)
        self.batches.withdraw(first_batch, now)
        if recoverable:
            self.journal.level = FSYNC
            self._left_bytes = len(self.journal.out)
        self._settle()

    def _refuse(self, first_batch: i64) -> None:
        """Replies that wait for this batch or a later one become errors."""
        error = StorageError(self.fault)
        for held in (self._held_flush, self._held_fsync):
            for one in held:
                if one.batch >= first_batch:
                    one.owner.refused(one.replies, error)
        for one in self._held_lent:
            one.batch = 0  # it is sent with what is settled next
        self._last_flush = min(self._last_flush, first_batch - 1)
        self._last_fsync = min(self._last_fsync, first_batch - 1)
        self._held_flush = [one for one in self._held_flush if one.batch < first_batch]
        self._held_fsync = [one for one in self._held_fsync if one.batch < first_batch]

    def _record_again(
        self, payload: bytes, position: i64, stop: i64, gone: dict[int, None], undone: bool
    ) -> None:
        """`gone` are the numbers of queues whose creation is lost, and so all that was done to them.

        `undone`: these are operations of a batch across brokers.
        """
        while position < stop:
            end = position + OPERATION_HEAD_BYTES + i64(read_i32_be(payload, position + 1))
            if payload[position] == BATCH:
                self._record_again(payload, position + OPERATION_HEAD_BYTES, end, gone, True)
            elif self._stays(payload, position, gone, undone):
                self.journal.out.write(payload[position:end])
            position = end

    def _stays(self, payload: bytes, position: i64, gone: dict[int, None], undone: bool) -> bool:
        """Whether an operation happened although its batch is lost, and is to be recorded at once.

        What a key and a topic hold stays as it is, too, and is recorded when there is room for it.
        """
        kind = i64(payload[position])
        if undone and (kind == queue_records.ACK or kind == stream_operations.SETTLE or kind == maps.DELETE):
            return False
        body = position + OPERATION_HEAD_BYTES
        end = body + i64(read_i32_be(payload, position + 1))
        if kind == maps.SET or kind == maps.EXPIRY:
            self.store.lose(mapreplay.key_of(kind, payload, body, end))
            return False
        if kind == retained.RETAIN:
            self.pubsub.kept.lose(payload[body + 4 : retained.topic_end(payload, body, end)])
            return False
        if undone and kind == retained.FORGET:
            self.pubsub.kept.lose(payload[body:end])
            return False
        if queue_records.CREATE <= kind < queue_records.RESTORE_NUMBER:
            number = int(read_i32_be(payload, body))
            if kind == queue_records.CREATE:
                gone[number] = None
            return kind != queue_records.PUSH and number not in gone
        if kind == stream_operations.APPEND or kind == stream_operations.JOIN:
            # Nobody waited for it when it was confirmed at once.
            first = read_i64_be(payload, body + 8) if kind == stream_operations.APPEND else 0
            return self.streams.keeps(read_i64_be(payload, body), first)
        if kind == stream_operations.BURY and end - body == stream_operations.BURY_MOVED_BYTES:
            # The letter was moved by an append of this batch.
            return self.streams.keeps(read_i64_be(payload, end - 8), 0)
        return kind != stream_operations.CREATE and kind != MOVE_BODIES and kind != MOVE_BLOCKS

    def room_again(self) -> None:
        """The disk takes everything again."""
        self.fault = ""
        self._left_bytes = 0
        self.begin()
        self.store.room_again()
        self.pubsub.kept.record_lost()

    def apply(self, kind: i64, data: bytes, start: i64, end: i64, address: i64) -> None:
        """Do one recorded operation again; its body is data[start:end]. StorageError when it makes no sense."""
        if kind == BATCH:
            self._apply_batch(data, start, end, address)
        elif queue_records.CREATE <= kind <= queue_records.RESTORE_NUMBER or kind == MOVE_BODIES:
            self.queues.apply(kind, data, start, end, address, self.now)
        elif stream_operations.CREATE <= kind <= stream_operations.LETTER or kind == MOVE_BLOCKS:
            self.streams.apply(kind, data, start, end, address, self.now)
        elif maps.MAP <= kind <= maps.TIME:
            mapreplay.apply(self.store, kind, data, start, end, self.now)
            if kind == maps.TIME:
                self.pubsub.expire(read_i64_be(data, start), mapreplay.EVERYTHING)
        elif retained.RETAIN <= kind <= retained.FORGET_ALL:
            self.pubsub.kept.apply(kind, data, start, end)
        else:
            raise StorageError(
                f"the log has an operation of kind 0x{kind:02x}, which this version does not know"
            )

    def _apply_batch(self, data: bytes, start: i64, end: i64, address: i64) -> None:
        """Do the operations of a batch across brokers again."""
        position = start
        while position < end:
            body = position + OPERATION_HEAD_BYTES
            after = body + i64(read_i32_be(data, position + 1)) if body <= end else end + 1
            if after > end:
                raise StorageError(f"a batch across brokers at {address} of the log ends inside an operation")
            place = address + body - start if address != 0 else 0
            self.apply(i64(data[position]), data, body, after, place)
            position = after

    def recovered(self) -> None:
        """Every recorded operation has been done again."""
        self.queues.recovered(self.now)
        self.store.recovered(self.now)
        self.pubsub.kept.recovered()
        self.streams.recovered()

    def advance(self) -> i64:
        """Do what is due by now; returns the time of the next deadline (0 = there is none)."""
        now = self.driver.now()
        self.now = now
        deadline = self.store.expire(now, EXPIRE_BUDGET)
        deadline = earlier(deadline, self.pubsub.expire(now, EXPIRE_BUDGET))
        deadline = earlier(deadline, self.requests.expire(now))
        deadline = earlier(deadline, self.queues.advance(now, EXPIRE_BUDGET))
        deadline = earlier(deadline, self.streams.advance(now, EXPIRE_BUDGET))
        self.store.flush_watches()
        return earlier(deadline, self.sleepers.advance(now))


def make_node(
    driver: Driver,
    journal: Journal,
    seed: int = 0,
    memory_max: i64 = 0,
    eviction: str = "reject",
    retained_level: i64 = MEMORY,
) -> Node:
    """A node whose brokers record in this journal; `seed` decides what is drawn at random."""
    return Node(
        driver,
        journal,
        Store(memory_max=memory_max, eviction=eviction, seed=seed, journal=journal),
        PubSub(seed, journal, retained_level),
        Queues(journal, seed),
        Streams(journal, seed),
    )


def earlier(one: i64, other: i64) -> i64:
    """The earlier of two deadlines, where 0 is none."""
    if one == 0:
        return other
    if other == 0 or one < other:
        return one
    return other
