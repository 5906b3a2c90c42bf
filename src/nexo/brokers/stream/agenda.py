"""When something is due, and who is to be served when the turn ends.

Owns one heap for all deadlines of all streams, groups and waiters. An object stands in it with at most one
valid time; an entry that no longer is valid is passed over, or tidied away when such are the majority.
Knows nothing of what happens then. The clock is an argument.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64

_SLACK: Final = 64  # entries that are not worth tidying


class Scheduled:
    """Something with deadlines, or with somebody who waits for it. The attributes belong to the agenda."""

    def __init__(self) -> None:
        self.wake_at: i64 = 0
        self.roused = False

    def due(self, now: i64) -> i64:
        """Does what is due; gives the next time at which to be called, 0 for none."""
        raise NotImplementedError

    def serve(self, now: i64) -> None:
        """Serves those who wait."""
        raise NotImplementedError


@final
class Agenda:
    """The deadlines, and who was roused in this turn. `left` is what remains of a budget of small steps."""

    __slots__ = ("_count", "_heap", "_live", "_roused", "left")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Scheduled]] = []
        self._count: i64 = 0  # makes entries comparable
        self._live: i64 = 0
        self._roused: list[Scheduled] = []
        self.left: i64 = 0

    def schedule(self, one: Scheduled, at: i64) -> None:
        """Calls `one.due` at a time, instead of the time that stood before. 0: never."""
        if at == one.wake_at:
            return
        if one.wake_at == 0:
            self._live += 1
        elif at == 0:
            self._live -= 1
        one.wake_at = at
        if at != 0:
            self._count += 1
            heappush(self._heap, (at, self._count, one))
        if len(self._heap) > 2 * self._live + _SLACK:
            self._heap = [entry for entry in self._heap if entry[2].wake_at == entry[0]]
            heapify(self._heap)

    def sooner(self, one: Scheduled, at: i64) -> None:
        """As `schedule`, unless an earlier time stands already."""
        if one.wake_at == 0 or at < one.wake_at:
            self.schedule(one, at)

    def advance(self, now: i64, budget: i64) -> i64:
        """Does what is due by `now`, about `budget` steps of it; gives the next time, 0 for none."""
        self.left = budget
        while self._heap:
            at, _, one = self._heap[0]
            if one.wake_at != at:
                heappop(self._heap)
                continue
            if at > now or self.left <= 0:
                return at
            heappop(self._heap)
            self.left -= 1
            one.wake_at = 0
            self._live -= 1
            again = one.due(now)
            if again != 0:
                self.sooner(one, again)
        return 0

    def rouse(self, one: Scheduled) -> None:
        """Has `one.serve` called when the turn ends."""
        if not one.roused:
            one.roused = True
            self._roused.append(one)

    def serve(self, now: i64) -> None:
        """Serves all that were roused; who is roused by that is served too."""
        while self._roused:
            roused, self._roused = self._roused, []
            for one in roused:
                one.roused = False
                one.serve(now)
