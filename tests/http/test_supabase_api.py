"""``/auth/v1``: keys, hostile requests, formats of errors and what goes on to Supabase, through both lanes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

import pytest
import responses
from werkzeug.test import Client, EnvironBuilder, TestResponse

from tests.account_double import API, KEY, proven
from tests.conftest import ENVIRONMENT, PUBLISHABLE_KEY, SECRET_KEY, LogLines, MakeClient
from tests.fixtures.hostile_requests import hostile_requests
from tests.fixtures.tokens import claims_at, document
from tests.upstream_double import PROJECT, SESSION
from velro_auth import errors
from velro_auth.config.settings import Settings
from velro_auth.context import CONTEXT, REFUSED, RequestContext
from velro_auth.endpoints.supabase_api.refusals import TABLE, refuse
from velro_auth.errors import Throttled, Unready, UpstreamError, UpstreamThrottled

KEYS = {"apikey": PUBLISHABLE_KEY}
NEW = {**KEYS, "X-Supabase-Api-Version": "2024-01-01"}
TOKEN = "/auth/v1/token?grant_type="
EMAIL: Final = SESSION["user"]["email"]
OTHER_KEY = "sb_publishable_another_app_0123"
SERVICE_ROLE = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"


class Supabase:
    """Answers everything, and counts what it was asked."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.status = 200
        self.body: Any = proven()
        self.headers: dict[str, str] = {}
        self.answer: Callable[[Any], tuple[int, dict[str, str], str]] | None = None
        self.asked: list[Any] = []
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"):
            mock.add(
                responses.CallbackResponse(
                    method, re.compile(f"{PROJECT}/.*"), self._answer, content_type="application/json"
                )
            )

    def says(self, body: Any, status: int = 200, **headers: str) -> None:
        """Answer so from now on."""
        self.body, self.status, self.headers = body, status, headers

    def refuses(self, code: str, status: int = 400) -> None:
        """Refuse from now on."""
        self.says({"code": code, "message": f"because of {code}"}, status)

    def _answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        if request.url.endswith("/jwks.json"):
            return 200, {}, document([KEY]).decode()
        self.asked.append(request)
        if self.answer is not None:
            return self.answer(request)
        return self.status, self.headers, "" if self.status == 204 else json.dumps(self.body)


@pytest.fixture
def supabase() -> Iterator[Supabase]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Supabase(mock)


@pytest.fixture
def face(make_client: MakeClient, supabase: Supabase) -> Client:
    return make_client(AUTH_SUPABASE_API="on", AUTH_CLIENT_KEYS=OTHER_KEY, AUTH_MAIL_DELAY_MS="0")


def log_in(face: Client, password: str = "x", email: str = EMAIL, **options: Any) -> TestResponse:
    options = {"headers": KEYS, **options}
    return face.post(f"{TOKEN}password", json={"email": email, "password": password}, **options)


def bearer(**changes: Any) -> dict[str, str]:
    """Return the headers of a signed-in client."""
    now = time.time()
    amr = [{"method": "password", "timestamp": int(now)}]
    token = KEY.token(claims_at(now, iss=API, sub=SESSION["user"]["id"], email=EMAIL, amr=amr, **changes))
    return {**KEYS, "Authorization": f"Bearer {token}"}


def test_a_session_comes_as_supabase_sent_it(face: Client, supabase: Supabase) -> None:
    supabase.says({**proven(), "provider_token": "p", "weak_password": {"reasons": ["length"]}})

    answer = log_in(face)

    assert answer.status_code == 200
    assert answer.get_json() | {"expires_at": 0, "expires_in": 0} == supabase.body | {"expires_at": 0, "expires_in": 0}
    assert answer.headers["Cache-Control"] == "no-store"
    (asked,) = supabase.asked
    assert asked.headers["apikey"] == SECRET_KEY
    assert "Authorization" not in asked.headers


