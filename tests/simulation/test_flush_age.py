"""P3: level flush loses at most what is younger than its interval, when syncs take no longer than half of it."""

from __future__ import annotations

from nexo.limits import FLUSH_MS_MAX
from tests.simulation.flush_age import oldest_lost_ms

CUTS = 200


def test_what_a_power_cut_takes_is_young() -> None:
    ages = [oldest_lost_ms(seed, FLUSH_MS_MAX // 2) for seed in range(CUTS)]
    assert FLUSH_MS_MAX // 2 < max(ages) <= FLUSH_MS_MAX
    assert sum(age >= 0 for age in ages) > CUTS // 10


def test_a_sync_that_takes_longer_is_seen() -> None:
    assert max(oldest_lost_ms(seed, 3 * FLUSH_MS_MAX) for seed in range(CUTS)) > FLUSH_MS_MAX
