"""The Queue commands of the native protocol, each a call to the broker. Layouts: docs/protocol.md.

What an operator does with a queue (QUEUE_ADMIN) is in queueadmin.py.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, u8

from nexo import limits
from nexo.brokers.journal import FLUSH
from nexo.brokers.queue.consumers import Consumer, Waiter
from nexo.brokers.queue.lending import BY_POLICY, FAILED, FATAL, FENCED, RELEASE
from nexo.brokers.queue.message import Delivery, Item
from nexo.brokers.queue.queue import Queue
from nexo.errors import FencedError, InvalidArgumentError, LimitExceededError, ServerError
from nexo.protocols.native import frames
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import Channel, too_many_waits
from nexo.protocols.native.frames import Payload, check_value, same, write_head, write_short, write_string
from nexo.protocols.native.queueadmin import administer

LEASE_BYTES: Final = 24
"""A message's id and a delivery token, as SETTLE has them."""


@final
class QueueWait(Waiter):
    """A CONSUME or RECEIVE that waits for messages; its answer may come after those of later commands."""

    def __init__(self, channel: Channel, queue: Queue, correlation: i32, extended: bool) -> None:
        super().__init__()
        self.channel = channel
        self.queue = queue
        self.correlation = correlation
        self.extended = extended

    def delivered(self, deliveries: list[Delivery]) -> None:
        self.channel.lend(
            level(self.queue), deliveries_frame(self.queue, self.correlation, deliveries, self.extended)
        )

    def timed_out(self) -> None:
        self.channel.send(deliveries_frame(self.queue, self.correlation, [], self.extended))

    def failed(self, error: ServerError) -> None:
        self.channel.send(frames.error_frame(self.correlation, error))


def deliveries_frame(queue: Queue, correlation: i32, deliveries: list[Delivery], extended: bool) -> bytes:
    """The whole answer of CONSUME, or with `extended` of RECEIVE."""
    number = queue.number
    payload = BytesWriter()
    write_i32_be(payload, len(deliveries))
    for delivery in deliveries:
        message = delivery.message
        write_i64_be(payload, number)
        write_i64_be(payload, message.id)
        write_i64_be(payload, delivery.token)
        if extended:
            write_i32_be(payload, i32(delivery.attempt))
            payload.append(u8(message.priority))
            write_i64_be(payload, message.enqueued_at)
            write_short(payload, message.group)
            write_string(payload, message.headers)
        write_string(payload, message.value)
    out = BytesWriter()
    write_head(out, op.DATA, correlation, len(payload))
    out.write(payload.getvalue())
    return out.getvalue()


