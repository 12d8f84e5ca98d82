"""The rolling window: exact in what it counts, and within a tenth in its percentiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.telemetry.answers import Child, HandClock, answer, record_login, repeat
from velro_auth.telemetry.shared import BOUNDS_MS, Count, Window, Workers, is_success

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def new_window(clock: HandClock) -> Window:
    return Window(Workers(workers=2), clock=clock)


@given(
    st.lists(st.floats(0.001, 25_000), min_size=1, max_size=300),
    st.sampled_from([0.01, 0.25, 0.5, 0.95, 0.99, 1.0]),
)
def test_a_percentile_falls_into_the_bucket_of_the_exact_one(took_ms: list[float], share: float) -> None:
    window = new_window(HandClock())
    for duration in took_ms:
        record_login(window, answer(took_ms=duration, upstream_ms=duration / 2))

    recent = window.recent()

    exact = sorted(took_ms)[math.ceil(share * len(took_ms)) - 1]
    bucket = bisect_left(BOUNDS_MS, exact)
    low = BOUNDS_MS[bucket - 1] if bucket else 0.0
    assert low <= recent.total.percentile_ms(share) <= BOUNDS_MS[bucket] * (1 + 1e-9)
    assert recent.own.percentile_ms(share) <= recent.total.percentile_ms(share) * (1 + 1e-9)


def test_what_exceeds_all_bounds_is_given_as_the_last_one(clock: HandClock) -> None:
    window = new_window(clock)

    record_login(window, answer(took_ms=1e9, upstream_ms=1.0))

    assert window.recent().total.percentile_ms(0.5) == BOUNDS_MS[-1] > 29_000


def test_an_empty_window_has_no_percentile_and_no_failure(clock: HandClock) -> None:
    recent = new_window(clock).recent()

    assert recent.total.percentile_ms(0.95) == 0.0
    assert (recent.count.logins, recent.count.failure_ratio) == (0, 0.0)


@pytest.mark.parametrize(
    ("status", "counts_as"),
    [
        *[(200, True), (204, True), (303, True), (401, True), (422, True), (429, True)],
        *[(500, False), (503, False)],
        *[(400, None), (404, None), (405, None), (413, None), (415, None), (302, None)],
    ],
)
def test_a_rightful_refusal_is_a_success(status: int, counts_as: bool | None) -> None:
    """A storm of wrong passwords is no reason to wake anybody; a 5xx is."""
    assert is_success(status) is counts_as


def test_refusals_before_supabase_was_asked_do_not_flatter_the_percentiles(clock: HandClock) -> None:
    window = new_window(clock)
    for _ in range(20):
        record_login(window, answer(took_ms=900.0, upstream_ms=890.0))
    for _ in range(980):
        record_login(window, answer(429, took_ms=1.0, upstream_ms=0.0))

    recent = window.recent()

    assert recent.count.logins == 1000
    assert recent.total.total == 20
    assert recent.total.percentile_ms(0.5) == pytest.approx(900, rel=0.1)


def test_the_time_that_refusals_are_held_back_is_not_counted(clock: HandClock) -> None:
    window = new_window(clock)

    record_login(window, answer(401, took_ms=700.0, upstream_ms=120.0, held_ms=570.0))

    assert window.recent().total.percentile_ms(1.0) == pytest.approx(130, rel=0.1)
    assert window.recent().own.percentile_ms(1.0) == pytest.approx(10, rel=0.1)


def test_what_is_older_than_the_window_is_forgotten_and_the_hour_remembers(clock: HandClock) -> None:
    window = new_window(clock)
    record_login(window, answer(503))
    clock.advance(294)
    record_login(window, answer())
    assert window.recent().count == Count(1, 1)

    clock.advance(7)

    assert window.recent().count == Count(1, 0)
    assert window.hour() == Count(1, 1)
    clock.advance(3590)
    assert window.hour() == Count(0, 0)
    assert window.recent().count == Count(0, 0)


@given(st.lists(st.tuples(st.floats(0, 400), st.booleans()), max_size=60))
def test_the_window_agrees_with_a_list_of_everything(steps: list[tuple[float, bool]]) -> None:
    """Against the simplest thing that is right, to within one span of five seconds."""
    clock = HandClock()
    window, everything = new_window(clock), []
    for pause_s, is_good in steps:
        clock.advance(pause_s)
        record_login(window, answer(200 if is_good else 503))
        everything.append((clock.now, is_good))

    count = window.recent().count

    for is_good, counted in ((True, count.successes), (False, count.failures)):
        ages = [clock.now - at for at, was_good in everything if was_good is is_good]
        assert sum(age < 295 for age in ages) <= counted <= sum(age <= 300 for age in ages)


def test_a_ring_that_was_long_unused_starts_empty(clock: HandClock) -> None:
    window = new_window(clock)
    record_login(window, answer(503))

    clock.advance(300 * 7)
    record_login(window, answer())

    assert window.recent().count == Count(1, 0)


def test_all_workers_see_the_same_window(clock: HandClock, fork: Callable[[Callable[[], object]], Child]) -> None:
    window = new_window(clock)

    for _ in range(2):
        fork(lambda: repeat(50, lambda: record_login(window, answer())))

    assert window.recent().count == Count(100, 0)
    assert window.hour() == Count(100, 0)
