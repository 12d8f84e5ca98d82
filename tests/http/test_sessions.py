"""Refresh, logout, me and verify, through both lanes, with Supabase faked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, SECRET_KEY, LogLines, MakeClient
from tests.fixtures.tokens import SESSION_ID, USER_ID, SigningKey, claims_at, document, hmac_token
from tests.upstream_double import PROJECT, TOKEN, session
from velro_auth.guards import CHECKS_MIN_CALLS

LOGOUT = "/api/v1/auth/logout"
ME = "/api/v1/auth/me"
VERIFY = "/api/v1/auth/verify"
USER = f"{PROJECT}/auth/v1/user"
KEY = SigningKey("key-1")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        yield mock


def token(key: SigningKey = KEY, **changes: Any) -> str:
    return key.token(claims_at(time.time(), **{"iss": f"{PROJECT}/auth/v1", **changes}))


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def verify(client: Client, value: str | None = None, path: str = VERIFY, **options: Any) -> TestResponse:
    return client.open(path, headers=bearer(value) if value else {}, **options)


# Verify


def test_a_good_token_is_200_with_the_identity(client: Client, supabase: responses.RequestsMock) -> None:
    response = verify(client, token(user_role="editor", email="ada@exämple.com"))

    assert response.status_code == 200
    assert response.data == b""
    assert response.headers["X-Auth-User-Id"] == USER_ID
    assert response.headers["X-Auth-User-Email"] == "ada@ex%C3%A4mple.com"
    assert response.headers["X-Auth-User-Role"] == "editor"
    assert response.headers["X-Auth-Aal"] == "aal1"
    assert response.headers["X-Auth-Session-Id"] == SESSION_ID
    assert len(supabase.calls) == 1


@pytest.mark.parametrize("size", [8_362, 16_377])
def test_a_token_is_good_up_to_what_fits_into_the_header(
    client: Client, supabase: responses.RequestsMock, size: int
) -> None:
    """What a project puts into ``app_metadata`` is in each token."""
    plain = len(token(app_metadata={"teams": ""}))
    large = token(app_metadata={"teams": "x" * ((size - plain) * 3 // 4 - 2)})

    assert size - 8 < len(large) <= size
    assert verify(client, large).status_code == 200


def test_identity_headers_are_always_all_there(client: Client, supabase: responses.RequestsMock) -> None:
    """A proxy that copies only what it gets would let the client's own through."""
    response = verify(client, token(email=None, aal=None))

    for name in ("X-Auth-User-Email", "X-Auth-User-Role", "X-Auth-Aal"):
        assert response.headers[name] == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", ["", "/", "/a/b", "//a", "/../x", "/%2e%2e/y", "/a%2Fb"])
def test_any_method_and_any_path_below_is_answered(
    client: Client, supabase: responses.RequestsMock, method: str, path: str
) -> None:
    """Envoy appends the original path and keeps the method."""
    supported = {"method": method, "environ_overrides": {"RAW_URI": VERIFY + path}, "data": b"not looked at"}

    assert verify(client, token(), VERIFY + path, **supported).status_code == 200
    assert verify(client, None, VERIFY + path, **supported).status_code == 401


def test_what_only_begins_like_it_is_something_else(client: Client) -> None:
    assert_problem(client.get("/api/v1/auth/verifyx"), 404, "not_found")


def test_no_token_is_told_apart_from_a_bad_one(client: Client, supabase: responses.RequestsMock) -> None:
    missing, invalid = verify(client), verify(client, "abc")
    expired = verify(client, token(exp=int(time.time()) - 60, iat=int(time.time()) - 3660))

    assert_problem(missing, 401, "token_missing")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="velro-auth"'
    assert_problem(invalid, 401, "token_invalid")
    assert invalid.headers["WWW-Authenticate"] == 'Bearer realm="velro-auth", error="invalid_token"'
    assert_problem(expired, 401, "token_expired")


def test_a_token_is_never_taken_from_the_address(client: Client, supabase: responses.RequestsMock) -> None:
    assert_problem(client.get(f"{VERIFY}?access_token={token()}"), 400, "bad_parameter")
    assert_problem(client.get(f"{VERIFY}/a?access_token={token()}"), 401, "token_missing")


@pytest.mark.parametrize("key", [SECRET_KEY, "sb_publishable_canary0123456789"])
def test_an_api_key_is_no_user(client: Client, supabase: responses.RequestsMock, key: str) -> None:
    assert_problem(verify(client, key), 401, "token_invalid")


def test_an_unmet_requirement_is_answered_with_its_code(client: Client, supabase: responses.RequestsMock) -> None:
    assert_problem(verify(client, token(), VERIFY + "?role=admin"), 403, "forbidden")
    assert_problem(verify(client, token(), VERIFY + "?aal=aal2"), 403, "insufficient_aal")


