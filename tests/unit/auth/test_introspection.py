from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

import pytest

from tests.fixtures.denials import denials_of
from tests.fixtures.tokens import (
    SECRET,
    START_S,
    HandClock,
    HeldKeys,
    SigningKey,
    checked_claims,
    claims_at,
    hmac_token,
    rules,
)
from tests.waiting import eventually
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.introspection import AskLimits, RemoteIntrospector, TokenIntrospector
from velro_auth.auth.verifier import TokenVerifier, token_digest
from velro_auth.errors import (
    Busy,
    CircuitOpen,
    InvalidCredentials,
    TokenExpired,
    TokenInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
    VelroAuthError,
)

ONE = SigningKey("one")
PROVEN = ONE.token(claims_at())
#: Cannot be verified here: no secret is set.
UNPROVEN = hmac_token(claims_at(), SECRET)


class Supabase:
    """Answers questions about tokens, or fails to."""

    def __init__(self) -> None:
        self.error: VelroAuthError | None = None
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def user(self, token: str) -> dict[str, str]:
        self.asked.append(token)
        assert self.open.wait(10)
        if self.error is not None:
            raise self.error
        return {"id": "somebody"}


class Lab:
    """A token introspector with its parts."""

    def __init__(self, limits: AskLimits | None = None) -> None:
        self.clock = HandClock()
        self.supabase = Supabase()
        self.denied = MemoryDenyList(now=self.clock)
        self._verifier = TokenVerifier(
            keys=HeldKeys(ONE), rules=rules(self.clock), denied=self.denied, clock=self.clock
        )
        self.use(RemoteIntrospector(limits=limits, clock=self.clock, now=self.clock))

    def use(self, remote: RemoteIntrospector) -> None:
        self.remote = remote
        self._introspector = TokenIntrospector(verifier=self._verifier, remote=remote)

    def result(self, token: str, *, strict: bool = False) -> tuple[str, bool]:
        result = self._introspector.introspect(token, partial(self.supabase.user, token), strict=strict)
        assert result.claims.sub
        return result.source, result.degraded


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_a_token_that_is_good_here_needs_nobody_else(lab: Lab) -> None:
    assert lab.result(PROVEN) == ("local", False)
    assert lab.supabase.asked == []


def test_a_token_that_cannot_be_judged_here_is_judged_by_supabase(lab: Lab) -> None:
    assert lab.result(UNPROVEN) == ("remote", False)

    lab.supabase.error = TokenInvalid("bad_jwt")
    with pytest.raises(TokenInvalid, match="bad_jwt"):
        lab.result(hmac_token(claims_at(nonce=1), SECRET))


@pytest.mark.parametrize("error", [UpstreamUnavailable("down"), UpstreamThrottled("slow down"), CircuitOpen("resting")])
def test_what_nobody_can_judge_is_neither_good_nor_invalid(lab: Lab, error: VelroAuthError) -> None:
    lab.supabase.error = error

    for strict in (False, True):
        with pytest.raises(type(error)):
            lab.result(UNPROVEN, strict=strict)


def test_strict_asks_supabase_about_good_tokens_too(lab: Lab) -> None:
    assert lab.result(PROVEN, strict=True) == ("remote", False)

    lab.supabase.error = TokenInvalid("session_not_found")
    with pytest.raises(TokenInvalid, match="session_not_found"):
        lab.result(ONE.token(claims_at(nonce=1)), strict=True)


@pytest.mark.parametrize("error", [UpstreamUnavailable("down"), UpstreamThrottled("slow down"), CircuitOpen("resting")])
def test_strict_without_supabase_is_degraded_and_says_so(lab: Lab, error: VelroAuthError) -> None:
    lab.supabase.error = error

    assert lab.result(PROVEN, strict=True) == ("local", True)


def test_strict_never_asks_about_a_token_that_is_bad_here(lab: Lab) -> None:
    for token, error in (
        (SigningKey("one").token(claims_at()), TokenInvalid),
        (ONE.token(claims_at(START_S - 7200)), TokenExpired),
        (hmac_token(claims_at(aud="other"), SECRET), TokenInvalid),
    ):
        with pytest.raises(error):
            lab.result(token, strict=True)
    assert lab.supabase.asked == []


