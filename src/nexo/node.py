"""One broker node: the brokers, their clock and the turn that they share.

A node does no I/O and reads no clock. Whoever drives it (the server's loop, an embedded client, a
simulation) calls `turn_opened` work at the right time: see Driver. Everything that a turn's
commands did is handed out once, when the turn ends.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.pubsub import PubSub
from nexo.brokers.requests import Requests
from nexo.brokers.store import Store

EXPIRE_BUDGET: Final = 2_000
"""Keys or retained messages removed in one go: about a millisecond, so that a million that are due
at once are spread over many turns and none of them is long."""
WORK_BUDGET: Final = 2_000
"""Small steps of background work in one turn, for the same reason."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Driver:
    """What a node asks of its surroundings: the time, and to be called when the turn is over."""

    def now(self) -> i64:
        """Node time: Unix milliseconds that never go back."""
        raise NotImplementedError

    def turn_opened(self) -> None:
        """The first command of a turn is about to run: call `node.turn` once all input is done."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Job:
    """A command that takes more than one turn, such as a prefix delete of a million keys."""

    def step(self) -> bool:
        """Do a small part. True when nothing is left to do."""
        raise NotImplementedError


@final
class Node:
    """The brokers behind every protocol. One writer: call it from one thread."""

    def __init__(self, driver: Driver, store: Store, pubsub: PubSub) -> None:
        self.driver = driver
        self.store = store
        self.pubsub = pubsub
        self.requests = Requests()
        self.now: i64 = driver.now()
        self.jobs: list[Job] = []
        self.turn_open = False

    def begin(self) -> i64:
        """Called before commands are run: opens the turn and returns the time in it."""
        if not self.turn_open:
            self.turn_open = True
            self.now = self.driver.now()
            self.driver.turn_opened()
        return self.now

    def turn(self) -> bool:
        """End the turn: hand out messages and changes, then do a slice of what takes long.

        Returns True when there is more to do at once, even if no input comes.
        """
        self.turn_open = False
        self.pubsub.flush()
        self.store.flush_watches()
        more = self.store.work(WORK_BUDGET)
        if self.jobs:
            jobs, self.jobs = self.jobs, []
            for job in jobs:
                if not job.step():
                    self.jobs.append(job)
            # What the jobs finished may have published and changed.
            self.pubsub.flush()
            self.store.flush_watches()
        return more or len(self.jobs) > 0

    def advance(self) -> i64:
        """Do what is due by now; returns the time of the next deadline (0 = there is none)."""
        now = self.driver.now()
        self.now = now
        deadline = self.store.expire(now, EXPIRE_BUDGET)
        deadline = earlier(deadline, self.pubsub.expire(now, EXPIRE_BUDGET))
        deadline = earlier(deadline, self.requests.expire(now))
        self.store.flush_watches()
        return deadline


def earlier(one: i64, other: i64) -> i64:
    """The earlier of two deadlines, where 0 is none."""
    if one == 0:
        return other
    if other == 0 or one < other:
        return one
    return other
