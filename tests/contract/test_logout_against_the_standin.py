"""Logouts against a real PostgreSQL and a local Supabase Auth, in one process and in two that share a Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.test_login_against_the_standin import app_of
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import PASSWORD, Api, new_email

AUTH = "/api/v1/auth"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")

Session = dict[str, Any]


@pytest.fixture(params=["memory", "redis"])
def processes(request: pytest.FixtureRequest, standin: Standin, redis_server: RedisServer) -> tuple[Client, Client]:
    """Where the owner's requests arrive, and the thief's."""
    if request.param == "memory":
        one = app_of(standin, fast_lane=True)
        return one, one
    with redis_server.client() as client:
        client.flushall()
    return (
        app_of(standin, fast_lane=True, REDIS_URL=redis_server.url),
        app_of(standin, fast_lane=False, REDIS_URL=redis_server.url),
    )


@pytest.fixture
def email(standin: Standin) -> str:
    address = new_email()
    standin.create_user(address, PASSWORD)
    return address


def log_in(client: Client, email: str) -> Session:
    response = client.post(f"{AUTH}/login", json={"email": email, "password": PASSWORD})
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def log_out(client: Client, session: Session, scope: str = "global", **body: str) -> TestResponse:
    return client.post(f"{AUTH}/logout?scope={scope}", headers=bearer(session), json=body)


def refresh(client: Client, session: Session) -> TestResponse:
    return client.post(f"{AUTH}/refresh", json={"refresh_token": session["refresh_token"]})


def bearer(session: Session) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['access_token']}"}


def verified(clients: tuple[Client, Client], session: Session) -> set[int]:
    return {client.get(f"{AUTH}/verify", headers=bearer(session)).status_code for client in clients}


@pytest.mark.parametrize("scope", ["others", "global"])
def test_a_thief_who_was_thrown_out_stays_out_and_throws_no_one_out(
    processes: tuple[Client, Client], email: str, scope: str
) -> None:
    here, there = processes
    owner, thief = log_in(here, email), log_in(there, email)
    assert verified(processes, thief) == {200}
    assert log_out(here, owner).status_code == 200
    after = log_in(here, email)

    assert log_out(there, thief, scope).status_code == 200

    assert verified(processes, thief) == {401}
    assert_problem(there.get(f"{AUTH}/me", headers=bearer(thief)), 401, "token_invalid")
    assert verified(processes, after) == {200}


def test_a_thief_who_refreshed_a_moment_ago_is_thrown_out(processes: tuple[Client, Client], email: str) -> None:
    here, there = processes
    owner, thief = log_in(here, email), log_in(there, email)
    thief = refresh(there, thief).get_json()

    assert log_out(here, owner).status_code == 200

    assert verified(processes, thief) == {401}
    assert_problem(refresh(there, thief), 401, "session_expired")


def test_a_login_right_after_a_logout_is_good_everywhere(processes: tuple[Client, Client], email: str) -> None:
    """Ten in a row: most of them within the second of a logout."""
    session = log_in(processes[0], email)
    for number in range(10):
        assert log_out(processes[number % 2], session).status_code == 200
        before, session = session, log_in(processes[(number + 1) % 2], email)

        assert verified(processes, session) == {200}
        assert verified(processes, before) == {401}


def test_a_session_that_is_gone_does_not_end_the_next(processes: tuple[Client, Client], email: str) -> None:
    here, there = processes
    gone = log_in(here, email)
    assert log_out(here, gone, "local").status_code == 200
    after = log_in(here, email)

    assert log_out(there, gone, "global").status_code == 200

    assert verified(processes, after) == {200}


def test_a_banned_user_s_session_ends_here(processes: tuple[Client, Client], standin: Standin, email: str) -> None:
    """At Supabase a ban leaves it in place: after the ban it would go on."""
    here, there = processes
    session, other = log_in(here, email), log_in(there, email)
    user = f"/users/{session['user']['id']}"
    assert Api(standin).admin("PUT", user, {"ban_duration": "24h"}).status_code == 200

    assert log_out(here, session).status_code == 200

    assert verified(processes, session) == {401}
    assert Api(standin).admin("PUT", user, {"ban_duration": "none"}).status_code == 200
    assert_problem(refresh(there, session), 401, "session_expired")
    assert verified(processes, other) == {200}


def test_a_token_of_a_revoked_key_does_not_end_its_session_without_being_told(
    new_standin: Callable[..., Standin],
) -> None:
    """With the refresh token it does."""
    standin = new_standin()
    address = new_email()
    standin.create_user(address, PASSWORD)
    client = app_of(standin, fast_lane=True)
    session = log_in(client, address)
    standin.rotate_keys(revoke_old=True)

    assert_problem(log_out(client, session, "others"), 401, "token_invalid")
    alive = refresh(client, session)
    assert alive.status_code == 200

    ended = log_out(client, session, refresh_token=alive.get_json()["refresh_token"])

    assert (ended.status_code, ended.get_json()) == (200, {"message": "Logged out"})
    assert Api(standin).user(alive.get_json()["access_token"]).json()["code"] == "session_not_found"


def test_a_logout_that_supabase_missed_is_made_up_for_by_the_next_refresh(
    processes: tuple[Client, Client], standin: Standin, email: str
) -> None:
    here, there = processes
    session = log_in(here, email)
    standin.faults.on("failure", path="/auth/v1/logout")
    assert log_out(here, session, "local").status_code == 503
    standin.faults.clear()

    assert_problem(refresh(there, session), 401, "session_expired")

    assert Api(standin).user(session["access_token"]).json()["code"] == "session_not_found"
