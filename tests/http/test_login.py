"""Login, through both lanes, with Supabase faked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import gunicorn.http.errors
import pytest
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, SECRET_KEY, LogLines, MakeClient
from tests.upstream_double import UpstreamDouble, session, token

LogIn = Callable[..., TestResponse]
PATH = "/api/v1/auth/login"


def test_a_login_answers_with_a_session(login: LogIn) -> None:
    response = login()

    body = response.get_json()
    assert response.status_code == 200
    assert body["access_token"].count(".") == 2
    assert body["refresh_token"] == "refreshtoken"
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 3600
    assert body["user"] == {
        "id": "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61",
        "email": "ada@example.com",
        "email_confirmed_at": "2026-08-01T10:00:02.481913Z",
        "created_at": "2026-08-01T09:58:39.871345Z",
        "role": None,
        "display_name": None,
        "avatar_url": None,
        "credits_balance": None,
        "is_anonymous": False,
        "factors": [],
        "user_metadata": {
            "display_name": "Ada Example",
            "email": "ada@example.com",
            "email_verified": True,
            "phone_verified": False,
            "sub": "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61",
        },
    }
    assert body["weak_password"] is None


def test_a_session_is_never_stored_and_tells_its_timing(login: LogIn) -> None:
    response = login()

    assert response.headers["Cache-Control"] == "no-store"
    assert "upstream;dur=" in response.headers["Server-Timing"]
    assert not [name for name, _ in response.headers if name.lower().startswith("sb-")]


def test_only_the_fast_lane_says_it_is_fast(login: LogIn, lane: str) -> None:
    assert ("X-Fastlane-Time-Ms" in login().headers) == (lane == "fast lane")


def test_the_role_comes_from_the_token_then_from_app_metadata_and_is_never_made_up(
    login: LogIn, upstream: UpstreamDouble
) -> None:
    user = {**session()["user"], "app_metadata": {"user_role": "editor"}}

    upstream.answers(session(access_token=token(user_role="admin"), user=user))
    assert login().get_json()["user"]["role"] == "admin"

    upstream.answers(session(user=user))
    assert login().get_json()["user"]["role"] == "editor"

    upstream.answers(session())
    assert login().get_json()["user"]["role"] is None


@pytest.mark.parametrize("fraction", [0, 0.5])
def test_a_lifetime_that_a_hook_changed_is_read_from_the_token(
    login: LogIn, upstream: UpstreamDouble, fraction: float
) -> None:
    """Supabase computes ``expires_at`` before the hook runs. A date may have a fraction (RFC 7519, 2)."""
    honest = session()
    upstream.answers({**honest, "access_token": token(exp=honest["expires_at"] - 3000 + fraction)})

    body = login().get_json()

    assert body["expires_at"] == honest["expires_at"] - 3000
    assert 590 <= body["expires_in"] <= 600


def test_supabase_is_asked_with_nothing_but_the_allowed_headers(client: Client, upstream: UpstreamDouble) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    client.post(
        PATH,
        json=GOOD_LOGIN,
        headers={
            "User-Agent": "Mozilla/5.0",
            "Authorization": "Bearer somebody",
            "X-Forwarded-For": "6.6.6.6",
            "X-JWT-AUD": "other",
            "Sb-Forwarded-For": "6.6.6.6",
            "Cookie": "a=b",
            "traceparent": traceparent,
        },
        environ_overrides={"REMOTE_ADDR": "203.0.113.7"},
    )

    (request,) = upstream.asked
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers.pop("user-agent").startswith("velro-auth/")
    assert headers == {
        "apikey": SECRET_KEY,
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "x-supabase-api-version": "2024-01-01",
        "sb-forwarded-for": "203.0.113.7",
        "traceparent": traceparent,
    }
    assert request.url.endswith("/auth/v1/token?grant_type=password")
    assert json.loads(request.body) == GOOD_LOGIN


@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ({}, True),
        ({"AUTH_FORWARD_CLIENT_IP": "off"}, False),
        ({"SUPABASE_SECRET_KEY": ""}, False),
    ],
)
def test_the_callers_address_goes_along_with_a_secret_key_only(
    make_client: MakeClient, upstream: UpstreamDouble, environment: dict[str, str], is_told: bool
) -> None:
    client = make_client(**environment)

    client.post(PATH, json=GOOD_LOGIN, environ_overrides={"REMOTE_ADDR": "203.0.113.7"})

    assert ("Sb-Forwarded-For" in upstream.asked[0].headers) == is_told


def test_a_captcha_token_is_passed_on(login: LogIn, upstream: UpstreamDouble) -> None:
    login(captcha_token="solved")

    assert json.loads(upstream.asked[0].body)["gotrue_meta_security"] == {"captcha_token": "solved"}


def test_a_password_is_passed_on_exactly_as_given(login: LogIn, upstream: UpstreamDouble) -> None:
    password = "  Päss\twörd 🐎 " + "x" * 900

    login(password=password)

    assert json.loads(upstream.asked[0].body)["password"] == password


def test_white_space_around_the_address_is_removed(login: LogIn, upstream: UpstreamDouble) -> None:
    login(email="  Ada@Example.com\n")

    assert json.loads(upstream.asked[0].body)["email"] == "Ada@Example.com"


def test_unknown_members_are_ignored(login: LogIn, upstream: UpstreamDouble) -> None:
    assert login(remember_me=True).status_code == 200
    assert "remember_me" not in json.loads(upstream.asked[0].body)


def test_wrong_unknown_and_banned_are_one_answer_but_for_the_id(login: LogIn, upstream: UpstreamDouble) -> None:
    """Which it was would tell who has an account (ASVS 6.3.8)."""
    answers = []
    for code, message in (
        ("invalid_credentials", "Invalid login credentials"),
        ("user_banned", "User is banned"),
    ):
        upstream.answers({"code": code, "message": message}, status=400, headers={"x-sb-error-code": code})
        response = login()
        body = assert_problem(response, 401, "invalid_credentials")
        assert body["detail"] == "Authentication failed"
        assert "upstream" not in response.headers["Server-Timing"]
        answers.append((sorted(response.headers.keys()), response.data.replace(body["request_id"].encode(), b"")))

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b'["a"]', 400, "bad_json"),
        (b"null", 400, "bad_json"),
        (b'{"email": "a@b.c", "password": NaN}', 400, "bad_json"),
        (b'{"email": "a@b.c", "password": "x", "y": 1e999}', 400, "bad_json"),
        (b'{"email": "a@b.c", "email": "b@b.c", "password": "x"}', 400, "bad_json"),
        (b'{"email": "a@b.c", "password": "\xff"}', 400, "bad_json"),
        (b'\xef\xbb\xbf{"email": "a@b.c", "password": "x"}', 400, "bad_json"),
        ('{"email": "a@b.c", "password": "x"}'.encode("utf-16"), 400, "bad_json"),
        (b'{"email": "a@b.c", "password": "x", "n": ' + b"9" * 5000 + b"}", 400, "bad_json"),
        (b'{"a": ' + b"[" * 16 + b"]" * 16 + b"}", 400, "bad_json"),
        (b'{"a": ' + b"[" * 8000 + b"]" * 8000 + b"}", 400, "bad_json"),
        (b'{"a": "' + b"x" * 20 * 1024 + b'"}', 413, "too_large"),
        (b"{}", 422, "invalid_request"),
        (b'{"email": "a@b.c"}', 422, "invalid_request"),
        (b'{"password": "x"}', 422, "invalid_request"),
        (b'{"email": 7, "password": "x"}', 422, "invalid_request"),
        (b'{"email": null, "password": "x"}', 422, "invalid_request"),
        (b'{"email": {"a": 1}, "password": "x"}', 422, "invalid_request"),
        (b'{"email": "a@b.c", "password": 7}', 422, "invalid_request"),
        (b'{"email": "a@b.c", "password": ""}', 422, "invalid_request"),
        (b'{"email": "a@b.c", "password": "a\\u0000"}', 422, "invalid_request"),
        (b'{"email": "a@b.c", "password": "\\ud800"}', 422, "invalid_request"),
        (b'{"email": "a@b.c", "password": "' + b"x" * 1025 + b'"}', 422, "invalid_request"),
        (b'{"email": "a\\u0000@b.c", "password": "x"}', 422, "invalid_request"),
        (b'{"email": "\\ud800@b.c", "password": "x"}', 422, "invalid_request"),
        (b'{"email": "a b@b.c", "password": "x"}', 422, "invalid_request"),
        (b'{"email": "nobody", "password": "x"}', 422, "invalid_request"),
        (b'{"email": "' + b"a" * 251 + b'@b.c", "password": "x"}', 422, "invalid_request"),
        (b'{"email": "a@b.c", "password": "x", "captcha_token": 7}', 422, "invalid_request"),
    ],
)
def test_bad_input_is_told_what_is_wrong_and_nobody_is_asked(
    client: Client, upstream: UpstreamDouble, data: bytes, status: int, code: str
) -> None:
    response = client.post(PATH, data=data, content_type="application/json")

    assert_problem(response, status, code)
    assert not upstream.asked


class _BrokenBody(io.RawIOBase):
    """What a server's reader does when chunks are none, or the caller is gone."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def read(self, *_: Any) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [gunicorn.http.errors.InvalidChunkSize(b"zz"), gunicorn.http.errors.NoMoreData(), ConnectionResetError()],
    ids=lambda error: type(error).__name__,
)
def test_a_body_that_cannot_be_read_is_no_defect_of_ours(
    client: Client, upstream: UpstreamDouble, logs: LogLines, error: Exception
) -> None:
    environ = {"wsgi.input": _BrokenBody(error), "wsgi.input_terminated": True}

    response = client.post(PATH, content_type="application/json", environ_overrides=environ)

    assert_problem(response, 400, "bad_json")
    assert not upstream.asked
    assert not any(record.exc_info for record in logs.records)