def test_good_is_believed_for_a_minute(lab: Lab) -> None:
    lab.result(UNPROVEN)
    lab.clock.advance(59)
    lab.result(UNPROVEN)
    assert len(lab.supabase.asked) == 1

    lab.clock.advance(2)
    lab.result(UNPROVEN)

    assert len(lab.supabase.asked) == 2


def test_good_is_never_believed_beyond_the_tokens_end(lab: Lab) -> None:
    token = hmac_token(claims_at(exp=int(START_S) + 2), SECRET)
    lab.result(token)
    lab.supabase.error = TokenInvalid("expired")

    lab.clock.advance(3)

    with pytest.raises(TokenInvalid):
        lab.result(token)


def test_refused_is_believed_for_ten_seconds(lab: Lab) -> None:
    lab.supabase.error = TokenInvalid("bad_jwt")
    for _ in range(3):
        with pytest.raises(TokenInvalid):
            lab.result(UNPROVEN)
    assert len(lab.supabase.asked) == 1
    lab.supabase.error = None

    lab.clock.advance(11)

    assert lab.result(UNPROVEN) == ("remote", False)


def test_no_verdict_is_not_remembered(lab: Lab) -> None:
    lab.supabase.error = UpstreamUnavailable("down")
    with pytest.raises(UpstreamUnavailable):
        lab.result(UNPROVEN)

    lab.supabase.error = None

    assert lab.result(UNPROVEN) == ("remote", False)


def test_any_refusal_of_supabase_is_about_the_token(lab: Lab) -> None:
    """A request about a token must not get an error about credentials."""
    lab.supabase.error = InvalidCredentials("user_banned")

    with pytest.raises(TokenInvalid, match="user_banned"):
        lab.result(PROVEN, strict=True)


def test_an_ended_session_is_refused_whatever_supabase_said(lab: Lab) -> None:
    lab.result(UNPROVEN)
    lab.result(PROVEN, strict=True)
    claims = rules(lab.clock).check(claims_at())

    lab.denied.deny(denials_of(claims, "local", now_s=START_S))

    for token in (UNPROVEN, PROVEN):
        with pytest.raises(TokenInvalid, match="session was ended"):
            lab.result(token, strict=True)


def test_parallel_questions_about_one_token_are_one(lab: Lab) -> None:
    lab.supabase.open.clear()
    verdicts: list[tuple[str, bool]] = []
    threads = [threading.Thread(target=lambda: verdicts.append(lab.result(UNPROVEN))) for _ in range(12)]

    for thread in threads:
        thread.start()
    time.sleep(0.05)
    lab.supabase.open.set()
    for thread in threads:
        thread.join(5)

    assert verdicts == [("remote", False)] * 12
    assert len(lab.supabase.asked) == 1


def test_made_up_tokens_cannot_make_us_flood_supabase() -> None:
    """Ten thousand in ten seconds: the burst, then twenty a second."""
    lab = Lab(AskLimits(unproven_per_s=20, unproven_burst=100))
    lab.supabase.error = TokenInvalid("bad_jwt")
    refused = 0

    for number in range(10_000):
        lab.clock.advance(0.001)
        try:
            lab.result(hmac_token(claims_at(nonce=number), "guess"))
        except Busy:
            refused += 1
        except TokenInvalid:
            pass

    assert 290 <= len(lab.supabase.asked) <= 301
    assert refused == 10_000 - len(lab.supabase.asked)


def test_the_burst_is_exact() -> None:
    lab = Lab(AskLimits(unproven_per_s=20, unproven_burst=7))

    for number in range(7):
        lab.result(hmac_token(claims_at(nonce=number), SECRET))

    with pytest.raises(Busy):
        lab.result(hmac_token(claims_at(nonce="one more"), SECRET))


