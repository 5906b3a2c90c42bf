"""Load on what keeps messages, queues and streams alike: confirmed writes in a window, reading, and the delay
from a write to a reader that waits. The loops are the same for every server; what is sent is the wire's.
"""

from __future__ import annotations

import os
from time import monotonic_ns
from typing import Final, final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError
from nexo.bench.histogram import Histogram
from nexo.bench.sockets import (
    WRITE,
    Connection,
    by_fd,
    close_all,
    exchange,
    open_connection,
    poller,
    push_more,
    push_rest,
)
from nexo.bench.wire_beanstalkd import BeanstalkdWire
from nexo.bench.wire_nats import NatsWire
from nexo.bench.wire_nexo import NexoWire
from nexo.bench.wire_rabbitmq import RabbitmqWire
from nexo.bench.wire_redis import RedisWire
from nexo.bench.wires import NAMES, STAMP_BYTES, Reader, Replies, Wire

WARM_UP_SECONDS: Final = 0.2
STALL_SECONDS_MAX: Final = 10.0
"""A server that is silent for so long while it owes replies has failed the run."""
READ_BYTES: Final = 1 << 18
WINDOW_MESSAGES: Final = 2_000
"""Writes under way and not yet confirmed, over all connections."""
MESSAGES_DEFAULT: Final = 100_000
TENTHS: Final = 10


def wire(name: str, topic: bytes, size: i64, durability: str) -> Wire:
    """The wire called `name`, one of wires.NAMES."""
    if name == "nexo":
        return NexoWire(topic, size, durability)
    if name == "redis":
        return RedisWire(topic, size, durability)
    if name == "nats":
        return NatsWire(topic, size, durability)
    if name == "beanstalkd":
        return BeanstalkdWire(topic, size, durability)
    if name == "rabbitmq":
        return RabbitmqWire(topic, size, durability)
    raise ValueError(f"unknown protocol {name!r}: one of {', '.join(NAMES)}")


