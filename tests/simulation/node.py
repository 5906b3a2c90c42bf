"""One life of a whole node over the simulated disk: recovery, turns, a writer that is stepped, and the end.

    life = Life(disk, now)       recovers, as server/keeper.py does
    life.session()               a client's connection without a socket
    life.hold(...)               an answer that waits for its batch, as a session gives it
    life.turn(), life.step(), life.pass_time()
    life.compact()               runs the compaction that housekeeping has asked for

Nothing happens by itself. `images` has what the node was when each batch was closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crc32c import crc32c
from librt.strings import BytesWriter

from nexo.brokers.journal import MEMORY, Journal
from nexo.brokers.live import ENTRY_BYTES
from nexo.brokers.pubsub import PubSub
from nexo.brokers.queue.queues import Queues
from nexo.brokers.store import Store
from nexo.brokers.stream.streams import Streams
from nexo.errors import DamagedError, NexoError, StorageError
from nexo.node import Driver, Node
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.frames import write_head
from nexo.protocols.native.session import NativeSession
from nexo.server.compaction import compact
from nexo.server.housekeeping import Housekeeper
from nexo.storage.batch import Batch, Hooks
from nexo.storage.format import operations
from nexo.storage.log import Log
from nexo.storage.recovery import Recovery
from nexo.storage.writer import SteppedWriter, Writer
from tests.simulation.disk import Disk
from tests.simulation.image import Image, differences, image
from tests.simulation.model import Step, check
from tests.vectors.session import FRAME_BYTES_MAX, Hand, Recorder
from tests.vectors.wire import OK

FILE_BYTES = 3_000
"""Small, so that a history has many files."""
RESIDENT_BYTES = 2_000
"""Small, so that bodies are let go and read again."""
RESTLESS_TURNS = 500
TRY_AGAIN_MS = 500


class Compactions:
    """What housekeeping has asked for, until somebody does it."""

    def __init__(self) -> None:
        self.before = 0
        self.done: Callable[[list[str]], None] | None = None

    def start(self, before: int, done: Callable[[list[str]], None]) -> None:
        assert self.done is None
        self.before, self.done = before, done


class Life(Hooks):
    """A node from its start to its end. Subclasses are broken on purpose, to see that it is noticed."""

    housekeeper_class = Housekeeper

    def __init__(
        self,
        disk: Disk,
        now: int,
        seed: int = 0,
        images: dict[int, Image] | None = None,
        writer_class: type[Writer] = Writer,
        retained_level: int = MEMORY,
    ) -> None:
        super().__init__()
        self.disk = disk
        self.driver = Hand()
        self.driver.time_ms = now
        self.images = {0: Image(0)} if images is None else images
        self.waiting: dict[int, Step] = {}
        self.lent: list[Step] = []
        self.told: list[Callable[[], None]] = []
        self.retry_at = 0
        self.ended = False
        self.log = Log(disk, self, FILE_BYTES)
        self.node = make(self.driver, self.log, seed, retained_level)
        disk.lock()
        recovery = Recovery(disk)
        for replayed in recovery.replay():
            for kind, start, end in operations(replayed.payload):
                address = replayed.address + start if replayed.address else 0
                self.apply(kind, replayed.payload, start, end, address)
        self.report = recovery.report
        self.batch = recovery.start.batch - 1
        self.writer = writer_class(disk, recovery.start, self.log.settle)
        self.sink = SteppedWriter(self.writer)
        self.log.go_on(self.sink, recovery.start)
        self.compactions = Compactions()
        self.housekeeper = self.housekeeper_class(disk, self.log, self.compactions, FILE_BYTES)
        self.housekeeper.begin(self.node, recovery.first_file)
        # Often, and so little at a time that it takes many turns.
        self.housekeeper.enough_bytes = FILE_BYTES // 2
        moving = self.node.cleaner.moving
        moving.slice_bytes, moving.looks, moving.reads, moving.flight_bytes = 300, 20, 2, 900
        self.node.recovered()
        self.recovered = image(self.node, now)

    def apply(self, kind: int, data: bytes, start: int, end: int, address: int) -> None:
        self.node.apply(kind, data, start, end, address)

    @property
    def now(self) -> int:
        return self.driver.time_ms

    def check_recovered(self, least: int) -> None:
        """What came back is what there was at the batch with which the log ends, which is at least this one."""
        check(self.batch >= least, f"the log ends at batch {self.batch}, and {least} was on disk")
        check(self.batch in self.images, f"the log ends at batch {self.batch}, which was never closed")
        wrong = differences(self.images[self.batch], self.recovered)
        check(not wrong, f"after batch {self.batch}: " + "; ".join(wrong))
        self.images = {self.batch: self.images[self.batch]}
        self.check_bodies()

    def check_bodies(self) -> None:
        """Whatever is referred to can be read, and is as it was written; and the account says how much that is."""
        self.node.queues.work(1 << 30)  # what was given up as a whole is freed, and accounted, in slices
        live: dict[int, int] = {}
        for what, address, size, crc in places(self.node):
            try:
                data = self.log.read(address, size)
            except StorageError as error:
                data = str(error).encode()
            check(crc32c(data) == crc, f"{what} cannot be read: {data[:99]!r}")
            live[address >> 32] = live.get(address >> 32, 0) + size + ENTRY_BYTES
        counted = self.log.live.by_file()
        check(counted == live, f"of log files live {live}, and the account says {counted}")

    def claim(self) -> None:
        """Put the epoch on disk, as the server does before it serves anybody."""
        batch = self.log.claim()
        self.images[batch] = self.recovered
        self.step()
        check(self.log.synced == batch, "the epoch is not on disk")

    # Clients.

    def session(self) -> NativeSession:
        recorder = Recorder()
        return NativeSession(self.node, recorder, recorder, ServerInfo("0", FRAME_BYTES_MAX))  # type: ignore[arg-type]

    def hold(self, session: NativeSession, number: int, step: Step) -> None:
        """Answer a command: at once, or when its batch has got as far as the level promises."""
        if step.level == MEMORY:
            step.confirmed = True
            return
        self.waiting[number] = step
        out = BytesWriter()
        write_head(out, op.OK, number, 0)
        self.node.hold(session, step.level, out.getvalue())

    def lend(self, session: NativeSession, number: int, step: Step) -> None:
        """Send deliveries that the open batch records, as a session does."""
        if step.level == MEMORY:
            step.confirmed = True
            return
        self.waiting[number] = step
        self.lent.append(step)
        out = BytesWriter()
        write_head(out, op.OK, number, 0)
        session.lend(step.level, out.getvalue())

    def collect(self, session: NativeSession) -> None:
        """Read the answers that have come, and those that leave when the turn ends: they may leave at any time."""
        session.write_out()
        recorder = session.output
        assert isinstance(recorder, Recorder)
        while recorder.written.buffer:
            frame = recorder.written.next()
            assert frame is not None
            step = self.waiting.pop(frame.correlation)
            if frame.code == OK:
                step.confirmed = True
            else:
                step.refused = True

    # What drives a node.

    def turn(self) -> int:
        """Turns until there is nothing left to do; how many."""
        turns = 0
        more = True
        while more:
            turns += 1
            check(turns < RESTLESS_TURNS, "turn follows turn without end")
            before = self.log.batch
            more = self.node.turn()
            if self.log.batch > before:
                self.images[self.log.batch - 1] = image(self.node, self.now)
        before = self.log.batch
        self.housekeeper.between_turns()
        if self.log.batch > before:
            self.images[before] = image(self.node, self.now)
        return turns

    def compact(self) -> list[str] | None:
        """Do what housekeeping has asked for; the files that are gone, None: nothing was asked for, or it failed."""
        done, self.compactions.done = self.compactions.done, None
        if done is None:
            return None
        try:
            removed = compact(self.disk, self.compactions.before)
        except (NexoError, OSError) as error:
            check(not isinstance(error, DamagedError), f"the compaction finds damage: {error}")
            done([])
            return None
        done(self.disk.names())
        self.check_bodies()
        return removed

    def step(self) -> None:
        """A round of the writer."""
        self.sink.step(self.now)

    def advance(self) -> None:
        """Do what is due, as the server's timer has it done."""
        if self.retry_at and self.retry_at <= self.now:
            self.try_again()
        for _ in range(1_000):
            deadline = self.node.advance()
            if deadline == 0 or deadline > self.now:
                return
        check(False, f"a deadline at {deadline} is due at {self.now} again and again")

    def try_again(self) -> None:
        self.retry_at = self.now + TRY_AGAIN_MS
        if self.log.try_again():
            self.retry_at = 0
            self.node.room_again()

    def rest(self) -> None:
        """Let everything come to its end: no answer may wait after that, and nothing go on by itself."""
        for _ in range(RESTLESS_TURNS):
            if self.node.turn_open:
                self.turn()
            elif self.sink.queue or self.writer.due_ms:
                self.driver.time_ms = max(self.now, self.writer.due_ms)
                self.step()
            else:
                break
        check(not self.node.turn_open and not self.sink.queue, "the node does not come to rest")
        check(not self.node.holding, "answers wait, and nothing is left to be written")
        if self.log.fenced or self.log.full:
            return
        for name in self.node.queues.names():
            check(
                self.node.queues.find(name).newest_batch == 0,
                f"messages of {name!r} are staged, and all is written",
            )
        for name in self.node.streams.names():
            check(
                self.node.streams.find(name).unsettled() == 0,
                f"records of {name!r} are staged, and all is written",
            )

    def stop(self) -> None:
        """The orderly end."""
        self.turn()
        before = self.log.batch
        self.log.finish()
        if self.log.batch > before:
            self.images[before] = self.images[before - 1]
        self.step()
        self.writer.close()
        self.disk.unlock()

    def snapshot(self) -> list[str]:
        """What is before the file that is being written becomes a snapshot, as it does beside a server that runs."""
        return compact(self.disk, int(self.writer._file))

    # From the log.

    def settled(self) -> None:
        self.node.settled()
        self.housekeeper.look()

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        for step in self.lent:
            if step.batch >= first_batch:
                step.level = (
                    MEMORY  # they leave all the same, and that they count is recorded when there is room
                )
        if recoverable:
            self.retry_at = self.retry_at or self.now + TRY_AGAIN_MS
            if lost:
                self.images = {batch: one for batch, one in self.images.items() if batch < lost[0].number}
        self.node.withdraw(first_batch, error, [batch.payload for batch in lost], recoverable)
        self.housekeeper.look()


