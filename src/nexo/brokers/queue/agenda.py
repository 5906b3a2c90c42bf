"""What the queues of a node want done: which have staged messages, waiters to serve, or a deadline.

Queues put their numbers here, so that nobody has to look at all of them. Also the node's seeded source of
jitter. Knows no queue.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64

_WORD: Final = (1 << 32) - 1
_SLACK: Final = 64  # stale alarms that are not worth tidying


@final
class Agenda:
    """Numbers of queues. A queue keeps a mark for each of the lists in which it stands."""

    __slots__ = ("_alarms", "_current", "_random", "staging", "wakeful")

    def __init__(self, seed: int) -> None:
        self.staging: list[int] = []
        self.wakeful: list[int] = []
        self._current: dict[int, int] = {}  # the deadline of each queue that has one
        self._alarms: list[tuple[int, int]] = []  # a heap of (deadline, number); some are stale
        self._random: i64 = ((seed ^ 0x2545_F491) & _WORD) or 1

    def alarm(self, deadline: i64, number: i64) -> None:
        """Sets the deadline of a queue, in place of any other."""
        self._current[int(number)] = int(deadline)
        heappush(self._alarms, (int(deadline), int(number)))
        if len(self._alarms) > 2 * len(self._current) + _SLACK:
            self._alarms = [(when, queue) for queue, when in self._current.items()]
            heapify(self._alarms)

    def next_alarm(self) -> i64:
        """The first deadline, 0 for none."""
        while self._alarms:
            deadline, number = self._alarms[0]
            if self._current.get(number) == deadline:
                return deadline
            heappop(self._alarms)
        return 0

    def due(self, now: i64) -> int:
        """The number of a queue whose deadline is at or before now, which it has no longer; 0 for none."""
        deadline = self.next_alarm()
        if deadline == 0 or deadline > now:
            return 0
        number = heappop(self._alarms)[1]
        del self._current[number]
        return number

    def forget(self, number: i64) -> None:
        """The queue is gone."""
        self._current.pop(int(number), None)

    def random(self) -> i64:
        """The next number of a sequence that the seed fixes: 1 to 2**32 - 1 (xorshift)."""
        word = self._random
        word ^= (word << 13) & _WORD
        word ^= word >> 17
        word ^= (word << 5) & _WORD
        self._random = word
        return word
