"""The schedule of requests."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from velro_auth.ops.bench.schedule import BURST, REFILL_PER_S, Arrival, Kind, poisson, within_limit

MIX: dict[Kind, float] = {"good": 8, "wrong_password": 1, "unknown_user": 1}

rates = st.floats(0.1, 200)
durations = st.floats(0.1, 20)
seeds = st.integers(0, 2**32)


@given(rate=rates, duration_s=durations, seed=seeds)
def test_arrivals_are_in_order_and_within_the_duration(rate: float, duration_s: float, seed: int) -> None:
    times = [a.at_s for a in poisson(rate_per_s=rate, duration_s=duration_s, mix=MIX, seed=seed)]

    assert times == sorted(times)
    assert all(0 < at_s < duration_s for at_s in times)


@given(rate=rates, duration_s=durations, seed=seeds)
def test_the_same_seed_makes_the_same_schedule(rate: float, duration_s: float, seed: int) -> None:
    first, second = (poisson(rate_per_s=rate, duration_s=duration_s, mix=MIX, seed=seed) for _ in range(2))

    assert first == second


@given(rate=rates, seed=seeds)
def test_a_longer_run_begins_like_a_shorter_one(rate: float, seed: int) -> None:
    short = poisson(rate_per_s=rate, duration_s=2, mix=MIX, seed=seed)
    long = poisson(rate_per_s=rate, duration_s=5, mix=MIX, seed=seed)

    assert long[: len(short)] == short


@given(seed=st.integers(0, 200))
def test_the_rate_is_kept_on_average(seed: int) -> None:
    """The number of arrivals of a Poisson process has its mean as its variance: 4000 ± 6 times 63."""
    count = len(poisson(rate_per_s=100, duration_s=40, mix=MIX, seed=seed))

    assert abs(count - 4000) < 6 * 4000**0.5


def test_gaps_are_exponential() -> None:
    """Their standard deviation equals their mean, and 1 - 1/e of them are below it. Even spacing would give 0."""
    times = [0.0, *(a.at_s for a in poisson(rate_per_s=100, duration_s=200, mix=MIX, seed=7))]
    gaps = [after - before for before, after in itertools.pairwise(times)]

    mean = statistics.fmean(gaps)
    assert abs(mean - 0.01) < 0.0005
    assert abs(statistics.stdev(gaps) / mean - 1) < 0.05
    assert abs(sum(gap < mean for gap in gaps) / len(gaps) - 0.632) < 0.02


def test_kinds_come_as_often_as_the_mix_says() -> None:
    counts = Counter(a.kind for a in poisson(rate_per_s=100, duration_s=100, mix=MIX, seed=3))

    total = counts.total()
    assert abs(counts["good"] / total - 0.8) < 0.02
    assert abs(counts["wrong_password"] / total - 0.1) < 0.02
    assert abs(counts["unknown_user"] / total - 0.1) < 0.02


def test_a_kind_without_weight_never_comes() -> None:
    mix: dict[Kind, float] = {"good": 1, "wrong_password": 0, "unknown_user": 0}

    kinds = {a.kind for a in poisson(rate_per_s=100, duration_s=10, mix=mix, seed=1)}

    assert kinds == {"good"}


@given(rate=st.floats(0.05, 50), seed=seeds)
def test_what_is_within_the_limit_never_empties_supabases_bucket(rate: float, seed: int) -> None:
    """Played against a bucket of Supabase's size, not of ours."""
    arrivals = within_limit(poisson(rate_per_s=rate, duration_s=120, mix=MIX, seed=seed))

    tokens, before_s = 30.0, 0.0
    for arrival in arrivals:
        tokens = min(30.0, tokens + REFILL_PER_S * (arrival.at_s - before_s)) - 1
        before_s = arrival.at_s
        assert tokens >= 0


def test_a_slow_schedule_is_left_whole() -> None:
    arrivals = tuple(Arrival(2.0 * index, "good") for index in range(200))

    assert within_limit(arrivals) == arrivals


def test_a_burst_is_cut_where_the_limit_would_be() -> None:
    arrivals = tuple(Arrival(0.001 * index, "good") for index in range(100))

    assert len(within_limit(arrivals)) == BURST
