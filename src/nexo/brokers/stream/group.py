"""A consumer group: its members, what they fetch and settle, and those of them who wait.

A member has a consumer id and a generation that is unique in the group, and settles by receipt. Members come
and go without a rebalance. A seek fences all members before it (FencedError: join again); who leaves or is
dropped gives its leases back. What the group still has to do is in its backlog.

Knows neither protocols nor connections: `consumer` is whatever the caller passes, `now` is node time in ms.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.journal import MEMORY
from nexo.brokers.stream import journal as stream_journal
from nexo.brokers.stream.agenda import Scheduled
from nexo.brokers.stream.backlog import Backlog
from nexo.brokers.stream.backoff import backoff
from nexo.brokers.stream.commons import Membership
from nexo.brokers.stream.lag import Lag, lag
from nexo.brokers.stream.leases import Delivery, Pending
from nexo.brokers.stream.letters import DeadLetter
from nexo.brokers.stream.log import StreamLog
from nexo.brokers.stream.waiters import Waiter, Waiting
from nexo.errors import (
    FencedError,
    InvalidArgumentError,
    NotMemberError,
    ResourceNotFoundError,
    ServerError,
)
from nexo.limits import FETCH_RECORDS_MAX, REASON_BYTES_MAX, TTL_MS_MAX

BEGINNING: Final = 0
END: Final = 1
SEQUENCE: Final = 2
TIME: Final = 3

BY_POLICY: Final = -1
"""The delay of a nack that leaves it to the stream's backoff."""

_EXPIRE_BUDGET: Final = 1_000  # leases that a fetch takes back at most; the agenda does the rest
_NO_BOUND: Final = 1 << 62


@final
class Member(Membership):
    """One consumer of one group. The ack floor that a JOIN answers is `group.ack_floor`."""

    __slots__ = ("consumer", "consumer_id", "generation", "group", "waits")

    def __init__(self, group: Group, consumer: object, consumer_id: bytes, generation: i64) -> None:
        self.group = group
        self.consumer = consumer
        self.consumer_id = consumer_id
        self.generation = generation
        self.waits: list[Waiting] = []

    def end(self, now: i64) -> None:
        self.group.drop(self, now)