@final
class QueueCommands:
    """What one connection pushes, what is lent to it, and what it waits for."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.queues = channel.node.queues
        self.consumer = Consumer()
        # The queue of the last command: most often it is that of the next one, too.
        self.latest: Queue | None = None
        self.latest_name = b""

    def close(self) -> None:
        """The connection has ended: what was lent to it comes back at once."""
        if self.consumer.holdings or self.consumer.waiters:
            self.queues.drop(self.consumer, self.channel.node.begin())

    def dispatch(self, code: i64, payload: Payload, now: i64) -> None:
        """Run one of the opcodes 0x10 to 0x1F."""
        if code == op.QUEUE_PUSH:
            self.push(payload, now)
        elif code == op.QUEUE_CONSUME or code == op.QUEUE_RECEIVE:
            self.receive(payload, code == op.QUEUE_RECEIVE, now)
        elif code == op.QUEUE_ACK:
            self.ack(payload, now)
        elif code == op.QUEUE_NACK:
            self.nack(payload, now)
        elif code == op.QUEUE_SETTLE:
            self.settle(payload, now)
        elif code == op.QUEUE_PUSHX:
            self.push_for_ids(payload, now)
        elif code == op.QUEUE_CREATE:
            self.create(payload, now)
        elif code == op.QUEUE_EXISTS:
            name = payload.string("the queue's name")
            payload.finish()
            self.channel.data(b"\x01" if self.queues.exists(name) else b"\x00")
        elif code == op.QUEUE_DELETE:
            self.delete(payload, now)
        elif code == op.QUEUE_DESCRIBE:
            queue = self.queue(payload)
            payload.finish()
            self.channel.data(definition(queue))
        elif code == op.QUEUE_PEEK_DLQ:
            self.peek_dead(payload)
        elif code == op.QUEUE_ADMIN:
            administer(self.channel, payload, now)
        else:
            self.change_dead(code, payload, now)

    def queue(self, payload: Payload) -> Queue:
        """The queue whose name comes next in the payload."""
        latest = self.latest
        if latest is not None and not latest.closed and payload.skip_string(self.latest_name):
            return latest
        queue = self.queues.find(payload.string("the queue's name"))
        self.latest = queue
        self.latest_name = queue.name
        return queue

    # Definitions.

    def create(self, payload: Payload, now: i64) -> None:
        name = payload.string("the queue's name")
        frames.check_utf8(name, "the queue's name")
        flags = payload.u8("the flags")
        if flags > op.CREATE_FLAGS:
            raise InvalidArgumentError(f"unknown flags 0x{flags:02x} of a queue")
        given: dict[str, object] = {}
        if flags & op.CREATE_VISIBILITY:
            given["visibility_timeout_ms"] = int(payload.u64("the visibility timeout"))
        if flags & op.CREATE_DELIVERIES:
            given["max_deliveries"] = int(payload.u32("the number of deliveries"))
        if flags & op.CREATE_OPTIONS:
            given.update(payload.json_object("the options"))
        payload.finish()
        self.channel.node.check_room()
        queue, created = self.queues.create(name, given, now)
        self.channel.data_at(max(level(queue), FLUSH), (b"\x01" if created else b"\x02") + definition(queue))

    def delete(self, payload: Payload, now: i64) -> None:
        queue = self.queue(payload)
        payload.finish()
        self.queues.delete(queue.name, now)
        self.channel.ok_at(max(level(queue), FLUSH))

    # Pushing.

    def push_plain(self, now: i64) -> bool:
        """The hot path: one message without options to the queue of the last command. False: it is not that."""
        channel = self.channel
        buffer = channel.frames.buffer
        start = channel.frames.start
        end = channel.frames.end
        queue = self.latest
        if queue is None or queue.closed:
            return False
        # string name, u32 count, u8 flags, u32 length, value
        at: i64 = start + 4 + len(self.latest_name)
        if end - at <= 9 or i64(read_i32_be(buffer, start)) != at - start - 4:
            return False
        if read_i32_be(buffer, at) != 1 or buffer[at + 4] != 0:
            return False
        if i64(read_i32_be(buffer, at + 5)) != end - at - 9 or not same(buffer, start + 4, self.latest_name):
            return False
        channel.node.check_write()
        value = buffer[at + 9 : end]
        check_value(value)
        queue.push(value, 0, now)
        channel.ok_at(level(queue))
        return True

    def push(self, payload: Payload, now: i64) -> None:
        queue = self.queue(payload)
        count = payload.u32("the number of messages")
        self.channel.node.check_write()
        flags: i64 = payload.u8("the flags") if count == 1 else -1
        if flags == 0:
            value = payload.value_with_length()
            payload.finish()
            queue.push(value, 0, now)
        else:
            queue.push_many(self.items(payload, count, flags), now)
        self.channel.ok_at(level(queue))

    def push_for_ids(self, payload: Payload, now: i64) -> None:
        queue = self.queue(payload)
        items = self.items(payload, payload.u32("the number of messages"), -1)
        self.channel.node.check_write()
        self.channel.data_at(level(queue), pushed(queue, items, queue.push_many(items, now)))

    def items(self, payload: Payload, count: i64, first_flags: i64) -> list[Item]:
        """The messages that fill the payload; `first_flags` when those of the first have been read, else -1."""
        if count > limits.MESSAGES_PER_PUSH_MAX:
            raise LimitExceededError(
                f"{count} messages: messages_per_push_max is {limits.MESSAGES_PER_PUSH_MAX}"
            )
        items: list[Item] = []
        for _ in range(count):
            flags = first_flags if first_flags >= 0 else payload.u8("the flags")
            first_flags = -1
            if flags > op.ITEM_FLAGS:
                raise InvalidArgumentError(f"unknown flags 0x{flags:02x} of a message")
            item = Item(b"")
            if flags & op.ITEM_PRIORITY:
                item.priority = payload.u8("the priority")
            if flags & op.ITEM_DELAY:
                item.delay_ms = payload.u64("the delay")
            if flags & op.ITEM_DEDUP:
                item.dedup = payload.short("the dedup key")
            if flags & op.ITEM_GROUP:
                item.group = payload.short("the group key")
            if flags & op.ITEM_HEADERS:
                item.headers = payload.headers()
            if flags & op.ITEM_TTL:
                item.ttl_ms = payload.u64("the time to live")
                if item.ttl_ms == 0:
                    raise InvalidArgumentError("a time to live of 0: leave it out to keep a message for ever")
            item.value = payload.value_with_length()
            items.append(item)
        payload.finish()
        return items

    # Lending.

    def receive(self, payload: Payload, extended: bool, now: i64) -> None:
        queue = self.queue(payload)
        count = payload.u32("the batch size")
        wait = payload.u32("the wait")
        payload.finish()
        correlation = self.channel.frames.correlation
        if self.channel.frames.kind != op.REQUEST:
            raise InvalidArgumentError("messages are lent only to who awaits the answer")
        deliveries = queue.receive(count, self.consumer, now)
        if deliveries or wait == 0:
            out = self.channel.out_of(level(queue)) if deliveries else self.channel.out
            out.write(deliveries_frame(queue, correlation, deliveries, extended))
        else:
            if len(self.consumer.waiters) >= limits.WAITS_PER_CONNECTION_MAX:
                raise too_many_waits()
            waiter = QueueWait(self.channel, queue, correlation, extended)
            queue.wait(waiter, self.consumer, count, now + wait)

    def lease(self, queue: Queue, payload: Payload) -> i64:
        """The message's id that comes next in the payload; -1 when it is one of another queue."""
        number = payload.signed64("the id")
        id = payload.signed64("the id")
        return id if number == queue.number else -1

    def ack(self, payload: Payload, now: i64) -> None:
        number = payload.signed64("the id")
        id = payload.signed64("the id")
        token = payload.signed64("the delivery token")
        queue = self.queue(payload)
        payload.finish()
        if number != queue.number or queue.ack(id, token, now) == FENCED:
            raise fenced()
        self.channel.ok_at(level(queue))

    def nack(self, payload: Payload, now: i64) -> None:
        number = payload.signed64("the id")
        id = payload.signed64("the id")
        token = payload.signed64("the delivery token")
        queue = self.queue(payload)
        reason = payload.string("the reason")
        frames.check_utf8(reason, "the reason")
        payload.finish()
        if number != queue.number or queue.nack(id, token, reason, FAILED, BY_POLICY, now) == FENCED:
            raise fenced()
        self.channel.ok_at(level(queue))

    def settle(self, payload: Payload, now: i64) -> None:
        queue = self.queue(payload)
        action = payload.u8("the action")
        delay: i64 = BY_POLICY
        reason = b""
        if action > op.SETTLE_EXTEND:
            raise InvalidArgumentError(f"unknown action {action}")
        if action == op.SETTLE_RELEASE or action == op.SETTLE_FAILED:
            delay = payload.signed64("the delay")
        if action == op.SETTLE_FAILED or action == op.SETTLE_FATAL:
            reason = payload.string("the reason")
            frames.check_utf8(reason, "the reason")
        extension: i64 = payload.u64("the extension") if action == op.SETTLE_EXTEND else 0
        ids, tokens = self.leases(queue, payload)
        outcomes: list[i64] = []
        if action == op.SETTLE_ACK:
            outcomes = queue.ack_many(ids, tokens, now)
        else:
            mode = RELEASE if action == op.SETTLE_RELEASE else FATAL if action == op.SETTLE_FATAL else FAILED
            for place, id in enumerate(ids):
                token = tokens[place]
                if action == op.SETTLE_EXTEND:
                    outcomes.append(queue.extend(id, token, extension, now))
                else:
                    outcomes.append(queue.nack(id, token, reason, mode, delay, now))
        self.refusals(queue, outcomes)

    def leases(self, queue: Queue, payload: Payload) -> tuple[list[i64], list[i64]]:
        """The ids and tokens that fill the payload of a SETTLE; an id of another queue is -1."""
        count = payload.u32("the number of deliveries")
        if count > limits.DELIVERIES_PER_RECEIVE_MAX:
            raise LimitExceededError(
                f"{count} deliveries: deliveries_per_receive_max is {limits.DELIVERIES_PER_RECEIVE_MAX}"
            )
        ids: list[i64] = []
        tokens: list[i64] = []
        at = payload.need(count * LEASE_BYTES, "the id")
        payload.finish()
        data = payload.data
        number = queue.number
        for _ in range(count):
            ids.append(read_i64_be(data, at + 8) if read_i64_be(data, at) == number else i64(-1))
            tokens.append(read_i64_be(data, at + 16))
            at += LEASE_BYTES
        return ids, tokens

    def refusals(self, queue: Queue, outcomes: list[i64]) -> None:
        """Answer which of a command's deliveries were fenced."""
        refused: i64 = 0
        listed = BytesWriter()
        for place, outcome in enumerate(outcomes):
            if outcome == FENCED:
                refused += 1
                write_i32_be(listed, place)
                listed.append(FencedError.code)
        out = BytesWriter()
        write_i32_be(out, i32(refused))
        out.write(listed.getvalue())
        self.channel.data_at(level(queue), out.getvalue())

    # Dead letters.

    def peek_dead(self, payload: Payload) -> None:
        queue = self.queue(payload)
        limit = payload.u32("the limit")
        offset = payload.u32("the offset")
        payload.finish()
        out = BytesWriter()
        letters = queue.peek(min(limit, limits.DELIVERIES_PER_RECEIVE_MAX), offset)
        listed: i64 = 0
        for letter in letters:
            message = queue.view(letter.message)
            if listed > 0 and len(out) + message.size > limits.DELIVERY_BYTES_MAX:
                break
            listed += 1
            write_i64_be(out, queue.number)
            write_i64_be(out, message.id)
            write_string(out, message.value)
            write_i32_be(out, i32(message.attempts))
            write_string(out, letter.reason)
        head = BytesWriter()
        write_i32_be(head, i32(queue.dead_count))
        write_i32_be(head, i32(listed))
        self.channel.data(head.getvalue() + out.getvalue())

    def change_dead(self, code: i64, payload: Payload, now: i64) -> None:
        queue = self.queue(payload)
        if code == op.QUEUE_PURGE_DLQ:
            payload.finish()
            out = BytesWriter()
            write_i32_be(out, i32(queue.purge_dead()))
            self.channel.data_at(level(queue), out.getvalue())
            return
        id = self.lease(queue, payload)
        payload.finish()
        if code == op.QUEUE_MOVE_TO_QUEUE:
            found = queue.redrive(id, now) != 0
        else:
            found = queue.delete_dead(id)
        self.channel.data_at(level(queue), b"\x01" if found else b"\x00")


def level(queue: Queue) -> i64:
    """The durability that the queue's answers promise."""
    return queue.parts.definition.level


def pushed(queue: Queue, items: list[Item], ids: list[i64]) -> bytes:
    """The answer to PUSHX."""
    out = BytesWriter()
    write_i32_be(out, len(items))
    for place, item in enumerate(items):
        out.append(u8(op.PUSH_DUPLICATE) if item.duplicate else u8(op.PUSH_DONE))
        write_i64_be(out, queue.number)
        write_i64_be(out, ids[place])
    return out.getvalue()


def definition(queue: Queue) -> bytes:
    """The element of CREATE's and DESCRIBE's answers."""
    out = BytesWriter()
    write_string(out, queue.name)
    write_i64_be(out, queue.parts.definition.visibility_timeout_ms)
    write_i32_be(out, frames.low32(queue.parts.definition.max_deliveries))
    return out.getvalue()


def fenced() -> FencedError:
    return FencedError("the lease has ended: it ran out, was settled, or another delivery has followed")
