from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.denials import denials_of
from tests.fixtures.tokens import START_S, USER_ID, HandClock, checked_claims
from velro_auth.auth.denylist import (
    BEFORE_ALL,
    LONGEST_LIFETIME_S,
    MAX_CUTOFFS,
    MAX_EXEMPT,
    Cutoff,
    Denial,
    MemoryDenyList,
    Scope,
    end_of_lower_sessions,
    end_of_user,
    last_end_s,
    merge_cutoffs,
)
from velro_auth.auth.tokens import Claims

HERE = "11111111-1111-4111-8111-111111111111"
ELSEWHERE = "22222222-2222-4222-8222-222222222222"
SOMEBODY = "33333333-3333-4333-8333-333333333333"

#: An hour of tokens: the one that logs out was issued ten minutes ago, the other one twenty.
OURS = checked_claims(session_id=HERE, issued_at=int(START_S) - 600, exp=int(START_S) + 3000)
OTHER = checked_claims(session_id=ELSEWHERE, issued_at=int(START_S) - 1200, exp=int(START_S) + 2400)

SESSIONS = ("a", "b", "c")
CUTOFFS = st.builds(
    Cutoff,
    name=st.text("0123456789abcdef", min_size=16, max_size=16),
    at_s=st.integers(1, 4),
    exempt=st.sets(st.sampled_from(SESSIONS)).map(lambda names: tuple(sorted(names))),
)
MANY_CUTOFFS = st.lists(CUTOFFS, min_size=1, max_size=MAX_CUTOFFS + 3, unique_by=lambda cutoff: cutoff.name).map(tuple)
TOKENS = [
    checked_claims(session_id=session, issued_at=issued_at)
    for session, issued_at in itertools.product(SESSIONS, (None, 1, 2, 3, 4, 5))
]


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
    denied.deny(denials_of(OURS, scope, now_s=START_S))

    assert denied.denies(OURS) is denies_this
    assert denied.denies(OTHER) is denies_others
    assert not denied.denies(checked_claims(sub=SOMEBODY, session_id=SOMEBODY))


@pytest.mark.parametrize(("before_s", "is_denied"), [(6, True), (5, True), (1, True), (0, True), (-1, False)])
def test_every_token_up_to_the_second_of_the_logout_is_denied(
    denied: MemoryDenyList, before_s: int, is_denied: bool
) -> None:
    """A thief who refreshes every few seconds must not stay in."""
    denied.deny(denials_of(OURS, "global", now_s=START_S))

    assert denied.denies(checked_claims(session_id=ELSEWHERE, issued_at=int(START_S) - before_s)) is is_denied


def test_a_session_that_began_after_the_logout_is_good_in_its_second(denied: MemoryDenyList) -> None:
    denied.deny(denials_of(OURS, "global", now_s=START_S))
    new = checked_claims(session_id=ELSEWHERE, issued_at=int(START_S))

    assert denied.admits(new, denied.mark())

    assert not denied.denies(new)
    assert denied.denies(checked_claims(session_id=SOMEBODY, issued_at=int(START_S)))


def test_a_session_that_may_have_begun_before_the_logout_is_not_handed_out(denied: MemoryDenyList) -> None:
    """Supabase was asked for it before the logout was known here."""
    mark = denied.mark()
    denied.deny(denials_of(OURS, "global", now_s=START_S))
    new = checked_claims(session_id=ELSEWHERE, issued_at=int(START_S))

    assert not denied.admits(new, mark)
    assert denied.denies(new)


def test_a_later_logout_ends_a_session_that_an_earlier_one_exempted(denied: MemoryDenyList) -> None:
    """Both in one second."""
    denied.deny(denials_of(OURS, "global", now_s=START_S))
    first = checked_claims(session_id=ELSEWHERE, issued_at=int(START_S))
    second = checked_claims(session_id=SOMEBODY, issued_at=int(START_S))
    assert denied.admits(first, denied.mark())
    assert denied.admits(second, denied.mark())

    denied.deny(denials_of(second, "others", now_s=START_S))

    assert denied.denies(first)
    assert not denied.denies(second)


def test_what_supabase_gives_for_a_denied_session_is_not_handed_out(denied: MemoryDenyList) -> None:
    """A refresh begins no session, so no denial is too old for it."""
    denied.deny(denials_of(OURS, "local", now_s=START_S))

    assert not denied.admits(checked_claims(session_id=HERE, issued_at=int(START_S) + 60), BEFORE_ALL)


def test_a_token_that_does_not_tell_its_age_counts_as_old(denied: MemoryDenyList) -> None:
    denied.deny(denials_of(OURS, "global", now_s=START_S))

    assert denied.denies(checked_claims(session_id=ELSEWHERE, issued_at=None))


