"""Databases, roles and tables that will not do: one sentence each, and nothing is changed."""

from __future__ import annotations

import pytest

from tests.contract.database.project import OWN_TABLE, Project
from velro_auth.ops.database import Runner
from velro_auth.ops.database.errors import (
    DatabaseError,
    MigrationFailed,
    MigrationRefused,
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("drop schema auth cascade", "has no table auth.users"),
        ("revoke trigger on auth.users from postgres", "lacks TRIGGER on auth.users"),
        ("revoke references on auth.users from postgres", "lacks REFERENCES on auth.users"),
        ("revoke usage on schema auth from postgres, anon, authenticated, service_role",
         "lacks USAGE on the schema auth"),
        ("create table public.users (id uuid)", "may not change the table public.users"),
        ("create schema velro_auth", "schema velro_auth, which belongs to supabase_admin"),
        ("revoke all on schema public from postgres, public; alter schema public owner to supabase_admin",
         "may not create anything in the schema public"),
    ],
)  # fmt: skip
def test_a_database_that_will_not_do_is_one_sentence(project: Project, change: str, sentence: str) -> None:
    project.sql(change, user="supabase_admin")

    with pytest.raises(DatabaseError, match=sentence) as caught:
        project.runner().up()

    assert "\n" not in str(caught.value)


def test_a_role_that_row_level_security_binds_is_refused(project: Project) -> None:
    """It would see no users, and the back-fill would silently do nothing."""
    project.sql("grant all on database " + project.name + " to dashboard_user;"
                "grant all on schema public, auth to dashboard_user", user="supabase_admin")  # fmt: skip
    with project.connected("supabase_admin") as connection:
        connection.execute("alter role dashboard_user login password 'x'")
    dsn = project.dsn("dashboard_user")

    with pytest.raises(DatabaseError, match=r"Row level security hides auth\.users from the role dashboard_user"):
        Runner(replace_password(dsn)).up()


def test_what_a_setting_of_the_role_forbids_is_one_sentence(migrated: Project) -> None:
    with pytest.raises(DatabaseError, match=rf"^{migrated.name} on \S+: .*read-only transaction \(25006\)$"):
        Runner(f"{migrated.dsn()}&options=-c%20default_transaction_read_only%3Don").backfill()


def test_a_question_that_the_server_cuts_off_is_one_sentence(migrated: Project) -> None:
    with migrated.connected() as other, other.transaction():
        other.execute("lock table public.users in access exclusive mode")

        with pytest.raises(DatabaseError, match=r"statement timeout \(57014\)$"):
            Runner(f"{migrated.dsn()}&options=-c%20statement_timeout%3D200").verify()


def replace_password(dsn: str) -> str:
    scheme, rest = dsn.split("://", 1)
    return f"{scheme}://dashboard_user:x@{rest.split('@', 1)[1]}"


def test_a_wrong_password_is_one_sentence(project: Project) -> None:
    scheme, rest = project.dsn().split("://", 1)
    dsn = f"{scheme}://postgres:canary@{rest.split('@', 1)[1]}"

    with pytest.raises(DatabaseError, match="the password or the user name is wrong") as caught:
        Runner(dsn).up()

    assert "canary" not in str(caught.value)


def test_columns_of_another_type_are_refused_with_the_list(project: Project) -> None:
    project.sql("create table public.users (id bigint primary key, role text, created_at timestamptz, email json)")
    before = project.dump()

    with pytest.raises(MigrationRefused) as caught:
        project.runner().up()

    for line in ("id is bigint, needs uuid", "email is json, needs text", "role is text, needs user_role"):
        assert line in str(caught.value)
    assert "created_at" not in str(caught.value)
    assert "rename the table: alter table public.users rename to former_users. Nothing was changed" in str(caught.value)
    assert project.dump() == before


def test_the_sql_for_columns_of_another_type_helps(project: Project) -> None:
    own = "id uuid primary key, role text, created_at timestamp, updated_at timestamptz"
    project.sql(f"create table public.users ({own})")
    with pytest.raises(MigrationRefused, match=r"Nothing was changed$") as caught:
        project.runner().up()

    project.sql(str(caught.value).partition("change or rename them: ")[2].removesuffix(". Nothing was changed"))

    project.runner().up()
    assert project.profile(project.sign_up()) == (None, None, None, "viewer", 0, True)


