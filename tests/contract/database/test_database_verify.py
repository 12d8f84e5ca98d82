"""`verify` notices what was changed by hand, and `up` with *again* mends it."""

from __future__ import annotations

import pytest

from tests.contract.database.conftest import MakeProject
from tests.contract.database.project import OWN_TABLE, Project
from velro_auth.ops.database.catalogue import expected, snapshot
from velro_auth.ops.database.connection import connected

#: What somebody did by hand → what verify names, and whether running the migrations again mends it.
CHANGES = {
    "alter table public.users disable row level security": "row level security of public.users",
    'drop policy "Users can view self" on public.users': 'policy "Users can view self" on public.users',
    'alter policy "Users can update self" on public.users using (true)':
        'policy "Users can update self" on public.users',
    'alter policy "Auth server can read roles" on public.users to anon':
        'policy "Auth server can read roles" on public.users',
    "grant select on public.users to anon": "rights of anon on public.users",
    "grant select (email) on public.users to public": "rights of public on public.users (email)",
    "grant update (role) on public.users to authenticated": "rights of authenticated on public.users (role)",
    "grant all on public.users to authenticated": "rights of authenticated on public.users",
    "revoke select on public.users from service_role": "rights of service_role on public.users",
    "revoke select (role) on public.users from supabase_auth_admin":
        "rights of supabase_auth_admin on public.users (role)",
    "revoke usage on schema velro_auth from supabase_auth_admin": "rights of supabase_auth_admin on schema velro_auth",
    "grant execute on function velro_auth.custom_access_token_hook to public":
        "function velro_auth.custom_access_token_hook(jsonb) may be called by",
    "alter function public.handle_new_auth_user() security invoker":
        "settings of function public.handle_new_auth_user()",
    "alter function public.handle_new_auth_user() reset search_path":
        "settings of function public.handle_new_auth_user()",
    "create or replace function velro_auth.guard_user() returns trigger language plpgsql set search_path = ''"
    " as 'begin return new; end'": "body of function velro_auth.guard_user()",
    "drop function velro_auth.custom_access_token_hook": "body of function velro_auth.custom_access_token_hook(jsonb)",
    "drop trigger velro_auth_guard_user on public.users": "trigger velro_auth_guard_user on public.users",
    "drop function public.handle_new_auth_user() cascade": "trigger on_auth_user_created on auth.users",
    "alter table public.users drop constraint users_credits_balance_not_negative":
        "check of public.users.credits_balance",
    "alter table public.users drop constraint users_id_auth_users_fkey": "foreign key of public.users to auth.users",
    "alter table public.users drop column avatar_url": "column public.users.avatar_url",
}  # fmt: skip


def test_the_recorded_catalogue_is_that_of_a_new_project(make_project: MakeProject) -> None:
    """After a new migration: ``python -m tests.contract.database.record_catalogue <address>``."""
    project = make_project("new").migrated()

    with connected(project.dsn(), print) as connection:
        assert snapshot(connection) == expected()


@pytest.mark.parametrize("kind", ["new", "open"])
def test_nothing_differs_after_the_migrations(make_project: MakeProject, kind: str) -> None:
    assert make_project(kind).migrated().runner().verify() == []


def test_a_change_by_hand_is_noticed_and_mended(migrated: Project, subtests: pytest.Subtests) -> None:
    for change, subject in CHANGES.items():
        with subtests.test(subject, change=change):
            migrated.sql(change)

            found = migrated.runner().verify()

            assert subject in [one.subject for one in found if not one.is_remark]
            migrated.runner().up(again=True)
            assert migrated.runner().verify() == []


def test_a_trigger_that_is_switched_off_is_noticed(migrated: Project) -> None:
    """Only the owner of auth.users can do that, and only the owner can take it back."""
    for trigger in ("on_auth_user_created", "on_auth_user_changed"):
        migrated.sql("alter table auth.users disable trigger " + trigger, user="supabase_admin")

    found = {one.subject: one.found for one in migrated.runner().verify()}

    assert list(found) == ["trigger on_auth_user_changed on auth.users", "trigger on_auth_user_created on auth.users"]
    assert all(value.endswith("(switched off)") for value in found.values())


def test_pending_migrations_are_differences(project: Project) -> None:
    subjects = [one.subject for one in project.runner().verify()]

    assert "migration 20261122100000_ground" in subjects
    assert "row level security of public.users" in subjects


def test_users_on_one_side_only_are_counted(project: Project) -> None:
    project.fill(3)
    project.runner().up()
    project.sql("alter table public.users drop constraint users_id_auth_users_fkey;"
                "insert into public.users (id) select gen_random_uuid() from generate_series(1, 2)")  # fmt: skip

    found = {one.subject: one.found for one in project.runner().verify()}

    assert found["users without a row in public.users"] == "3"
    assert found["rows of public.users without a user in auth.users"] == "2"


def test_a_policy_of_the_projects_own_is_a_remark(migrated: Project) -> None:
    migrated.sql('create policy "Admins see all" on public.users for select to authenticated using (false)')

    [found] = migrated.runner().verify()

    assert found.is_remark
    assert found.found == "permissive select to authenticated using false"


def test_a_project_with_its_own_table_verifies_once_its_orphans_are_gone(project: Project) -> None:
    project.sql(OWN_TABLE)
    project.sql("truncate public.users; drop trigger again on auth.users", user="supabase_admin")
    project.runner().up()

    assert [one.subject for one in project.runner().verify() if not one.is_remark] == []


def test_a_table_of_another_owner_is_as_it_should_be_after_up(project: Project) -> None:
    """Our functions run as a member of that owner, which row level security and the guard let through."""
    project.sql("create role table_owner", user="supabase_admin")
    try:
        project.sql("grant table_owner to postgres", user="supabase_admin")
        project.sql("grant create on schema public to table_owner", user="supabase_admin")
        project.sql("create table public.users (id uuid primary key); alter table public.users owner to table_owner")
        project.runner().up()

        assert project.runner().verify() == []
    finally:
        project.sql("drop owned by table_owner cascade; drop role table_owner", user="supabase_admin")
