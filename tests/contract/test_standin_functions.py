"""The stand-in's data API calls functions, and one before each request, as PostgREST does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email
from velro_auth.ops.database import Runner

FUNCTIONS = """
create function public.add(a int, b int default 10) returns int language sql as 'select a + b';
create function public.both(a int) returns table (x int, y text) language sql
as $$ values (a, 'one'), (a + 1, 'two') $$;
create function public.one() returns public.pair language sql as $$ select 1, 'z'::text $$;
create function public.nothing() returns void language sql as 'select null';
create function public.who() returns text language sql stable
as $$ select current_user || ' ' || coalesce(auth.uid()::text, '-') $$;
create function public.closed() returns int language sql as 'select 1';
create function public.stop() returns int language plpgsql as $$
begin raise sqlstate 'PT402' using message = 'pay', detail = 'first', hint = 'soon'; end $$;
revoke all on function public.closed() from public, anon, authenticated;
"""


@pytest.fixture(scope="module")
def api(new_standin: Callable[..., Standin]) -> Api:
    api = Api(new_standin())
    api.sql("create type public.pair as (x int, y text)")
    api.sql(FUNCTIONS)
    return api


def call(api: Api, name: str, arguments: Any = None, **options: Any) -> requests.Response:
    return api.call("POST", f"/rest/v1/rpc/{name}", arguments, **options)


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("add", {"a": 1}, 11),
        ("add", {"b": 2, "a": 1}, 3),
        ("both", {"a": 1}, [{"x": 1, "y": "one"}, {"x": 2, "y": "two"}]),
        ("one", {}, {"x": 1, "y": "z"}),
        ("who", None, "anon -"),
    ],
)
def test_arguments_go_by_name_and_results_come_as_json(api: Api, name: str, arguments: Any, result: Any) -> None:
    response = call(api, name, arguments)

    assert (response.status_code, response.json()) == (200, result)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_function_without_a_result_is_204(api: Api) -> None:
    response = call(api, "nothing")

    assert (response.status_code, response.content) == (204, b"")


def test_the_caller_s_role_and_claims_count(api: Api) -> None:
    email = new_email()
    user = api.server.create_user(email, PASSWORD)

    assert call(api, "who", bearer=api.log_in(email).json()["access_token"]).json() == f"authenticated {user}"
    assert call(api, "who", key=api.server.secret_key).json() == "service_role -"


@pytest.mark.parametrize("arguments", [{}, {"a": 1, "c": 2}])
def test_a_function_that_does_not_fit_is_not_found(api: Api, arguments: dict[str, int]) -> None:
    response = call(api, "add", arguments)

    assert (response.status_code, response.json()["code"]) == (404, "PGRST202")
    assert call(api, "unknown").json()["message"] == (
        "Could not find the function public.unknown without parameters in the schema cache"
    )


def test_refusals_have_the_status_that_their_state_says(api: Api) -> None:
    stopped = call(api, "stop")

    assert (stopped.status_code, stopped.json()) == (
        402,
        {"code": "PT402", "details": "first", "hint": "soon", "message": "pay"},
    )
    assert call(api, "closed").status_code == 401
    assert call(api, "add", {"a": "x"}).status_code == 400


@pytest.fixture
def checked(new_standin: Callable[..., Standin]) -> Api:
    """A project whose data API looks at sessions."""
    standin = new_standin()
    Runner(standin.database_dsn).up(wanted=["session-check"])
    return Api(standin)


def test_the_session_check_closes_the_data_api_to_ended_sessions(checked: Api) -> None:
    email = new_email()
    checked.server.create_user(email, PASSWORD)
    first, second = (checked.log_in(email).json()["access_token"] for _ in range(2))
    rows = "/rest/v1/users?select=email"
    assert checked.call("GET", rows, bearer=first).json() == [{"email": email}]

    assert checked.call("POST", "/auth/v1/logout?scope=local", bearer=first).status_code == 204

    refused = checked.call("GET", rows, bearer=first)
    assert (refused.status_code, refused.json()["code"]) == (401, "PT401")
    assert call(checked, "velro_auth_sessions", bearer=first).status_code == 401
    assert checked.call("PATCH", "/rest/v1/users?email=eq.x", {"display_name": "x"}, bearer=first).status_code == 401
    assert checked.call("GET", rows, bearer=second).json() == [{"email": email}]
    # Keys have no session.
    assert checked.call("GET", rows, key=checked.server.secret_key).json() == [{"email": email}]
    assert checked.call("GET", rows).json()["code"] == "42501"

    Runner(checked.server.database_dsn).down(only="session-check")
    assert checked.call("GET", rows, bearer=first).status_code == 200
