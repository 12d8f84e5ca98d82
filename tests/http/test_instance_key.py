"""Where only a publishable key is set, no secret is made from it: it is in every frontend."""

from __future__ import annotations

import hmac
import time
from typing import Any

import pytest
import responses

from tests.account_double import KEY, AccountDouble
from tests.asserts import assert_problem
from tests.conftest import ENVIRONMENT, PUBLISHABLE_KEY, SECRET_KEY, MakeClient
from tests.fixtures.tokens import claims_at
from velro_auth.auth.sealing import Sealer, sealing_keys
from velro_auth.config.settings import Settings
from velro_auth.guards.challenges import challenge_secret
from velro_auth.guards.keys import Keyring, throttle_secret
from velro_auth.stores.client import SharedStore
from velro_auth.wiring import Parts, build
from velro_auth.wiring.sessions import _shared

SETTINGS = Settings.from_environment({**ENVIRONMENT, "SUPABASE_SECRET_KEY": ""})
PUBLIC = throttle_secret("", api_key=PUBLISHABLE_KEY)
EMAIL = "ada@example.com"


def settings_of(**changes: str) -> Settings:
    return Settings.from_environment({**ENVIRONMENT, "SUPABASE_SECRET_KEY": "", **changes})


def secrets_of(parts: Parts) -> tuple[Any, ...]:
    state, guards = parts.state, parts.guards
    return (
        state.sealing_keys(state.current.settings)[0],
        vars(state.guards.challenges)["_secret"],
        guards.throttle.name(EMAIL),
    )


def test_they_are_random_and_outlast_a_reload() -> None:
    parts = build(SETTINGS)
    first = secrets_of(parts)

    assert secrets_of(build(SETTINGS, parts.state)) == first
    for known, other in zip(first, secrets_of(build(SETTINGS)), strict=True):
        assert known != other
    public = (sealing_keys((), secret=PUBLISHABLE_KEY)[0], challenge_secret(PUBLIC), Keyring(PUBLIC).account(EMAIL))
    for known, guessed in zip(first, public, strict=True):
        assert known != guessed


def test_with_a_secret_key_all_replicas_have_the_same() -> None:
    settings = Settings.from_environment(ENVIRONMENT)

    assert secrets_of(build(settings)) == secrets_of(build(settings))
    assert build(settings).state.sealing_keys(settings) == sealing_keys((), secret=SECRET_KEY)


def test_chosen_secrets_are_used() -> None:
    settings = settings_of(AUTH_COOKIE_KEYS="k" * 40, AUTH_THROTTLE_SECRET="s" * 40)

    assert secrets_of(build(settings)) == (b"k" * 40, challenge_secret(b"s" * 40), Keyring(b"s" * 40).account(EMAIL))


def test_processes_that_share_a_redis_have_the_same_names_but_no_public_secret() -> None:
    settings = settings_of(REDIS_URL="redis://127.0.0.1:1")
    first, second = secrets_of(build(settings)), secrets_of(build(settings))

    assert first[2] == second[2] == Keyring(PUBLIC).account(EMAIL)
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize(
    ("changes", "secret"),
    [
        ({"AUTH_THROTTLE_SECRET": "s" * 40}, "s" * 40),
        ({"SUPABASE_SECRET_KEY": SECRET_KEY}, SECRET_KEY),
        ({}, "of the instance"),
    ],
)
def test_refreshes_in_redis_are_sealed_with_a_secret(changes: dict[str, str], secret: str) -> None:
    _, relay, _ = _shared(settings_of(REDIS_URL="redis://127.0.0.1:1", **changes), SharedStore(), "of the instance")

    assert vars(relay)["_secret"] == hmac.digest(secret.encode(), b"velro-auth relay", "sha256")


def test_nobody_makes_a_ticket_with_a_publishable_key(make_client: MakeClient) -> None:
    token = KEY.token(claims_at(time.time()))
    value = {"access_token": token, "refresh_token": "x", "expires_in": 100, "expires_at": int(time.time()) + 100}
    value |= {"aal": "aal1", "id": "u", "email": EMAIL, "factors": []}
    ticket = Sealer(sealing_keys((), secret=PUBLISHABLE_KEY), "ticket").seal(value, good_for_s=500)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        supabase = AccountDouble(mock)
        client = make_client(SUPABASE_SECRET_KEY="", AUTH_FAILURE_FLOOR_MS="0")

        answer = client.post("/api/v1/auth/password/reset", json={"ticket": ticket, "password": "a new password 1"})

        assert_problem(answer, 401, "link_invalid")
        assert supabase.paths() == []