@pytest.mark.parametrize(("length", "status"), [(16 * 1024, 200), (16 * 1024 + 1, 413)])
@pytest.mark.parametrize("has_length", [True, False])
def test_the_largest_body_is_16_kib(
    client: Client, upstream: UpstreamDouble, length: int, status: int, has_length: bool
) -> None:
    stream = io.BytesIO(json.dumps(GOOD_LOGIN).ljust(length).encode())
    sent = {"CONTENT_LENGTH": str(length)} if has_length else {"wsgi.input_terminated": True}

    response = client.post(PATH, content_type="application/json", environ_overrides={"wsgi.input": stream, **sent})

    assert response.status_code == status


def test_a_wrong_field_is_named_and_its_value_is_not(login: LogIn) -> None:
    body = assert_problem(login(email="somebody's secret", password=""), 422, "invalid_request")

    assert sorted(body["errors"]) == ["email", "password"]
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/problem+json"},
        {},
    ],
)
def test_only_json_is_taken(client: Client, upstream: UpstreamDouble, headers: dict[str, str]) -> None:
    """Media types that a form can send would let a foreign page log somebody in (ASVS 3.5.2)."""
    response = client.post(PATH, data=json.dumps(GOOD_LOGIN), headers=headers)

    assert_problem(response, 415, "unsupported_media_type")
    assert "Content-Type" in response.get_json()["detail"]
    assert not upstream.asked


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "aes128gcm"])
def test_a_compressed_body_is_refused_for_its_coding(client: Client, upstream: UpstreamDouble, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}

    response = client.post(PATH, data=json.dumps(GOOD_LOGIN), headers=headers)

    body = assert_problem(response, 415, "unsupported_media_type")
    assert "Content-Encoding" in body["detail"]
    assert not upstream.asked


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_a_body_that_says_it_is_not_compressed_is_taken(client: Client, upstream: UpstreamDouble, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}

    assert client.post(PATH, data=json.dumps(GOOD_LOGIN), headers=headers).status_code == 200


