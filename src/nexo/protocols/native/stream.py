"""The Stream commands of the native protocol, each a call to the broker. Layouts: docs/protocol.md.

Records lie in their blocks as the wire wants them: a delivery and a run of a read are copied, not composed.
What an operator does with streams and groups is in streamadmin.py.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, u8

from nexo import limits
from nexo.brokers.batch.streamsteps import AppendStep
from nexo.brokers.journal import FLUSH, level_number
from nexo.brokers.stream.group import BEGINNING, END, SEQUENCE, TIME, Group
from nexo.brokers.stream.leases import Delivery
from nexo.brokers.stream.records import Records
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.waiters import Waiter, Waiting
from nexo.errors import InvalidArgumentError, LimitExceededError, ServerError
from nexo.protocols.native import frames
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import Channel, too_many_waits
from nexo.protocols.native.frames import Payload, write_head, write_string
from nexo.protocols.native.streamadmin import administer

ANSWER_BYTES_MAX: Final = 4 * limits.MIB
"""Records in one answer: past it a read or a fetch ends, with what it has."""
READ_RECORDS_DEFAULT: Final = 1_000


@final
class FetchWait(Waiter):
    """A FETCH that waits for deliveries; its answer may come after those of later commands."""

    def __init__(self, commands: StreamCommands, group: Group, correlation: i32, extended: bool) -> None:
        super().__init__()
        self.commands = commands
        self.channel = commands.channel
        self.group = group
        self.correlation = correlation
        self.extended = extended

    def readable(self) -> None:
        raise NotImplementedError

    def delivered(self, deliveries: list[Delivery]) -> None:
        self.commands.fetching.pop(self, None)
        self.channel.lend(
            self.group.log.definition.durability,
            deliveries_frame(self.group, self.correlation, deliveries, self.extended),
        )

    def failed(self, error: ServerError) -> None:
        self.commands.fetching.pop(self, None)
        self.channel.send(frames.error_frame(self.correlation, error))


@final
class ReadWait(Waiter):
    """A READ that waits for records."""

    def __init__(
        self, commands: StreamCommands, stream: Stream, correlation: i32, from_seq: i64, count: i64, size: i64
    ) -> None:
        super().__init__()
        self.commands = commands
        self.stream = stream
        self.correlation = correlation
        self.from_seq = from_seq
        self.count = count
        self.size = size

    def readable(self) -> None:
        self.commands.reading.pop(self, None)
        channel = self.commands.channel
        try:
            records = self.stream.read(self.from_seq, self.count, self.size)
        except ServerError as error:
            channel.send(frames.error_frame(self.correlation, error))
            return
        channel.send(records_frame(self.stream, self.correlation, records))

    def delivered(self, deliveries: list[Delivery]) -> None:
        raise NotImplementedError

    def failed(self, error: ServerError) -> None:
        self.commands.reading.pop(self, None)
        self.commands.channel.send(frames.error_frame(self.correlation, error))


def deliveries_frame(group: Group, correlation: i32, deliveries: list[Delivery], extended: bool) -> bytes:
    """The whole answer of FETCH, or with `extended` of FETCHX."""
    payload = BytesWriter()
    write_i32_be(payload, len(deliveries))
    for delivery in deliveries:
        write_i64_be(payload, delivery.seq)
        write_i64_be(payload, group.number)
        write_i64_be(payload, delivery.token)
        if extended:
            write_i32_be(payload, i32(delivery.attempts))
            payload.write(delivery.block[delivery.start : delivery.end])
        else:
            payload.write(delivery.block[delivery.start : delivery.body_end])
    return whole(correlation, payload)


def records_frame(stream: Stream, correlation: i32, records: Records) -> bytes:
    """The whole answer of READ."""
    payload = BytesWriter()
    write_i64_be(payload, records.next_seq)
    write_i64_be(payload, stream.first_seq)
    write_i64_be(payload, stream.last_seq)
    write_i32_be(payload, len(records.runs))
    for run in records.runs:
        write_i64_be(payload, run.first_seq)
        write_i32_be(payload, i32(run.count))
        write_i32_be(payload, i32(run.end - run.start))
        payload.write(run.block[run.start : run.end])
    return whole(correlation, payload)


def whole(correlation: i32, payload: BytesWriter) -> bytes:
    """A DATA response with this payload."""
    out = BytesWriter()
    write_head(out, op.DATA, correlation, len(payload))
    out.write(payload.getvalue())
    return out.getvalue()


@final
class StreamCommands:
    """What one connection appends and reads, and the groups it is a member of."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.streams = channel.node.streams
        self.fetching: dict[FetchWait, None] = {}
        self.reading: dict[ReadWait, Waiting] = {}
        self.joined = False
        # The stream of the last command: most often it is that of the next one, too.
        self.latest: Stream | None = None
        self.latest_name = b""

    def close(self) -> None:
        """The connection has ended: it leaves its groups."""
        for waiting in self.reading.values():
            waiting.end()
        self.reading = {}
        if self.joined:
            self.streams.drop(self.channel, self.channel.node.begin())

    def dispatch(self, code: i64, payload: Payload, now: i64) -> None:
        """Run one of the opcodes 0x30 to 0x3F."""
        if code == op.STREAM_PUB:
            self.publish(payload, now)
        elif code == op.STREAM_FETCH:
            self.fetch(payload, False, now)
        elif code == op.STREAM_ACK:
            self.ack(payload, now)
        elif code == op.STREAM_ACK_MANY:
            self.ack_many(payload, now)
        elif code == op.STREAM_EXTENDED:
            self.extended(payload, now)
        elif code == op.STREAM_CREATE:
            self.create(payload, now)
        elif code == op.STREAM_EXISTS:
            name = payload.string("the stream's name")
            payload.finish()
            self.channel.data(b"\x01" if self.streams.exists(name) else b"\x00")
        elif code == op.STREAM_DELETE:
            stream = self.stream(payload)
            payload.finish()
            self.streams.delete(stream.name, now)
            self.channel.ok_at(max(stream.definition.durability, FLUSH))
        elif code == op.STREAM_DESCRIBE:
            stream = self.stream(payload)
            payload.finish()
            self.channel.data(definition(stream))
        elif code == op.STREAM_JOIN:
            self.join(payload, now)
        elif code == op.STREAM_LEAVE:
            self.leave(payload, now)
        elif code == op.STREAM_SEEK:
            stream, group = self.stream_and_group(payload)
            kind = payload.u8("the place")
            payload.finish()
            if kind > op.SEEK_END:
                raise InvalidArgumentError(f"unknown place {kind} to seek to")
            self.seek(stream, group, kind, 0, now)
        else:
            self.dead_letters(code, payload, now)

    def extended(self, payload: Payload, now: i64) -> None:
        """Run a command whose number follows opcode 0x3F."""
        code = payload.u8("the command")
        if code == op.STREAMX_READ:
            self.read(payload, now)
        elif code == op.STREAMX_APPEND:
            self.append(payload, now)
        elif code == op.STREAMX_FETCH:
            self.fetch(payload, True, now)
        elif code == op.STREAMX_NACK:
            self.nack(payload, False, now)
        elif code == op.STREAMX_RELEASE:
            self.nack(payload, True, now)
        elif code == op.STREAMX_SEEK:
            stream, group = self.stream_and_group(payload)
            kind = payload.u8("the place")
            value = payload.u64("the value")
            payload.finish()
            self.seek(stream, group, kind, value, now)
        elif code == op.STREAMX_ADMIN:
            administer(self.channel, payload, now)
        else:
            raise InvalidArgumentError(f"unknown stream command 0x{code:02x}")

    def stream(self, payload: Payload) -> Stream:
        """The stream whose name comes next in the payload."""
        latest = self.latest
        if latest is not None and not latest.deleted and payload.skip_string(self.latest_name):
            return latest
        stream = self.streams.find(payload.string("the stream's name"))
        self.latest = stream
        self.latest_name = stream.name
        return stream

    def stream_and_group(self, payload: Payload) -> tuple[Stream, Group]:
        """The stream and the group whose names come next."""
        stream = self.stream(payload)
        return stream, stream.find_group(payload.string("the group's name"))

    # Definitions.

    def create(self, payload: Payload, now: i64) -> None:
        name = payload.string("the stream's name")
        frames.check_utf8(name, "the stream's name")
        flags = payload.u8("the flags")
        if flags > op.CREATE_FLAGS:
            raise InvalidArgumentError(f"unknown flags 0x{flags:02x} of a stream")
        given: dict[str, int] = {}
        if flags & op.STREAM_MAX_AGE:
            given["max_age_ms"] = int(payload.u64("the age"))
        if flags & op.STREAM_MAX_BYTES:
            given["max_bytes"] = int(payload.u64("the number of bytes"))
        if flags & op.CREATE_OPTIONS:
            given.update(options(payload.json_object("the options")))
        payload.finish()
        self.channel.node.check_room()
        stream, created = self.streams.create(name, given, now)
        level = max(stream.definition.durability, FLUSH)
        self.channel.data_at(level, (b"\x01" if created else b"\x02") + definition(stream))

    # Appending and reading.

    def publish(self, payload: Payload, now: i64) -> None:
        stream = self.stream(payload)
        count = checked_count(payload, limits.APPEND_RECORDS_MAX, "append_records_max")
        if count == 1:
            self.publish_one(stream, payload, now)
            return
        records = read_records(payload, count, False)
        self.channel.node.check_write()
        seq, _, _ = stream.append_many(records, now)
        self.channel.data_at(stream.level, published(seq, count))

    def publish_one(self, stream: Stream, payload: Payload, now: i64) -> None:
        """The hot path: nothing is made for one record but its key and its value."""
        key = payload.short("the key")
        value = payload.value_with_length()
        payload.finish()
        channel = self.channel
        channel.node.check_write()
        seq = stream.append(key, value, b"", now)
        if channel.frames.kind == op.REQUEST:
            out = channel.out_at(stream.level)
            write_head(out, op.DATA, channel.frames.correlation, 12)
            write_i32_be(out, 1)
            write_i64_be(out, seq)

    def append(self, payload: Payload, now: i64) -> None:
        stream = self.stream(payload)
        step = read_append(stream, payload)
        self.channel.node.check_write()
        step.append(now, step.expected_last)
        self.channel.data_at(stream.level, appended(step))

    def read(self, payload: Payload, now: i64) -> None:
        stream = self.stream(payload)
        kind = payload.u8("the place")
        value = payload.u64("the value")
        count = payload.u32("the number of records") or READ_RECORDS_DEFAULT
        size = payload.u32("the number of bytes") or ANSWER_BYTES_MAX
        wait = payload.u32("the wait")
        payload.finish()
        if kind == op.SEEK_BEGINNING:
            seq = stream.first_seq
        elif kind == op.SEEK_END:
            seq = stream.last_seq + 1
        elif kind == op.SEEK_SEQUENCE:
            seq = max(value, stream.first_seq)
        elif kind == op.SEEK_TIME:
            seq = stream.seq_at_time(value)
        elif kind == op.SEEK_LAST:
            seq = max(stream.first_seq, stream.last_seq + 1 - value)
        else:
            raise InvalidArgumentError(f"unknown place {kind} to read from")
        count = min(count, limits.FETCH_RECORDS_MAX)
        size = min(size, ANSWER_BYTES_MAX)
        correlation = self.channel.frames.correlation
        if wait > 0 and seq > stream.last_seq and self.channel.frames.kind == op.REQUEST:
            self.check_waits()
            waiter = ReadWait(self, stream, correlation, seq, count, size)
            self.reading[waiter] = stream.wait(waiter, seq, now + wait)
            return
        records = stream.read(seq, count, size)
        if self.channel.frames.kind == op.REQUEST:
            self.channel.out.write(records_frame(stream, correlation, records))

    # Groups.

    def join(self, payload: Payload, now: i64) -> None:
        stream = self.stream(payload)
        name = payload.string("the group's name")
        frames.check_utf8(name, "the group's name")
        payload.finish()
        self.channel.node.check_room()
        member = self.streams.join(stream, name, self.channel, now)
        self.joined = True
        out = BytesWriter()
        write_i64_be(out, member.group.backlog.settled.floor)
        write_i64_be(out, member.generation)
        write_string(out, member.consumer_id)
        self.channel.data_at(stream.definition.durability, out.getvalue())

    def leave(self, payload: Payload, now: i64) -> None:
        _, group = self.stream_and_group(payload)
        consumer_id = payload.string("the consumer")
        generation = payload.signed64("the generation")
        payload.finish()
        group.leave(consumer_id, generation, now)
        self.channel.ok()

    def fetch(self, payload: Payload, extended: bool, now: i64) -> None:
        stream, group = self.stream_and_group(payload)
        consumer_id = payload.string("the consumer")
        generation = payload.signed64("the generation")
        count = payload.u32("the batch size")
        wait = payload.u32("the wait")
        payload.finish()
        if self.channel.frames.kind != op.REQUEST:
            raise InvalidArgumentError("messages are handed out only to who awaits the answer")
        correlation = self.channel.frames.correlation
        deliveries = group.fetch(consumer_id, generation, count, now, ANSWER_BYTES_MAX)
        if deliveries or wait == 0:
            out = self.channel.out_of(stream.definition.durability) if deliveries else self.channel.out
            out.write(deliveries_frame(group, correlation, deliveries, extended))
        else:
            self.check_waits()
            waiter = FetchWait(self, group, correlation, extended)
            group.wait(waiter, consumer_id, generation, count, now + wait, ANSWER_BYTES_MAX)
            self.fetching[waiter] = None

    def check_waits(self) -> None:
        """Raises LimitExceededError when this connection waits for too much already."""
        if len(self.fetching) + len(self.reading) >= limits.WAITS_PER_CONNECTION_MAX:
            raise too_many_waits()

    def ack(self, payload: Payload, now: i64) -> None:
        stream, group = self.stream_and_group(payload)
        consumer_id = payload.string("the consumer")
        generation = payload.signed64("the generation")
        seq = payload.u64("the sequence")
        token = receipt(group, payload)
        payload.finish()
        group.ack(consumer_id, generation, seq, token, now)
        self.channel.ok_at(stream.definition.durability)

    def ack_many(self, payload: Payload, now: i64) -> None:
        stream, group = self.stream_and_group(payload)
        consumer_id = payload.string("the consumer")
        generation = payload.signed64("the generation")
        seqs, tokens = receipts(group, payload)
        payload.finish()
        refused = group.ack_many(consumer_id, generation, seqs, tokens, now)
        self.channel.data_at(stream.definition.durability, sequences(refused))

    def nack(self, payload: Payload, release: bool, now: i64) -> None:
        """NACK and RELEASE: the latter has no reason, for it does not count."""
        stream, group = self.stream_and_group(payload)
        consumer_id = payload.string("the consumer")
        generation = payload.signed64("the generation")
        delay = payload.signed64("the delay")
        reason = b"" if release else payload.string("the reason")
        frames.check_utf8(reason, "the reason")
        seqs, tokens = receipts(group, payload)
        payload.finish()
        refused = group.nack_many(consumer_id, generation, seqs, tokens, reason, delay, now, release)
        self.channel.data_at(stream.definition.durability, sequences(refused))

    def seek(self, stream: Stream, group: Group, kind: i64, value: i64, now: i64) -> None:
        places = {
            op.SEEK_BEGINNING: BEGINNING,
            op.SEEK_END: END,
            op.SEEK_SEQUENCE: SEQUENCE,
            op.SEEK_TIME: TIME,
        }
        if int(kind) not in places:
            raise InvalidArgumentError(f"unknown place {kind} to seek to")
        group.seek(places[int(kind)], value, now)
        self.channel.ok_at(stream.definition.durability)

    # Dead letters.

    def dead_letters(self, code: i64, payload: Payload, now: i64) -> None:
        stream, group = self.stream_and_group(payload)
        level = stream.level
        if code == op.STREAM_PEEK_DLS:
            limit = payload.u32("the limit")
            offset = payload.u32("the offset")
            payload.finish()
            self.channel.data(letters(group, min(limit, limits.FETCH_RECORDS_MAX), offset))
        elif code == op.STREAM_PURGE_DLS:
            payload.finish()
            out = BytesWriter()
            write_i32_be(out, i32(group.purge()))
            self.channel.data_at(level, out.getvalue())
        else:
            seq = payload.u64("the sequence")
            payload.finish()
            if code == op.STREAM_MOVE_TO_STREAM:
                self.channel.node.check_write()
                group.move_to_stream(seq, now)
            else:
                group.delete(seq)
            self.channel.ok_at(level)


