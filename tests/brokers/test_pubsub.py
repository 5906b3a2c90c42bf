"""The Pub/Sub broker, one promise at a time. test_pubsub_machine.py checks them all together."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexo.brokers.message import Message
from nexo.brokers.pubsub import ROUTE_TOPIC_BYTES_MAX, Batch, Encoding, PubSub, Receiver, Subscription
from nexo.errors import InvalidArgumentError, LimitExceededError
from nexo.limits import SUBSCRIPTIONS_PER_CONNECTION_MAX


class Lines(Encoding):
    """Encodes a batch as text, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, messages: list[Message], tag: int) -> bytes:
        self.calls += 1
        return b"".join(b"%d:%s=%s\n" % (tag, one.topic, one.value) for one in messages)


class Client(Receiver):
    """Records what it gets."""

    def __init__(self, encoding: Encoding | None = None) -> None:
        super().__init__(encoding or Lines())
        self.values: list[bytes] = []
        self.tags: list[int] = []
        self.charged: list[bytes] = []
        self.batches: list[Batch] = []

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        self.batches.append(batch)
        for message in batch.messages:
            self.values.append(message.value)
            self.tags.append(subscription.tag)
            self.charged.append(subscription.filter)


def publish(pubsub: PubSub, topic: bytes, value: bytes) -> int:
    return pubsub.publish(Message(topic, value, b"", 0))


def test_nobody_listens() -> None:
    pubsub = PubSub()
    assert publish(pubsub, b"a", b"1") == 0
    pubsub.flush()
    assert (pubsub.published, pubsub.delivered, pubsub.no_receiver) == (1, 0, 1)


def test_nothing_is_delivered_before_the_turn_ends() -> None:
    pubsub, client = PubSub(), Client()
    pubsub.subscribe(client, b"a")
    assert publish(pubsub, b"a", b"1") == 1
    assert client.values == [] and pubsub.has_batches()
    pubsub.flush()
    pubsub.flush()
    assert client.values == [b"1"] and not pubsub.has_batches()
    assert pubsub.delivered == 1


def test_one_copy_per_receiver_charged_to_its_oldest_match() -> None:
    pubsub, client, other = PubSub(), Client(), Client()
    for filter in (b"x", b"a/#", b"a/b", b"+/+", b"#"):
        pubsub.subscribe(client, filter)
    pubsub.subscribe(other, b"#")
    assert publish(pubsub, b"a/b", b"1") == 2
    assert publish(pubsub, b"c/d", b"2") == 2
    pubsub.flush()
    assert client.values == other.values == [b"1", b"2"]
    assert client.charged == [b"a/#", b"+/+"]


def test_a_turn_is_encoded_once_for_all_receivers_of_a_set() -> None:
    pubsub, lines = PubSub(), Lines()
    clients = [Client(lines) for _ in range(50)]
    for client in clients:
        pubsub.subscribe(client, b"news/#")
    for number in range(200):
        publish(pubsub, b"news/%d" % (number % 20), b"%d" % number)
    pubsub.flush()
    batch = clients[0].batches[0]
    assert all(client.batches == [batch] for client in clients)
    assert len({id(batch.encoded(client.encoding, 0)) for client in clients}) == 1
    assert lines.calls == 1
    assert batch.encoded(lines, 0).startswith(b"0:news/0=0\n0:news/1=1\n")


def test_a_batch_is_cached_per_encoding_and_tag() -> None:
    pubsub, client, one, two = PubSub(), Client(), Lines(), Lines()
    pubsub.subscribe(client, b"a")
    publish(pubsub, b"a", b"v")
    pubsub.flush()
    batch = client.batches[0]
    for _ in range(2):
        assert batch.encoded(one, 0) == batch.encoded(two, 0) == b"0:a=v\n"
        assert batch.encoded(one, 7) == b"7:a=v\n"
    assert (one.calls, two.calls) == (2, 1)


def test_disjoint_receivers_do_not_split_each_others_batches() -> None:
    pubsub = PubSub()
    clients = [Client() for _ in range(100)]
    for index, client in enumerate(clients):
        pubsub.subscribe(client, b"own/%d" % index)
    for number in range(1_000):
        publish(pubsub, b"own/%d" % (number % 100), b"%d" % number)
    pubsub.flush()
    for index, client in enumerate(clients):
        assert client.values == [b"%d" % number for number in range(index, 1_000, 100)]
        assert len(client.batches) == 1