def test_the_token_that_logs_out_is_older_than_the_logout_whatever_the_date_says() -> None:
    """The edge that writes the Date may have a clock of its own."""
    denial = end_of_user(OURS, "global", at_s=START_S - 3000, until_s=START_S)

    assert denial.covers(checked_claims(session_id=ELSEWHERE, issued_at=OURS.issued_at))


def test_a_denial_outlasts_every_token_of_the_session() -> None:
    """A refresh a moment ago gave the session a token that outlives the one that logs out."""
    newest_token_exp = START_S + 3600

    assert last_end_s(OURS, now_s=START_S, longest_s=0) == newest_token_exp + 30


def test_a_denial_outlasts_the_longest_token_that_was_seen(denied: MemoryDenyList) -> None:
    """Tokens at aal1 may live for five minutes, while another session of the user has one for a day."""
    day = checked_claims(exp=int(START_S) + 86_400)
    assert denied.admits(day, denied.mark())
    short = checked_claims(exp=int(START_S) + 300)

    assert denied.longest_s == 86_400
    assert last_end_s(short, now_s=START_S, longest_s=denied.longest_s) >= day.exp
    assert denied.admits(checked_claims(exp=int(START_S) + 10**9), denied.mark())
    assert denied.longest_s == LONGEST_LIFETIME_S


def test_ended_denials_are_dropped(denied: MemoryDenyList, clock: HandClock) -> None:
    denied.deny(denials_of(OURS, "global", now_s=START_S))
    clock.advance(3600 + 31)

    assert denied.current() == []
    assert not denied.denies(OURS)


def test_a_later_logout_is_not_undone_by_an_earlier_one(denied: MemoryDenyList) -> None:
    """News may arrive in any order."""
    [others] = denials_of(OURS, "others", now_s=START_S - 100)
    [_, everything] = denials_of(OURS, "global", now_s=START_S)

    denied.deny([everything, others])

    assert denied.denies(OTHER)
    assert denied.denies(OURS)


def test_a_logout_of_a_dead_session_does_not_lift_its_denial(denied: MemoryDenyList) -> None:
    """The dead session spares itself, later than it was ended."""
    denied.deny(denials_of(OURS, "global", now_s=START_S))

    denied.deny(denials_of(OTHER, "others", now_s=START_S + 1))

    assert denied.denies(OTHER)


def test_a_merged_denial_ends_with_the_longer_one() -> None:
    short, long = (Denial(subject="session:x", until_s=START_S + seconds) for seconds in (10, 20))

    assert short.merged(long).until_s == long.merged(short).until_s == START_S + 20


def test_a_merged_denial_lasts_in_the_list(denied: MemoryDenyList, clock: HandClock) -> None:
    subject = f"session:{HERE}"
    denied.deny([Denial(subject=subject, until_s=START_S + 100)])
    denied.deny([Denial(subject=subject, until_s=START_S + 10)])

    clock.advance(61)
    denied.deny([])

    assert denied.denies(OURS)


def named_apart(some: tuple[Cutoff, ...], others: tuple[Cutoff, ...]) -> tuple[Cutoff, ...]:
    """Return those of *others* with a new name: two cutoffs with one name would be copies of one logout."""
    return tuple(other for other in others if other.name not in {one.name for one in some})


@given(MANY_CUTOFFS, MANY_CUTOFFS)
def test_merged_cutoffs_refuse_whatever_one_of_them_refuses(
    some: tuple[Cutoff, ...], others: tuple[Cutoff, ...]
) -> None:
    others = named_apart(some, others)
    merged = merge_cutoffs(some, others)

    assert len(merged) <= MAX_CUTOFFS
    for token in TOKENS:
        if any(cutoff.covers(token) for cutoff in (*some, *others)):
            assert any(cutoff.covers(token) for cutoff in merged)


@given(st.lists(CUTOFFS, min_size=1, max_size=3, unique_by=lambda cutoff: cutoff.name).map(tuple), MANY_CUTOFFS)
def test_merged_cutoffs_refuse_nothing_else_unless_they_are_many(
    some: tuple[Cutoff, ...], others: tuple[Cutoff, ...]
) -> None:
    others = named_apart(some, others)[: MAX_CUTOFFS - 3]
    merged = merge_cutoffs(some, others)

    for token in TOKENS:
        assert any(cutoff.covers(token) for cutoff in merged) == any(
            cutoff.covers(token) for cutoff in (*some, *others)
        )


@given(MANY_CUTOFFS, MANY_CUTOFFS)
def test_the_order_of_denials_does_not_matter(some: tuple[Cutoff, ...], others: tuple[Cutoff, ...]) -> None:
    merged = merge_cutoffs(some, others)

    assert merge_cutoffs(others, some) == merged
    assert merge_cutoffs(merged, merged) == merged


