"""Who is to be woken at a time: connections that rest because they were too fast.

They are few, and looked at only when one of them is due. Times are node time in ms.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64, mypyc_attr, trait


@trait
class Sleeper:
    """One who rests."""

    def wake(self) -> None:
        """Its time has come, or passed a little while ago."""
        raise NotImplementedError


@final
@mypyc_attr(acyclic=True)
class _Nap:
    """A rest of one of them."""

    __slots__ = ("at", "owner")

    def __init__(self, owner: Sleeper, at: i64) -> None:
        self.owner = owner
        self.at = at


@final
class Sleepers:
    """All who rest."""

    def __init__(self) -> None:
        self._naps: list[_Nap] = []
        self._first: i64 = 0

    def add(self, owner: Sleeper, at: i64) -> None:
        """Have `owner.wake` called once, when it is time."""
        self._naps.append(_Nap(owner, at))
        if self._first == 0 or at < self._first:
            self._first = at

    def advance(self, now: i64) -> i64:
        """Wake who is due; when the next one is, 0 = there is none."""
        if self._first != 0 and self._first <= now:
            naps, self._naps = self._naps, []
            self._first = 0
            for nap in naps:
                if nap.at <= now:
                    nap.owner.wake()
                else:
                    self.add(nap.owner, nap.at)
        return self._first
