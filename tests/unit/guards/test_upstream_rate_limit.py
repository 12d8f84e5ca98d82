"""The copy of Supabase's rate limit refuses before Supabase does."""

from __future__ import annotations

import random

import pytest

from tests.conftest import LogLines
from tests.unit.guards.clock import HandClock
from velro_auth.errors import UpstreamThrottled
from velro_auth.guards.upstream_rate_limit import (
    BURST,
    LOG_EVERY_S,
    PROVE_EVERY_S,
    PROVEN_FOR_S,
    REFILL_S,
    RESERVE,
    OneAddress,
    RateLimitBucket,
    RateLimitState,
)


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


def taken(rate_limit: RateLimitBucket, times: int, *, is_known: bool) -> int:
    return sum(wait_s(rate_limit, is_known=is_known) == 0 for _ in range(times))


def wait_s(rate_limit: RateLimitBucket, *, is_known: bool) -> float:
    try:
        rate_limit.acquire(is_known=is_known)
    except UpstreamThrottled as error:
        return error.retry_after_s or 0.0
    return 0.0


def test_strangers_leave_room_for_known_users(clock: HandClock) -> None:
    rate_limit = RateLimitBucket(clock=clock)

    assert taken(rate_limit, 100, is_known=False) == BURST - RESERVE
    assert taken(rate_limit, 100, is_known=True) == RESERVE


@pytest.mark.parametrize("is_known", [True, False])
def test_retry_after_is_exact(clock: HandClock, *, is_known: bool) -> None:
    rate_limit = RateLimitBucket(clock=clock)
    taken(rate_limit, 100, is_known=is_known)

    wait = wait_s(rate_limit, is_known=is_known)
    clock.advance(wait - 0.25)
    assert wait_s(rate_limit, is_known=is_known) == 0.25
    clock.advance(0.25)
    assert wait_s(rate_limit, is_known=is_known) == 0


def test_supabase_never_refuses_what_the_copy_allows() -> None:
    """Bursts and pauses in any order, so that both buckets are empty most of the time."""
    chance = random.Random(20261122)  # noqa: S311 - a seed makes a failure repeatable
    for _ in range(200):
        clock = HandClock()
        rate_limit, supabase = RateLimitBucket(clock=clock), SupabaseBucket(clock)
        for _ in range(300):
            clock.advance(chance.choice([0, 0, 0, 0, 0.5, 1.999, 2, 2.5, 9]))
            if wait_s(rate_limit, is_known=chance.random() < 0.8) == 0:
                assert supabase.allows()


def test_processes_share_one_address(clock: HandClock) -> None:
    rate_limits = [RateLimitBucket(processes=4, clock=clock) for _ in range(4)]

    at_once = sum(taken(rate_limit, 100, is_known=True) for rate_limit in rate_limits)
    clock.advance(8 * REFILL_S)
    later = sum(taken(rate_limit, 100, is_known=True) for rate_limit in rate_limits)

    assert at_once <= BURST
    assert later == 8


def test_more_processes_than_calls_still_get_one_each(clock: HandClock) -> None:
    assert taken(RateLimitBucket(processes=100, clock=clock), 5, is_known=False) == 1


def test_a_refusal_by_supabase_empties_the_copy(clock: HandClock) -> None:
    """Somebody else uses the same address: believe Supabase."""
    rate_limit = RateLimitBucket(clock=clock)

    rate_limit.upstream_refused()

    assert wait_s(rate_limit, is_known=True) == REFILL_S


class Supabase:
    """What a proof finds out: whether Supabase counts all callers as one."""

    def __init__(self) -> None:
        self.counts_all_as_one: bool | None = False
        self.asked = 0

    def prove(self) -> bool | None:
        self.asked += 1
        return self.counts_all_as_one


@pytest.fixture
def supabase() -> Supabase:
    return Supabase()


@pytest.fixture
def one_address(supabase: Supabase, clock: HandClock) -> OneAddress:
    return OneAddress(prove=supabase.prove, clock=clock)


@pytest.fixture
def watched(one_address: OneAddress, clock: HandClock) -> RateLimitBucket:
    return RateLimitBucket(one_address=one_address, clock=clock)