@pytest.mark.parametrize("size", [16_377, 16_378])
def test_a_token_that_fits_into_no_header_is_told_to_the_operator(
    client: Client, upstream: UpstreamDouble, logs: LogLines, size: int
) -> None:
    """The login is right; what comes after it would be refused everywhere."""
    token = session()["access_token"]
    upstream.answers(session(access_token=token + "x" * (size - len(token))))

    for _ in range(3):
        assert client.post(PATH, json=GOOD_LOGIN).status_code == 200

    told = [vars(record)["event"] for record in logs.records if record.name == "velro_auth.alerts"]
    assert told == (["token_too_large"] if size > 16_377 else [])
    assert logs.access[-1].get("token_bytes") == (size if size > 16_377 else None)


def test_a_charset_does_no_harm(client: Client, upstream: UpstreamDouble) -> None:
    response = client.post(PATH, data=json.dumps(GOOD_LOGIN), content_type="application/json; charset=utf-8")

    assert response.status_code == 200


def test_a_get_is_told_to_use_https(client: Client) -> None:
    """Edges turn a POST over plain http into a GET."""
    response = client.get(PATH)

    body = assert_problem(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]
    assert "https" in body["detail"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_unavailable"),
        (b"<html>", "upstream_unavailable"),
        (b'{"access_token": "a', "upstream_unavailable"),
        (None, "upstream_error"),
        ([], "upstream_error"),
        (7, "upstream_error"),
        ({}, "upstream_error"),
        ({**session(), "access_token": ""}, "upstream_error"),
        ({**session(), "refresh_token": None}, "upstream_error"),
        ({**session(), "user": None}, "upstream_error"),
        ({**session(), "user": {}}, "upstream_error"),
    ],
)
def test_a_success_without_a_session_is_none(login: LogIn, upstream: UpstreamDouble, body: Any, code: str) -> None:
    upstream.answers(json.dumps(None) if body is None else body)

    assert_problem(login(), 503, code)


