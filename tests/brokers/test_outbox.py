"""The outbox: what waits for a slow receiver, what its policies lose, and that each loss is counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexo.brokers.message import Message
from nexo.brokers.outbox import (
    CONFLATE,
    DISCONNECT,
    DROP_NEWEST,
    DROP_OLDEST,
    Batch,
    Encoding,
    Outbox,
    Receiver,
    Subscription,
)
from nexo.brokers.pubsub import PubSub


class Slow(Receiver):
    """A receiver that is always blocked, and lets everything wait."""

    def __init__(self) -> None:
        super().__init__(Encoding())
        self.blocked = True
        self.notified = 0

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        self.outbox.add(batch, subscription)

    def has_notices(self) -> None:
        self.notified += 1


def message(topic: bytes = b"t", value: bytes = b"v", headers: bytes = b"") -> Message:
    return Message(topic, value, headers, 0)


def values(outbox: Outbox, bytes_max: int = 1 << 30) -> list[bytes]:
    return [one.value for run, _ in outbox.take(bytes_max) for one in run]


def feed(pubsub: PubSub, topic: bytes, *contents: bytes) -> None:
    for content in contents:
        pubsub.publish(message(topic, content))
    pubsub.flush()


@pytest.mark.parametrize(
    ("policy", "left", "dropped"),
    [(DROP_OLDEST, [b"3", b"4", b"5"], 2), (DROP_NEWEST, [b"1", b"2", b"3"], 2), (CONFLATE, [b"5"], 4)],
)
def test_what_each_policy_leaves(policy: int, left: list[bytes], dropped: int) -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"t", messages_max=3, policy=policy)
    feed(pubsub, b"t", b"1", b"2", b"3", b"4", b"5")
    assert values(slow.outbox) == left
    assert slow.outbox.empty
    assert subscription.dropped == pubsub.dropped == dropped


def test_disconnect_marks_the_outbox_at_the_first_message_too_many() -> None:
    pubsub, slow = PubSub(), Slow()
    pubsub.subscribe(slow, b"t", messages_max=2, policy=DISCONNECT)
    feed(pubsub, b"t", b"1", b"2")
    assert not slow.outbox.overflowed
    feed(pubsub, b"t", b"3")
    assert slow.outbox.overflowed
    assert pubsub.dropped == 1


def test_conflation_keeps_the_last_of_each_topic_in_order_of_publication() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"#", messages_max=2, policy=CONFLATE)
    for topic, content in [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4")]:
        feed(pubsub, topic, content)
    assert values(slow.outbox) == [b"3", b"4"]  # a/1 by a/3, then b/2 at the bound
    assert subscription.dropped == 2


def test_bytes_are_topic_value_and_headers() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"t", bytes_max=10, policy=DROP_NEWEST)
    pubsub.publish(message(b"t", b"1234", b"56789"))
    pubsub.flush()
    assert subscription.pending_bytes == 10
    pubsub.publish(message(b"t", b"", b""))
    pubsub.flush()
    assert (subscription.pending_messages, subscription.dropped) == (1, 1)


@pytest.mark.parametrize("policy", [DROP_OLDEST, DROP_NEWEST, CONFLATE])
def test_a_message_larger_than_the_bound_displaces_nothing(policy: int) -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"t", bytes_max=8, policy=policy)
    feed(pubsub, b"t", b"ok", b"far too large")
    assert values(slow.outbox) == [b"ok"]
    assert subscription.dropped == 1


def test_each_subscription_has_its_own_bound_and_all_leave_in_order() -> None:
    pubsub, slow = PubSub(), Slow()
    narrow = pubsub.subscribe(slow, b"n", messages_max=1)
    wide = pubsub.subscribe(slow, b"w", messages_max=100)
    for topic, content in [(b"w", b"1"), (b"n", b"2"), (b"w", b"3"), (b"n", b"4"), (b"w", b"5")]:
        feed(pubsub, topic, content)
    assert values(slow.outbox) == [b"1", b"3", b"4", b"5"]
    assert (narrow.dropped, wide.dropped) == (1, 0)


def test_take_joins_messages_of_a_tag_and_stops_at_its_bound() -> None:
    pubsub, slow = PubSub(), Slow()
    pubsub.subscribe(slow, b"a/+")
    pubsub.subscribe(slow, b"b", group=b"g", tag=7)
    for topic, content in [(b"a/1", b"1"), (b"a/2", b"2"), (b"b", b"3"), (b"b", b"4"), (b"a/1", b"5")]:
        feed(pubsub, topic, content)
    runs = [([one.value for one in run], tag) for run, tag in slow.outbox.take(14)]
    assert runs == [([b"1", b"2"], 0), ([b"3", b"4"], 7)]  # 4 + 4 + 2 + 2 bytes, and 4 more would be 16
    assert [one.value for run, _ in slow.outbox.take(1) for one in run] == [b"5"], "at least one goes"
    assert slow.outbox.take(100) == []


def test_unsubscribing_discards_what_waits_and_counts_nothing() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"a", messages_max=1)
    pubsub.subscribe(slow, b"b")
    feed(pubsub, b"a", b"1", b"2")
    feed(pubsub, b"b", b"3")
    assert pubsub.unsubscribe(slow, b"a")
    assert values(slow.outbox) == [b"3"]
    assert slow.outbox.notices() == []
    assert (subscription.dropped, subscription.pending_messages) == (1, 0)


def test_dropping_a_receiver_empties_its_outbox() -> None:
    pubsub, slow = PubSub(), Slow()
    pubsub.subscribe(slow, b"#")
    feed(pubsub, b"a", b"1", b"2")
    pubsub.drop(slow)
    assert slow.outbox.empty and slow.outbox.take(100) == []


def test_notices_are_given_until_they_are_told() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"t", messages_max=1)
    feed(pubsub, b"t", b"1", b"2", b"3")
    assert slow.outbox.notices() == [subscription] == slow.outbox.notices()
    assert (subscription.dropped, subscription.dropped_untold, slow.notified) == (2, 2, 1)
    subscription.told()
    assert slow.outbox.notices() == []
    feed(pubsub, b"t", b"4")
    assert slow.outbox.notices() == [subscription]
    assert (subscription.dropped, subscription.dropped_untold, slow.notified) == (3, 1, 2)


def test_a_told_notice_is_not_mistaken_for_one_that_waits() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"t", messages_max=1)
    feed(pubsub, b"t", b"1", b"2")
    for one in slow.outbox.notices():
        one.told()
    feed(pubsub, b"t", b"3")  # with no call of notices() in between
    assert slow.notified == 2
    assert slow.outbox.notices() == [subscription]


def test_memory_follows_what_waits_and_not_what_was_conflated() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"#", policy=CONFLATE)
    pubsub.publish(message(b"first", b"1"))
    for number in range(10_000):
        pubsub.publish(message(b"t", b"%d" % number))
    pubsub.flush()
    assert slow.outbox._line is not None and subscription.line is not None
    assert max(len(slow.outbox._line._waiting), len(subscription.line._waiting)) < 100
    assert values(slow.outbox) == [b"1", b"9999"]


def test_conflation_remembers_only_the_topics_that_wait() -> None:
    pubsub, slow = PubSub(), Slow()
    subscription = pubsub.subscribe(slow, b"#", messages_max=10, policy=CONFLATE)
    for number in range(1_000):
        feed(pubsub, b"topic/%d" % number, b"v")
    assert subscription.latest is not None
    assert len(subscription.latest) == subscription.pending_messages == 10


POLICIES = st.sampled_from([DROP_OLDEST, DROP_NEWEST, CONFLATE])
BOUNDS = st.tuples(POLICIES, st.integers(1, 4), st.integers(2, 12))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.sampled_from([b"x", b"y"]), st.integers(0, 6)),
        st.tuples(st.just("take"), st.integers(1, 20)),
        st.tuples(st.just("unsubscribe"), st.integers(0, 2)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(BOUNDS, min_size=3, max_size=3), STEPS)
def test_the_outbox_agrees_with_a_list(bounds: list[tuple[int, int, int]], steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """The model is one list of (subscription, topic, size, number) in the order of publication."""
    pubsub, slow = PubSub(), Slow()
    own = [
        pubsub.subscribe(slow, b"%d/+" % index, messages_max=most, bytes_max=size, policy=policy)
        for index, (policy, most, size) in enumerate(bounds)
    ]
    model: list[tuple[int, bytes, int, int]] = []
    dropped = [0, 0, 0]
    for number, step in enumerate(steps):
        if step[0] == "add":
            _, index, name, size = step
            policy, most, bytes_max = bounds[index]
            topic = b"%d/" % index + name
            new = Message(topic, b"v" * size, b"", number)
            slow.outbox.add_message(new, own[index])
            new_one = (index, topic, len(topic) + size, number)
            mine = [one for one in model if one[0] == index]
            if new_one[2] > bytes_max:
                dropped[index] += 1
                continue
            lost = [one for one in mine if policy == CONFLATE and one[1] == topic]
            keep = [one for one in mine if one not in lost]
            while len(keep) >= most or sum(one[2] for one in keep) + new_one[2] > bytes_max:
                if policy == DROP_NEWEST:
                    lost.append(new_one)
                    break
                lost.append(keep.pop(0))
            dropped[index] += len(lost)
            model = [one for one in [*model, new_one] if one not in lost]
        elif step[0] == "take":
            taken = [one for run, _ in slow.outbox.take(step[1]) for one in run]
            room = step[1]
            for position, one in enumerate(taken):
                assert one.request_id == model[position][3]
                room -= model[position][2]
            assert room >= 0 or len(taken) == 1
            model = model[len(taken) :]
            assert not model or not taken or model[0][2] > room
            assert taken or not model
        else:
            slow.outbox.forget(own[step[1]])
            model = [one for one in model if one[0] != step[1]]
        assert slow.outbox.messages == len(model)
        assert slow.outbox.bytes == sum(one[2] for one in model)
        for index in range(3):
            mine = [one for one in model if one[0] == index]
            assert own[index].pending_messages == len(mine)
            assert own[index].pending_bytes == sum(one[2] for one in mine)
    assert [one.dropped for one in own] == dropped
    assert pubsub.dropped == sum(dropped)
    left = [one.request_id for run, _ in slow.outbox.take(1 << 30) for one in run]
    assert left == [one[3] for one in model]
