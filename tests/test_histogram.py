"""Histograms count what a sorted list of the same values counts."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexo.histogram import AGES_MS, SYNCS_MS, TIMES_US, Histogram


@pytest.mark.parametrize("bounds", [AGES_MS, SYNCS_MS, TIMES_US])
@given(values=st.lists(st.integers(-5, 1 << 50) | st.sampled_from([1, 5, 100, 250, 10_000, 86_400_000])))
def test_it_counts_what_a_sorted_list_does(bounds: list[int], values: list[int]) -> None:
    assert bounds == sorted(set(bounds))
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    assert histogram.cumulative() == [*(bisect_right(ordered, bound) for bound in bounds), len(values)]
    assert histogram.total == sum(max(0, value) for value in values)
