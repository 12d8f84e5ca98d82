"""Why issued tokens would be refused here: each cause with its name and fix."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.tokens import ISSUER, SECRET, HandClock, HeldKeys, SigningKey, claims_at, hmac_token
from velro_auth.auth import token_check
from velro_auth.auth.keys import secret_key
from velro_auth.auth.token_check import CAUSES, IssuedTokenCheck
from velro_auth.auth.tokens import MAX_TOKEN_BYTES, ClaimRules
from velro_auth.auth.verifier import TokenVerifier

KEY = SigningKey("key-1")
STRANGER = SigningKey("key-1")


def token_check_with(*, now_s: float = 0.0, secret: str = SECRET, issuer: str = ISSUER) -> IssuedTokenCheck:
    clock = HandClock()
    clock.advance(now_s)
    rules = ClaimRules(issuers=(issuer,), now=clock)
    return IssuedTokenCheck(TokenVerifier(keys=HeldKeys(KEY), rules=rules, secret=secret_key(secret)), rules)


def test_a_good_token_has_no_cause() -> None:
    assert token_check_with().refused(KEY.token(claims_at())) is None
    assert token_check_with().refused(hmac_token(claims_at(), SECRET)) is None


def test_a_token_that_supabase_has_to_judge_is_no_trouble() -> None:
    assert token_check_with().refused(KEY.token(claims_at(), kid="another")) is None


@pytest.mark.parametrize(
    ("changes", "cause", "names"),
    [
        ({"iss": "https://auth.example/auth/v1"}, token_check.ISSUER, "AUTH_ISSUERS"),
        ({"iss": None}, token_check.CLAIM_MISSING, "hook"),
        ({"aud": None}, token_check.CLAIM_MISSING, "hook"),
        ({"sub": None}, token_check.CLAIM_MISSING, "hook"),
        ({"session_id": None}, token_check.CLAIM_MISSING, "hook"),
        ({"exp": None}, token_check.CLAIM_MISSING, "hook"),
        ({"iss": ["a", "list"]}, token_check.ISSUER, "AUTH_ISSUERS"),
        ({"aud": "somebody"}, token_check.OTHER, "hook"),
        ({"role": "service_role"}, token_check.OTHER, "hook"),
        ({"app_metadata": {"large": "x" * MAX_TOKEN_BYTES}}, token_check.TOO_LARGE, str(MAX_TOKEN_BYTES)),
    ],
)
def test_claims_that_are_refused(changes: dict[str, Any], cause: token_check.Cause, names: str) -> None:
    found = token_check_with().refused(KEY.token(claims_at(**changes)))

    assert found is not None
    assert found.cause is cause
    assert names in found.cause.fix


def test_the_issuer_of_the_token_is_told() -> None:
    found = token_check_with(issuer="https://other.example/auth/v1").refused(KEY.token(claims_at()))

    assert found is not None
    assert found.detail == f"iss is '{ISSUER}'; accepted: https://other.example/auth/v1"


@pytest.mark.parametrize("off_s", [-300, -31])
def test_a_clock_that_is_slow(off_s: float) -> None:
    found = token_check_with(now_s=off_s).refused(KEY.token(claims_at()))

    assert found is not None
    assert found.cause is token_check.CLOCK_SLOW
    assert found.detail == f"issued {-off_s:.0f} s in the future"
    assert token_check_with(now_s=-30).refused(KEY.token(claims_at())) is None


def test_a_clock_that_is_fast() -> None:
    found = token_check_with(now_s=3700).refused(KEY.token(claims_at()))

    assert found is not None
    assert (found.cause, found.detail) == (token_check.CLOCK_FAST, "expired 100 s ago")


def test_a_secret_of_another_project() -> None:
    found = token_check_with(secret="another-secret-of-more-than-32-bytes").refused(hmac_token(claims_at(), SECRET))

    assert found is not None
    assert found.cause is token_check.SECRET
    assert "SUPABASE_JWT_SECRET" in found.cause.fix


def test_a_key_of_another_project() -> None:
    found = token_check_with().refused(STRANGER.token(claims_at()))

    assert found is not None
    assert found.cause is token_check.SIGNATURE
    assert "SUPABASE_URL" in found.cause.fix


@pytest.mark.parametrize("token", ["", "a.b", "ä.b.c", "not a token", "e30.e30.e30"])
def test_what_is_no_token_is_refused_and_never_repeated(token: str) -> None:
    found = token_check_with().refused(token)

    assert found is not None
    assert found.cause is token_check.OTHER
    assert token == "" or token not in found.detail


def test_causes_are_told_apart_by_their_sentences() -> None:
    causes = [cause for cause in CAUSES if cause is not None]

    assert len({cause.sentence for cause in causes}) == len({cause.name for cause in causes}) == len(causes)
