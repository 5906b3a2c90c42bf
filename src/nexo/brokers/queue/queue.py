"""One queue: messages are pushed, lent to consumers, and acknowledged or given back.

Owns the lending: leases, attempts, what becomes of a message that comes back, and who waits for one. It
composes the modules beside it; what an operator does with a queue is in admin.py. It knows no protocol and
no socket, reads no clock (`now` is node time in ms) and does nothing by itself: see Queues.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.queue import admin
from nexo.brokers.queue.consumers import Consumer, Holding, Waiter
from nexo.brokers.queue.dead import DeadFilter, DeadLetter
from nexo.brokers.queue.intake import Intake
from nexo.brokers.queue.message import Delivery, Item, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.brokers.queue.records import ACK, REMOVE_DEAD
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError, StorageError
from nexo.limits import (
    DELIVERIES_PER_RECEIVE_MAX,
    DELIVERY_BYTES_MAX,
    LEASE_MS_MAX,
    REASON_BYTES_MAX,
    TTL_MS_MAX,
)

# Answers to an acknowledgement, a refusal or an extension.
FENCED: Final = 0
"""The lease has ended: it ran out, was given back, or the message is gone. Nothing has changed."""
DONE: Final = 1
REPEATED: Final = 2
"""This delivery was acknowledged before: the answer had been lost."""
DIED: Final = 3
"""The refusal was the last: the message is a dead letter."""

# How a message is refused.
FAILED: Final = 0
"""The attempt counts; the queue's backoff applies unless a delay is given."""
RELEASE: Final = 1
"""The attempt does not count, and the message comes back at once unless a delay is given."""
FATAL: Final = 2
"""No further attempt: a dead letter at once."""

BY_POLICY: Final = -1
"""The delay of a refusal that leaves it to the queue."""

RAN_OUT: Final = b"lease expired: neither acknowledged nor extended in time"
DISCONNECTED: Final = b"lease ended: its consumer disconnected"
REFUSED: Final = b"refused without a reason"