@final
class KeptLoad:
    """What to do: writes end after `messages`, or after `seconds` where that is 0.

    `pid`: a server on this machine, whose CPU time is counted; 0: none.
    """

    def __init__(
        self,
        wire: Wire,
        host: str,
        port: int,
        *,
        stream: bool,
        connections: int = 1,
        window: int = WINDOW_MESSAGES,
        messages: int = 0,
        seconds: float = 5.0,
        pid: int = 0,
    ) -> None:
        self.wire = wire
        self.host = host
        self.port = port
        self.stream = stream
        self.connections = connections
        self.window = max(1, window // connections)
        self.messages = messages
        self.seconds = seconds
        self.pid = pid
        if not (wire.has_stream if stream else wire.has_queue):
            raise BenchError(f"{wire.name} has no {'streams' if stream else 'queues'}")
        if wire.size < STAMP_BYTES:
            raise BenchError(f"a message has at least {STAMP_BYTES} bytes")

    def connect(self, reading: bool, count: int) -> list[Connection]:
        """Connections that are ready to write or to read."""
        found: list[Connection] = []
        try:
            for place in range(count):
                connection = open_connection(self.host, self.port)
                found.append(connection)
                exchange(connection, self.wire, self.wire.greeting())
                if reading:
                    exchange(connection, self.wire, self.wire.reading(self.stream, place))
                else:
                    exchange(connection, self.wire, self.wire.writing(self.stream, place))
        except (BenchError, OSError):
            close_all(found)
            raise
        return found

    def body(self, number: i64) -> bytes:
        """A message: its number, filled up."""
        return (b"%020d" % int(number) + b"." * int(self.wire.size))[: int(self.wire.size)]

    def buffer(self, place: i64) -> bytes:
        """A window of requests twice over, so that any number of them from any place lies in one piece."""
        requests = [self.wire.write(self.stream, self.body(n), n + 1, place) for n in range(self.window)]
        return b"".join(requests) * 2


@final
class KeptResult:
    """`messages` in `seconds`; the rate of each tenth where a number of messages was asked for."""

    def __init__(self) -> None:
        self.messages: i64 = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.tenths: list[float] = []
        self.latency = Histogram()

    def rate(self) -> float:
        """Messages a second."""
        return int(self.messages) / self.seconds if self.seconds else 0.0

    def cpu_us(self) -> float:
        """The server's CPU time for a message in microseconds; 0 when it was not counted."""
        return self.cpu_seconds / int(self.messages) * 1e6 if self.messages else 0.0


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all its threads; 0 for no process."""
    if not pid:
        return 0.0
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError as error:
        raise BenchError(f"no process {pid}: {error}") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def create(load: KeptLoad) -> None:
    """Make the queue or stream, empty."""
    _setup(load, load.wire.create(load.stream))


def delete(load: KeptLoad) -> None:
    """Delete it."""
    _setup(load, load.wire.delete(load.stream))


def _setup(load: KeptLoad, steps: list[tuple[bytes, bytes]]) -> None:
    connection = open_connection(load.host, load.port)
    try:
        exchange(connection, load.wire, load.wire.greeting())
        exchange(connection, load.wire, steps)
    finally:
        connection.close()


def write(load: KeptLoad) -> KeptResult:
    """Writes as fast as the window lets; each confirmation makes room for one more."""
    connections = load.connect(False, load.connections)
    try:
        result = KeptResult()
        _write(load, connections, result)
        return result
    finally:
        close_all(connections)


@final
class Lane:
    """One connection that writes: its prepared requests, and where it is in them."""

    def __init__(self, load: KeptLoad, connection: Connection, place: i64) -> None:
        self.connection = connection
        self.replies: Replies = load.wire.replies(load.stream)
        self.buffer = load.buffer(place)
        self.window: i64 = load.window
        self.request_bytes: i64 = len(self.buffer) // (2 * load.window)
        self.cursor: i64 = 0

    def requests(self, count: i64) -> bytes:
        """The next `count` requests, at most a window of them."""
        start = self.cursor * self.request_bytes
        self.cursor += count
        if self.cursor >= self.window:
            self.cursor -= self.window
        return self.buffer[start : start + count * self.request_bytes]


def _write(load: KeptLoad, connections: list[Connection], result: KeptResult) -> None:
    poll = poller(connections)
    table = by_fd(connections)
    lanes = [Lane(load, connection, place) for place, connection in enumerate(connections)]
    by_number: list[Lane] = [lanes[0]] * len(table)
    for lane in lanes:
        by_number[lane.connection.fd] = lane
    wanted: i64 = load.messages
    timed = wanted == 0
    sent: i64 = 0
    confirmed: i64 = 0
    begin: i64 = monotonic_ns()
    start: i64 = begin + (int(WARM_UP_SECONDS * 1e9) if timed else 0)
    stop: i64 = start + int(load.seconds * 1e9)
    measuring = not timed
    start_count: i64 = 0
    start_cpu = cpu_seconds(load.pid)
    mark: i64 = begin
    tenth: i64 = 1
    now: i64 = begin
    sending = True
    for lane in lanes:
        count = lane.window if timed else min(lane.window, wanted - sent)
        if count > 0:
            push_more(poll, lane.connection, lane.requests(count))
            sent += count
    while confirmed < sent:
        events = poll.poll(STALL_SECONDS_MAX)
        if not events:
            raise BenchError(f"no confirmation for {STALL_SECONDS_MAX:.0f} s")
        for fd, mask in events:
            lane = by_number[fd]
            connection = lane.connection
            if mask & WRITE:
                push_rest(poll, connection)
                if mask == WRITE:
                    continue
            data = connection.recv(READ_BYTES)
            if not data:
                raise BenchError("the server closed a connection")
            got = lane.replies.count(data)
            confirmed += got
            if confirmed > sent:
                raise BenchError("the server confirmed more than was sent")
            if lane.replies.owed:
                push_more(poll, connection, lane.replies.owed)
                lane.replies.owed = b""
            count = got if timed else min(got, wanted - sent)
            if count > 0 and sending:
                push_more(poll, connection, lane.requests(count))
                sent += count
        now = monotonic_ns()
        if timed:
            if not measuring and now >= start:
                measuring = True
                start = now
                stop = now + int(load.seconds * 1e9)
                start_count = confirmed
                start_cpu = cpu_seconds(load.pid)
            elif now >= stop and sending:
                sending = False
                result.messages = confirmed - start_count
                result.seconds = int(now - start) / 1e9
                result.cpu_seconds = cpu_seconds(load.pid) - start_cpu
        elif confirmed * TENTHS >= tenth * wanted:
            done = confirmed - result.messages
            result.messages = confirmed
            result.tenths.append(int(done) * 1e9 / int(max(1, now - mark)))
            mark = now
            tenth = confirmed * TENTHS // wanted + 1
    if not timed:
        result.messages = confirmed
        result.seconds = int(now - begin) / 1e9
        result.cpu_seconds = cpu_seconds(load.pid) - start_cpu
    poll.close()


def read(load: KeptLoad) -> KeptResult:
    """Take `load.messages` that are there, with acknowledgement where there is one."""
    connections = load.connect(True, load.connections)
    try:
        result = KeptResult()
        readers = [load.wire.reader(load.stream, False, place) for place in range(len(connections))]
        _read(load, connections, readers, result)
        return result
    finally:
        close_all(connections)


def _read(load: KeptLoad, connections: list[Connection], readers: list[Reader], result: KeptResult) -> None:
    poll = poller(connections)
    table = by_fd(connections)
    by_number: list[Reader] = [readers[0]] * len(table)
    wanted: i64 = load.messages
    if load.stream:
        wanted *= len(readers)  # each reads all of it
    done: i64 = 0
    begin: i64 = monotonic_ns()
    start_cpu = cpu_seconds(load.pid)
    for place, connection in enumerate(connections):
        by_number[connection.fd] = readers[place]
        push_more(poll, connection, readers[place].first())
    while done < wanted:
        events = poll.poll(STALL_SECONDS_MAX)
        if not events:
            raise BenchError(f"messages are missing: {done} of {wanted} came")
        for fd, mask in events:
            connection = table[fd]
            if mask & WRITE:
                push_rest(poll, connection)
                if mask == WRITE:
                    continue
            data = connection.recv(READ_BYTES)
            if not data:
                raise BenchError("the server closed a connection")
            reader = by_number[fd]
            before = reader.done
            answer = reader.feed(data)
            done += reader.done - before
            if answer:
                push_more(poll, connection, answer)
    result.messages = done
    result.seconds = int(monotonic_ns() - begin) / 1e9
    result.cpu_seconds = cpu_seconds(load.pid) - start_cpu
    if done > wanted:
        raise BenchError(f"{done} messages came, of {wanted}")
    for connection in connections:
        _finish(connection)
    poll.close()


def _finish(connection: Connection) -> None:
    """The last acknowledgements are with the server before the connection ends."""
    connection.sock.setblocking(True)
    if connection.unsent:
        connection.sock.sendall(connection.unsent)
        connection.unsent = b""


def delay(load: KeptLoad, rate: float) -> KeptResult:
    """One writer at a fixed rate, one reader that waits; a message's time counts from when it was due."""
    connections = load.connect(False, 1)
    try:
        connections += load.connect(True, 1)
        result = KeptResult()
        _delay(load, connections[0], connections[1], rate, result)
        return result
    finally:
        close_all(connections)


def _delay(load: KeptLoad, writer: Connection, taker: Connection, rate: float, result: KeptResult) -> None:
    poll = poller([writer, taker])
    replies = load.wire.replies(load.stream)
    reader = load.wire.reader(load.stream, True, 0)
    stream = load.stream
    wire = load.wire
    filling = b"." * int(wire.size - STAMP_BYTES)
    warm = Histogram()
    reader.latency = warm
    push_more(poll, taker, reader.first())
    interval_ps: i64 = int(1e12 / rate)
    begin: i64 = monotonic_ns()
    start: i64 = begin + int(WARM_UP_SECONDS * 1e9)
    stop: i64 = start + int(load.seconds * 1e9)
    start_cpu = cpu_seconds(load.pid)
    due: i64 = begin
    now: i64 = begin
    sent: i64 = 0
    confirmed: i64 = 0
    news: i64 = begin
    while now < stop or confirmed < sent or reader.done < sent:
        now = monotonic_ns()
        if reader.latency is warm and now >= start:
            reader.latency = result.latency
            start_cpu = cpu_seconds(load.pid)
        if due <= now < stop:
            parts: list[bytes] = []
            while due <= now:
                parts.append(wire.write(stream, b"%020d" % int(due) + filling, sent & 0xFFFF, 0))
                sent += 1
                due = begin + sent * interval_ps // 1000
            push_more(poll, writer, b"".join(parts))
        # Not a sleep until the next message is due: epoll counts in milliseconds.
        for fd, mask in poll.poll(0):
            connection = writer if fd == writer.fd else taker
            if mask & WRITE:
                push_rest(poll, connection)
                if mask == WRITE:
                    continue
            data = connection.recv(READ_BYTES)
            if not data:
                raise BenchError("the server closed a connection")
            news = monotonic_ns()
            if connection is writer:
                confirmed += replies.count(data)
                if replies.owed:
                    push_more(poll, writer, replies.owed)
                    replies.owed = b""
            else:
                reader.now = news
                answer = reader.feed(data)
                if answer:
                    push_more(poll, taker, answer)
        if now - news > int(STALL_SECONDS_MAX * 1e9):
            raise BenchError(f"{sent} sent, {confirmed} confirmed, {reader.done} received")
    result.messages = result.latency.count
    result.seconds = int(now - start) / 1e9
    result.cpu_seconds = cpu_seconds(load.pid) - start_cpu
    _finish(taker)
    poll.close()
