# ruff: noqa: S608 - all SQL here is our own words
"""The recorded failures: most are produced by the same cause as in the original, all can be switched on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jwt
import pytest
import requests

from supabase_standin import RateLimit, Standin
from supabase_standin.faultkinds import vectors
from tests.fixtures.standin import PASSWORD, Api, new_email

RECORDED = Path(__file__).parent.parent / "vectors" / "supabase-auth-errors.json"
CASES = {item["case"]: item for item in json.loads(RECORDED.read_text())}
TOKEN = "/auth/v1/token?grant_type=password"
SB_HEADERS = ("sb-auth-user-id", "sb-auth-session-id", "sb-auth-refresh-token-prefix")
HOOK = (
    "create or replace function velro_auth.custom_access_token_hook(event jsonb) returns jsonb"
    " language plpgsql as $$ begin {} end $$"
)

Give: TypeAlias = Callable[..., Standin]
Cause: TypeAlias = Callable[[Give, str | None], requests.Response]


def plain(act: Callable[[Api, str], requests.Response], **options: Any) -> Cause:
    """Act on a shared stand-in with *options*, with the address of a fresh user."""

    def cause(shared: Give, version: str | None) -> requests.Response:
        server = shared(**options)
        server.requests.clear()
        email = new_email()
        server.create_user(email, PASSWORD)
        return act(Api(server, version), email)

    return cause


def post(body: dict[str, Any] | None, *, path: str = TOKEN, data: bytes | None = None) -> Callable[..., Any]:
    return lambda api, _email: api.call("POST", path, body, data=data)


def sign_up(**body: Any) -> Callable[[Api, str], requests.Response]:
    return lambda api, email: api.call(
        "POST", "/auth/v1/signup", {"email": f"new-{email}", "password": PASSWORD} | body
    )


def log_in_after(change: str, password: str = PASSWORD) -> Callable[[Api, str], requests.Response]:
    def act(api: Api, email: str) -> requests.Response:
        api.sql(f"update auth.users set {change} where email = %s", email)
        return api.log_in(email, password)

    return act


def hook(body: str) -> Cause:
    def cause(shared: Give, version: str | None) -> requests.Response:
        api = Api(shared(token_hook_timeout_s=0.2), version)
        api.sql("create schema if not exists velro_auth")
        api.sql("grant usage on schema velro_auth to supabase_auth_admin")
        api.sql(HOOK.format(body))
        email = new_email()
        api.server.create_user(email, PASSWORD)
        return api.log_in(email)

    return cause


def trigger(body: str) -> Cause:
    """Sign up while a trigger does what *body* says."""

    def cause(shared: Give, version: str | None) -> requests.Response:
        api = Api(shared(token_hook=None), version)
        api.sql("create table if not exists public.private (id uuid)")
        api.sql("drop function if exists public.t cascade")
        api.sql(f"create function public.t() returns trigger language plpgsql as $$ begin {body} end $$")
        api.sql("create trigger t before insert on auth.users for each row execute function public.t()")
        return api.call("POST", "/auth/v1/signup", {"email": "ada@example.com", "password": PASSWORD})

    return cause


#: Loses the race for an address: somebody inserts it between look-up and insert.
RACED = (
    "if pg_trigger_depth() = 1 then"
    " insert into auth.users (id, email) values (gen_random_uuid(), new.email);"
    " end if; return new;"
)


def with_session(change: str = "", *, age: bool = False, refreshes: int = 0) -> Callable[..., requests.Response]:
    """Present the first refresh token of a session after changing the database with *change*."""

    def act(api: Api, email: str) -> requests.Response:
        first = token = api.log_in(email).json()["refresh_token"]
        for _ in range(refreshes):
            token = api.refresh(token).json()["refresh_token"]
        if age:
            api.sql("update auth.refresh_tokens set updated_at = now() - interval '1 hour'")
            api.sql("update auth.sessions set created_at = now() - interval '1 hour'")
        if change:
            api.sql(change, first)
        return api.refresh(first)

    return act


SESSION_OF = "(select session_id from auth.refresh_tokens where token = %s)"


def second_login(api: Api, email: str) -> requests.Response:
    first = api.log_in(email).json()["refresh_token"]
    api.log_in(email)
    return api.refresh(first)


def as_user(
    change: str = "", *, method: str = "GET", path: str = "/auth/v1/user", body: Any = None
) -> Callable[[Api, str], requests.Response]:
    def act(api: Api, email: str) -> requests.Response:
        bearer = api.log_in(email).json()["access_token"]
        if change:
            api.sql(change, email)
        return api.call(method, path, body, bearer=bearer)

    return act


def expired(api: Api, email: str) -> requests.Response:
    bearer = api.log_in(email).json()["access_token"]
    time.sleep(1.1)
    return api.user(bearer)


def as_key(api: Api, _email: str) -> requests.Response:
    return api.user(api.server.publishable_key)


def admin_create_taken(api: Api, email: str) -> requests.Response:
    return api.admin("POST", "/users", {"email": email})


OF_USER = "(select id from auth.users where email = %s)"
FACTOR = (
    "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
    f" values (gen_random_uuid(), {OF_USER}, 'totp', 'verified', now(), now())"
)
CAPTCHA = {"gotrue_meta_security": {"captcha_token": "invalid"}, "email": "a@example.com", "password": "x"}
OAUTH = (
    "with client as (insert into auth.oauth_clients (id) values (gen_random_uuid()) returning id)"
    f" update auth.sessions set oauth_client_id = (select id from client) where id = {SESSION_OF}"
)

#: Case → how the stand-in comes to answer it by itself.
CAUSES: dict[str, Cause] = {
    "login_wrong_password": plain(lambda api, email: api.log_in(email, "wrong")),
    "login_unknown_user": plain(lambda api, _: api.log_in(new_email())),
    "login_user_without_password": plain(log_in_after("encrypted_password = ''")),
    "login_missing_password": plain(lambda api, email: api.call("POST", TOKEN, {"email": email})),
    "login_email_not_confirmed": plain(log_in_after("email_confirmed_at = null")),
    "login_phone_not_confirmed": plain(
        lambda api, email: (
            api.sql("update auth.users set phone = substr(id::text, 1, 8) where email = %s", email),
            api.call(
                "POST",
                TOKEN,
                {
                    "phone": api.sql("select phone from auth.users where email = %s", email)[0][0],
                    "password": PASSWORD,
                },
            ),
        )[1],
        phone_logins=True,
    ),
    "login_user_banned": plain(log_in_after("banned_until = now() + interval '1 day'", "wrong")),
    "login_email_provider_disabled": plain(lambda api, email: api.log_in(email), email_logins=False),
    "login_phone_provider_disabled": plain(post({"phone": "123", "password": "x"})),
    "login_captcha_missing": plain(lambda api, email: api.log_in(email), captcha=True),
    "login_captcha_rejected": plain(post(CAPTCHA), captcha=True),
    "login_missing_email_and_phone": plain(post({})),
    "login_email_and_phone_together": plain(post({"email": "a@example.com", "phone": "1"})),
    "login_empty_body": plain(post(None)),
    "login_wrong_json_type": plain(post({"email": 1})),
    "token_missing_or_unknown_grant_type": plain(post({}, path="/auth/v1/token")),
    "token_body_too_large": plain(post(None, data=b"x" * (1024 * 1024 + 1))),
    "token_rate_limited": plain(post({}), rate_limit=RateLimit(burst=0, per_s=0)),
    "login_database_error": plain(post({"email": "\0", "password": "x"})),
    "unhandled_error": plain(log_in_after("encrypted_password = 'plain'")),
    "access_token_hook_pg_raise_exception": hook("raise exception '<text of the raise>';"),
    "access_token_hook_returned_error_403": hook(
        'return \'{"error": {"http_code": 403, "message": "<message of the hook>"}}\';'
    ),
    "access_token_hook_returned_error_default": hook('return \'{"error": {"message": "<message of the hook>"}}\';'),
    "access_token_hook_claims_missing": hook("return '{}';"),
    "access_token_hook_claims_invalid": hook("return event #- '{claims,role}';"),
    "access_token_hook_pg_timeout": hook("perform pg_sleep(9); return event;"),
    "signup_weak_password": plain(sign_up(password="12345")),
    "signup_disabled": plain(sign_up(), signups=False),
    "signup_missing_password": plain(sign_up(password=None)),
    "signup_password_over_72_bytes": plain(sign_up(password="x" * 73)),
    "signup_user_already_exists": plain(lambda api, email: sign_up(email=email)(api, email)),
    "signup_trigger_raise_exception": trigger(
        "raise exception '<text of the raise>' using hint = '<hint>', detail = '<detail>';"
    ),
    "signup_trigger_sqlstate_pt403": trigger("raise exception '<text of the raise>' using errcode = 'PT403';"),
    "signup_trigger_permission_denied": trigger("insert into public.private values (new.id);"),
    "signup_concurrent_duplicate": trigger(RACED),
    "email_exists_admin_create": plain(admin_create_taken),
    "refresh_malformed": plain(lambda api, _: api.refresh("?")),
    "refresh_not_found": plain(lambda api, _: api.refresh("zzzzzzzzzzzz")),
    "refresh_already_used": plain(with_session(age=True, refreshes=2), pool_size=6),
    "refresh_session_expired": plain(
        with_session(f"update auth.sessions set not_after = now() - interval '1 s' where id = {SESSION_OF}")
    ),
    "refresh_session_expired_inactivity": plain(with_session(age=True), session_inactivity_s=60.0),
    "refresh_session_expired_newer_login": plain(second_login, single_session=True),
    "refresh_session_not_found": plain(
        with_session("update auth.refresh_tokens set session_id = null where token = %s")
    ),
    "refresh_user_banned": plain(
        with_session(
            "update auth.users set banned_until = now() + interval '1 day' where id ="
            " (select user_id::uuid from auth.refresh_tokens where token = %s)"
        )
    ),
    "refresh_of_oauth_client_session": plain(with_session(OAUTH)),
    "no_bearer": plain(lambda api, _: api.call("GET", "/auth/v1/user", headers={"Authorization": "Basic eDp4"})),
    "expired_access_token": plain(expired, jwt_lifetime_s=1),
    "session_gone": plain(as_user(f"delete from auth.sessions where user_id = {OF_USER}")),
    "user_gone": plain(as_user("delete from auth.users where email = %s")),
    "banned_with_live_access_token": plain(
        as_user("update auth.users set banned_until = now() + interval '1 day' where email = %s")
    ),
    "api_key_jwt_as_user_token": plain(as_key),
    "insufficient_aal": plain(as_user(FACTOR, method="PUT", body={"password": "another one"})),
    "same_password": plain(as_user(method="PUT", body={"password": PASSWORD})),
    "logout_bad_scope": plain(as_user(method="POST", path="/auth/v1/logout?scope=everywhere")),
    "not_admin": plain(as_user(path="/auth/v1/admin/users")),
    "admin_user_not_found": plain(lambda api, _: api.admin("GET", "/users/00000000-0000-0000-0000-000000000001")),
    "unknown_route": plain(lambda api, _: api.call("GET", "/auth/v1/no-such-path")),
    "method_not_allowed": plain(lambda api, _: api.call("GET", "/auth/v1/token")),
}

#: Cases of parts the stand-in does not have (mails, one-time passwords, HTTP hooks, a real captcha service),
#: or that only a failing machine produces.
SWITCHED_ONLY = {
    "login_rejected_by_password_hook",
    "login_captcha_verifier_unreachable",
    "request_timeout",
    "panic",
    "access_token_hook_http_timeout",
    "access_token_hook_http_retries_exhausted",
    "email_frequency_limit",
    "otp_expired",
    "refresh_conflict",  # produced for real in the tests of refreshes, where waiting 5 s is done once
}


def expectation(case: str, *, is_new: bool) -> tuple[int, Any, dict[str, str]]:
    item = CASES[case]
    status = item["status"] if is_new else item.get("status_legacy", item["status"])
    body = item["body_2024_01_01" if is_new else "body_legacy"]
    return status, body, item["headers"]["2024-01-01" if is_new else "legacy"]


def assert_headers(response: requests.Response, wanted: dict[str, str]) -> None:
    for name, value in wanted.items():
        assert name in response.headers
        assert value.startswith("<") or response.headers[name] == value
    for name in ("x-sb-error-code", "X-Supabase-Api-Version", *SB_HEADERS):
        if name not in wanted:
            assert name not in response.headers


def assert_body(response: requests.Response, wanted: Any) -> None:
    if isinstance(wanted, str):
        assert response.text == wanted
        return
    body = response.json()
    if wanted.get("error_id") == "<request-id>":
        assert body.pop("error_id")
        wanted = {key: value for key, value in wanted.items() if key != "error_id"}
    if "pg-functions://" in str(wanted):
        wanted = json.loads(json.dumps(wanted).replace("/public/", "/velro_auth/"))
    assert body == wanted


def test_every_recorded_case_is_either_produced_or_known_not_to_be() -> None:
    assert set(CAUSES) | SWITCHED_ONLY == set(CASES)
    assert not set(CAUSES) & SWITCHED_ONLY
    assert len(CASES) == 67


def test_the_package_carries_the_same_vectors() -> None:
    assert dict(vectors()) == CASES


@pytest.mark.parametrize("version", ["2024-01-01", None], ids=["new", "legacy"])
@pytest.mark.parametrize("case", sorted(CAUSES))
def test_the_same_cause_has_the_same_effect(standin_with: Give, case: str, version: str | None) -> None:
    response = CAUSES[case](standin_with, version)

    status, body, headers = expectation(case, is_new=version is not None)
    assert response.status_code == status
    assert_body(response, body)
    assert_headers(response, headers)


@pytest.mark.parametrize("version", ["2024-01-01", None], ids=["new", "legacy"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_every_recorded_case_can_be_switched_on(standin: Standin, case: str, version: str | None) -> None:
    switch = standin.faults.on(f"vector:{case}", times=1)

    response = Api(standin, version).log_in("ada@example.com")

    status, body, headers = expectation(case, is_new=version is not None)
    assert response.status_code == status
    assert (response.text if isinstance(body, str) else response.json()) == body
    assert {name: response.headers.get(name) for name in headers} == headers
    assert switch.fired == 1
    assert Api(standin).call("GET", "/auth/v1/health").status_code == 200


def test_an_expired_token_expired_for_a_reason(standin_with: Give) -> None:
    """The case above waits for it; this shows that the same token was good before."""
    api = Api(standin_with(jwt_lifetime_s=1))
    email = new_email()
    api.server.create_user(email, PASSWORD)

    bearer = api.log_in(email).json()["access_token"]

    claims = jwt.decode(bearer, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 1
