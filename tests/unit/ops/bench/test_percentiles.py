"""Percentiles and histograms against known values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.ops.bench.figures import Percentiles, histogram, percentile, percentiles

durations = st.lists(st.floats(0, 100_000), min_size=1, max_size=300)


@pytest.mark.parametrize(("percent", "value"), [(5, 15), (30, 20), (40, 20), (50, 35), (95, 50), (100, 50)])
def test_percentiles_are_by_nearest_rank(percent: float, value: float) -> None:
    """The textbook's example of the method."""
    assert percentile([15, 20, 35, 40, 50], percent) == value


def test_percentiles_of_one_to_a_hundred_are_themselves() -> None:
    assert percentiles([float(value) for value in range(100, 0, -1)]) == Percentiles(100, 50, 95, 99, 100)


def test_one_value_is_every_percentile() -> None:
    assert percentiles([7.0]) == Percentiles(1, 7, 7, 7, 7)


def test_nothing_has_no_spread() -> None:
    """Zeros would look like a very fast service."""
    assert percentiles([]) is None


@given(values=durations, percent=st.floats(0.1, 100))
def test_a_percentile_is_the_least_value_that_covers_its_share(values: list[float], percent: float) -> None:
    ascending = sorted(values)
    value = percentile(ascending, percent)

    assert value in ascending
    assert sum(other <= value for other in ascending) >= len(ascending) * percent / 100
    assert sum(other < value for other in ascending) < len(ascending) * percent / 100


@given(values=durations)
def test_a_histogram_holds_every_value_once_and_in_order(values: list[float]) -> None:
    buckets = histogram(values)

    bounds = [bucket.le_ms for bucket in buckets]
    assert sum(bucket.count for bucket in buckets) == len(values)
    assert bounds == sorted(set(bounds))
    assert all(bucket.count for bucket in buckets)


@pytest.mark.parametrize(
    ("value", "le_ms"), [(1, 1.0), (1.001, 1.122), (10, 10.0), (100, 100.0), (99, 100.0), (0, 0.001)]
)
def test_a_value_is_in_the_bucket_that_ends_above_it(value: float, le_ms: float) -> None:
    [bucket] = histogram([value])

    assert bucket.le_ms == pytest.approx(le_ms, rel=1e-3)