def places(node: Node) -> Iterator[tuple[str, int, int, int]]:
    """What the node refers to in its log: a name, the address, the size and the checksum."""
    for name in node.queues.names():
        parts = node.queues.find(name).parts
        messages = parts.backlog.index.after(0, 1 << 30)
        messages += [letter.message for letter in parts.dead.peek(1 << 30, 0)]
        for message in messages:
            if message.address:
                what = f"message {message.id} of {name!r}"
                yield what, int(message.address), int(message.size), int(message.checksum) & 0xFFFF_FFFF
    for name in node.streams.names():
        index = node.streams.find(name).blocks.index
        for place in range(len(index)):
            if index.address(place):
                what = f"sequence {index.first(place)} of {name!r}"
                yield what, int(index.address(place)), int(index.size(place)), int(index.crc(place))


def make(driver: Driver, journal: Journal, seed: int, retained_level: int) -> Node:
    """As nexo.node.make_node, with little memory for bodies."""
    return Node(
        driver,
        journal,
        Store(memory_max=0, eviction="reject", seed=seed, journal=journal),
        PubSub(seed, journal, retained_level),
        Queues(journal, seed, RESIDENT_BYTES, 2 * RESIDENT_BYTES),
        Streams(journal, seed, 2 * RESIDENT_BYTES, RESIDENT_BYTES),
    )
