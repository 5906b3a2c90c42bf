"""Token buckets: what passes in any time is what the rate says, and one second's worth at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexo.protocols.rates import NO_BOUND, Limiter, TokenBucket

START = 1_700_000_000_000


def test_a_second_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(10, START)
    assert bucket.whole() == 10 and bucket.wait_ms(1) == 0 and bucket.is_full
    bucket.take(10)
    assert bucket.whole() == 0 and bucket.wait_ms(1) == 100 and bucket.wait_ms(0) == 0
    bucket.refill(START + 99)
    assert bucket.whole() == 0 and bucket.wait_ms(1) == 1
    bucket.refill(START + 250)
    assert bucket.whole() == 2
    bucket.refill(START + 10**9)
    assert bucket.whole() == 10 and bucket.is_full


def test_a_debt_is_paid_in_time() -> None:
    bucket = TokenBucket(1_000, START)
    bucket.take(11_000)
    assert bucket.wait_ms(0) == 10_000 and bucket.whole() == 0
    bucket.refill(START + 9_999)
    assert bucket.wait_ms(0) == 1
    bucket.refill(START + 10_000)
    assert bucket.wait_ms(0) == 0


def test_the_largest_rate_and_a_long_time_do_not_overflow() -> None:
    bucket = TokenBucket(1 << 40, 0)
    bucket.take(1 << 40)
    bucket.refill(1 << 52)
    assert bucket.whole() == 1 << 40


def test_a_clock_that_stands_brings_nothing() -> None:
    bucket = TokenBucket(5, START)
    bucket.take(5)
    bucket.refill(START)
    bucket.refill(START - 10)
    assert bucket.whole() == 0


def test_the_tightest_bucket_counts() -> None:
    limiter = Limiter()
    assert limiter.allowance(START) == NO_BOUND
    limiter.commands = [TokenBucket(100, START), TokenBucket(7, START)]
    limiter.bytes = [TokenBucket(1_000, START)]
    assert limiter.allowance(START) == 7
    limiter.ran, limiter.read = 7, 3_000
    assert limiter.charge(START) == 2_000
    assert (limiter.ran, limiter.read) == (0, 0)
    assert limiter.charge(START + 2_000) == 0


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 20_000)), min_size=1, max_size=100),
)
def test_never_more_than_the_rate(rate: int, moves: list[tuple[int, int]]) -> None:
    """Who takes only what is there, whenever, gets at most a second's worth and the rate times the time."""
    bucket = TokenBucket(rate, START)
    now, taken = START, 0
    for passed, wanted in moves:
        now += passed
        bucket.refill(now)
        got = min(wanted, bucket.whole())
        bucket.take(got)
        taken += got
        assert taken <= rate + rate * (now - START) / 1_000
        wait = bucket.wait_ms(1)
        bucket.refill(now)
        assert (wait == 0) == (bucket.whole() >= 1)
