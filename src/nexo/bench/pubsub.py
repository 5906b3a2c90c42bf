"""Load on publish/subscribe: one publisher, many subscribers, every byte counted where it arrives.

The publisher sends chunks and never runs further ahead of the slowest subscriber than a window, so
no server has to drop; a message that does not arrive ends the run.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Final, final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError, Dialect
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

WARM_UP_SECONDS: Final = 0.2
STALL_SECONDS_MAX: Final = 10.0
"""A server that delivers nothing for so long while messages are under way has lost them."""
STALL_NS_MAX: Final = 10_000_000_000
WINDOW_MESSAGES: Final = 16_384
"""What may be under way to the slowest subscriber: as much as a subscription's default bound holds."""
CHUNK_MESSAGES: Final = 1_024
"""Messages in one write of the publisher."""
READ_BYTES: Final = 1 << 18
CHECK_EVERY: Final = 16
"""After the first two chunks of a subscriber, one read in so many is compared byte by byte."""
TOPIC: Final = b"bench/fan-out/topic"


@final
class PubSubLoad:
    """What to do. `others` subscriptions on one more connection match nothing that is published.

    With `topics` more than one, messages go to that many topics in turn, which one wildcard filter
    of the subscriber matches.
    """

    def __init__(
        self,
        dialect: Dialect,
        host: str,
        port: int,
        *,
        subscribers: int = 1,
        size: int = 32,
        seconds: float = 5.0,
        others: int = 0,
        topics: int = 1,
        window: int = WINDOW_MESSAGES,
        chunk: int = CHUNK_MESSAGES,
    ) -> None:
        self.dialect = dialect
        self.host = host
        self.port = port
        self.subscribers = subscribers
        self.size = size
        self.seconds = seconds
        self.others = others
        self.topics = topics
        self.window = window
        self.chunk = min(chunk, window)

    def filter(self) -> bytes:
        """What the subscribers subscribe to."""
        return TOPIC if self.topics == 1 else b"bench/hit/+"

    def topic(self, number: int) -> bytes:
        """The topic of a message."""
        return TOPIC if self.topics == 1 else b"bench/hit/%06d" % (number % self.topics)

    def payload(self, number: int) -> bytes:
        """A message's content: its place in the chunk, filled up to `size` bytes."""
        return (b"%08d" % number + b"." * self.size)[: self.size]


@final
class PubSubResult:
    """Deliveries in `seconds`, from the first publication measured to the last byte received."""

    def __init__(self) -> None:
        self.published = 0
        self.delivered = 0
        self.seconds = 0.0
        self.latency = Histogram()

    def rate(self) -> float:
        """Messages delivered per second, over all subscribers."""
        return self.delivered / self.seconds if self.seconds else 0.0