@pytest.mark.parametrize("size", [1, 3, 40])
def test_order_holds_across_sets_that_overlap(size: int) -> None:
    pubsub, everything = PubSub(), Client()
    groups = [[Client() for _ in range(size)] for _ in range(3)]
    pubsub.subscribe(everything, b"all/+")
    for index, group in enumerate(groups):
        for client in group:
            pubsub.subscribe(client, b"all/%d" % index)
            pubsub.subscribe(client, b"own/%d" % index)
    sent: list[tuple[int, bytes, bytes]] = []
    for number in range(300):
        index, kind = number * number % 3, b"all" if number % 7 < 4 else b"own"
        publish(pubsub, kind + b"/%d" % index, b"%d" % number)
        sent.append((index, kind, b"%d" % number))
    pubsub.flush()
    assert everything.values == [value for _, kind, value in sent if kind == b"all"]
    for index, group in enumerate(groups):
        for client in group:
            assert client.values == [value for to, _, value in sent if to == index]


def test_large_disjoint_sets_share_a_turn_in_two_batches() -> None:
    pubsub = PubSub()
    sides = [[Client() for _ in range(30)] for _ in range(2)]
    for index, side in enumerate(sides):
        for client in side:
            pubsub.subscribe(client, b"side/%d" % index)
    for number in range(100):
        publish(pubsub, b"side/%d" % (number % 2), b"%d" % number)
    pubsub.flush()
    assert [len(client.batches) for side in sides for client in side] == [1] * 60
    assert sides[1][0].values == [b"%d" % number for number in range(1, 100, 2)]


def test_subscribing_again_replaces_the_settings_of_the_same_object() -> None:
    pubsub, client = PubSub(), Client()
    first = pubsub.subscribe(client, b"a", messages_max=5, policy=1)
    again = pubsub.subscribe(client, b"a", messages_max=6, bytes_max=9, policy=2)
    assert first is again
    assert (again.messages_max, again.bytes_max, again.policy, pubsub.subscriptions) == (6, 9, 2, 1)
    assert publish(pubsub, b"a", b"1") == 1


def test_a_change_in_mid_turn_takes_effect_between_two_messages() -> None:
    pubsub, early, late = PubSub(), Client(), Client()
    pubsub.subscribe(early, b"a/#")
    pubsub.subscribe(early, b"a/b")
    publish(pubsub, b"a/b", b"1")
    pubsub.subscribe(late, b"a/+")
    publish(pubsub, b"a/b", b"2")
    assert pubsub.unsubscribe(early, b"a/#")
    publish(pubsub, b"a/b", b"3")
    assert pubsub.unsubscribe(early, b"a/b")
    assert not pubsub.unsubscribe(early, b"a/b")
    assert publish(pubsub, b"a/b", b"4") == 1
    pubsub.flush()
    assert early.values == [b"1", b"2", b"3"]
    assert late.values == [b"2", b"3", b"4"]


def test_a_receiver_that_was_dropped_gets_nothing_more() -> None:
    pubsub, gone, stays = PubSub(), Client(), Client()
    for client in (gone, stays):
        pubsub.subscribe(client, b"#")
        pubsub.subscribe(client, b"a")
        pubsub.subscribe(client, b"a", group=b"g")
    publish(pubsub, b"a", b"1")
    pubsub.drop(gone)
    pubsub.drop(gone)
    assert publish(pubsub, b"a", b"2") == 2
    pubsub.flush()
    assert gone.values == []
    assert pubsub.subscriptions == 3 and gone.subscriptions == {}


def test_a_receiver_that_was_dropped_is_let_go() -> None:
    pubsub, stays, gone = PubSub(), Client(), Client()
    pubsub.subscribe(stays, b"a/+", group=b"g")
    pubsub.subscribe(stays, b"b")
    for filter in (b"b", b"a/1"):
        pubsub.subscribe(gone, filter)
    pubsub.subscribe(gone, b"a/+", group=b"g", tag=1)
    for topic in (b"a/1", b"a/2", b"b"):
        publish(pubsub, topic, b"v")
    pubsub.flush()
    pubsub.drop(gone)
    seen = weakref.ref(gone.encoding)
    stays.batches.clear()
    del gone
    gc.collect()
    assert seen() is None


