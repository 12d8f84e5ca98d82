"""Cookie sessions through both lanes, with Supabase faked: what a browser gets, keeps, sends and loses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any

import pytest
import requests
import responses
from werkzeug.test import Client, EnvironBuilder, TestResponse
from werkzeug.wrappers import Request

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, PUBLISHABLE_KEY, SECRET_KEY, LogLines, MakeClient
from tests.fixtures.hostile import ALLOWED, APP
from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.upstream_double import PROJECT, SESSION, TOKEN, session
from velro_auth.auth.sealing import sealing_keys
from velro_auth.web.session_cookies import KeptSession, SessionCookies

PUBLIC = "https://auth.example.com"
NAME = "__Host-velro_session"
ENVIRONMENT = {
    "AUTH_COOKIE_SESSIONS": "1",
    "AUTH_PUBLIC_URL": PUBLIC,
    "AUTH_REDIRECT_URLS": ALLOWED,
    "CORS_ORIGINS": "https://app.example.com, https://*.preview.example.com",
}
SECRET = "r" * 40
KEY = SigningKey("key-1")
OURS = {"Sec-Fetch-Site": "same-origin"}
CODE = "0d4c2f4e-8a3b-4f1c-9d2e-1a2b3c4d5e6f"
LOGOUT = f"{PROJECT}/auth/v1/logout"
#: What pages of other sites send, and what no browser sends.
FOREIGN: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "Same-Origin"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "http://auth.example.com"},
    {"Origin": "https://auth.example.com.evil.example"},
    {"Origin": "https://auth.example.com:8443"},
    {"Origin": f"{PUBLIC}, https://evil.example"},
    {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
    {"Origin": "https://x.preview.example.com"},
    {"Origin": "https://*.preview.example.com"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example", "Referer": f"{PUBLIC}/"},
)
#: What Supabase answers to a refresh that may succeed later.
FAILURES: tuple[dict[str, Any], ...] = (
    {"status": 429, "json": {"code": "over_request_rate_limit"}},
    {"status": 500, "json": {"code": "unexpected_failure"}},
    {"status": 503, "body": "<html>"},
    {"body": requests.exceptions.ReadTimeout()},
    {"body": requests.exceptions.ConnectionError()},
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        mock.get(f"{PROJECT}/rest/v1/users", json=[])
        for scope in ("global", "local", "others"):
            headers = {"Date": formatdate(time.time() - 1, usegmt=True)}
            mock.post(f"{LOGOUT}?scope={scope}", status=204, headers=headers)
        yield mock


@pytest.fixture
def client(make_client: MakeClient, supabase: responses.RequestsMock) -> Client:
    gives(supabase)
    return make_client(**ENVIRONMENT)


def token(*, left_s: int = 3540, **changes: Any) -> str:
    claims = {"iss": f"{PROJECT}/auth/v1", "sub": SESSION["user"]["id"], **changes}
    return KEY.token(claims_at(int(time.time()) + left_s - 3600, **claims))


def gives(
    supabase: responses.RequestsMock, *, left_s: int = 3540, refresh_token: str = "refresh-canary", **claims: Any
) -> str:
    """Have Supabase answer with such a session; return its access token."""
    value = token(left_s=left_s, **claims)
    body = session(access_token=value, expires_at=int(time.time()) + left_s, refresh_token=refresh_token)
    supabase.upsert(responses.POST, TOKEN, json=body)
    return value


def refuses(supabase: responses.RequestsMock, code: str = "refresh_token_not_found") -> None:
    supabase.upsert(responses.POST, TOKEN, status=400, json={"code": code})


def asked(supabase: responses.RequestsMock, start: str = TOKEN) -> int:
    return sum(str(call.request.url).startswith(start) for call in supabase.calls)


def ask(
    client: Client, path: str, headers: Mapping[str, str] = OURS, *, method: str = "GET", **more: Any
) -> TestResponse:
    return client.open(f"/api/v1/auth{path}", method=method, headers=dict(headers), base_url=PUBLIC, **more)


def log_in(client: Client, headers: Mapping[str, str] = OURS) -> TestResponse:
    return ask(client, "/login", headers, method="POST", json=GOOD_LOGIN)


def refresh(client: Client, headers: Mapping[str, str] = OURS) -> TestResponse:
    return ask(client, "/refresh", headers, method="POST")


def log_out(client: Client, scope: str = "global") -> TestResponse:
    return ask(client, f"/logout?scope={scope}", method="POST")


def cookie(client: Client) -> str | None:
    found = client.get_cookie(NAME, domain="auth.example.com")
    return found.value if found else None


def kept(client: Client) -> KeptSession | None:
    """Return what the browser's cookie keeps."""
    header = f"{NAME}={cookie(client)}"
    cookies = SessionCookies(sealing_keys((), secret=SECRET_KEY), public_url=PUBLIC)
    return cookies.find(Request(EnvironBuilder(headers=[("Cookie", header)]).get_environ()))


