"""When something is asked."""

from __future__ import annotations

from tests.unit.ops.monitor.records import BEGAN_S, observed
from tests.unit.telemetry.answers import HandClock
from velro_auth.ops.monitor.poller import (
    MAX_REFUSED_PAUSE_S,
    MAX_THREADS,
    THROTTLED_PAUSE_S,
    DueTimes,
    LoginBackoff,
    Poll,
    SteadyClock,
)


def ticks(clock: HandClock, every_s: float = 5.0) -> DueTimes:
    return DueTimes(every_s, starts_s=clock.now, clock=clock)


def test_due_times_do_not_move_with_the_answers() -> None:
    clock = HandClock(100.0)
    times = ticks(clock)

    assert [times.next(), times.next()] == [100, 105]
    clock.advance(10.9)
    assert times.next() == 110


def test_what_is_too_late_is_left_out_at_once() -> None:
    """A night asleep is not made up for in a burst."""
    clock = HandClock(100.0)
    times = ticks(clock)
    times.next()

    clock.advance(8 * 3600)

    assert times.next() == 100 + 8 * 3600


def test_a_clock_set_back_holds_nothing_up() -> None:
    wall, steady = HandClock(1000.0), HandClock(0.0)
    clock = SteadyClock(monotonic=steady, wall_clock=wall)

    wall.advance(-3600)
    steady.advance(5)

    assert clock() == 1005


def test_a_machine_that_slept_notices_the_time() -> None:
    wall, steady = HandClock(1000.0), HandClock(0.0)
    clock = SteadyClock(monotonic=steady, wall_clock=wall)

    wall.advance(3600)

    assert [clock(), clock()] == [4600, 4600]
    steady.advance(1)
    wall.advance(1)
    assert clock() == 4601


def test_enough_threads_for_a_target_that_hangs() -> None:
    def threads(every_s: float, lasts_s: float) -> int:
        return Poll(target="health", probe=lambda _: iter(()), every_s=every_s, lasts_s=lasts_s).threads

    assert threads(5, 5) == 2
    assert threads(1, 5) == 6
    assert threads(0.1, 60) == MAX_THREADS


def test_a_refused_account_is_asked_for_less_and_less_often() -> None:
    """Or the service would mistake the monitor for an attacker and block the account."""
    backoff, after_s, asked = LoginBackoff(10.0), 0.0, 0
    while after_s < 86_400:
        if backoff.allows(BEGAN_S + after_s):
            asked += 1
            backoff.add(observed(after_s, 401, target="login"))
        after_s += 10

    assert 24 < asked < 40
    assert not backoff.allows(BEGAN_S + after_s)
    assert backoff.allows(BEGAN_S + after_s + MAX_REFUSED_PAUSE_S)


def test_an_account_that_is_taken_again_is_asked_for_as_before() -> None:
    backoff = LoginBackoff(10.0)
    for _ in range(5):
        backoff.add(observed(0, 401, target="login"))
    backoff.add(observed(1000, 200, target="login"))

    backoff.add(observed(1010, 401, target="login"))

    assert backoff.allows(BEGAN_S + 1030)


def test_a_throttled_account_is_left_alone_for_a_while() -> None:
    backoff = LoginBackoff(10.0)

    backoff.add(observed(0, 429, target="login"))

    assert not backoff.allows(BEGAN_S + THROTTLED_PAUSE_S - 1)
    assert backoff.allows(BEGAN_S + THROTTLED_PAUSE_S)


def test_an_outage_slows_nothing_down() -> None:
    backoff = LoginBackoff(10.0)

    backoff.add(observed(0, 503, target="login"))

    assert backoff.allows(BEGAN_S + 10)
