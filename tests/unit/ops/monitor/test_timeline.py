"""Figures over time, in bounded memory."""

from __future__ import annotations

import pytest

from tests.unit.ops.monitor.records import BEGAN_S, observed
from velro_auth.ops.monitor.target_statistics import MAX_SLICES, Tally, Timeline


def test_a_long_watch_has_no_more_slices_than_a_short_one() -> None:
    timeline = Timeline(BEGAN_S, 10.0)
    for after_s in range(0, 7 * 86_400, 60):
        timeline.add(observed(after_s))

    slices = timeline.of("health")

    assert MAX_SLICES / 2 < len(slices) <= MAX_SLICES
    assert sum(tally.results.total() for tally in slices.values()) == 7 * 1440
    assert list(slices) == [number * timeline.slice_s for number in range(len(slices))]


def test_a_slice_holds_what_was_due_in_it() -> None:
    timeline = Timeline(BEGAN_S, 10.0)
    timeline.add(observed(1, took_ms=10))
    timeline.add(observed(9.9, 503))
    timeline.add(observed(10, target="ping"))

    [(starts_s, tally)] = timeline.of("health").items()

    assert starts_s == 0
    assert tally.results == {"success": 1, "failure": 1}
    assert list(timeline.of("ping")) == [10]
    assert timeline.of("login") == {}


def test_what_was_due_before_the_start_is_in_the_first_slice() -> None:
    timeline = Timeline(BEGAN_S, 10.0)
    timeline.add(observed(-5))

    assert list(timeline.of("health")) == [0]


def test_percentiles_are_a_tenth_off_at_most() -> None:
    tally = Tally()
    for took_ms in range(1, 1001):
        tally.add(observed(took_ms=took_ms))

    assert tally.percentiles_ms() == pytest.approx((500, 950, 990), rel=0.1)
    assert tally.slowest_ms == 1000


def test_no_percentile_exceeds_the_slowest() -> None:
    tally = Tally()
    tally.add(observed(took_ms=101))

    assert tally.percentiles_ms() == (101, 101, 101)


def test_without_a_judged_answer_there_is_no_rate() -> None:
    tally = Tally()
    tally.add(observed(status=429))

    assert tally.success_percent is None
    assert tally.percentiles_ms() is None
