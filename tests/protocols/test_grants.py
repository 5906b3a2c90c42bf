"""What an account may do: patterns against plain models, and permissions as they are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexo.brokers.topics import FilterTree, Target
from nexo.errors import InvalidArgumentError, NotAuthorizedError
from nexo.protocols import grants as grant
from nexo.protocols.grants import EVERYTHING, NOTHING, VERBS, Grants, filter_covers, glob_matches

NAMES = st.text("ab*", max_size=8).map(str.encode)
LEVELS = st.sampled_from(["a", "b", "", "$a"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool).map(str.encode)


def is_filter(levels: list[str]) -> bool:
    return levels != [""] and "#" not in levels[:-1]


FILTERS = (
    st.lists(st.one_of(LEVELS, st.sampled_from(["+", "#"])), min_size=1, max_size=4)
    .filter(is_filter)
    .map(lambda levels: "/".join(levels).encode())
)


@given(NAMES, NAMES)
def test_a_glob_is_a_regular_expression(pattern: bytes, name: bytes) -> None:
    expression = b".*".join(map(re.escape, pattern.split(b"*")))
    assert glob_matches(pattern, name) == bool(re.fullmatch(expression, name, re.DOTALL))


@given(st.lists(NAMES, max_size=3), NAMES)
def test_patterns_are_the_sum_of_each(patterns: list[bytes], name: bytes) -> None:
    found = Grants("x", [f"store:read {one.decode()}" for one in patterns if one])
    assert found.may(grant.STORE_READ, name) == any(glob_matches(one, name) for one in patterns if one)
    assert not found.may(grant.STORE_WRITE, name)


@given(NAMES.filter(bool), NAMES, st.lists(NAMES, max_size=5))
def test_a_covered_prefix_has_no_name_outside(pattern: bytes, prefix: bytes, rests: list[bytes]) -> None:
    found = Grants("x", [f"store:read {pattern.decode()}"])
    if found.patterns[grant.STORE_READ].covers_prefix(prefix):
        assert all(glob_matches(pattern, prefix + rest) for rest in rests)
    if pattern.endswith(b"*") and glob_matches(pattern, prefix):
        found.check_prefix(grant.STORE_READ, prefix)


@given(st.lists(NAMES.filter(bool), max_size=3), NAMES, NAMES, NAMES)
def test_the_hot_path_is_never_more_generous(
    patterns: list[bytes], before: bytes, name: bytes, behind: bytes
) -> None:
    found = Grants("x", [f"store:read {one.decode()}" for one in patterns]).patterns[grant.STORE_READ]
    surely = found.surely_covers(before + name + behind, len(before), len(before) + len(name))
    assert found.covers(name) if surely else not any(one == name for one in patterns if b"*" not in one)


@given(st.lists(st.deferred(lambda: FILTERS), max_size=3), st.deferred(lambda: TOPICS))
def test_the_hot_path_of_topics(filters: list[bytes], topic: bytes) -> None:
    found = Grants("x", [f"pubsub:publish {one.decode()}" for one in filters]).patterns[grant.PUBSUB_PUBLISH]
    if found.surely_covers(topic, 0, len(topic)):
        assert any(matches(one, topic) for one in filters)
    assert found.covers(topic) == any(matches(one, topic) for one in filters)


def matches(filter: bytes, topic: bytes) -> bool:
    tree = FilterTree()
    tree.insert(filter, Target())
    return len(tree.match(topic)) > 0


@given(FILTERS, TOPICS)
def test_a_filter_covers_the_topics_that_it_matches(filter: bytes, topic: bytes) -> None:
    assert filter_covers(filter, topic) == matches(filter, topic)


@given(FILTERS, FILTERS, st.lists(TOPICS, max_size=8))
def test_a_covered_filter_matches_nothing_outside(pattern: bytes, wanted: bytes, topics: list[bytes]) -> None:
    if filter_covers(pattern, wanted):
        assert all(matches(pattern, topic) for topic in topics if matches(wanted, topic))


@pytest.mark.parametrize(
    ("permission", "wrong"),
    [
        ("store:read", "has no pattern"),
        ("store:fly *", "permission 'store:fly \\*': it is monitor, admin, or one of store:read"),
        ("shop:* *", "one of"),
        ("root", "one of"),
        ("", "one of"),
        ("pubsub:publish sensors/*", "only \\* alone is for all"),
        ("pubsub:publish a#", "# in a filter must be a whole level"),
    ],
)
def test_what_is_no_permission_is_said(permission: str, wrong: str) -> None:
    with pytest.raises(InvalidArgumentError, match=wrong):
        Grants("x", [permission])


def test_a_star_is_every_verb_of_a_broker_and_the_user_is_put_in() -> None:
    found = Grants("ann", ["queue:* {user}.*"])
    for place, verb in enumerate(VERBS):
        assert found.may(place, b"ann.x") == verb.startswith("queue:")
        assert not found.may(place, b"bob.x")
    assert found.may_see(grant.QUEUES, b"ann.x")
    assert not found.may_see(grant.QUEUES, b"bob.x")
    assert not found.may_see(grant.STREAMS, b"ann.x")


def test_the_refusal_names_who_and_what() -> None:
    with pytest.raises(NotAuthorizedError, match=r"account 'ann' has no permission for queue:push on 'mail'"):
        Grants("ann", ["monitor"]).check(grant.QUEUE_PUSH, b"mail")
    with pytest.raises(NotAuthorizedError, match="log in first"):
        NOTHING.check(grant.QUEUE_PUSH, b"mail")
    with pytest.raises(NotAuthorizedError, match="for admin"):
        Grants("ann", ["monitor"]).check_admin()
    EVERYTHING.check_admin()
    Grants("ann", ["monitor"]).check_monitor()


def test_grants_hold_what_is_in_them() -> None:
    small, large = Grants("ann", ["store:read *"]), Grants("ann", ["store:read *", "monitor"])
    assert large.holds(small) and not small.holds(large)
    assert EVERYTHING.holds(large) and not large.holds(EVERYTHING)