@pytest.mark.parametrize(
    "key", ["", "sb_publishable_of_another_project", SECRET_KEY, SERVICE_ROLE, PUBLISHABLE_KEY[:-1], "\u00e4"]
)
def test_a_key_that_is_not_listed_is_refused(key: str, face: Client, supabase: Supabase) -> None:
    """A key's form proves nothing."""
    environ = {"HTTP_APIKEY": key} if key else {}
    answer = log_in(face, headers={}, environ_overrides=environ)

    assert (answer.status_code, answer.headers["x-sb-error-code"]) == (401, "invalid_api_key")
    assert supabase.asked == []
    is_secret = key in {SECRET_KEY, SERVICE_ROLE}
    assert ("secret key" in answer.get_json()["hint"]) == is_secret


@pytest.mark.parametrize("key", [SECRET_KEY, SERVICE_ROLE])
@pytest.mark.parametrize("path", [f"{TOKEN}password", "/auth/v1/otp", "/auth/v1/settings", "/auth/v1/user"])
def test_a_secret_key_as_bearer_token_is_refused_too(path: str, key: str, face: Client, supabase: Supabase) -> None:
    headers = {**KEYS, "Authorization": f"Bearer {key}"}
    method = "POST" if path.startswith((TOKEN, "/auth/v1/otp")) else "GET"

    answer = face.open(path, method=method, headers=headers, json={"email": EMAIL} if method == "POST" else None)

    assert (answer.status_code, answer.headers["x-sb-error-code"]) == (401, "invalid_api_key")
    assert "secret key" in answer.get_json()["hint"]
    assert supabase.asked == []


@pytest.mark.parametrize("key", [PUBLISHABLE_KEY, OTHER_KEY])
def test_a_listed_key_is_taken_from_the_header_or_the_query(key: str, face: Client) -> None:
    assert log_in(face, headers={"apikey": key}).status_code == 200
    query = f"{TOKEN}password&apikey={key}"
    assert face.post(query, json={"email": EMAIL, "password": "x"}).status_code == 200


def test_the_older_key_is_taken_beside_the_new_one() -> None:
    settings = Settings.from_environment({**ENVIRONMENT, "SUPABASE_ANON_KEY": "k" * 20})

    assert settings.client_keys == (PUBLISHABLE_KEY, "k" * 20)


@pytest.mark.parametrize("listed", [SECRET_KEY, SERVICE_ROLE, "short"])
def test_no_secret_key_can_be_listed(listed: str) -> None:
    found = Settings.from_environment({**ENVIRONMENT, "AUTH_CLIENT_KEYS": listed}).errors

    assert [error.variable for error in found] == ["AUTH_CLIENT_KEYS"]
    assert listed not in str(found)


def test_without_any_key_the_settings_are_wrong() -> None:
    given = {**ENVIRONMENT, "AUTH_SUPABASE_API": "on", "SUPABASE_PUBLISHABLE_KEY": ""}

    assert "AUTH_SUPABASE_API" in [error.variable for error in Settings.from_environment(given).errors]


def test_it_is_off_by_default(client: Client) -> None:
    assert client.post(f"{TOKEN}password", json={}).get_json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/authorize?provider=github"),
        ("GET", "/verify?token=a&type=signup"),
        ("GET", "/callback?code=a&state=b"),
        ("POST", "/callback"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/.well-known/openid-configuration"),
        ("GET", "/sso/saml/metadata"),
        ("POST", "/sso/saml/acs"),
    ],
)
def test_a_navigation_needs_no_key(method: str, path: str, face: Client) -> None:
    assert face.open(f"/auth/v1{path}", method=method, data=b"a=b" if method == "POST" else None).status_code == 200


def test_a_redirect_is_handed_to_the_client_and_not_followed(face: Client, supabase: Supabase) -> None:
    supabase.says(
        {}, 302, Location="https://provider.example/?state=1", **{"Set-Cookie": "a=b", "sb-auth-user-id": "x"}
    )

    answer = face.get("/auth/v1/authorize?provider=github&redirect_to=https://evil.example&scopes=a&apikey=b")

    assert (answer.status_code, answer.headers["Location"]) == (302, "https://provider.example/?state=1")
    assert not {"Set-Cookie", "sb-auth-user-id"} & set(answer.headers.keys())
    (asked,) = supabase.asked
    assert asked.url == f"{API}/authorize?provider=github&scopes=a"
    assert "Referer" not in asked.headers


