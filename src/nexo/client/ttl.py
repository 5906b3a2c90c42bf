"""Times as a program gives them, seconds or milliseconds, to what the wire has."""

from __future__ import annotations

from nexo.errors import InvalidArgumentError
from nexo.limits import TTL_MS_MAX


def ttl_ms_of(ttl: float | None, ttl_ms: int | None) -> int | None:
    """A time to live in milliseconds, or None for none. At least 1 ms: 0 would be no time at all.

    InvalidArgumentError for both, and for a time out of range.
    """
    if ttl is not None:
        if ttl_ms is not None:
            raise InvalidArgumentError("either ttl in seconds or ttl_ms, not both")
        if not 0 < ttl <= TTL_MS_MAX / 1000:
            raise InvalidArgumentError(f"a TTL of {ttl} s: more than 0, at most ttl_ms_max ({TTL_MS_MAX} ms)")
        return max(1, round(ttl * 1000))
    if ttl_ms is not None and not 0 < ttl_ms <= TTL_MS_MAX:
        raise InvalidArgumentError(f"a TTL of {ttl_ms} ms: 1 to ttl_ms_max, {TTL_MS_MAX}")
    return ttl_ms
