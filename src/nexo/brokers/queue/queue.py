"""One queue: messages are pushed, lent to consumers, and acknowledged or given back.

Composes the modules beside it: intake (what comes in), lending (what is out), admin (what an operator does).
Owns who waits, and what is done when time has passed. It knows no protocol and no socket, reads no clock
(`now` is node time in ms) and does nothing by itself: see Queues.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.queue import admin
from nexo.brokers.queue.consumers import Consumer, Holding, Waiter
from nexo.brokers.queue.dead import DeadFilter, DeadLetter
from nexo.brokers.queue.intake import Intake
from nexo.brokers.queue.lending import RAN_OUT, Lending
from nexo.brokers.queue.message import Delivery, Item, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.brokers.queue.records import REMOVE_DEAD
from nexo.errors import LimitExceededError, ResourceNotFoundError, StorageError
from nexo.limits import DELIVERIES_PER_RECEIVE_MAX


@final
class Queue:
    """One queue. Its parts are for the modules of this package."""

    __slots__ = ("closed", "intake", "lending", "parts")

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.intake = Intake(parts)
        self.lending = Lending(parts)
        self.closed = False

    @property
    def name(self) -> bytes:
        return self.parts.name

    @property
    def number(self) -> i64:
        return self.parts.number

    # Pushing.

    def push(self, value: bytes, priority: i64, now: i64) -> i64:
        """Pushes a plain value; gives the message's id.

        Raises InvalidArgumentError, and LimitExceededError when the queue is full and rejects.
        """
        return self.intake.push(value, priority, now)

    def push_item(self, item: Item, now: i64) -> i64:
        """Pushes one message; errors as `push`."""
        return self.intake.push_many([item], now)[0]

    def push_many(self, items: list[Item], now: i64) -> list[i64]:
        """Pushes all or none; gives the id of each. One with a known dedup key is not pushed again: its
        `duplicate` is set, and its id is that of the first."""
        return self.intake.push_many(items, now)

    @property
    def newest_batch(self) -> i64:
        """The batch of the journal whose settling confirms every push so far; 0 = all are confirmed."""
        return self.intake.newest_batch()

    # Lending.

    def receive(self, count: i64, consumer: Consumer, now: i64) -> list[Delivery]:
        """Lends up to `count` messages for the visibility timeout; [] when there are none at the moment.

        Stops before the bodies pass DELIVERY_BYTES_MAX, but gives at least one. Raises StorageError when
        the body of the next one cannot be read.
        """
        if not 0 < count <= DELIVERIES_PER_RECEIVE_MAX:
            raise LimitExceededError(
                f"a receive is for 1 to DELIVERIES_PER_RECEIVE_MAX ({DELIVERIES_PER_RECEIVE_MAX}) messages, "
                f"not {count}"
            )
        parts = self.parts
        if parts.paused_until != 0:
            return []
        room = self.lending.room()
        if room < count:
            count = room
        if count <= 0 or parts.backlog.ready.count == 0:
            return []
        return self.lending.lend(count, self.lending.holding(consumer), now)

    def ack(self, id: i64, token: i64, now: i64) -> i64:
        """The message is done: DONE, REPEATED, or FENCED (see lending.py)."""
        return self.lending.ack(id, token)

    def ack_many(self, ids: list[i64], tokens: list[i64], now: i64) -> list[i64]:
        """As `ack` for each; gives the outcomes."""
        return self.lending.ack_many(ids, tokens)

    def nack(self, id: i64, token: i64, reason: bytes, mode: i64, delay_ms: i64, now: i64) -> i64:
        """The message was not handled: DONE (it will come back), DIED, or FENCED.

        `mode` is FAILED, RELEASE or FATAL; `delay_ms` BY_POLICY or a delay of its own.
        """
        return self.lending.nack(id, token, reason, mode, delay_ms, now)

    def extend(self, id: i64, token: i64, ms: i64, now: i64) -> i64:
        """Lets a lease run out `ms` from now; gives its deadline, FENCED (0) when it has ended."""
        return self.lending.extend(id, token, ms, now)

    def take_back(self, holding: Holding, now: i64) -> None:
        """The consumer has gone: what was lent to it comes back at once. The attempts count."""
        self.lending.take_back(holding, now)

    # Waiting.

    def wait(self, waiter: Waiter, consumer: Consumer, count: i64, deadline: i64) -> None:
        """Lets a waiter have up to `count` messages as soon as there are any; see Waiter."""
        if not 0 < count <= DELIVERIES_PER_RECEIVE_MAX:
            raise LimitExceededError(
                f"a receive is for 1 to DELIVERIES_PER_RECEIVE_MAX ({DELIVERIES_PER_RECEIVE_MAX}) messages, "
                f"not {count}"
            )
        self.parts.waiters.join(waiter, consumer, self.parts.number, count, deadline)
        self.parts.due(deadline)
        if self.parts.backlog.ready.count > 0:
            self.parts.wake()

    def cancel(self, waiter: Waiter) -> bool:
        """The waiter waits no longer, and is not told; whether it did."""
        if waiter.consumer is None or waiter.queue_number != self.parts.number:
            return False
        self.parts.waiters.leave(waiter)
        return True

    def serve(self, now: i64) -> None:
        """Lends what is ready to those who wait, in turn, each a fair share of what there is."""
        parts = self.parts
        waiters = parts.waiters
        parts.slept()
        while len(waiters) > 0 and not self.closed:
            served = False
            for ticket in waiters.in_turn():
                available = min(self.lending.room(), parts.backlog.ready.count)
                if available <= 0 or parts.paused_until != 0:
                    return
                waiter = waiters.get(ticket)
                if waiter is None or waiter.consumer is None:
                    continue
                waiting: i64 = len(waiters)
                count = min(waiter.count, (available + waiting - 1) // waiting)
                try:
                    deliveries = self.lending.lend(count, self.lending.holding(waiter.consumer), now)
                except StorageError as error:
                    waiters.leave(waiter)
                    waiter.failed(error)
                    served = True
                    continue
                if deliveries:
                    waiters.leave(waiter)
                    waiter.delivered(deliveries)
                    served = True
            if not served:
                return

    # Time.

    def advance(self, now: i64, budget: i64) -> i64:
        """Does what is due, in a bounded portion; gives what is left of the budget, 0 = there may be more."""
        parts = self.parts
        parts.alarmed()
        if 0 < parts.paused_until <= now:
            admin.resume(parts)
        for waiter in parts.waiters.late(now, budget):
            if waiter.consumer is not None:
                budget -= 1
                parts.waiters.leave(waiter)
                waiter.timed_out()
        if budget > 0:
            late = parts.leases.run_out(now, budget)
            budget -= len(late)
            self.lending.end_counted(late, RAN_OUT, True, now)
        if budget > 0 and parts.backlog.delayed > 0:
            budget = parts.backlog.mature(now, budget)
            parts.wake()
        if budget > 0:
            expired = parts.backlog.expired(now, budget)
            budget -= len(expired)
            parts.expire(expired, now)
        if budget > 0:
            budget = parts.dedup.expire(now, budget)
        if budget > 0:
            born = now - parts.definition.dead_retention_ms + 1
            old = parts.dead.outlived(born, parts.definition.dead_letters_max, budget)
            budget -= len(old)
            parts.discard_dead(old)
        return budget

    # An operator's view; admin.py says more.

    def describe(self) -> dict[str, object]:
        """The definition, what the queue holds, and its counters."""
        return admin.describe(self.parts, self.intake)

    def browse(self, state: i64, after: i64, limit: i64) -> admin.Page:
        """Messages in a state (READY, HELD, DELAYED, LEASED) with ids above `after`, in their order."""
        return admin.browse(self.parts, state, after, limit)

    def get(self, id: i64) -> QueueMessage | None:
        """A message by its id, wherever it waits; None when it is gone or dead."""
        return self.parts.backlog.index.get(id)

    def view(self, message: QueueMessage) -> QueueMessage:
        """The same with its body, which is read from the log if need be. Raises StorageError."""
        return self.parts.backlog.bodies.view(message)

    def remove(self, id: i64) -> bool:
        """Deletes a message that is not dead, whoever holds it; cancels a delayed one. Whether there was one."""
        return admin.remove(self.parts, self.intake, id)

    def purge(self) -> i64:
        """Deletes all messages but the dead letters, lent and staged ones, too; how many."""
        return admin.purge(self.parts, self.intake)

    def pause(self, until: i64) -> None:
        """Lends no more messages until a time, or -1 for until `resume`."""
        admin.pause(self.parts, until)

    def resume(self) -> None:
        """Ends a pause."""
        admin.resume(self.parts)

    # Dead letters.

    @property
    def dead_count(self) -> i64:
        return len(self.parts.dead)

    def peek(self, limit: i64, offset: i64) -> list[DeadLetter]:
        """Dead letters in the order of their deaths; `view` gives the body of `letter.message`."""
        return self.parts.dead.peek(limit, offset)

    def dead_after(self, serial: i64, limit: i64) -> list[DeadLetter]:
        """As `peek`, but those after the letter with this `serial`, whether it is still there or not."""
        return self.parts.dead.following(serial, limit)

    def redrive(self, id: i64, now: i64) -> i64:
        """Makes a dead letter a new message at the end of the queue; gives the new id, 0 for no such letter.

        One whose push is not durable yet cannot be redriven.
        """
        letter = self.parts.dead.get(id)
        if letter is None or int(id) in self.intake.buried:
            return 0
        return admin.redrive(self.parts, [letter], now)[0]

    def redrive_some(
        self, filter: DeadFilter, after: i64, until: i64, budget: i64, now: i64
    ) -> admin.Redriven:
        """The same for those that match, in slices: looks at `budget` letters with serials after `after`."""
        return admin.redrive_some(self.parts, self.intake, filter, after, until, budget, now)

    def delete_dead(self, id: i64) -> bool:
        """Deletes a dead letter; whether there was one."""
        letter = self.parts.dead.get(id)
        if letter is None:
            return False
        self.parts.discard_dead([letter])
        return True

    def purge_dead(self) -> i64:
        """Deletes all dead letters; how many."""
        count: i64 = len(self.parts.dead)
        if count > 0:
            self.parts.empty_dead()
            self.parts.records.ids(REMOVE_DEAD, [])
        return count

    def close(self) -> None:
        """The queue was deleted: those who wait are told."""
        self.closed = True
        waiters = self.parts.waiters
        for ticket in waiters.in_turn():
            waiter = waiters.get(ticket)
            if waiter is not None:
                waiters.leave(waiter)
                waiter.failed(ResourceNotFoundError(f"queue {self.parts.title} was deleted"))
