"""What a history of a queue may not show, however often the server was killed while it was made.

After the checker "total-queue" of Jepsen: everything that was confirmed must come out, nothing else, and nothing
again that was done with. A history is complete when the queue was emptied at its end. Knows no client and no server;
times are any numbers that grow, of one clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What a client was told: it is done, it was refused, or nothing, for the connection ended."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Pushed:
    """A value, pushed once by anybody."""

    value: int
    outcome: Outcome


@dataclass(frozen=True)
class Received:
    """A delivery that arrived. The request for it was sent at `began`."""

    value: int
    attempt: int
    began: float
    ended: float


@dataclass(frozen=True)
class Settled:
    """An acknowledgement; its answer came at `ended`."""

    value: int
    outcome: Outcome
    ended: float


Event = Pushed | Received | Settled


def anomalies(history: Iterable[Event]) -> dict[str, list[int]]:
    """The values of each kind of anomaly; kinds without any are left out.

    lost         pushed and confirmed, never received
    unexpected   received, and never pushed
    refused      received, though the push was refused
    returned     asked for when its acknowledgement had been confirmed, and received all the same
    doubled      acknowledged twice with success
    uncounted    received again after a delivery had arrived, with no higher attempt
    """
    pushed: dict[int, Outcome] = {}
    received: dict[int, list[Received]] = defaultdict(list)
    settled: dict[int, list[Settled]] = defaultdict(list)
    for event in history:
        if isinstance(event, Pushed):
            pushed[event.value] = event.outcome
        elif isinstance(event, Received):
            received[event.value].append(event)
        elif event.outcome is Outcome.OK:
            settled[event.value].append(event)
    found = {
        "lost": [value for value, outcome in pushed.items() if outcome is Outcome.OK and not received[value]],
        "unexpected": [value for value, got in received.items() if got and value not in pushed],
        "refused": [value for value, got in received.items() if got and pushed.get(value) is Outcome.REFUSED],
        "returned": [value for value, done in settled.items() if came_after(done, received[value])],
        "doubled": [value for value, done in settled.items() if len(done) > 1],
        "uncounted": [value for value, got in received.items() if uncounted(got)],
    }
    return {kind: values for kind, values in found.items() if values}


def recovered(history: Iterable[Event]) -> int:
    """How many values came out of whose push nobody had heard: no anomaly, and a measure of how rough it was."""
    events = list(history)
    unknown = {one.value for one in events if isinstance(one, Pushed) and one.outcome is Outcome.UNKNOWN}
    return len(unknown & {one.value for one in events if isinstance(one, Received)})


def came_after(done: list[Settled], got: list[Received]) -> bool:
    return any(one.began > first.ended for first in done for one in got)


def uncounted(got: list[Received]) -> bool:
    """Whether a delivery that began when another had ended has no higher attempt."""
    by_end = sorted(got, key=lambda one: one.ended)
    for one in sorted(got, key=lambda one: one.began):
        for before in by_end:
            if before.ended >= one.began:
                break
            if before.attempt >= one.attempt:
                return True
    return False
