"""The twin of Supabase's rate limit says no before Supabase does."""

from __future__ import annotations

import random

import pytest

from tests.unit.guards.clock import HandClock
from velro_auth.errors import UpstreamThrottled
from velro_auth.guards.quota import BURST, REFILL_S, RESERVE, NoQuota, Quota, UpstreamQuota


class SupabaseBucket:
    """Supabase's own: thirty at once, one more every two seconds; counted as a level that refills."""

    def __init__(self, clock: HandClock) -> None:
        self._clock, self._tokens, self._at = clock, 30.0, clock.now

    def allows(self) -> bool:
        now = self._clock.now
        self._tokens, self._at = min(30.0, self._tokens + (now - self._at) / 2), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def taken(quota: Quota, times: int, *, is_known: bool) -> int:
    return sum(wait_s(quota, is_known=is_known) == 0 for _ in range(times))


def wait_s(quota: Quota, *, is_known: bool) -> float:
    try:
        quota.take(is_known=is_known)
    except UpstreamThrottled as error:
        return error.retry_after_s or 0.0
    return 0.0


def test_strangers_leave_room_for_known_users(clock: HandClock) -> None:
    quota = UpstreamQuota(clock=clock)

    assert taken(quota, 100, is_known=False) == BURST - RESERVE
    assert taken(quota, 100, is_known=True) == RESERVE


@pytest.mark.parametrize("is_known", [True, False])
def test_retry_after_is_exact(clock: HandClock, *, is_known: bool) -> None:
    quota = UpstreamQuota(clock=clock)
    taken(quota, 100, is_known=is_known)

    wait = wait_s(quota, is_known=is_known)
    clock.advance(wait - 0.25)
    assert wait_s(quota, is_known=is_known) == 0.25
    clock.advance(0.25)
    assert wait_s(quota, is_known=is_known) == 0


def test_supabase_never_refuses_what_the_twin_allows() -> None:
    """Bursts and pauses in any order, so that both buckets are empty most of the time."""
    chance = random.Random(20261122)  # noqa: S311 - a seed makes a failure repeatable
    for _ in range(200):
        clock = HandClock()
        quota, supabase = UpstreamQuota(clock=clock), SupabaseBucket(clock)
        for _ in range(300):
            clock.advance(chance.choice([0, 0, 0, 0, 0.5, 1.999, 2, 2.5, 9]))
            if wait_s(quota, is_known=chance.random() < 0.8) == 0:
                assert supabase.allows()


def test_processes_share_one_address(clock: HandClock) -> None:
    quotas = [UpstreamQuota(processes=4, clock=clock) for _ in range(4)]

    at_once = sum(taken(quota, 100, is_known=True) for quota in quotas)
    clock.advance(8 * REFILL_S)
    later = sum(taken(quota, 100, is_known=True) for quota in quotas)

    assert at_once <= BURST
    assert later == 8


def test_more_processes_than_calls_still_get_one_each(clock: HandClock) -> None:
    assert taken(UpstreamQuota(processes=100, clock=clock), 5, is_known=False) == 1


def test_a_refusal_by_supabase_empties_the_twin(clock: HandClock) -> None:
    """Somebody else uses the same address: believe Supabase."""
    quota = UpstreamQuota(clock=clock)

    quota.refused()

    assert wait_s(quota, is_known=True) == REFILL_S


def test_no_quota_never_refuses() -> None:
    quota = NoQuota()
    quota.refused()

    assert taken(quota, 1000, is_known=False) == 1000
