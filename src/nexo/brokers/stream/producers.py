"""Idempotent producers of one stream: which of their appends the stream has already.

A producer numbers its appends upwards (gaps are allowed). The latest PRODUCER_APPENDS_MAX of each are
remembered with the sequences that they were given, so one that is sent again gets the first answer. What
is remembered is in the log with the append itself, and thus as durable. Knows no journal.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import final

from mypy_extensions import i64

from nexo.errors import InvalidArgumentError
from nexo.limits import PRODUCER_APPENDS_MAX, PRODUCERS_PER_STREAM_MAX


@final
class Producer:
    """The latest appends of one producer, oldest first."""

    __slots__ = ("counts", "firsts", "numbers")

    def __init__(self) -> None:
        self.numbers = array("q")
        self.firsts = array("q")
        self.counts = array("q")


@final
class Producers:
    """All producers that a stream remembers, the one that has been silent longest first."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, Producer] = {}

    def find(self, name: bytes, number: i64) -> tuple[i64, i64]:
        """The first sequence and the count of an append that is here already; (0, 0) for a new one.

        Raises InvalidArgumentError for a number below the last that is not remembered.
        """
        producer = self.known.get(name)
        if producer is None or not producer.numbers or number > producer.numbers[-1]:
            return 0, 0
        place: i64 = bisect_left(producer.numbers, number)
        if producer.numbers[place] != number:
            raise InvalidArgumentError(
                f"append {number} of producer {name.decode(errors='replace')}: its last was"
                f" {producer.numbers[-1]}, and this one is not remembered"
            )
        return producer.firsts[place], producer.counts[place]

    def note(self, name: bytes, number: i64, first: i64, count: i64) -> None:
        """Remembers an append; one that is not above the last is known already."""
        producer = self.known.pop(name, None)
        if producer is None:
            producer = Producer()
            if len(self.known) >= PRODUCERS_PER_STREAM_MAX:
                del self.known[next(iter(self.known))]
        self.known[name] = producer
        if producer.numbers and number <= producer.numbers[-1]:
            return
        producer.numbers.append(number)
        producer.firsts.append(first)
        producer.counts.append(count)
        if len(producer.numbers) > PRODUCER_APPENDS_MAX:
            del producer.numbers[0], producer.firsts[0], producer.counts[0]

    def retract(self, first_seq: i64) -> None:
        """Forgets the appends from a sequence on: their batch failed."""
        for producer in self.known.values():
            while producer.firsts and producer.firsts[-1] >= first_seq:
                producer.numbers.pop()
                producer.firsts.pop()
                producer.counts.pop()
