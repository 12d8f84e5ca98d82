"""The list of sessions against a real PostgreSQL: one process, and two that share a Redis."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.conftest import LogLines
from tests.contract.test_login_against_the_standin import app_of
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import PASSWORD, Api, new_email
from velro_auth.ops.database import Runner

AUTH = "/api/v1/auth"
SESSIONS = f"{AUTH}/sessions"

Session = dict[str, Any]


@pytest.fixture(scope="module")
def api(migrated: Standin) -> Api:
    return Api(migrated)


@pytest.fixture(params=["memory", "redis"])
def processes(request: pytest.FixtureRequest, migrated: Standin, redis_server: RedisServer) -> tuple[Client, Client]:
    """Where the owner's requests arrive, and the thief's."""
    if request.param == "memory":
        one = app_of(migrated, fast_lane=True)
        return one, one
    with redis_server.client() as client:
        client.flushall()
    return (
        app_of(migrated, fast_lane=True, REDIS_URL=redis_server.url),
        app_of(migrated, fast_lane=False, REDIS_URL=redis_server.url),
    )


@pytest.fixture
def gateway(migrated: Standin, lane: str) -> Client:
    return app_of(migrated, fast_lane=lane == "fast lane")


@pytest.fixture
def email(migrated: Standin) -> str:
    address = new_email()
    migrated.create_user(address, PASSWORD)
    return address


def log_in(client: Client, email: str) -> Session:
    response = client.post(f"{AUTH}/login", json={"email": email, "password": PASSWORD})
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def bearer(session: Session) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['access_token']}"}


def listed(client: Client, session: Session) -> list[dict[str, Any]]:
    response = client.get(SESSIONS, headers=bearer(session))
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    return list(response.get_json()["sessions"])


def end(client: Client, session: Session, session_id: str) -> TestResponse:
    return client.delete(f"{SESSIONS}/{session_id}", headers=bearer(session))


def id_of(client: Client, session: Session) -> str:
    return client.get(f"{AUTH}/verify", headers=bearer(session)).headers["X-Auth-Session-Id"]


def verified(clients: tuple[Client, ...], session: Session) -> set[int]:
    return {client.get(f"{AUTH}/verify", headers=bearer(session)).status_code for client in clients}


def rows(api: Api, session_id: str) -> int:
    return len(api.sql("select 1 from auth.sessions where id = %s", session_id))


def test_a_user_sees_all_own_sessions_and_no_others(gateway: Client, migrated: Standin, email: str) -> None:
    stranger = new_email()
    migrated.create_user(stranger, PASSWORD)
    log_in(gateway, stranger)
    first, second = log_in(gateway, email), log_in(gateway, email)

    found = listed(gateway, second)

    assert [(one["id"], one["is_current"], one["aal"]) for one in found] == [
        (id_of(gateway, second), True, "aal1"),
        (id_of(gateway, first), False, "aal1"),
    ]
    assert set(found[0]) == {"id", "created_at", "last_used_at", "aal", "is_current", "address", "user_agent"}
    assert found[0]["created_at"].endswith("Z")
    assert gateway.head(SESSIONS, headers=bearer(first)).status_code == 200


def test_the_last_refresh_is_the_last_use(gateway: Client, api: Api, email: str) -> None:
    session = log_in(gateway, email)
    session_id = id_of(gateway, session)
    api.sql("update auth.sessions set created_at = '2026-01-01 10:00+00', refreshed_at = '2026-01-01 12:00'"
            " where id = %s returning 1", session_id)  # fmt: skip

    [found] = listed(gateway, session)

    assert (found["created_at"], found["last_used_at"]) == ("2026-01-01T10:00:00.000Z", "2026-01-01T12:00:00.000Z")


def test_address_and_agent_are_those_of_the_client_or_nothing(
    migrated: Standin, api: Api, email: str, subtests: pytest.Subtests
) -> None:
    """What Supabase records for a login through the gateway may be the gateway's own."""
    forwarding = app_of(migrated, fast_lane=True, AUTH_FORWARD_CLIENT_IP="on")
    plain = app_of(migrated, fast_lane=True, AUTH_FORWARD_CLIENT_IP="off")
    own = forwarding.post(
        f"{AUTH}/login",
        json={"email": email, "password": PASSWORD},
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
        headers={"User-Agent": "a browser"},
    ).get_json()
    direct = api.call(
        "POST",
        "/auth/v1/token?grant_type=password",
        {"email": email, "password": PASSWORD},
        headers={"User-Agent": "another browser"},
    ).json()

    for client, address in ((forwarding, "192.0.2.7"), (plain, None)):
        with subtests.test(address=address):
            shown = {one["id"]: (one["address"], one["user_agent"]) for one in listed(client, own)}
            assert shown[id_of(client, own)] == (address, None)
            assert shown[id_of(client, direct)] == ("127.0.0.1", "another browser")


