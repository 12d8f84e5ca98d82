"""What proves that it is still the user who asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import ENVIRONMENT
from tests.fixtures.tokens import START_S, USER_ID, HandClock, checked_claims
from velro_auth.auth.denylist import Scope
from velro_auth.auth.freshness import FRESH_S, LEEWAY_S, Freshness, Proof, signed_in_s
from velro_auth.auth.models import Credentials, Session, User
from velro_auth.auth.tokens import Claims
from velro_auth.config.settings import Settings
from velro_auth.context import RequestContext
from velro_auth.errors import (
    CaptchaRequired,
    InvalidCredentials,
    ReauthenticationNeeded,
    SessionGone,
    Throttled,
    UpstreamUnavailable,
    VelroAuthError,
)
from velro_auth.guards import Guards
from velro_auth.wiring.guards import build_guards, open_guards

NOW_S = int(START_S)


class FakeIdentity:
    """Takes one password; what it was asked is kept."""

    def __init__(self) -> None:
        self.user_id = USER_ID
        self.fails: VelroAuthError | None = None
        self.asked: list[Any] = []

    def sign_in(self, credentials: Credentials, _: RequestContext) -> Session:
        self.asked.append(credentials)
        if credentials.password != "right":
            raise InvalidCredentials("wrong")
        if self.fails:
            raise self.fails
        return Session(
            access_token="checked",
            refresh_token="r",
            expires_in=1,
            expires_at=1,
            user=User(id=self.user_id, email=credentials.email),
        )

    def sign_out(self, access_token: str, scope: Scope, _: RequestContext) -> float | None:
        self.asked.append((access_token, scope))
        if self.fails:
            raise self.fails
        return None

    def refresh(self, _: str, __: RequestContext) -> Session:
        raise NotImplementedError

    def check(self, _: str, __: RequestContext, *, deadline_s: float | None = None) -> None:
        raise NotImplementedError


def claims(amr: Any = None, **changes: Any) -> Claims:
    return checked_claims(**{"email": "ada@example.com", "raw": {"amr": amr}, **changes})


def context() -> RequestContext:
    return RequestContext(request_id="x", address="203.0.113.7", arrived_s=0.0)


@pytest.fixture
def identity() -> FakeIdentity:
    return FakeIdentity()


@pytest.fixture
def guards() -> Guards:
    settings = Settings.from_environment(ENVIRONMENT)
    return build_guards(settings, open_guards(settings))


@pytest.fixture
def freshness(identity: FakeIdentity, guards: Guards) -> Freshness:
    return Freshness(identity=identity, guards=guards, now=HandClock())


@pytest.mark.parametrize(
    ("amr", "at_s"),
    [
        ([{"method": "password", "timestamp": 5}], 5),
        ([{"method": "totp", "timestamp": 7}, {"method": "password", "timestamp": 5}], 7),
        ([{"method": "password", "timestamp": 5}, {"method": "totp", "timestamp": 7}], 7),
        # A refresh happens without the user.
        ([{"method": "token_refresh", "timestamp": 9}, {"method": "password", "timestamp": 5}], 5),
        # A token hook may write anything.
        (["password"], None),
        ([{"method": "password"}], None),
        ([{"method": "password", "timestamp": "9"}], None),
        ([{"method": "password", "timestamp": True}], None),
        ("password", None),
        (None, None),
        ([], None),
    ],
)
def test_the_newest_entry_of_amr_says_when_the_user_signed_in(amr: Any, at_s: int | None) -> None:
    assert signed_in_s(claims(amr)) == at_s


@pytest.mark.parametrize(
    ("ago_s", "is_fresh"),
    [(0, True), (FRESH_S - 1, True), (FRESH_S, False), (-LEEWAY_S, True), (-LEEWAY_S - 1, False)],
)
def test_a_sign_in_is_fresh_for_ten_minutes(freshness: Freshness, ago_s: float, is_fresh: bool) -> None:
    assert freshness.is_fresh(claims([{"method": "otp", "timestamp": START_S - ago_s}])) is is_fresh


def test_a_new_token_of_an_old_session_is_not_fresh(freshness: Freshness, identity: FakeIdentity) -> None:
    """``iat`` is renewed by every refresh."""
    stale = claims([{"method": "password", "timestamp": NOW_S - 3600}], issued_at=NOW_S)

    with pytest.raises(ReauthenticationNeeded):
        freshness.demand(stale, Proof(), context())
    assert identity.asked == []


def test_the_right_password_proves_it_and_its_session_is_ended(freshness: Freshness, identity: FakeIdentity) -> None:
    freshness.demand(claims(), Proof("right", "captcha"), context())

    assert identity.asked == [Credentials("ada@example.com", "right", "captcha"), ("checked", "local")]


@pytest.mark.parametrize("amr", [None, [{"method": "password", "timestamp": NOW_S}]])
def test_a_wrong_password_is_refused_and_counted_even_in_a_fresh_session(freshness: Freshness, amr: Any) -> None:
    """Otherwise a stolen fresh token would allow any number of guesses."""
    for _ in range(5):
        with pytest.raises(ReauthenticationNeeded):
            freshness.demand(claims(amr), Proof("wrong"), context())

    with pytest.raises(Throttled):
        freshness.demand(claims(amr), Proof("right"), context())


def test_a_login_of_the_account_is_throttled_by_the_same_count(freshness: Freshness, guards: Guards) -> None:
    for _ in range(5):
        with pytest.raises(ReauthenticationNeeded):
            freshness.demand(claims(), Proof("wrong"), context())

    with pytest.raises(Throttled), guards.throttle.attempt("ADA@example.com", "203.0.113.7"):
        pytest.fail("counted apart")


def test_the_password_of_another_user_proves_nothing(freshness: Freshness, identity: FakeIdentity) -> None:
    """The address in the token may have been given to somebody else since."""
    identity.user_id = "another"

    with pytest.raises(ReauthenticationNeeded):
        freshness.demand(claims(), Proof("right"), context())
    assert identity.asked[-1] == ("checked", "local")


def test_without_an_address_no_password_is_checked(freshness: Freshness, identity: FakeIdentity) -> None:
    with pytest.raises(ReauthenticationNeeded):
        freshness.demand(claims(email=None), Proof("right"), context())
    assert identity.asked == []


@pytest.mark.parametrize("error", [UpstreamUnavailable("away"), CaptchaRequired("solve it")])
def test_what_is_no_refusal_stays_what_it_is(
    freshness: Freshness, identity: FakeIdentity, error: VelroAuthError
) -> None:
    identity.fails = error

    with pytest.raises(type(error)):
        freshness.demand(claims(), Proof("right"), context())


@pytest.mark.parametrize("make", [lambda: UpstreamUnavailable("away"), lambda: SessionGone("gone")])
def test_a_session_that_cannot_be_ended_undoes_no_proof(
    freshness: Freshness, identity: FakeIdentity, make: Callable[[], VelroAuthError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise make()

    monkeypatch.setattr(identity, "sign_out", fail)

    freshness.demand(claims(), Proof("right"), context())


def test_a_proof_shows_none_of_its_secrets() -> None:
    assert "secret" not in repr(Proof("secret1", "secret2", "secret3"))