def test_strict_asks_supabase_with_the_user_s_token(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.get(USER, json=session()["user"])
    mine = token()

    assert verify(client, mine, VERIFY + "?strict=1").status_code == 200
    assert verify(client, mine, VERIFY + "?strict=1").status_code == 200

    asked = [call.request for call in supabase.calls if call.request.url == USER]
    assert [request.headers["Authorization"] for request in asked] == [f"Bearer {mine}"]
    assert "X-Auth-Mode" not in verify(client, mine, VERIFY + "?strict=1").headers


def test_strict_refuses_whom_supabase_refuses(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.get(USER, json={"code": "user_banned"}, status=403)
    mine = token()

    assert_problem(verify(client, mine, VERIFY + "?strict=1"), 401, "token_invalid")
    assert verify(client, mine).status_code == 200


def test_strict_without_supabase_judges_here_and_says_so(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.get(USER, body="<html>", status=502)

    response = verify(client, token(), VERIFY + "?strict=1")

    assert response.status_code == 200
    assert response.headers["X-Auth-Mode"] == "degraded"


def test_a_supabase_that_fails_is_soon_left_alone_by_strict_questions(
    client: Client, supabase: responses.RequestsMock
) -> None:
    """Each question to a hanging one costs its asker the time limit, and the gateway in front waits no longer."""
    supabase.get(USER, body="<html>", status=502)

    answers = [verify(client, token(), VERIFY + "?strict=1") for _ in range(10)]

    assert [(answer.status_code, answer.headers["X-Auth-Mode"]) for answer in answers] == [(200, "degraded")] * 10
    assert len([call for call in supabase.calls if call.request.url == USER]) == CHECKS_MIN_CALLS
    assert "checks of tokens open" in client.get("/health/ready").get_json()["checks"]["breaker"][0]["output"]


def test_questions_about_tokens_that_fail_do_not_close_the_login(
    client: Client, supabase: responses.RequestsMock
) -> None:
    supabase.get(USER, body="<html>", status=502)
    supabase.post(TOKEN, json=session())
    for _ in range(30):
        verify(client, token(), VERIFY + "?strict=1")

    assert client.post("/api/v1/auth/login", json=GOOD_LOGIN).status_code == 200


def test_the_mode_makes_every_question_strict(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    supabase.get(USER, json={"code": "session_not_found"}, status=403)

    assert_problem(verify(make_client(AUTH_VERIFY_MODE="strict"), token()), 401, "token_invalid")


def test_a_token_that_cannot_be_judged_here_is_supabase_s_to_judge(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    """HS256 without a secret: never "invalid", never "valid" unproved."""
    mine = hmac_token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1"), "s" * 40, kid="hs")

    supabase.get(USER, json=session()["user"])
    assert verify(make_client(), mine).status_code == 200

    supabase.replace("GET", USER, json={"code": "bad_jwt"}, status=403)
    assert_problem(verify(make_client(), mine), 401, "token_invalid")

    supabase.replace("GET", USER, body="<html>", status=502)
    client = make_client()
    codes = [verify(client, mine).get_json()["code"] for _ in range(CHECKS_MIN_CALLS + 2)]
    assert codes == ["upstream_unavailable"] * CHECKS_MIN_CALLS + ["resting"] * 2


def test_with_the_secret_it_is_judged_here(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    client = make_client(SUPABASE_JWT_SECRET="s" * 40)
    claims = claims_at(time.time(), iss=f"{PROJECT}/auth/v1")

    assert verify(client, hmac_token(claims, "s" * 40, kid="hs")).status_code == 200
    assert_problem(verify(client, hmac_token(claims, "t" * 40, kid="hs")), 401, "token_invalid")
    assert not [call for call in supabase.calls if call.request.url == USER]


# Me


def test_me_is_what_the_token_says_and_the_profile_row(client: Client, supabase: responses.RequestsMock) -> None:
    row = {"id": USER_ID, "display_name": "Ada", "avatar_url": None, "credits_balance": 7}
    supabase.get(f"{PROJECT}/rest/v1/users", json=[row])
    mine = token(user_role="editor")

    response = client.get(ME, headers=bearer(mine))

    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    body = response.get_json()
    assert body["id"] == USER_ID
    assert (body["role"], body["aal"], body["session_id"]) == ("editor", "aal1", SESSION_ID)
    assert {name: body[name] for name in row} == row
    asked = supabase.calls[-1].request
    assert asked.headers["authorization"] == f"Bearer {mine}"


def test_me_without_a_profile_is_what_the_token_says(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.get(f"{PROJECT}/rest/v1/users", body="<html>", status=502)

    body = client.get(ME, headers=bearer(token())).get_json()

    assert (body["id"], body["display_name"], body["credits_balance"]) == (USER_ID, None, None)


def test_me_needs_a_good_token(client: Client, supabase: responses.RequestsMock) -> None:
    assert_problem(client.get(ME), 401, "token_missing")
    assert_problem(client.get(ME, headers=bearer("x")), 401, "token_invalid")


def test_tokens_are_in_no_log_line(client: Client, supabase: responses.RequestsMock, logs: LogLines) -> None:
    supabase.post(TOKEN, json=session())
    supabase.post(f"{PROJECT}/auth/v1/logout?scope=global", json={"code": "bad_jwt"}, status=403)
    supabase.get(USER, json={"code": "bad_jwt"}, status=403)
    mine = token()

    client.post("/api/v1/auth/login", json=GOOD_LOGIN)
    for path in (VERIFY, VERIFY + "?strict=1", ME):
        client.get(path, headers=bearer(mine))
    client.post(LOGOUT, headers=bearer(mine))
    verify(client, mine)

    assert mine not in str(logs)
    assert mine.split(".")[2] not in str(logs)
    assert SECRET_KEY not in str(logs)
