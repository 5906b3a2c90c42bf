"""The streams of a node by name and by number, and what they share. Knows no journal operation."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.stream.commons import Commons
from nexo.brokers.stream.definition import Definition
from nexo.brokers.stream.stream import GroupNumbers, Stream
from nexo.errors import ResourceNotFoundError


@final
class Registry:
    """All streams. Numbers are given once."""

    __slots__ = ("by_name", "by_number", "commons", "gone_appended", "next_number", "numbers")

    def __init__(self, commons: Commons) -> None:
        self.commons = commons
        self.numbers = GroupNumbers()
        self.by_name: dict[bytes, Stream] = {}
        self.by_number: dict[int, Stream] = {}
        self.next_number: i64 = 1
        self.gone_appended: i64 = 0  # records that could be read of streams that are gone

    def adopt(self, number: i64, name: bytes, definition: Definition, now: i64) -> Stream:
        """Makes a stream with a number."""
        stream = Stream(self.commons, self.numbers, number, name, definition, now)
        self.by_name[name] = stream
        self.by_number[number] = stream
        self.next_number = max(self.next_number, number + 1)
        return stream

    def forget(self, stream: Stream) -> None:
        """Drops a stream with its groups and dead letters, and tells those who wait."""
        del self.by_name[stream.name]
        del self.by_number[stream.number]
        self.gone_appended += stream.last_seq
        name = stream.name.decode(errors="replace")
        stream.close_down(ResourceNotFoundError(f"stream {name} has been deleted"))
