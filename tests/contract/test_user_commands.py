"""``velro-auth user``: an administrator's commands against a real PostgreSQL, Redis and a local Supabase Auth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import responses
from click.testing import CliRunner, Result
from werkzeug.test import Client

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.test_login_against_the_standin import app_of
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import PASSWORD, Api, new_email
from tests.upstream_double import PROJECT
from velro_auth.ops.cli import main

AUTH = "/api/v1/auth"

Run = Callable[..., Result]


@pytest.fixture
def api(migrated: Standin) -> Api:
    return Api(migrated)


@pytest.fixture
def email(migrated: Standin) -> str:
    address = new_email()
    migrated.create_user(address, PASSWORD)
    return address


@pytest.fixture
def run(migrated: Standin) -> Run:
    def call(*arguments: str, **environment: str) -> Result:
        given = {
            "SUPABASE_URL": migrated.url,
            "SUPABASE_SECRET_KEY": migrated.secret_key,
            "DATABASE_URL": migrated.database_dsn,
            "REDIS_URL": "",
            **environment,
        }
        return CliRunner().invoke(main, ["user", *arguments], env=given)

    return call


def log_in(client: Client, email: str) -> Any:
    return client.post(f"{AUTH}/login", json={"email": email, "password": PASSWORD})


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['access_token']}"}


def verified(client: Client, session: dict[str, Any]) -> int:
    return int(client.get(f"{AUTH}/verify", headers=bearer(session)).status_code)


def user_id(api: Api, email: str) -> str:
    return str(api.sql("select id from auth.users where email = %s", email)[0][0])


def count(api: Api, email: str) -> int:
    statement = "select count(*) from auth.sessions s join auth.users u on u.id = s.user_id where u.email = %s"
    return int(api.sql(statement, email)[0][0])


def test_the_sessions_of_a_user_are_listed(run: Run, api: Api, email: str) -> None:
    assert run("sessions", email).output == "No session.\n"
    api.call("POST", "/auth/v1/token?grant_type=password", {"email": email, "password": PASSWORD},
             headers={"User-Agent": "a browser"})  # fmt: skip

    for who in (email, f" {email.upper()} ", user_id(api, email)):
        result = run("sessions", who)
        assert (result.exit_code, result.output.count("\n")) == (0, 1)
        assert result.output.endswith("aal1  127.0.0.1  a browser\n")


def test_ending_the_sessions_reaches_the_running_processes(
    run: Run, api: Api, migrated: Standin, email: str, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.flushall()
    stranger = new_email()
    migrated.create_user(stranger, PASSWORD)
    gateway = app_of(migrated, fast_lane=True, REDIS_URL=redis_server.url)
    session, foreign = (log_in(gateway, address).get_json() for address in (email, stranger))
    assert verified(gateway, session) == 200

    result = run("end-sessions", email, REDIS_URL=redis_server.url)

    assert (result.exit_code, "1 session ended." in result.output) == (0, True)
    assert (verified(gateway, session), verified(gateway, foreign)) == (401, 200)
    refreshed = gateway.post(f"{AUTH}/refresh", json={"refresh_token": session["refresh_token"]})
    assert_problem(refreshed, 401, "session_expired")
    assert (count(api, email), count(api, stranger)) == (0, 1)
    # A login afterwards is not hit, within the same second either.
    assert verified(gateway, log_in(gateway, email).get_json()) == 200


def test_without_redis_it_says_how_long_tokens_go_on(run: Run, api: Api, migrated: Standin, email: str) -> None:
    gateway = app_of(migrated, fast_lane=True)
    session = log_in(gateway, email).get_json()

    result = run("end-sessions", email)

    assert result.exit_code == 0
    assert "1 session ended." in result.output
    assert "until they expire, an hour by default" in result.output
    assert count(api, email) == 0
    assert verified(gateway, session) == 200


def test_a_redis_that_is_away_is_an_error_after_the_sessions_ended(run: Run, api: Api, email: str) -> None:
    api.log_in(email)

    result = run("end-sessions", email, REDIS_URL="redis://127.0.0.1:1/0")

    assert (result.exit_code, count(api, email)) == (1, 0)
    assert "run the command again when Redis answers" in result.output


def test_a_ban_ends_the_sessions_and_stops_logins_until_it_is_lifted(
    run: Run, api: Api, migrated: Standin, email: str
) -> None:
    gateway = app_of(migrated, fast_lane=True)
    log_in(gateway, email)

    result = run("ban", email)

    assert (result.exit_code, result.output.splitlines()[:2]) == (0, ["Banned.", "1 session ended."])
    assert_problem(log_in(gateway, email), 401, "invalid_credentials")
    assert count(api, email) == 0
    [(years,)] = api.sql("select extract(year from banned_until)::int from auth.users where email = %s", email)
    assert years > 2100

    assert run("unban", email).output == "No longer banned.\n"
    assert log_in(gateway, email).status_code == 200


def test_a_ban_without_the_database_says_that_sessions_stay(run: Run, api: Api, email: str) -> None:
    api.log_in(email)

    result = run("ban", email, "--for", "24h", DATABASE_URL="")

    assert result.exit_code == 0
    assert "the sessions stay" in result.output
    assert count(api, email) == 1
    statement = "select banned_until < now() + interval '25 hours' from auth.users where email = %s"
    assert api.sql(statement, email) == [(True,)]


def test_what_is_missing_is_one_sentence(run: Run, email: str) -> None:
    for arguments, environment, said in (
        (("sessions", email), {"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        (
            ("ban", email),
            {"SUPABASE_SECRET_KEY": "", "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_canary0123456789"},
            "SECRET_KEY",
        ),
        (("unban", email), {"SUPABASE_SECRET_KEY": "sb_secret_wrong0123456789abcdef"}, "Supabase answered 401"),
        (("unban", "nobody@example.com"), {}, "There is no such user"),
        (("sessions", "nobody@example.com"), {}, "There is no such user"),
    ):
        result = run(*arguments, **environment)
        assert (result.exit_code, said in result.output, result.output.count("\n")) == (1, True, 1), result.output


def test_the_second_factor_is_gone_and_the_password_alone_is_enough(run: Run, api: Api, email: str) -> None:
    insert = (
        "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
        " values (gen_random_uuid(), %s, 'totp', 'verified', now(), now()) returning id"
    )
    [(factor,)] = api.sql(insert, user_id(api, email))

    result = run("remove-factor", email)

    assert (result.exit_code, f"removed {factor}" in result.output) == (0, True), result.output
    assert api.sql("select id from auth.mfa_factors where id = %s", factor) == []
    assert run("remove-factor", email).exit_code == 1


USERS = f"{PROJECT}/auth/v1/admin/users"
ADA = {"id": "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61", "email": "ada@example.com"}
FACTORS = [
    {"id": "f1", "factor_type": "totp", "status": "verified", "friendly_name": "phone"},
    {"id": "f2", "factor_type": "totp", "status": "unverified"},
]


@pytest.fixture
def supabase() -> Any:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize(
    ("factors", "arguments", "removed"),
    [
        (FACTORS[:1], [], ["f1"]),
        (FACTORS, ["--factor", "f2"], ["f2"]),
        (FACTORS, ["--all"], ["f1", "f2"]),
    ],
)
def test_a_lost_second_factor_is_removed(
    run: Run, supabase: responses.RequestsMock, factors: Any, arguments: list[str], removed: list[str]
) -> None:
    supabase.get(USERS, json={"users": [{"id": "x", "email": None}, ADA]})
    supabase.get(f"{USERS}/{ADA['id']}", json={**ADA, "factors": factors})
    for one in removed:
        supabase.delete(f"{USERS}/{ADA['id']}/factors/{one}", json={"id": one})

    result = run("remove-factor", "Ada@example.com", *arguments, SUPABASE_URL=PROJECT)

    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if "removed" in line] == [f"removed {one}" for one in removed]


@pytest.mark.parametrize(
    ("factors", "arguments", "said"),
    [
        ([], [], "no second factor"),
        (FACTORS, [], "several; name one with --factor, or remove --all: f1 (totp, verified, phone); f2 (totp,"),
        (FACTORS[:1], ["--factor", "f3"], "no factor of this id; there are: f1"),
    ],
)
def test_which_factor_is_never_guessed(
    run: Run, supabase: responses.RequestsMock, factors: Any, arguments: list[str], said: str
) -> None:
    supabase.get(f"{USERS}/{ADA['id']}", json={**ADA, "factors": factors})

    result = run("remove-factor", ADA["id"], *arguments, SUPABASE_URL=PROJECT)

    assert (result.exit_code, said in result.output) == (1, True), result.output


def test_a_user_on_a_later_page_is_found(run: Run, supabase: responses.RequestsMock) -> None:
    page = [{"id": str(number), "email": f"{number}@example.com"} for number in range(500)]
    supabase.get(f"{USERS}?page=1&per_page=500", json={"users": page})
    supabase.get(f"{USERS}?page=2&per_page=500", json={"users": [ADA]})
    supabase.put(
        f"{USERS}/{ADA['id']}", json=ADA, match=[responses.matchers.json_params_matcher({"ban_duration": "none"})]
    )

    assert run("unban", ADA["email"], SUPABASE_URL=PROJECT).output == "No longer banned.\n"
