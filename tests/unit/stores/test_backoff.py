"""When a shared store that failed is asked again."""

from __future__ import annotations

import pytest

from tests.unit.guards.clock import HandClock
from velro_auth.stores.backoff import CALM_S, LONGEST_REST_S, StoreBackoff


@pytest.fixture
def rest(clock: HandClock) -> StoreBackoff:
    return StoreBackoff(clock=clock)


def test_a_store_that_works_is_always_asked(rest: StoreBackoff) -> None:
    rest.worked()

    assert [rest.may_ask() for _ in range(3)] == [True] * 3


def test_after_a_rest_one_caller_asks_and_the_others_do_not(rest: StoreBackoff, clock: HandClock) -> None:
    rest.failed(OSError())
    assert rest.may_ask() is False
    clock.advance(1)

    assert [rest.may_ask() for _ in range(3)] == [True, False, False]


def test_rests_double_up_to_thirty_seconds(rest: StoreBackoff, clock: HandClock) -> None:
    """Each question to a hanging store costs somebody a timeout: they have to become rare."""
    rest.failed(OSError())
    asked_at, start = [], clock.now
    for _ in range(200):
        clock.advance(0.5)
        if rest.may_ask():
            asked_at.append(clock.now - start)
            rest.failed(OSError())

    assert asked_at == [1, 3, 7, 15, 31, 61, 91]
    assert asked_at[-1] - asked_at[-2] == LONGEST_REST_S


def test_a_caller_that_never_reports_back_changes_nothing(rest: StoreBackoff, clock: HandClock) -> None:
    rest.failed(OSError())
    clock.advance(1)
    assert rest.may_ask()

    clock.advance(LONGEST_REST_S)

    assert rest.may_ask()


def test_a_store_that_works_again_is_asked_by_everybody(rest: StoreBackoff, clock: HandClock) -> None:
    rest.failed(OSError())
    clock.advance(1)
    assert rest.may_ask()
    rest.worked()

    assert [rest.may_ask() for _ in range(3)] == [True] * 3
    assert not rest.is_degraded


def test_a_flapping_store_rests_longer_and_a_calm_one_starts_afresh(rest: StoreBackoff, clock: HandClock) -> None:
    def rest_after_failing() -> float:
        rest.failed(OSError())
        started = clock.now
        while not rest.may_ask():
            clock.advance(0.5)
        rest.worked()
        return clock.now - started

    flapping = [rest_after_failing() for _ in range(4)]
    clock.advance(CALM_S)

    assert flapping == [1, 2, 4, 8]
    assert rest_after_failing() == 1


def test_changes_are_told_once(clock: HandClock) -> None:
    told: list[float] = []
    rest = StoreBackoff(clock=clock, on_degraded=told.append)

    for _ in range(3):
        rest.failed(OSError())
    for _ in range(3):
        rest.worked()

    assert told == [1.0, 0.0]
