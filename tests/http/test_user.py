"""Changes of a user and second factors through both lanes, with Supabase faked: what the stand-in does not do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, SECRET_KEY, LogLines, MakeClient
from tests.fixtures.tokens import SESSION_ID, USER_ID, SigningKey, claims_at, document
from tests.upstream_double import PROJECT, SESSION, TOKEN, session
from velro_auth.app import Service

API = "/api/v1/auth"
AUTH = f"{PROJECT}/auth/v1"
USERS = f"{PROJECT}/rest/v1/users"
FACTOR = "3f0f8f7e-3b0a-4a53-9f0e-0a5a4f5b9d11"
CHALLENGE = "5b0f8f7e-3b0a-4a53-9f0e-0a5a4f5b9d22"
OTHER_SESSION = "00000000-0000-4000-8000-000000000009"
OTHER_ID = "00000000-0000-4000-8000-000000000001"
NEW_PASSWORD = "canary-of-the-new-password"
KEY = SigningKey("key-1")


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{AUTH}/.well-known/jwks.json", body=document([KEY]))
        yield mock


def token(**changes: Any) -> str:
    return KEY.token(claims_at(time.time(), **{"iss": AUTH, **changes}))


def bearer(**changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**changes)}"}


def stepped_up(**changes: Any) -> dict[str, Any]:
    """Return the body of a successful proof of a factor."""
    access_token = token(aal="aal2", **changes)
    return session(access_token=access_token, user={**SESSION["user"], "id": USER_ID})


def verify_factor(client: Client, code: str = "123456", **body: Any) -> TestResponse:
    path = f"{API}/factors/{FACTOR}/verify"
    address = {"REMOTE_ADDR": "198.51.100.7"}
    return client.post(path, json={"code": code, **body}, headers=bearer(), environ_overrides=address)


def asked(supabase: responses.RequestsMock, path: str) -> list[Any]:
    return [call.request for call in supabase.calls if str(call.request.url).startswith(AUTH + path)]


def provable(supabase: responses.RequestsMock, **answer: Any) -> None:
    """Let Supabase make challenges, and answer codes with *answer*."""
    made = {"id": CHALLENGE, "type": "totp", "expires_at": int(time.time()) + 300}
    supabase.post(f"{AUTH}/factors/{FACTOR}/challenge", json=made)
    supabase.post(f"{AUTH}/factors/{FACTOR}/verify", **(answer or {"json": stepped_up()}))


# Second factors


def test_both_calls_of_a_proof_tell_supabase_one_address(client: Client, supabase: responses.RequestsMock) -> None:
    """Supabase binds a challenge to the address that asked for it."""
    provable(supabase)

    answer = verify_factor(client)

    assert answer.status_code == 200
    sent = asked(supabase, "/factors/")
    assert [json.loads(request.body) for request in sent] == [{}, {"challenge_id": CHALLENGE, "code": "123456"}]
    assert [request.headers["Sb-Forwarded-For"] for request in sent] == ["198.51.100.7"] * 2
    assert {request.headers["apikey"] for request in sent} == {SECRET_KEY}


def test_a_challenge_that_is_given_is_used(client: Client, supabase: responses.RequestsMock) -> None:
    provable(supabase)

    assert verify_factor(client, "123 456", challenge_id=CHALLENGE.upper()).status_code == 200

    [request] = asked(supabase, "/factors/")
    assert json.loads(request.body) == {"challenge_id": CHALLENGE, "code": "123456"}


@pytest.mark.parametrize(
    "body",
    [{}, {"code": "12345"}, {"code": "12345x"}, {"code": 123456}, {"code": "123456", "challenge_id": "x"}],
)
def test_what_is_no_code_is_not_asked_about(
    client: Client, supabase: responses.RequestsMock, body: dict[str, Any]
) -> None:
    answer = client.post(f"{API}/factors/{FACTOR}/verify", json=body, headers=bearer())

    assert_problem(answer, 422, "invalid_request")
    assert asked(supabase, "/factors/") == []


def test_parallel_wrong_codes_do_not_pass_the_budget(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    client = make_client(GUNICORN_THREADS="80", LOGIN_CONCURRENCY="60")
    provable(supabase, json={"code": "mfa_verification_failed"}, status=422)

    with ThreadPoolExecutor(30) as pool:
        statuses = sorted(pool.map(lambda _: verify_factor(client).status_code, range(100)))

    assert set(statuses) <= {401, 429, 503}
    assert len(asked(supabase, f"/factors/{FACTOR}/verify")) == statuses.count(401) <= 5


def test_wrong_codes_count_and_refused_tokens_do_not(client: Client, supabase: responses.RequestsMock) -> None:
    """Somebody with a token of a session that Supabase ended must not use up the owner's tries."""
    provable(supabase, json={"code": "session_not_found"}, status=403)
    for _ in range(8):
        assert_problem(verify_factor(client), 401, "token_invalid")
    supabase.replace(
        responses.POST, f"{AUTH}/factors/{FACTOR}/verify", json={"code": "mfa_verification_failed"}, status=422
    )

    answers = [verify_factor(client) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert_problem(answers[0], 401, "code_invalid")
    assert_problem(answers[5], 429, "too_many_attempts")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("mfa_verification_failed", 422, (401, "code_invalid")),
        ("mfa_challenge_expired", 422, (401, "code_invalid")),
        ("mfa_ip_address_mismatch", 422, (401, "code_invalid")),
        ("mfa_factor_not_found", 404, (404, "not_found")),
        ("mfa_factor_not_found", 422, (404, "not_found")),
        ("mfa_totp_verify_not_enabled", 422, (403, "not_enabled")),
        ("user_banned", 403, (401, "token_invalid")),
        ("over_request_rate_limit", 429, (429, "upstream_throttled")),
        ("unexpected_failure", 500, (503, "upstream_error")),
    ],
)
def test_what_supabase_says_about_a_code_has_its_meaning(
    client: Client, supabase: responses.RequestsMock, code: str, status: int, expected: tuple[int, str]
) -> None:
    provable(supabase, json={"code": code}, status=status)

    assert_problem(verify_factor(client), *expected)


