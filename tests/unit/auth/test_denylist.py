from __future__ import annotations

import pytest

from tests.fixtures.tokens import START_S, USER_ID, HandClock, checked_claims
from velro_auth.auth.denylist import CLOCK_MARGIN_S, Denial, MemoryDenyList, Scope, denials_of_logout

HERE = "11111111-1111-4111-8111-111111111111"
ELSEWHERE = "22222222-2222-4222-8222-222222222222"
SOMEBODY = "33333333-3333-4333-8333-333333333333"

#: An hour of tokens: the one that logs out was issued ten minutes ago, the other one twenty.
OURS = checked_claims(session_id=HERE, issued_at=int(START_S) - 600, exp=int(START_S) + 3000)
OTHER = checked_claims(session_id=ELSEWHERE, issued_at=int(START_S) - 1200, exp=int(START_S) + 2400)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def denied(clock: HandClock) -> MemoryDenyList:
    return MemoryDenyList(now=clock)


@pytest.mark.parametrize(
    ("scope", "denies_this", "denies_others"),
    [("local", True, False), ("others", False, True), ("global", True, True)],
)
def test_a_logout_ends_what_its_scope_says(
    denied: MemoryDenyList, scope: Scope, denies_this: bool, denies_others: bool
) -> None:
    denied.deny(denials_of_logout(OURS, scope, now_s=START_S))

    assert denied.denies(OURS) is denies_this
    assert denied.denies(OTHER) is denies_others
    assert not denied.denies(checked_claims(sub=SOMEBODY, session_id=SOMEBODY))


def test_a_login_after_a_global_logout_is_good(denied: MemoryDenyList) -> None:
    """Even by a clock that runs some seconds behind ours: ``iat`` is Supabase's."""
    denied.deny(denials_of_logout(OURS, "global", now_s=START_S))

    new = checked_claims(session_id=ELSEWHERE, issued_at=int(START_S) - CLOCK_MARGIN_S)

    assert not denied.denies(new)
    assert denied.denies(checked_claims(session_id=ELSEWHERE, issued_at=int(START_S) - CLOCK_MARGIN_S - 1))


def test_a_token_that_does_not_tell_its_age_counts_as_old(denied: MemoryDenyList) -> None:
    denied.deny(denials_of_logout(OURS, "global", now_s=START_S))

    assert denied.denies(checked_claims(session_id=ELSEWHERE, issued_at=None))


def test_a_denial_outlasts_every_token_of_the_session() -> None:
    """A refresh a moment ago gave the session a token that outlives the one that logs out."""
    [denial] = denials_of_logout(OURS, "local", now_s=START_S)

    newest_token_exp = START_S + 3600
    assert denial.until_s == newest_token_exp + 30


def test_ended_denials_are_dropped(denied: MemoryDenyList, clock: HandClock) -> None:
    denied.deny(denials_of_logout(OURS, "global", now_s=START_S))
    clock.advance(3600 + 31)

    assert denied.current() == []
    assert not denied.denies(OURS)


def test_a_later_logout_is_not_undone_by_an_earlier_one(denied: MemoryDenyList) -> None:
    """News may arrive in any order."""
    [others] = denials_of_logout(OURS, "others", now_s=START_S - 100)
    [_, everything] = denials_of_logout(OURS, "global", now_s=START_S)

    denied.deny([everything, others])

    assert denied.denies(OTHER)
    assert denied.denies(OURS)


def test_of_two_logouts_at_once_the_stricter_counts() -> None:
    [others] = denials_of_logout(OURS, "others", now_s=START_S)
    [_, everything] = denials_of_logout(OURS, "global", now_s=START_S)

    assert others.merged(everything) == everything.merged(others) == everything


def test_when_it_is_full_the_denials_that_end_first_go(clock: HandClock) -> None:
    denied = MemoryDenyList(size=100, now=clock)

    denied.deny(Denial(subject=f"session:{number}", until_s=START_S + number + 1) for number in range(1000))

    kept = {denial.subject for denial in denied.current()}
    assert len(kept) <= 100
    assert "session:999" in kept
    assert "session:0" not in kept


def test_ended_denials_go_while_others_come(denied: MemoryDenyList, clock: HandClock) -> None:
    """Nobody has to ask for the list to keep it small."""
    denied.deny([Denial(subject=f"user:{USER_ID}", until_s=START_S + 10)])
    clock.advance(61)

    denied.deny([Denial(subject="session:new", until_s=START_S + 100)])

    assert list(denied._denials) == ["session:new"]
