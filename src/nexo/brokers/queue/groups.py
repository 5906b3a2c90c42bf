"""Group keys: the messages of a group one after another, groups beside each other.

One message of a group at a time is its *front*: ready, lent, or away until its next attempt. The others are
HELD, and the next in the order of ids follows when the front is gone. So a group that is stuck holds up
nobody else. Owns fronts and who waits behind them, and knows nothing of leases.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.queue.heap import BY_ID, MessageHeap
from nexo.brokers.queue.message import HELD, QueueMessage

_SLACK: Final = 64  # messages that are gone and not worth tidying


@final
@mypyc_attr(acyclic=True)
class Group:
    """One group. `held` counts the living in `waiting`."""

    __slots__ = ("front", "held", "waiting")

    def __init__(self, front: QueueMessage) -> None:
        self.front = front
        self.held: i64 = 0
        self.waiting: MessageHeap | None = None


@final
class Groups:
    """The groups of one queue that have a message. `held` counts those that wait behind another."""

    __slots__ = ("_groups", "held")

    def __init__(self) -> None:
        self._groups: dict[bytes, Group] = {}
        self.held: i64 = 0

    def enter(self, message: QueueMessage) -> bool:
        """Whether a message may be delivered now: it is the front of its group. Otherwise it is held."""
        group = self._groups.get(message.group)
        if group is None:
            self._groups[message.group] = Group(message)
            return True
        if group.front is message:
            return True
        if group.waiting is None:
            group.waiting = MessageHeap(BY_ID)
        message.state = HELD
        group.waiting.push(message)
        group.held += 1
        self.held += 1
        return False

    def claim(self, message: QueueMessage) -> None:
        """Makes a message the front of a group that has none: after a restart, for one that was delivered."""
        if message.group not in self._groups:
            self._groups[message.group] = Group(message)

    def leave(self, message: QueueMessage) -> QueueMessage | None:
        """A message that is gone leaves its group; gives the one that is the front now, if that is new."""
        group = self._groups.get(message.group)
        if group is None:
            return None
        if group.front is not message:
            return None
        waiting = group.waiting
        while waiting is not None and len(waiting) > 0:
            following = waiting.pop()
            if following.state == HELD:
                group.front = following
                group.held -= 1
                self.held -= 1
                return following
        del self._groups[message.group]
        return None

    def removed(self, message: QueueMessage) -> None:
        """Told that a message which was HELD is gone."""
        self.held -= 1
        group = self._groups[message.group]
        group.held -= 1
        waiting = group.waiting
        if waiting is not None and len(waiting) > 2 * group.held + _SLACK:
            waiting.keep(HELD)

    def free(self, budget: i64) -> i64:
        """Lets go of about so many groups; gives what is left of the budget."""
        while self._groups and budget > 0:
            _, group = self._groups.popitem()
            budget -= 1 + group.held
        return budget