@pytest.mark.parametrize("place", ["query", "header"])
@pytest.mark.parametrize(
    ("address", "is_passed"), [("https://app.example.com/a", True), ("https://evil.example", False)]
)
def test_only_listed_addresses_go_on(
    place: str, address: str, is_passed: bool, make_client: MakeClient, supabase: Supabase
) -> None:
    face = make_client(AUTH_SUPABASE_API="on", AUTH_MAIL_DELAY_MS="0", AUTH_REDIRECT_URLS="https://app.example.com")
    supabase.says({})
    given = {"query_string": {"redirect_to": address}} if place == "query" else {}
    headers = {**KEYS, **({"redirect_to": address} if place == "header" else {}), "Referer": "https://evil.example/r"}

    answer = face.post("/auth/v1/recover", json={"email": EMAIL}, headers=headers, **given)

    assert (answer.status_code, answer.get_json()) == (200, {})
    (asked,) = supabase.asked
    assert ("redirect_to=" in asked.url) == is_passed
    assert "evil.example" not in str(asked.headers) + asked.url


@pytest.mark.parametrize("path", ["/callback", "/sso/saml/acs"])
def test_a_form_leads_to_listed_addresses_only(path: str, make_client: MakeClient, supabase: Supabase) -> None:
    """What a provider has a browser post goes on byte by byte, but for an address that is not allowed."""
    face = make_client(AUTH_SUPABASE_API="on", AUTH_REDIRECT_URLS="https://app.example.com")
    supabase.says({})
    others = "state=a&user=%7B%22name%22%3A%22Zo%C3%AB%22%7D&code=%FF%2B&empty="

    for address in ("https://evil.example/", "https://app.example.com/a"):
        form = f"redirect%5Fto={quote(address, safe='')}&{others}"
        face.post(f"/auth/v1{path}", data=form, content_type="application/x-www-form-urlencoded")
    many = face.post(f"/auth/v1{path}", data="a=1&" * 100, content_type="application/x-www-form-urlencoded")

    allowed = "redirect_to=https%3A%2F%2Fapp.example.com%2Fa"
    assert [one.body.decode() for one in supabase.asked] == [others, f"{allowed}&{others}"]
    assert many.status_code == 400


@pytest.mark.parametrize(
    ("address", "is_passed"), [("https://app.example.com/a", True), ("https://evil.example", False)]
)
def test_single_sign_on_names_its_address_in_the_body(
    address: str, is_passed: bool, make_client: MakeClient, supabase: Supabase
) -> None:
    """As supabase-js sends it."""
    face = make_client(AUTH_SUPABASE_API="on", AUTH_REDIRECT_URLS="https://app.example.com")
    supabase.says({"url": "https://idp.example"})

    face.post("/auth/v1/sso", json={"domain": "example.com", "redirect_to": address}, headers=KEYS)

    (asked,) = supabase.asked
    assert json.loads(asked.body) == {"domain": "example.com", **({"redirect_to": address} if is_passed else {})}


def test_the_key_in_authorization_is_dropped(face: Client, supabase: Supabase) -> None:
    """Beside our own key it would be a token; supabase-js sends it before anybody has signed in."""
    sent = {**KEYS, "Authorization": f"Bearer {PUBLISHABLE_KEY}"}
    supabase.says({})

    assert face.get("/auth/v1/settings", headers=sent).status_code == 200
    assert face.get("/auth/v1/user", headers=sent).status_code == 401
    (asked,) = supabase.asked
    assert "Authorization" not in asked.headers


def test_none_of_five_thousand_hostile_requests_reaches_supabase(face: Client, supabase: Supabase) -> None:
    statuses = set()
    for hostile in hostile_requests(5_000):
        environ = EnvironBuilder("/auth/v1", headers=list(bearer().items())).get_environ()
        changes: dict[str, Any] = {
            "REQUEST_METHOD": hostile.method,
            "PATH_INFO": hostile.path.encode().decode("latin-1"),
            "RAW_URI": hostile.raw,
            "QUERY_STRING": hostile.query,
        }
        response = face.run_wsgi_app({**environ, **changes})
        statuses.add(int(response[1][:3]))
        assert not supabase.asked, hostile

    assert statuses <= {400, 404, 405}


