"""The access token hook: what it may change, and how each of its failures looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email

FUNCTION = """
create or replace function velro_auth.custom_access_token_hook(event jsonb) returns jsonb
language plpgsql as $$ begin {} end $$
"""
DENY = "revoke execute on function velro_auth.custom_access_token_hook from public, supabase_auth_admin"


@pytest.fixture(scope="module")
def hooked(new_standin: Callable[..., Standin]) -> Api:
    """A stand-in whose hook the tests replace one by one."""
    api = Api(new_standin())
    api.sql("create schema velro_auth")
    api.sql("grant usage on schema velro_auth to supabase_auth_admin")
    return api


def log_in_with(api: Api, body: str, *, version: str | None = "2024-01-01") -> Any:
    email = new_email()
    api.server.create_user(email, PASSWORD)
    api.sql(FUNCTION.format(body).replace("%", "%%"))
    return Api(api.server, version=version).log_in(email)


def claims(response: Any) -> dict[str, Any]:
    token = response.json()["access_token"]
    said: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return said


def test_a_hook_adds_a_claim(hooked: Api) -> None:
    body = "return jsonb_set(event, '{claims,user_role}', '\"editor\"');"

    assert claims(log_in_with(hooked, body))["user_role"] == "editor"


def test_a_hook_is_told_who_and_how(hooked: Api) -> None:
    body = "return jsonb_set(event, '{claims,event}', event - 'claims');"

    said = claims(log_in_with(hooked, body))

    assert said["event"]["user_id"] == said["sub"]
    assert said["event"]["authentication_method"] == "password"
    assert said["event"]["metadata"]["name"] == "customize-access-token"
    assert set(said["event"]["metadata"]) == {"uuid", "time", "name", "ip_address"}


def test_a_hook_sees_a_refresh_as_one(hooked: Api) -> None:
    session = log_in_with(hooked, "return jsonb_set(event, '{claims,how}', event->'authentication_method');")

    refreshed = hooked.refresh(session.json()["refresh_token"])

    assert claims(refreshed)["how"] == "token_refresh"


def test_a_hook_that_changes_the_end_is_not_reflected_in_the_answer(hooked: Api) -> None:
    """So trust the token."""
    response = log_in_with(hooked, "return jsonb_set(event, '{claims,exp}', '1999999999');")

    assert claims(response)["exp"] == 1999999999
    assert response.json()["expires_at"] != 1999999999


def test_a_hook_may_drop_what_is_not_required(hooked: Api) -> None:
    response = log_in_with(hooked, "return event #- '{claims,iss}' #- '{claims,app_metadata}';")

    assert {"iss", "app_metadata"}.isdisjoint(claims(response))


def test_a_hook_runs_as_the_auth_server(hooked: Api) -> None:
    body = "return jsonb_set(event, '{claims,who}', to_jsonb(current_user || ' ' || current_setting('search_path')));"

    assert claims(log_in_with(hooked, body))["who"] == "supabase_auth_admin auth"


def test_a_table_with_row_security_looks_empty_to_the_hook(hooked: Api) -> None:
    """No error, the claim is silently missing: the policy for the Auth server was forgotten."""
    hooked.sql("create table if not exists public.roles (role text)")
    hooked.sql("insert into public.roles values ('admin')")
    hooked.sql("alter table public.roles enable row level security")
    hooked.sql("grant select on public.roles to supabase_auth_admin")
    body = "return jsonb_set(event, '{claims,rows}', (select to_jsonb(count(*)) from public.roles));"

    assert claims(log_in_with(hooked, body))["rows"] == 0


URI = "Error running hook URI: pg-functions://postgres/velro_auth/custom_access_token_hook"
CONFORM = "output claims do not conform to the expected schema: \n"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("raise exception 'not today';", 500, URI),
        ("perform 1/0;", 500, URI),
        ("return event - 'claims';", 500, "output claims field is missing"),
        ("return null;", 500, CONFORM + "- (root): Invalid type. Expected: object, given: null\n"),
        ("return jsonb_set(event, '{claims}', 'null');", 500, CONFORM),
        ("return jsonb_set(event, '{claims}', '{}');", 500, CONFORM + "- (root): aud is required\n"),
        ("return event #- '{claims,role}';", 500, CONFORM + "- (root): role is required\n"),
        ("return jsonb_set(event, '{claims,aal}', '1');", 500, CONFORM + "- aal: Invalid type."),
        ('return \'{"error": {"http_code": 403, "message": "no"}}\';', 403, "no"),
        ('return \'{"error": {"http_code": 429, "message": "slow"}}\';', 429, "slow"),
        ('return \'{"error": {"message": "no"}}\';', 500, "no"),
        ('return \'{"error": {"message": ""}}\';', 500, "output claims field is missing"),
    ],
)
def test_a_failing_hook_fails_the_login(hooked: Api, body: str, status: int, message: str) -> None:
    response = log_in_with(hooked, body)

    assert response.status_code == status
    assert response.json()["message"].startswith(message)
    assert response.json()["code"] == ("unexpected_failure" if status == 500 else "unknown")


def test_nothing_of_a_failed_login_is_left(hooked: Api) -> None:
    response = log_in_with(hooked, "raise exception 'not today';")

    user_id = response.headers["sb-auth-user-id"]
    assert hooked.sql(
        "select last_sign_in_at, (select count(*) from auth.sessions s where s.user_id = u.id)"
        " from auth.users u where id = %s",
        user_id,
    ) == [(None, 0)]


@pytest.mark.slow
def test_a_hook_has_two_seconds(hooked: Api) -> None:
    response = log_in_with(hooked, "perform pg_sleep(30); return event;")

    assert response.json()["message"] == URI
    assert 1.9 < response.elapsed.total_seconds() < 20


def test_a_hook_without_the_right_to_run_it_fails(new_standin: Callable[..., Standin]) -> None:
    api = Api(new_standin())
    api.sql("create schema velro_auth")
    api.sql("grant usage on schema velro_auth to supabase_auth_admin")
    api.sql(FUNCTION.format("return event;"))
    api.sql(DENY)
    email = new_email()
    api.server.create_user(email, PASSWORD)

    assert api.log_in(email).json()["message"] == URI


def test_two_functions_of_the_same_name_are_ambiguous(new_standin: Callable[..., Standin]) -> None:
    """The argument has no type of its own, so json and jsonb both fit (42725)."""
    api = Api(new_standin(token_hook="public.hook"))
    for kind in ("json", "jsonb"):
        api.sql(f"create function public.hook(event {kind}) returns {kind} language sql as 'select event'")
    email = new_email()
    api.server.create_user(email, PASSWORD)

    assert api.log_in(email).json()["message"].startswith("Error running hook URI")


def test_a_missing_function_counts_as_switched_off(standin: Standin) -> None:
    email = new_email()
    standin.create_user(email, PASSWORD)

    assert Api(standin).log_in(email).status_code == 200


def test_a_missing_function_fails_where_it_is_required(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(token_hook_required=True))
    email = new_email()
    api.server.create_user(email, PASSWORD)

    assert api.log_in(email).json()["message"] == URI


def test_a_failing_hook_leaves_the_account_of_a_sign_up(hooked: Api) -> None:
    """Two transactions: the caller sees a failure, and a repeat sees that the account is there."""
    hooked.sql(FUNCTION.format("raise exception 'not today';"))
    body = {"email": new_email(), "password": PASSWORD}

    first = hooked.call("POST", "/auth/v1/signup", body)
    second = hooked.call("POST", "/auth/v1/signup", body)

    assert first.status_code == 500
    assert second.json()["code"] == "user_already_exists"
