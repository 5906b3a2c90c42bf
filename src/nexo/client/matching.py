"""Which of this client's filters match a topic: a tree of levels, so that the cost is the topic's levels.

The rules are MQTT's (section 4.7), as the server has them: `+` is one level, `#` the rest and its parent,
and a leading wildcard does not match topics that begin with `$`. Knows no subscriptions, only what was put
under a filter.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.here: T | None = None  # of a filter that ends at this level
        self.rest: T | None = None  # of one that goes on with #

    def is_empty(self) -> bool:
        return not self.children and self.here is None and self.rest is None


class FilterTree(Generic[T]):
    """One thing for each filter."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, topic_filter: str, thing: T) -> None:
        """Put something under a filter, in place of what was there."""
        node = self._root
        for level in topic_filter.split("/"):
            if level == "#":
                node.rest = thing
                return
            node = node.children.setdefault(level, _Node())
        node.here = thing

    def remove(self, topic_filter: str) -> None:
        """Take away what is under a filter, and the branch that led to it alone."""
        path: list[tuple[_Node[T], str]] = []
        node = self._root
        for level in topic_filter.split("/"):
            if level == "#":
                node.rest = None
                break
            if level not in node.children:
                return
            path.append((node, level))
            node = node.children[level]
        else:
            node.here = None
        while path and node.is_empty():
            node, level = path.pop()
            del node.children[level]

    def match(self, topic: str) -> list[T]:
        """What is under the filters that match a topic, each once."""
        found: list[T] = []
        nodes = [self._root]
        levels = topic.split("/")
        for index, level in enumerate(levels):
            wild = index > 0 or not topic.startswith("$")
            following: list[_Node[T]] = []
            for node in nodes:
                if wild and node.rest is not None:
                    found.append(node.rest)
                child = node.children.get(level)
                # A topic has no wildcards; one that spells them must not match a filter as text.
                if child is not None and level != "+":
                    following.append(child)
                child = node.children.get("+") if wild else None
                if child is not None:
                    following.append(child)
            nodes = following
            if not nodes:
                return found
        for node in nodes:
            if node.here is not None:
                found.append(node.here)
            if node.rest is not None:
                found.append(node.rest)
        return found


def matches(topic_filter: str, topic: str) -> bool:
    """Whether one filter matches a topic."""
    tree: FilterTree[bool] = FilterTree()
    tree.add(topic_filter, True)
    return bool(tree.match(topic))