@pytest.mark.parametrize("path", ["/admin/users", "/invite", "/scim/v2/Users", "/nowhere", "", "/"])
def test_administration_is_404_in_supabase_s_format(path: str, face: Client) -> None:
    assert face.get(f"/auth/v1{path}", headers=NEW).get_json() == {
        "code": "not_found",
        "message": "There is no such route here",
    }


@pytest.mark.parametrize(
    "path", ["/rest/v1/users", "/storage/v1/object/a", "/realtime/v1/websocket", "/functions/v1/f"]
)
def test_the_other_services_are_at_the_project(path: str, face: Client) -> None:
    answer = face.get(path, headers=KEYS)

    body = answer.get_json()
    assert answer.status_code == 404
    assert PROJECT in body["hint"]
    assert body["message"] == body["hint"], "what supabase-js shows as error.message"
    assert body["error_code"] == "not_found"


def test_head_spends_no_link(face: Client, supabase: Supabase) -> None:
    assert face.head("/auth/v1/verify?token=a&type=signup").status_code == 405
    assert supabase.asked == []


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (None, {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}),
        ("2023-12-31", {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}),
        ("rubbish", {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}),
        ("2024-01-01", {"code": "invalid_credentials", "message": "Invalid login credentials"}),
        ("2026-01-01", {"code": "invalid_credentials", "message": "Invalid login credentials"}),
    ],
)
def test_both_formats(version: str | None, body: dict[str, Any], face: Client, supabase: Supabase) -> None:
    supabase.refuses("invalid_credentials")
    headers = {**KEYS, **({"X-Supabase-Api-Version": version} if version else {})}

    answer = log_in(face, headers=headers)

    assert answer.get_json() == body
    assert answer.headers["x-sb-error-code"] == "invalid_credentials"
    assert answer.headers.get("X-Supabase-Api-Version") == ("2024-01-01" if "message" in body else None)


@pytest.mark.parametrize("code", ["user_banned", "invalid_credentials", "user_not_found", "unknown"])
def test_whatever_is_wrong_with_the_credentials_is_one_answer(code: str, face: Client, supabase: Supabase) -> None:
    supabase.refuses(code)

    assert log_in(face, headers=NEW).get_json() == {
        "code": "invalid_credentials",
        "message": "Invalid login credentials",
    }


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/token?grant_type=password", "password"),
        ("POST", "/signup", "password"),
        ("PUT", "/user", "password"),
        ("PUT", "/user", "current_password"),
    ],
)
def test_a_password_has_as_many_bytes_as_in_the_service_s_own_api(
    method: str, path: str, name: str, face: Client, supabase: Supabase
) -> None:
    """Bytes, not characters: each of these has two."""
    body = {"email": EMAIL, "password": "x"} if method == "POST" else {"password": "x"}

    refused = face.open(f"/auth/v1{path}", method=method, json={**body, name: "\u00e4" * 513}, headers=bearer())
    asked = len(supabase.asked)
    face.open(f"/auth/v1{path}", method=method, json={**body, name: "\u00e4" * 512}, headers=bearer())

    assert (refused.status_code, refused.headers["x-sb-error-code"]) == (400, "validation_failed")
    assert asked == 0
    assert len(supabase.asked) >= 1


@pytest.mark.parametrize("code", ["invalid_api_key", "no_authorization", "not_admin"])
def test_a_refusal_of_our_own_key_is_not_the_client_s(code: str, face: Client, supabase: Supabase) -> None:
    supabase.refuses(code, 401)

    answer = log_in(face, headers=NEW)

    assert (answer.status_code, answer.get_json()["code"]) == (503, "unexpected_failure")


def test_a_weak_password_says_why(face: Client, supabase: Supabase) -> None:
    why = {"reasons": ["length"]}
    supabase.says({"code": "weak_password", "message": "too short", "weak_password": why}, 422)

    answer = face.put("/auth/v1/user", json={"password": "a"}, headers={**bearer(), **NEW})

    assert answer.status_code == 422
    assert answer.get_json() == {"code": "weak_password", "message": "too short", "weak_password": why}


