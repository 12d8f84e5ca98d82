"""What the secret key may do with users."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


@pytest.fixture
def user(api: Api) -> dict[str, Any]:
    body = {"email": new_email(), "password": PASSWORD, "email_confirm": True}
    shown: dict[str, Any] = api.admin("POST", "/users", body).json()
    return shown


def test_a_created_user_can_log_in(api: Api, user: dict[str, Any]) -> None:
    assert user["email_confirmed_at"]
    assert api.log_in(user["email"]).status_code == 200


def test_a_created_user_is_unconfirmed_unless_told_otherwise(api: Api) -> None:
    email = new_email()

    response = api.admin("POST", "/users", {"email": email, "password": PASSWORD})

    assert response.status_code == 200
    assert api.log_in(email).json()["code"] == "email_not_confirmed"


def test_creation_takes_metadata_role_and_id(api: Api) -> None:
    user_id = str(uuid.uuid4())
    body = {
        "id": user_id,
        "email": new_email().upper(),
        "user_metadata": {"display_name": "Ada"},
        "app_metadata": {"plan": "gold"},
        "role": "auditor",
    }

    shown = api.admin("POST", "/users", body).json()

    assert shown["id"] == user_id
    assert shown["email"] == body["email"].lower()  # type: ignore[attr-defined] # it is a string
    assert shown["role"] == "auditor"
    assert shown["user_metadata"] == {"display_name": "Ada"}
    assert shown["app_metadata"] == {"provider": "email", "providers": ["email"], "plan": "gold"}


def test_a_taken_address_is_refused(api: Api, user: dict[str, Any]) -> None:
    response = api.admin("POST", "/users", {"email": user["email"]})

    assert response.status_code == 422
    assert response.json()["code"] == "email_exists"


def test_users_are_listed_page_by_page(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(password_min_length=7))
    created = {api.server.create_user(new_email(), PASSWORD) for _ in range(5)}

    pages = [api.admin("GET", f"/users?page={number}&per_page=2") for number in (1, 2, 3)]

    assert [len(page.json()["users"]) for page in pages] == [2, 2, 1]
    assert {user["id"] for page in pages for user in page.json()["users"]} == created
    assert pages[0].headers["X-Total-Count"] == "5"
    assert 'page=2&per_page=2>; rel="next"' in pages[0].headers["Link"]
    assert 'page=3&per_page=2>; rel="last"' in pages[0].headers["Link"]
    assert "next" not in pages[2].headers["Link"]


def test_a_user_is_shown_by_id(api: Api, user: dict[str, Any]) -> None:
    shown = api.admin("GET", f"/users/{user['id']}").json()

    assert shown.pop("confirmed_at") == shown["email_confirmed_at"]  # the database's, unknown when it is created
    assert shown == user


@pytest.mark.parametrize(("user_id", "code"), [(uuid.uuid4(), "user_not_found"), ("nonsense", "validation_failed")])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_id_is_not_found(api: Api, method: str, user_id: object, code: str) -> None:
    response = api.admin(method, f"/users/{user_id}", {} if method == "PUT" else None)

    assert response.status_code == 404
    assert response.json()["code"] == code


@pytest.mark.parametrize("duration", ["24h", "1h30m", "90s"])
def test_a_ban_keeps_out_until_it_is_lifted(api: Api, user: dict[str, Any], duration: str) -> None:
    banned = api.admin("PUT", f"/users/{user['id']}", {"ban_duration": duration}).json()
    assert banned["banned_until"]
    assert api.log_in(user["email"]).json()["code"] == "user_banned"

    api.admin("PUT", f"/users/{user['id']}", {"ban_duration": "none"})

    assert api.log_in(user["email"]).status_code == 200


def test_a_ban_needs_a_duration(api: Api, user: dict[str, Any]) -> None:
    response = api.admin("PUT", f"/users/{user['id']}", {"ban_duration": "for ever"})

    assert response.status_code == 400
    assert response.json()["code"] == "validation_failed"


def test_a_new_password_ends_all_sessions(api: Api, user: dict[str, Any]) -> None:
    bearer = api.log_in(user["email"]).json()["access_token"]

    api.admin("PUT", f"/users/{user['id']}", {"password": "a new one"})

    assert api.user(bearer).json()["code"] == "session_not_found"
    assert api.log_in(user["email"], "a new one").status_code == 200


def test_changing_to_a_taken_address_fails_late(api: Api, user: dict[str, Any]) -> None:
    """A 500, not a 422: only the unique index objects."""
    other = new_email()
    api.server.create_user(other, PASSWORD)

    response = api.admin("PUT", f"/users/{user['id']}", {"email": other})

    assert response.status_code == 500
    assert response.json()["message"] == "Error updating user"


def test_a_deleted_user_is_gone_with_sessions_and_identities(api: Api, user: dict[str, Any]) -> None:
    bearer = api.log_in(user["email"]).json()["access_token"]

    response = api.admin("DELETE", f"/users/{user['id']}")

    assert response.status_code == 200
    assert response.json() == {}
    assert api.user(bearer).json()["code"] == "user_not_found"
    assert api.sql("select count(*) from auth.identities where user_id = %s", user["id"]) == [(0,)]


def test_a_softly_deleted_user_stays_without_a_face(api: Api, user: dict[str, Any]) -> None:
    response = api.admin("DELETE", f"/users/{user['id']}", {"should_soft_delete": True})

    ((email, deleted_at, metadata),) = api.sql(
        "select email, deleted_at, raw_user_meta_data from auth.users where id = %s", user["id"]
    )
    assert response.status_code == 200
    assert user["email"] not in email
    assert deleted_at is not None
    assert metadata == {}
    assert api.log_in(user["email"]).json()["code"] == "invalid_credentials"


def test_a_row_that_others_hold_on_to_cannot_be_deleted(new_standin: Callable[..., Standin]) -> None:
    api = Api(new_standin())
    user_id = api.server.create_user(new_email(), PASSWORD)
    api.sql("create table public.orders (owner uuid references auth.users (id))")
    api.sql("grant all on public.orders to supabase_auth_admin")
    api.sql("insert into public.orders values (%s)", user_id)

    response = api.admin("DELETE", f"/users/{user_id}")

    assert response.status_code == 500
    assert response.json()["message"] == "Database error deleting user"


def test_a_hash_made_elsewhere_is_taken_as_it_is(api: Api) -> None:
    """bcrypt of "correct horse", cost 4: how users are moved from another service."""
    email = new_email()
    known = api.sql("select encrypted_password from auth.users where email = %s", _existing(api))[0][0]

    api.admin("POST", "/users", {"email": email, "password_hash": known, "email_confirm": True})

    assert api.log_in(email).status_code == 200


def _existing(api: Api) -> str:
    email = new_email()
    api.server.create_user(email, PASSWORD)
    return email


def test_the_secret_key_counts_as_bearer_too(api: Api) -> None:
    key = api.server.secret_key

    assert api.call("GET", "/auth/v1/admin/users", key=key, bearer=key).status_code == 200


def test_the_publishable_key_is_no_administrator(api: Api) -> None:
    key = api.server.publishable_key

    assert api.call("GET", "/auth/v1/admin/users").json()["code"] == "not_admin"
    assert api.call("GET", "/auth/v1/admin/users", bearer=key).json()["code"] == "not_admin"


def test_a_user_is_no_administrator_even_with_the_secret_key_beside(api: Api, user: dict[str, Any]) -> None:
    """The bearer decides; a server that sends a user's token along loses its own rights."""
    bearer = api.log_in(user["email"]).json()["access_token"]

    response = api.call("GET", "/auth/v1/admin/users", key=api.server.secret_key, bearer=bearer)

    assert response.status_code == 403
    assert response.json()["code"] == "not_admin"


def test_a_page_of_no_size_is_an_internal_error(api: Api) -> None:
    """The original divides by it."""
    assert api.admin("GET", "/users?per_page=0").status_code == 500
