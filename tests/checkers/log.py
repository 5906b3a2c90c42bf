"""What a history of a stream may not show, however often the server was killed while it was made.

After the checker of Jepsen's Kafka tests: a stream is one order, in which everything that was confirmed has its place
for good, and which every reader sees without gaps. Knows no client and no server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.checkers.queue import Outcome


@dataclass(frozen=True)
class Sent:
    """A value, appended once by a producer that sends one after another. `seq` is known when it is OK."""

    producer: int
    value: int
    outcome: Outcome
    seq: int = 0


@dataclass(frozen=True)
class Polled:
    """(sequence, value) as one reader got them. `anew`: it did not go on where its last poll had ended."""

    reader: int
    records: tuple[tuple[int, int], ...]
    anew: bool = False


Event = Sent | Polled


def anomalies(history: Iterable[Event]) -> dict[str, list[object]]:
    """What is wrong, by kind; kinds without any are left out.

    lost                  values: confirmed, and missing although something behind them was read
    unseen                values: confirmed, behind everything that was read; a history ends with a read to the end
    unexpected            values: read, and never sent or refused
    duplicate             values: at more than one sequence
    inconsistent          sequences: with more than one value
    skipped               (reader, sequence): a poll passed over a sequence that somebody read or was told
    nonmonotonic poll     (reader, sequence): a reader got it after a later one
    nonmonotonic send     (producer, sequence): a producer was told it after a later one
    """
    values: dict[int, set[int]] = defaultdict(set)  # by sequence, as confirmed or read
    seqs: dict[int, set[int]] = defaultdict(set)  # by value
    sent: dict[int, Sent] = {}
    read: set[int] = set()
    order: dict[str, list[object]] = {"nonmonotonic poll": [], "nonmonotonic send": []}
    last_sent: dict[int, int] = defaultdict(int)
    polls: list[Polled] = []
    end = 0
    for event in history:
        if isinstance(event, Sent):
            sent[event.value] = event
            if event.outcome is Outcome.OK:
                values[event.seq].add(event.value)
                seqs[event.value].add(event.seq)
                if event.seq <= last_sent[event.producer]:
                    order["nonmonotonic send"].append((event.producer, event.seq))
                last_sent[event.producer] = event.seq
            continue
        polls.append(event)
        for seq, value in event.records:
            values[seq].add(value)
            seqs[value].add(seq)
            read.add(value)
            end = max(end, seq)
    known = sorted(values)
    skipped: list[object] = []
    place: dict[int, int] = {}
    for poll in polls:
        last = 0 if poll.anew else place.get(poll.reader, 0)
        for seq, _ in poll.records:
            if last and seq <= last:
                order["nonmonotonic poll"].append((poll.reader, seq))
            elif last:
                skipped += [(poll.reader, one) for one in between(known, last, seq)]
            last = seq
        place[poll.reader] = last
    confirmed = [one for one in sent.values() if one.outcome is Outcome.OK]
    found: dict[str, list[object]] = {
        "lost": [one.value for one in confirmed if one.value not in read and one.seq <= end],
        "unseen": [one.value for one in confirmed if one.value not in read and one.seq > end],
        "unexpected": [
            value for value in read if value not in sent or sent[value].outcome is Outcome.REFUSED
        ],
        "duplicate": [value for value, where in seqs.items() if len(where) > 1],
        "inconsistent": [seq for seq, there in values.items() if len(there) > 1],
        "skipped": skipped,
        **order,
    }
    return {kind: ones for kind, ones in found.items() if ones}


def between(known: list[int], after: int, before: int) -> list[int]:
    """The known sequences between two, which usually follow one another."""
    return [] if before <= after + 1 else [seq for seq in known if after < seq < before]
