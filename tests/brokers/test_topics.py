"""Topics and filters: the rules of MQTT 4.7 as tables, and both trees against a function of one screen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexo.brokers.topics import (
    FilterTree,
    Target,
    TopicTree,
    check_filter,
    check_group,
    check_topic,
    is_pattern,
)
from nexo.errors import InvalidArgumentError, LimitExceededError
from nexo.limits import TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX


def matches(filter: bytes, topic: bytes) -> bool:
    """The model: one filter, one topic, level by level."""
    wanted, levels = filter.split(b"/"), topic.split(b"/")
    if topic[:1] == b"$" and wanted[0] in (b"+", b"#"):
        return False
    for index, level in enumerate(wanted):
        if level == b"#":
            return True
        if index == len(levels) or level not in (b"+", levels[index]):
            return False
    return len(wanted) == len(levels)


CLAUSES = [
    # (clause, filter, topic, does it match)
    ("4.7.1.2 the parent", "sport/tennis/player1/#", "sport/tennis/player1", True),
    ("4.7.1.2 a child", "sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("4.7.1.2 a grandchild", "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("4.7.1.2 a sibling", "sport/tennis/player1/#", "sport/tennis/player10", False),
    ("4.7.1.2 the parent of all", "sport/#", "sport", True),
    ("4.7.1.2 everything", "#", "sport/tennis", True),
    ("4.7.1.2 everything, empty levels", "#", "/", True),
    ("4.7.1.3 one level", "sport/tennis/+", "sport/tennis/player1", True),
    ("4.7.1.3 not two levels", "sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("4.7.1.3 not none", "sport/+", "sport", False),
    ("4.7.1.3 an empty level", "sport/+", "sport/", True),
    ("4.7.1.3 alone", "+", "finance", True),
    ("4.7.1.3 both wildcards", "+/tennis/#", "sport/tennis/x", True),
    ("4.7.1.3 both wildcards, the parent", "+/tennis/#", "sport/tennis", True),
    ("4.7.1.3 in the middle", "sport/+/player1", "sport/tennis/player1", True),
    ("4.7.1.3 in the middle, other end", "sport/+/player1", "sport/tennis/player2", False),
    ("4.7.1.3 a leading slash is a level", "+/+", "/finance", True),
    ("4.7.1.3 the level before it is not it", "/+", "/finance", True),
    ("4.7.1.3 one level is not two", "+", "/finance", False),
    ("MQTT-4.7.2-1 #", "#", "$SYS/uptime", False),
    ("MQTT-4.7.2-1 +", "+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("MQTT-4.7.2-1 + alone", "+", "$SYS", False),
    ("4.7.2 a named $ topic", "$SYS/#", "$SYS/uptime", True),
    ("4.7.2 a named $ topic, the parent", "$SYS/#", "$SYS", True),
    ("4.7.2 a wildcard further on", "$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("4.7.2 a $ further on", "#", "a/$b", True),
    ("4.7.2 a $ further on, +", "a/+", "a/$b", True),
    ("4.7.3 case", "ACCOUNTS", "Accounts", False),
    ("4.7.3 spaces", "Accounts payable", "Accounts payable", True),
    ("4.7.3 a leading slash", "/finance", "finance", False),
    ("4.7.3 a trailing slash", "finance/", "finance", False),
    ("4.7.3 empty levels", "a//b", "a//b", True),
    ("4.7.3 empty levels count", "a//b", "a/b", False),
    ("MQTT-4.7.3-4 no normalisation", "caf\u00e9", "cafe\u0301", False),
    ("MQTT-4.7.3-4 other scripts", "\u6c34/+", "\u6c34/\U0001f30a", True),
]


@pytest.mark.parametrize(
    ("filter", "topic", "expected"), [row[1:] for row in CLAUSES], ids=[row[0] for row in CLAUSES]
)
def test_the_clauses_of_mqtt(filter: str, topic: str, expected: bool) -> None:
    check_filter(filter.encode())
    check_topic(topic.encode())
    target = Target()
    filters = FilterTree()
    filters.insert(filter.encode(), target)
    assert filters.match(topic.encode()) == ([target] if expected else [])
    topics = TopicTree()
    topics.insert(topic.encode())
    assert topics.match(filter.encode()) == ([topic.encode()] if expected else [])
    assert matches(filter.encode(), topic.encode()) is expected


@pytest.mark.parametrize(
    ("clause", "filter"),
    [
        ("MQTT-4.7.1-1", b"sport/tennis#"),
        ("MQTT-4.7.1-1", b"sport/tennis/#/ranking"),
        ("MQTT-4.7.1-1", b"##"),
        ("MQTT-4.7.1-1", b"#/"),
        ("MQTT-4.7.1-2", b"sport+"),
        ("MQTT-4.7.1-2", b"+sport/x"),
        ("MQTT-4.7.1-2", b"a/++"),
        ("MQTT-4.7.1-2", b"a/+#"),
        ("MQTT-4.7.3-1", b""),
        ("MQTT-4.7.3-2", b"a\x00b"),
        ("MQTT-1.5.4-1", b"a/\xff"),
        ("MQTT-1.5.4-1", b"\xed\xa0\x80"),  # a surrogate
    ],
)
def test_filters_that_are_refused(clause: str, filter: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        check_filter(filter)


@pytest.mark.parametrize("topic", [b"", b"a/+", b"#", b"a+b", b"a#", b"\x00", b"\xc3", b"a/\xc0\x80"])
def test_topics_that_are_refused(topic: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        check_topic(topic)


@pytest.mark.parametrize(
    "topic", [b"/", b"//", b"a", b" ", b"$SYS/x", "\u6c34".encode(), b"a/" * 127, b"x" * 65_535]
)
def test_topics_that_are_accepted(topic: bytes) -> None:
    check_topic(topic)
    check_filter(topic)


def test_the_limits_of_a_topic_are_named() -> None:
    longest, deepest = b"x" * TOPIC_BYTES_MAX, b"/" * (TOPIC_LEVELS_MAX - 1)
    for check in (check_topic, check_filter):
        check(longest)
        check(deepest)
        with pytest.raises(LimitExceededError, match=f"TOPIC_BYTES_MAX.*{TOPIC_BYTES_MAX}"):
            check(longest + b"x")
        with pytest.raises(LimitExceededError, match=f"TOPIC_LEVELS_MAX.*{TOPIC_LEVELS_MAX}"):
            check(deepest + b"/")


@pytest.mark.parametrize("group", [b"", b"a/b", b"+", b"g#", b"\x00", b"\xff"])
def test_groups_that_are_refused(group: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        check_group(group)


def test_is_pattern() -> None:
    assert [is_pattern(one) for one in (b"a/b", b"a/+", b"#", b"$x")] == [False, True, True, False]


LEVELS = st.sampled_from([b"a", b"b", b"", b"$s"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map(b"/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(LEVELS | st.just(b"+"), max_size=4), st.sampled_from([[], [b"#"]]))
    .map(lambda parts: b"/".join(parts[0] + parts[1]))
    .filter(bool)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), FILTERS, st.integers(0, 2))), st.lists(TOPICS, min_size=1))
def test_the_filter_tree_agrees_with_the_model(
    changes: list[tuple[bool, bytes, int]], topics: list[bytes]
) -> None:
    tree, targets = FilterTree(), [Target(), Target(), Target()]
    model: set[tuple[bytes, int]] = set()
    for add, filter, index in changes:
        if not add:
            assert tree.remove(filter, targets[index]) is ((filter, index) in model)
            model.discard((filter, index))
        elif (filter, index) not in model:
            tree.insert(filter, targets[index])
            model.add((filter, index))
    for topic in topics:
        expected = [id(targets[index]) for filter, index in model if matches(filter, topic)]
        assert sorted(map(id, tree.match(topic))) == sorted(expected)
    assert tree.count == len(model)
    assert sorted(tree.filters()) == sorted({filter for filter, _ in model})
    for filter in [*tree.filters(), *topics]:
        found = sorted(id(targets[index]) for name, index in model if name == filter)
        assert sorted(map(id, tree.at(filter))) == found
    for filter, index in model:
        assert tree.remove(filter, targets[index])
    assert tree._root.is_empty(), "nodes that nothing needs stay behind"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), TOPICS)), st.lists(FILTERS, min_size=1))
def test_the_topic_tree_agrees_with_the_model(
    changes: list[tuple[bool, bytes]], filters: list[bytes]
) -> None:
    tree = TopicTree()
    model: set[bytes] = set()
    for add, topic in changes:
        if add:
            tree.insert(topic)
            model.add(topic)
        else:
            assert tree.remove(topic) is (topic in model)
            model.discard(topic)
    for filter in filters:
        assert sorted(tree.match(filter)) == sorted(topic for topic in model if matches(filter, topic))
    for topic in model:
        assert tree.remove(topic)
    assert tree._root.children is None and tree._root.topic is None


def test_a_match_costs_the_same_among_10_and_100000_filters() -> None:
    visited = []
    for count in (10, 1_000, 100_000):
        tree = FilterTree()
        for number in range(count):
            tree.insert(b"fleet/%d/+/state" % number, Target())
        tree.insert(b"other/#", Target())
        before = tree.visited
        assert len(tree.match(b"fleet/7/engine/state")) == 1
        visited.append(tree.visited - before)
    assert visited[0] == visited[1] == visited[2] <= 5


def test_a_retained_lookup_visits_only_what_the_filter_names() -> None:
    tree = TopicTree()
    for number in range(10_000):
        tree.insert(b"fleet/%d/state" % number)
    assert tree.match(b"fleet/77/#") == [b"fleet/77/state"]
    assert tree.match(b"fleet/77/+") == [b"fleet/77/state"]
    assert tree.visited < 12
    assert len(tree.match(b"+/+/state")) == 10_000


def test_a_hundred_targets_under_one_filter_come_and_go() -> None:
    tree, targets = FilterTree(), [Target() for _ in range(100)]
    for target in targets:
        tree.insert(b"a/+", target)
    assert tree.match(b"a/b") == targets
    for target in targets[::-1]:
        assert tree.remove(b"a/+", target)
        assert not tree.remove(b"a/+", target)
    assert tree.match(b"a/b") == []
    assert tree._root.is_empty()
