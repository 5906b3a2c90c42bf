"""Bodies of messages and dead letters, written once more so that the log files where they lie can go.

All messages are looked through, a slice at a time, in the order of their ids and after them the dead ones in the
order of their deaths: what dies meanwhile is met again there, and what is missed keeps its file until the next
time. Owns how MOVE_BODIES is written and done again; brokers/moving.py has its layout, and when it counts.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.journal import FLUSH
from nexo.brokers.moving import MOVE_BODIES, Move, Mover, Moving
from nexo.brokers.queue.bodies import Bodies, is_absent
from nexo.brokers.queue.message import QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.brokers.queue.replay import Reader
from nexo.errors import StorageError

_MESSAGES: Final = 256  # looked at together


@final
class BodyMove(Move):
    """The body of one message. It may die and be redriven meanwhile: then `id` has become another."""

    def __init__(self, batch: i64, message: QueueMessage, new: i64, parts: Parts) -> None:
        super().__init__(batch, message.id, message.size, message.address, new)
        self._parts = parts

    def done(self) -> None:
        self.lost()
        message = find(self._parts, self.id)
        if message is not None and message.address == self.old:
            lies_at(self._parts, message, self.new)

    def lost(self) -> None:
        self._parts.moving.pop(int(self.id), None)


@final
class BodyMover(Mover):
    """Goes through the queues that there were when it was made."""

    def __init__(self, moving: Moving, parts: list[Parts]) -> None:
        super().__init__()
        self._moving = moving
        self._left = parts
        self._after: i64 = 0  # id or, of dead letters, serial
        self._dead = False

    def step(self) -> bool:
        moving = self._moving
        while self._left:
            if moving.spent:
                return False
            parts = self._left[-1]
            more = self._some_dead(parts) if self._dead else self._some_living(parts)
            if not more:
                moving.looked(1)
                self._after = 0
                if self._dead:
                    self._left.pop()
                self._dead = not self._dead
        return True

    def _some_living(self, parts: Parts) -> bool:
        """Goes on with the messages; False when there are no more."""
        chosen: list[QueueMessage] = []
        messages = parts.backlog.index.after(self._after, _MESSAGES)
        for message in messages:
            if self._moving.spent:
                break
            self._after = message.id
            self._look(parts, message, chosen)
        self._move(parts, chosen)
        return len(messages) > 0

    def _some_dead(self, parts: Parts) -> bool:
        """The same with dead letters."""
        chosen: list[QueueMessage] = []
        letters = parts.dead.following(self._after, _MESSAGES)
        for letter in letters:
            if self._moving.spent:
                break
            self._after = letter.serial
            self._look(parts, letter.message, chosen)
        self._move(parts, chosen)
        return len(letters) > 0

    def _look(self, parts: Parts, message: QueueMessage, chosen: list[QueueMessage]) -> None:
        moving = self._moving
        moving.looked(1)
        if moving.wants(message.address) and int(message.id) not in parts.moving:
            moving.chosen(message.address, message.size, is_absent(message))
            chosen.append(message)

    def _move(self, parts: Parts, messages: list[QueueMessage]) -> None:
        messages = self._with_bodies(parts.backlog.bodies, messages)
        if not messages:
            return
        moving = self._moving
        journal = moving.journal
        out = journal.begin(MOVE_BODIES, FLUSH)
        write_i32_be(out, i32(parts.number))
        write_i32_be(out, i32(len(messages)))
        for message in messages:
            write_i64_be(out, message.id)
            write_i32_be(out, i32(message.size))
            move = BodyMove(journal.batch, message, journal.address(), parts)
            parts.moving[int(message.id)] = move
            moving.add(move)
            out.write(message.headers)
            out.write(message.value)
        journal.end()

    def _with_bodies(self, bodies: Bodies, messages: list[QueueMessage]) -> list[QueueMessage]:
        """The messages, as copies where their bodies had to be read; without those that are damaged."""
        found: list[QueueMessage] = []
        absent: list[QueueMessage] = []
        for message in messages:
            if is_absent(message):
                absent.append(message.copy())
            else:
                found.append(message)
        while absent:
            if not self._load(bodies, absent):
                del absent[0]
            left: list[QueueMessage] = []
            for message in absent:
                if is_absent(message):
                    left.append(message)
                else:
                    bodies.removed(message.size)  # the copy goes with this turn
                    found.append(message)
            absent = left
        return found

    def _load(self, bodies: Bodies, messages: list[QueueMessage]) -> bool:
        """Reads the first and as many others as fit; False when the first is damaged, which is noted."""
        try:
            bodies.load(messages)
        except StorageError:
            try:
                bodies.load(messages[:1])  # it was read together with others: which one is it?
            except StorageError as error:
                self._moving.spoil(messages[0].address, str(error))
                return False
        return True


def find(parts: Parts, id: i64) -> QueueMessage | None:
    """The message of an id, dead or not."""
    message = parts.backlog.index.get(id)
    if message is None:
        letter = parts.dead.get(id)
        message = None if letter is None else letter.message
    return message


def lies_at(parts: Parts, message: QueueMessage, address: i64) -> None:
    """The body of a message lies elsewhere from now on."""
    bodies = parts.backlog.bodies
    bodies.release(message)
    message.address = address
    bodies.refer(message)


def replay_bodies(parts: Parts, reader: Reader) -> None:
    """Does a MOVE_BODIES again, of which the queue's number has been read. Raises StorageError."""
    for _ in range(reader.u32()):
        message = find(parts, reader.number())
        size = reader.u32()
        address = reader.address()
        reader.skip(size)
        if message is None or message.address == 0:
            continue
        if message.size != size:
            raise StorageError(
                f"message {message.id} of queue {parts.title} has {message.size} bytes, and {size} were moved"
            )
        lies_at(parts, message, address)