def test_a_change_needs_a_recent_sign_in(face: Client, supabase: Supabase) -> None:
    now = time.time()
    stale = KEY.token(claims_at(now, iss=API, sub=SESSION["user"]["id"], amr=[{"method": "password", "timestamp": 1}]))
    headers = {**NEW, "Authorization": f"Bearer {stale}"}

    for body in ({"password": "another horse"}, {"email": "b@example.com"}, {"phone": "15551234567"}):
        answer = face.put("/auth/v1/user", json=body, headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "reauthentication_needed")
    assert face.post("/auth/v1/factors", json={"factor_type": "totp"}, headers=headers).status_code == 400
    assert face.get("/auth/v1/user/identities/authorize?provider=github", headers=headers).status_code == 400
    assert supabase.asked == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_limit_of_supabase_never_ends_a_session(status: int, face: Client, supabase: Supabase) -> None:
    """supabase-js ends the session after a 429 of a refresh."""
    supabase.refuses("over_request_rate_limit", status)

    answer = face.post(f"{TOKEN}refresh_token", json={"refresh_token": "abcdefghijkl"}, headers=KEYS)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_limit_of_ours_never_ends_a_session_either(make_client: MakeClient, supabase: Supabase) -> None:
    face = make_client(AUTH_SUPABASE_API="on", AUTH_SESSION_CALLS_PER_S="1")
    supabase.refuses("unknown")

    answers = [
        face.post(f"{TOKEN}refresh_token", json={"refresh_token": f"token{number:07}"}, headers=KEYS).status_code
        for number in range(40)
    ]

    assert answers[0] == 400
    assert answers[-1] == 503
    assert set(answers) == {400, 503}


def test_a_guesser_is_stopped_in_supabase_s_words(face: Client, supabase: Supabase) -> None:
    supabase.refuses("invalid_credentials")

    answers = [log_in(face, headers=NEW) for _ in range(20)]

    statuses = [answer.status_code for answer in answers]
    assert statuses == sorted(statuses)
    assert len(supabase.asked) == statuses.count(400) <= 10
    assert answers[-1].get_json()["code"] == "over_request_rate_limit"
    assert int(answers[-1].headers["Retry-After"]) >= 25


def test_both_faces_share_one_budget_of_guesses(face: Client, supabase: Supabase) -> None:
    supabase.refuses("invalid_credentials")
    body = {"email": EMAIL, "password": "x"}

    for _ in range(10):
        log_in(face)
        face.post("/api/v1/auth/login", json=body)

    alone = len(supabase.asked)
    assert alone <= 10
    assert log_in(face).status_code == 429
    assert face.post("/api/v1/auth/login", json=body).status_code == 429


@pytest.mark.slow
def test_of_five_hundred_parallel_guesses_few_reach_supabase(make_client: MakeClient, supabase: Supabase) -> None:
    """Truly parallel: counted before Supabase is asked."""
    face = make_client(AUTH_SUPABASE_API="on", LOGIN_CONCURRENCY="20", GUNICORN_THREADS="600")
    supabase.refuses("invalid_credentials")
    together = threading.Barrier(50)

    def guess(number: int) -> int:
        if number < 50:
            together.wait(60)
        return log_in(face, environ_overrides={"REMOTE_ADDR": "203.0.113.7"}).status_code

    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(guess, range(500)))

    assert len(supabase.asked) <= 5
    assert set(statuses) <= {400, 429, 503}


