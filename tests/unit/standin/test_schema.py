"""The database looks like a Supabase project's: who owns what, and who may do what."""

from __future__ import annotations

import psycopg
import pytest

from supabase_standin import schema
from supabase_standin.postgres import Postgres


def as_user(auth_database: str, role: str) -> psycopg.Connection:
    return psycopg.connect(auth_database, user=role)


def test_the_migrating_role_is_no_superuser(auth_database: str) -> None:
    """What fails on the hosted platform for want of rights must fail here too."""
    with psycopg.connect(auth_database) as connection:
        row = connection.execute(
            "select rolname, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls from pg_roles"
            " where rolname = current_user"
        ).fetchone()

    assert row == ("postgres", False, True, True, True)


def test_the_superuser_has_another_name(postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn()) as connection:
        rows = connection.execute("select rolname from pg_roles where rolsuper").fetchall()

    assert rows == [("supabase_admin",)]


def test_the_migrating_role_may_hang_triggers_and_keys_on_the_users(auth_database: str) -> None:
    with psycopg.connect(auth_database) as connection:
        connection.execute("create table public.notes (id uuid primary key references auth.users (id))")
        connection.execute("create function public.note() returns trigger language plpgsql as 'begin return new; end'")
        connection.execute(
            "create trigger noted after insert on auth.users for each row execute function public.note()"
        )


def test_the_migrating_role_does_not_own_the_users(auth_database: str) -> None:
    with (
        psycopg.connect(auth_database) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of table users"),
    ):
        connection.execute("alter table auth.users add column mine int")


def test_preparing_twice_changes_nothing(postgres: Postgres, auth_database: str) -> None:
    """An existing data folder is prepared again at every start."""
    name = psycopg.conninfo.conninfo_to_dict(auth_database)["dbname"]
    with psycopg.connect(auth_database) as connection:
        before = connection.execute("select oid, relname, relacl from pg_class order by oid").fetchall()

    schema.prepare(postgres.dsn(user="supabase_admin", database=str(name)))

    with psycopg.connect(auth_database) as connection:
        after = connection.execute("select oid, relname, relacl from pg_class order by oid").fetchall()
    assert after == before


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_a_new_table_belongs_to_nobody_else(auth_database: str, role: str) -> None:
    """As on the hosted platform since 2026-10-30: migrations must grant what they want."""
    with psycopg.connect(auth_database) as connection:
        connection.execute("create table public.notes (id int)")
        connection.execute(f"set local role {role}".encode())

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select from public.notes")


def test_an_older_project_opens_its_new_tables(postgres: Postgres, auth_database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(auth_database)["dbname"]

    schema.prepare(postgres.dsn(user="supabase_admin", database=str(name)), open_tables=True)

    with psycopg.connect(auth_database) as connection:
        connection.execute("create table public.notes (id int)")
        connection.execute("set local role anon")
        connection.execute("select from public.notes")


def test_a_new_function_is_callable_by_strangers(auth_database: str) -> None:
    """The trap for migrations: EXECUTE must be revoked by name."""
    with psycopg.connect(auth_database) as connection:
        connection.execute("create function public.f() returns int language sql as 'select 1'")
        connection.execute("revoke execute on function public.f() from public")
        connection.execute("set local role anon")

        assert connection.execute("select public.f()").fetchone() == (1,)


def test_the_claims_of_a_request_are_readable_in_sql(auth_database: str) -> None:
    claims = '{"sub": "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61", "role": "authenticated", "email": "a@b.c"}'
    with psycopg.connect(auth_database) as connection:
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute("set local role authenticated")
        row = connection.execute("select auth.uid()::text, auth.role(), auth.email(), auth.jwt() ->> 'sub'").fetchone()

    sub = "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61"
    assert row == (sub, "authenticated", "a@b.c", sub)


def test_without_claims_there_is_nobody(auth_database: str) -> None:
    with psycopg.connect(auth_database) as connection:
        row = connection.execute("select auth.uid(), auth.role(), auth.email(), auth.jwt()").fetchone()

    assert row == (None, None, None, None)


def test_the_auth_server_sees_its_own_schema_only(auth_database: str) -> None:
    """So an unqualified ``users`` in a trigger means ``auth.users``."""
    with as_user(auth_database, "supabase_auth_admin") as connection:
        assert connection.execute("show search_path").fetchone() == ("auth",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table public.mine (id int)")


def test_the_confirmation_is_computed(auth_database: str) -> None:
    with (
        psycopg.connect(auth_database) as connection,
        pytest.raises(psycopg.errors.GeneratedAlways),
    ):
        connection.execute("insert into auth.users (id, confirmed_at) values (gen_random_uuid(), now())")
