"""Whose profile a token reads: the real migrations, real row level security, and the ``supabase`` package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.test_login_against_the_standin import app_of
from tests.fixtures.standin import PASSWORD, Api, new_email
from velro_auth.auth.models import Profile
from velro_auth.ops.database import Runner
from velro_auth.upstream.profiles import SupabaseProfiles
from velro_auth.upstream.transport.transport import Transport

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@pytest.fixture(scope="module")
def api(new_standin: Callable[..., Standin]) -> Api:
    """A project with the migrations."""
    server = new_standin()
    Runner(server.database_dsn).up()
    return Api(server)


@pytest.fixture
def gateway(api: Api, lane: str) -> Client:
    return app_of(api.server, fast_lane=lane == "fast lane")


def new_user(api: Api, name: str, credits_balance: int) -> str:
    """Return the address of a new user with a profile row of these values."""
    email = new_email()
    user_id = api.server.create_user(email, PASSWORD)
    statement = "update public.users set display_name = %s, credits_balance = %s where id = %s returning 1"
    assert api.sql(statement, name, credits_balance, user_id)
    return email


def session(client: Client, email: str) -> dict[str, Any]:
    response = client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert response.status_code == 200
    return dict(response.get_json())


def me(client: Client, token: str) -> dict[str, Any]:
    response = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200
    return dict(response.get_json())


def test_everybody_gets_their_own_row(api: Api, gateway: Client) -> None:
    """In turn, so that a client that kept somebody's token would show."""
    people = {name: session(gateway, new_user(api, name, number)) for number, name in enumerate(("Ada", "Bob"), 1)}

    seen = [(name, me(gateway, people[name]["access_token"])) for name in ("Ada", "Bob", "Ada")]

    assert [(body["display_name"], body["credits_balance"]) for _, body in seen] == [("Ada", 1), ("Bob", 2), ("Ada", 1)]
    assert all(body["id"] == people[name]["user"]["id"] for name, body in seen)


def test_a_login_off_the_fast_lane_brings_the_row_along(api: Api, lane: str) -> None:
    client = app_of(api.server, fast_lane=lane == "fast lane", AUTH_FAST_LOGIN="0")

    user = session(client, new_user(api, "Ada", 7))["user"]

    assert (user["display_name"], user["credits_balance"]) == ("Ada", 7)


def test_row_level_security_decides_and_not_the_rights_of_our_key(api: Api, gateway: Client) -> None:
    """The gateway's key may read every row; with Ada's token beside it Bob's row is not there."""
    ada, bob = (session(gateway, new_user(api, name, 1)) for name in ("Ada", "Bob"))
    transport = Transport(api.server.url, key=api.server.secret_key, pool_size=2)
    profiles = SupabaseProfiles(transport, url=api.server.url, key=api.server.secret_key)

    own = profiles.of(ada["access_token"], ada["user"]["id"])
    assert own is not None
    assert dataclasses.replace(own, created_at=None, updated_at=None) == Profile(display_name="Ada", credits_balance=1)
    assert profiles.of(ada["access_token"], bob["user"]["id"]) is None
    transport.close()


def test_after_a_logout_nobody_is_told_anything(api: Api, gateway: Client) -> None:
    token = session(gateway, new_user(api, "Ada", 1))["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert gateway.post("/api/v1/auth/logout", headers=bearer).status_code == 200

    assert_problem(gateway.get("/api/v1/auth/me", headers=bearer), 401, "token_invalid")
