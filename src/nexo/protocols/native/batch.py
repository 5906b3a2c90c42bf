"""BATCH of the native protocol: one frame with commands of several brokers, all done or none. Layout: docs/protocol.md.

A command has the opcode and the payload that it has alone, and is split by the same functions; here it becomes a
step of a batch (nexo/brokers/batch) instead of being run. Its answer is the one that it would have had.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_be
from mypy_extensions import i64, u8

from nexo import limits
from nexo.brokers.batch.batches import KEY_VERSION, LAST_SEQ, Precondition
from nexo.brokers.batch.queuesteps import AckStep, PushStep
from nexo.brokers.batch.steps import Step, refused
from nexo.brokers.batch.storesteps import DeleteKey, SetKey, StepCounter
from nexo.brokers.batch.streamsteps import AppendStep, GroupAckStep
from nexo.brokers.message import int_value
from nexo.errors import InvalidArgumentError, LimitExceededError, ServerError
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import Channel
from nexo.protocols.native.frames import Payload, check_key, write_string
from nexo.protocols.native.permission import check, check_precondition
from nexo.protocols.native.pubsub import read_publication
from nexo.protocols.native.queue import QueueCommands, pushed
from nexo.protocols.native.store import counted, read_counter, read_set, written
from nexo.protocols.native.stream import (
    StreamCommands,
    appended,
    checked_count,
    published,
    read_append,
    read_records,
    receipt,
    receipts,
)

NO_FLAGS: Final = 0


@final
class _Command:
    """A command of a batch: its step, and what its answer depends on."""

    __slots__ = ("code", "flags", "step")

    def __init__(self, code: i64, flags: i64, step: Step) -> None:
        self.code = code
        self.flags = flags
        self.step = step


@final
class BatchCommands:
    """The batches of one connection."""

    def __init__(self, channel: Channel, queues: QueueCommands, streams: StreamCommands) -> None:
        self.channel = channel
        self.queues = queues
        self.streams = streams

    def run(self, payload: Payload, now: i64) -> None:
        size = payload.end - payload.position
        if size > limits.BATCH_BYTES_MAX:
            raise LimitExceededError(f"a batch of {size} bytes: batch_bytes_max is {limits.BATCH_BYTES_MAX}")
        flags = payload.u8("the flags")
        if flags != 0:
            raise InvalidArgumentError(f"unknown flags 0x{flags:02x} of a batch")
        preconditions: list[Precondition] = []
        for place in range(checked(payload, "preconditions")):
            preconditions.append(self.precondition(payload, place))
        commands: list[_Command] = []
        steps: list[Step] = []
        for place in range(checked(payload, "commands")):
            code = payload.u8("an opcode")
            length = payload.u32("the length of a command")
            start = payload.need(length, "the end of a command")
            try:
                if not self.channel.unrestricted:
                    check(
                        self.channel.grants,
                        self.channel.node,
                        code,
                        Payload(payload.data, start, start + length),
                    )
                command = self.command(code, Payload(payload.data, start, start + length), now)
            except ServerError as error:
                raise refused("command", place, error) from None
            commands.append(command)
            steps.append(command.step)
        payload.finish()
        level = self.channel.node.carry_out(preconditions, steps)
        out = BytesWriter()
        write_i32_be(out, len(commands))
        for command in commands:
            answer(out, command, now)
        self.channel.data_at(level, out.getvalue())

    def precondition(self, payload: Payload, place: i64) -> Precondition:
        kind = payload.u8("the kind of a precondition")
        if kind == 0 or kind > op.REQUIRE_LAST_SEQ:
            raise InvalidArgumentError(f"unknown kind {kind} of a precondition")
        name = payload.string("the name in a precondition")
        number: i64 = 0
        if kind == KEY_VERSION or kind == LAST_SEQ:
            number = payload.u64("the number in a precondition")
        try:
            if kind < op.REQUIRE_QUEUE:
                check_key(name)
            if not self.channel.unrestricted:
                check_precondition(self.channel.grants, kind, name)
        except ServerError as error:
            raise refused("precondition", place, error) from None
        return Precondition(kind, name, number)

    def command(self, code: i64, payload: Payload, now: i64) -> _Command:
        """One command. Raises what it would be answered with when it cannot be one."""
        if code == op.QUEUE_PUSH or code == op.QUEUE_PUSHX:
            queue = self.queues.queue(payload)
            items = self.queues.items(payload, payload.u32("the number of messages"), -1)
            return _Command(code, NO_FLAGS, PushStep(queue, items))
        if code == op.QUEUE_ACK or code == op.QUEUE_SETTLE:
            return _Command(code, NO_FLAGS, self.ack(code, payload))
        if code == op.STREAM_PUB:
            stream = self.streams.stream(payload)
            count = checked_count(payload, limits.APPEND_RECORDS_MAX, "append_records_max")
            return _Command(code, NO_FLAGS, AppendStep(stream, read_records(payload, count, False)))
        if code == op.STREAM_EXTENDED:
            kind = payload.u8("the command")
            if kind != op.STREAMX_APPEND:
                raise InvalidArgumentError(f"stream command 0x{kind:02x} cannot be in a batch")
            return _Command(code, NO_FLAGS, read_append(self.streams.stream(payload), payload))
        if code == op.STREAM_ACK or code == op.STREAM_ACK_MANY:
            return _Command(code, NO_FLAGS, self.group_ack(code, payload))
        if code == op.PUB:
            topic = payload.string("the topic")
            flags = payload.u8("the flags")
            if flags & op.PUB_COUNT:
                raise InvalidArgumentError(
                    "in a batch a message is sent later, and its receivers are not counted"
                )
            publication = read_publication(self.channel.node.pubsub, payload, topic, flags, now)
            return _Command(code, NO_FLAGS, publication)
        return self.store_command(code, payload, now)

    def store_command(self, code: i64, payload: Payload, now: i64) -> _Command:
        store = self.channel.node.store
        if code == op.MAP_SET:
            key = payload.key()
            flags = payload.u8("the flags")
            return _Command(code, flags, read_set(store, payload, key, flags, now))
        if code == op.MAP_DEL or code == op.MAP_DELX:
            key = payload.key()
            flags = payload.u8("the flags") if code == op.MAP_DELX else NO_FLAGS
            expected: i64 = payload.u64("the expected version") if flags & op.DELX_VERSION else -1
            payload.finish()
            return _Command(code, flags, DeleteKey(store, key, expected))
        if code == op.MAP_INCR:
            key = payload.key()
            delta = payload.signed64("the delta")
            payload.finish()
            return _Command(code, NO_FLAGS, StepCounter(store, key, delta))
        if code == op.MAP_INCRX:
            return _Command(code, NO_FLAGS, read_counter(store, payload, now))
        raise InvalidArgumentError(f"opcode 0x{code:02x} cannot be in a batch")

    def ack(self, code: i64, payload: Payload) -> AckStep:
        if code == op.QUEUE_ACK:
            number = payload.signed64("the id")
            id = payload.signed64("the id")
            token = payload.signed64("the delivery token")
            queue = self.queues.queue(payload)
            payload.finish()
            return AckStep(queue, [id if number == queue.number else i64(-1)], [token])
        queue = self.queues.queue(payload)
        action = payload.u8("the action")
        if action != op.SETTLE_ACK:
            raise InvalidArgumentError(f"action {action} of SETTLE cannot be in a batch: acks can")
        ids, tokens = self.queues.leases(queue, payload)
        return AckStep(queue, ids, tokens)

    def group_ack(self, code: i64, payload: Payload) -> GroupAckStep:
        stream, group = self.streams.stream_and_group(payload)
        consumer_id = payload.string("the consumer")
        generation = payload.signed64("the generation")
        if code == op.STREAM_ACK:
            seqs = [int(payload.u64("the sequence"))]
            tokens = [int(receipt(group, payload))]
            payload.finish()
        else:
            seqs, tokens = receipts(group, payload)
            payload.finish()
        return GroupAckStep(stream, group, consumer_id, generation, seqs, tokens)


def checked(payload: Payload, what: str) -> i64:
    """How many preconditions or commands follow."""
    count = payload.u32(f"the number of {what}")
    if count > limits.BATCH_COMMANDS_MAX:
        raise LimitExceededError(
            f"{count} {what} in a batch: batch_commands_max is {limits.BATCH_COMMANDS_MAX}"
        )
    return count


def answer(out: BytesWriter, command: _Command, now: i64) -> None:
    """One command's answer: status, length, and what it would have had as payload alone."""
    found = content(command, now)
    out.append(u8(op.OK) if found is None else u8(op.DATA))
    write_string(out, b"" if found is None else found)


def content(command: _Command, now: i64) -> bytes | None:
    """The payload of a command's answer; None for a plain OK."""
    step = command.step
    code = command.code
    flags = command.flags
    if isinstance(step, SetKey):
        if not flags & op.SET_ANSWERED:
            return None
        old = step.result.old if flags & op.SET_RETURN_OLD else None
        return written(step.result.applied, step.result.version, old)
    if isinstance(step, DeleteKey):
        if code == op.MAP_DEL:
            return None
        old = step.result.old if flags & op.DELX_RETURN_OLD else None
        return written(step.result.deleted, step.result.version, old)
    if isinstance(step, StepCounter):
        return int_value(step.result.value) if code == op.MAP_INCR else counted(step.result, now)
    if isinstance(step, PushStep):
        return pushed(step.queue, step.items, step.ids) if code == op.QUEUE_PUSHX else None
    if isinstance(step, AppendStep):
        return published(step.first_seq, step.count) if code == op.STREAM_PUB else appended(step)
    if code == op.QUEUE_SETTLE or code == op.STREAM_ACK_MANY:
        return b"\x00\x00\x00\x00"
    return None