@pytest.mark.parametrize("claims", [{"sub": OTHER_ID}, {"session_id": OTHER_SESSION}])
def test_a_session_of_another_user_is_no_answer_to_a_proof(
    client: Client, supabase: responses.RequestsMock, claims: dict[str, str]
) -> None:
    body = stepped_up(**claims)
    body["user"]["id"] = claims.get("sub", USER_ID)
    provable(supabase, json=body)

    assert_problem(verify_factor(client), 503, "upstream_error")


def test_lower_sessions_end_by_the_clock_of_supabase(client: Client, supabase: responses.RequestsMock) -> None:
    at_s = int(time.time()) - 20
    provable(supabase, json=stepped_up(), headers={"Date": formatdate(at_s, usegmt=True)})
    older, younger = bearer(session_id=OTHER_SESSION, iat=at_s), bearer(session_id=OTHER_SESSION, iat=at_s + 1)
    own = {"Authorization": f"Bearer {token(iat=at_s - 5)}"}

    answer = client.post(f"{API}/factors/{FACTOR}/verify", json={"code": "123456"}, headers=own)

    assert answer.status_code == 200
    assert client.get(f"{API}/verify", headers=older).status_code == 401
    assert client.get(f"{API}/verify", headers=younger).status_code == 200
    assert (
        client.get(f"{API}/verify", headers=bearer(session_id=OTHER_SESSION, iat=at_s, aal="aal2")).status_code == 200
    )


