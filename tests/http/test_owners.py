"""An answer about another user is nobody's, through both lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import LogLines
from tests.fixtures.tokens import USER_ID, SigningKey, claims_at, document
from tests.upstream_double import PROJECT, SESSION, UpstreamDouble, session, token

LOGIN = "/api/v1/auth/login"
REFRESH = "/api/v1/auth/refresh"
ME = "/api/v1/auth/me"
STRICT = "/api/v1/auth/verify?strict=1"
LOGOUT = "/api/v1/auth/logout"
KEY = SigningKey("key-1")
OTHER_ID = "00000000-0000-4000-8000-000000000001"

LogIn = Callable[..., TestResponse]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


def session_of(email: str | None, user_id: str = OTHER_ID, **changes: Any) -> dict[str, Any]:
    access_token = token(exp=int(time.time()) + 3600, sub=user_id)
    return session(access_token=access_token, user={**SESSION["user"], "id": user_id, "email": email}, **changes)


def errors(logs: LogLines) -> list[str]:
    return [record.getMessage() for record in logs.records if record.levelname == "ERROR"]


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        yield mock


@pytest.fixture
def bearer() -> dict[str, str]:
    mine = KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1"))
    return {"Authorization": f"Bearer {mine}"}


@pytest.mark.parametrize("email", ["mallory@example.com", "", None])
def test_a_login_is_never_answered_with_another_user_s_session(
    login: LogIn, upstream: UpstreamDouble, logs: LogLines, email: str | None
) -> None:
    upstream.answers(session_of(email))

    response = login()

    assert_problem(response, 503, "upstream_error")
    assert errors(logs) == ["Supabase's answer is about another user"]
    assert "mallory" not in str(logs)
    assert "ada@example.com" not in str(logs)


@pytest.mark.parametrize("asked", ["ada@example.com", "ADA@example.com", "Ada@EXAMPLE.com", " ada@example.com "])
def test_an_address_may_be_written_in_any_case(login: LogIn, asked: str) -> None:
    assert login(email=asked).status_code == 200


def test_a_session_with_another_user_s_token_is_nobody_s(login: LogIn, upstream: UpstreamDouble) -> None:
    upstream.answers(session(access_token=token(exp=int(time.time()) + 3600, sub=OTHER_ID)))

    assert_problem(login(), 503, "upstream_error")


def test_a_refresh_is_never_answered_with_another_user_s_session(
    client: Client, login: LogIn, upstream: UpstreamDouble
) -> None:
    """Known from the login that gave the refresh token, and from each refresh since."""
    upstream.answers(session_of("ada@example.com", USER_ID, refresh_token="first"))
    assert login().status_code == 200
    upstream.answers(session_of("ada@example.com", USER_ID, refresh_token="second"))
    assert client.post(REFRESH, json={"refresh_token": "first"}).status_code == 200
    upstream.answers(session_of("mallory@example.com"))

    assert_problem(client.post(REFRESH, json={"refresh_token": "second"}), 503, "upstream_error")


def test_a_refresh_of_an_unknown_token_is_believed(client: Client, upstream: UpstreamDouble) -> None:
    """Another process gave it out, or this one before it was restarted."""
    upstream.answers(session_of("mallory@example.com"))

    assert client.post(REFRESH, json={"refresh_token": "of another process"}).status_code == 200


@pytest.mark.parametrize(
    "rows", [[{"id": OTHER_ID, "display_name": "Mallory"}], [{"display_name": "Mallory"}], {"a": 1}]
)
def test_me_never_shows_another_user_s_row(
    client: Client, supabase: responses.RequestsMock, bearer: dict[str, str], logs: LogLines, rows: Any
) -> None:
    supabase.get(f"{PROJECT}/rest/v1/users", json=rows)

    body = client.get(ME, headers=bearer).get_json()

    assert (body["id"], body["display_name"]) == (USER_ID, None)
    assert errors(logs) == ["Supabase's answer is about another user"]


@pytest.mark.parametrize("answered", [{"id": OTHER_ID}, {"id": USER_ID}])
def test_a_strict_check_believes_an_answer_about_the_token_s_user_only(
    client: Client, supabase: responses.RequestsMock, bearer: dict[str, str], logs: LogLines, answered: dict[str, str]
) -> None:
    supabase.get(f"{PROJECT}/auth/v1/user", json=answered)

    response = client.get(STRICT, headers=bearer)

    is_about_another = answered["id"] != USER_ID
    assert response.status_code == 200
    # Verified here, because Supabase could not be asked.
    assert ("X-Auth-Mode" in response.headers) is is_about_another
    assert errors(logs) == ["Supabase's answer is about another user"] * is_about_another


def test_a_session_is_no_answer_to_a_logout(
    client: Client, supabase: responses.RequestsMock, bearer: dict[str, str]
) -> None:
    supabase.post(f"{PROJECT}/auth/v1/logout?scope=global", json=session())

    assert_problem(client.post(LOGOUT, headers=bearer), 503, "upstream_error")