@final
class Stage:
    """The connections of one load, subscribed, and the bytes they send and must receive."""

    def __init__(self, load: PubSubLoad) -> None:
        dialect = load.dialect
        self.load = load
        self.everyone: list[Connection] = []
        self.receivers: list[Connection] = []
        numbers = range(load.chunk)
        self.chunk = b"".join([dialect.publish(load.topic(n), load.payload(n)) for n in numbers])
        self.single = dialect.publish(load.topic(0), load.payload(0))
        deliveries = [dialect.delivery(load.topic(n), load.payload(n)) for n in numbers]
        self.frame_bytes: i64 = len(deliveries[0])
        self.period: i64 = self.frame_bytes * load.chunk
        one = b"".join(deliveries)
        # Long enough that a read which begins anywhere in a chunk can be compared at once.
        self.expected = one * (READ_BYTES // len(one) + 2)
        self.reply_bytes: i64 = len(dialect.publish_reply(load.subscribers)) if load.subscribers else 0

    def open(self) -> None:
        """Connect and subscribe everyone; BenchError where the server refuses."""
        load = self.load
        dialect = load.dialect
        self.publisher = connect(dialect, load.host, load.port)
        self.everyone.append(self.publisher)
        self.receivers = connect_many(dialect, load.host, load.port, load.subscribers)
        self.everyone += self.receivers
        if load.others:
            bystander = connect(dialect, load.host, load.port)
            self.everyone.append(bystander)
            subscribe_others(dialect, bystander, load.others)
        for receiver in self.receivers:
            expect(receiver, dialect.subscribe(load.filter(), 1), dialect.subscribe_reply(load.filter(), 1))
        if dialect.late_question():
            for connection in self.everyone:
                expect(connection, b"", dialect.late_question())
                connection.sock.sendall(dialect.late_answer())
        self.poll = poller(self.everyone)
        self.table = by_fd(self.everyone)
        self.buffer = bytearray(READ_BYTES)
        self.view = memoryview(self.buffer)
        self.reads: i64 = 0

    def close(self) -> None:
        """Close every connection."""
        close_all(self.everyone)


def subscribe_others(dialect: Dialect, connection: Connection, count: int) -> None:
    """`count` filters that match none of the topics published: every second one has a wildcard."""
    for start in range(1, count + 1, 100):
        requests: list[bytes] = []
        replies: list[bytes] = []
        for number in range(start, min(start + 100, count + 1)):
            topic = b"bench/other/%d/%s" % (number, b"value" if number % 2 else b"+")
            requests.append(dialect.subscribe(topic, number))
            replies.append(dialect.subscribe_reply(topic, number))
        expect(connection, b"".join(requests), b"".join(replies))


def run(load: PubSubLoad) -> PubSubResult:
    """Publish for the load's seconds as fast as the window lets, then wait for the last byte."""
    _refuse_what_is_not_there(load)
    stage = Stage(load)
    try:
        stage.open()
        result = PubSubResult()
        _stream(stage, result, WARM_UP_SECONDS)
        _stream(stage, result, load.seconds)
        return result
    finally:
        stage.close()


def run_latency(load: PubSubLoad) -> PubSubResult:
    """One message at a time: the time from its publication until the last subscriber has all of it."""
    _refuse_what_is_not_there(load)
    stage = Stage(load)
    try:
        stage.open()
        result = PubSubResult()
        _one_by_one(stage, result)
        return result
    finally:
        stage.close()


def _refuse_what_is_not_there(load: PubSubLoad) -> None:
    if not load.dialect.has_pubsub:
        raise BenchError(f"{load.dialect.name} has no publish/subscribe")
    if not load.dialect.has_wildcards and (load.topics > 1 or load.others > 0):
        raise BenchError(f"the {load.dialect.name} load knows no wildcard subscriptions")


def _stream(stage: Stage, result: PubSubResult, seconds: float) -> None:
    """Publish chunks for `seconds`, receive all of them, and write the counts of this run to `result`."""
    load = stage.load
    publisher = stage.publisher
    poll = stage.poll
    for connection in stage.everyone:
        connection.received = 0
    chunk_messages: i64 = load.chunk
    window: i64 = load.window
    published: i64 = 0
    slowest: i64 = 0
    start: i64 = monotonic_ns()
    stop: i64 = start + int(seconds * 1e9)
    now: i64 = start
    last_news: i64 = start
    while True:
        if now < stop:
            while not publisher.unsent and published + chunk_messages - slowest <= window:
                push(poll, publisher, stage.chunk)
                published += chunk_messages
        elif slowest == published and not publisher.unsent:
            break
        _receive_ready(stage, poll.poll(0.5))
        now = monotonic_ns()
        messages = slowest_count(stage, published)
        if messages > slowest:
            slowest = messages
            last_news = now
        elif now - last_news > STALL_NS_MAX:
            raise BenchError(
                f"messages are missing: {published} published, {slowest} at the slowest subscriber"
            )
    _check_counts(stage, published)
    result.published = published
    result.delivered = published * load.subscribers
    result.seconds = int(now - start) / 1e9


def slowest_count(stage: Stage, published: i64) -> i64:
    """Whole messages that everyone has received; the publisher counts where it is sent replies."""
    least: i64 = published * stage.frame_bytes
    for receiver in stage.receivers:
        least = min(least, receiver.received)
    count = least // stage.frame_bytes
    if stage.reply_bytes > 0:
        replies = stage.publisher.received // stage.reply_bytes
        count = min(count, replies)
    return count


def _receive_ready(stage: Stage, events: list[tuple[int, int]]) -> None:
    """Read once from everything that has something, and count it."""
    publisher = stage.publisher
    table = stage.table
    buffer = stage.buffer
    period = stage.period
    for fd, mask in events:
        connection = table[fd]
        if mask & WRITE:
            push_rest(stage.poll, connection)
            if mask == WRITE:
                continue
        try:
            got: i64 = connection.sock.recv_into(buffer)
        except OSError as error:
            raise BenchError(f"the server broke a connection: {error}") from error
        if got == 0:
            raise BenchError("the server closed a connection")
        if connection is not publisher:
            stage.reads += 1
            if stage.reads % CHECK_EVERY == 0 or connection.received < 2 * period:
                _compare(stage, connection.received % period, got)
        connection.received += got


def _compare(stage: Stage, at: i64, got: i64) -> None:
    """The `got` bytes just read must be those that stand at `at` in the deliveries of a chunk."""
    if not stage.expected.startswith(stage.view[:got], at):
        wanted = stage.expected[at : at + 120]
        raise BenchError(f"unexpected delivery {bytes(stage.buffer[:120])!r}, not {wanted!r}")


def _check_counts(stage: Stage, published: i64) -> None:
    """Nothing may have come beyond what was published either."""
    for receiver in stage.receivers:
        if receiver.received != published * stage.frame_bytes:
            raise BenchError(
                f"{receiver.received} bytes received for {published} messages of {stage.frame_bytes}"
            )
    if stage.publisher.received != published * stage.reply_bytes:
        raise BenchError("the publisher got replies that it should not have got, perhaps an error")


def _one_by_one(stage: Stage, result: PubSubResult) -> None:
    load = stage.load
    poll = stage.poll
    latency = result.latency
    published: i64 = 0
    start: i64 = monotonic_ns()
    stop: i64 = start + int(load.seconds * 1e9)
    now: i64 = start
    # Only the first message of a chunk is sent here, so content cannot be compared by position.
    stage.period = stage.frame_bytes
    stage.expected = stage.expected[: stage.frame_bytes] * (READ_BYTES // stage.frame_bytes + 2)
    while now < stop:
        sent_at: i64 = monotonic_ns()
        push(poll, stage.publisher, stage.single)
        published += 1
        while slowest_count(stage, published) < published:
            events = poll.poll(STALL_SECONDS_MAX)
            if not events:
                raise BenchError(f"message {published} did not arrive")
            _receive_ready(stage, events)
        now = monotonic_ns()
        latency.add(now - sent_at)
    _check_counts(stage, published)
    result.published = published
    result.delivered = published * load.subscribers
    result.seconds = int(now - start) / 1e9


__all__ = ["BenchError", "PubSubLoad", "PubSubResult", "run", "run_latency"]