def test_made_up_tokens_cannot_take_the_place_of_proven_ones() -> None:
    """Otherwise a banned user could use all permits and get "degraded": good."""
    lab = Lab(AskLimits(in_flight=2, queue_s=0.02))
    lab.supabase.open.clear()
    strangers = [
        threading.Thread(target=lab.result, args=(hmac_token(claims_at(nonce=number), SECRET),)) for number in range(2)
    ]
    for stranger in strangers:
        stranger.start()
    eventually(lambda: len(lab.supabase.asked) == 2)

    with pytest.raises(Busy):
        lab.result(UNPROVEN)
    proven = threading.Thread(target=lab.result, args=(PROVEN,), kwargs={"strict": True})
    proven.start()
    eventually(lambda: PROVEN in lab.supabase.asked)

    lab.supabase.open.set()
    for thread in (*strangers, proven):
        thread.join(5)


def test_answers_are_bounded_and_hold_no_token() -> None:
    lab = Lab(replace(AskLimits(), cache_size=3))
    tokens = [hmac_token(claims_at(nonce=number), SECRET) for number in range(10)]

    for token in tokens:
        lab.result(token)

    assert set(lab.remote.state.answers) == {token_digest(token) for token in tokens[-3:]}


def test_a_remembered_refusal_holds_nothing_of_its_request() -> None:
    """As an exception it would hold a traceback, with the token and the header fields of the request."""
    lab = Lab()
    lab.supabase.error = InvalidCredentials("refused")
    question = partial(lab.supabase.user, UNPROVEN)
    kept = weakref.ref(question)
    with pytest.raises(TokenInvalid, match="refused"):
        lab.remote.check(UNPROVEN, checked_claims(), question, is_proven=False)

    del question
    lab.supabase.error = None
    gc.collect()

    assert len(lab.remote.state.answers) == 1
    assert kept() is None


def test_what_is_believed_for_a_shorter_time_is_asked_again(lab: Lab) -> None:
    lab.result(UNPROVEN)

    lab.use(RemoteIntrospector(limits=AskLimits(good_for_s=5), clock=lab.clock, now=lab.clock, state=lab.remote.state))

    lab.result(UNPROVEN)
    lab.clock.advance(6)
    lab.result(UNPROVEN)
    assert len(lab.supabase.asked) == 3


def test_who_waits_for_an_unproven_token_takes_a_permit_and_who_knows_the_answer_does_not() -> None:
    """Permits are threads: those that ask, and those that wait for the same answer."""
    taken: list[str] = []

    @contextmanager
    def permit() -> Iterator[None]:
        taken.append("in")
        yield
        taken.append("out")

    clock, supabase = HandClock(), Supabase()
    remote = RemoteIntrospector(permit=permit, clock=clock, now=clock)
    for _ in range(5):
        remote.check(UNPROVEN, checked_claims(), partial(supabase.user, UNPROVEN), is_proven=False)

    assert taken == ["in", "out"]
    assert len(supabase.asked) == 1


def test_only_what_can_be_judged_without_an_answer_is_asked_about_in_a_hurry(lab: Lab) -> None:
    verifier = TokenVerifier(keys=HeldKeys(ONE), rules=rules(lab.clock), clock=lab.clock)
    introspector = TokenIntrospector(verifier=verifier, remote=RemoteIntrospector(clock=lab.clock, now=lab.clock))
    asked: list[str] = []

    for token in (PROVEN, UNPROVEN):
        introspector.introspect(
            token, lambda: asked.append("patiently"), strict=True, strict_ask=lambda: asked.append("in a hurry")
        )

    assert asked == ["in a hurry", "patiently"]


def test_strict_checks_need_no_permit(lab: Lab) -> None:
    """Otherwise many parallel requests would weaken strict checks: without an answer a proven token is good."""
    verifier = TokenVerifier(keys=HeldKeys(ONE), rules=rules(lab.clock), clock=lab.clock)
    introspector = TokenIntrospector(
        verifier=verifier, remote=RemoteIntrospector(permit=_no_permit, clock=lab.clock, now=lab.clock)
    )

    result = introspector.introspect(PROVEN, partial(lab.supabase.user, PROVEN), strict=True)

    assert (result.source, result.degraded) == ("remote", False)
    with pytest.raises(Busy):
        introspector.introspect(UNPROVEN, partial(lab.supabase.user, UNPROVEN))
    assert lab.supabase.asked == [PROVEN]


def _no_permit() -> AbstractContextManager[None]:
    raise Busy
