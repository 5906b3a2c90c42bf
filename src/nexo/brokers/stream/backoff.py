"""How long a message waits after it was refused. Knows no clock; randomness is an argument."""

from __future__ import annotations

from random import Random
from typing import Final

from mypy_extensions import i64

from nexo.brokers.stream.definition import Definition

JITTER_PERCENT: Final = 20


def backoff(definition: Definition, attempts: i64, source: Random) -> i64:
    """Milliseconds after so many deliveries: doubled with each up to a bound, give or take some jitter.

    The jitter keeps those apart that failed together.
    """
    delay = definition.backoff_ms
    while attempts > 1 and delay < definition.backoff_max_ms:
        delay *= 2
        attempts -= 1
    delay = min(delay, definition.backoff_max_ms)
    spread = delay * JITTER_PERCENT // 100
    if spread > 0:
        delay += source.randrange(-spread, spread + 1)
    return delay
