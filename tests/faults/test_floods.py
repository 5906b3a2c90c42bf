"""P12, the short form of `make floods`: crowds get an error and no more, and an honest client notices nothing."""

from __future__ import annotations

from tests.faults.floods import connects, garbage, lengths, loris

LIMIT_EXCEEDED, PROTOCOL_ERROR = "error 0x0b", "error 0x09"


def test_connections_past_the_bound() -> None:
    outcome = connects(1_000)
    assert outcome.ends.keys() <= {LIMIT_EXCEEDED, "closed"}, outcome
    assert outcome.ends[LIMIT_EXCEEDED] > 900, outcome
    assert outcome.broken() == []


def test_garbage() -> None:
    outcome = garbage(400)
    assert outcome.ends.keys() <= {"refused", PROTOCOL_ERROR, "closed"}, outcome
    assert outcome.broken() == []


def test_claimed_lengths() -> None:
    """All are ended; what may be that long is ended by the greeting's deadline, since it never comes."""
    outcome = lengths(200)
    assert outcome.ends == {PROTOCOL_ERROR: 200}, outcome
    assert outcome.broken() == []


def test_a_byte_at_a_time() -> None:
    outcome = loris(100)
    assert outcome.ends == {PROTOCOL_ERROR: 100}, outcome
    assert outcome.broken() == []