def test_an_ended_session_is_refused_in_every_process_at_once(
    processes: tuple[Client, Client], api: Api, email: str
) -> None:
    here, there = processes
    owner, thief = log_in(here, email), log_in(there, email)
    thief_id = id_of(there, thief)
    assert verified(processes, thief) == {200}

    response = end(here, owner, thief_id)

    assert (response.status_code, response.data) == (204, b"")
    assert "Content-Type" not in response.headers
    assert verified(processes, thief) == {401}
    assert verified(processes, owner) == {200}
    assert rows(api, thief_id) == 0
    refreshed = there.post(f"{AUTH}/refresh", json={"refresh_token": thief["refresh_token"]})
    assert_problem(refreshed, 401, "session_expired")
    assert_problem(end(here, owner, thief_id), 404, "not_found")


def test_ending_the_own_session_is_a_logout(processes: tuple[Client, Client], api: Api, email: str) -> None:
    here, there = processes
    mine, other = log_in(here, email), log_in(here, email)
    my_id = id_of(here, mine)

    assert end(here, mine, my_id.upper()).status_code == 204

    assert verified(processes, mine) == {401}
    assert verified(processes, other) == {200}
    assert rows(api, my_id) == 0
    assert_problem(end(there, mine, my_id), 401, "token_invalid")


def test_a_session_of_another_user_is_not_found_and_lives_on(
    gateway: Client, api: Api, migrated: Standin, email: str
) -> None:
    stranger = new_email()
    migrated.create_user(stranger, PASSWORD)
    mine, foreign = log_in(gateway, email), log_in(gateway, stranger)
    foreign_id = id_of(gateway, foreign)

    for session_id in (foreign_id, str(uuid.uuid4()), "none", foreign_id.replace("-", ""), f"{{{foreign_id}}}"):
        assert_problem(end(gateway, mine, session_id), 404, "not_found")

    assert verified((gateway,), foreign) == {200}
    assert rows(api, foreign_id) == 1


def test_a_session_that_ended_elsewhere_is_noticed(gateway: Client, api: Api, email: str) -> None:
    session = log_in(gateway, email)
    api.sql("delete from auth.sessions where id = %s returning 1", id_of(gateway, session))
    assert verified((gateway,), session) == {200}

    assert_problem(gateway.get(SESSIONS, headers=bearer(session)), 401, "token_invalid")

    assert verified((gateway,), session) == {401}


def test_a_user_with_a_second_factor_has_to_use_it(gateway: Client, api: Api, email: str) -> None:
    mine, other = log_in(gateway, email), log_in(gateway, email)
    api.sql("insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at) select"
            " gen_random_uuid(), id, 'totp', 'verified', now(), now() from auth.users where email = %s returning 1",
            email)  # fmt: skip
    other_id = id_of(gateway, other)

    assert_problem(gateway.get(SESSIONS, headers=bearer(mine)), 403, "insufficient_aal")
    assert_problem(end(gateway, mine, other_id), 403, "insufficient_aal")
    assert verified((gateway,), other) == {200}
    assert end(gateway, mine, id_of(gateway, mine)).status_code == 204  # a logout is always possible


def test_a_token_is_needed(gateway: Client) -> None:
    assert_problem(gateway.get(SESSIONS), 401, "token_missing")
    assert_problem(gateway.delete(f"{SESSIONS}/{uuid.uuid4()}"), 401, "token_missing")
    assert_problem(gateway.delete(f"{SESSIONS}/none"), 401, "token_missing")
    assert_problem(gateway.get(SESSIONS, headers={"Authorization": "Bearer none"}), 401, "token_invalid")
    assert_problem(gateway.post(SESSIONS), 405, "method_not_allowed")


@pytest.fixture
def bare(new_standin: Callable[..., Standin]) -> Standin:
    """A project without the migration of the sessions."""
    standin = new_standin()
    Runner(standin.database_dsn).up(to="20261126100000")
    return standin


def test_without_the_migration_the_log_says_what_to_run(bare: Standin, logs: LogLines) -> None:
    email = new_email()
    bare.create_user(email, PASSWORD)
    client = app_of(bare, fast_lane=True)
    session = log_in(client, email)

    assert_problem(client.get(SESSIONS, headers=bearer(session)), 503, "upstream_misconfigured")
    assert_problem(end(client, session, str(uuid.uuid4())), 503, "upstream_misconfigured")

    assert "run velro-auth db up" in str(logs)
    # Its own session it can end all the same.
    assert end(client, session, id_of(client, session)).status_code == 204