def test_strangers_do_not_lock_the_owner_out(face: Client, supabase: Supabase) -> None:
    assert log_in(face, environ_overrides={"REMOTE_ADDR": "198.51.100.1"}).status_code == 200
    supabase.refuses("invalid_credentials")
    for number in range(60):
        log_in(face, environ_overrides={"REMOTE_ADDR": f"203.0.{number}.7"})
    supabase.says(proven())

    assert log_in(face, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 429
    assert log_in(face, environ_overrides={"REMOTE_ADDR": "198.51.100.1"}).status_code == 200


@pytest.mark.parametrize(
    "call",
    [
        lambda face: log_in(face, email="somebody-else@example.com"),
        lambda face: face.get("/auth/v1/user", headers={**bearer(), **_of_another()}),
    ],
)
def test_the_answer_of_another_user_is_dropped(
    call: Callable[[Client], TestResponse], face: Client, supabase: Supabase, logs: LogLines
) -> None:
    supabase.says(SESSION["user"] if "user" in str(call.__code__.co_consts) else proven())

    assert call(face).status_code == 503
    assert "another user" in str(logs)


def test_twenty_refreshes_of_one_token_are_one_call(face: Client, supabase: Supabase) -> None:
    def refresh(number: int) -> Any:
        own = number % 4 == 0
        path = "/api/v1/auth/refresh" if own else f"{TOKEN}refresh_token"
        answer = face.post(path, json={"refresh_token": "abcdefghijkl"}, headers=KEYS)
        return answer.get_json()["access_token"]

    with ThreadPoolExecutor(20) as pool:
        tokens = set(pool.map(refresh, range(20)))

    assert tokens == {supabase.body["access_token"]}
    assert len(supabase.asked) == 1


def test_a_logout_is_known_to_both_faces(face: Client, supabase: Supabase) -> None:
    headers = {**bearer(), **NEW}
    supabase.says(SESSION["user"])
    assert face.get("/auth/v1/user", headers=headers).status_code == 200
    supabase.says({}, 204)
    face.post("/auth/v1/logout?scope=local", headers=headers)

    assert face.get("/api/v1/auth/verify", headers=headers).status_code == 401
    answer = face.get("/auth/v1/user", headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "session_not_found")


def test_a_login_is_counted_as_one(face: Client, supabase: Supabase, logs: LogLines) -> None:
    """So that service level, metrics, alerts and audit know no difference."""
    log_in(face)
    supabase.refuses("invalid_credentials")
    log_in(face)

    counted = face.get("/metrics").get_data(as_text=True)
    assert re.search(r'logins_total\{outcome="ok"\} 1', counted)
    assert re.search(r'logins_total\{outcome="invalid_credentials"\} 1', counted)
    assert EMAIL not in str(logs)


def _of_another() -> dict[str, str]:
    other = KEY.token(claims_at(time.time(), iss=API, sub="00000000-0000-4000-8000-000000000001"))
    return {"Authorization": f"Bearer {other}"}


@pytest.mark.parametrize("path", ["otp", "recover", "resend", "magiclink"])
@pytest.mark.parametrize("code", ["otp_disabled", "signup_disabled", "over_sms_send_rate_limit", "a_new_refusal", "x"])
def test_no_refusal_of_a_mail_tells_who_exists(path: str, code: str, face: Client, supabase: Supabase) -> None:
    supabase.refuses(code, 422)
    body = {"email": EMAIL, "type": "signup", "create_user": False}

    answer = face.post(f"/auth/v1/{path}", json=body, headers=KEYS)

    assert (answer.status_code, answer.data) == (200, b"{}")


@pytest.mark.parametrize("code", ["phone_provider_disabled", "validation_failed", "captcha_failed"])
def test_what_is_decided_before_the_account_is_told(code: str, face: Client, supabase: Supabase) -> None:
    supabase.refuses(code)

    answer = face.post("/auth/v1/otp", json={"phone": "+15550001"}, headers=NEW)

    assert (answer.status_code, answer.get_json()) == (400, {"code": code, "message": f"because of {code}"})


def test_the_session_of_another_address_is_dropped(face: Client, supabase: Supabase, logs: LogLines) -> None:
    body = {"type": "email", "email": "somebody-else@example.com", "token": "123456"}

    assert face.post("/auth/v1/verify", json=body, headers=KEYS).status_code == 503
    assert face.post("/auth/v1/verify", json={**body, "email": EMAIL}, headers=KEYS).status_code == 200
    assert "another user" in str(logs)


@pytest.mark.parametrize("error", [Throttled("too many"), UpstreamThrottled("too many")])
def test_no_limit_at_all_is_a_429_for_a_refresh(error: Exception) -> None:
    environ = {CONTEXT: RequestContext(request_id="a", address="", arrived_s=0.0)}

    assert refuse(error, environ, never_429=True).status.startswith("503")
    assert refuse(error, environ, never_429=False).status.startswith("429")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.TooLarge("a"), 413, "request_entity_too_large"),
        (errors.HeadersTooLarge("a"), 431, "headers_too_large"),
        (errors.UriTooLong("a"), 414, "uri_too_long"),
        (errors.RequestTimeout("a"), 503, "request_timeout"),
        (errors.Busy("a"), 503, "unexpected_failure"),
        (Throttled("a", retry_after_s=3), 503, "over_request_rate_limit"),
    ],
)
def test_what_the_server_refuses_itself_is_refused_in_supabase_s_format(
    error: Exception, status: int, code: str, face: Client
) -> None:
    """Nothing ends a session that goes on: after 408 and 429 a client gives up, after 503 it tries again."""
    answer = face.post("/auth/v1/token", headers=NEW, environ_overrides={REFUSED: error})
    own = face.post("/api/v1/auth/login", environ_overrides={REFUSED: error})

    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert set(answer.get_json()) == {"code", "message"}
    assert answer.headers["X-Supabase-Api-Version"] == "2024-01-01"
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "detail" in own.get_json()