def test_while_addresses_are_passed_on_nothing_is_counted(watched: RateLimitBucket, supabase: Supabase) -> None:
    assert taken(watched, 1000, is_known=False) == 1000
    assert supabase.asked == 0


def test_a_refusal_of_one_caller_s_own_making_holds_nobody_else_back(
    watched: RateLimitBucket, supabase: Supabase, one_address: OneAddress
) -> None:
    """Or one address with thirty calls could have all others counted."""
    watched.upstream_refused()

    assert supabase.asked == 1
    assert not one_address.is_proven
    assert taken(watched, 1000, is_known=False) == 1000


def test_a_refusal_that_was_for_all_puts_the_limit_in_force_with_nothing_left(
    watched: RateLimitBucket, supabase: Supabase, one_address: OneAddress, logs: LogLines
) -> None:
    supabase.counts_all_as_one = True

    watched.upstream_refused()
    watched.upstream_refused()

    assert one_address.is_proven
    assert wait_s(watched, is_known=True) == REFILL_S
    logged = [record for record in logs.records if "counts all callers as one" in record.getMessage()]
    assert [record.levelname for record in logged] == ["WARNING"]
    assert supabase.asked == 1


def test_a_proof_that_cannot_be_had_is_none(watched: RateLimitBucket, supabase: Supabase) -> None:
    supabase.counts_all_as_one = None

    watched.upstream_refused()

    assert taken(watched, 1000, is_known=False) == 1000


def test_refusals_are_looked_into_once_a_second(watched: RateLimitBucket, supabase: Supabase, clock: HandClock) -> None:
    for _ in range(10):
        watched.upstream_refused()
    assert supabase.asked == 1

    clock.advance(PROVE_EVERY_S)
    watched.upstream_refused()
    assert supabase.asked == 2


def test_a_proof_that_is_renewed_is_said_once_an_hour(
    watched: RateLimitBucket, supabase: Supabase, clock: HandClock, logs: LogLines
) -> None:
    supabase.counts_all_as_one = True
    for _ in range(int(LOG_EVERY_S / PROVEN_FOR_S) + 1):
        watched.upstream_refused()
        clock.advance(PROVEN_FOR_S)

    assert len([record for record in logs.records if "counts all callers as one" in record.getMessage()]) == 2


def test_after_a_minute_addresses_are_believed_in_again(
    watched: RateLimitBucket, supabase: Supabase, one_address: OneAddress, clock: HandClock
) -> None:
    supabase.counts_all_as_one = True
    watched.upstream_refused()
    supabase.counts_all_as_one = False

    assert taken(watched, 100, is_known=True) == 0
    clock.advance(PROVEN_FOR_S)
    assert not one_address.is_proven
    assert taken(watched, 100, is_known=True) == 100


def test_calls_with_the_publishable_key_are_counted_and_their_refusals_too(clock: HandClock) -> None:
    watched = RateLimitBucket(one_address=OneAddress(is_public=lambda: True, clock=clock), clock=clock)
    assert taken(watched, 100, is_known=True) == BURST
    clock.advance(1000)

    watched.upstream_refused()

    assert wait_s(watched, is_known=True) == REFILL_S


def test_a_limit_that_is_never_in_force_refuses_nothing() -> None:
    rate_limit = RateLimitBucket(one_address=OneAddress())
    rate_limit.upstream_refused()

    assert taken(rate_limit, 1000, is_known=False) == 1000


def test_a_reload_keeps_what_was_taken_unless_the_numbers_change(clock: HandClock) -> None:
    """Calls that were counted with wrong numbers must not cause refusals with the right ones."""
    state = RateLimitState()
    RateLimitBucket(burst=1, refill_s=1000, clock=clock, state=state).acquire(is_known=True)

    with pytest.raises(UpstreamThrottled):
        RateLimitBucket(burst=1, refill_s=1000, clock=clock, state=state).acquire(is_known=True)
    RateLimitBucket(burst=1, refill_s=2, clock=clock, state=state).acquire(is_known=True)
