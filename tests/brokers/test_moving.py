"""Cleaning: what lives in sparse log files is written once more, and counts there when the copy is on disk."""

from __future__ import annotations

import pytest

from nexo.brokers.cleaner import Cleaner
from nexo.brokers.live import ENTRY_BYTES, LiveBytes
from nexo.brokers.moving import MOVE_BLOCKS, MOVE_BODIES
from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.lending import FATAL
from nexo.brokers.queue.message import Item
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.queues import Queues
from nexo.brokers.stream.stream import Stream
from nexo.brokers.stream.streams import Streams
from nexo.errors import StorageError
from tests.brokers.journals import MemoryJournal
from tests.brokers.queue_log import START, seen, seen_dead
from tests.brokers.streamkit import values

LITTLE = 1 << 10  # bodies in memory


class Place:
    """A queue and a stream over one journal, and their cleaner."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.consumer = Consumer()
        self.make()
        self.queues.create(b"q", {}, START)
        self.streams.create(b"s", {}, START)
        self.turn()

    def make(self) -> None:
        self.journal.live = LiveBytes()
        self.queues = Queues(self.journal, 0, LITTLE, LITTLE)
        self.streams = Streams(self.journal, 1, LITTLE, LITTLE)
        self.cleaner = Cleaner(self.journal, self.queues, self.streams)

    @property
    def queue(self) -> Queue:
        return self.queues.find(b"q")

    @property
    def stream(self) -> Stream:
        return self.streams.find(b"s")

    def turn(self, reach: bool = True) -> None:
        self.streams.flush(START)
        self.journal.close()
        if reach:
            self.settle()

    def settle(self) -> None:
        self.journal.reach()
        self.queues.settled(START)
        self.streams.settled()
        self.cleaner.settled()

    def lose(self) -> None:
        """What is not on disk never gets there."""
        first = self.journal.synced + 1
        self.journal.fail(first)
        self.queues.withdraw(first)
        self.streams.withdraw(first)
        self.cleaner.withdraw(first)

    def fill(self, count: int = 100) -> None:
        """Messages and records in many files; two in three messages are settled, one dies."""
        for number in range(count):
            self.queue.push_item(Item(b"\0%03d" % number + b"." * 90, headers=b"\0" * (number % 2)), START)
            self.stream.append(b"", b"\0%03d" % number + b"." * 90, b"", START)
            self.turn()
        for lent in self.queue.receive(count, self.consumer, START):
            number = int(lent.message.value[1:4])
            if number == 1:
                self.queue.nack(lent.message.id, lent.token, b"no", FATAL, 0, START)
            elif number % 3:
                self.queue.ack(lent.message.id, lent.token, START)
        bodies = self.queue.parts.backlog.bodies
        for message in self.queue.parts.backlog.index.after(0, count):
            bodies.let_go(message)
        self.turn()

    def move(self, files: list[int], reach: bool = True) -> int:
        """Clean files; the number of turns that took."""
        self.cleaner.start(files)
        turns = 0
        more = True
        while more or (reach and self.cleaner.active):
            turns += 1
            more = self.cleaner.step()
            self.turn(reach)
        return turns

    def state(self) -> tuple[object, ...]:
        return seen(self.queue), seen_dead(self.queue), values(self.stream)

    def restarted(self) -> Place:
        """The same from the journal, with what was lent waiting again."""
        self.queue.take_back(self.queue.lending.holding(self.consumer), START)
        self.turn()
        again = Place.__new__(Place)
        again.journal = self.journal
        again.consumer = Consumer()
        again.make()
        for kind, data, start, end, address in self.journal.operations():
            broker = again.queues if kind < 0x20 or kind == MOVE_BODIES else again.streams
            broker.apply(kind, data, start, end, address, START)
        again.queues.recovered(START)
        return again


def old_files(place: Place) -> list[int]:
    return [number for number in place.journal.files if number < max(place.journal.files)]


def test_nothing_refers_to_cleaned_files() -> None:
    place = Place()
    place.fill()
    before, files = place.state(), old_files(place)
    assert len(files) > 4
    resident = place.queues.resident_bytes
    assert place.move(files) > 0
    assert place.queues.resident_bytes == resident
    assert not place.cleaner.active
    assert not set(place.journal.live.by_file()) & set(files)
    last = max(files)
    for number in files:
        if number != last:  # the queue and the stream were created there, and are replayed below
            place.journal.files[number] = bytearray(len(place.journal.files[number]))
    assert place.state() == before


def test_a_replay_moves_again() -> None:
    place = Place()
    place.fill()
    place.move(old_files(place))
    live = place.journal.live.by_file()
    expected = place.restarted()
    assert expected.journal.live.by_file() == live
    assert seen_dead(expected.queue) == seen_dead(place.queue)
    assert {id: entry[1] for id, entry in seen(expected.queue).items()} == {
        id: entry[1] for id, entry in seen(place.queue).items()
    }
    assert values(expected.stream) == values(place.stream)


def test_the_old_place_counts_until_the_copy_is_on_disk() -> None:
    place = Place()
    place.fill(20)
    before, files, live = place.state(), old_files(place), place.journal.live.by_file()
    place.move(files, reach=False)
    assert place.cleaner.active
    assert place.journal.live.by_file() == live
    place.lose()
    assert not place.cleaner.active
    assert place.cleaner.gave_up
    assert place.journal.live.by_file() == live
    assert place.state() == before
    assert not place.queue.parts.moving
    place.move(files)
    assert not place.cleaner.gave_up
    assert place.state() == before


def test_what_dies_and_is_redriven_under_way_is_found() -> None:
    place = Place()
    place.queue.push(b"\0one", 0, START)
    place.queue.push(b"\0two", 0, START)
    place.turn()
    place.journal.files[9] = bytearray(16)
    place.turn()
    place.move([1], reach=False)
    one, two = place.queue.receive(2, place.consumer, START)
    for lent in (one, two):
        place.queue.nack(lent.message.id, lent.token, b"no", FATAL, 0, START)
    letters = place.queue.peek(9, 0)
    dead = letters[0].message.id
    place.queue.redrive(dead, START)
    place.turn(reach=False)
    place.settle()
    assert set(place.journal.live.by_file()) == {9}
    again = place.restarted()
    assert again.journal.live.by_file() == {9: 2 * (4 + ENTRY_BYTES)}
    assert [letter[1] for letter in seen_dead(again.queue)] == [b"\0two"]


def test_a_damaged_body_is_told_and_stays() -> None:
    place = Place()
    place.fill(60)
    victim = place.queue.parts.backlog.index.after(0, 99)[3]
    assert not victim.value
    index = place.stream.blocks.index
    for address in (int(victim.address), int(index.address(0))):
        place.journal.files[address >> 32][(address & 0xFFFF_FFFF) + 3] ^= 1
    files = old_files(place)
    place.move(files)
    moving = place.cleaner.moving
    assert sorted(fault.split()[0] for fault in moving.faults) == ["message", "stream"]
    assert all("damaged" in fault for fault in moving.faults)
    assert moving.spoiled == {int(victim.address) >> 32, int(index.address(0)) >> 32}
    left = {number: size for number, size in place.journal.live.by_file().items() if number in files}
    assert sum(left.values()) == victim.size + index.size(0) + 2 * ENTRY_BYTES
    with pytest.raises(StorageError, match="damaged"):
        place.queue.view(victim)


def test_a_turn_moves_a_slice() -> None:
    place = Place()
    place.fill(90)
    place.cleaner.moving.slice_bytes = 500
    assert place.move(old_files(place)) > 20
    kinds = {kind for kind, *_ in place.journal.operations()}
    assert {MOVE_BODIES, MOVE_BLOCKS} <= kinds
    place.cleaner.moving.flight_bytes = 800
    place.cleaner.start(old_files(place))
    turns = 0
    while place.cleaner.step():
        turns += 1
        place.turn(reach=False)
        assert turns < 5
    assert place.cleaner.active, "it waits for the disk"
    place.turn()
    assert place.cleaner.step()


def test_trimmed_and_deleted_meanwhile() -> None:
    place = Place()
    place.fill(20)
    files = old_files(place)
    place.move(files, reach=False)
    place.queue.purge()
    place.streams.delete(b"s", START)
    place.queues.work(1 << 20)
    place.turn()
    assert not place.cleaner.active
    (letter,) = seen_dead(place.queue)
    assert letter[1] == b"\x00001" + b"." * 90
    assert list(place.journal.live.by_file().values()) == [94 + 1 + ENTRY_BYTES]