def test_a_wait_is_the_same_whole_seconds_as_on_the_own_api(face: Client) -> None:
    error = Throttled("a", retry_after_s=30.0 + 6e-11)
    paths = ("/auth/v1/token", "/api/v1/auth/login")

    waits = [face.post(path, environ_overrides={REFUSED: error}).headers["Retry-After"] for path in paths]

    assert waits == ["30", "30"]


def test_every_error_of_ours_has_a_row_with_a_status_that_clients_know() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    rows = {kind: next(TABLE[each] for each in kind.__mro__ if each in TABLE) for kind in kinds}

    assert [kind for kind, row in rows.items() if row.status == 500] == [errors.VelroAuthError]
    assert all(row.status == 503 for kind, row in rows.items() if issubclass(kind, (UpstreamError, Unready)))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/signup", {"email": "a@example.com", "password": "x", "data": {"a": ["\x00"]}}),
        ("POST", "/signup", {"email": "a@example.com", "password": "x", "data": {"a\x00": 1}}),
        ("POST", "/token?grant_type=password", {"email": "a\x00@example.com", "password": "x"}),
        ("POST", "/token?grant_type=password", {"email": "a@example.com", "password": "\ud800"}),
        ("POST", "/recover", {"email": "\x00"}),
        ("PUT", "/user", {"data": {"a": "\x00"}}),
        ("GET", "/verify?token=%00&type=signup", None),
        ("GET", "/authorize?provider=%00", None),
        ("POST", "/factors", {"factor_type": "totp", "issuer": "\u00e4" * 100}),
    ],
)
def test_what_would_make_supabase_fail_is_not_passed_on(
    method: str, path: str, body: Any, face: Client, supabase: Supabase
) -> None:
    """Five such requests of anybody would open a circuit breaker for everybody."""
    answer = face.open(f"/auth/v1{path}", method=method, json=body, headers=bearer())

    assert answer.status_code == 400
    assert supabase.asked == []


@pytest.mark.parametrize(
    ("code", "status"), [("email_exists", 200), ("email_address_invalid", 200), ("validation_failed", 422)]
)
def test_a_new_address_is_told_to_be_wrong_by_its_form_alone(
    code: str, status: int, face: Client, supabase: Supabase
) -> None:
    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        if request.method == "GET":
            return 200, {}, json.dumps(SESSION["user"])
        return 422, {}, json.dumps({"code": code, "message": "no"})

    supabase.answer = answer

    response = face.put("/auth/v1/user", json={"email": "b@example.com"}, headers={**bearer(), **NEW})

    assert response.status_code == status


def test_no_secret_of_a_client_is_logged_or_counted(face: Client, supabase: Supabase, logs: LogLines) -> None:
    secrets = {
        name: f"canary-{name}-0123456789" for name in ("password", "refresh", "code", "hash", "nonce", "address")
    }
    address = f"{secrets['address']}@example.com"
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/token?grant_type=password", {"email": address, "password": secrets["password"]}),
        ("POST", "/token?grant_type=refresh_token", {"refresh_token": secrets["refresh"]}),
        ("POST", "/token?grant_type=pkce", {"auth_code": secrets["code"], "code_verifier": secrets["code"]}),
        ("POST", "/verify", {"type": "email", "email": address, "token": secrets["code"]}),
        ("POST", "/verify", {"type": "signup", "token_hash": secrets["hash"]}),
        ("GET", f"/verify?type=signup&token={secrets['hash']}", None),
        ("POST", "/recover", {"email": address}),
        ("POST", "/signup", {"email": address, "password": secrets["password"], "data": {"a": secrets["code"]}}),
        ("PUT", "/user", {"password": secrets["password"], "nonce": secrets["nonce"]}),
        ("PUT", "/user", {"email": address}),
        ("GET", f"/callback?code={secrets['code']}&state=b", None),
    ]
    for status in (200, 400, 500):
        supabase.says({**proven(), "code": "refused", "message": "no"}, status)
        for method, path, body in calls:
            face.open(f"/auth/v1{path}", method=method, json=body, headers=bearer())

    seen = str(logs) + face.get("/metrics").get_data(as_text=True)
    assert "/auth/v1/token" in seen
    assert [name for name, secret in secrets.items() if secret in seen] == []
    assert bearer()["Authorization"].partition(".")[0] not in seen


