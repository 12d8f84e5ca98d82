"""Which requests wait for a Redis that does not answer."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.unit.guards.clock import HandClock
from velro_auth.stores.client import RedisUnavailable, StoreBackoff, sessions_backoff


@pytest.fixture
def backoff(clock: HandClock) -> StoreBackoff:
    return StoreBackoff(clock=clock)


def fail(backoff: StoreBackoff, *, in_background: bool = False) -> None:
    with pytest.raises(RedisUnavailable), backoff.attempt(in_background=in_background):
        raise RedisConnectionError


def is_let_through(backoff: StoreBackoff) -> bool:
    """Return whether a request would wait for Redis now."""
    try:
        with backoff.attempt():
            return True
    except RedisUnavailable:
        return False


@pytest.mark.parametrize("error", [RedisConnectionError, TimeoutError, BrokenPipeError])
def test_whatever_redis_raises_is_one_error(backoff: StoreBackoff, error: type[Exception]) -> None:
    with pytest.raises(RedisUnavailable), backoff.attempt():
        raise error


def test_after_a_failure_nobody_waits(backoff: StoreBackoff) -> None:
    fail(backoff)

    assert not any(is_let_through(backoff) for _ in range(100))


def test_after_a_pause_one_request_tries_and_the_others_do_not_wait_for_it(
    backoff: StoreBackoff, clock: HandClock
) -> None:
    """Half a second for everybody once a second would be felt by every third request."""
    fail(backoff)
    clock.advance(1)

    with backoff.attempt():
        assert not any(is_let_through(backoff) for _ in range(100))


def test_what_happens_in_the_background_is_always_tried_and_its_success_is_everybody_s(backoff: StoreBackoff) -> None:
    fail(backoff)
    fail(backoff, in_background=True)
    assert not is_let_through(backoff)

    with backoff.attempt(in_background=True):
        pass

    assert is_let_through(backoff)


def test_a_defect_is_no_trouble_of_redis(backoff: StoreBackoff) -> None:
    with pytest.raises(ZeroDivisionError), backoff.attempt():
        raise ZeroDivisionError

    assert is_let_through(backoff)


def test_the_log_says_what_is_missing_once_each_way(caplog: pytest.LogCaptureFixture) -> None:
    backoff = sessions_backoff()

    with caplog.at_level(logging.WARNING, "velro_auth.guards"):
        for _ in range(3):
            fail(backoff, in_background=True)
        with backoff.attempt(in_background=True):
            pass

    assert caplog.messages == [
        "the shared store does not answer (ConnectionError): refreshes and logouts, this process knows of its own only",
        "the shared store answers again: refreshes and logouts",
    ]
