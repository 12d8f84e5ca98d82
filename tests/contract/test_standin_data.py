"""The data API: real row level security and real grants behind PostgREST's manners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests
from postgrest.exceptions import APIError
from supabase import Client, create_client
from supabase.lib.client_options import SyncClientOptions

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email

TABLE = """
create type public.mood as enum ('calm', 'cross');
create table public.users (
    id uuid primary key references auth.users (id) on delete cascade,
    email text, display_name text, mood public.mood not null default 'calm',
    credits int not null default 0 check (credits >= 0), role text not null default 'viewer'
);
alter table public.users enable row level security;
create policy own on public.users to authenticated using ((select auth.uid()) = id);
grant select, update (display_name, mood, credits) on public.users to authenticated;
grant all on public.users to service_role;
"""
USERS = "/rest/v1/users"
OBJECT = {"Accept": "application/vnd.pgrst.object+json"}
SHOW = {"Prefer": "return=representation"}


@pytest.fixture(scope="module")
def api(new_standin: Callable[..., Standin]) -> Api:
    api = Api(new_standin())
    api.sql(TABLE)
    return api


class Person:
    """A user with a row, logged in."""

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.email = new_email()
        self.id = api.server.create_user(self.email, PASSWORD)
        api.sql(
            "insert into public.users (id, email, display_name) values (%s, %s, %s)",
            self.id,
            self.email,
            name,
        )
        self.bearer = api.log_in(self.email).json()["access_token"]

    def call(self, method: str, query: str = "", json: Any = None, **headers: str) -> requests.Response:
        """Send one request with the own token."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.call(method, USERS + query, json, bearer=self.bearer, headers=sent)


@pytest.fixture
def ada(api: Api) -> Person:
    return Person(api, "Ada")


@pytest.fixture
def bob(api: Api) -> Person:
    return Person(api, "Bob")


def everything(api: Api, query: str = "", **headers: str) -> requests.Response:
    return api.call("GET", USERS + query, key=api.server.secret_key, headers=headers)


def test_users_see_their_own_row_only(ada: Person, bob: Person) -> None:
    response = ada.call("GET")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert [row["id"] for row in response.json()] == [ada.id]
    assert ada.call("GET", f"?id=eq.{bob.id}").json() == []


def test_the_secret_key_sees_all_rows(api: Api, ada: Person, bob: Person) -> None:
    assert {ada.id, bob.id} <= {row["id"] for row in everything(api).json()}


def test_a_user_s_token_beside_the_secret_key_has_the_user_s_rights(api: Api, ada: Person, bob: Person) -> None:
    """The classic of a shared client: row level security comes back when one does not expect it."""
    rows = api.call("GET", USERS, key=api.server.secret_key, bearer=ada.bearer).json()

    assert [row["id"] for row in rows] == [ada.id]


def test_strangers_have_no_right_to_the_table(api: Api) -> None:
    response = api.call("GET", USERS)

    assert response.status_code == 401
    assert response.json()["code"] == "42501"
    assert response.json()["message"] == "permission denied for table users"


def test_users_change_their_own_row(ada: Person) -> None:
    response = ada.call("PATCH", f"?id=eq.{ada.id}", {"display_name": "Countess", "mood": "cross"}, **SHOW)

    assert response.status_code == 200
    (row,) = response.json()
    assert (row["display_name"], row["mood"]) == ("Countess", "cross")


def test_a_change_that_shows_nothing_has_no_body(ada: Person) -> None:
    response = ada.call("PATCH", f"?id=eq.{ada.id}", {"display_name": "Countess"})

    assert response.status_code == 204
    assert response.content == b""
    assert ada.call("GET").json()[0]["display_name"] == "Countess"


def test_the_row_of_another_user_is_not_there_to_be_changed(ada: Person, bob: Person) -> None:
    response = ada.call("PATCH", f"?id=eq.{bob.id}", {"display_name": "Owned"}, **SHOW)

    assert response.json() == []
    assert bob.call("GET").json()[0]["display_name"] == "Bob"


def test_a_column_without_a_grant_is_forbidden(ada: Person) -> None:
    response = ada.call("PATCH", f"?id=eq.{ada.id}", {"role": "admin"})

    assert response.status_code == 403
    assert response.json()["code"] == "42501"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"credits": -1}, "23514"), ({"mood": "angry"}, "22P02"), ({"no_such_column": 1}, "PGRST204")],
)
def test_a_value_that_does_not_fit_is_a_bad_request(ada: Person, change: dict[str, Any], code: str) -> None:
    response = ada.call("PATCH", f"?id=eq.{ada.id}", change)

    assert response.status_code == 400
    assert response.json()["code"] == code
    assert set(response.json()) == {"code", "details", "hint", "message"}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("display_name=eq.Zoe", ["Zoe"]),
        ("display_name=neq.Zoe&order=display_name", ["Xan", "Yves"]),
        ('display_name=in.(Zoe,"Xan")&order=display_name.desc', ["Zoe", "Xan"]),
        ("display_name=like.Y*", ["Yves"]),
        ("display_name=ilike.*AN", ["Xan"]),
        ("credits=gte.2&order=credits.asc.nullslast", ["Yves", "Zoe"]),
        ("credits=not.gte.2", ["Xan"]),
        ("mood=is.null", []),
        ("mood=is.not_null&order=credits&limit=1&offset=1", ["Yves"]),
    ],
)
def test_rows_are_filtered_ordered_and_sliced(
    new_standin: Callable[..., Standin], query: str, names: list[str], letters: Api
) -> None:
    rows = everything(letters, f"?select=display_name&{query}").json()

    assert [row["display_name"] for row in rows] == names