def test_a_late_copy_of_a_replaced_cutoff_does_not_end_later_sessions() -> None:
    """Both logouts in one second. The copy does not know the session that began after the second one."""
    first, second = Cutoff(name="first", at_s=1, exempt=("a",)), Cutoff(name="second", at_s=1)
    [known] = merge_cutoffs([first], [second])
    [known] = merge_cutoffs([known.exempting(["c"])], [first])

    assert known.name == "second"
    assert not known.covers(checked_claims(session_id="c", issued_at=1))
    assert known.covers(checked_claims(session_id="a", issued_at=1))


def test_sessions_exempt_from_one_cutoff_are_bounded() -> None:
    cutoff = Cutoff(name="one", at_s=1)

    for number in range(3 * MAX_EXEMPT):
        cutoff = cutoff.exempting([f"session {number:03}"])

    assert len(cutoff.exempt) == MAX_EXEMPT


def test_when_it_is_full_the_denials_that_end_first_go(clock: HandClock) -> None:
    denied = MemoryDenyList(size=100, now=clock)

    denied.deny(Denial(subject=f"session:{number}", until_s=START_S + number + 1) for number in range(1000))

    kept = {denial.subject for denial in denied.current()}
    assert len(kept) <= 100
    assert "session:999" in kept
    assert "session:0" not in kept


def test_ended_denials_go_while_others_come(denied: MemoryDenyList, clock: HandClock) -> None:
    """The list stays small without being asked."""
    denied.deny([Denial(subject=f"user:{USER_ID}", until_s=START_S + 10)])
    clock.advance(61)

    denied.deny([Denial(subject="session:new", until_s=START_S + 100)])

    assert list(denied._entries) == ["session:new"]


def step_up(claims: Claims, at_s: float = START_S) -> Denial:
    return end_of_lower_sessions(claims, at_s=at_s, until_s=START_S + 3600)


def of(session_id: str, aal: str, issued_ago_s: int = 60, **changes: Any) -> Claims:
    return checked_claims(session_id=session_id, aal=aal, issued_at=int(START_S) - issued_ago_s, **changes)


def test_a_step_up_ends_the_lower_sessions_of_its_user(denied: MemoryDenyList) -> None:
    denied.deny([step_up(of(HERE, "aal1"))])

    assert denied.denies(of(ELSEWHERE, "aal1"))
    assert denied.denies(of(ELSEWHERE, "aal1", 0))
    # The session that stepped up, with its old token and with the new one.
    assert not denied.denies(of(HERE, "aal1"))
    assert not denied.denies(of(HERE, "aal2"))
    # A device that stepped up before; a token that does not say; a later login; another user.
    assert not denied.denies(of(ELSEWHERE, "aal2"))
    assert not denied.denies(of(ELSEWHERE, ""))
    assert not denied.denies(of(ELSEWHERE, "aal1", -1))
    assert not denied.denies(of(ELSEWHERE, "aal1", sub=SOMEBODY))


def test_a_login_right_after_a_step_up_is_good(denied: MemoryDenyList) -> None:
    denied.deny([step_up(of(HERE, "aal1"))])
    new = of(ELSEWHERE, "aal1", 0)

    assert denied.admits(new, denied.mark())

    assert not denied.denies(new)
    assert denied.denies(of(SOMEBODY, "aal1", 0))


def test_a_logout_and_a_step_up_do_not_weaken_each_other(denied: MemoryDenyList) -> None:
    denied.deny([step_up(of(HERE, "aal1"))])
    denied.deny([end_of_user(of(ELSEWHERE, "aal2"), "others", at_s=START_S, until_s=START_S + 3600)])

    assert denied.denies(of(HERE, "aal2"))
    assert denied.denies(of(SOMEBODY, "aal1"))
    assert not denied.denies(of(ELSEWHERE, "aal2"))
    # Spared by the logout, ended by the step-up.
    assert denied.denies(of(ELSEWHERE, "aal1"))
    assert len(denied.exempt(of(SOMEBODY, "aal1", 0), denied.mark())) == 2


def test_two_step_ups_spare_neither_s_lower_tokens(denied: MemoryDenyList) -> None:
    """The first session is at aal2 now. Only its token from before is refused."""
    denied.deny([step_up(of(HERE, "aal1"))])
    denied.deny([step_up(of(ELSEWHERE, "aal1"), START_S + 5)])

    assert denied.denies(of(HERE, "aal1"))
    assert not denied.denies(of(HERE, "aal2"))
    assert not denied.denies(of(ELSEWHERE, "aal2", -3))