def refresh_token(client: Client) -> str | None:
    found = kept(client)
    return found.refresh_token if found else None


def shown(response: TestResponse) -> str:
    """Return what a page can read of a response."""
    return f"{[field for field in response.headers if field[0] != 'Set-Cookie']} {response.text}"


def test_a_browser_gets_a_cookie_and_no_token(client: Client, supabase: responses.RequestsMock) -> None:
    access_token = gives(supabase)

    response = log_in(client)

    assert response.status_code == 200
    assert set(response.get_json()) == {"user", "expires_at"}
    assert kept(client) == KeptSession(access_token, "refresh-canary", response.get_json()["expires_at"])
    assert access_token not in shown(response)
    assert "refresh-canary" not in str(response.headers) + response.text
    assert response.headers["Cache-Control"] == "no-store"
    assert {"Origin", "Authorization, Cookie, Sec-Fetch-Site"} <= set(response.headers.getlist("Vary"))


def test_a_session_that_needs_a_second_factor_says_so(client: Client, supabase: responses.RequestsMock) -> None:
    factor = {"id": "f", "status": "verified", "factor_type": "totp", "friendly_name": "phone"}
    user = {**SESSION["user"], "factors": [factor]}
    supabase.upsert(responses.POST, TOKEN, json=session(access_token=token(aal="aal1"), user=user))

    response = log_in(client)

    assert set(response.get_json()) == {"user", "expires_at", "mfa"}
    assert response.get_json()["mfa"]["required"] is True


@pytest.mark.parametrize("headers", [{"Origin": PUBLIC}, {"Origin": "https://app.example.com"}, OURS])
def test_pages_of_this_service_and_of_listed_origins_log_in(client: Client, headers: dict[str, str]) -> None:
    assert log_in(client, headers).status_code == 200
    assert kept(client) is not None


def test_other_clients_get_tokens_as_before(client: Client) -> None:
    response = log_in(client, {})

    assert response.get_json()["refresh_token"] == "refresh-canary"
    assert "access_token" in response.get_json()
    assert "Set-Cookie" not in response.headers


def test_switched_off_nothing_is_kept(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    gives(supabase)
    client = make_client(AUTH_PUBLIC_URL=PUBLIC)

    response = log_in(client)

    assert response.get_json()["refresh_token"] == "refresh-canary"
    assert "Set-Cookie" not in response.headers
    assert response.headers.getlist("Vary") == ["Origin"]


@pytest.mark.parametrize("path", ["/login", "/signup", "/anonymous", "/confirm", "/password/reset", "/exchange"])
def test_no_other_site_begins_a_session(client: Client, supabase: responses.RequestsMock, path: str) -> None:
    for headers in FOREIGN:
        response = ask(client, path, headers, method="POST", json=GOOD_LOGIN)

        assert_problem(response, 403, "cross_site")
        assert cookie(client) is None
    assert asked(supabase, PROJECT) == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/login"),
        ("POST", "/refresh"),
        ("POST", "/logout"),
        ("PATCH", "/me"),
        ("PUT", "/password"),
        ("POST", "/factors"),
        ("DELETE", "/sessions/5b1f7a52-0c11-4d5e-8f3a-6f0f6f0f6f0f"),
        ("POST", "/password/forgot"),
        ("POST", "/verify"),
    ],
)
def test_no_other_site_changes_anything(
    client: Client, supabase: responses.RequestsMock, method: str, path: str
) -> None:
    log_in(client)
    before, calls = cookie(client), len(supabase.calls)

    for headers in (*FOREIGN, {}):
        response = ask(client, path, headers, method=method, json={"display_name": "x"})

        assert_problem(response, 403, "cross_site")
        assert cookie(client) == before
    assert len(supabase.calls) == calls


def test_the_host_proves_nothing(client: Client) -> None:
    log_in(client)
    headers = {"Host": "evil.example", "Origin": "https://evil.example", "Cookie": f"{NAME}={cookie(client)}"}

    response = Client(client.application, use_cookies=False).post("/api/v1/auth/logout", headers=headers)

    assert_problem(response, 403, "cross_site")