def checked_count(payload: Payload, most: i64, limit: str) -> i64:
    """A count of elements that follow."""
    count = payload.u32("the number of records")
    if count > most:
        raise LimitExceededError(f"{count} records: {limit} is {most}")
    return count


def read_records(payload: Payload, count: i64, with_headers: bool) -> list[tuple[bytes, bytes, bytes]]:
    """The records that fill the payload: key, value, headers."""
    records: list[tuple[bytes, bytes, bytes]] = []
    for _ in range(count):
        key = payload.short("the key")
        headers = payload.headers() if with_headers else b""
        records.append((key, payload.value_with_length(), headers))
    payload.finish()
    return records


def read_append(stream: Stream, payload: Payload) -> AppendStep:
    """The rest of an APPEND, whose stream has been read."""
    flags = payload.u8("the flags")
    if flags > op.APPEND_FLAGS:
        raise InvalidArgumentError(f"unknown flags 0x{flags:02x} of an append")
    expected: i64 = payload.u64("the expected sequence") if flags & op.APPEND_EXPECTED else -1
    producer = b""
    number: i64 = -1
    if flags & op.APPEND_PRODUCER:
        producer = payload.short("the producer")
        number = payload.u64("the producer's number")
    count = checked_count(payload, limits.APPEND_RECORDS_MAX, "append_records_max")
    step = AppendStep(stream, read_records(payload, count, True))
    step.expected_last = expected
    step.producer = producer
    step.number = number
    return step