THEIR_TRIGGER = """
create function public.f() returns trigger language plpgsql as 'begin return new; end';
create trigger on_auth_user_created after insert on auth.users for each row execute function public.f()
"""


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("create view public.users as select 1 as id", r"not an ordinary table but a view; rename it: alter view"),
        ("create materialized view public.users as select 1 as id", "but a materialized view; rename it"),
        ("create table public.users (id uuid primary key) partition by hash (id)", "but a partitioned table"),
        (("create table public.whole (id uuid primary key) partition by hash (id);"
         "create table public.users partition of public.whole for values with (modulus 1, remainder 0)"),
         r"but a partition of public\.whole; rename it"),
        ("create table public.users (id uuid)",
         r"neither primary key nor unique; add one: alter table public\.users add primary key \(id\)"),
        ("create table public.users (id uuid, pk int primary key)", r"users add unique \(id\)"),
        ("create table public.users (id uuid primary key deferrable)",
         r"only the deferrable key users_pkey, .*alter table public\.users add unique \(id\)"),
        ("create domain public.user_role as text", "not an enum"),
        ("create type public.user_role as enum ('boss')",
         r"no label viewer, .*: alter type public\.user_role add value 'viewer'"),
        ("create table public.users (id text primary key)", "id is text, needs uuid"),
        ("create table public.users (id uuid primary key, created_at timestamp)",
         "created_at is timestamp without time zone, needs timestamptz"),
        ("create domain public.rank as text; create table public.users (id uuid primary key, role public.rank)",
         r"role is public\.rank, needs user_role"),
        (("create table public.users (id uuid primary key, email text,"
         " display_name text generated always as (upper(email)) stored)"),
         "display_name is a generated column.*alter column display_name drop expression"),
        ("create table public.users (id uuid primary key, credits_balance bigint generated always as identity)",
         "credits_balance is an identity column.*drop identity"),
        (("create table public.users (id uuid primary key);"
         "create table public.posts (author uuid references public.users)"),
         r"public\.posts refers to public\.users with posts_author_fkey, .* on delete cascade \(or set null\)"),
        (("create table public.users (id uuid primary key);"
         "create table public.posts (author uuid not null references public.users on delete set null)"),
         r"public\.posts refers to public\.users with posts_author_fkey"),
        ("create table public.users (id uuid primary key references auth.users)",
         r"deletion\) fails .*violates foreign key constraint .users_id_fkey."),
        ("create function public.handle_new_auth_user() returns int language sql as 'select 1'",
         r"cannot change return type of existing function"),
        (("create table public.users (id uuid primary key);"
         "grant insert on public.users to supabase_auth_admin;"
         "create function public.f() returns trigger language plpgsql as"
         " $$ begin insert into public.users (id) values (new.id); return new; end $$;"
         "create trigger a after insert on auth.users for each row execute function public.f()"),
         r"trigger a on auth\.users calls public\.f\(\).*alter function public\.f\(\) security definer"),
        (THEIR_TRIGGER, "a trigger on_auth_user_created of yours, which calls public.f"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_anything_is_changed(project: Project, own: str, sentence: str) -> None:
    """With the object and the fix; the first migrations used to stay."""
    project.sql(own)
    before = project.dump()

    for attempt in (project.runner().plan, project.runner().up):
        with pytest.raises((MigrationRefused, MigrationFailed), match=f"(?s){sentence}"):
            attempt()

        assert project.dump() == before


def test_an_existing_enum_keeps_its_labels(project: Project) -> None:
    """The label is the project's to add: PostgreSQL cannot remove one, so no way back could."""
    project.sql("create type public.user_role as enum ('boss', 'viewer')")

    project.runner().up()

    assert project.sql("select enumlabel from pg_enum where enumtypid = 'public.user_role'::regtype"
                       " order by enumsortorder") == [("boss",), ("viewer",)]  # fmt: skip
    assert project.profile(project.sign_up()) == (None, None, None, "viewer", 0, True)


def test_orphans_leave_the_foreign_key_unvalidated_with_a_warning(project: Project) -> None:
    """Rows without a user must not fail a deploy; once they are gone, the back-fill validates."""
    project.sql(OWN_TABLE)
    warnings: list[str] = []

    project.runner(on_notice=warnings.append).up()

    assert any("users_id_auth_users_fkey stays not validated" in line for line in warnings)
    found = {one.subject: one.found for one in project.runner().verify()}
    assert found["foreign key of public.users to auth.users"] == "not validated"
    assert found["rows of public.users without a user in auth.users"] == "2"

    project.sql("delete from public.users")
    project.runner().backfill()
    assert "foreign key of public.users to auth.users" not in {one.subject for one in project.runner().verify()}