def test_reading_is_not_asked_for_its_origin(client: Client) -> None:
    log_in(client)

    for headers in (*FOREIGN, {}):
        assert ask(client, "/verify", headers).status_code == 200


def test_the_cookie_is_as_good_as_a_bearer_token(client: Client, supabase: responses.RequestsMock) -> None:
    log_in(client)

    assert ask(client, "/me").get_json()["id"] == SESSION["user"]["id"]
    assert ask(client, "/verify").headers["X-Auth-User-Id"] == SESSION["user"]["id"]
    assert ask(client, "/verify/any/path").status_code == 200
    assert asked(supabase) == 1


def test_of_both_the_bearer_token_counts(client: Client) -> None:
    log_in(client)
    other = token(session_id="99999999-2222-4333-8444-555555555555")

    response = ask(client, "/verify", {"Authorization": f"Bearer {other}"})

    assert response.headers["X-Auth-Session-Id"] == "99999999-2222-4333-8444-555555555555"
    assert_problem(ask(client, "/verify", {"Authorization": "Bearer bad"}), 401, "token_invalid")
    assert ask(client, "/verify", {"Authorization": "Basic YTpi"}).status_code == 200


def test_without_a_cookie_all_is_as_before(client: Client) -> None:
    assert_problem(ask(client, "/verify"), 401, "token_missing")
    assert_problem(ask(client, "/me"), 401, "token_missing")
    assert_problem(log_out(client), 401, "token_missing")
    assert_problem(refresh(client), 401, "session_expired")
    assert_problem(ask(client, "/refresh", method="POST", json={}), 401, "session_expired")
    assert_problem(refresh(client, {}), 415, "unsupported_media_type")
    assert_problem(ask(client, "/refresh", {}, method="POST", json={}), 422, "invalid_request")


@pytest.mark.parametrize("more", [{}, {"json": {}}, {"data": "{}", "content_type": "application/json; charset=utf-8"}])
def test_a_refresh_needs_no_body(client: Client, supabase: responses.RequestsMock, more: dict[str, Any]) -> None:
    """Many clients send an empty object for want of anything to say."""
    log_in(client)
    access_token = gives(supabase, refresh_token="second-canary", session_id="99999999-2222-4333-8444-555555555555")

    response = ask(client, "/refresh", method="POST", **more)

    assert set(response.get_json()) == {"user", "expires_at"}
    assert access_token not in shown(response)
    assert refresh_token(client) == "second-canary"


@pytest.mark.parametrize("path", ["/verify", "/me"])
def test_a_session_that_is_about_to_expire_is_refreshed(
    client: Client, supabase: responses.RequestsMock, path: str
) -> None:
    gives(supabase, left_s=55)
    log_in(client)
    access_token = gives(supabase, refresh_token="second-canary")

    response = ask(client, path)

    assert response.status_code == 200
    assert refresh_token(client) == "second-canary"
    assert access_token not in shown(response)
    assert ask(client, path).status_code == 200
    assert asked(supabase) == 2


def test_so_is_one_that_has_expired(client: Client, supabase: responses.RequestsMock) -> None:
    gives(supabase, left_s=-3000)
    log_in(client)
    gives(supabase, refresh_token="second-canary")

    assert ask(client, "/verify").status_code == 200
    assert refresh_token(client) == "second-canary"


def test_a_refused_request_keeps_the_refreshed_session(client: Client, supabase: responses.RequestsMock) -> None:
    gives(supabase, left_s=30)
    log_in(client)
    gives(supabase, refresh_token="second-canary")

    assert_problem(ask(client, "/verify?role=nobody"), 403, "forbidden")

    assert refresh_token(client) == "second-canary"


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_refresh_ends_no_session(
    client: Client, supabase: responses.RequestsMock, failure: dict[str, Any]
) -> None:
    gives(supabase, left_s=55)
    log_in(client)
    before = cookie(client)
    supabase.upsert(responses.POST, TOKEN, **failure)

    response = ask(client, "/verify")

    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert cookie(client) == before


@pytest.mark.parametrize("failure", FAILURES)
def test_with_an_expired_token_it_is_a_503(
    client: Client, supabase: responses.RequestsMock, failure: dict[str, Any]
) -> None:
    gives(supabase, left_s=-3000)
    log_in(client)
    before = cookie(client)
    supabase.upsert(responses.POST, TOKEN, **failure)

    response = ask(client, "/verify")

    assert response.status_code == 503
    assert "Retry-After" in response.headers
    assert cookie(client) == before


