"""Both lanes answer alike: same status, same body, same headers, but for what tells the lane."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import Client

from tests.conftest import ENVIRONMENT, GOOD_LOGIN
from tests.upstream_double import UpstreamDouble, session
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

LOGIN = "/api/v1/auth/login"
JSON = {"content_type": "application/json"}

REQUESTS: dict[str, dict[str, Any]] = {
    "health": {"path": "/health"},
    "health, HEAD": {"path": "/health", "method": "HEAD"},
    "health, POST": {"path": "/health", "method": "POST"},
    "health, query": {"path": "/health", "query_string": "a=b"},
    "health, cross origin": {"path": "/health", "headers": {"Origin": "https://app.example.com"}},
    "heartbeat": {"path": "/__lbheartbeat__"},
    "ping": {"path": "/api/v1/auth/ping"},
    "ping, encoded answer asked": {"path": "/api/v1/auth/ping", "headers": {"Accept-Encoding": "gzip, br"}},
    "version": {"path": "/__version"},
    "version, problem": {"path": "/__version", "method": "PUT", "headers": {"Accept": "application/problem+json"}},
    "options": {"path": LOGIN, "method": "OPTIONS"},
    "login": {"path": LOGIN, "method": "POST", "json": GOOD_LOGIN},
    "login, encoded answer asked": {
        "path": LOGIN,
        "method": "POST",
        "json": GOOD_LOGIN,
        "headers": {"Accept-Encoding": "gzip, br"},
    },
    "login, invalid": {"path": LOGIN, "method": "POST", "json": {"email": 1}},
    "login, broken": {"path": LOGIN, "method": "POST", "data": b"{", **JSON},
    "login, empty": {"path": LOGIN, "method": "POST", "data": b"", **JSON},
    "login, large": {"path": LOGIN, "method": "POST", "data": b"x" * 20_000, **JSON},
    "login, text": {"path": LOGIN, "method": "POST", "data": b"{}", "content_type": "text/plain"},
    "login, GET": {"path": LOGIN},
    "login, HEAD": {"path": LOGIN, "method": "HEAD"},
    "login, slash": {"path": LOGIN + "/", "method": "POST", "json": GOOD_LOGIN},
    "login, escaped": {"path": LOGIN, "method": "POST", "json": GOOD_LOGIN, "environ_overrides": {"RAW_URI": "/%6c"}},
    "refresh": {"path": "/api/v1/auth/refresh", "method": "POST", "json": {"refresh_token": "abcdefghijkl"}},
    "refresh, invalid": {"path": "/api/v1/auth/refresh", "method": "POST", "json": {}},
    "logout, no token": {"path": "/api/v1/auth/logout", "method": "POST"},
    "signup, invalid": {"path": "/api/v1/auth/register", "method": "POST", "json": {"email": "x", "data": []}},
    "signup, GET": {"path": "/api/v1/auth/signup/"},
    "resend, elsewhere": {
        "path": "/api/v1/auth/signup/resend",
        "method": "POST",
        "json": {"email": "ada@example.com", "redirect_to": "https://evil.example.com"},
    },
    "otp, broken": {"path": "/api/v1/auth/otp", "method": "POST", "data": b"{", **JSON},
    "confirm, no proof": {"path": "/api/v1/auth/confirm", "method": "POST", "json": {"type": "signup"}},
    "forgot, text": {"path": "/api/v1/auth/password-reset", "method": "POST", "data": b"{}"},
    "reset, ticket": {
        "path": "/api/v1/auth/password/reset",
        "method": "POST",
        "json": {"ticket": "x", "password": "correct horse"},
    },
    "me, no token": {"path": "/api/v1/auth/me"},
    "me, PATCH, no token": {"path": "/api/v1/auth/me", "method": "PATCH", "json": {"display_name": "Ada"}},
    "profile, no token": {"path": "/api/v1/auth/profile", "method": "PUT", "json": {"full_name": "Ada"}},
    "password, no token": {"path": "/api/v1/auth/password", "method": "PUT", "json": {"password": "x"}},
    "password, POST": {"path": "/api/v1/auth/password", "method": "POST", "json": {}},
    "reauthenticate, no token": {"path": "/api/v1/auth/reauthenticate", "method": "POST"},
    "factors, no token": {"path": "/api/v1/auth/factors"},
    "factors, HEAD": {"path": "/api/v1/auth/factors", "method": "HEAD"},
    "factor, no token": {"path": "/api/v1/auth/factors/x", "method": "DELETE"},
    "factor, challenge": {"path": "/api/v1/auth/factors/x/challenge", "method": "POST"},
    "factor, verify": {"path": "/api/v1/auth/factors/x/verify", "method": "POST", "json": {"code": "1"}},
    "anonymous, invalid": {"path": "/api/v1/auth/anonymous", "method": "POST", "json": {"data": 1}},
    "verify, no token": {"path": "/api/v1/auth/verify"},
    "verify, bad token": {"path": "/api/v1/auth/verify/a", "method": "PUT", "headers": {"Authorization": "Bearer x"}},
    "verify, options": {"path": "/api/v1/auth/verify", "method": "OPTIONS"},
    "verify, head": {"path": "/api/v1/auth/verify//b", "method": "HEAD"},
    "verify, page": {"path": "/api/v1/auth/verify?on_fail=login", "headers": {"Accept": "text/html"}},
    "verify, page, HEAD": {
        "path": "/api/v1/auth/verify?on_fail=login",
        "method": "HEAD",
        "headers": {"Sec-Fetch-Mode": "navigate", "X-Forwarded-Uri": "/x"},
    },
    "verify, page of nginx": {
        "path": "/api/v1/auth/verify?on_fail=login",
        "headers": {"Accept": "text/html", "X-Original-URL": "https://app.example.com/x"},
        "environ_overrides": {"REMOTE_ADDR": "127.0.0.1"},
    },
    "verify, page below": {
        "path": "/api/v1/auth/verify/a?b",
        "headers": {"Accept": "text/html", "X-Auth-Require": "on_fail=login"},
        "environ_overrides": {"REMOTE_ADDR": "127.0.0.1"},
    },
    "verify, no page": {"path": "/api/v1/auth/verify?on_fail=login"},
    "verify, slip": {"path": "/api/v1/auth/verify?on_fail=page"},
    "sessions, no token": {"path": "/api/v1/auth/sessions"},
    "sessions, bad token": {
        "path": "/api/v1/auth/sessions",
        "method": "HEAD",
        "headers": {"Authorization": "Bearer x"},
    },
    "sessions, POST": {"path": "/api/v1/auth/sessions", "method": "POST"},
    "session, no token": {"path": "/api/v1/auth/sessions/b", "method": "DELETE"},
    "session, GET": {"path": "/api/v1/auth/sessions/b"},
    "session, slash": {"path": "/api/v1/auth/sessions/b/", "method": "DELETE"},
    "session, escaped slash": {
        "path": "/api/v1/auth/sessions/b/c",
        "method": "DELETE",
        "environ_overrides": {"RAW_URI": "/api/v1/auth/sessions/b%2Fc"},
    },
    "supabase api, off": {"path": "/auth/v1/token", "method": "POST", "json": {}},
    "authorize, nowhere to go": {"path": "/api/v1/auth/authorize/github"},
    "authorize, POST": {"path": "/api/v1/auth/authorize/github", "method": "POST"},
    "callback, another browser": {"path": "/api/v1/auth/callback", "query_string": "flow=AAAAAAAAAAAAAAAA&code=x"},
    "exchange, wrong code": {"path": "/api/v1/auth/exchange", "method": "POST", "json": {"code": "A" * 50}},
    "exchange, invalid": {"path": "/api/v1/auth/exchange", "method": "POST", "json": {"code": "no code"}},
    "refresh, bearer only": {
        "path": "/api/v1/auth/refresh",
        "method": "POST",
        "headers": {"Authorization": "Bearer x"},
    },
    "health, aliases": {"path": "/api/v1/auth/health"},
    "index": {"path": "/"},
    "nowhere": {"path": "/nowhere"},
}

ANSWERS: dict[str, dict[str, Any]] = {
    "session": {},
    "refusal": {"body": {"code": "invalid_credentials"}, "status": 400},
    "limit": {"body": {"code": "over_request_rate_limit"}, "status": 429},
    "outage": {"body": "<html>", "status": 502, "headers": {"Content-Type": "text/html"}},
    "defect": {"body": ZeroDivisionError("defect")},
}

#: What differs by its nature.
VOLATILE = ("Server-Timing", "X-Request-ID")


def answered(request: dict[str, Any], *, fast_lane: bool) -> tuple[int, list[tuple[str, str]], Any]:
    """Send *request* through one lane and return the answer, less what cannot be the same."""
    environment = {**ENVIRONMENT, "AUTH_LOGIN_URL": "https://app.example.com/login"}
    client = Client(create_app(Settings.from_environment(environment), fast_lane=fast_lane))
    response = client.open(**request)
    headers = [(name, value) for name, value in response.headers if name not in (*VOLATILE, "X-Fastlane-Time-Ms")]
    body: Any = response.data
    if response.is_json and body:
        body = json.loads(body)
        for name in {"bypass_middleware", "fastpath"} & body.keys():
            assert body.pop(name) == ("X-Fastlane-Time-Ms" in response.headers)
        for name in {"timestamp", "request_id"} & body.keys():
            body.pop(name)
        if response.status_code == 200:
            # Timestamps have more or fewer digits.
            headers = [(name, value) for name, value in headers if name != "Content-Length"]
    elif request.get("method") == "HEAD":
        headers = [(name, value) for name, value in headers if name != "Content-Length"]
    return response.status_code, sorted(headers), body


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("upstream_answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_both_lanes_answer_alike(
    upstream: UpstreamDouble, request_: dict[str, Any], upstream_answer: dict[str, Any]
) -> None:
    fixed = {"body": session(), **upstream_answer}
    upstream.answers(**fixed)

    assert answered(request_, fast_lane=True) == answered(request_, fast_lane=False)


def test_the_flag_sends_login_through_flask(upstream: UpstreamDouble) -> None:
    app = create_app(Settings.from_environment({**ENVIRONMENT, "AUTH_FAST_LOGIN": "0"}))

    assert "X-Fastlane-Time-Ms" not in Client(app).post(LOGIN, json=GOOD_LOGIN).headers
    assert "X-Fastlane-Time-Ms" in Client(app).get("/health").headers
