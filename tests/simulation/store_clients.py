"""Clients that write keys and retained messages at random, and what must be there of them after an end.

A *cell* is a key or a topic. It has what it holds now, and the history of what was recorded of it since the last
start: after an end it is what one of those changes made it, and none that is older than the last which lasts.
A change that was refused after it was made has happened all the same, and may be there or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from nexo.brokers.journal import FLUSH, FSYNC, LEVELS, MEMORY
from nexo.brokers.message import int_value, read_int
from nexo.errors import StorageError
from tests.simulation.clients import Crowd
from tests.simulation.model import End, Step, check, lasts, seen_before

KEYS = (b"a", b"a/1", b"a/2", b"a/b/1", b"a/b/2", b"b/1", b"c")
COUNTERS = (b"a/n", b"n")
PREFIXES = (b"", b"a/", b"a/", b"a/b/", b"b/", b"b/")
TOPICS = (b"t", b"t/1", b"t/2", b"u")
TTLS = (0, 0, 0, 50, 5_000, 60_000, 10 * 24 * 3_600_000)


@dataclass
class State:
    """What a cell holds (None: nothing) and until when (0: for ever)."""

    value: bytes | None = None
    expires_at: int = 0

    def at(self, now: int) -> bytes | None:
        return None if 0 < self.expires_at <= now else self.value


@dataclass
class Cell:
    """`expired`: it holds nothing because its time has come, which is written down at level flush."""

    now: State = field(default_factory=State)
    expired: bool = False
    log: list[tuple[State, Step]] = field(default_factory=list)

    def restarted(self, found: State, now: int, latest: int, end: End, what: str) -> None:
        """Compare with what is there after an end; then that is how it is.

        `now` may be before the `latest` time of the lives before: what had expired by then may be gone or not.
        """
        states = [State()] + [state for state, _ in self.log]
        first = max([0] + [place for place, (_, step) in enumerate(self.log, 1) if lasts(step, end)])
        gone = found.at(now) is None and any(state.at(max(now, latest)) is None for state in states[first:])
        check(
            gone or found in states[first:],
            f"{what} is {found} after the restart; it was, oldest first: {self.log}",
        )
        self.now = found
        self.expired = False
        self.log = [(found, seen_before())]


class StoreClients(Crowd):
    """The commands of the store and of retained messages; each gives what it was, for a person to read."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.keys = {key: Cell() for key in KEYS + COUNTERS}
        self.topics = {topic: Cell() for topic in TOPICS}
        self.highest_version = 0
        self.seen_at = 0

    def look_at_store(self) -> None:
        """Everything is as it was written last, until its time has come."""
        now = self.life.now
        for cells, held in ((self.keys, self.key_state), (self.topics, self.topic_state)):
            for name, cell in cells.items():
                found = held(name, now)
                check(
                    found.value == cell.now.at(now),
                    f"{name!r} is {found}, and should be {cell.now}",
                )
                if found.value is None and cell.now.value is not None and held(name, 0).value is None:
                    # It has been removed: that is recorded with the time, in a batch no later than the open one.
                    cell.now = State()
                    cell.expired = True
                    lost = name in self.node.store.maps.lost or name in self.node.pubsub.kept.lost
                    cell.log.append((State(), self.step(MEMORY if lost else FLUSH)))
        self.highest_version = max(self.highest_version, int(self.node.store.version))
        self.seen_at = max(self.seen_at, now)

    def key_state(self, key: bytes, now: int) -> State:
        entry = self.node.store.lookup(key, now)
        return State() if entry is None else State(entry.value, int(entry.expires_at))

    def topic_state(self, topic: bytes, now: int) -> State:
        found = self.node.pubsub.retained(topic, now)
        if not found:
            return State()
        return State(found[0].value, int(self.node.pubsub.kept.expires_at(topic)))

    def level(self, key: bytes) -> int:
        return int(self.node.store.maps.find(key).level)

    def changed(self, cell: Cell, state: State, step: Step) -> None:
        cell.now = state
        cell.expired = False
        if step.level != MEMORY:
            cell.log.append((state, step))

    def gone(self, cell: Cell, step: Step) -> None:
        """It was deleted; of one that had expired nothing is recorded."""
        if not cell.expired and (cell.now.value is None or cell.now.at(self.now) is not None):
            self.changed(cell, State(), step)
        self.answer(step)

    def any_key(self) -> bytes:
        return self.random.choice(KEYS)

    def room(self, level: int) -> bool:
        """Whether a change that needs room is taken now."""
        try:
            if level != MEMORY:
                self.node.check_room()
        except StorageError:
            return False
        return True

    def until(self) -> int:
        ttl = self.random.choice(TTLS)
        return self.now + ttl if ttl else 0

    # Maps.

    def create_map(self) -> str:
        store = self.node.store
        prefix = self.random.choice(PREFIXES)
        level = self.random.choice((FSYNC, FSYNC, FLUSH, MEMORY))
        if store.maps.moving is not None or not self.room(FSYNC):
            return "not now"
        if any(one.prefix == prefix for one in store.maps.all()):
            return "exists"
        before = {key: self.level(key) for key in self.keys}
        check(store.declare(prefix, level), "a new map is not new")
        self.life.turn()
        self.now = self.node.begin()
        self.handed_over(before, max(level, FLUSH))
        return f"{prefix!r} {LEVELS[level]}"

    def delete_map(self) -> str:
        store = self.node.store
        declared = store.maps.all()
        if store.maps.moving is not None or not declared or not self.room(FSYNC):
            return "not now"
        one = self.random.choice(declared)
        remove = self.random.random() < 0.5
        before = {key: self.level(key) for key in self.keys}
        owned = [key for key in self.keys if store.maps.find(key) is one]
        store.undeclare(one.prefix, remove)
        self.life.turn()
        self.now = self.node.begin()
        if remove:
            for key in owned:
                self.keys[key].now = State()
        self.handed_over(before, max(int(one.level), FLUSH, *map(self.level, owned), 0))
        return f"{one.prefix!r}{' with its keys' if remove else ''}"

    def handed_over(self, before: dict[bytes, int], level: int) -> None:
        """A map has come or gone, and been answered."""
        step = self.step(level)
        for key, was in before.items():
            cell = self.keys[key]
            if self.level(key) != MEMORY:
                cell.log.append((cell.now, step))
            elif was != MEMORY:
                cell.log.append((State(), step))
        self.answer(step)

    # Keys.

    def set_key(self) -> str:
        key = self.any_key()
        level = self.level(key)
        if not self.room(level):
            return "refused"
        expires_at = self.until()
        value = self.value()
        if expires_at:
            self.node.store.put(key, value, self.now, expires_at=expires_at)
        else:
            self.node.store.set(key, value, self.now)
        step = self.step(level)
        self.changed(self.keys[key], State(value, expires_at), step)
        self.answer(step)
        return f"{key!r} {value[:9]!r} until {expires_at}"

    def set_many(self) -> str:
        keys = self.random.sample(KEYS, 3)
        level = max(map(self.level, keys))
        if not self.room(level):
            return "refused"
        values = [self.value() for _ in keys]
        self.node.store.put_many(list(zip(keys, values, strict=True)), self.now)
        step = self.step(level)
        for key, value in zip(keys, values, strict=True):
            own = Step(MEMORY, step.batch) if self.level(key) == MEMORY else step
            self.changed(self.keys[key], State(value), own)
        self.answer(step)
        return f"{keys}"

    def delete_key(self) -> str:
        key = self.random.choice(KEYS + COUNTERS)
        self.node.store.delete(key, self.now)
        step = self.step(self.level(key))
        self.gone(self.keys[key], step)
        return f"{key!r}"

    def count_up(self) -> str:
        key = self.random.choice(COUNTERS)
        level = self.level(key)
        if not self.room(level):
            return "refused"
        cell = self.keys[key]
        before = cell.now.at(self.now)
        number = self.node.store.incr(key, 1, self.now)
        check(number == (0 if before is None else read_int(before)) + 1, f"{key!r} counts {number}")
        step = self.step(level)
        self.changed(cell, State(int_value(number), cell.now.expires_at if before is not None else 0), step)
        self.answer(step)
        return f"{key!r} {number}"

    def expire_key(self) -> str:
        key = self.random.choice(KEYS + COUNTERS)
        level = self.level(key)
        if not self.room(level):
            return "refused"
        expires_at = self.until()
        found = self.node.store.set_expiry(key, expires_at, self.now)
        step = self.step(level)
        cell = self.keys[key]
        if found is not None:
            self.changed(cell, State(cell.now.at(self.now), expires_at), step)
        self.answer(step)
        return f"{key!r} at {expires_at}"

    def clear_keys(self) -> str:
        prefix = self.random.choice((*PREFIXES, None))
        level = int(self.node.store.maps.level_over(prefix or b""))
        if prefix is None:
            self.node.store.clear(self.now)
        else:
            self.node.store.clear_prefix(prefix, self.now, 1 << 30)
        step = self.step(level)
        for key, cell in self.keys.items():
            if key.startswith(prefix or b"") and cell.now.value is not None:
                own = Step(MEMORY, step.batch) if self.level(key) == MEMORY else step
                self.changed(cell, State(), own)
        self.answer(step)
        return f"{prefix!r}"

    # Retained messages.

    def retain(self) -> str:
        topic = self.random.choice(TOPICS)
        level = int(self.node.pubsub.kept.level)
        if not self.room(level):
            return "refused"
        expires_at = self.until()
        value = self.value()
        self.node.pubsub.retain(topic, value, b"", expires_at)
        step = self.step(level)
        self.changed(self.topics[topic], State(value, expires_at), step)
        self.answer(step)
        return f"{topic!r} {value[:9]!r} until {expires_at}"

    def clear_retained(self) -> str:
        topic = self.random.choice(TOPICS)
        self.node.pubsub.clear_retained(topic)
        step = self.step(int(self.node.pubsub.kept.level))
        self.gone(self.topics[topic], step)
        return f"{topic!r}"


def restart_store(clients: StoreClients, end: End) -> None:
    """The node is back: what was confirmed is there, nothing older came back, and versions go on above."""
    now = clients.life.now
    for key, cell in clients.keys.items():
        cell.restarted(clients.key_state(key, 0), now, clients.seen_at, end, f"key {key!r}")
    for topic, cell in clients.topics.items():
        cell.restarted(clients.topic_state(topic, 0), now, clients.seen_at, end, f"topic {topic!r}")
    # While the clock is set back, only those are known that were written down.
    if now >= clients.seen_at:
        check(clients.node.store.version >= clients.highest_version, "versions are given again")
    clients.highest_version = 0
