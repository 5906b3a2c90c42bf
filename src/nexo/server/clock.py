"""Node time: the one place where the broker reads a clock."""

from __future__ import annotations

import time

from nexo.limits import TTL_MS_MAX


class Clock:
    """Unix milliseconds, read from the wall once and advanced by the monotonic clock.

    A jump of the wall clock (NTP, an operator, a suspended machine) expires and stalls nothing;
    absolute times that clients give are compared with this clock (reliability promise P9).
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970, never going back."""
        return min((self._offset_ns + time.monotonic_ns()) // 1_000_000, TTL_MS_MAX)
