"""Lending: who gets which message until when, and what becomes of it when the lease ends.

Owns the rules of attempts, fencing and backoff. It works on a queue's parts; who waits for a message, and
what is due, is the queue's business.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.queue.consumers import Consumer, Holding
from nexo.brokers.queue.message import LEASED, Delivery, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.brokers.queue.records import ACK
from nexo.errors import InvalidArgumentError, LimitExceededError, StorageError
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
class Lending:
    """The leases of one queue, and what follows from their ends."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def room(self) -> i64:
        """How many messages may be lent beside those that are."""
        room = self._parts.definition.in_flight_max
        if room == 0:
            return DELIVERIES_PER_RECEIVE_MAX
        return room - self._parts.leases.count

    def lend(self, count: i64, holding: Holding, now: i64) -> list[Delivery]:
        """Lends up to `count` of the messages that are ready; errors as `Queue.receive`."""
        parts = self._parts
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
                else:
                    parts.ages.delivered.add(now - message.enqueued_at)
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

    def holding(self, consumer: Consumer) -> Holding:
        """What the consumer has from this queue."""
        holding = consumer.holdings.get(int(self._parts.number))
        if holding is None:
            holding = Holding(consumer)
            consumer.holdings[int(self._parts.number)] = holding
        return holding

    # The end of a lease.

    def ack(self, id: i64, token: i64) -> i64:
        """The message is done: DONE, REPEATED, or FENCED."""
        parts = self._parts
        delivery = parts.leases.find(id, token)
        if delivery is None:
            return REPEATED if parts.leases.was_acked(id, token) else FENCED
        message = delivery.message
        parts.leases.end(delivery, True)
        parts.records.acked(id)
        parts.backlog.finish(message)
        parts.counters.acked += 1
        parts.ages.acked.add(parts.ages.now - message.enqueued_at)
        self._freed(message)
        return DONE

    def ack_many(self, ids: list[i64], tokens: list[i64]) -> list[i64]:
        """As `ack` for each; gives the outcomes."""
        parts = self._parts
        if len(ids) > DELIVERIES_PER_RECEIVE_MAX:
            raise LimitExceededError(
                f"DELIVERIES_PER_RECEIVE_MAX ({DELIVERIES_PER_RECEIVE_MAX}) is below {len(ids)} acknowledgements"
            )
        outcomes: list[i64] = []
        done: list[i64] = []
        for place, id in enumerate(ids):
            delivery = parts.leases.find(id, tokens[place])
            if delivery is None:
                outcomes.append(REPEATED if parts.leases.was_acked(id, tokens[place]) else FENCED)
                continue
            message = delivery.message
            parts.leases.end(delivery, True)
            parts.backlog.finish(message)
            parts.ages.acked.add(parts.ages.now - message.enqueued_at)
            self._freed(message)
            done.append(id)
            outcomes.append(DONE)
        if done:
            parts.records.ids(ACK, done)
            parts.counters.acked += len(done)
        return outcomes

    # An ack in a batch across brokers: the lease ends at once, the message goes when the batch is durable.

    def lent(self, id: i64, token: i64) -> QueueMessage | None:
        """The message of a lease; None when it has ended."""
        delivery = self._parts.leases.find(id, token)
        return None if delivery is None else delivery.message

    def begin_ack(self, id: i64, token: i64) -> None:
        """Ends a lease that is there. Its message stays LEASED, and to nobody, until one of the next two is called."""
        delivery = self._parts.leases.find(id, token)
        assert delivery is not None, "the lease was not looked for"
        self._parts.leases.end(delivery, False)
        self._parts.records.acked(id)

    def end_ack(self, message: QueueMessage) -> None:
        """The batch is durable."""
        if self._between(message):
            self._parts.backlog.finish(message)
            self._parts.counters.acked += 1
            self._parts.ages.acked.add(self._parts.ages.now - message.enqueued_at)
            self._freed(message)

    def undo_ack(self, message: QueueMessage, now: i64) -> None:
        """The batch could not be stored: the message is delivered again."""
        if self._between(message):
            message.due_at = 0
            self._give_back([message], True, b"", now)

    def _between(self, message: QueueMessage) -> bool:
        """Whether it is still there: an operator may have purged the queue meanwhile."""
        return message.state == LEASED and self._parts.backlog.index.get(message.id) is message

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
        parts = self._parts
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
        delivery = self._parts.leases.find(id, token)
        if delivery is None:
            return FENCED
        self._parts.leases.extend(delivery, now + ms)
        self._parts.due(now + ms)
        return now + ms

    def _give_back(self, messages: list[QueueMessage], counted: bool, reason: bytes, now: i64) -> None:
        """Messages whose leases have ended wait again, until their due time if they have one."""
        parts = self._parts
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
        if message.extras is not None or self._parts.definition.in_flight_max > 0:
            self._parts.wake()

    def take_back(self, holding: Holding, now: i64) -> None:
        """The consumer has gone: what was lent to it comes back at once. The attempts count."""
        lost = [delivery for delivery in holding.leases if delivery.holding is holding]
        self.end_counted(lost, DISCONNECTED, False, now)

    def end_counted(self, deliveries: list[Delivery], reason: bytes, backoff: bool, now: i64) -> None:
        """Leases end without a word of their consumers: those of the last attempt are dead letters."""
        parts = self._parts
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
