"""What short histories of a node are told with: one client, whose commands are answered when they are durable."""

from __future__ import annotations

import errno
from collections.abc import Callable

from nexo.brokers.journal import FSYNC
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.queue import Queue
from nexo.brokers.stream.group import Group, Member
from nexo.brokers.stream.stream import Stream
from tests.simulation.disk import Disk
from tests.simulation.model import Step
from tests.simulation.node import TRY_AGAIN_MS, Life

NOW = 1_700_000_000_000


class History:
    """A node with one client; `do` is a command and gives the step whose answer it waits for."""

    def __init__(self) -> None:
        self.disk = Disk(1)
        self.count = 0
        self.begin(NOW)

    def begin(self, now: int) -> None:
        self.life = Life(self.disk, now)
        self.life.claim()
        self.session = self.life.session()
        self.consumer = Consumer()
        self.node = self.life.node

    @property
    def now(self) -> int:
        return self.life.now

    def do(self, command: Callable[[], object], level: int = FSYNC) -> Step:
        self.node.begin()
        command()
        step = Step(level, int(self.node.journal.batch))
        self.count += 1
        self.life.hold(self.session, self.count, step)
        return step

    def rest(self) -> None:
        """All is written, and all answers are read."""
        self.life.rest()
        self.life.collect(self.session)

    def restart(self, power: bool = True, ms: int = 1_000) -> None:
        self.disk = self.disk.crash() if power else self.disk.kill()
        self.begin(self.now + ms)

    def queue(self, **options: object) -> Queue:
        self.node.begin()
        queue, _ = self.node.queues.create(b"q", options, self.now)
        return queue

    def found(self) -> Queue:
        return self.node.queues.find(b"q")

    def stream(self, **options: int) -> Stream:
        self.node.begin()
        stream, _ = self.node.streams.create(b"s", options, self.now)
        return stream

    def join(self, stream: Stream) -> tuple[Group, Member]:
        self.node.begin()
        member = self.node.streams.join(stream, b"g", self.session, self.now)
        return member.group, member

    def fill_the_disk(self, left: int = 1) -> None:
        self.disk.faults.capacity = sum(map(self.disk.size, self.disk.names())) + left

    def make_room(self) -> None:
        self.disk.faults.capacity = 0
        self.life.driver.time_ms += TRY_AGAIN_MS
        self.life.advance()
        assert not self.life.log.full
        self.rest()

    def fail_a_sync(self) -> None:
        self.disk.faults.fail_sync_at, self.disk.faults.error = self.disk.syncs + 1, errno.EIO


def values(queue: Queue) -> list[bytes]:
    return [queue.view(message).value for message in queue.parts.backlog.index.after(0, 1 << 30)]


def dead(queue: Queue) -> list[bytes]:
    return [queue.view(letter.message).value for letter in queue.peek(100, 0)]