def test_publishing_from_deliver_goes_to_the_next_flush() -> None:
    pubsub = PubSub()

    class Echo(Client):
        def deliver(self, batch: Batch, subscription: Subscription) -> None:
            super().deliver(batch, subscription)
            if len(self.values) < 3:
                publish(pubsub, b"a", b"echo")
                pubsub.flush()

    echo, witness = Echo(), Client()
    pubsub.subscribe(echo, b"a")
    pubsub.subscribe(witness, b"a")
    publish(pubsub, b"a", b"call")
    pubsub.flush()
    assert witness.values == [b"call"]
    pubsub.flush()
    assert witness.values == echo.values == [b"call", b"echo"]


def test_dropping_from_deliver_skips_the_dropped() -> None:
    pubsub, victim = PubSub(), Client()

    class Assassin(Client):
        def deliver(self, batch: Batch, subscription: Subscription) -> None:
            super().deliver(batch, subscription)
            pubsub.drop(victim)
            pubsub.drop(self)

    assassin, witness = Assassin(), Client()
    for client in (assassin, victim, witness):
        pubsub.subscribe(client, b"a")
    publish(pubsub, b"a", b"1")
    pubsub.flush()
    assert (assassin.values, victim.values, witness.values) == ([b"1"], [], [b"1"])
    assert pubsub.delivered == 2


def test_a_failing_receiver_does_not_lock_the_broker() -> None:
    pubsub, client = PubSub(), Client()

    class Faulty(Client):
        def deliver(self, batch: Batch, subscription: Subscription) -> None:
            raise RuntimeError("a fault")

    faulty = Faulty()
    pubsub.subscribe(faulty, b"a")
    publish(pubsub, b"a", b"1")
    with pytest.raises(RuntimeError):
        pubsub.flush()
    pubsub.drop(faulty)
    pubsub.subscribe(client, b"a")
    publish(pubsub, b"a", b"2")
    pubsub.flush()
    assert client.values == [b"2"]


def test_members_of_a_shared_group_take_turns() -> None:
    pubsub, members, other = PubSub(), [Client() for _ in range(3)], Client()
    for tag, member in enumerate(members, 1):
        pubsub.subscribe(member, b"jobs/+", group=b"workers", tag=tag)
    pubsub.subscribe(other, b"jobs/+", group=b"audit", tag=9)
    for number in range(9):
        assert publish(pubsub, b"jobs/%d" % number, b"%d" % number) == 2
    pubsub.flush()
    assert [member.values for member in members] == [[b"%d" % n for n in range(i, 9, 3)] for i in range(3)]
    assert [set(member.tags) for member in members] == [{1}, {2}, {3}]
    assert len(other.values) == 9


def test_the_seed_decides_who_begins() -> None:
    first = []
    for seed in range(3):
        pubsub, members = PubSub(seed), [Client() for _ in range(3)]
        for member in members:
            pubsub.subscribe(member, b"a", group=b"g", tag=1)
        publish(pubsub, b"a", b"1")
        pubsub.flush()
        first.append([bool(member.values) for member in members].index(True))
    assert first == [0, 1, 2]


def test_a_blocked_member_is_passed_over_while_another_is_not() -> None:
    pubsub, members = PubSub(), [Client() for _ in range(3)]
    for member in members:
        pubsub.subscribe(member, b"a", group=b"g", tag=1)
    members[1].blocked = True
    for number in range(4):
        publish(pubsub, b"a", b"%d" % number)
    pubsub.flush()
    assert [member.values for member in members] == [[b"0", b"2"], [], [b"1", b"3"]]
    members[0].blocked = members[2].blocked = True
    for _ in range(6):
        assert publish(pubsub, b"a", b"all blocked") == 1
    pubsub.flush()
    assert [member.values.count(b"all blocked") for member in members] == [2, 2, 2]