def published(first_seq: i64, count: i64) -> bytes:
    """The answer to PUB."""
    out = BytesWriter()
    write_i32_be(out, i32(count))
    for place in range(count):
        write_i64_be(out, first_seq + place)
    return out.getvalue()


def appended(step: AppendStep) -> bytes:
    """The answer to APPEND."""
    out = BytesWriter()
    write_i64_be(out, step.first_seq)
    write_i32_be(out, i32(step.count))
    out.append(u8(1) if step.known else u8(0))
    return out.getvalue()


def receipt(group: Group, payload: Payload) -> i64:
    """The token of a receipt; -1 when it is another group's."""
    number = payload.signed64("the receipt")
    token = payload.signed64("the receipt")
    return token if number == group.number else -1


def receipts(group: Group, payload: Payload) -> tuple[list[int], list[int]]:
    """Sequences and the tokens of their receipts."""
    seqs: list[int] = []
    tokens: list[int] = []
    for _ in range(checked_count(payload, limits.FETCH_RECORDS_MAX, "fetch_records_max")):
        seqs.append(int(payload.u64("the sequence")))
        tokens.append(int(receipt(group, payload)))
    return seqs, tokens


def sequences(seqs: list[int]) -> bytes:
    """A count and that many sequences."""
    out = BytesWriter()
    write_i32_be(out, len(seqs))
    for seq in seqs:
        write_i64_be(out, seq)
    return out.getvalue()


