"""The arithmetic of telling two sets of times apart, against the definitions."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.ops.timing_comparison import auc, compare, ks_distance

TIMES = st.lists(st.floats(0, 10).map(lambda value: round(value, 1)), min_size=1, max_size=30)


@given(TIMES, TIMES)
def test_the_auc_is_the_share_of_pairs_won(first: list[float], second: list[float]) -> None:
    won = sum((a > b) + (a == b) / 2 for a, b in itertools.product(first, second))

    assert auc(first, second) == pytest.approx(won / (len(first) * len(second)))


@given(TIMES, TIMES)
def test_the_distance_is_the_widest_gap_of_the_distribution_functions(first: list[float], second: list[float]) -> None:
    def below(times: list[float], at: float) -> float:
        return sum(time <= at for time in times) / len(times)

    widest = max(abs(below(first, at) - below(second, at)) for at in first + second)
    assert ks_distance(first, second) == pytest.approx(widest)


def test_the_margins_of_a_thousand_samples_are_the_published_ones() -> None:
    alike = compare([1.0] * 1000, [1.0] * 1000)

    assert (alike.auc, alike.distance, alike.is_told_apart) == (0.5, 0.0, False)
    assert alike.auc_margin == pytest.approx(0.030, abs=0.0001)
    assert alike.most_distance == pytest.approx(0.061, abs=0.0005)


def test_fair_sets_are_rarely_told_apart_and_shifted_ones_always() -> None:
    chance = random.Random(7)  # noqa: S311 - a seed makes a failure repeatable

    def times(shift: float) -> list[float]:
        return [chance.gauss(0.35 + shift, 0.01) for _ in range(1000)]

    fair = sum(compare(times(0), times(0)).is_told_apart for _ in range(200))
    shifted = sum(compare(times(0), times(0.002)).is_told_apart for _ in range(200))

    assert fair <= 24, "about one of twenty is expected"
    assert shifted >= 190


def test_a_different_spread_is_told_apart_too() -> None:
    """The same average, but one kind is steadier: the AUC sees nothing, the distance does."""
    steady, loose = [0.35] * 1000, [0.30, 0.40] * 500
    alike = compare(steady, loose)

    assert alike.auc == pytest.approx(0.5)
    assert alike.is_told_apart
