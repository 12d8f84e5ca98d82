"""When a shared store is asked again after a failure."""

from __future__ import annotations

import pytest

from tests.conftest import LogLines
from tests.unit.guards.clock import HandClock
from velro_auth.stores.client import CALM_S, LONGEST_PAUSE_S, StoreBackoff


@pytest.fixture
def backoff(clock: HandClock) -> StoreBackoff:
    return StoreBackoff(clock=clock)


def test_a_store_that_works_is_always_asked(backoff: StoreBackoff) -> None:
    backoff.succeeded()

    assert [backoff.may_ask() for _ in range(3)] == [True] * 3


def test_after_a_pause_one_caller_asks_and_the_others_do_not(backoff: StoreBackoff, clock: HandClock) -> None:
    backoff.failed(OSError())
    assert backoff.may_ask() is False
    clock.advance(1)

    assert [backoff.may_ask() for _ in range(3)] == [True, False, False]


def test_pauses_double_up_to_thirty_seconds(backoff: StoreBackoff, clock: HandClock) -> None:
    """Each question to a hanging store costs somebody a timeout: they have to become rare."""
    backoff.failed(OSError())
    asked_at, start = [], clock.now
    for _ in range(200):
        clock.advance(0.5)
        if backoff.may_ask():
            asked_at.append(clock.now - start)
            backoff.failed(OSError())

    assert asked_at == [1, 3, 7, 15, 31, 61, 91]
    assert asked_at[-1] - asked_at[-2] == LONGEST_PAUSE_S


def test_a_caller_that_never_reports_back_changes_nothing(backoff: StoreBackoff, clock: HandClock) -> None:
    backoff.failed(OSError())
    clock.advance(1)
    assert backoff.may_ask()

    clock.advance(LONGEST_PAUSE_S)

    assert backoff.may_ask()


def test_a_store_that_works_again_is_asked_by_everybody(backoff: StoreBackoff, clock: HandClock) -> None:
    backoff.failed(OSError())
    clock.advance(1)
    assert backoff.may_ask()
    backoff.succeeded()

    assert [backoff.may_ask() for _ in range(3)] == [True] * 3
    assert not backoff.is_degraded


def test_a_flapping_store_pauses_longer_and_a_calm_one_starts_afresh(backoff: StoreBackoff, clock: HandClock) -> None:
    def pause_after_failing() -> float:
        backoff.failed(OSError())
        started = clock.now
        while not backoff.may_ask():
            clock.advance(0.5)
        backoff.succeeded()
        return clock.now - started

    flapping = [pause_after_failing() for _ in range(4)]
    clock.advance(CALM_S)

    assert flapping == [1, 2, 4, 8]
    assert pause_after_failing() == 1


def test_changes_are_logged_once(backoff: StoreBackoff, logs: LogLines) -> None:
    for _ in range(3):
        backoff.failed(OSError())
    for _ in range(3):
        backoff.succeeded()

    assert [record.getMessage().split(" (")[0].split(":")[0] for record in logs.records] == [
        "the shared store does not answer",
        "the shared store answers again",
    ]