@pytest.mark.parametrize("path", ["/verify", "/me", "/refresh"])
def test_a_session_that_has_ended_is_removed(client: Client, supabase: responses.RequestsMock, path: str) -> None:
    gives(supabase, left_s=55)
    log_in(client)
    refuses(supabase)

    response = ask(client, path, method="POST" if path == "/refresh" else "GET")

    assert_problem(response, 401, "session_expired")
    assert cookie(client) is None


def test_a_refresh_that_is_refused_for_now_removes_nothing(client: Client, supabase: responses.RequestsMock) -> None:
    gives(supabase, left_s=-3000)
    log_in(client)
    refuses(supabase, "user_banned")

    assert_problem(ask(client, "/verify"), 401, "session_expired")

    assert cookie(client) is not None


@pytest.mark.parametrize("left_s", [3540, -3000])
def test_a_logout_removes_the_cookie_and_ends_the_session(
    client: Client, supabase: responses.RequestsMock, left_s: int
) -> None:
    gives(supabase, left_s=left_s)
    log_in(client)
    access_token = gives(supabase)
    before = cookie(client)

    assert log_out(client).status_code == 200

    assert cookie(client) is None
    assert before is not None
    assert_problem(ask(client, "/verify", {"Authorization": f"Bearer {access_token}"}), 401, "token_invalid")
    client.set_cookie(NAME, before, domain="auth.example.com")
    assert ask(client, "/verify").status_code == 401


def test_a_logout_of_the_others_keeps_the_cookie(client: Client) -> None:
    log_in(client)

    assert log_out(client, "others").status_code == 200

    assert ask(client, "/verify").status_code == 200


def test_a_cookie_that_cannot_be_opened_is_none(client: Client) -> None:
    client.set_cookie(NAME, "x" * 300, domain="auth.example.com")

    assert_problem(ask(client, "/verify"), 401, "token_missing")
    assert cookie(client) is not None
    assert_problem(refresh(client), 401, "session_expired")
    assert cookie(client) is None


