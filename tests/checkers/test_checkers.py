"""Each anomaly is found in a history that has it and nothing else, and none in one that is right."""

from __future__ import annotations

import pytest

from tests.checkers import log, queue
from tests.checkers.log import Polled, Sent
from tests.checkers.queue import Outcome, Pushed, Received, Settled

OK, REFUSED, UNKNOWN = Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN

GOOD_QUEUE: list[queue.Event] = [
    Pushed(1, OK),
    Pushed(2, UNKNOWN),
    Pushed(3, REFUSED),
    Pushed(4, UNKNOWN),
    Received(1, 1, 0, 1),
    Received(1, 3, 2, 3),
    Received(1, 2, 0.5, 2.5),  # under way at the same time: no order between them
    Settled(1, UNKNOWN, 4),
    Received(1, 4, 5, 6),
    Settled(1, OK, 7),
    Received(1, 5, 6.5, 8),  # asked for before that was confirmed
    Received(2, 1, 0, 9),
    Settled(2, REFUSED, 10),
    Received(2, 2, 11, 12),
]

BAD_QUEUE: dict[str, list[queue.Event]] = {
    "lost": [Pushed(9, OK)],
    "unexpected": [Received(9, 1, 0, 1)],
    "refused": [Pushed(9, REFUSED), Received(9, 1, 0, 1)],
    "returned": [Pushed(9, OK), Received(9, 1, 0, 1), Settled(9, OK, 2), Received(9, 2, 3, 4)],
    "doubled": [Pushed(9, OK), Received(9, 1, 0, 1), Settled(9, OK, 2), Settled(9, OK, 3)],
    "uncounted": [Pushed(9, OK), Received(9, 1, 0, 1), Received(9, 1, 2, 3)],
}


def test_a_right_history_of_a_queue() -> None:
    assert queue.anomalies(GOOD_QUEUE) == {}
    assert queue.recovered(GOOD_QUEUE) == 1


@pytest.mark.parametrize("kind", BAD_QUEUE)
def test_an_anomaly_of_a_queue(kind: str) -> None:
    assert queue.anomalies([*GOOD_QUEUE, *BAD_QUEUE[kind]]) == {kind: [9]}


def test_every_anomaly_of_a_queue_is_tried() -> None:
    assert queue.anomalies.__doc__ is not None
    assert set(BAD_QUEUE) == kinds(queue.anomalies.__doc__)


GOOD_LOG: list[log.Event] = [
    Sent(1, 10, OK, 1),
    Sent(2, 20, OK, 2),
    Sent(1, 11, UNKNOWN),
    Sent(1, 12, OK, 4),
    Sent(2, 21, REFUSED),
    Sent(2, 22, UNKNOWN),
    Polled(1, ((1, 10), (2, 20))),
    Polled(1, ()),
    Polled(1, ((3, 11), (4, 12))),
    Polled(2, ((4, 12),)),
    Polled(1, ((1, 10), (2, 20)), anew=True),
]

BAD_LOG: dict[str, tuple[list[log.Event], object]] = {
    "lost": ([Sent(3, 90, OK, 5), Polled(3, ((6, 91),)), Sent(4, 91, OK, 6)], 90),
    "unseen": ([Sent(3, 90, OK, 5)], 90),
    "unexpected": ([Polled(3, ((5, 90),))], 90),
    "duplicate": ([Sent(3, 90, UNKNOWN), Polled(3, ((5, 90), (6, 90)))], 90),
    "inconsistent": ([Sent(3, 90, UNKNOWN), Polled(3, ((4, 90),))], 4),
    "skipped": ([Polled(3, ((1, 10),)), Polled(3, ((3, 11),))], (3, 2)),
    "nonmonotonic poll": ([Polled(3, ((2, 20),)), Polled(3, ((1, 10),))], (3, 1)),
    "nonmonotonic send": (
        [Sent(3, 90, OK, 6), Sent(3, 91, OK, 5), Polled(4, ((5, 91), (6, 90)))],
        (3, 5),
    ),
}


def test_a_right_history_of_a_stream() -> None:
    assert log.anomalies(GOOD_LOG) == {}


@pytest.mark.parametrize("kind", BAD_LOG)
def test_an_anomaly_of_a_stream(kind: str) -> None:
    events, what = BAD_LOG[kind]
    assert log.anomalies([*GOOD_LOG, *events]) == {kind: [what]}


def test_a_skip_within_a_poll_is_found() -> None:
    assert log.anomalies([*GOOD_LOG, Polled(3, ((1, 10), (4, 12)))]) == {"skipped": [(3, 2), (3, 3)]}


def test_a_refused_append_that_is_read_is_found() -> None:
    assert log.anomalies([*GOOD_LOG, Polled(3, ((5, 21),))]) == {"unexpected": [21]}


def test_every_anomaly_of_a_stream_is_tried() -> None:
    assert log.anomalies.__doc__ is not None
    assert set(BAD_LOG) == kinds(log.anomalies.__doc__)


def kinds(text: str) -> set[str]:
    """What the table in a docstring names."""
    table = text.split("\n\n")[1].splitlines()
    return {line.strip().split("  ")[0] for line in table if line.strip()}
