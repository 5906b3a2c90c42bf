"""Failed logins by address: each makes the next attempt wait longer. Times are seconds of a monotonic clock."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

FREE_FAILURES: Final = 3
"""Typing errors: nobody waits for those."""
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 2.0
"""Below the timeout of a client, which may be somebody else behind the same address."""
FORGOTTEN_SECONDS: Final = 300.0
ADDRESSES_MAX: Final = 10_000
"""Remembered; the one that has not failed for longest is forgotten first."""


def network(address: str) -> str:
    """The host of an address; of IPv6, what one customer has (a /64)."""
    host = address.rpartition(":")[0] if address.count(":") == 1 or "]:" in address else address
    host = host.strip("[]")
    return ":".join(host.split(":")[:4]) if "::" not in host and host.count(":") == 7 else host


class Throttle:
    """How long attempts wait."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_seconds(self, host: str, now: float) -> float:
        """Before the next attempt from a host is looked at."""
        failures, last = self._failures.get(host, (0, now))
        if failures < FREE_FAILURES or now - last > FORGOTTEN_SECONDS:
            return 0.0
        return float(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - FREE_FAILURES, 16)))

    def failed(self, host: str, now: float) -> int:
        """Another failure; how many there were."""
        failures, last = self._failures.pop(host, (0, now))
        failures = 1 if now - last > FORGOTTEN_SECONDS else failures + 1
        self._failures[host] = (failures, now)
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)
        return failures

    def succeeded(self, host: str) -> None:
        self._failures.pop(host, None)