def test_a_session_that_ends_during_its_proof_stays_ended(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.post(f"{AUTH}/logout?scope=global", status=204)
    made = {"id": CHALLENGE, "type": "totp", "expires_at": 1}
    supabase.post(f"{AUTH}/factors/{FACTOR}/challenge", json=made)

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        assert client.post(f"{API}/logout", headers=bearer()).status_code == 200
        return 200, {}, json.dumps(stepped_up())

    supabase.add_callback(responses.POST, f"{AUTH}/factors/{FACTOR}/verify", answer, content_type="application/json")

    assert_problem(verify_factor(client), 401, "token_invalid")


def test_a_large_picture_of_a_factor_fits(client: Client, supabase: responses.RequestsMock) -> None:
    """The real server's QR codes take 360 kB, before JSON escapes them."""
    svg = '<svg viewBox="0 0 1 1">\n' * 18_000
    totp = {"qr_code": svg, "secret": "S" * 32, "uri": "otpauth://totp/x"}
    supabase.post(f"{AUTH}/factors", json={"id": FACTOR, "type": "totp", "friendly_name": "", "totp": totp})

    answer = client.post(f"{API}/factors", json={"type": "totp"}, headers=bearer())

    assert answer.status_code == 201
    assert answer.get_json() == {"id": FACTOR, "type": "totp", "friendly_name": None, "totp": totp}


@pytest.mark.parametrize("status", [401, 403, 422])
def test_too_low_a_level_is_403_whatever_its_status_at_supabase(
    client: Client, supabase: responses.RequestsMock, status: int
) -> None:
    refusal = {"json": {"code": "insufficient_aal"}, "status": status}
    supabase.post(f"{AUTH}/factors", **refusal)
    supabase.delete(f"{AUTH}/factors/{FACTOR}", **refusal)
    supabase.put(f"{AUTH}/user", **refusal)

    for method, path, body in (
        ("POST", "/factors", {"type": "totp"}),
        ("DELETE", f"/factors/{FACTOR}", {}),
        ("PUT", "/password", {"password": NEW_PASSWORD}),
        ("PATCH", "/me", {"email": "new@example.com"}),
    ):
        answer = client.open(API + path, method=method, json=body, headers=bearer())
        assert_problem(answer, 403, "insufficient_aal")


# Passwords


def test_other_sessions_end_with_a_new_password_by_the_clock_of_supabase(
    client: Client, supabase: responses.RequestsMock
) -> None:
    at_s = int(time.time()) - 20
    supabase.put(f"{AUTH}/user", json={"id": USER_ID}, headers={"Date": formatdate(at_s, usegmt=True)})
    own = {"Authorization": f"Bearer {token(iat=at_s - 5)}"}

    answer = client.put(f"{API}/password", json={"password": NEW_PASSWORD}, headers=own)

    assert answer.status_code == 204
    for aal in ("aal1", "aal2"):
        older = bearer(session_id=OTHER_SESSION, iat=at_s, aal=aal)
        assert client.get(f"{API}/verify", headers=older).status_code == 401
    younger = bearer(session_id=OTHER_SESSION, iat=at_s + 1)
    assert client.get(f"{API}/verify", headers=younger).status_code == 200
    assert client.get(f"{API}/verify", headers=own).status_code == 200


@pytest.mark.parametrize(
    "refusal", [{"json": {"code": "same_password"}, "status": 422}, {"body": "<html>", "status": 502}]
)
def test_a_password_that_was_not_changed_ends_nothing(
    client: Client, supabase: responses.RequestsMock, refusal: dict[str, Any]
) -> None:
    supabase.put(f"{AUTH}/user", **refusal)

    assert client.put(f"{API}/password", json={"password": NEW_PASSWORD}, headers=bearer()).status_code >= 400

    assert client.get(f"{API}/verify", headers=bearer(session_id=OTHER_SESSION)).status_code == 200


def test_an_answer_about_another_user_changed_no_password(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.put(f"{AUTH}/user", json={"id": OTHER_ID})

    answer = client.put(f"{API}/password", json={"password": NEW_PASSWORD}, headers=bearer())

    assert_problem(answer, 503, "upstream_error")


def test_nonces_share_the_budget_of_mailed_codes(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.put(f"{AUTH}/user", json={"code": "reauthentication_not_valid"}, status=422)
    body = {"password": NEW_PASSWORD, "nonce": "123456"}

    answers = [client.put(f"{API}/password", json=body, headers=bearer()) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert_problem(answers[0], 401, "link_invalid")
    assert client.put(f"{API}/password", json={"password": NEW_PASSWORD}, headers=bearer()).status_code == 401


def test_what_is_passed_on_is_what_was_sent(client: Client, supabase: responses.RequestsMock) -> None:
    user = {**SESSION["user"], "id": USER_ID}
    supabase.post(TOKEN, json=session(access_token=token(session_id=OTHER_SESSION), user=user))
    supabase.post(f"{AUTH}/logout?scope=local", status=204)
    supabase.put(f"{AUTH}/user", json={"id": USER_ID})
    body = {"password": NEW_PASSWORD, "current_password": GOOD_LOGIN["password"], "nonce": "123456", "x": 1}
    stale = bearer(amr=[{"method": "password", "timestamp": int(time.time()) - 700}], email=SESSION["user"]["email"])

    assert client.put(f"{API}/password", json=body, headers=stale).status_code == 204

    [request] = asked(supabase, "/user")
    assert json.loads(request.body) == {name: body[name] for name in ("password", "current_password", "nonce")}
    assert request.headers["Authorization"] == stale["Authorization"]
    # The session of the check was ended with its own token, not with the user's.
    [logout] = asked(supabase, "/logout")
    assert logout.headers["Authorization"] != stale["Authorization"]


# Mails


@pytest.mark.parametrize(
    "answer",
    [
        {"json": {"id": USER_ID}},
        {"json": {"code": "email_exists"}, "status": 422},
        # Of a domain without a mail server: told only where no other user has the address.
        {"json": {"code": "email_address_invalid"}, "status": 400},
        {"json": {"code": "over_email_send_rate_limit"}, "status": 429},
        {"json": {"code": "unexpected_failure"}, "status": 500},
        {"body": "<html>", "status": 502},
        {"body": ConnectionResetError()},
        {"json": {"code": "heard_of_never"}, "status": 422},
        {"json": {"id": OTHER_ID}},
    ],
)
def test_nothing_that_depends_on_the_address_is_told(
    make_client: MakeClient, supabase: responses.RequestsMock, logs: LogLines, answer: dict[str, Any]
) -> None:
    client = make_client(AUTH_MAIL_DELAY_MS="0")
    supabase.put(f"{AUTH}/user", **answer)
    supabase.get(USERS, json=[{"id": USER_ID, "display_name": "Ada"}])

    response = client.patch(f"{API}/me", json={"email": "new@example.com"}, headers=bearer())

    assert (response.status_code, response.get_json()["display_name"]) == (200, "Ada")
    assert "new@example.com" not in response.text
    assert len(asked(supabase, "/user")) == 1
    # That an address is taken is no trouble of an operator.
    is_trouble = answer.get("json") not in ({"id": USER_ID}, {"code": "email_exists"})
    assert ("A mail was not sent" in str(logs)) is is_trouble


def test_an_address_that_supabase_does_not_take_for_one_is_told(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    """That depends on the request alone."""
    supabase.put(f"{AUTH}/user", json={"code": "validation_failed"}, status=400)
    client = make_client(AUTH_MAIL_DELAY_MS="0")

    answer = client.patch(f"{API}/me", json={"email": "new@localhost"}, headers=bearer())

    assert [*assert_problem(answer, 422, "invalid_request")["errors"]] == ["email"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/reauthenticate", None), ("PATCH", "/me", {"email": "new@example.com"})],
)
def test_answers_leave_at_the_delay_whatever_supabase_does(
    make_client: MakeClient, supabase: responses.RequestsMock, method: str, path: str, body: Any
) -> None:
    """A slow call goes on behind the answer."""
    client = make_client(AUTH_MAIL_DELAY_MS="300")
    supabase.get(USERS, json=[{"id": USER_ID}])
    released, ended = threading.Event(), threading.Event()

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        released.wait(20)
        ended.set()
        return 200, {}, json.dumps({"id": USER_ID} if body else {})

    at, url = (responses.PUT, f"{AUTH}/user") if body else (responses.GET, f"{AUTH}/reauthenticate")
    supabase.add_callback(at, url, answer, content_type="application/json")
    started_s = time.monotonic()

    response = client.open(API + path, method=method, json=body, headers=bearer())

    assert response.status_code in {200, 202}
    assert time.monotonic() - started_s >= 0.3
    assert not ended.is_set()
    released.set()
    assert ended.wait(20)


def test_a_mail_server_that_fails_stops_no_login(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    client = make_client(AUTH_MAIL_DELAY_MS="0", AUTH_THROTTLE_SCALE="1000", AUTH_MAIL_BUDGET_PER_HOUR="1000")
    supabase.get(f"{AUTH}/reauthenticate", json={"code": "unexpected_failure"}, status=500)
    supabase.post(TOKEN, json=session())

    for _ in range(40):
        client.post(f"{API}/reauthenticate", headers=bearer())

    assert client.post(f"{API}/login", json=GOOD_LOGIN).status_code == 200
    assert client.get("/health/ready").get_json()["checks"]["breaker"][0]["status"] == "pass"


# The profile


def test_a_name_that_cannot_be_stored_now_changes_nothing(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.patch(USERS, body="<html>", status=502)

    answer = client.patch(f"{API}/me", json={"display_name": "Ada"}, headers=bearer())

    assert_problem(answer, 503, "upstream_unavailable")
    assert asked(supabase, "/user") == []


def test_a_row_of_another_user_is_no_answer(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.patch(USERS, json=[{"id": OTHER_ID, "display_name": "Ada"}])

    answer = client.patch(f"{API}/me", json={"display_name": "Ada"}, headers=bearer())

    assert_problem(answer, 503, "upstream_error")


def test_a_name_is_written_with_the_user_s_own_token(client: Client, supabase: responses.RequestsMock) -> None:
    """Row and metadata; the row by id, so that even a policy that is too wide changes no other."""
    supabase.patch(USERS, json=[{"id": USER_ID, "display_name": "Ada"}])
    supabase.put(f"{AUTH}/user", json={"id": USER_ID})
    headers = bearer()

    answer = client.patch(f"{API}/me", json={"full_name": " Ada ", "display_name": " Eve "}, headers=headers)

    assert (answer.status_code, answer.get_json()["full_name"]) == (200, "Ada")
    row, user = (call.request for call in supabase.calls if call.request.method in {"PATCH", "PUT"})
    assert f"id=eq.{USER_ID}" in str(row.url)
    assert json.loads(row.body or "") == {"display_name": "Eve"}
    assert json.loads(user.body or "") == {"data": {"display_name": "Eve", "full_name": "Eve"}}
    assert {request.headers["Authorization"] for request in (row, user)} == {headers["Authorization"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", "x" * 101),
        ("display_name", "a\u0000b"),
        ("full_name", 7),
        ("avatar_url", "javascript:alert(1)"),
        ("avatar_url", "https://a.example/ b"),
        ("avatar_url", "http://a.example/a.png"),
        ("email", "x"),
        ("email", None),
    ],
)
def test_what_cannot_be_stored_is_422(client: Client, supabase: responses.RequestsMock, field: str, value: Any) -> None:
    answer = client.patch(f"{API}/me", json={field: value}, headers=bearer())

    assert [*assert_problem(answer, 422, "invalid_request")["errors"]] == [field]


# Sessions and records


def test_a_login_of_a_user_with_factors_says_what_comes_next(client: Client, supabase: responses.RequestsMock) -> None:
    factors = [
        {"id": FACTOR, "status": "verified", "factor_type": "totp", "friendly_name": "phone"},
        {"id": CHALLENGE, "status": "unverified", "factor_type": "totp"},
    ]
    supabase.post(TOKEN, json=session(user={**SESSION["user"], "factors": factors}))

    body = client.post(f"{API}/login", json=GOOD_LOGIN).get_json()

    assert body["mfa"] == {
        "required": True,
        "factors": [{"id": FACTOR, "type": "totp", "friendly_name": "phone"}],
    }


def test_secrets_are_in_no_log_and_in_no_metric(
    client: Client, supabase: responses.RequestsMock, logs: LogLines
) -> None:
    provable(supabase, json={"code": "mfa_verification_failed"}, status=422)
    supabase.put(f"{AUTH}/user", json={"code": "reauthentication_not_valid", "message": NEW_PASSWORD}, status=422)
    verify_factor(client, "987654")
    body = {"password": NEW_PASSWORD, "nonce": "canary-nonce"}
    client.put(f"{API}/password", json=body, headers=bearer())
    client.patch(f"{API}/me", json={"email": "canary@example.com"}, headers=bearer())

    told = f"{logs}{client.get('/metrics').text}"

    for secret in ("987654", NEW_PASSWORD, "canary-nonce", "canary@example.com", token()[:40]):
        assert secret not in told


@pytest.mark.parametrize(
    ("method", "path", "body", "event"),
    [
        ("PUT", "/password", {"password": NEW_PASSWORD}, "password_changed"),
        ("PATCH", "/me", {"display_name": "Ada"}, "profile_changed"),
        ("PATCH", "/me", {"email": "new@example.com"}, "address_change_asked_for"),
        ("POST", "/reauthenticate", None, "code_asked_for"),
        ("POST", f"/factors/{FACTOR}/verify", {"code": "123456"}, "session_stepped_up"),
        ("DELETE", f"/factors/{FACTOR}", None, "factor_removed"),
        ("GET", "/me", None, None),
    ],
)
def test_changes_are_in_the_audit_trail(
    make_client: MakeClient,
    supabase: responses.RequestsMock,
    tmp_path: Any,
    method: str,
    path: str,
    body: Any,
    event: str | None,
) -> None:
    file = tmp_path / "audit.jsonl"
    client = make_client(AUDIT_FILE=str(file), AUTH_MAIL_DELAY_MS="0")
    provable(supabase)
    supabase.put(f"{AUTH}/user", json={"id": USER_ID})
    supabase.patch(USERS, json=[{"id": USER_ID}])
    supabase.get(USERS, json=[{"id": USER_ID}])
    supabase.get(f"{AUTH}/reauthenticate", json={})
    supabase.delete(f"{AUTH}/factors/{FACTOR}", json={"id": FACTOR})

    assert client.open(API + path, method=method, json=body, headers=bearer()).status_code < 300
    assert isinstance(client.application, Service)
    client.application.stop()

    told = file.read_text() if file.exists() else ""
    records = [record for record in map(json.loads, told.splitlines()) if "route" in record]
    assert [record["event"] for record in records] == ([event] if event else [])
    assert all(record["account"] for record in records)
    assert SESSION_ID not in told


@pytest.mark.parametrize(("issuer", "status"), [("a" * 60, 201), ("\u00e4" * 21, 422), ("\U0001f600" * 100, 422)])
def test_an_issuer_has_to_fit_into_the_qr_code(
    client: Client, supabase: responses.RequestsMock, issuer: str, status: int
) -> None:
    """Supabase fails on an address that is too long for the code, which would look like an outage."""
    totp = {"qr_code": "<svg/>", "secret": "S", "uri": "otpauth://totp/x"}
    if status == 201:
        supabase.post(f"{AUTH}/factors", json={"id": FACTOR, "type": "totp", "friendly_name": "", "totp": totp})

    answer = client.post(f"{API}/factors", json={"issuer": issuer}, headers=bearer())

    assert answer.status_code == status


def test_enrolments_that_fail_do_not_stop_the_proofs_of_others(
    client: Client, supabase: responses.RequestsMock
) -> None:
    supabase.post(f"{AUTH}/factors", json={"code": "unexpected_failure"}, status=500)
    supabase.post(f"{AUTH}/factors/{FACTOR}/challenge", json={"id": OTHER_ID, "type": "totp", "expires_at": 1})

    enrolled = [client.post(f"{API}/factors", json={}, headers=bearer()).get_json()["code"] for _ in range(30)]
    challenged = client.post(f"{API}/factors/{FACTOR}/challenge", headers=bearer())

    assert enrolled[-1] == "resting"
    assert challenged.status_code == 200