def letters(group: Group, limit: i64, offset: i64) -> bytes:
    """The answer of PEEK_DLS."""
    out = BytesWriter()
    listed: i64 = 0
    for letter in group.peek(offset, limit):
        if len(out) > limits.PAGE_BYTES_MAX:
            break
        listed += 1
        write_i64_be(out, letter.seq)
        write_string(out, letter.reason)
        write_i32_be(out, i32(letter.attempts))
        frames.write_short(out, letter.contents().key)
    head = BytesWriter()
    write_i32_be(head, i32(listed))
    return head.getvalue() + out.getvalue()


def options(given: dict[str, object]) -> dict[str, int]:
    """The options of CREATE as numbers. Raises InvalidArgumentError."""
    found: dict[str, int] = {}
    for name, value in given.items():
        if name == "durability" and isinstance(value, str):
            found[name] = int(level_number(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            found[name] = value
        else:
            raise InvalidArgumentError(f"{name} {value!r}: it is an integer")
    return found


def definition(stream: Stream) -> bytes:
    """The element of CREATE's and DESCRIBE's answers."""
    out = BytesWriter()
    known = stream.definition
    write_string(out, stream.name)
    flags: i64 = 0
    if known.max_age_ms > 0:
        flags |= op.STREAM_MAX_AGE
    if known.max_bytes > 0:
        flags |= op.STREAM_MAX_BYTES
    out.append(u8(flags))
    if known.max_age_ms > 0:
        write_i64_be(out, known.max_age_ms)
    if known.max_bytes > 0:
        write_i64_be(out, known.max_bytes)
    write_i64_be(out, known.max_ack_pending)
    write_i64_be(out, known.ack_wait_ms)
    write_i32_be(out, i32(known.max_deliveries))
    return out.getvalue()
