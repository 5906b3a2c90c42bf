"""Node time: the one place where the broker reads a clock."""

from __future__ import annotations

import time
from typing import final

from mypy_extensions import i64

from nexo.limits import TTL_MS_MAX


@final
class Clock:
    """Unix milliseconds, read from the wall once and advanced by the monotonic clock.

    A jump of the wall clock (NTP, an operator, a suspended machine) expires and stalls nothing;
    absolute times that clients give are compared with this clock (reliability promise P9).
    """

    def __init__(self) -> None:
        self.read_ns: i64 = 0  # the monotonic clock when `now_ms` was called last
        self._offset_ns: i64 = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> i64:
        """Milliseconds since 1970, never going back."""
        self.read_ns = time.monotonic_ns()
        now: i64 = (self._offset_ns + self.read_ns) // 1_000_000
        return min(now, TTL_MS_MAX)

    def now_ns(self) -> i64:
        """The monotonic clock itself, to compare with `read_ns`."""
        return time.monotonic_ns()
