"""Where connections come from: how many each address has, and the rates that they share.

An address is an IP address without its port; behind a proxy or NAT many clients are one. Knows no socket.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

from nexo.errors import LimitExceededError
from nexo.protocols.rates import Limiter, TokenBucket


class Rates(NamedTuple):
    """Commands and bytes in a second; 0 is no bound."""

    commands: int = 0
    bytes: int = 0


UNBOUND: Final = Rates()


@final
class Origin:
    """One address."""

    __slots__ = ("connections", "host", "limiter")

    def __init__(self, host: str, limiter: Limiter) -> None:
        self.host = host
        self.connections = 0
        self.limiter = limiter

    def is_idle(self, now: int) -> bool:
        """Whether nothing would be lost by forgetting it: no connections, no bucket that is still to refill."""
        buckets = [*self.limiter.commands, *self.limiter.bytes]
        for bucket in buckets:
            bucket.refill(now)
        return self.connections == 0 and all(bucket.is_full for bucket in buckets)


class Origins:
    """All addresses that have connections, or had some lately. `connections_max` is that of one; 0 is no bound."""

    def __init__(self, connections_max: int = 0, each: Rates = UNBOUND, address: Rates = UNBOUND) -> None:
        self._connections_max = connections_max
        self._each = each
        self._address = address
        self._known: dict[str, Origin] = {}
        self._sweep_at = 1024

    def __len__(self) -> int:
        return len(self._known)

    def enter(self, host: str, now: int) -> Origin:
        """A connection has come. LimitExceededError when its address has too many; then it does not count."""
        origin = self._known.get(host)
        if origin is None:
            if len(self._known) >= self._sweep_at:
                self._sweep(now)
            origin = self._known[host] = Origin(host, limiter_of(self._address, now))
        if 0 < self._connections_max <= origin.connections:
            raise LimitExceededError(f"connections_per_address_max is {self._connections_max}")
        origin.connections += 1
        return origin

    def leave(self, origin: Origin, now: int) -> None:
        """It has ended. Who comes back at once does not get a full bucket for that."""
        origin.connections -= 1
        if origin.is_idle(now):
            del self._known[origin.host]

    def limiter(self, origin: Origin, now: int) -> Limiter | None:
        """What one connection is held against: buckets of its own, and those of its address; None for no bounds."""
        limiter = limiter_of(self._each, now)
        limiter.commands += origin.limiter.commands
        limiter.bytes += origin.limiter.bytes
        return None if limiter.is_empty else limiter

    def _sweep(self, now: int) -> None:
        for origin in list(self._known.values()):
            if origin.is_idle(now):
                del self._known[origin.host]
        self._sweep_at = max(1024, 2 * len(self._known))


def limiter_of(rates: Rates, now: int) -> Limiter:
    """Buckets for rates; none where they are not bounded."""
    limiter = Limiter()
    if rates.commands:
        limiter.commands.append(TokenBucket(rates.commands, now))
    if rates.bytes:
        limiter.bytes.append(TokenBucket(rates.bytes, now))
    return limiter
