"""Topics, filters, and the two trees that bring them together.

A topic is UTF-8 in levels divided by `/`; a level may be empty. A filter is a topic in which a whole
level may be `+` (exactly one level) and the last may be `#` (any number of levels, none included).
The rules are those of MQTT 3.1.1 and 5.0, section 4.7:

    FilterTree   filters → what was subscribed.   Given a topic, finds the filters that match it.
    TopicTree    topics that hold a value.        Given a filter, finds the topics that it matches.

The cost of a match grows with the levels of the topic and with what matches, never with what else is
in the tree. Recursion is as deep as a topic has levels, which `check_topic` and `check_filter` bound.
This module does not know what a subscription or a message is.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.errors import InvalidArgumentError, LimitExceededError
from nexo.limits import TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX

SLASH: Final = b"/"
PLUS: Final = b"+"
HASH: Final = b"#"
DOLLAR: Final = b"$"


def check_topic(topic: bytes) -> None:
    """Whether messages can be published to a topic.

    Raises InvalidArgumentError for an empty topic, a wildcard, a NUL or bytes that are not UTF-8
    ([MQTT-4.7.1-1], [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-1.5.4-1]) and LimitExceededError past
    TOPIC_BYTES_MAX or TOPIC_LEVELS_MAX.
    """
    _check_text(topic, "topic")
    if PLUS in topic or HASH in topic:
        raise InvalidArgumentError("a topic holds no wildcard: + and # belong in a filter")


def check_filter(filter: bytes) -> None:
    """Whether a filter can be subscribed to.

    Raises InvalidArgumentError as `check_topic`, and for a wildcard that is not a whole level or a `#`
    that is not the last ([MQTT-4.7.1-1], [MQTT-4.7.1-2]); LimitExceededError as `check_topic`.
    """
    _check_text(filter, "filter")
    if not is_pattern(filter):
        return
    levels = filter.split(SLASH)
    last = len(levels) - 1
    for index, level in enumerate(levels):
        if HASH in level:
            if level != HASH:
                raise InvalidArgumentError("# in a filter must be a whole level")
            if index != last:
                raise InvalidArgumentError("# in a filter must be the last level")
        elif PLUS in level and level != PLUS:
            raise InvalidArgumentError("+ in a filter must be a whole level")


def check_group(group: bytes) -> None:
    """Whether a shared subscription's group can have this name (as [MQTT-4.8.2-1] and -2).

    Raises InvalidArgumentError for an empty name, one with `/`, `+`, `#` or NUL, or not UTF-8, and
    LimitExceededError past TOPIC_BYTES_MAX.
    """
    _check_text(group, "group")
    if SLASH in group or PLUS in group or HASH in group:
        raise InvalidArgumentError("the name of a group must not hold / + or #")


def is_pattern(filter: bytes) -> bool:
    """Whether a filter has a wildcard, and so can match more than the topic of its own name."""
    return PLUS in filter or HASH in filter


def _check_text(text: bytes, what: str) -> None:
    size = len(text)
    if size == 0:
        raise InvalidArgumentError(f"a {what} must not be empty")
    if size > TOPIC_BYTES_MAX:
        raise LimitExceededError(
            f"a {what} of {size} bytes is longer than TOPIC_BYTES_MAX ({TOPIC_BYTES_MAX})"
        )
    levels = text.count(SLASH) + 1
    if levels > TOPIC_LEVELS_MAX:
        raise LimitExceededError(
            f"a {what} of {levels} levels has more than TOPIC_LEVELS_MAX ({TOPIC_LEVELS_MAX})"
        )
    if b"\x00" in text:
        raise InvalidArgumentError(f"a {what} must not hold the NUL character")
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(f"a {what} must be UTF-8: {error}") from error


class Target:
    """What a filter leads to; the owner of the tree derives from it."""

    __slots__ = ()


@final
class _FilterNode:
    """One level of the filters. Most nodes carry one target or none: only a second one makes a dict."""

    __slots__ = ("children", "hash", "more", "only", "plus")

    def __init__(self) -> None:
        self.children: dict[bytes, _FilterNode] | None = None
        self.plus: _FilterNode | None = None
        self.hash: _FilterNode | None = None
        self.only: Target | None = None
        self.more: dict[Target, None] | None = None

    def is_empty(self) -> bool:
        return (
            self.only is None
            and self.more is None
            and self.children is None
            and self.plus is None
            and self.hash is None
        )

    def child(self, level: bytes) -> _FilterNode | None:
        if level == PLUS:
            return self.plus
        if level == HASH:
            return self.hash
        if self.children is None:
            return None
        return self.children.get(level)

    def make_child(self, level: bytes) -> _FilterNode:
        found = self.child(level)
        if found is not None:
            return found
        node = _FilterNode()
        if level == PLUS:
            self.plus = node
        elif level == HASH:
            self.hash = node
        elif self.children is None:
            self.children = {level: node}
        else:
            self.children[level] = node
        return node

    def cut_child(self, level: bytes) -> None:
        if level == PLUS:
            self.plus = None
        elif level == HASH:
            self.hash = None
        elif self.children is not None:
            del self.children[level]
            if not self.children:
                self.children = None

    def add(self, target: Target) -> None:
        if self.more is not None:
            self.more[target] = None
        elif self.only is None:
            self.only = target
        else:
            self.more = {self.only: None, target: None}
            self.only = None

    def discard(self, target: Target) -> bool:
        if self.only is target:
            self.only = None
            return True
        if self.more is None or target not in self.more:
            return False
        del self.more[target]
        if not self.more:
            self.more = None
        return True

    def collect(self, found: list[Target]) -> None:
        if self.only is not None:
            found.append(self.only)
        elif self.more is not None:
            found.extend(self.more)


@final
class FilterTree:
    """Filters by level, each with its targets. `visited` counts the nodes that matches looked at."""

    __slots__ = ("_root", "count", "visited")

    def __init__(self) -> None:
        self._root = _FilterNode()
        self.count: i64 = 0
        self.visited: i64 = 0

    def insert(self, filter: bytes, target: Target) -> None:
        """Adds a target, which must not stand under this filter already."""
        node = self._root
        for level in filter.split(SLASH):
            node = node.make_child(level)
        node.add(target)
        self.count += 1

    def remove(self, filter: bytes, target: Target) -> bool:
        """Takes a target away, with every node that nothing needs any more; False if it was not there."""
        levels = filter.split(SLASH)
        path: list[_FilterNode] = [self._root]
        for level in levels:
            node = path[-1].child(level)
            if node is None:
                return False
            path.append(node)
        if not path[-1].discard(target):
            return False
        self.count -= 1
        depth = len(levels)
        while depth > 0 and path[depth].is_empty():
            depth -= 1
            path[depth].cut_child(levels[depth])
        return True

    def at(self, filter: bytes) -> list[Target]:
        """The targets under exactly this filter."""
        found: list[Target] = []
        node = self._root
        for level in filter.split(SLASH):
            child = node.child(level)
            if child is None:
                return found
            node = child
        node.collect(found)
        return found

    def filters(self) -> list[bytes]:
        """Every filter that has a target, in no particular order; for operators, since it walks over all."""
        found: list[bytes] = []
        children = self._root.children
        if children is not None:
            for level, child in children.items():
                self._name(child, level, found)
        if self._root.plus is not None:
            self._name(self._root.plus, PLUS, found)
        if self._root.hash is not None:
            self._name(self._root.hash, HASH, found)
        return found

    def _name(self, node: _FilterNode, filter: bytes, found: list[bytes]) -> None:
        if node.only is not None or node.more is not None:
            found.append(filter)
        children = node.children
        if children is not None:
            for level, child in children.items():
                self._name(child, filter + SLASH + level, found)
        if node.plus is not None:
            self._name(node.plus, filter + SLASH + PLUS, found)
        if node.hash is not None:
            self._name(node.hash, filter + SLASH + HASH, found)

    def match(self, topic: bytes) -> list[Target]:
        """The targets of every filter that matches a topic, in no particular order."""
        found: list[Target] = []
        levels = topic.split(SLASH)
        if topic.startswith(DOLLAR):
            # [MQTT-4.7.2-1]: a leading wildcard does not reach topics that begin with $.
            self.visited += 1
            children = self._root.children
            if children is not None:
                child = children.get(levels[0])
                if child is not None:
                    self._collect(child, levels, 1, found)
        else:
            self._collect(self._root, levels, 0, found)
        return found

    def _collect(self, node: _FilterNode, levels: list[bytes], depth: i64, found: list[Target]) -> None:
        self.visited += 1
        if node.hash is not None:
            node.hash.collect(found)
        if depth == len(levels):
            node.collect(found)
            return
        children = node.children
        if children is not None:
            child = children.get(levels[depth])
            if child is not None:
                self._collect(child, levels, depth + 1, found)
        if node.plus is not None:
            self._collect(node.plus, levels, depth + 1, found)


@final
@mypyc_attr(acyclic=True)
class _TopicNode:
    """One level of the topics that hold a value; `topic` is None where none ends."""

    __slots__ = ("children", "topic")

    def __init__(self) -> None:
        self.children: dict[bytes, _TopicNode] | None = None
        self.topic: bytes | None = None


@final
class TopicTree:
    """The set of topics that hold a value, by level."""

    __slots__ = ("_root", "visited")

    def __init__(self) -> None:
        self._root = _TopicNode()
        self.visited: i64 = 0

    def insert(self, topic: bytes) -> None:
        """Adds a topic; one that is there already stays."""
        node = self._root
        for level in topic.split(SLASH):
            children = node.children
            if children is None:
                children = {}
                node.children = children
            child = children.get(level)
            if child is None:
                child = _TopicNode()
                children[level] = child
            node = child
        node.topic = topic

    def remove(self, topic: bytes) -> bool:
        """Takes a topic away, with every node that nothing needs any more; False if it was not there."""
        levels = topic.split(SLASH)
        path: list[_TopicNode] = [self._root]
        for level in levels:
            children = path[-1].children
            node = None if children is None else children.get(level)
            if node is None:
                return False
            path.append(node)
        if path[-1].topic is None:
            return False
        path[-1].topic = None
        depth = len(levels)
        while depth > 0 and path[depth].topic is None and path[depth].children is None:
            depth -= 1
            children = path[depth].children
            if children is not None:
                del children[levels[depth]]
                if not children:
                    path[depth].children = None
        return True

    def match(self, filter: bytes) -> list[bytes]:
        """Every topic that a filter matches, in no particular order."""
        found: list[bytes] = []
        self._collect(self._root, filter.split(SLASH), 0, found)
        return found

    def _collect(self, node: _TopicNode, levels: list[bytes], depth: i64, found: list[bytes]) -> None:
        self.visited += 1
        if depth == len(levels):
            if node.topic is not None:
                found.append(node.topic)
            return
        level = levels[depth]
        if level == HASH:
            self._collect_all(node, depth == 0, found)
            return
        children = node.children
        if children is None:
            return
        if level == PLUS:
            for name, child in children.items():
                if depth > 0 or not name.startswith(DOLLAR):
                    self._collect(child, levels, depth + 1, found)
            return
        one = children.get(level)
        if one is not None:
            self._collect(one, levels, depth + 1, found)

    def _collect_all(self, node: _TopicNode, hide_dollar: bool, found: list[bytes]) -> None:
        self.visited += 1
        if node.topic is not None:
            found.append(node.topic)
        children = node.children
        if children is not None:
            for name, child in children.items():
                if not (hide_dollar and name.startswith(DOLLAR)):
                    self._collect_all(child, False, found)
