"""What a consumer group still has to do: where it is in the stream, and what it has out.

Messages below the cursor are settled, pending or held back by their key; those above it were never looked
at. What is to be delivered again goes first, then what follows the cursor. A message of a key goes out when
the one before is settled (acked, or given up as a dead letter); others pass it by.

All that must outlive a restart goes to the journal: what was handed out (for the count of attempts), settled,
put off, given up. Leases do not: after a restart everything above the floor is looked at again, and the
attempts are known.

Knows neither members nor those who wait; a *holder* is the number of a member.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, final

from librt.strings import read_i32_be
from mypy_extensions import i64

from nexo.brokers.stream import journal as stream_journal
from nexo.brokers.stream.keys import KeyOrder
from nexo.brokers.stream.leases import DELAYED, KNOWN, LEASED, READY, Delivery, Leases, Pending
from nexo.brokers.stream.letters import DeadLetter, DeadLetters
from nexo.brokers.stream.log import StreamLog
from nexo.brokers.stream.records import body_end, key_at, key_size, record_end, skip
from nexo.brokers.stream.settled import Settled
from nexo.errors import StorageError
from nexo.limits import GROUP_UNSETTLED_MAX, KEY_BLOCKED_MAX

LEASE_RAN_OUT: Final = b"the lease ran out"
CONSUMER_LEFT: Final = b"the consumer left"
RESTARTED: Final = b"the broker restarted"


@final
class Backlog:
    """The messages of one group. `floor` is in `settled`; `pending` holds no settled one."""

    def __init__(self, log: StreamLog, group: i64) -> None:
        self.log = log
        self.group = group
        self.settled = Settled(0)
        self.letters = DeadLetters()
        self.pending: dict[int, Pending] = {}
        self.leases = Leases(log.commons.journal.numbers_above())
        self.redelivered: i64 = 0
        self.expired: i64 = 0  # leases that ran out
        self.dead: i64 = 0
        self.missed: i64 = 0  # messages that retention took before they were settled
        self._cursor: i64 = 1
        self._known_to: i64 = 0  # up to here messages may be settled or known although the cursor is below
        self._offset_seq: i64 = 0  # the record of this sequence begins at `_offset` of its block
        self._offset: i64 = 0
        self._keys = KeyOrder()
        self._ready: list[int] = []  # a heap; an entry counts if its message is in that state
        self._delayed: list[tuple[int, int]] = []  # the same, by the time at which they are due

    # Handing out.

    def take(self, holder: i64, room: i64, bytes_max: i64, now: i64) -> list[Delivery]:
        """Leases up to `room` messages, of about `bytes_max` bytes but at least one, as far as may go out.

        Raises StorageError when the log is damaged at the first.
        """
        out: list[Delivery] = []
        try:
            if self._ready:
                bytes_max -= self._take_again(holder, room, now, bytes_max, out)
            if len(out) < room:
                self._take_new(holder, room, now, bytes_max, out)
        except StorageError:
            if not out:
                raise
        if out:
            stream_journal.write_delivered(self.log, self.group, out)
        return out

    def _take_again(self, holder: i64, room: i64, now: i64, bytes_max: i64, out: list[Delivery]) -> i64:
        """Hands out what comes again, the lowest first; gives the bytes that this took."""
        log = self.log
        taken: i64 = 0
        while self._ready and len(out) < room:
            seq: i64 = self._ready[0]
            pending = self.pending.get(seq)
            if pending is None or pending.state != READY:
                heappop(self._ready)
                continue
            if seq < log.first_seq:
                heappop(self._ready)
                self._forget(pending, now)
                continue
            block, first = log.blocks.at(seq)
            start = skip(block, 0, seq - first)
            stop = body_end(block, start)
            end = record_end(block, start)
            if taken + end - start > bytes_max and out:
                break
            heappop(self._ready)
            taken += end - start
            self.redelivered += 1 if pending.attempts > 0 else 0
            self.leases.start(pending, holder, now + log.definition.ack_wait_ms)
            out.append(Delivery(seq, pending.token, pending.attempts, block, start, stop, end))
        return taken

    def _take_new(self, holder: i64, room: i64, now: i64, bytes_max: i64, out: list[Delivery]) -> None:
        """Hands out what follows the cursor, and moves it."""
        log = self.log
        deadline = now + log.definition.ack_wait_ms
        taken: i64 = 0
        if self._cursor < log.first_seq:
            self._skip_missed()
        while self._cursor <= log.last_seq and len(out) < room:
            if self._cursor <= self._known_to:
                self._cursor = self.settled.after(self._cursor)
                if self._cursor > log.last_seq:
                    break
            block, seq = log.blocks.at(self._cursor)
            start = self._offset
            if self._offset_seq != self._cursor:
                start = skip(block, 0, self._cursor - seq)
            size: i64 = len(block)
            seq = self._cursor
            while start < size and len(out) < room:
                if len(self.pending) >= GROUP_UNSETTLED_MAX or self._keys.blocked >= KEY_BLOCKED_MAX:
                    return
                if seq <= self._known_to and self.settled.has(seq):
                    break  # the outer loop passes over the whole run
                stop = body_end(block, start)
                end = stop + 4 + i64(read_i32_be(block, stop))
                if taken + end - start > bytes_max and out:
                    return
                key = key_at(block, start) if key_size(block, start) > 0 else b""
                self._cursor = seq + 1
                self._offset_seq = seq + 1
                self._offset = end if end < size else 0
                pending = self._meet(seq, key, now)
                if pending is not None:
                    taken += end - start
                    self.leases.start(pending, holder, deadline)
                    out.append(Delivery(seq, pending.token, pending.attempts, block, start, stop, end))
                start = end
                seq += 1

    def _meet(self, seq: i64, key: bytes, now: i64) -> Pending | None:
        """The cursor is at a message that is not settled: gives it if it may go out at once."""
        pending: Pending | None = None
        if seq <= self._known_to:
            pending = self.pending.get(seq)
            if pending is not None:
                pending.key = key
        if key and not self._keys.hold(key, seq):
            return None
        if pending is None:
            pending = Pending(seq, key, 0, READY)
            self.pending[seq] = pending
            return pending
        limit = self.log.definition.max_deliveries
        if pending.deadline > now or (limit != 0 and pending.attempts >= limit):
            self.release(pending, pending.deadline, pending.reason or RESTARTED, now)
            return None
        self.redelivered += 1 if pending.attempts > 0 else 0
        return pending

    def _skip_missed(self) -> None:
        """Retention was faster: what it took counts as settled."""
        first = self.log.first_seq
        seq = self._cursor
        while seq < first:
            if seq > self._known_to:
                self.missed += first - seq
                break
            after = self.settled.after(seq)
            if after == seq:
                self.missed += 1
                self.pending.pop(seq, None)
                after = seq + 1
            seq = after
        self.settled.add_run(self._cursor, first - 1)
        stream_journal.write_settled(self.log, self.group, self._cursor, first - self._cursor)
        self._cursor = first

    # Settling.

    def held(self, holder: i64, seq: i64, token: i64) -> Pending | None:
        """The message, if this receipt is valid; that of a lease that ran out is until it goes out again."""
        pending = self.pending.get(seq)
        if pending is None or token == 0 or pending.token != token or pending.holder != holder:
            return None
        return pending

    def end_lease(self, pending: Pending) -> None:
        if pending.state == LEASED:
            pending.state = KNOWN
            self.leases.count -= 1

    def settle(self, pending: Pending, now: i64) -> None:
        """A message is done with; the next of its key may go."""
        self.end_lease(pending)
        pending.state = KNOWN
        del self.pending[pending.seq]
        self.settled.add(pending.seq)
        if pending.key:
            seq = self._keys.release(pending.key)
            if seq != 0:
                following = self.pending.get(seq)
                if following is None:
                    following = Pending(seq, pending.key, 0, READY)
                    self.pending[seq] = following
                self.release(following, following.deadline, following.reason or RESTARTED, now)

    def hold(self, pending: Pending) -> None:
        """Keeps a message from going out again, until it is settled or let go. No receipt is valid meanwhile."""
        self.end_lease(pending)
        pending.state = KNOWN
        pending.token = 0

    def let_go(self, pending: Pending) -> None:
        """A message that was held comes again at once."""
        pending.state = READY
        heappush(self._ready, pending.seq)

    def give_back(self, pending: Pending, reason: bytes, due: i64, now: i64) -> None:
        """A consumer could not process a message: it comes again when it is due, or is given up."""
        self.end_lease(pending)
        pending.token = 0
        pending.reason = reason
        self.release(pending, due, reason, now)
        if pending.seq in self.pending:
            stream_journal.write_retry(self.log, self.group, pending, due)

    def release(self, pending: Pending, due: i64, reason: bytes, now: i64) -> None:
        """A message that is not leased comes again, at once or when it is due, or is given up."""
        limit = self.log.definition.max_deliveries
        if limit != 0 and pending.attempts >= limit:
            self._give_up(pending, reason, now)
            return
        if due > now:
            pending.state = DELAYED
            pending.deadline = due
            heappush(self._delayed, (due, pending.seq))
            return
        pending.state = READY
        heappush(self._ready, pending.seq)

    def _give_up(self, pending: Pending, reason: bytes, now: i64) -> None:
        """Makes a message a dead letter; one whose record is gone already is counted as missed."""
        log = self.log
        record = b""
        if pending.seq >= log.first_seq:
            try:
                block, first = log.blocks.at(pending.seq)
                start = skip(block, 0, pending.seq - first)
                record = block[start : record_end(block, start)]
            except StorageError:
                pass  # damaged: whoever reads there is told; here it must not stop the clock
        if record:
            letter = DeadLetter(pending.seq, pending.attempts, now, reason, record)
            self.letters.add(letter)
            self.dead += 1
            stream_journal.write_dead(log, self.group, letter)
            self.settle(pending, now)
        else:
            self._forget(pending, now)

    def _forget(self, pending: Pending, now: i64) -> None:
        """The record of a message is gone."""
        self.missed += 1
        stream_journal.write_settled(self.log, self.group, pending.seq, 1)
        self.settle(pending, now)

    # Time, and members that leave.

    def expire(self, now: i64, budget: i64) -> i64:
        """Takes back leases that ran out, and lets go what was put off until now; gives the budget left."""
        while budget > 0:
            pending = self.leases.first()
            if pending is None or pending.deadline > now:
                break
            budget -= 1
            self.expired += 1
            self.end_lease(pending)
            self.release(pending, 0, LEASE_RAN_OUT, now)
        while budget > 0 and self._delayed and self._delayed[0][0] <= now:
            budget -= 1
            due, seq = heappop(self._delayed)
            pending = self.pending.get(seq)
            if pending is not None and pending.state == DELAYED and pending.deadline == due:
                self.release(pending, 0, pending.reason, now)
        return budget

    def next_deadline(self) -> i64:
        """When `expire` has something to do; 0 for never."""
        pending = self.leases.first()
        deadline: i64 = 0 if pending is None else pending.deadline
        if self._delayed:
            due: i64 = self._delayed[0][0]
            if deadline == 0 or due < deadline:
                deadline = due
        return deadline

    def take_back(self, holders: dict[int, None], now: i64) -> None:
        """Ends the leases of members that have gone; their receipts are void."""
        for pending in self.leases.of(holders):
            self.end_lease(pending)
            pending.token = 0
            self.release(pending, 0, CONSUMER_LEFT, now)

    def seek(self, floor: i64) -> None:
        """Starts again after a sequence: nothing is out, nothing above it is settled, attempts count anew."""
        self.settled.reset(floor)
        self.pending = {}
        self.leases.clear()
        self._keys = KeyOrder()
        self._ready = []
        self._delayed = []
        self._cursor = floor + 1
        self._known_to = 0

    # Snapshots and replay.

    def known(self, seq: i64) -> Pending | None:
        """A message that was handed out before, and is not settled. A release may have left it no attempts."""
        pending = self.pending.get(seq)
        return pending if pending is not None and (pending.attempts > 0 or put_off(pending) != 0) else None

    def know(self, seq: i64, attempts: i64, due: i64, reason: bytes) -> None:
        """A message was handed out before a restart, and put off until `due` if that is not 0."""
        if not self.settled.has(seq):
            pending = Pending(seq, b"", attempts, KNOWN)
            pending.deadline = due
            pending.reason = reason
            self.pending[seq] = pending
            self._known_to = max(self._known_to, seq)

    def know_settled(self, first: i64, count: i64) -> None:
        """Messages were settled before a restart."""
        last = first + count - 1
        self.settled.add_run(first, last)
        if count < len(self.pending):
            seq = first
            while seq <= last:
                self.pending.pop(seq, None)
                seq += 1
        else:
            for seq in [one for one in self.pending if first <= one <= last]:
                del self.pending[seq]
        self._known_to = max(self._known_to, last)
        self._cursor = self.settled.floor + 1


def put_off(pending: Pending) -> i64:
    """Until when it is put off; 0: it is not."""
    return pending.deadline if pending.state == DELAYED or pending.state == KNOWN else 0
