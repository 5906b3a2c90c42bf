"""Hypothesis drives a queue against a model that keeps everything in one dict and looks at all of it.

Checked: what is lent and in which order, what everything else waits for, fencing, and that a restart (all
operations done again) and a snapshot give the same queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexo.brokers.queue.consumers import Consumer, Waiter
from nexo.brokers.queue.lending import (
    DIED,
    DISCONNECTED,
    DONE,
    FAILED,
    FATAL,
    FENCED,
    RAN_OUT,
    REFUSED,
    RELEASE,
    REPEATED,
)
from nexo.brokers.queue.message import Delivery, Item
from nexo.brokers.queue.parts import EXPIRED
from nexo.brokers.queue.queues import Queues
from nexo.brokers.queue.records import PUSH
from nexo.brokers.queue.replay import RESTARTED
from tests.brokers.queue_log import START, MemoryLog, dumped, replay, seen, seen_dead

LEASE_MS = 1_000
BACKOFF_MS = 300
WINDOW_MS = 2_000


@dataclass
class Entry:
    """One message of the model."""

    value: bytes
    headers: bytes
    priority: int
    group: bytes
    due: int
    expires: int
    state: str = "staged"
    attempts: int = 0
    reason: bytes = b""
    delivered: bool = False
    token: int = 0
    deadline: int = 0
    holder: int = 0


@dataclass
class Model:
    """Everything a queue is, in the plainest form."""

    max_deliveries: int
    backoff_ms: int
    dead_letter_expired: bool
    now: int = START
    messages: dict[int, Entry] = field(default_factory=dict)
    dead: list[tuple[object, ...]] = field(default_factory=list)
    fronts: dict[bytes, int] = field(default_factory=dict)
    dedup: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def place(self, id: int) -> None:
        entry = self.messages[id]
        if entry.due > self.now:
            entry.state = "delayed"
            return
        entry.due = 0
        front = self.fronts.setdefault(entry.group, id) if entry.group else id
        entry.state = "ready" if front == id else "held"

    def finish(self, id: int) -> None:
        entry = self.messages.pop(id)
        if entry.group and self.fronts.get(entry.group) == id:
            del self.fronts[entry.group]
            held = [
                one for one, it in self.messages.items() if it.group == entry.group and it.state == "held"
            ]
            if held:
                self.place(min(held))

    def bury(self, id: int, reason: bytes) -> None:
        entry = self.messages[id]
        self.finish(id)
        self.dead.append((id, entry.value, entry.attempts, reason, self.now))

    def expire(self, id: int) -> None:
        if self.dead_letter_expired:
            self.bury(id, EXPIRED)
        else:
            self.finish(id)

    def give_back(self, id: int, delay: int) -> None:
        entry = self.messages[id]
        entry.delivered = True
        entry.due = self.now + delay if delay else 0
        if 0 < entry.expires <= self.now:
            self.expire(id)
        else:
            self.place(id)

    def end_counted(self, ids: list[int], reason: bytes, delay: int) -> None:
        gone = [id for id in ids if self.messages[id].attempts >= self.max_deliveries]
        for id in gone:
            self.bury(id, reason)
        for id in ids:
            if id not in gone:
                self.give_back(id, delay)

    def leased(self, holder: int = 0) -> list[int]:
        found = [id for id, it in self.messages.items() if it.state == "leased" and holder in (0, it.holder)]
        return sorted(found, key=lambda id: self.messages[id].token)

    def next(self) -> int:
        ready = [(-it.priority, id) for id, it in self.messages.items() if it.state == "ready"]
        return min(ready)[1] if ready else 0

    def advance(self) -> None:
        late = [id for id in self.leased() if self.messages[id].deadline <= self.now]
        late.sort(key=lambda id: (self.messages[id].deadline, self.messages[id].token))
        self.end_counted(late, RAN_OUT, self.backoff_ms)
        due = [id for id, it in self.messages.items() if it.state == "delayed" and it.due <= self.now]
        for id in sorted(due, key=lambda id: self.messages[id].due):
            self.place(id)
        over = [
            id
            for id, it in self.messages.items()
            if 0 < it.expires <= self.now and it.state in ("ready", "held", "delayed")
        ]
        for id in sorted(over, key=lambda id: self.messages[id].expires):
            self.expire(id)

    def restart(self) -> None:
        lost = [id for id in sorted(self.leased()) if self.messages[id].attempts >= self.max_deliveries]
        self.fronts = {}
        for id, entry in self.messages.items():
            if entry.group and (entry.attempts or entry.delivered):
                self.fronts.setdefault(entry.group, id)
        for id in self.messages:
            self.place(id)
        for id in lost:
            self.bury(id, RESTARTED)


class QueueMachine(RuleBasedStateMachine):
    @initialize(
        level=st.sampled_from(["fsync", "flush"]),
        deliveries=st.sampled_from([1, 2, 5]),
        backoff=st.booleans(),
        expired=st.sampled_from(["drop", "dead_letter"]),
        in_flight=st.sampled_from([0, 2]),
        resident=st.sampled_from([0, 30, 1 << 40]),
    )
    def start(
        self, level: str, deliveries: int, backoff: bool, expired: str, in_flight: int, resident: int
    ) -> None:
        self.log = MemoryLog()
        self.resident = resident
        self.queues = Queues(self.log, 7, resident)
        given: dict[str, object] = {
            "durability": level,
            "max_deliveries": deliveries,
            "visibility_timeout_ms": LEASE_MS,
            "dedup_window_ms": WINDOW_MS,
            "on_expiry": expired,
            "in_flight_max": in_flight,
        }
        if backoff:
            given |= {"backoff": "fixed", "backoff_ms": BACKOFF_MS}
        self.queue, created = self.queues.create(b"q", given, START)
        assert created
        self.in_flight = in_flight or 10**6
        self.model = Model(deliveries, BACKOFF_MS if backoff else 0, expired == "dead_letter")
        self.consumers = {1: Consumer(), 2: Consumer()}
        self.counts: dict[int, int] = {}  # the highest attempt ever delivered, by id
        self.old: list[tuple[int, int, bool]] = []  # leases that have ended: id, token, was it an ack
        self.waiters: list[Waiting] = []
        self.paused = False

    # Pushing.

    @rule(
        data=st.data(),
        size=st.integers(1, 4),
        single=st.booleans(),
    )
    def push(self, data: st.DataObject, size: int, single: bool) -> None:
        now = self.model.now
        items = []
        for number in range(size):
            value = b"\x00%d" % (len(self.counts) + number)
            if single:
                items.append(Item(value, data.draw(st.sampled_from([0, 0, 7]))))
                continue
            items.append(
                Item(
                    value,
                    data.draw(st.sampled_from([0, 0, 0, 7, 255])),
                    delay_ms=data.draw(st.sampled_from([0, 0, 0, 100, 5_000])),
                    ttl_ms=data.draw(st.sampled_from([0, 0, 0, 50, 2_500])),
                    group=data.draw(st.sampled_from([b"", b"", b"g", b"h"])),
                    dedup=data.draw(st.sampled_from([b"", b"", b"k", b"l"])),
                    headers=data.draw(st.sampled_from([b"", b"head"])),
                )
            )
        if single:
            ids = [int(self.queue.push(item.value, item.priority, now)) for item in items]
        else:
            ids = [int(id) for id in self.queue.push_many(items, now)]
        for item, id in zip(items, ids, strict=True):
            known = self.model.dedup.get(item.dedup)
            if known is not None and known[1] > now:
                assert (id, item.duplicate) == (known[0], True)
                continue
            assert not item.duplicate and id > max(self.counts, default=0)
            if item.dedup:
                self.model.dedup[item.dedup] = (id, now + WINDOW_MS)
            self.counts[id] = 0
            self.model.messages[id] = Entry(
                item.value,
                item.headers,
                item.priority,
                item.group,
                now + item.delay_ms if item.delay_ms else 0,
                now + item.ttl_ms if item.ttl_ms else 0,
            )

    @rule()
    def settle(self) -> None:
        self.log.close()
        self.queues.settled(self.model.now)
        for id, entry in list(self.model.messages.items()):
            if entry.state == "staged":
                if 0 < entry.expires <= self.model.now:
                    continue
                self.model.place(id)
        for id in [id for id, it in self.model.messages.items() if it.state == "staged"]:
            self.model.expire(id)
        self.end_turn()

    @precondition(lambda self: set(self.log.kinds()) == {PUSH})
    @rule()
    def withdraw(self) -> None:
        self.queues.withdraw(self.log.fail())
        gone = [id for id, it in self.model.messages.items() if it.state == "staged"]
        for id in gone:
            del self.model.messages[id]
            del self.counts[id]  # nobody has seen the number: it may be given again
        self.model.dedup = {key: it for key, it in self.model.dedup.items() if it[0] not in gone}

    # Lending.

    def lent(self, deliveries: list[Delivery], holder: int) -> None:
        """Each must be the next in the order, and counted higher than ever before unless released."""
        for delivery in deliveries:
            id = int(delivery.message.id)
            assert id == self.model.next()
            entry = self.model.messages[id]
            entry.attempts += 1
            assert delivery.attempt == entry.attempts > self.counts[id]
            self.counts[id] = entry.attempts
            assert (delivery.message.value, delivery.message.headers) == (entry.value, entry.headers)
            entry.state = "leased"
            entry.token = int(delivery.token)
            entry.deadline = self.model.now + LEASE_MS
            assert delivery.deadline == entry.deadline
            entry.holder = holder
        assert len(self.model.leased()) <= self.in_flight

    @rule(count=st.integers(1, 4), holder=st.sampled_from([1, 2]))
    def receive(self, count: int, holder: int) -> None:
        deliveries = self.queue.receive(count, self.consumers[holder], self.model.now)
        room = self.in_flight - len(self.model.leased())
        ready = sum(it.state == "ready" for it in self.model.messages.values())
        assert len(deliveries) == (0 if self.paused else min(count, max(room, 0), ready))
        self.lent(deliveries, holder)

    @rule(count=st.integers(1, 4), holder=st.sampled_from([1, 2]), ms=st.sampled_from([1, 700]))
    def wait(self, count: int, holder: int, ms: int) -> None:
        waiter = Waiting(self, holder, count, self.model.now + ms)
        self.waiters.append(waiter)
        self.queue.wait(waiter, self.consumers[holder], count, waiter.until)
        self.end_turn()

    def end_turn(self) -> None:
        self.queues.flush(self.model.now)
        room = len(self.model.leased()) < self.in_flight and not self.paused
        assert not (self.waiters and room and self.model.next())

    def some_lease(self, data: st.DataObject) -> tuple[int, Entry]:
        id = data.draw(st.sampled_from(self.model.leased()))
        return id, self.model.messages[id]

    def ended(self, id: int, entry: Entry, acked: bool) -> None:
        self.old.append((id, entry.token, acked))

    @precondition(lambda self: self.model.leased())
    @rule(data=st.data(), many=st.booleans())
    def ack(self, data: st.DataObject, many: bool) -> None:
        id, entry = self.some_lease(data)
        assert self.queue.ack(id, entry.token + 1_000, self.model.now) == FENCED
        if many:
            assert list(self.queue.ack_many([id, id], [entry.token] * 2, self.model.now)) == [DONE, REPEATED]
        else:
            assert self.queue.ack(id, entry.token, self.model.now) == DONE
        self.ended(id, entry, True)
        self.model.finish(id)
        self.end_turn()

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def ack_late(self, data: st.DataObject) -> None:
        id, token, acked = data.draw(st.sampled_from(self.old))
        assert self.queue.ack(id, token, self.model.now) == (REPEATED if acked else FENCED)
        assert self.queue.ack(id + 1, token, self.model.now) == FENCED
        assert self.queue.nack(id, token, b"", FAILED, 0, self.model.now) == FENCED
        assert self.queue.extend(id, token, 10, self.model.now) == FENCED

    @precondition(lambda self: self.model.leased())
    @rule(
        data=st.data(),
        mode=st.sampled_from([FAILED, RELEASE, FATAL]),
        delay=st.sampled_from([-1, 0, 200]),
        reason=st.sampled_from([b"", b"broken"]),
    )
    def nack(self, data: st.DataObject, mode: int, delay: int, reason: bytes) -> None:
        id, entry = self.some_lease(data)
        outcome = self.queue.nack(id, entry.token, reason, mode, delay, self.model.now)
        self.ended(id, entry, False)
        if mode == FATAL or (mode == FAILED and entry.attempts >= self.model.max_deliveries):
            assert outcome == DIED
            self.model.bury(id, reason or REFUSED)
        else:
            assert outcome == DONE
            if mode == RELEASE:
                entry.attempts -= 1
                self.counts[id] -= 1
                delay = max(delay, 0)
            elif delay < 0:
                delay = self.model.backoff_ms
            entry.reason = reason or entry.reason
            self.model.give_back(id, delay)
        self.end_turn()

    @precondition(lambda self: self.model.leased())
    @rule(data=st.data(), ms=st.sampled_from([1, 500, 3_000]))
    def extend(self, data: st.DataObject, ms: int) -> None:
        id, entry = self.some_lease(data)
        entry.deadline = self.model.now + ms
        assert self.queue.extend(id, entry.token, ms, self.model.now) == entry.deadline

    @rule(holder=st.sampled_from([1, 2]))
    def drop(self, holder: int) -> None:
        held = self.model.leased(holder)
        for id in held:
            self.ended(id, self.model.messages[id], False)
        self.waiters = [one for one in self.waiters if one.holder != holder]
        self.queues.drop(self.consumers[holder], self.model.now)
        self.model.end_counted(held, DISCONNECTED, 0)
        self.end_turn()

    # Time.

    @rule(ms=st.sampled_from([1, 50, 120, 450, 1_000, 3_000]), budget=st.sampled_from([1, 10_000]))
    def pass_time(self, ms: int, budget: int) -> None:
        self.model.now += ms
        now = self.model.now
        for id in self.model.leased():
            entry = self.model.messages[id]
            if entry.deadline <= now:
                self.ended(id, entry, False)
        if budget == 1:
            # Waiters would be served between the portions: the model knows no portions.
            for waiter in self.waiters:
                self.queue.cancel(waiter)
            self.waiters = []
        self.model.advance()
        while 0 < (deadline := self.queues.advance(now, budget)) <= now:
            pass
        assert not [one for one in self.waiters if one.until <= now]
        self.model.dedup = {key: it for key, it in self.model.dedup.items() if it[1] > now}
        wanted = [it.deadline for it in self.model.messages.values() if it.state == "leased"]
        wanted += [it.due for it in self.model.messages.values() if it.state == "delayed"]
        wanted += [one.until for one in self.waiters]
        if wanted:
            assert now < deadline <= min(wanted)

    @rule()
    def pause(self) -> None:
        self.paused = not self.paused
        if self.paused:
            self.queue.pause(-1)
        else:
            self.queue.resume()
        self.end_turn()

    # An operator.

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.messages)))
        entry = self.model.messages[id]
        if entry.state == "leased":
            self.ended(id, entry, False)
        assert self.queue.remove(id) and not self.queue.remove(id)
        self.model.finish(id)
        self.end_turn()

    @rule()
    def purge(self) -> None:
        for id in self.model.leased():
            self.ended(id, self.model.messages[id], False)
        assert self.queue.purge() == len(self.model.messages)
        self.model.messages = {}
        self.model.fronts = {}

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data(), redrive=st.booleans())
    def treat_dead(self, data: st.DataObject, redrive: bool) -> None:
        place = data.draw(st.integers(0, len(self.model.dead) - 1))
        letter = self.queue.peek(1, place)[0]
        found = [one for one in self.model.dead if one[0] == letter.message.id]
        id, value, _, _, _ = found[0]
        self.model.dead.remove(found[0])
        if not redrive:
            assert self.queue.delete_dead(int(id)) and not self.queue.delete_dead(int(id))  # type: ignore[call-overload]
            return
        message = letter.message
        new = int(self.queue.redrive(int(id), self.model.now))  # type: ignore[call-overload]
        assert new > max(self.counts) and self.queue.redrive(int(id), self.model.now) == 0  # type: ignore[call-overload]
        self.counts[new] = 0
        whole = self.queue.view(message)
        self.model.messages[new] = Entry(value, whole.headers, int(message.priority), message.group, 0, 0)  # type: ignore[arg-type]
        self.model.place(new)
        self.end_turn()

    # Storage.

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        self.settle()
        self.log.close()  # what was lent to waiters just now
        for id in self.model.leased():
            self.ended(id, self.model.messages[id], False)
        self.old = [(id, token, False) for id, token, _ in self.old]
        self.waiters = []
        self.consumers = {1: Consumer(), 2: Consumer()}
        self.model.now += 1  # two lives do not begin in the same millisecond
        if snapshot:
            data, before = dumped(self.queues, self.model.now), self.log.data
        else:
            data, before = self.log.data, b""
        self.queues, self.log = replay(data, self.model.now, self.resident, before)
        self.queue = self.queues.find(b"q")
        self.model.restart()
        self.model.advance()
        while 0 < self.queues.advance(self.model.now, 10_000) <= self.model.now:
            pass

    @invariant()
    def agrees(self) -> None:
        expected = {
            id: (
                it.state,
                it.value,
                it.headers,
                it.priority,
                it.group,
                it.attempts,
                it.due,
                it.expires,
                it.reason,
            )
            for id, it in self.model.messages.items()
            if it.state != "staged"
        }
        assert seen(self.queue) == expected
        # In which order those of one millisecond die is nobody's business.
        assert sorted(seen_dead(self.queue)) == sorted(self.model.dead)
        died = [one[-1] for one in seen_dead(self.queue)]
        assert died == sorted(died)
        counts = self.queue.describe()
        for state in ("staged", "ready", "held", "delayed", "leased"):
            assert counts[state] == sum(it.state == state for it in self.model.messages.values()), state
        assert counts["messages"] == len(self.model.messages)
        assert counts["bytes"] == sum(len(it.value) + len(it.headers) for it in self.model.messages.values())
        assert bool(counts["paused_until"]) == self.paused


class Waiting(Waiter):
    """Tells the model what it got, at the moment at which it gets it."""

    def __init__(self, machine: QueueMachine, holder: int, count: int, until: int) -> None:
        super().__init__()
        self.machine = machine
        self.holder = holder
        self.most = count
        self.until = until

    def delivered(self, deliveries: list[Delivery]) -> None:
        assert 0 < len(deliveries) <= self.most
        self.machine.lent(deliveries, self.holder)
        self.machine.waiters.remove(self)

    def timed_out(self) -> None:
        assert self.until <= self.machine.model.now
        self.machine.waiters.remove(self)


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
