"""Signing up, looking at the own account, changing it, leaving."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


@pytest.fixture
def email(standin: Standin) -> str:
    address = new_email()
    standin.create_user(address, PASSWORD)
    return address


@pytest.fixture
def bearer(api: Api, email: str) -> str:
    return str(api.log_in(email).json()["access_token"])


def sign_up(api: Api, email: str, **more: Any) -> Any:
    return api.call("POST", "/auth/v1/signup", {"email": email, "password": PASSWORD} | more)


def log_out(api: Api, bearer: str, scope: str = "") -> Any:
    return api.call("POST", f"/auth/v1/logout{scope}", bearer=bearer)


def test_signing_up_logs_in(api: Api) -> None:
    email = new_email()

    response = sign_up(api, email, data={"display_name": "Ada"})

    body = response.json()
    assert response.status_code == 200
    assert "weak_password" not in body
    assert body["user"]["user_metadata"]["display_name"] == "Ada"
    assert body["user"]["role"] == "authenticated"
    assert api.user(body["access_token"]).json()["email"] == email


def test_a_trigger_sees_a_new_user_without_role_identity_or_confirmation(
    new_standin: Callable[..., Standin],
) -> None:
    """All of that comes later in the same transaction: copies must not rely on it."""
    api = Api(new_standin())
    api.sql("create table public.seen (row jsonb, identities int)")
    api.sql("grant insert on public.seen to supabase_auth_admin")
    api.sql(
        "create function public.see() returns trigger language plpgsql as $$begin"
        " insert into public.seen values (to_jsonb(new), (select count(*) from auth.identities));"
        " return new; end$$"
    )
    api.sql("create trigger see after insert on auth.users for each row execute function public.see()")

    sign_up(api, new_email(), data={"display_name": "Ada"})

    ((row, identities),) = api.sql("select row, identities from public.seen")
    assert row["role"] == ""
    assert row["email_confirmed_at"] is None
    assert row["raw_user_meta_data"] == {"display_name": "Ada"}
    assert row["raw_app_meta_data"] == {"provider": "email", "providers": ["email"]}
    assert identities == 0


def test_a_trigger_runs_as_the_auth_server(new_standin: Callable[..., Standin]) -> None:
    """With ``search_path=auth`` and no rights in ``public``: the classic "Database error saving new user"."""
    api = Api(new_standin())
    api.sql("create table public.profiles (id uuid)")
    api.sql(
        "create function public.copy() returns trigger language plpgsql as $$begin"
        " insert into public.profiles values (new.id); return new; end$$"
    )
    api.sql("create trigger copy after insert on auth.users for each row execute function public.copy()")
    email = new_email()

    response = sign_up(api, email)

    assert response.status_code == 500
    assert response.json()["message"] == "Database error saving new user"
    assert api.log_in(email).json()["code"] == "invalid_credentials"
    assert api.sql("select count(*) from auth.users") == [(0,)]


def test_a_known_address_is_refused_openly_with_autoconfirm(api: Api, email: str) -> None:
    assert sign_up(api, email).json()["code"] == "user_already_exists"


def test_an_unconfirmed_account_falls_to_whoever_signs_up_again(standin: Standin, api: Api) -> None:
    """A peculiarity of autoconfirm: the password is not even looked at."""
    email = new_email()
    user_id = standin.create_user(email, PASSWORD, confirmed=False)

    body = sign_up(api, email, password="another password").json()

    assert body["user"]["id"] == user_id
    assert api.log_in(email).status_code == 200


def test_without_autoconfirm_a_sign_up_gives_no_session(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(autoconfirm=False))
    email = new_email()

    body = sign_up(api, email).json()

    assert body["email"] == email
    assert "access_token" not in body
    assert "confirmation_sent_at" in body
    assert api.log_in(email).json()["code"] == "email_not_confirmed"


def test_without_autoconfirm_a_known_address_looks_like_a_new_one(
    standin_with: Callable[..., Standin],
) -> None:
    api = Api(standin_with(autoconfirm=False))
    email = new_email()
    user_id = api.server.create_user(email, PASSWORD)

    response = sign_up(api, email)

    body = response.json()
    assert response.status_code == 200
    assert body["email"] == email
    assert body["id"] != user_id
    assert body["identities"] == []
    assert body["role"] == ""


@pytest.mark.parametrize("address", ["nobody", "@example.com", "a@b", "a b@example.com", "a\u200b@example.com"])
def test_what_is_no_address_cannot_sign_up(api: Api, address: str) -> None:
    response = sign_up(api, address)

    assert response.status_code == 400
    assert response.json()["code"] == "validation_failed"


def test_a_sign_up_without_an_address_is_anonymous_and_off(api: Api) -> None:
    response = api.call("POST", "/auth/v1/signup", {"data": {}})

    assert response.status_code == 422
    assert response.json()["code"] == "anonymous_provider_disabled"


def test_the_account_shows_itself(api: Api, email: str, bearer: str) -> None:
    response = api.user(bearer)

    assert response.status_code == 200
    assert response.json()["email"] == email


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "e30.e30.e30"])
def test_a_token_that_cannot_be_parsed_is_bad(api: Api, token: str) -> None:
    response = api.user(token)

    assert response.status_code == 403
    assert response.json()["code"] == "bad_jwt"


def test_a_token_with_another_payload_is_bad(api: Api, bearer: str) -> None:
    head, payload, signature = bearer.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"role": "service_role"}).encode()).decode()

    response = api.user(f"{head}.{forged.rstrip('=')}.{signature}")

    assert response.json()["code"] == "bad_jwt"
    assert "signature is invalid" in response.json()["message"]


def test_a_token_signed_by_a_stranger_is_bad(api: Api, bearer: str) -> None:
    claims = jwt.decode(bearer, options={"verify_signature": False})
    kid = jwt.get_unverified_header(bearer)["kid"]
    forged = jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": kid})

    assert api.user(forged).json()["code"] == "bad_jwt"


def test_a_deleted_session_is_missed(api: Api, bearer: str) -> None:
    log_out(api, bearer)

    assert api.user(bearer).json()["code"] == "session_not_found"
    assert log_out(api, bearer).json()["code"] == "session_not_found"


def test_a_ban_works_at_once(api: Api, bearer: str) -> None:
    user_id = api.user(bearer).json()["id"]
    api.admin("PUT", f"/users/{user_id}", {"ban_duration": "24h"})

    response = api.user(bearer)

    assert response.status_code == 403
    assert response.json()["code"] == "user_banned"


@pytest.mark.parametrize(
    ("scope", "left"),
    [("", []), ("?scope=global", []), ("?scope=local", ["other"]), ("?scope=others", ["own"])],
)
def test_a_logout_reaches_as_far_as_its_scope(api: Api, email: str, scope: str, left: list[str]) -> None:
    sessions = {name: api.log_in(email).json()["access_token"] for name in ("own", "other")}

    response = log_out(api, sessions["own"], scope)

    assert response.status_code == 204
    assert response.content == b""
    assert [name for name, token in sessions.items() if api.user(token).ok] == left


def test_a_new_password_ends_the_other_sessions(api: Api, email: str, bearer: str) -> None:
    other = api.log_in(email).json()["access_token"]

    response = api.call("PUT", "/auth/v1/user", {"password": "a new one"}, bearer=bearer)

    assert response.status_code == 200
    assert api.user(bearer).status_code == 200
    assert api.user(other).json()["code"] == "session_not_found"
    assert api.log_in(email).json()["code"] == "invalid_credentials"
    assert api.log_in(email, "a new one").status_code == 200


def test_user_data_is_merged_and_null_takes_away(api: Api, bearer: str) -> None:
    api.call("PUT", "/auth/v1/user", {"data": {"a": 1, "b": 2}}, bearer=bearer)

    body = api.call("PUT", "/auth/v1/user", {"data": {"a": None, "c": 3}}, bearer=bearer).json()

    metadata = body["user_metadata"]
    assert (metadata.get("a"), metadata["b"], metadata["c"]) == (None, 2, 3)
    assert metadata["email_verified"] is True


def test_users_cannot_change_what_administrators_say_of_them(api: Api, bearer: str) -> None:
    response = api.call("PUT", "/auth/v1/user", {"app_metadata": {"role": "admin"}}, bearer=bearer)

    assert response.status_code == 403
    assert response.json()["code"] == "not_admin"


def test_a_new_address_stays_pending(api: Api, email: str, bearer: str) -> None:
    other = new_email()

    body = api.call("PUT", "/auth/v1/user", {"email": other.upper()}, bearer=bearer).json()

    assert body["email"] == email
    assert body["new_email"] == other


def test_an_address_that_is_taken_cannot_be_taken_again(standin: Standin, api: Api, bearer: str) -> None:
    other = new_email()
    standin.create_user(other, PASSWORD)

    response = api.call("PUT", "/auth/v1/user", {"email": other}, bearer=bearer)

    assert response.json()["code"] == "email_exists"
