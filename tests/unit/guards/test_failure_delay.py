"""Refused logins are answered at fixed times after their arrival."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail_later
from velro_auth.errors import AuthError, Busy, EmailNotConfirmed, InvalidCredentials, UpstreamTimeout
from velro_auth.guards.failure_delay import FailureDelay


def refuse(
    failure_delay: FailureDelay, clock: HandClock, took_s: float, error: type[Exception] = InvalidCredentials
) -> float:
    """Refuse a login after so many seconds; return when it was answered, after its arrival."""
    arrived = clock.now
    with pytest.raises(error), failure_delay.hold(arrived):
        fail_later(error, clock, took_s)
    return clock.now - arrived


def make(
    clock: HandClock,
    delay_ms: float = 350.0,
    permits: int = 10,
    *,
    reserved: int = 0,
    earlier: FailureDelay | None = None,
) -> FailureDelay:
    """Return a failure delay; one that replaces *earlier* at a settings reload, if there is one."""
    return FailureDelay(
        delay_ms=delay_ms,
        permits=permits,
        reserved=reserved,
        clock=clock,
        sleep=clock.advance,
        state=earlier.state if earlier else None,
    )


@pytest.mark.parametrize(
    ("took_s", "answered_s"),
    [(0.0, 0.35), (0.015, 0.35), (0.140, 0.35), (0.349, 0.35), (0.351, 0.70), (0.70, 1.05), (5.0, 5.25)],
)
def test_a_refused_login_is_answered_at_the_next_multiple(took_s: float, answered_s: float) -> None:
    clock = HandClock(0.0)

    assert refuse(make(clock), clock, took_s) == pytest.approx(answered_s)


@given(took_s=st.floats(0, 60), delay_ms=st.floats(1, 2000), arrived=st.floats(0, 1e6))
def test_an_answer_is_never_early_and_never_more_than_one_delay_late(
    took_s: float, delay_ms: float, arrived: float
) -> None:
    clock = HandClock(arrived)
    answered_s = refuse(make(clock, delay_ms), clock, took_s)

    assert took_s - 1e-6 <= answered_s <= took_s + delay_ms / 1000 + 1e-6
    multiples = answered_s * 1000 / delay_ms
    assert multiples == pytest.approx(round(multiples), abs=1e-4)


def test_one_slow_refusal_holds_up_all_for_a_minute(clock: HandClock) -> None:
    """Wrong passwords miss a multiple more often than unknown accounts: otherwise that would tell."""
    failure_delay = make(clock)
    answered = [refuse(failure_delay, clock, took_s) for took_s in (0.01, 0.36, 0.01, 0.14)]
    clock.advance(60)
    answered.append(refuse(failure_delay, clock, 0.01))

    assert answered == pytest.approx([0.35, 0.70, 0.70, 0.70, 0.35])


def test_a_refusal_that_took_for_ever_holds_up_nobody(clock: HandClock) -> None:
    """Held logins cost threads: what takes that long is an outage, not a load."""
    failure_delay = make(clock)
    refuse(failure_delay, clock, 4.9)

    assert refuse(failure_delay, clock, 0.01) == pytest.approx(0.35)


@pytest.mark.parametrize("error", [InvalidCredentials, EmailNotConfirmed, AuthError])
def test_every_no_is_held(clock: HandClock, error: type[Exception]) -> None:
    assert refuse(make(clock), clock, 0.0, error) == pytest.approx(0.35)


def test_a_success_and_an_outage_are_answered_at_once(clock: HandClock) -> None:
    failure_delay = make(clock)
    before = clock.now

    with failure_delay.hold(clock.now):
        pass
    refuse(failure_delay, clock, 0.0, UpstreamTimeout)

    assert clock.now == before


def test_zero_switches_it_off(clock: HandClock) -> None:
    assert refuse(make(clock, 0), clock, 0.015) == pytest.approx(0.015)


def test_a_login_without_a_permit_is_refused_before_supabase_is_asked(clock: HandClock) -> None:
    """The timing of a late 503 would reveal whether the account exists."""
    failure_delay = make(clock, permits=1)
    asked = []

    with failure_delay.hold(clock.now):
        with pytest.raises(Busy), failure_delay.hold(clock.now):
            asked.append(1)
        assert failure_delay.free == 0

    assert (asked, failure_delay.free) == ([], 1)


@pytest.mark.parametrize("error", [InvalidCredentials, UpstreamTimeout, KeyError])
def test_every_way_out_releases_the_permit(clock: HandClock, error: type[Exception]) -> None:
    failure_delay = make(clock, permits=1)
    for _ in range(5):
        refuse(failure_delay, clock, 0.0, error)

    assert failure_delay.free == 1


def test_another_delay_is_in_force_at_once() -> None:
    clock = HandClock(0.0)
    failure_delay = make(clock)

    slower = make(clock, delay_ms=500, earlier=failure_delay)

    assert refuse(slower, clock, 0.1) == pytest.approx(0.5)


def test_fewer_permits_end_no_request() -> None:
    clock = HandClock(0.0)
    failure_delay = make(clock, permits=2)

    with failure_delay.hold(0.0), failure_delay.hold(0.0):
        smaller = make(clock, permits=1, earlier=failure_delay)
        with pytest.raises(Busy), smaller.hold(0.0):
            pass
        larger = make(clock, permits=3, earlier=smaller)
        with larger.hold(0.0):
            assert larger.free == 0

    assert larger.free == 3


def test_other_requests_that_wait_for_supabase_share_the_permits() -> None:
    clock = HandClock()
    failure_delay = make(clock, permits=2)

    with failure_delay.permit(), failure_delay.hold(clock.now):
        assert failure_delay.free == 0
        with pytest.raises(Busy), failure_delay.permit():
            pass

    assert failure_delay.free == 2


def test_logins_from_unknown_networks_leave_some_permits_to_those_at_home(clock: HandClock) -> None:
    failure_delay = FailureDelay(permits=3, known_reserved=2, clock=clock, sleep=clock.advance)

    with failure_delay.hold(clock(), is_known=False):
        with pytest.raises(Busy), failure_delay.hold(clock(), is_known=False):
            pass
        with failure_delay.hold(clock()), failure_delay.hold(clock()):
            assert failure_delay.free == 0


def test_other_calls_leave_the_reserved_permits_to_the_logins(clock: HandClock) -> None:
    failure_delay = FailureDelay(permits=3, reserved=2, clock=clock, sleep=clock.advance)

    with failure_delay.permit():
        with pytest.raises(Busy), failure_delay.permit():
            pass
        with failure_delay.hold(clock()), failure_delay.hold(clock()), pytest.raises(Busy), failure_delay.hold(clock()):
            pass
        with make(clock, permits=3, reserved=1, earlier=failure_delay).permit():
            pass

    assert failure_delay.free == 3
