"""The proof that the stand-in speaks Supabase's language: the official Python client understands it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from supabase import Client, create_client
from supabase.lib.client_options import SyncClientOptions
from supabase_auth.errors import AuthApiError
from supabase_auth.types import AuthResponse, Session

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, new_email


@pytest.fixture
def new_client(standin: Standin) -> Iterator[Callable[[str], Client]]:
    """Return a function that makes a client which keeps nothing and starts no timers.

    Left to itself, each client opens connections of its own and never closes them.
    """
    with httpx.Client(http2=False) as transport:

        def make(key: str) -> Client:
            options = SyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=transport)
            return create_client(standin.url, key, options)

        yield make


@pytest.fixture
def client(standin: Standin, new_client: Callable[[str], Client]) -> Client:
    return new_client(standin.publishable_key)


@pytest.fixture
def admin(standin: Standin, new_client: Callable[[str], Client]) -> Client:
    return new_client(standin.secret_key)


@pytest.fixture
def email(standin: Standin) -> str:
    address = new_email()
    standin.create_user(address, PASSWORD)
    return address


def session_of(answer: AuthResponse) -> Session:
    assert answer.session is not None
    return answer.session


def log_in(client: Client, email: str, password: str = PASSWORD) -> Session:
    return session_of(client.auth.sign_in_with_password({"email": email, "password": password}))


def test_sign_up(client: Client) -> None:
    email = new_email()

    answer = client.auth.sign_up({"email": email, "password": PASSWORD, "options": {"data": {"display_name": "Ada"}}})

    assert answer.user is not None
    assert answer.user.email == email
    assert answer.user.user_metadata["display_name"] == "Ada"
    assert answer.session is not None


def test_sign_in_with_password(client: Client, email: str) -> None:
    session = log_in(client, email)

    assert session.user.email == email
    assert session.token_type == "bearer"
    assert session.expires_in == 3600
    assert session.user.last_sign_in_at is not None


def test_a_wrong_password_is_an_error_with_its_code(client: Client, email: str) -> None:
    with pytest.raises(AuthApiError) as caught:
        log_in(client, email, "wrong")

    assert caught.value.code == "invalid_credentials"
    assert caught.value.status == 400


def test_get_user(client: Client, email: str) -> None:
    answer = client.auth.get_user(log_in(client, email).access_token)

    assert answer is not None
    assert answer.user.email == email


def test_get_claims_verifies_with_the_published_keys(client: Client, email: str) -> None:
    answer = client.auth.get_claims(log_in(client, email).access_token)

    assert answer is not None
    assert answer["claims"]["aal"] == "aal1"


def test_refresh_session(client: Client, email: str) -> None:
    before = log_in(client, email)

    after = session_of(client.auth.refresh_session(before.refresh_token))

    assert after.refresh_token != before.refresh_token
    assert after.user.email == email


def test_set_session(client: Client, new_client: Callable[[str], Client], email: str) -> None:
    session = log_in(client, email)
    other = new_client(client.supabase_key)

    answer = other.auth.set_session(session.access_token, session.refresh_token)

    assert session_of(answer).user.email == email


def test_update_user(client: Client, email: str) -> None:
    log_in(client, email)

    answer = client.auth.update_user({"data": {"display_name": "Ada"}, "password": "another one"})

    assert answer.user.user_metadata["display_name"] == "Ada"
    assert log_in(client, email, "another one").user.email == email


def test_sign_out(client: Client, email: str) -> None:
    session = log_in(client, email)

    client.auth.sign_out()

    with pytest.raises(AuthApiError) as caught:
        client.auth.get_user(session.access_token)
    assert caught.value.code == "session_not_found"


def test_an_administrator_creates_a_user(admin: Client, client: Client) -> None:
    email = new_email()

    answer = admin.auth.admin.create_user({"email": email, "password": PASSWORD, "email_confirm": True})

    assert answer.user.email == email
    assert log_in(client, email).user.id == answer.user.id


def test_an_administrator_lists_users(admin: Client, email: str) -> None:
    assert email in {user.email for user in admin.auth.admin.list_users(per_page=1000)}


def test_an_administrator_gets_a_user(admin: Client, client: Client, email: str) -> None:
    user_id = log_in(client, email).user.id

    assert admin.auth.admin.get_user_by_id(user_id).user.email == email


def test_an_administrator_bans_a_user(admin: Client, client: Client, email: str) -> None:
    user_id = log_in(client, email).user.id

    admin.auth.admin.update_user_by_id(user_id, {"ban_duration": "24h"})

    with pytest.raises(AuthApiError) as caught:
        log_in(client, email)
    assert caught.value.code == "user_banned"


def test_an_administrator_deletes_a_user(admin: Client, client: Client, email: str) -> None:
    user_id = log_in(client, email).user.id

    admin.auth.admin.delete_user(user_id)

    with pytest.raises(AuthApiError) as caught:
        admin.auth.admin.get_user_by_id(user_id)
    assert caught.value.code == "user_not_found"


def test_an_administrator_signs_a_user_out(admin: Client, client: Client, email: str) -> None:
    session = log_in(client, email)

    admin.auth.admin.sign_out(session.access_token)

    with pytest.raises(AuthApiError) as caught:
        client.auth.get_user(session.access_token)
    assert caught.value.code == "session_not_found"
