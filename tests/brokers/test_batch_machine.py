"""Random batches against random state, beside a model that runs them on a copy.

After a batch that was refused nothing at all has changed; after one that was accepted everything has. Whatever
the disk does, what is there in the end is what the model has without the batches that failed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexo.brokers.batch.batches import KEY_EXISTS, KEY_VERSION, LAST_SEQ, Precondition
from nexo.brokers.batch.steps import Step
from nexo.errors import BatchRefusedError
from tests.brokers.batchkit import Bench, bodies, dump, number, records, retained

KEYS = st.sampled_from([b"a", b"b", b"n", b"m"])
COUNTERS = st.sampled_from([b"n", b"m", b"a"])
TOPICS = st.sampled_from([b"t", b"u"])
DEDUP = st.sampled_from([b"", b"", b"d", b"e"])
LEAST = -(1 << 63)
ROOM = 6
"""Messages that the queue takes."""
WRITTEN = -1
"""The version of a key that the batch itself has written: nobody can name it."""
ANY = -1
"""The version that is asked for when none is."""


class Refused(Exception):
    """The model does not do this."""


@dataclass
class State:
    """What there is. `certain`: what is done was accepted, its conditions need not be looked at."""

    keys: dict[bytes, bytes] = field(default_factory=dict)
    versions: dict[bytes, int] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    dedup: set[bytes] = field(default_factory=set)
    lent: dict[tuple[int, int], bytes] = field(default_factory=dict)
    fetched: set[tuple[int, int]] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    records: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    retained: bytes | None = None
    leaving: int = 0  # messages that acks which are not durable still keep in the queue
    certain: bool = True

    def require(self, condition: bool) -> None:
        if not (condition or self.certain):
            raise Refused

    def has_version(self, key: bytes, version: int) -> bool:
        return version in (ANY, self.versions.get(key, 0))

    def counter(self, key: bytes) -> int | None:
        value = self.keys.get(key, number(0))
        return int.from_bytes(value[1:], "big", signed=True) if value[0] == 3 else None

    def write(self, key: bytes, value: bytes | None) -> None:
        self.versions[key] = 0 if value is None else WRITTEN
        self.keys.pop(key, None)
        if value is not None:
            self.keys[key] = value

    def count(self, key: bytes, delta: int, least: int) -> None:
        now = self.counter(key)
        if now is None or not max(least, LEAST) <= now + delta < 1 << 63:
            raise Refused
        self.write(key, number(now + delta))

    def push(self, value: bytes, dedup: bytes) -> None:
        if dedup and dedup in self.dedup:
            return
        self.require(len(self.messages) + self.leaving < ROOM)
        self.dedup |= {dedup} - {b""}
        self.messages.append(value)

    def ack(self, lease: tuple[int, int]) -> None:
        if lease not in self.lent:
            raise Refused
        self.messages.remove(self.lent.pop(lease))
        self.leaving += 1

    def settle(self, receipt: tuple[int, int]) -> None:
        if receipt not in self.fetched:
            raise Refused
        self.fetched.remove(receipt)
        self.settled.add(receipt[0])

    def publish(self, topic: bytes, value: bytes, retain: bool) -> None:
        self.sent.append(topic + b"=" + value + b";")
        if retain and topic == b"t":
            self.retained = value

    def clear(self, topic: bytes) -> None:
        if topic == b"t":
            self.retained = None


Do = Callable[[State], None]


@dataclass
class Command:
    """One command of a batch, for the broker and for the model; the delivery that it acks."""

    step: Step
    do: Do
    acks: tuple[int, int] | None = None


@dataclass
class Done:
    """What has happened since everything was durable. `batch` of the journal; 0: it stays whatever the disk does."""

    batch: int
    do: Do
    acks: tuple[int, int] | None = None


class BatchMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(messages_max=ROOM, max_deliveries=1_000)
        self.base = State()
        self.log: list[Done] = []
        self.leases: list[tuple[int, int]] = []
        self.serial = 0

    def model(self, before: int = 1 << 62) -> State:
        """What there is, or what there would be if batches from one on failed."""
        state = copy.deepcopy(self.base)
        for one in self.log:
            if one.batch < before:
                one.do(state)
        return state

    def value(self) -> bytes:
        self.serial += 1
        return b"\0%d" % self.serial

    def versions(self) -> dict[bytes, int]:
        page = self.bench.store.scan(b"", b"", 100, 1 << 20, 0, False)
        return {key: int(one.version) for key, one in zip(page.keys, page.entries, strict=True)}

    # Commands of batches.

    def a_version(self, data: st.DataObject, key: bytes) -> int:
        """Any, the right one, or a wrong one."""
        return data.draw(st.sampled_from([ANY, ANY, self.versions().get(key, 0), 999_999]))

    def a_set(self, data: st.DataObject) -> Command:
        key, value, version = data.draw(KEYS), self.value(), ANY
        condition = data.draw(st.sampled_from(["", "", "absent", "present", "version"]))
        if condition == "version":
            version = self.a_version(data, key)

        def do(state: State) -> None:
            state.require(condition != "absent" or key not in state.keys)
            state.require(condition != "present" or key in state.keys)
            state.require(state.has_version(key, version))
            state.write(key, value)

        step = self.bench.set(
            key,
            value,
            if_absent=condition == "absent",
            if_present=condition == "present",
            expected_version=version,
        )
        return Command(step, do)

    def a_delete(self, data: st.DataObject) -> Command:
        key = data.draw(KEYS)
        version = self.a_version(data, key)

        def do(state: State) -> None:
            state.require(state.has_version(key, version))
            state.write(key, None)

        return Command(self.bench.delete(key, version), do)

    def a_count(self, data: st.DataObject) -> Command:
        key, delta = data.draw(COUNTERS), data.draw(st.sampled_from([1, 2, -1, 1 << 62]))
        least = data.draw(st.sampled_from([LEAST, 0]))
        step = self.bench.incr(key, delta, minimum=least)
        return Command(step, lambda state: state.count(key, delta, LEAST if state.certain else least))

    def a_push(self, data: st.DataObject) -> Command:
        value, dedup = self.value(), data.draw(DEDUP)
        return Command(self.bench.push(value, dedup=dedup), lambda state: state.push(value, dedup))

    def an_append(self, data: st.DataObject) -> Command:
        value = self.value()
        expected = data.draw(st.sampled_from([ANY, ANY, int(self.bench.stream.next_seq) - 1, 77]))

        def do(state: State) -> None:
            state.require(expected in (ANY, len(state.records)))
            state.records.append(value)

        return Command(self.bench.append(value, expected=expected), do)

    def a_publication(self, data: st.DataObject) -> Command:
        value, topic, what = (
            self.value(),
            data.draw(TOPICS),
            data.draw(st.sampled_from(["", "retain", "clear"])),
        )
        step = self.bench.publish(topic, value, what == "retain", what == "clear")
        if what == "clear":
            return Command(step, lambda state: state.clear(topic))
        return Command(step, lambda state: state.publish(topic, value, what == "retain"))

    def an_ack(self, data: st.DataObject) -> Command:
        lease = data.draw(st.sampled_from([*self.leases, (1, 1)]))
        return Command(self.bench.ack_leases(lease), lambda state: state.ack(lease), lease)

    def a_group_ack(self, data: st.DataObject) -> Command:
        receipt = data.draw(st.sampled_from([*sorted(self.model().fetched), (1, 99)]))
        return Command(self.bench.group_ack(receipt), lambda state: state.settle(receipt), receipt)

    def commands(self, data: st.DataObject) -> list[Command]:
        kinds = [self.a_set, self.a_delete, self.a_count, self.a_push, self.an_append, self.a_publication]
        kinds += [self.an_ack, self.a_group_ack]
        return [data.draw(st.sampled_from(kinds))(data) for _ in range(data.draw(st.integers(1, 6)))]

    def preconditions(self, data: st.DataObject) -> list[tuple[Precondition, Do]]:
        key, kind = data.draw(KEYS), data.draw(st.sampled_from(["", "", "", "version", "key", "last"]))
        version = max(0, self.a_version(data, key))
        last = data.draw(st.sampled_from([int(self.bench.stream.next_seq) - 1, 77]))
        known: dict[str, tuple[Precondition, Do]] = {
            "version": (
                Precondition(KEY_VERSION, key, version),
                lambda state: state.require(state.versions.get(key, 0) == version),
            ),
            "key": (Precondition(KEY_EXISTS, key, 0), lambda state: state.require(key in state.keys)),
            "last": (
                Precondition(LAST_SEQ, b"n", last),
                lambda state: state.require(len(state.records) == last),
            ),
        }
        return [known[kind]] if kind else []

    @rule(data=st.data())
    def batch(self, data: st.DataObject) -> None:
        require, commands = self.preconditions(data), self.commands(data)
        state = self.model()
        state.versions, state.certain = self.versions(), False
        asked = [("precondition", place, do) for place, (_, do) in enumerate(require)]
        asked += [("command", place, one.do) for place, one in enumerate(commands)]
        refused = None
        for what, place, do in asked:
            try:
                do(state)
            except Refused:
                refused = (what, place)
                break
        before = dump(self.bench)
        answer: BatchRefusedError | None = None
        try:
            self.bench.batch(*[one.step for one in commands], require=[one for one, _ in require])
        except BatchRefusedError as error:
            answer = error
        if answer is not None:
            assert refused is not None, f"{answer}, and the model does it"
            assert answer.details[refused[0]] == refused[1], (str(answer), refused)
            assert dump(self.bench) == before, "something of it was done"
            return
        assert refused is None, f"{refused} should have been refused"
        batch = int(self.bench.journal.batch) if len(self.bench.node.batches) > 0 else 0
        self.log += [Done(batch, one.do, one.acks) for one in commands]

    # What others do meanwhile.

    @rule(key=KEYS)
    def others_set(self, key: bytes) -> None:
        value = self.value()
        self.bench.store.set(key, value, self.bench.now)
        self.log.append(Done(0, lambda state: state.write(key, value)))

    @rule(key=KEYS)
    def others_delete(self, key: bytes) -> None:
        self.bench.store.delete(key, self.bench.now)
        self.log.append(Done(0, lambda state: state.write(key, None)))

    @rule(key=COUNTERS, delta=st.integers(1, 5))
    def others_count(self, key: bytes, delta: int) -> None:
        """Of a key that is a counter, whichever batches fail."""
        firsts = {one.batch for one in self.log if one.batch}
        counts = [self.model().counter(key)] + [self.model(first).counter(key) for first in firsts]
        if all(count is not None and abs(count) < 1 << 62 for count in counts):
            self.bench.store.incr(key, delta, self.bench.now)
            self.log.append(Done(0, lambda state: state.count(key, delta, LEAST)))

    @rule(clear=st.booleans())
    def others_retain(self, clear: bool) -> None:
        """On the second topic: whose change is the last one depends on when a batch becomes durable."""
        if clear:
            self.bench.node.pubsub.clear_retained(b"u")
        else:
            self.bench.node.pubsub.retain(b"u", self.value(), b"", 0)

    @rule()
    def lend(self) -> None:
        for job in self.bench.receive(2):
            self.lent((int(job.message.id), int(job.token)), bytes(job.message.value))
        for receipt in self.bench.fetch(2):
            self.handed_out(receipt)

    def lent(self, lease: tuple[int, int], value: bytes) -> None:
        self.leases.append(lease)
        self.log.append(Done(0, lambda state: state.lent.update({lease: value})))

    def handed_out(self, receipt: tuple[int, int]) -> None:
        self.log.append(Done(0, lambda state: state.fetched.add(receipt)))

    # Turns and the disk.

    @rule()
    def turn(self) -> None:
        self.bench.turn()

    @rule()
    def all_durable(self) -> None:
        self.bench.rest()
        self.base, self.log = self.model(), []
        self.base.leaving = 0

    @rule(data=st.data())
    @precondition(lambda self: len(self.bench.node.batches) > 0)
    def the_disk_is_full(self, data: st.DataObject) -> None:
        """Some batches of the journal are on disk, the others never get there."""
        journal = self.bench.journal
        first = data.draw(st.integers(int(journal.synced) + 1, int(journal.batch)))
        self.bench.turn()
        self.bench.reach(first - 1, first - 1)
        self.bench.fail(first)
        again = [one.acks for one in self.log if one.batch >= first and one.acks is not None]
        self.log = [one for one in self.log if one.batch < first]
        self.all_durable()
        self.what_is_retained_is_recorded()
        for delivery in again:  # it will be delivered under another token
            self.base.lent.pop(delivery, None)
            self.base.fetched.discard(delivery)

    @invariant()
    def the_store_is_the_model(self) -> None:
        page = self.bench.store.scan(b"", b"", 100, 1 << 20, 0, True)
        found = dict(zip(page.keys, [entry.value for entry in page.entries], strict=True))
        assert found == self.model().keys

    @invariant()
    def what_is_durable_is_the_model(self) -> None:
        if self.log or len(self.bench.node.batches) > 0:
            return
        model, bench = self.base, self.bench
        assert sorted(bench.waiting()) == sorted(model.messages)
        assert bench.values() == model.records
        assert bench.listener.heard == b"".join(model.sent)
        assert retained(bench.node, b"t") == ({} if model.retained is None else {b"t": model.retained})
        settled = {seq for seq in range(1, len(model.records) + 1) if bench.group.backlog.settled.has(seq)}
        assert settled == model.settled

    def what_is_retained_is_recorded(self) -> None:
        assert retained(self.bench.restarted()) == retained(self.bench.node)

    def teardown(self) -> None:
        """After a crash, too, everything is there that was durable."""
        self.all_durable()
        self.what_is_retained_is_recorded()
        self.bench.journal.crash()
        again = self.bench.restarted()
        assert sorted(bodies(again)) == sorted(self.base.messages)
        assert records(again) == self.base.records
        (group,) = again.streams.groups
        settled = {seq for seq in range(1, len(self.base.records) + 1) if group.backlog.settled.has(seq)}
        assert settled == self.base.settled


TestBatches = BatchMachine.TestCase
TestBatches.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
