"""How far a group is behind its stream. Reads the index only, no record."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.stream.log import StreamLog
from nexo.brokers.stream.settled import Settled


@final
class Lag:
    """Messages that are not settled, and the age in ms of the oldest of them (0 for none)."""

    __slots__ = ("messages", "ms")

    def __init__(self, messages: i64, ms: i64) -> None:
        self.messages = messages
        self.ms = ms


def lag(log: StreamLog, settled: Settled, now: i64) -> Lag:
    """What is visible and kept, without what is settled. The age is that of the oldest one's block."""
    oldest = settled.after(log.first_seq)
    if oldest > log.last_seq:
        return Lag(0, 0)
    messages = log.last_seq - oldest + 1 - settled.count_from(oldest)
    return Lag(messages, max(0, now - log.time_of(oldest)))
