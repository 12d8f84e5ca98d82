"""The adaptive size follows answering times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from velro_auth.guards.size import SAMPLES, AdaptiveSize


def feed(size: AdaptiveSize, took_s: float, *, windows: int, busy: bool = True) -> None:
    for _ in range(windows * SAMPLES):
        size.took(took_s, in_flight=size.slots if busy else 1)


def test_it_starts_at_its_most() -> None:
    assert AdaptiveSize(least=4, most=24).slots == 24


def test_slow_answers_make_it_shrink_but_never_below_its_least() -> None:
    size = AdaptiveSize(least=4, most=24)
    feed(size, 0.1, windows=5)
    feed(size, 5.0, windows=50)

    assert size.slots == 4


def test_it_grows_back_when_answers_are_fast_again() -> None:
    size = AdaptiveSize(least=4, most=24)
    feed(size, 0.1, windows=5)
    feed(size, 5.0, windows=50)

    feed(size, 0.1, windows=40)

    assert size.slots == 24


def test_it_does_not_grow_while_half_its_slots_are_free() -> None:
    """Fast answers to few calls say nothing about many."""
    size = AdaptiveSize(least=4, most=24)
    feed(size, 0.1, windows=5)
    feed(size, 5.0, windows=50)

    feed(size, 0.1, windows=40, busy=False)

    assert size.slots == 4


@given(st.lists(st.tuples(st.floats(1e-6, 100), st.integers(1, 100)), max_size=400))
def test_it_stays_within_its_bounds_whatever_is_measured(calls: list[tuple[float, int]]) -> None:
    size = AdaptiveSize(least=2, most=30)
    for took_s, in_flight in calls:
        size.took(took_s, in_flight=in_flight)
        assert 2 <= size.slots <= 30
