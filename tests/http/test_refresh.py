"""Refresh through both lanes, with Supabase faked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client

from tests.asserts import assert_problem
from tests.conftest import LogLines, MakeClient
from tests.fixtures.tokens import USER_ID, SigningKey, claims_at, document
from tests.upstream_double import PROJECT, SESSION, TOKEN, session

REFRESH = "/api/v1/auth/refresh"
LOGOUT = "/api/v1/auth/logout"
KEY = SigningKey("key-1")
OTHER_SESSION = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        yield mock


def token(*, age_s: int = 60, **changes: Any) -> str:
    return KEY.token(claims_at(int(time.time()) - age_s, **{"iss": f"{PROJECT}/auth/v1", **changes}))


def session_of(access_token: str) -> dict[str, Any]:
    return session(access_token=access_token, user={**SESSION["user"], "id": USER_ID})


def test_a_refresh_answers_like_a_login(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.post(TOKEN, json={key: value for key, value in session().items() if key != "weak_password"})

    response = client.post(REFRESH, json={"refresh_token": "abcdefghijkl"})

    assert response.status_code == 200
    assert response.get_json().keys() == {
        "access_token",
        "token_type",
        "expires_in",
        "expires_at",
        "refresh_token",
        "user",
        "weak_password",
    }
    assert response.headers["Cache-Control"] == "no-store"
    request = supabase.calls[0].request
    assert str(request.url).endswith("grant_type=refresh_token")
    assert "Authorization" not in request.headers


def test_a_refresh_that_follows_within_ten_seconds_gets_the_same_answer(
    client: Client, supabase: responses.RequestsMock, logs: LogLines
) -> None:
    """Two tabs refresh at once; Supabase takes a second use for theft."""
    supabase.post(TOKEN, json=session())

    answers = {client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}).data for _ in range(3)}

    assert len(answers) == 1
    assert len(supabase.calls) == 1
    assert "abcdefghijkl" not in str(logs)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "refresh_token_not_found"),
        (400, "refresh_token_already_used"),
        (400, "session_expired"),
        (400, "session_not_found"),
        (400, "user_banned"),
        (400, "validation_failed"),
    ],
)
def test_a_session_that_is_over_is_401(
    client: Client, supabase: responses.RequestsMock, status: int, code: str
) -> None:
    supabase.post(TOKEN, json={"code": code}, status=status)

    assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), 401, "session_expired")


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ({"body": "<html>", "status": 502}, 503, "upstream_unavailable"),
        ({"json": {"code": "unexpected_failure"}, "status": 500}, 503, "upstream_error"),
        ({"json": {"code": "conflict"}, "status": 409}, 503, "upstream_error"),
        # supabase-js ends the session on a 429 of the refresh.
        ({"json": {"code": "over_request_rate_limit"}, "status": 429}, 503, "busy"),
        ({"json": {"message": "Invalid API key"}, "status": 401}, 503, "upstream_misconfigured"),
        ({"body": ConnectionResetError()}, 503, "upstream_unavailable"),
    ],
)
def test_supabase_s_troubles_do_not_end_a_session(
    client: Client, supabase: responses.RequestsMock, answer: dict[str, Any], status: int, code: str
) -> None:
    """A frontend that reads 401 here would log its user out."""
    supabase.post(TOKEN, **answer)

    assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), status, code)


@pytest.mark.parametrize("body", [{}, {"refresh_token": 7}, {"refresh_token": ""}, {"refresh_token": "ä" * 12}])
def test_what_is_no_refresh_token_is_told_so(client: Client, body: dict[str, Any]) -> None:
    assert_problem(client.post(REFRESH, json=body), 422, "invalid_request")


@pytest.mark.parametrize("code", ["unknown", "hook_denied", "user_banned"])
def test_a_refusal_that_may_not_last_is_not_remembered(
    client: Client, supabase: responses.RequestsMock, code: str
) -> None:
    """A hook refused, or the user was banned: the very next try may succeed."""
    supabase.post(TOKEN, json={"code": code}, status=403)
    assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), 401, "session_expired")
    supabase.replace("POST", TOKEN, json=session())

    assert client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}).status_code == 200


@pytest.mark.parametrize("code", ["refresh_token_not_found", "refresh_token_already_used", "session_not_found"])
def test_a_final_refusal_is_remembered(client: Client, supabase: responses.RequestsMock, code: str) -> None:
    supabase.post(TOKEN, json={"code": code}, status=400)

    for _ in range(3):
        assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), 401, "session_expired")

    assert len(supabase.calls) == 1


def test_a_session_that_was_ended_here_is_not_handed_out(client: Client, supabase: responses.RequestsMock) -> None:
    """Supabase did not hear of the logout, so it still refreshes the session. ``verify`` would refuse every token."""
    supabase.post(f"{PROJECT}/auth/v1/logout?scope=local", body="<html>", status=502)
    supabase.post(TOKEN, json=session_of(token(age_s=0)))
    client.post(f"{LOGOUT}?scope=local", headers={"Authorization": f"Bearer {token()}"})

    refused = client.post(REFRESH, json={"refresh_token": "abcdefghijkl"})

    assert_problem(refused, 401, "session_expired")
    assert "upstream" not in refused.headers["Server-Timing"]


def test_an_answer_that_is_given_again_is_looked_at_again(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.post(f"{PROJECT}/auth/v1/logout?scope=global", status=204)
    mine = token(age_s=1)
    supabase.post(TOKEN, json=session_of(mine))
    assert client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}).status_code == 200

    other = token(session_id=OTHER_SESSION)
    assert client.post(f"{LOGOUT}?scope=global", headers={"Authorization": f"Bearer {other}"}).status_code == 200

    assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), 401, "session_expired")


@pytest.mark.parametrize(("code", "is_told"), [("session_not_found", False), ("bad_jwt", True)])
def test_only_a_denied_session_that_lives_on_is_logged(
    client: Client, supabase: responses.RequestsMock, logs: LogLines, code: str, *, is_told: bool
) -> None:
    supabase.post(f"{PROJECT}/auth/v1/logout?scope=local", json={"code": code}, status=403)
    supabase.post(TOKEN, json=session_of(token(age_s=0)))
    client.post(f"{LOGOUT}?scope=local", headers={"Authorization": f"Bearer {token()}"})

    assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), 401, "session_expired")

    assert ("lives on" in str(logs)) is is_told


def test_ending_a_denied_session_at_supabase_is_bounded_for_each_network(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    """An answer that is given again costs no refresh, but a logout each time."""
    client = make_client(AUTH_SESSION_CALLS_PER_S="0.1")
    upstream = supabase.post(f"{PROJECT}/auth/v1/logout?scope=local", status=204)
    supabase.post(TOKEN, json=session_of(token(age_s=0)))
    client.post(f"{LOGOUT}?scope=local", headers={"Authorization": f"Bearer {token()}"})

    for _ in range(8):
        assert_problem(client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}), 401, "session_expired")

    assert upstream.call_count == 3


def test_a_full_quota_is_busy(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    """supabase-js ends the session on a 429 of the refresh, and keeps it on a 503."""
    client = make_client(AUTH_UPSTREAM_QUOTA="on", UPSTREAM_QUOTA_BURST="1", UPSTREAM_QUOTA_REFILL_S="40")
    supabase.post(TOKEN, json=session())
    assert client.post(REFRESH, json={"refresh_token": "abcdefghijkl"}).status_code == 200

    full = client.post(REFRESH, json={"refresh_token": "bcdefghijklm"})

    assert_problem(full, 503, "busy")
    assert 30 < int(full.headers["Retry-After"]) <= 40


def test_supabase_s_own_limit_is_busy_for_as_long_as_it_says(
    client: Client, supabase: responses.RequestsMock, logs: LogLines
) -> None:
    """The operator is told as of any other rate limit."""
    supabase.post(TOKEN, json={"code": "over_request_rate_limit"}, status=429, headers={"Retry-After": "17"})

    full = client.post(REFRESH, json={"refresh_token": "abcdefghijkl"})

    assert_problem(full, 503, "busy")
    assert full.headers["Retry-After"] == "17"
    assert "Supabase's rate limit was reached" in str(logs)
