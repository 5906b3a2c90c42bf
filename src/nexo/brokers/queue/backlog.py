"""The messages of a queue that are not dead, and where each of them waits.

Owns the index by id, the order of delivery, the schedule of delayed messages, groups, times to live and
bodies, and the counts. It neither lends nor records: Queue does both.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.journal import Journal
from nexo.brokers.queue.bodies import Bodies, Residency, is_absent
from nexo.brokers.queue.groups import Groups
from nexo.brokers.queue.heap import BY_DUE, BY_EXPIRY, MessageHeap
from nexo.brokers.queue.index import Index
from nexo.brokers.queue.message import DELAYED, GONE, HELD, LEASED, READY, STAGED, QueueMessage
from nexo.brokers.queue.ready import Ready
from nexo.limits import READ_AHEAD_MESSAGES

_SLACK: Final = 1_024  # messages that are gone and not worth tidying


@final
class Backlog:
    """Messages by where they wait. `bytes` is the size of all bodies, in memory or not."""

    __slots__ = (
        "_delayed",
        "_expiring",
        "_mortal",
        "bodies",
        "bytes",
        "delayed",
        "groups",
        "index",
        "ready",
    )

    def __init__(self, journal: Journal, account: Residency, resident_bytes_max: i64, name: bytes) -> None:
        self.index = Index()
        self.ready = Ready()
        self.groups = Groups()
        self.bodies = Bodies(journal, account, resident_bytes_max, name)
        self.bytes: i64 = 0
        self.delayed: i64 = 0
        self._delayed = MessageHeap(BY_DUE)
        self._expiring = MessageHeap(BY_EXPIRY)
        self._mortal: i64 = 0  # living messages with a time to live

    def add(self, message: QueueMessage) -> None:
        """Takes in a message, which waits nowhere yet. Its id is above all others."""
        self.index.add(message)
        self.bytes += message.size
        self.bodies.refer(message)
        if not is_absent(message):
            self.bodies.added(message.size)
        if message.expires_at != 0:
            self._mortal += 1
            self._expiring.push(message)

    def place(self, message: QueueMessage, now: i64) -> None:
        """Lets a message wait where it belongs: for its time, for its group, or to be delivered."""
        if message.due_at > now:
            message.state = DELAYED
            self.delayed += 1
            self._delayed.push(message)
        else:
            message.due_at = 0
            if message.extras is None or not message.extras.group or self.groups.enter(message):
                self.ready.add(message)
        if self.bodies.full and (message.state != READY or self.ready.count > READ_AHEAD_MESSAGES):
            self.bodies.let_go(message)

    def take(self) -> QueueMessage | None:
        """The next message to deliver, with its body. It waits no longer, and counts as LEASED.

        Raises StorageError when the body cannot be read; the message then stays.
        """
        message = self.ready.take()
        if message is not None:
            if is_absent(message):
                self._load(message)
            message.state = LEASED
        return message

    def _load(self, message: QueueMessage) -> None:
        """Reads the body of a message that was just taken, and of those that come next."""
        coming = [message]
        coming.extend(self.ready.ahead(READ_AHEAD_MESSAGES))
        loaded = False
        try:
            self.bodies.load(coming)
            loaded = True
        finally:
            if not loaded:
                self.ready.add(message)

    def finish(self, message: QueueMessage) -> None:
        """A message is gone from here, wherever it was; the next of its group takes its place."""
        state = i64(message.state)
        message.state = GONE
        self.index.remove(message.id)
        self.bytes -= message.size
        self.bodies.forget(message)
        if message.expires_at != 0:
            self._mortal -= 1
            if len(self._expiring) > 2 * self._mortal + _SLACK:
                self._expiring.keep_living()
        if state == READY:
            self.ready.removed(message)
        elif state == DELAYED:
            self.delayed -= 1
            if len(self._delayed) > 2 * self.delayed + _SLACK:
                self._delayed.keep(DELAYED)
        extras = message.extras
        if extras is not None and extras.group:
            if state == HELD:
                self.groups.removed(message)
            else:
                following = self.groups.leave(message)
                if following is not None:
                    self.ready.add(following)

    def mature(self, now: i64, budget: i64) -> i64:
        """Delayed messages whose time has come become ready; gives what is left of the budget."""
        heap = self._delayed
        while budget > 0 and len(heap) > 0:
            message = heap.first()
            if message.state == DELAYED:
                if message.due_at > now:
                    break
                self.delayed -= 1
                heap.pop()
                self.place(message, now)
            else:
                heap.pop()
            budget -= 1
        return budget

    def next_due(self) -> i64:
        """When the next delayed message is to become ready, 0 for none."""
        heap = self._delayed
        while len(heap) > 0:
            if heap.first().state == DELAYED:
                return heap.first().due_at
            heap.pop()
        return 0

    def expired(self, now: i64, limit: i64) -> list[QueueMessage]:
        """Up to `limit` messages whose time to live is over. Whoever asks has to finish them.

        A lent or staged one is passed over: it is looked at when it comes back, or is settled.
        """
        found: list[QueueMessage] = []
        heap = self._expiring
        while len(heap) > 0 and len(found) < limit:
            message = heap.first()
            if message.state != GONE:
                if message.expires_at > now:
                    break
                if message.state != LEASED and message.state != STAGED:
                    found.append(message)
            heap.pop()
        return found

    def next_expiry(self) -> i64:
        """When the next time to live is over, 0 for none."""
        heap = self._expiring
        while len(heap) > 0:
            if heap.first().state != GONE:
                return heap.first().expires_at
            heap.pop()
        return 0

    def rebuild(self, now: i64) -> None:
        """Lets every message wait where it belongs, after a replay that only changed their fields."""
        messages = self.index.after(0, self.index.count)
        for message in messages:
            extras = message.extras
            if extras is not None and extras.group and (message.attempts > 0 or extras.delivered):
                self.groups.claim(message)
        for message in messages:
            self.place(message, now)

    def free(self, budget: i64) -> i64:
        """Lets go of a part of what was given up as a whole; gives what is left of the budget."""
        budget = self.ready.free(budget)
        if budget > 0:
            budget = self._delayed.free(budget)
        if budget > 0:
            budget = self._expiring.free(budget)
        if budget > 0:
            budget = self.groups.free(budget)
        if budget > 0:
            budget = self.index.free(budget, self.bodies)
        return budget