@final
class Group(Scheduled):
    """One group of one stream. The counters tell what happened since the start of the process."""

    def __init__(self, log: StreamLog, number: i64, name: bytes, now: i64) -> None:
        super().__init__()
        self.log = log
        self.number = number
        self.name = name
        self.backlog = Backlog(log, number)
        self.members: dict[bytes, Member] = {}
        self.generation: i64 = log.commons.journal.numbers_above()
        self.closed = False
        self.recorded_batch = log.commons.journal.batch
        self.idle_since = now
        self.delivered: i64 = 0
        self.acked: i64 = 0
        self.nacked: i64 = 0
        self._agenda = log.commons.agenda
        self._fence: i64 = 0  # members up to this generation are fenced
        self._fenced_members: i64 = 0
        self._gone: dict[int, None] = {}  # members whose leases are to be given back
        self._line: dict[Waiting, None] = {}
        self._moves: list[tuple[int, DeadLetter]] = []  # with the sequence, until that append has settled
        self.schedule_idle()

    # Members.

    def join(self, consumer: object, now: i64) -> Member:
        """Makes a consumer a member, under a generation above all before. Its fenced memberships end."""
        if self._fenced_members > 0:
            for other in list(self.members.values()):
                if other.consumer is consumer and other.generation <= self._fence:
                    self.drop(other, now)
        self.generation += 1
        secret = self.log.commons.random.getrandbits(64)
        consumer_id = f"{self.number}-{self.generation}-{secret:016x}".encode()
        member = Member(self, consumer, consumer_id, self.generation)
        self.members[consumer_id] = member
        self.log.commons.enter(consumer, consumer_id, member)
        stream_journal.write_join(self.log, self.number, self.generation, self.name)
        return member

    def leave(self, consumer_id: bytes, generation: i64, now: i64) -> Member:
        """Ends a membership: its leases come back, and a fetch that waits fails with NotMemberError."""
        member = self.members.get(consumer_id)
        if member is None:
            raise self._not_member(consumer_id)
        if member.generation != generation:
            raise self._fenced(generation)
        self.drop(member, now)
        return member

    def drop(self, member: Member, now: i64) -> None:
        """As `leave`; again is no error."""
        if self.members.pop(member.consumer_id, None) is None:
            return
        self.log.commons.exit(member.consumer, member.consumer_id)
        if member.generation <= self._fence:
            self._fenced_members -= 1
        self._gone[member.generation] = None
        for waiting in member.waits:
            waiting.fail(self._not_member(member.consumer_id))
        self._agenda.rouse(self)
        if not self.members:
            self.idle_since = now
            self.schedule_idle()

    def schedule_idle(self) -> None:
        """A group without members may be deleted after some time."""
        if not self.members and self.log.definition.group_idle_ms != 0:
            self._agenda.sooner(self, self.idle_since + self.log.definition.group_idle_ms)

    def _member(self, consumer_id: bytes, generation: i64) -> Member:
        member = self.members.get(consumer_id)
        if member is None:
            raise self._not_member(consumer_id)
        if member.generation != generation or generation <= self._fence:
            raise self._fenced(generation)
        return member

    def _not_member(self, consumer_id: bytes) -> NotMemberError:
        who = consumer_id.decode(errors="replace")
        return NotMemberError(f"{who} is not a member of group {self.name.decode(errors='replace')}")

    def _fenced(self, generation: i64) -> FencedError:
        return FencedError(f"generation {generation} of group {self.name.decode(errors='replace')} is fenced")

    # Handing out.

    def fetch(
        self, consumer_id: bytes, generation: i64, count: i64, now: i64, bytes_max: i64 = _NO_BOUND
    ) -> list[Delivery]:
        """Leases up to `count` messages, of about `bytes_max` bytes but at least one; none if none may go out.

        Raises NotMemberError, FencedError, and StorageError when the log is damaged there.
        """
        self._member(consumer_id, generation)
        backlog = self.backlog
        self._run(now, _EXPIRE_BUDGET)
        room = min(count, FETCH_RECORDS_MAX, self.log.definition.max_ack_pending - backlog.leases.count)
        if room <= 0:
            return []
        deliveries = backlog.take(generation, room, bytes_max, now)
        if deliveries:
            self.delivered += len(deliveries)
            self._schedule()
        return deliveries

    def wait(
        self,
        waiter: Waiter,
        consumer_id: bytes,
        generation: i64,
        count: i64,
        deadline: i64,
        bytes_max: i64 = _NO_BOUND,
    ) -> Waiting:
        """As `fetch`, but answered at the end of a turn in which something may go out; 0: no deadline."""
        member = self._member(consumer_id, generation)
        waiting = Waiting(waiter, self._line, self._agenda, deadline)
        waiting.fetching = True
        waiting.consumer_id = consumer_id
        waiting.generation = generation
        waiting.count = count
        waiting.bytes_max = bytes_max
        if member.waits:
            member.waits = [one for one in member.waits if one.active]
        member.waits.append(waiting)
        self._agenda.rouse(self)
        return waiting

    def _run(self, now: i64, budget: i64) -> i64:
        """Does what is due before anything is handed out; gives the budget left."""
        if self._gone:
            gone, self._gone = self._gone, {}
            self.backlog.take_back(gone, now)
        return self.backlog.expire(now, budget)

    def _schedule(self) -> None:
        deadline = self.backlog.next_deadline()
        if deadline != 0:
            self._agenda.sooner(self, deadline)

    def due(self, now: i64) -> i64:
        """Leases run out, delays end, a group that nobody uses is deleted."""
        self._agenda.left = self._run(now, self._agenda.left)
        if self._line:
            self._agenda.rouse(self)
        idle_ms = self.log.definition.group_idle_ms
        if not self.members and idle_ms != 0:
            if self.idle_since + idle_ms <= now:
                self.log.group_idle(self.name, now)
                return 0
            self.schedule_idle()
        return self.backlog.next_deadline()

    def serve(self, now: i64) -> None:
        """Hands out to those who wait, in the order of their coming."""
        self._run(now, _EXPIRE_BUDGET)
        for waiting in list(self._line):
            if not waiting.active:
                continue
            try:
                deliveries = self.fetch(
                    waiting.consumer_id, waiting.generation, waiting.count, now, waiting.bytes_max
                )
            except ServerError as error:
                waiting.fail(error)
                continue
            if not deliveries:
                break
            waiting.end()
            waiting.waiter.delivered(deliveries)
        self._schedule()

    def appended(self) -> None:
        """There is more in the stream."""
        if self._moves:
            last_seq = self.log.last_seq
            self._moves = [move for move in self._moves if move[0] > last_seq]
        if self._line:
            self._agenda.rouse(self)

    # Settling.

    def ack(self, consumer_id: bytes, generation: i64, seq: i64, token: i64, now: i64) -> None:
        """Settles a message.

        Raises NotMemberError, and FencedError for a receipt that is no longer the valid one.
        """
        self._member(consumer_id, generation)
        pending = self.backlog.held(generation, seq, token)
        if pending is None:
            raise _superseded(seq)
        stream_journal.write_settled(self.log, self.number, seq, 1)
        self.acked += 1
        self.backlog.settle(pending, now)
        if self._line:
            self._agenda.rouse(self)

    # An ack in a batch across brokers: the receipt is void at once, the message is settled when the batch is durable.

    def lent(self, consumer_id: bytes, generation: i64, seq: i64, token: i64) -> Pending:
        """The message of a receipt. Raises what `ack` does."""
        self._member(consumer_id, generation)
        pending = self.backlog.held(generation, seq, token)
        if pending is None:
            raise _superseded(seq)
        return pending

    def begin_ack(self, pending: Pending) -> None:
        """Records that a message is settled, and keeps it back until one of the next two is called."""
        stream_journal.write_settled(self.log, self.number, pending.seq, 1)
        self.backlog.hold(pending)

    def end_ack(self, pending: Pending, now: i64) -> None:
        """The batch is durable."""
        if self._between(pending):
            self.acked += 1
            self.backlog.settle(pending, now)
            self.appended()

    def undo_ack(self, pending: Pending) -> None:
        """The batch could not be stored: the message is handed out again."""
        if self._between(pending):
            self.backlog.let_go(pending)
            self.appended()

    def _between(self, pending: Pending) -> bool:
        """Whether it still waits: the group may have been deleted, or have sought another place, meanwhile."""
        return not self.closed and self.backlog.pending.get(pending.seq) is pending

    def ack_many(
        self, consumer_id: bytes, generation: i64, seqs: list[int], tokens: list[int], now: i64
    ) -> list[int]:
        """Settles messages; gives the sequences of those that `ack` would refuse as fenced."""
        self._member(consumer_id, generation)
        refused: list[int] = []
        done: list[int] = []
        place: i64 = 0
        backlog = self.backlog
        while place < len(seqs):
            seq: i64 = seqs[place]
            pending = backlog.held(generation, seq, tokens[place])
            if pending is None:
                refused.append(seq)
            else:
                done.append(seq)
                backlog.settle(pending, now)
            place += 1
        if done:
            self.acked += len(done)
            stream_journal.write_settled_many(self.log, self.number, done)
        if self._line:
            self._agenda.rouse(self)
        return refused

    def nack(
        self,
        consumer_id: bytes,
        generation: i64,
        seq: i64,
        token: i64,
        reason: bytes,
        delay_ms: i64,
        now: i64,
        release: bool = False,
    ) -> None:
        """Gives a message back, to come again after a delay (-1: what the backoff says) or to be given up.

        With `release` the delivery does not count, and -1 is at once. Raises as `ack`, and InvalidArgumentError
        for a delay that is none.
        """
        if self.nack_many(consumer_id, generation, [seq], [token], reason, delay_ms, now, release):
            raise _superseded(seq)

    def nack_many(
        self,
        consumer_id: bytes,
        generation: i64,
        seqs: list[int],
        tokens: list[int],
        reason: bytes,
        delay_ms: i64,
        now: i64,
        release: bool = False,
    ) -> list[int]:
        """As `nack` for each; gives the sequences of those that it would refuse as fenced."""
        if not BY_POLICY <= delay_ms <= TTL_MS_MAX:
            raise InvalidArgumentError(f"delay_ms {delay_ms}: it is 0 to {TTL_MS_MAX}")
        self._member(consumer_id, generation)
        refused: list[int] = []
        for place, seq in enumerate(seqs):
            pending = self.backlog.held(generation, seq, tokens[place])
            if pending is None:
                refused.append(seq)
            else:
                self._give_back(pending, reason, delay_ms, release, now)
        self._schedule()
        if self._line:
            self._agenda.rouse(self)
        return refused

    def _give_back(self, pending: Pending, reason: bytes, delay_ms: i64, release: bool, now: i64) -> None:
        if release:
            pending.attempts -= 1
        elif delay_ms < 0:
            delay_ms = backoff(self.log.definition, pending.attempts, self.log.commons.random)
        self.nacked += 1
        due = now + delay_ms if delay_ms > 0 else 0
        self.backlog.give_back(pending, reason[:REASON_BYTES_MAX], due, now)

    # Position.

    def seek(self, kind: i64, value: i64, now: i64) -> None:
        """Starts again at the beginning, the end, a sequence or a time (ms); out of range is clamped.

        Fences all members, and forgets attempts; dead letters stay.
        """
        log = self.log
        if kind == BEGINNING:
            seq = log.first_seq
        elif kind == END:
            seq = log.last_seq + 1
        elif kind == SEQUENCE:
            seq = max(log.first_seq, min(value, log.last_seq + 1))
        elif kind == TIME:
            seq = log.seq_at_time(value)
        else:
            raise InvalidArgumentError(f"there is no seek of kind {kind}")
        self.generation += 1
        self.restart(seq - 1, self.generation)
        stream_journal.write_seek(log, self.number, seq - 1, self.generation)
        for waiting in list(self._line):
            waiting.fail(self._fenced(waiting.generation))

    def recovered(self) -> None:
        """The replay is over: generations, receipts and places of dead letters go on above any of an earlier life."""
        above = self.log.commons.journal.numbers_above()
        self.generation = max(self.generation, above)
        self.backlog.leases.token = above
        self.backlog.letters.restarted(above)

    def restart(self, floor: i64, generation: i64) -> None:
        """Goes on after a sequence, with members above a generation only."""
        self.generation = max(self.generation, generation)
        self._fence = generation
        self._fenced_members = len(self.members)
        self._gone = {}
        self.backlog.seek(floor)

    @property
    def ack_floor(self) -> i64:
        """Everything up to this sequence is settled."""
        return self.backlog.settled.floor

    def lag(self, now: i64) -> Lag:
        """How far the group is behind what is visible."""
        return lag(self.log, self.backlog.settled, now)

    # Dead letters.

    def peek(self, offset: i64, limit: i64) -> list[DeadLetter]:
        """`limit` dead letters after the first `offset`, in the order in which they died."""
        return self.backlog.letters.page(offset, limit)

    def dead_after(self, serial: i64, limit: i64) -> list[DeadLetter]:
        """As `peek`, but those after the letter with this `serial`, whether it is still there or not."""
        return self.backlog.letters.following(serial, limit)

    def move_to_stream(self, seq: i64, now: i64) -> i64:
        """Appends a dead letter's record to the stream again and removes it; gives the new sequence.

        When the append is refused for want of room, the letter is there again: see `withdrawn`.
        Raises ResourceNotFoundError.
        """
        letter = self.backlog.letters.get(seq)
        if letter is None:
            raise ResourceNotFoundError(
                f"group {self.name.decode(errors='replace')} has no dead letter with sequence {seq}"
            )
        record = letter.contents()
        again = self.log.append(record.key, record.value, record.headers, now)
        self.backlog.letters.take(seq)
        stream_journal.write_moved(self.log, self.number, seq)
        if self.log.commons.journal.keeping and self.log.definition.durability != MEMORY:
            self._moves.append((int(again), letter))
        return again

    def withdrawn(self, from_seq: i64) -> None:
        """Appends from a sequence on never were: letters that were moved by them are back."""
        if self._moves:
            for seq, letter in self._moves:
                if seq >= from_seq:
                    self.backlog.letters.restore(letter)
            self._moves = [move for move in self._moves if move[0] < from_seq]

    def delete(self, seq: i64) -> bool:
        """Removes a dead letter; False when there is none of that sequence."""
        if self.backlog.letters.take(seq) is None:
            return False
        stream_journal.write_bury(self.log, self.number, seq)
        return True

    def purge(self) -> i64:
        """Removes all dead letters; how many. One that is being moved does not come back either."""
        self._moves = []
        count = self.backlog.letters.clear()
        if count > 0:
            stream_journal.write_bury(self.log, self.number, 0)
        return count

    def close(self, error: ServerError) -> None:
        """The group is gone: those who wait are told, and nothing is due any more."""
        self.closed = True
        self._agenda.schedule(self, 0)
        for waiting in list(self._line):
            waiting.fail(error)
        for member in self.members.values():
            self.log.commons.exit(member.consumer, member.consumer_id)
        self.members = {}


def _superseded(seq: i64) -> FencedError:
    return FencedError(f"the lease of sequence {seq} has ended, or the receipt is another's")