@final
class Queue:
    """One queue. Its parts are for the modules of this package."""

    __slots__ = ("closed", "intake", "parts")

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.intake = Intake(parts)
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
        room = self._room()
        if room < count:
            count = room
        if count <= 0 or parts.backlog.ready.count == 0:
            return []
        return self._lend(count, self._holding(consumer), now)

    def _room(self) -> i64:
        """How many messages may be lent beside those that are."""
        room = self.parts.definition.in_flight_max
        if room == 0:
            return DELIVERIES_PER_RECEIVE_MAX
        return room - self.parts.leases.count

    def _lend(self, count: i64, holding: Holding, now: i64) -> list[Delivery]:
        parts = self.parts
        backlog = parts.backlog
        leases = parts.leases
        deliveries: list[Delivery] = []
        expired: list[QueueMessage] = []
        deadline = now + parts.definition.visibility_timeout_ms
        size: i64 = 0
        again: i64 = 0
        try:
            while len(deliveries) < count:
                message = backlog.take()
                if message is None:
                    break
                if message.expires_at != 0 and message.expires_at <= now:
                    expired.append(message)
                    continue
                size += message.size
                if size > DELIVERY_BYTES_MAX and deliveries:
                    backlog.ready.add(message)
                    break
                if message.attempts > 0:
                    again += 1
                message.attempts += 1
                delivery = Delivery(message, leases.next_token, deadline, holding)
                leases.add(delivery)
                holding.add(delivery)
                deliveries.append(delivery)
        except StorageError:
            if not deliveries:
                raise
        if expired:
            parts.expire(expired, now)
        if deliveries:
            parts.records.delivered(deliveries)
            parts.counters.delivered += len(deliveries)
            parts.counters.redelivered += again
            parts.due(deadline)
        return deliveries

    def _holding(self, consumer: Consumer) -> Holding:
        holding = consumer.holdings.get(int(self.parts.number))
        if holding is None:
            holding = Holding(consumer)
            consumer.holdings[int(self.parts.number)] = holding
        return holding

    # The end of a lease.

    def ack(self, id: i64, token: i64, now: i64) -> i64:
        """The message is done: DONE, REPEATED, or FENCED."""
        parts = self.parts
        delivery = parts.leases.find(id, token)
        if delivery is None:
            return REPEATED if parts.leases.was_acked(token) else FENCED
        message = delivery.message
        parts.leases.end(delivery, True)
        parts.records.acked(id)
        parts.backlog.finish(message)
        parts.counters.acked += 1
        self._freed(message)
        return DONE

    def ack_many(self, ids: list[i64], tokens: list[i64], now: i64) -> list[i64]:
        """As `ack` for each; gives the outcomes."""
        parts = self.parts
        if len(ids) > DELIVERIES_PER_RECEIVE_MAX:
            raise LimitExceededError(
                f"DELIVERIES_PER_RECEIVE_MAX ({DELIVERIES_PER_RECEIVE_MAX}) is below {len(ids)} acknowledgements"
            )
        outcomes: list[i64] = []
        done: list[i64] = []
        for place, id in enumerate(ids):
            delivery = parts.leases.find(id, tokens[place])
            if delivery is None:
                outcomes.append(REPEATED if parts.leases.was_acked(tokens[place]) else FENCED)
                continue
            message = delivery.message
            parts.leases.end(delivery, True)
            parts.backlog.finish(message)
            self._freed(message)
            done.append(id)
            outcomes.append(DONE)
        if done:
            parts.records.ids(ACK, done)
            parts.counters.acked += len(done)
        return outcomes

    def nack(self, id: i64, token: i64, reason: bytes, mode: i64, delay_ms: i64, now: i64) -> i64:
        """The message was not handled: DONE (it will come back), DIED, or FENCED.

        `mode` is FAILED, RELEASE or FATAL; `delay_ms` BY_POLICY or a delay of its own.
        """
        if not BY_POLICY <= delay_ms <= TTL_MS_MAX:
            raise InvalidArgumentError(f"delay_ms {delay_ms}: it is 0 to {TTL_MS_MAX}")
        if not FAILED <= mode <= FATAL:
            raise InvalidArgumentError(
                f"mode {mode}: it is {FAILED} (failed), {RELEASE} (release) or {FATAL} (fatal)"
            )
        parts = self.parts
        delivery = parts.leases.find(id, token)
        if delivery is None:
            return FENCED
        message = delivery.message
        parts.leases.end(delivery, False)
        parts.counters.nacked += 1
        reason = reason[:REASON_BYTES_MAX]
        if mode == FATAL or (mode == FAILED and message.attempts >= parts.definition.max_deliveries):
            parts.bury([message], reason or REFUSED, now)
            self._freed(message)
            return DIED
        if mode == RELEASE:
            message.attempts -= 1
        elif delay_ms < 0:
            delay_ms = parts.definition.retry_ms(message.attempts, parts.agenda.random())
        message.due_at = now + delay_ms if delay_ms > 0 else 0
        if reason:
            message.more().reason = reason
        self._give_back([message], mode != RELEASE, reason, now)
        return DONE

    def extend(self, id: i64, token: i64, ms: i64, now: i64) -> i64:
        """Lets a lease run out `ms` from now; gives its deadline, FENCED (0) when it has ended."""
        if not 0 < ms <= LEASE_MS_MAX:
            raise InvalidArgumentError(f"a lease of {ms} ms: it is 1 to {LEASE_MS_MAX}")
        delivery = self.parts.leases.find(id, token)
        if delivery is None:
            return FENCED
        self.parts.leases.extend(delivery, now + ms)
        self.parts.due(now + ms)
        return now + ms

    def _give_back(self, messages: list[QueueMessage], counted: bool, reason: bytes, now: i64) -> None:
        """Messages whose leases have ended wait again, until their due time if they have one."""
        parts = self.parts
        expired: list[QueueMessage] = []
        parts.records.returned(messages, counted, reason)
        for message in messages:
            if message.extras is not None:
                message.extras.delivered = True
            if message.expires_at != 0 and message.expires_at <= now:
                expired.append(message)
                continue
            if message.due_at != 0:
                parts.due(message.due_at)
            parts.backlog.place(message, now)
        if expired:
            parts.expire(expired, now)
        parts.wake()

    def _freed(self, message: QueueMessage) -> None:
        """A lent message is gone: one that waited for it, by group or by the bound in flight, may be next."""
        if message.extras is not None or self.parts.definition.in_flight_max > 0:
            self.parts.wake()

    def take_back(self, holding: Holding, now: i64) -> None:
        """The consumer has gone: what was lent to it comes back at once. The attempts count."""
        lost = [delivery for delivery in holding.leases if delivery.holding is holding]
        self._end_counted(lost, DISCONNECTED, False, now)

    def _end_counted(self, deliveries: list[Delivery], reason: bytes, backoff: bool, now: i64) -> None:
        parts = self.parts
        definition = parts.definition
        back: list[QueueMessage] = []
        dead: list[QueueMessage] = []
        for delivery in deliveries:
            if delivery.holding is None:
                continue  # listed twice
            message = delivery.message
            parts.leases.end(delivery, False)
            if message.attempts >= definition.max_deliveries:
                dead.append(message)
                continue
            delay: i64 = 0
            if backoff:
                delay = definition.retry_ms(message.attempts, parts.agenda.random())
            message.due_at = now + delay if delay > 0 else 0
            back.append(message)
        parts.bury(dead, reason, now)
        if back:
            self._give_back(back, True, b"", now)
        parts.wake()

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
                available = min(self._room(), parts.backlog.ready.count)
                if available <= 0 or parts.paused_until != 0:
                    return
                waiter = waiters.get(ticket)
                if waiter is None or waiter.consumer is None:
                    continue
                waiting: i64 = len(waiters)
                count = min(waiter.count, (available + waiting - 1) // waiting)
                try:
                    deliveries = self._lend(count, self._holding(waiter.consumer), now)
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
            self._end_counted(late, RAN_OUT, True, now)
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

    def redrive(self, id: i64, now: i64) -> i64:
        """Makes a dead letter a new message at the end of the queue; gives the new id, 0 for no such letter."""
        letter = self.parts.dead.get(id)
        if letter is None:
            return 0
        return admin.redrive(self.parts, [letter], now)[0]

    def redrive_some(
        self, filter: DeadFilter, after: i64, until: i64, budget: i64, now: i64
    ) -> admin.Redriven:
        """The same for those that match, in slices: looks at `budget` letters with serials after `after`."""
        return admin.redrive_some(self.parts, filter, after, until, budget, now)

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