def test_it_speaks_tokens_where_browsers_get_cookies(make_client: MakeClient, supabase: Supabase) -> None:
    face = make_client(
        AUTH_SUPABASE_API="on",
        AUTH_COOKIE_SESSIONS="on",
        AUTH_COOKIE_KEYS="k" * 40,
        AUTH_PUBLIC_URL="https://a.example",
    )
    browser = {**KEYS, "Origin": "https://app.example.com", "Sec-Fetch-Site": "same-site"}

    answer = log_in(face, headers=browser)

    assert answer.get_json()["access_token"] == supabase.body["access_token"]
    assert "Set-Cookie" not in answer.headers
    cookie = {"Cookie": "__Host-velro_session=anything"}
    assert face.get("/auth/v1/user", headers={**browser, **cookie}).status_code == 401


def test_links_cannot_be_guessed(face: Client, supabase: Supabase) -> None:
    """A GET counts too, whose refusal is a redirect."""
    refused = "https://app.example.com/w?x=1#error=access_denied&error_code=otp_expired&sb="
    answers = []
    for number in range(20):
        supabase.says("", 303, Location=refused)
        answers.append(face.get(f"/auth/v1/verify?token=guess{number}&type=recovery").status_code)
        supabase.refuses("otp_expired", 403)
        body = {"token_hash": f"guess{number}", "type": "recovery"}
        answers.append(face.post("/auth/v1/verify", json=body, headers=KEYS).status_code)

    assert answers == [303, 403] * 5 + [429] * 30
    assert len(supabase.asked) == 10


def test_good_links_are_not_counted(face: Client, supabase: Supabase) -> None:
    supabase.says("", 303, Location="https://app.example.com/w?error=x#access_token=x")

    answers = {face.get(f"/auth/v1/verify?token=link{number}&type=signup").status_code for number in range(30)}

    assert answers == {303}


@pytest.mark.parametrize(("query", "is_passed"), [("", True), ("?next=https://evil.example/", False)])
@pytest.mark.parametrize("path", ["otp", "recover", "resend", "signup", "user"])
def test_a_mail_leads_to_no_address_with_a_query(
    path: str, query: str, is_passed: bool, make_client: MakeClient, supabase: Supabase
) -> None:
    settings = {"AUTH_REDIRECT_URLS": "https://app.example.com", "AUTH_MAIL_DELAY_MS": "0"}
    client = make_client(AUTH_SUPABASE_API="on", **settings)
    method, headers = ("PUT", bearer()) if path == "user" else ("POST", KEYS)
    body = {"email": EMAIL, "password": "correct horse", "type": "signup"}
    if path == "user":
        body = {"email": "new@example.com"}
        supabase.says(SESSION["user"])

    client.open(
        f"/auth/v1/{path}",
        method=method,
        json=body,
        headers=headers,
        query_string={"redirect_to": f"https://app.example.com/welcome{query}"},
    )

    asked = [request.url for request in supabase.asked if request.method == method and f"/{path}" in request.url]
    assert ["redirect_to=" in url for url in asked] == [is_passed]


def test_a_link_that_is_followed_twice_at_once_is_answered_twice(face: Client, supabase: Supabase) -> None:
    supabase.says("", 303, Location="https://app.example.com/w#access_token=x")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: face.get("/auth/v1/verify?token=link&type=signup").status_code, range(8)))

    assert answers == [303] * 8
