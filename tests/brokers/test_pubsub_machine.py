"""Hypothesis drives the Pub/Sub broker against a list of subscriptions and a function of eight lines.

Checked after every flush: each receiver got exactly the messages that one of its ordinary filters
matched when they were published, once, in order; each shared group gave one copy to one of its members,
to one that was not blocked if there was such a member; and nobody got anything else.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nexo.brokers.message import Message
from nexo.brokers.pubsub import Batch, Encoding, PubSub, Receiver, Subscription

FILTERS = [
    b"a",
    b"a/b",
    b"a/+",
    b"a/#",
    b"+",
    b"+/b",
    b"#",
    b"$s",
    b"$s/#",
    b"/",
    b"a//b",
    b"a/+/b",
    b"+/+/#",
]
TOPICS = [b"a", b"a/b", b"a/c", b"$s", b"$s/b", b"/", b"a//b", b"a/x/b", b"b"]
GROUPS = [b"", b"", b"g", b"h"]


def matches(filter: bytes, topic: bytes) -> bool:
    wanted, levels = filter.split(b"/"), topic.split(b"/")
    if topic[:1] == b"$" and wanted[0] in (b"+", b"#"):
        return False
    for index, level in enumerate(wanted):
        if level == b"#":
            return True
        if index == len(levels) or level not in (b"+", levels[index]):
            return False
    return len(wanted) == len(levels)


class Client(Receiver):
    def __init__(self) -> None:
        super().__init__(Encoding())
        self.got: list[tuple[int, int]] = []  # (number of the message, tag)

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        self.got.extend((int(one.value), subscription.tag) for one in batch.messages)


class PubSubMachine(RuleBasedStateMachine):
    """`subscriptions` maps (client, filter, group) to its tag; `shared` a copy to the tags that may get it."""

    @initialize(seed=st.integers(0, 3), extra=st.sampled_from([0, 0, 20]))
    def start(self, seed: int, extra: int) -> None:
        self.pubsub = PubSub(seed)
        self.clients = [Client() for _ in range(4)]
        self.crowd = [Client() for _ in range(extra)]  # makes some of the sets large
        for client in self.crowd:
            self.pubsub.subscribe(client, b"a/#")
        self.subscriptions: dict[tuple[int, bytes, bytes], int] = {}
        self.expected: list[list[int]] = [[], [], [], []]
        self.shared: dict[tuple[int, bytes, bytes], set[int]] = {}
        self.crowd_expected: list[int] = []
        self.left_behind: list[tuple[int, int]] = []  # the shared copies of clients that were dropped
        self.lenient = False  # a dropped client may have taken shared copies with it
        self.number = self.last_tag = 0

    @rule(who=st.integers(0, 3), filter=st.sampled_from(FILTERS), group=st.sampled_from(GROUPS))
    def subscribe(self, who: int, filter: bytes, group: bytes) -> None:
        key = (who, filter, group)
        self.last_tag += 1
        tag = self.subscriptions.setdefault(key, self.last_tag if group else 0)
        self.pubsub.subscribe(self.clients[who], filter, group=group, tag=tag)

    @rule(who=st.integers(0, 3), filter=st.sampled_from(FILTERS), group=st.sampled_from(GROUPS))
    def unsubscribe(self, who: int, filter: bytes, group: bytes) -> None:
        known = self.subscriptions.pop((who, filter, group), None) is not None
        assert self.pubsub.unsubscribe(self.clients[who], filter, group) is known

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=8))
    def publish(self, topics: list[bytes]) -> None:
        for topic in topics:
            self.number += 1
            matching = [key for key in self.subscriptions if matches(key[1], topic)]
            ordinary = {who for who, _, group in matching if not group}
            groups = {(group, filter) for _, filter, group in matching if group}
            for who in ordinary:
                self.expected[who].append(self.number)
            for group, filter in groups:
                members = [key for key in matching if key[1:] == (filter, group)]
                free = [key for key in members if not self.clients[key[0]].blocked]
                self.shared[self.number, group, filter] = {self.subscriptions[key] for key in free or members}
            crowd = len(self.crowd) if matches(b"a/#", topic) else 0
            if crowd:
                self.crowd_expected.append(self.number)
            message = Message(topic, b"%d" % self.number, b"", 0)
            assert self.pubsub.publish(message) == len(ordinary) + len(groups) + crowd
            able = {who for who in ordinary if self.clients[who].can_reply}
            able_groups = {key[1:] for key in matching if key[2] and self.clients[key[0]].can_reply}
            assert self.pubsub.responders(topic) == len(able) + len(able_groups)

    @rule(who=st.integers(0, 3), blocked=st.booleans(), able=st.booleans())
    def change(self, who: int, blocked: bool, able: bool) -> None:
        self.clients[who].blocked = blocked
        self.clients[who].can_reply = able

    @rule(who=st.integers(0, 3))
    def drop(self, who: int) -> None:
        """What a dropped client got is a beginning of what it would have got; a new one takes its place."""
        client = self.clients[who]
        self.pubsub.drop(client)
        got = [number for number, tag in client.got if tag == 0]
        assert got == self.expected[who][: len(got)]
        tags = {tag for (owner, _, group), tag in self.subscriptions.items() if owner == who and group}
        for key, allowed in list(self.shared.items()):
            if allowed & tags:  # it may have been the one
                del self.shared[key]
        self.subscriptions = {key: tag for key, tag in self.subscriptions.items() if key[0] != who}
        self.left_behind.extend(one for one in client.got if one[1] != 0)
        self.clients[who] = Client()
        self.expected[who] = []
        self.lenient = True

    @rule()
    def flush(self) -> None:
        self.pubsub.flush()
        copies, self.left_behind = self.left_behind, []
        for who, client in enumerate(self.clients):
            numbers = [number for number, _ in client.got]
            assert numbers == sorted(numbers), "not in the order of publication"
            assert [number for number, tag in client.got if tag == 0] == self.expected[who]
            copies.extend(one for one in client.got if one[1] != 0)
            self.expected[who] = []
            client.got = []
        assert len(copies) == len(set(copies))
        for (number, _, _), allowed in self.shared.items():
            assert sum(one[0] == number and one[1] in allowed for one in copies) == 1
        if not self.lenient:
            assert len(copies) == len(self.shared)
        for client in self.crowd:
            assert [number for number, _ in client.got] == self.crowd_expected
            client.got = []
        self.crowd_expected = []
        self.shared = {}
        self.lenient = False

    @invariant()
    def totals(self) -> None:
        if hasattr(self, "pubsub"):
            assert self.pubsub.subscriptions == len(self.subscriptions) + len(self.crowd)

    def teardown(self) -> None:
        if not hasattr(self, "pubsub"):
            return
        self.flush()
        for client in self.clients + self.crowd:
            self.pubsub.drop(client)
        assert self.pubsub._tree._root.is_empty()
        assert not self.pubsub._groups and not self.pubsub._sets and not self.pubsub._singles
        assert self.pubsub._set_references == 0


PubSubMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestPubSubMachine = PubSubMachine.TestCase
