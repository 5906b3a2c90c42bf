"""Requests: the first reply counts, a deadline is told once, and nothing is remembered after that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexo.brokers.requests import Requester, Requests
from nexo.errors import LimitExceededError
from nexo.limits import PENDING_REQUESTS_MAX


class Asker(Requester):
    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes, bytes]] = []
        self.late: list[int] = []

    def replied(self, correlation_id: int, value: bytes, headers: bytes) -> None:
        self.heard.append((correlation_id, value, headers))

    def timed_out(self, correlation_id: int) -> None:
        self.late.append(correlation_id)


def test_the_first_reply_is_handed_over_and_later_ones_find_nothing() -> None:
    requests, asker = Requests(), Asker()
    request_id = requests.open(asker, 7, 1_000, 0)
    assert request_id != 0
    assert requests.reply(request_id, b"yes", b"h")
    assert not requests.reply(request_id, b"no", b"")
    assert asker.heard == [(7, b"yes", b"h")]
    assert requests.expire(2_000) == 0
    assert asker.late == [] and len(requests) == 0


@pytest.mark.parametrize("request_id", [0, 1, -1, 99])
def test_a_reply_to_nothing(request_id: int) -> None:
    assert not Requests().reply(request_id, b"", b"")


def test_a_deadline_is_told_once_and_the_next_one_given() -> None:
    requests, asker = Requests(), Asker()
    first = requests.open(asker, 1, 100, 0)
    requests.open(asker, 2, 300, 0)
    requests.open(asker, 3, 200, 0)
    assert requests.expire(0) == 100
    assert requests.expire(99) == 100 and asker.late == []
    assert requests.expire(100) == 200
    assert asker.late == [1]
    assert not requests.reply(first, b"late", b"")
    assert requests.expire(10_000) == 0
    assert asker.late == [1, 3, 2] and asker.heard == []


def test_the_next_deadline_skips_what_was_answered() -> None:
    requests, asker = Requests(), Asker()
    first = requests.open(asker, 1, 100, 0)
    requests.open(asker, 2, 200, 0)
    requests.reply(first, b"", b"")
    assert requests.expire(0) == 200


def test_a_requester_that_left_hears_nothing() -> None:
    requests, gone, stays = Requests(), Asker(), Asker()
    lost = [requests.open(gone, number, 100, 0) for number in range(3)]
    kept = requests.open(stays, 1, 100, 0)
    requests.drop(gone)
    requests.drop(gone)
    assert [requests.reply(one, b"", b"") for one in [*lost, kept]] == [False, False, False, True]
    requests.expire(100)
    assert (gone.heard, gone.late, stays.late) == ([], [], [])


def test_a_cancelled_request_is_forgotten() -> None:
    requests, asker = Requests(), Asker()
    request_id = requests.open(asker, 1, 100, 0)
    assert requests.cancel(request_id) and not requests.cancel(request_id)
    assert requests.expire(1_000) == 0 and asker.late == []


def test_asking_again_from_a_timeout() -> None:
    requests = Requests()

    class Stubborn(Asker):
        def timed_out(self, correlation_id: int) -> None:
            super().timed_out(correlation_id)
            if correlation_id < 3:
                requests.open(self, correlation_id + 1, 100 * (correlation_id + 1), 0)

    stubborn = Stubborn()
    requests.open(stubborn, 1, 100, 0)
    assert requests.expire(200) == 300
    assert stubborn.late == [1, 2]


def test_pending_requests_are_bounded() -> None:
    requests, asker = Requests(), Asker()
    ids = [requests.open(asker, 1, 100, 0) for _ in range(PENDING_REQUESTS_MAX)]
    with pytest.raises(LimitExceededError, match=f"PENDING_REQUESTS_MAX.*{PENDING_REQUESTS_MAX}"):
        requests.open(asker, 1, 100, 0)
    requests.reply(ids[5], b"", b"")
    requests.open(asker, 1, 100, 0)


def test_deadlines_of_answered_requests_do_not_pile_up() -> None:
    requests, asker = Requests(), Asker()
    requests.open(asker, 1, 5_000, 0)
    for number in range(10_000):
        requests.reply(requests.open(asker, number, 1_000_000, 0), b"", b"")
    assert len(requests._deadlines) < 100
    assert requests.expire(0) == 5_000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("reply"), st.integers(0, 12)),
        st.tuples(st.just("expire"), st.integers(0, 5)),
        st.tuples(st.just("drop"), st.integers(0, 2)),
    ),
    max_size=50,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_requests_agree_with_a_dict(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    requests, askers, now = Requests(), [Asker(), Asker(), Asker()], 0
    model: dict[int, tuple[int, int]] = {}  # id → (who, deadline)
    numbers: dict[int, int] = {}  # id → correlation id
    heard: list[list[int]] = [[], [], []]
    late: list[list[int]] = [[], [], []]
    for number, (kind, *arguments) in enumerate(steps):
        if kind == "open":
            who, timeout = arguments
            model[requests.open(askers[who], number, now + timeout, now)] = (who, now + timeout)
            numbers[max(model)] = number
        elif kind == "reply":
            known = model.pop(arguments[0], None)
            assert requests.reply(arguments[0], b"v", b"") is (known is not None)
            if known is not None:
                heard[known[0]].append(numbers[arguments[0]])
        elif kind == "expire":
            now += arguments[0]
            for one in sorted(model, key=lambda one: (model[one][1], one)):
                if model[one][1] <= now:
                    late[model.pop(one)[0]].append(numbers[one])
            assert requests.expire(now) == min((deadline for _, deadline in model.values()), default=0)
        else:
            requests.drop(askers[arguments[0]])
            model = {one: value for one, value in model.items() if value[0] != arguments[0]}
        assert len(requests) == len(model)
    assert [[one[0] for one in asker.heard] for asker in askers] == heard
    assert [asker.late for asker in askers] == late
