"""Small changes to the guards that no other test would notice."""

from __future__ import annotations

import contextlib

import pytest

from tests.conftest import ENVIRONMENT
from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.config.settings import Settings
from velro_auth.errors import AuthError, InvalidCredentials, UpstreamFailed, UpstreamThrottled, UpstreamTimeout
from velro_auth.guards.asking import MIN_CALLS, OPEN_S, CircuitBreaker
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.throttle import Throttle, TooManyAttempts
from velro_auth.wiring.guards import build_guards, open_guards


def subclasses(error: type[Exception]) -> list[type[Exception]]:
    """Return *error* and all errors of its kind."""
    return [error, *(one for child in error.__subclasses__() for one in subclasses(child))]


def call(breaker: CircuitBreaker, error: type[BaseException] | None = None) -> None:
    """Make one call that ends with *error*."""
    expected = pytest.raises(error) if error else contextlib.nullcontext()
    with expected, breaker.attempt():
        if error:
            fail(error)


@pytest.mark.parametrize(("good", "bad", "state"), [(51, 49, "closed"), (50, 50, "open")])
def test_the_share_of_failures_that_opens_the_breaker_is_exactly_half(
    clock: HandClock, good: int, bad: int, state: str
) -> None:
    """Among 20 calls a limit of 49 % would do the same as one of 50 %."""
    breaker = CircuitBreaker(clock=clock)

    for error in [None] * good + [UpstreamFailed] * bad:
        call(breaker, error)

    assert breaker.state == state


@pytest.mark.parametrize("error", [UpstreamTimeout, TimeoutError])
def test_a_probe_that_times_out_does_not_close_the_breaker(clock: HandClock, error: type[Exception]) -> None:
    breaker = CircuitBreaker(clock=clock)
    for _ in range(MIN_CALLS):
        call(breaker, UpstreamFailed)
    clock.advance(OPEN_S)

    call(breaker, error)

    assert breaker.state == "open"


@pytest.mark.parametrize("error", [InvalidCredentials, UpstreamTimeout, KeyError])
def test_a_request_that_is_no_login_releases_its_permit_when_it_fails(clock: HandClock, error: type[Exception]) -> None:
    failure_delay = FailureDelay(permits=1, clock=clock, sleep=clock.advance)

    for _ in range(2):
        with pytest.raises(error), failure_delay.permit():
            fail(error)

    assert failure_delay.free == 1


@pytest.mark.parametrize("error", subclasses(AuthError), ids=lambda error: error.__name__)
def test_every_kind_of_refusal_is_delayed(clock: HandClock, error: type[Exception]) -> None:
    arrived = clock.now
    failure_delay = FailureDelay(delay_ms=350.0, permits=1, clock=clock, sleep=clock.advance)

    with pytest.raises(error), failure_delay.hold(arrived):
        fail(error)

    assert clock.now - arrived == pytest.approx(0.35)


def test_a_refused_login_keeps_its_permit_while_it_is_delayed(clock: HandClock) -> None:
    """A delayed login occupies a thread. Without the permit, refused logins could occupy all of them."""
    free: list[int] = []
    failure_delay = FailureDelay(permits=3, clock=clock, sleep=lambda _s: free.append(failure_delay.free))

    with pytest.raises(InvalidCredentials), failure_delay.hold(clock.now):
        fail(InvalidCredentials)

    assert (free, failure_delay.free) == ([2], 3)


def test_a_429_of_supabase_uses_up_our_copy_of_its_rate_limit() -> None:
    settings = Settings.from_environment({**ENVIRONMENT, "AUTH_FORWARD_CLIENT_IP": "off"})
    guards = build_guards(settings, open_guards(settings))
    guards.rate_limit.acquire(is_known=True)

    with pytest.raises(UpstreamThrottled), guards.asking():
        fail(UpstreamThrottled)

    with pytest.raises(UpstreamThrottled):
        guards.rate_limit.acquire(is_known=True)


def test_tries_count_before_supabase_has_answered(clock: HandClock) -> None:
    """Otherwise any number of guesses that are sent at once would all be let through."""
    limits = Limits()
    throttle = Throttle(attempts=MemoryAttempts(limits=limits, clock=clock), keyring=Keyring(b"secret"))

    with contextlib.ExitStack() as waiting:
        for _ in range(limits.pair.free):
            waiting.enter_context(throttle.attempt("ada@example.com", "192.0.2.1"))

        with pytest.raises(TooManyAttempts), throttle.attempt("ada@example.com", "192.0.2.1"):
            pass
