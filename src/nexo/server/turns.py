"""Drives a node from an asyncio loop: one turn for all the input of one poll, one timer for all deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from nexo.histogram import TIMES_US, Histogram
from nexo.node import Driver, Node
from nexo.server.clock import Clock

TICK_SECONDS: Final = 0.05
"""While commands come in, deadlines are looked at this often; no command sets a timer of its own."""
REST_SECONDS_MAX: Final = 60.0
"""Longest rest of an idle node before it looks at its deadlines again."""


def do_nothing() -> None:
    """Nobody is to be told."""


@final
class LoopDriver(Driver):
    """Calls `node.turn` after the commands of a poll, and `node.advance` when something is due."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._clock = Clock()
        self._node: Node | None = None
        self._turn_ended: Callable[[], None] = do_nothing
        self.on_memory_grown: Callable[[], None] = do_nothing
        self._timer: asyncio.TimerHandle | None = None
        self._resting = True
        self._active = False
        self._scheduled = False
        # From the first command of a turn to its end, in microseconds.
        self.times = Histogram(TIMES_US)
        self._began_ns: i64 = 0

    def attach(self, node: Node, turn_ended: Callable[[], None]) -> None:
        """Give the driver its node, which was made with it, and whom to call after each turn of it."""
        self._node = node
        self._turn_ended = turn_ended

    def now(self) -> i64:
        return self._clock.now_ms()

    def turn_opened(self) -> None:
        self._schedule()
        self._active = True
        if self._resting:
            self._arm(TICK_SECONDS)

    def memory_grown(self) -> None:
        self.on_memory_grown()

    def stop(self) -> None:
        """End the timers; the node is not called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._node = None

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._began_ns = self._clock.read_ns  # whoever wants a turn has just asked for the time
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        node = self._node
        if node is None:
            self._scheduled = False
            return
        more = False
        try:
            # While it is scheduled, a turn that is opened in here schedules no other: it is ended in here, too.
            more = node.turn()
            self._turn_ended()
        finally:
            ended_ns = self._clock.now_ns()
            self.times.add((ended_ns - self._began_ns) // 1000)
            self._scheduled = False
            if more or node.turn_open:
                self._schedule()
                self._began_ns = ended_ns

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._resting = seconds > TICK_SECONDS
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        if self._node is None:
            return
        deadline = self._node.advance()
        # Watches and messages that the deadlines caused leave now, as after any other turn.
        self._schedule()
        now = self.now()
        if deadline != 0 and deadline <= now:
            self._arm(0)
        elif self._active:
            self._arm(TICK_SECONDS)
        elif deadline == 0:
            self._arm(REST_SECONDS_MAX)
        else:
            self._arm(min(max((deadline - now) / 1000, 0.001), REST_SECONDS_MAX))
        self._active = False