def test_keys_can_be_replaced(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    gives(supabase)
    old, new = "o" * 40, "n" * 40
    before, after = (make_client(**ENVIRONMENT, AUTH_COOKIE_KEYS=keys) for keys in (old, f"{new},{old}"))
    log_in(before)

    after.set_cookie(NAME, cookie(before) or "", domain="auth.example.com")

    assert ask(after, "/verify").status_code == 200


def test_a_session_that_does_not_fit_is_a_mistake_of_the_project(
    client: Client, supabase: responses.RequestsMock, logs: LogLines
) -> None:
    gives(supabase, app_metadata={"much": "x" * 6000})

    response = log_in(client)

    assert_problem(response, 503, "upstream_misconfigured")
    assert "Set-Cookie" not in response.headers
    assert "does not fit into cookies" in logs.access[-1]["reason"]


#: What Chromium sends with a websocket, without what a gateway keeps to itself; and each sign of a websocket alone.
WEBSOCKETS: tuple[dict[str, str], ...] = (
    {
        "Pragma": "no-cache",
        "Cache-Control": "no-cache",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    },
    {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
    {"Sec-WebSocket-Version": "13"},
    {"Upgrade": "h2c, WebSocket"},
    {"Sec-Fetch-Mode": "websocket"},
)


@pytest.mark.parametrize("fields", WEBSOCKETS, ids=lambda fields: " ".join([*fields][:4]))
def test_a_websocket_counts_as_a_change(client: Client, fields: dict[str, str]) -> None:
    """Chromium sends no ``Sec-Fetch-…`` with it."""
    log_in(client)

    for foreign in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert_problem(ask(client, "/verify", {**fields, **foreign}), 403, "cross_site")
    assert ask(client, "/verify", {**fields, "Origin": PUBLIC}).status_code == 200
    # The cookie alone is at stake.
    bare = Client(client.application, use_cookies=False)
    assert ask(bare, "/verify", {**fields, "Authorization": f"Bearer {token()}"}).status_code == 200
    # Other routes open no websocket.
    assert ask(client, "/me", fields).status_code == 200


@pytest.mark.parametrize("field", ["X-Forwarded-Method", "X-Original-Method"])
def test_verify_judges_the_method_that_the_gateway_names(client: Client, field: str) -> None:
    log_in(client)
    foreign = {"Origin": "https://evil.example"}

    def asked_by(peer: str, method: str, headers: dict[str, str]) -> int:
        given = {**headers, field: method}
        return ask(client, "/verify", given, environ_overrides={"REMOTE_ADDR": peer}).status_code

    assert asked_by("127.0.0.1", "POST", foreign) == 403
    assert asked_by("127.0.0.1", "post", foreign) == 403
    assert asked_by("127.0.0.1", "POST", {}) == 403
    assert asked_by("127.0.0.1", "POST", OURS) == 200
    assert asked_by("127.0.0.1", "GET", foreign) == 200
    assert asked_by("203.0.113.9", "POST", foreign) == 200


def test_only_a_gateway_with_the_secret_gets_the_token(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    access_token = gives(supabase)
    client = make_client(**ENVIRONMENT, AUTH_RELAY_SECRET=SECRET)
    log_in(client)

    with_secret = ask(client, "/verify", {"X-Velro-Relay": SECRET})

    assert with_secret.headers["X-Auth-Access-Token"] == access_token
    for value in ("", "r", SECRET + "r", "é" * 40, SECRET.upper()):
        assert "X-Auth-Access-Token" not in ask(client, "/verify", {"X-Velro-Relay": value}).headers
    assert "X-Auth-Access-Token" not in ask(client, "/me", {"X-Velro-Relay": SECRET}).headers
    assert "X-Auth-Access-Token" not in ask(client, "/verify?role=nobody", {"X-Velro-Relay": SECRET}).headers
    exposed = with_secret.headers.get("Access-Control-Expose-Headers", "")
    assert "Access-Token" not in exposed


def test_without_a_secret_nobody_does(client: Client) -> None:
    log_in(client)

    for value in ("", "anything"):
        assert "X-Auth-Access-Token" not in ask(client, "/verify", {"X-Velro-Relay": value}).headers


def begin_and_come_back(client: Client, **query: str) -> TestResponse:
    begun = ask(client, "/authorize/github", {}, query_string={"redirect_to": f"{APP}/welcome?tab=1"})
    assert begun.status_code == 303
    [(_, flow)] = [field for field in begun.headers if "velro_flow" in field[1]]
    name = flow.partition("=")[0].rpartition("oauth_")[2]
    return ask(client, "/callback", {}, query_string={"flow": name, **query})


def test_a_sign_in_with_a_provider_ends_in_the_cookie(client: Client, supabase: responses.RequestsMock) -> None:
    access_token = gives(supabase)

    response = begin_and_come_back(client, code=CODE)

    assert (response.status_code, response.headers["Location"]) == (303, f"{APP}/welcome?tab=1")
    assert access_token not in shown(response)
    assert refresh_token(client) == "refresh-canary"


def test_a_sign_in_that_fails_leads_to_the_frontend(client: Client, supabase: responses.RequestsMock) -> None:
    refuses(supabase, "flow_state_not_found")

    response = begin_and_come_back(client, code=CODE)

    assert response.headers["Location"].startswith(f"{APP}/welcome?tab=1&error=server_error&")
    assert cookie(client) is None


def test_a_challenge_is_needed_where_no_cookie_keeps_the_session(make_client: MakeClient) -> None:
    client = make_client(AUTH_PUBLIC_URL=PUBLIC, AUTH_REDIRECT_URLS=ALLOWED)

    response = ask(client, "/authorize/github", query_string={"redirect_to": APP})

    assert_problem(response, 422, "invalid_request")


def test_a_challenge_that_is_sent_has_to_be_one(client: Client) -> None:
    for query in ("code_challenge=", "code_challenge=short", "code_challenge=a&code_challenge=b"):
        response = ask(client, f"/authorize/github?redirect_to={APP}&{query}")
        assert_problem(response, 422, "invalid_request")


def test_no_secret_is_logged(client: Client, supabase: responses.RequestsMock, logs: LogLines) -> None:
    secrets = [gives(supabase, left_s=30), "refresh-canary", GOOD_LOGIN["password"]]
    log_in(client)
    secrets += [cookie(client) or "", gives(supabase, refresh_token="second-canary"), "second-canary"]
    ask(client, "/me")
    log_out(client)

    assert not [secret for secret in secrets if secret in str(logs)]


def test_supabase_s_own_clients_always_get_tokens(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    access_token = gives(supabase)
    client = make_client(**ENVIRONMENT, AUTH_SUPABASE_API="1")
    log_in(client)
    headers = {"apikey": PUBLISHABLE_KEY, "Origin": "https://evil.example"}
    before = cookie(client)

    url = "/auth/v1/token?grant_type=password"
    response = client.post(url, json=GOOD_LOGIN, headers=headers, base_url=PUBLIC)
    user = client.get("/auth/v1/user", headers=headers, base_url=PUBLIC)

    assert response.get_json()["access_token"] == access_token
    assert "Set-Cookie" not in response.headers
    assert user.status_code == 401
    assert cookie(client) == before
