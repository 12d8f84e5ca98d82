"""Who waits for a Redis that does not answer."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.unit.guards.clock import HandClock
from velro_auth.stores.backoff import StoreBackoff
from velro_auth.stores.guard import RedisGone, RedisGuard


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def guard(clock: HandClock) -> RedisGuard:
    return RedisGuard(rest=StoreBackoff(clock=clock))


def fail(guard: RedisGuard, *, in_background: bool = False) -> None:
    with pytest.raises(RedisGone), guard.attempt(in_background=in_background):
        raise RedisConnectionError


def is_let_through(guard: RedisGuard) -> bool:
    """Return whether a request would wait for Redis now."""
    try:
        with guard.attempt():
            return True
    except RedisGone:
        return False


@pytest.mark.parametrize("error", [RedisConnectionError, TimeoutError, BrokenPipeError])
def test_whatever_redis_raises_is_one_error(guard: RedisGuard, error: type[Exception]) -> None:
    with pytest.raises(RedisGone), guard.attempt():
        raise error


def test_after_a_failure_nobody_waits(guard: RedisGuard) -> None:
    fail(guard)

    assert not any(is_let_through(guard) for _ in range(100))


def test_when_the_rest_is_over_one_request_tries_and_the_others_do_not_wait_for_it(
    guard: RedisGuard, clock: HandClock
) -> None:
    """Half a second for everybody once a second would be felt by every third request."""
    fail(guard)
    clock.advance(1)

    with guard.attempt():
        assert not any(is_let_through(guard) for _ in range(100))


def test_what_happens_in_the_background_is_always_tried_and_its_success_is_everybody_s(guard: RedisGuard) -> None:
    fail(guard)
    fail(guard, in_background=True)
    assert not is_let_through(guard)

    with guard.attempt(in_background=True):
        pass

    assert is_let_through(guard)


def test_a_defect_is_no_trouble_of_redis(guard: RedisGuard) -> None:
    with pytest.raises(ZeroDivisionError), guard.attempt():
        raise ZeroDivisionError

    assert is_let_through(guard)


def test_the_log_says_what_is_missing_once_each_way(caplog: pytest.LogCaptureFixture) -> None:
    guard = RedisGuard()

    with caplog.at_level(logging.WARNING, "velro_auth.guards"):
        for _ in range(3):
            fail(guard, in_background=True)
        with guard.attempt(in_background=True):
            pass

    assert caplog.messages == [
        "the shared store does not answer (ConnectionError): refreshes and logouts, this process knows of its own only",
        "the shared store answers again: refreshes and logouts",
    ]