def test_a_member_that_leaves_is_skipped_and_the_last_takes_the_group_with_it() -> None:
    pubsub, one, two = PubSub(), Client(), Client()
    for client in (one, two):
        pubsub.subscribe(client, b"a", group=b"g", tag=1)
    pubsub.drop(one)
    for _ in range(3):
        assert publish(pubsub, b"a", b"v") == 1
    pubsub.flush()
    assert len(two.values) == 3
    assert not pubsub.unsubscribe(two, b"a")
    assert pubsub.unsubscribe(two, b"a", b"g")
    assert publish(pubsub, b"a", b"v") == 0


def test_a_shared_copy_comes_beside_the_ordinary_one() -> None:
    pubsub, client = PubSub(), Client()
    pubsub.subscribe(client, b"a")
    pubsub.subscribe(client, b"a", group=b"g", tag=3)
    pubsub.subscribe(client, b"+", group=b"g", tag=4)
    assert publish(pubsub, b"a", b"v") == 3
    pubsub.flush()
    assert sorted(client.tags) == [0, 3, 4]


def test_responders_are_those_who_can_reply() -> None:
    pubsub, able, unable, member = PubSub(), Client(), Client(), Client()
    able.can_reply = member.can_reply = True
    assert pubsub.responders(b"rpc/a") == 0
    pubsub.subscribe(unable, b"rpc/+")
    assert pubsub.responders(b"rpc/a") == 0
    pubsub.subscribe(able, b"rpc/#")
    pubsub.subscribe(unable, b"rpc/a", group=b"g", tag=1)
    assert pubsub.responders(b"rpc/a") == 1
    pubsub.subscribe(member, b"rpc/a", group=b"g", tag=2)
    assert pubsub.responders(b"rpc/a") == 2
    assert pubsub.published == 0


@pytest.mark.parametrize("settings", [{"messages_max": 0}, {"bytes_max": 0}, {"policy": 4}, {"policy": -1}])
def test_settings_that_are_refused(settings: dict[str, int]) -> None:
    pubsub, client = PubSub(), Client()
    with pytest.raises(InvalidArgumentError):
        pubsub.subscribe(client, b"a", **settings)  # type: ignore[arg-type]
    assert pubsub.subscriptions == 0 and publish(pubsub, b"a", b"v") == 0


def test_a_connection_has_a_bound_on_its_subscriptions() -> None:
    pubsub, client = PubSub(), Client()
    for number in range(SUBSCRIPTIONS_PER_CONNECTION_MAX):
        pubsub.subscribe(client, b"%d" % number)
    with pytest.raises(LimitExceededError, match="SUBSCRIPTIONS_PER_CONNECTION_MAX"):
        pubsub.subscribe(client, b"one too many")
    pubsub.subscribe(client, b"7", messages_max=3)
    pubsub.drop(client)
    assert pubsub.subscriptions == 0


def test_topics_too_long_to_be_cached_are_delivered_all_the_same() -> None:
    pubsub, client = PubSub(), Client()
    topic = b"t" * (ROUTE_TOPIC_BYTES_MAX + 1)
    pubsub.subscribe(client, topic)
    for value in (b"1", b"2"):
        assert publish(pubsub, topic, value) == 1
    pubsub.unsubscribe(client, topic)
    assert publish(pubsub, topic, b"3") == 0
    pubsub.flush()
    assert client.values == [b"1", b"2"]


def test_the_cache_of_routes_is_bounded() -> None:
    pubsub, client = PubSub(), Client()
    pubsub.subscribe(client, b"#")
    for number in range(70_000):
        publish(pubsub, b"%d" % number, b"")
    assert len(pubsub._routes) <= 65_536
    pubsub.flush()
    assert len(client.values) == 70_000 and len(client.batches) <= 2


def test_subscribing_without_wildcards_keeps_the_routes_of_other_topics() -> None:
    pubsub, client = PubSub(), Client()
    pubsub.subscribe(client, b"hot")
    publish(pubsub, b"hot", b"v")
    for number in range(100):
        pubsub.subscribe(client, b"cold/%d" % number)
        assert b"hot" in pubsub._routes
    pubsub.subscribe(client, b"+/x")
    assert pubsub._routes == {}


# Retained values.


