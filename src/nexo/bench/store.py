"""Load on a key-value store: reads and writes over many connections, at full speed or at a fixed rate.

Owns the two loops and their counting. Every reply is looked at; one that is an error or a miss ends
the run.
"""

from __future__ import annotations

import random
from time import monotonic_ns
from typing import Final, final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError, Dialect, ReplyShape
from nexo.bench.histogram import Histogram
from nexo.bench.sockets import (
    WRITE,
    Connection,
    by_fd,
    close_all,
    connect,
    connect_many,
    expect,
    poller,
    push,
    push_rest,
)

KEYS_DEFAULT: Final = 100_000
WARM_UP_SECONDS: Final = 0.2
STALL_SECONDS_MAX: Final = 10.0
"""A server that is silent for so long while it owes replies has failed the run."""
PREPARED_REQUESTS: Final = 100_000
"""Requests encoded before the clock starts, and used in turn."""
FILL_PIPELINE: Final = 100
READ_BYTES_MAX: Final = 1 << 18


def key_of(number: int) -> bytes:
    """The 16-byte key of a number."""
    return b"key:%012d" % number


def value_of(size: int) -> bytes:
    """A value of `size` bytes."""
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@final
class StoreLoad:
    """What to do: `operation` is "set", "get" or "mixed" (one write to each read)."""

    def __init__(
        self,
        dialect: Dialect,
        host: str,
        port: int,
        *,
        connections: int = 50,
        pipeline: int = 1,
        size: int = 64,
        keys: int = KEYS_DEFAULT,
        operation: str = "get",
        seconds: float = 5.0,
        seed: int = 1,
    ) -> None:
        self.dialect = dialect
        self.host = host
        self.port = port
        self.connections = connections
        self.pipeline = pipeline
        self.keys = keys
        self.value = value_of(size)
        self.operation = operation
        self.seconds = seconds
        self.seed = seed

    def requests(self) -> list[bytes]:
        """Buffers of `pipeline` requests each, on keys drawn from the seed."""
        draw = random.Random(self.seed)
        count = max(64, PREPARED_REQUESTS // self.pipeline)
        buffers: list[bytes] = []
        number = 0
        for _ in range(count):
            parts: list[bytes] = []
            for position in range(self.pipeline):
                number += 1
                key = key_of(draw.randrange(self.keys))
                if self.operation == "set" or (self.operation == "mixed" and number % 2):
                    parts.append(self.dialect.set_request(key, self.value, position + 1))
                else:
                    parts.append(self.dialect.get_request(key, position + 1))
            buffers.append(b"".join(parts))
        return buffers

    def shape(self) -> ReplyShape:
        """The replies this load may get."""
        return self.dialect.shape(key_of(0), self.value)


@final
class StoreResult:
    """Replies counted in `seconds` of measurement, and their times from send to reply."""

    def __init__(self) -> None:
        self.replies = 0
        self.seconds = 0.0
        self.latency = Histogram()

    def rate(self) -> float:
        """Replies per second."""
        return self.replies / self.seconds if self.seconds else 0.0


def check(load: StoreLoad) -> None:
    """Write and read one key and compare every byte, so that sizes may be trusted under load."""
    if not load.dialect.has_store:
        raise BenchError(f"{load.dialect.name} has no key-value store")
    connection = connect(load.dialect, load.host, load.port)
    try:
        key = key_of(load.keys)
        expect(connection, load.dialect.set_request(key, load.value, 7), load.dialect.set_reply(7))
        expect(connection, load.dialect.get_request(key, 8), load.dialect.get_reply(key, load.value, 8))
    finally:
        connection.close()


def fill(load: StoreLoad, first: int = 0) -> None:
    """Write the keys from `first` to the load's last over one connection; each reply is checked."""
    connection = connect(load.dialect, load.host, load.port)
    try:
        for start in range(first, load.keys, FILL_PIPELINE):
            numbers = range(start, min(start + FILL_PIPELINE, load.keys))
            request = b"".join([load.dialect.set_request(key_of(n), load.value, 1) for n in numbers])
            expect(connection, request, load.dialect.set_reply(1) * len(numbers))
    finally:
        connection.close()


def count_replies(connection: Connection, data: bytes, shape: ReplyShape) -> i64:
    """How many replies end in `data`, which follows what was kept of earlier data."""
    if connection.rest:
        data = connection.rest + data
        connection.rest = b""
    sizes = shape.sizes
    marks = shape.marks
    kind_at: i64 = shape.kind_at
    mark_at: i64 = shape.mark_at
    head: i64 = max(kind_at, mark_at) + 1
    end: i64 = len(data)
    at: i64 = 0
    count: i64 = 0
    while end - at >= head:
        kind: i64 = data[at + kind_at]
        size: i64 = sizes[kind]
        mark: i64 = marks[kind]
        if size == 0 or data[at + mark_at] != mark:
            raise BenchError(f"unexpected reply {data[at : at + 200]!r}")
        if end - at < size:
            break
        at += size
        count += 1
    if at < end:
        connection.rest = data[at:]
    return count


def run(load: StoreLoad) -> StoreResult:
    """Full speed: each connection sends its next requests when all its replies have come."""
    check(load)
    buffers = load.requests()
    connections = connect_many(load.dialect, load.host, load.port, load.connections)
    try:
        result = StoreResult()
        _closed_loop(load, connections, buffers, result)
        return result
    finally:
        close_all(connections)


def _closed_loop(
    load: StoreLoad, connections: list[Connection], buffers: list[bytes], result: StoreResult
) -> None:
    poll = poller(connections)
    table = by_fd(connections)
    shape = load.shape()
    pipeline: i64 = load.pipeline
    read_bytes = min(load.pipeline * shape.size_max, READ_BYTES_MAX)
    latency = result.latency
    count: i64 = len(buffers)
    cursor: i64 = 0
    replies: i64 = 0
    begin: i64 = monotonic_ns()
    start: i64 = begin + int(WARM_UP_SECONDS * 1e9)
    stop: i64 = start + int(load.seconds * 1e9)
    measuring = False
    now: i64 = begin
    for connection in connections:
        connection.outstanding = pipeline
        connection.sent_at = monotonic_ns()
        push(poll, connection, buffers[cursor])
        cursor = (cursor + 1) % count
    while now < stop:
        events = poll.poll(STALL_SECONDS_MAX)
        if not events:
            raise BenchError(f"no reply for {STALL_SECONDS_MAX:.0f} s")
        for fd, mask in events:
            connection = table[fd]
            if mask & WRITE:
                push_rest(poll, connection)
                if mask == WRITE:
                    continue
            data = connection.recv(read_bytes)
            if not data:
                raise BenchError("the server closed a connection")
            got = count_replies(connection, data, shape)
            replies += got
            connection.outstanding -= got
            if connection.outstanding > 0:
                continue
            if connection.outstanding < 0 or connection.rest:
                raise BenchError("the server sent more than was asked for")
            now = monotonic_ns()
            if measuring:
                latency.add(now - connection.sent_at)
            connection.outstanding = pipeline
            connection.sent_at = now
            push(poll, connection, buffers[cursor])
            cursor += 1
            if cursor == count:
                cursor = 0
        if not measuring and now >= start:
            # Counting begins between two polls, so that no reply is counted without its time.
            measuring = True
            start = now
            replies = 0
    poll.close()
    result.replies = replies
    result.seconds = int(now - start) / 1e9


def run_at_rate(load: StoreLoad, rate: float) -> StoreResult:
    """A fixed number of requests a second whatever the server does.

    A request's time counts from when it was due, not from when a connection was free to send it:
    a server that stalls pays for all that should have come meanwhile.
    """
    check(load)
    buffers = load.requests()
    connections = connect_many(load.dialect, load.host, load.port, load.connections)
    try:
        result = StoreResult()
        _open_loop(load, connections, buffers, rate, result)
        return result
    finally:
        close_all(connections)


def _open_loop(
    load: StoreLoad, connections: list[Connection], buffers: list[bytes], rate: float, result: StoreResult
) -> None:
    poll = poller(connections)
    table = by_fd(connections)
    shape = load.shape()
    latency = result.latency
    idle = list(connections)
    count: i64 = len(buffers)
    cursor: i64 = 0
    sent: i64 = 0
    replies: i64 = 0
    interval_ps: i64 = int(1e12 / rate)
    begin: i64 = monotonic_ns()
    start: i64 = begin + int(WARM_UP_SECONDS * 1e9)
    stop: i64 = start + int(load.seconds * 1e9)
    due: i64 = begin
    now: i64 = begin
    while now < stop:
        now = monotonic_ns()
        while due <= now and idle:
            connection = idle.pop()
            connection.sent_at = due
            push(poll, connection, buffers[cursor])
            cursor = (cursor + 1) % count
            sent += 1
            due = begin + sent * interval_ps // 1000
        # Not a sleep until the next request is due: epoll counts in milliseconds, a request in microseconds.
        for fd, mask in poll.poll(0):
            connection = table[fd]
            if mask & WRITE:
                push_rest(poll, connection)
                if mask == WRITE:
                    continue
            data = connection.recv(shape.size_max)
            if not data:
                raise BenchError("the server closed a connection")
            if count_replies(connection, data, shape) == 1:
                now = monotonic_ns()
                if connection.sent_at >= start:
                    latency.add(now - connection.sent_at)
                    replies += 1
                idle.append(connection)
    poll.close()
    result.replies = replies
    result.seconds = int(now - start) / 1e9