@pytest.fixture(scope="module")
def letters(new_standin: Callable[..., Standin]) -> Api:
    """Three users with 1, 2 and 3 credits."""
    api = Api(new_standin())
    api.sql(TABLE)
    for balance, name in enumerate(("Xan", "Yves", "Zoe"), start=1):
        user_id = api.server.create_user(new_email(), PASSWORD)
        api.sql(
            "insert into public.users (id, display_name, credits) values (%s, %s, %s)",
            user_id,
            name,
            balance,
        )
    return api


def test_columns_are_chosen_and_renamed(letters: Api) -> None:
    rows = everything(letters, "?select=name:display_name,credits&credits=eq.1").json()

    assert rows == [{"name": "Xan", "credits": 1}]


def test_the_total_is_counted_on_demand(letters: Api) -> None:
    plain, counted = everything(letters, "?limit=2"), everything(letters, "?limit=2", Prefer="count=exact")

    assert (plain.status_code, plain.headers["Content-Range"]) == (200, "0-1/*")
    assert (counted.status_code, counted.headers["Content-Range"]) == (206, "0-1/3")


def test_a_range_header_slices_too(letters: Api) -> None:
    response = everything(letters, "?order=credits", Range="1-2")

    assert [row["display_name"] for row in response.json()] == ["Yves", "Zoe"]
    assert response.headers["Content-Range"] == "1-2/*"


def test_a_single_row_comes_as_an_object(letters: Api) -> None:
    response = everything(letters, "?credits=eq.1&select=display_name", **OBJECT)

    assert response.json() == {"display_name": "Xan"}
    assert response.headers["Content-Type"] == "application/vnd.pgrst.object+json; charset=utf-8"


@pytest.mark.parametrize(("query", "count"), [("?credits=eq.9", 0), ("", 3)])
def test_a_single_row_that_is_none_or_many_is_not_acceptable(letters: Api, query: str, count: int) -> None:
    response = everything(letters, query, **OBJECT)

    assert response.status_code == 406
    assert response.json()["code"] == "PGRST116"
    assert response.json()["details"] == f"The result contains {count} rows"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?credits=above.1", "PGRST100"),
        ("?select=a-b", "PGRST100"),
        ("?order=credits.sideways", "PGRST100"),
        ("?limit=many", "PGRST100"),
        ("?no_such_column=eq.1", "42703"),
        ("?credits=eq.many", "22P02"),
        ("?display_name=eq.%00", "22021"),
    ],
)
def test_a_query_that_is_not_understood_is_a_bad_request(letters: Api, query: str, code: str) -> None:
    response = everything(letters, query)

    assert response.status_code == 400
    assert response.json()["code"] == code


def test_a_query_cannot_smuggle_sql(letters: Api) -> None:
    response = everything(letters, "?display_name=eq.x'; drop table public.users; --")

    assert response.json() == []
    assert everything(letters).status_code == 200


@pytest.mark.parametrize("name", ["users", "orders"])
def test_a_missing_table_is_not_found(standin: Standin, name: str) -> None:
    response = Api(standin).call("GET", f"/rest/v1/{name}", key=standin.secret_key)

    assert response.status_code == 404
    assert response.json() == {
        "code": "PGRST205",
        "details": None,
        "hint": None,
        "message": f"Could not find the table 'public.{name}' in the schema cache",
    }


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_rows_are_neither_made_nor_deleted_here(api: Api, method: str) -> None:
    assert api.call(method, USERS, {}).status_code == 405


@pytest.mark.parametrize(
    ("token", "message"),
    [("nonsense", "Expected 3 parts in JWT; got 1"), ("a.b.c", "No suitable key or wrong key type")],
)
def test_a_token_that_is_none_is_refused(api: Api, token: str, message: str) -> None:
    response = api.call("GET", USERS, bearer=token)

    assert response.status_code == 401
    assert response.json()["code"] == "PGRST301"
    assert response.json()["message"] == message
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_an_expired_token_is_refused(new_standin: Callable[..., Standin]) -> None:
    api = Api(new_standin(jwt_lifetime_s=-1))
    email = new_email()
    api.server.create_user(email, PASSWORD)

    response = api.call("GET", USERS, bearer=api.log_in(email).json()["access_token"])

    assert response.status_code == 401
    assert response.json()["code"] == "PGRST303"


@pytest.fixture
def official(letters: Api) -> Iterator[Client]:
    with httpx.Client() as transport:
        options = SyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=transport)
        yield create_client(letters.server.url, letters.server.secret_key, options)


def test_the_official_client_reads_rows(official: Client) -> None:
    answer = official.table("users").select("display_name", count="exact").order("credits").limit(2).execute()  # type: ignore[arg-type] # it takes the plain word, too

    assert answer.data == [{"display_name": "Xan"}, {"display_name": "Yves"}]
    assert answer.count == 3


def test_the_official_client_reads_one_row(official: Client) -> None:
    answer = official.table("users").select("*").eq("display_name", "Zoe").single().execute()

    assert isinstance(answer.data, dict)
    assert answer.data["credits"] == 3


def test_the_official_client_finds_nothing(official: Client) -> None:
    assert official.table("users").select("*").eq("credits", 9).maybe_single().execute() is None
    with pytest.raises(APIError) as caught:
        official.table("users").select("*").eq("credits", 9).single().execute()
    assert caught.value.code == "PGRST116"


def test_the_official_client_changes_a_row(official: Client) -> None:
    answer = official.table("users").update({"mood": "cross"}).eq("display_name", "Xan").execute()

    assert [row["mood"] for row in answer.data if isinstance(row, dict)] == ["cross"]