def test_retained_values_come_in_the_order_of_publication() -> None:
    pubsub = PubSub()
    for topic in (b"r/b", b"r/a", b"r", b"$sys/x", b"r/b"):
        pubsub.retain(topic, b"v:" + topic, b"h", 0)
    assert [one.topic for one in pubsub.retained(b"r/#", 0)] == [b"r/a", b"r", b"r/b"]
    assert [one.topic for one in pubsub.retained(b"#", 0)] == [b"r/a", b"r", b"r/b"]
    [only] = pubsub.retained(b"r/a", 0)
    assert (only.value, only.headers, only.request_id) == (b"v:r/a", b"h", 0)
    assert pubsub.clear_retained(b"r/a") and not pubsub.clear_retained(b"r/a")
    assert pubsub.retained(b"r/a", 0) == []


def test_an_empty_value_is_a_retained_value() -> None:
    pubsub = PubSub()
    pubsub.retain(b"a", b"", b"", 0)
    assert [one.value for one in pubsub.retained(b"a", 0)] == [b""]


def test_a_retained_value_that_is_due_is_not_handed_out() -> None:
    pubsub = PubSub()
    pubsub.retain(b"a", b"v", b"", 1_000)
    assert len(pubsub.retained(b"+", 999)) == 1
    assert pubsub.retained(b"+", 1_000) == [] == pubsub.retained(b"a", 1_000)
    assert pubsub.expire(999, 10) == 1_000
    assert pubsub.retained_count == 1
    assert pubsub.expire(1_000, 10) == 0
    assert (pubsub.retained_count, pubsub.retained_bytes) == (0, 0)


def test_expiry_keeps_to_its_budget() -> None:
    pubsub = PubSub()
    for number in range(100):
        pubsub.retain(b"%d" % number, b"v", b"", 10)
    assert pubsub.expire(10, 30) == 10
    assert pubsub.retained_count == 70
    assert pubsub.expire(10, 1_000) == 0
    assert pubsub.retained_count == 0


def test_deadlines_of_replaced_values_do_not_pile_up() -> None:
    pubsub = PubSub()
    for number in range(10_000):
        pubsub.retain(b"a", b"v", b"", 1_000_000 + number)
    assert len(pubsub.kept._deadlines) < 100
    assert pubsub.expire(1_009_998, 100) == 1_009_999
    assert pubsub.retained_count == 1


TOPICS = st.sampled_from([b"a", b"a/b", b"a/", b"$s/a"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("retain"), TOPICS, st.binary(max_size=3), st.sampled_from([0, 3, 7, 20])),
        st.tuples(st.just("clear"), TOPICS),
        st.tuples(st.just("pass"), st.integers(0, 5)),
        st.tuples(st.just("expire"), st.integers(1, 3)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_retained_values_agree_with_a_dict(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    pubsub, now = PubSub(), 0
    model: dict[bytes, tuple[bytes, int]] = {}
    for step in steps:
        if step[0] == "retain":
            _, topic, value, ttl = step
            pubsub.retain(topic, value, b"hh", now + ttl if ttl else 0)
            model.pop(topic, None)
            model[topic] = (value, now + ttl if ttl else 0)
        elif step[0] == "clear":
            cleared = pubsub.clear_retained(step[1])
            known = model.pop(step[1], None)
            assert cleared or known is None or 0 < known[1] <= now
        elif step[0] == "pass":
            now += step[1]
        else:
            pubsub.expire(now, step[1])
        living = {topic: one for topic, one in model.items() if not one[1] or one[1] > now}
        assert [(one.topic, one.value) for one in pubsub.retained(b"$s/#", now)] == [
            (topic, one[0]) for topic, one in living.items() if topic == b"$s/a"
        ]
        assert [(one.topic, one.value) for one in pubsub.retained(b"a/#", now)] == [
            (topic, one[0]) for topic, one in living.items() if topic != b"$s/a"
        ]
    living = {topic: one for topic, one in model.items() if not one[1] or one[1] > now}
    assert pubsub.expire(now, 1_000) == min((one[1] for one in living.values() if one[1]), default=0)
    assert pubsub.retained_count == len(living)
    assert pubsub.retained_bytes == sum(len(topic) + len(one[0]) + 2 for topic, one in living.items())
