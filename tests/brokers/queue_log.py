"""What the queue tests share: a journal in memory, a waiter that remembers, a restart, and short names for calls."""

from __future__ import annotations

from librt.strings import BytesWriter

from nexo.brokers.journal import OPERATION_HEAD_BYTES, Journal
from nexo.brokers.queue.consumers import Consumer, Waiter
from nexo.brokers.queue.lending import BY_POLICY, FAILED
from nexo.brokers.queue.message import DELAYED, HELD, LEASED, READY, Delivery, Item
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.queues import Queues
from nexo.errors import ServerError, StorageError

START = 1_700_000_000_000
FILE = 3 << 32
"""Addresses start here: in the third file."""


class MemoryLog(Journal):
    """A journal whose batches are closed by hand. `data` is all that was written, `reads` counts."""

    def __init__(self) -> None:
        super().__init__(True)
        self.data = b""
        self.base = FILE
        self.reads = 0

    def close(self) -> None:
        """The open batch is on disk."""
        self.data += self.out.getvalue()
        self._next(self.batch)

    def fail(self) -> int:
        """The open batch has failed; gives its number."""
        failed = self.batch
        self._next(self.written)
        return failed

    def _next(self, reached: int) -> None:
        self.out = BytesWriter()
        self.base = FILE + len(self.data)
        self.written = reached
        self.synced = reached
        self.batch += 1

    def kinds(self) -> list[int]:
        """The operations of the open batch."""
        return [kind for kind, _, _ in operations(self.out.getvalue())]

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        place = address - FILE
        if not 0 <= place <= len(self.data) - size:
            raise StorageError(f"nothing at {address} of the log")
        return self.data[place : place + size]


def operations(data: bytes) -> list[tuple[int, int, int]]:
    """(kind, start, end) of each."""
    found = []
    at = 0
    while at < len(data):
        start = at + OPERATION_HEAD_BYTES
        end = start + int.from_bytes(data[at + 1 : start], "big")
        found.append((data[at], start, end))
        at = end
    assert at == len(data)
    return found


def replay(
    data: bytes, now: int, resident_bytes_max: int = 1 << 40, before: bytes = b""
) -> tuple[Queues, MemoryLog]:
    """Queues that have done all of this again; `before` is the log that a snapshot refers to."""
    log = MemoryLog()
    log.data = before + data
    log.keeping = False
    queues = Queues(log, 0, resident_bytes_max)
    for kind, start, end in operations(data):
        queues.apply(kind, data, start, end, FILE + len(before) + start, now)
    log.keeping = True
    log.close()
    queues.recovered(now)
    return queues, log


def dumped(queues: Queues, now: int, budget: int = 2) -> bytes:
    """A snapshot of them, in slices."""
    out = MemoryLog()
    job = queues.dump(out, now)
    while not job.step(budget):
        pass
    out.close()
    return out.data


class Listener(Waiter):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Delivery] = []
        self.late = 0
        self.errors: list[ServerError] = []

    def delivered(self, deliveries: list[Delivery]) -> None:
        self.got += deliveries

    def timed_out(self) -> None:
        self.late += 1

    def failed(self, error: ServerError) -> None:
        self.errors.append(error)


STATES = {READY: "ready", HELD: "held", DELAYED: "delayed", LEASED: "leased"}


def seen(queue: Queue) -> dict[int, tuple[object, ...]]:
    """All messages by browsing, two at a time."""
    found = {}
    for state, name in STATES.items():
        after = 0
        while True:
            page = queue.browse(state, after, 2)
            for message in page.messages:
                whole = queue.view(message)
                found[int(message.id)] = (
                    name,
                    whole.value,
                    whole.headers,
                    int(message.priority),
                    message.group,
                    int(message.attempts),
                    int(message.due_at),
                    int(message.expires_at),
                    message.reason,
                )
            after = page.after
            if after == 0:
                break
    return found


def seen_dead(queue: Queue) -> list[tuple[object, ...]]:
    """All dead letters in their order."""
    return [
        (
            int(letter.message.id),
            queue.view(letter.message).value,
            int(letter.message.attempts),
            letter.reason,
            int(letter.died_at),
        )
        for letter in queue.peek(10**6, 0)
    ]


def new_queue(**options: object) -> tuple[Queues, Queue, Consumer]:
    """Queues without a journal, one of them, and somebody who takes from it."""
    queues = Queues(Journal())
    queue, created = queues.create(b"mail", options, START)
    assert created
    return queues, queue, Consumer()


def value(number: int) -> bytes:
    return b"\x00%d" % number


def push(queue: Queue, *numbers: int, now: int = START, **more: object) -> list[int]:
    return [int(queue.push_item(Item(value(number), **more), now)) for number in numbers]  # type: ignore[arg-type]


def take(queue: Queue, consumer: Consumer, count: int = 100, now: int = START) -> list[Delivery]:
    return queue.receive(count, consumer, now)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(one.message.value[1:]) for one in deliveries]


def ack(queue: Queue, one: Delivery, now: int = START) -> int:
    return int(queue.ack(one.message.id, one.token, now))


def nack(queue: Queue, one: Delivery, mode: int = FAILED, delay: int = BY_POLICY, now: int = START) -> int:
    return int(queue.nack(one.message.id, one.token, b"broken", mode, delay, now))
