"""A login that is answered 200 with a token that this service refuses: it finds out by itself, and says what to set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import responses
from werkzeug.test import Client

from tests.conftest import GOOD_LOGIN, LogLines, MakeClient
from tests.fixtures.tokens import SigningKey, claims_at, document, hmac_token
from tests.upstream_double import PROJECT, TOKEN, session
from velro_auth.app import Service

KEYS = f"{PROJECT}/auth/v1/.well-known/jwks.json"
KEY = SigningKey("key-1")
SECRET = "the-secret-of-the-project-32-bytes-long"
OTHER_SECRET = "another-secret-of-more-than-32-bytes"
ISSUER = f"{PROJECT}/auth/v1"


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(KEYS, body=document([KEY]))
        yield mock


def token(**changes: Any) -> str:
    """Return a token as the project signs it just now."""
    return KEY.token(claims_at(time.time(), **{"iss": ISSUER, **changes}))


def signed_with(secret: str) -> str:
    return hmac_token(claims_at(time.time(), iss=ISSUER), secret)


def hand_out(client: Client, supabase: responses.RequestsMock, access_token: str, *, path: str = "login") -> int:
    """Log in or refresh, let the watch look, and return the status of the answer."""
    supabase.upsert("POST", TOKEN, json=session(access_token=access_token))
    body = GOOD_LOGIN if path == "login" else {"refresh_token": "abcdefghijkl"}
    status = client.post(f"/api/v1/auth/{path}", json=body).status_code
    cast("Service", client.application)._parts.lasting.telemetry.jobs.run_once()
    return status


def verify(client: Client, access_token: str) -> int:
    return client.get("/api/v1/auth/verify", headers={"Authorization": f"Bearer {access_token}"}).status_code


def found(client: Client) -> dict[str, Any]:
    return dict(client.get("/health/ready").get_json()["checks"]["tokens"][0])


CAUSES: list[tuple[str, Callable[[], str], dict[str, str], str, str]] = [
    ("issuer", lambda: token(iss="https://auth.example/auth/v1"), {}, "AUTH_ISSUERS", "https://auth.example/auth/v1"),
    ("claim_missing", lambda: token(iss=None), {}, "access token hook", "missing: iss"),
    ("secret", lambda: signed_with(SECRET), {"SUPABASE_JWT_SECRET": OTHER_SECRET}, "SUPABASE_JWT_SECRET", ""),
    ("clock_slow", lambda: token(iat=int(time.time()) + 300), {}, "set the clock", "s in the future"),
]


@pytest.mark.parametrize(("cause", "make", "settings", "names", "detail"), CAUSES, ids=[cause for cause, *_ in CAUSES])
def test_logins_whose_tokens_are_refused_are_a_warning_that_names_the_setting(
    make_client: MakeClient,
    supabase: responses.RequestsMock,
    logs: LogLines,
    cause: str,
    make: Callable[[], str],
    settings: dict[str, str],
    names: str,
    detail: str,
) -> None:
    client, bad = make_client(**settings), make()

    assert hand_out(client, supabase, bad) == 200
    assert verify(client, bad) == 401

    told = found(client)
    assert told["status"] == "warn"
    assert names in told["output"]
    [line] = [vars(record) for record in logs.records if "cause" in vars(record)]
    assert (line["levelname"], line["cause"]) == ("ERROR", cause)
    assert names in line["advice"]
    assert detail in line["detail"]
    assert bad not in str(logs)


def test_logins_whose_tokens_are_accepted_are_no_trouble(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    client, good = make_client(SUPABASE_JWT_SECRET=SECRET), signed_with(SECRET)

    assert hand_out(client, supabase, good) == 200
    assert hand_out(client, supabase, token()) == 200

    assert verify(client, good) == 200
    assert found(client) == {"status": "pass", "output": ""}


def test_a_refresh_hands_out_a_token_too(client: Client, supabase: responses.RequestsMock) -> None:
    assert hand_out(client, supabase, token(iss=None), path="refresh") == 200

    assert found(client)["status"] == "warn"


def test_a_user_who_logged_out_at_once_is_no_trouble(client: Client, supabase: responses.RequestsMock) -> None:
    """The session is denied before the watch looks."""
    good = token()
    supabase.post(f"{PROJECT}/auth/v1/logout", status=204)
    supabase.upsert("POST", TOKEN, json=session(access_token=good))
    client.post("/api/v1/auth/login", json=GOOD_LOGIN)
    client.post("/api/v1/auth/logout?scope=local", headers={"Authorization": f"Bearer {good}"})
    assert verify(client, good) == 401

    cast("Service", client.application)._parts.lasting.telemetry.jobs.run_once()

    assert found(client)["status"] == "pass"


def test_the_alert_has_its_metric(client: Client, supabase: responses.RequestsMock) -> None:
    assert 'velro_auth_alert_level{alert="login_tokens"} 0.0' in client.get("/metrics").text