def test_every_truncation_of_a_good_answer_is_refused(login: LogIn, upstream: UpstreamDouble) -> None:
    whole = json.dumps(session())
    for length in range(0, len(whole), 97):
        upstream.answers(whole[:length])

        assert_problem(login(), 503, "upstream_unavailable")


def test_a_page_of_html_is_nobody_s_answer(login: LogIn, upstream: UpstreamDouble) -> None:
    upstream.answers(json.dumps(session()), headers={"Content-Type": "text/html"})

    assert_problem(login(), 503, "upstream_unavailable")


def test_an_answer_beyond_the_cap_is_refused(login: LogIn, upstream: UpstreamDouble) -> None:
    upstream.answers({**session(), "padding": "x" * 1_100_000})

    assert_problem(login(), 503, "upstream_unavailable")


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Invalid API key"},
        {"code": 401, "message": "Invalid API key"},
        {"error": "invalid_api_key"},
        {"code": "UNAUTHORIZED_INVALID_API_KEY", "message": "Invalid API key"},
        {"code": "forbidden_key"},
    ],
)
def test_a_refused_key_is_our_fault_and_not_a_wrong_password(
    login: LogIn, upstream: UpstreamDouble, body: dict[str, Any]
) -> None:
    """Whatever words the edge finds for it: Supabase Auth itself answers no login with 401."""
    upstream.answers(body, status=401)

    assert_problem(login(), 503, "upstream_misconfigured")


@pytest.mark.parametrize(
    ("given", "answered"),
    [("7", "7"), ("0", "1"), ("1000000000", "300"), ("9" * 5000, "5"), ("-5", "5"), ("soon", "5"), ("", "5")],
)
def test_the_wait_that_supabase_names_is_kept_sane(
    login: LogIn, upstream: UpstreamDouble, given: str, answered: str
) -> None:
    upstream.answers({"code": "over_request_rate_limit"}, status=429, headers={"Retry-After": given})

    response = login()

    assert_problem(response, 429, "upstream_throttled")
    assert response.headers["Retry-After"] == answered


def test_wrong_settings_are_said_in_the_log_and_to_nobody_else(
    make_client: MakeClient, upstream: UpstreamDouble, logs: LogLines
) -> None:
    client = make_client(SUPABASE_URL="", SUPABASE_SECRET_KEY="sb_publishable_wrong_slot_here")

    response = client.post(PATH, json=GOOD_LOGIN)

    assert_problem(response, 503, "upstream_misconfigured")
    assert b"SUPABASE" not in response.data
    assert client.get("/health").status_code == 200
    assert {"SUPABASE_URL", "SUPABASE_SECRET_KEY"} <= {getattr(record, "variable", "") for record in logs.records}
    assert not upstream.asked


def test_a_defect_of_ours_is_500_and_tells_nothing(login: LogIn, upstream: UpstreamDouble, logs: LogLines) -> None:
    upstream.answers(ZeroDivisionError("the secret reason"))

    response = login()

    assert_problem(response, 500, "internal_error")
    assert b"secret" not in response.data
    assert any(record.exc_info for record in logs.records)


def test_no_log_line_shows_a_password_a_token_or_a_key(login: LogIn, upstream: UpstreamDouble, logs: LogLines) -> None:
    password = "canary-in-the-password"
    login(password=password)
    for body, status in (
        ({"code": "invalid_credentials", "message": "canary of upstream"}, 400),
        ({"message": "canary of upstream"}, 401),
        ("canary of upstream", 502),
        (ConnectionResetError("canary of upstream"), 0),
        (ValueError("no secret"), 0),
    ):
        upstream.answers(body, status=status or 200)
        login(password=password)

    lines = str(logs)
    assert "canary" not in lines
    assert session()["refresh_token"] not in lines
    assert len(logs.access) == 6
