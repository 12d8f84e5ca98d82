"""Other people's projects: refused before anything is changed, or everybody signs up as before."""

from __future__ import annotations

import uuid

import pytest

from tests.contract.database.project import Project
from tests.contract.database.test_database_cli import run
from velro_auth.ops.database.errors import MigrationRefused

ADA = "ada@example.com"

#: Supabase's own quickstart, with the table called users.
QUICKSTART = """
create table public.users (
    id uuid primary key references auth.users on delete cascade, email text, nickname text
);
grant all on public.users to anon, authenticated;
create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.users (id, email, nickname) values (new.id, new.email, new.raw_user_meta_data ->> 'nickname');
    return new;
end $$;
create trigger on_auth_user_created after insert on auth.users
    for each row execute procedure public.handle_new_user();
"""

#: The same with the names of the quickstart: its table is not ours, its trigger has our name.
PROFILES = """
create table public.profiles (id uuid primary key references auth.users on delete cascade, full_name text);
alter table public.profiles enable row level security;
create policy "Own" on public.profiles using ((select auth.uid()) = id);
create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.profiles (id, full_name) values (new.id, new.raw_user_meta_data ->> 'full_name');
    return new;
end $$;
create trigger on_auth_user_created after insert on auth.users
    for each row execute procedure public.handle_new_user();
"""


@pytest.mark.parametrize("own", [QUICKSTART, PROFILES], ids=["users", "profiles"])
def test_the_quickstarts_trigger_is_refused_before_anything_is_changed(project: Project, own: str) -> None:
    """It was found half-way, after grants and row level security had been changed."""
    project.sql(own)
    before = project.dump()

    for words in (["plan"], ["up", "--dry-run"], ["up"]):
        result = run(project, *words)

        assert result.exit_code == 1
        assert "auth.users has a trigger on_auth_user_created of yours" in result.output
        assert "--adopt" in result.output
        assert project.dump() == before


def test_the_quickstart_is_taken_over_and_given_back(project: Project) -> None:
    project.sql(QUICKSTART)
    before = project.dump()

    assert run(project, "plan", "--adopt").exit_code == 0
    assert project.dump() == before
    up = run(project, "up", "--adopt")

    assert up.exit_code == 0, up.output
    ada = project.sign_up(ADA, meta={"nickname": "ada"})
    assert project.profile(ada) == (ADA, None, None, "viewer", 0, True)
    assert project.sql("select nickname from public.users") == [("ada",)]
    with project.api("authenticated", ada) as api:
        assert api.execute("update public.users set nickname = 'countess'").rowcount == 1
    assert run(project, "verify").exit_code == 0
    project.sql("delete from users where id = %s", ada, user="supabase_auth_admin")
    assert project.sql("select * from public.users") == []
    assert run(project, "down", "--all", "--drop-data", "--yes").exit_code == 0
    assert project.dump() == before


def test_the_quickstarts_profiles_go_on_beside_ours(project: Project) -> None:
    project.sql(PROFILES)
    before = project.dump()

    project.runner().up(adopt=True)

    ada = project.sign_up(ADA, meta={"full_name": "Ada"})
    assert project.sql("select id, full_name from public.profiles") == [(ada, "Ada")]
    assert project.profile(ada) == (ADA, "Ada", None, "viewer", 0, True)
    project.sql("delete from auth.users")
    project.runner().down(steps=99, drop_data=True)
    assert project.dump() == before


#: A trigger of the project that fills the same table without minding what is there.
PLAIN = """
create function public.theirs() returns trigger language plpgsql security definer as $$
begin insert into public.users (id, email) values (new.id, new.email); return new; end $$;
create trigger %s after insert on auth.users for each row execute function public.theirs();
"""


def test_a_trigger_that_fires_after_ours_is_refused_by_name(project: Project) -> None:
    """Its plain insert met our row: every sign-up failed with 500, and verify was green."""
    project.sql("create table public.users (id uuid primary key, email text);" + PLAIN % "profile")
    before = project.dump()

    with pytest.raises(MigrationRefused, match=r"trigger profile, which calls public\.theirs\(\).*--adopt"):
        project.runner().plan()
    with pytest.raises(MigrationRefused, match="profile"):
        project.runner().up()

    assert project.dump() == before
    project.runner().up(adopt=True)
    assert project.profile(project.sign_up(ADA)) == (ADA, None, None, "viewer", 0, True)
    project.sql("delete from auth.users")
    project.runner().down(steps=99, drop_data=True)
    assert project.dump() == before


#: Sign-ups by mail of the company alone, and a profile only for those who name their firm.
COMPANY_ONLY = """
create function public.only_ours() returns trigger language plpgsql as $$
begin if new.email is null or new.email !~ '@example.com$' then raise 'only for us'; end if; return new; end $$;
create trigger allow before insert on auth.users for each row execute function public.only_ours();
"""
FIRM_ONLY = PLAIN.replace("begin insert", "begin if new.raw_user_meta_data ? 'firm' then insert").replace(
    "; return", "; end if; return"
)
#: The schema of the table is in the path of the function instead of the statement.
BY_PATH = FIRM_ONLY.replace("insert into public.users", "insert into users").replace(
    "security definer", "security definer set search_path = public, pg_temp"
)


@pytest.mark.parametrize(
    "own", [COMPANY_ONLY + PLAIN, FIRM_ONLY, BY_PATH], ids=["an allow-list", "a condition", "a search path"]
)
def test_a_trigger_that_no_rehearsed_user_reaches_is_refused_by_its_text(project: Project, own: str) -> None:
    """The rehearsal failed before and after, or passed it by; then every real sign-up failed with 500."""
    project.sql("create table public.users (id uuid primary key, email text);" + own % "profile")
    before = project.dump()

    with pytest.raises(MigrationRefused, match=r"trigger profile, which calls public\.theirs\(\).*--adopt"):
        project.runner().up()

    assert project.dump() == before
    project.runner().up(adopt=True)
    assert project.profile(project.sign_up(ADA, meta={"firm": "Engines"})) == (ADA, None, None, "viewer", 0, True)


def test_the_mend_for_a_trigger_that_was_taken_over_in_vain_is_another(project: Project) -> None:
    """It inserts at the confirmation, when our row has been there since the sign-up."""
    late = (PLAIN % "profile").replace("after insert", "after update of email_confirmed_at")
    project.sql("create table public.users (id uuid primary key, email text);" + late)

    with pytest.raises(MigrationRefused) as refused:
        project.runner().up(adopt=True)

    assert "--adopt" not in str(refused.value)
    assert 'let it insert with "on conflict (id) do nothing"' in str(refused.value)


def test_a_trigger_that_fires_before_ours_needs_nothing(project: Project) -> None:
    project.sql("create table public.users (id uuid primary key, email text);" + PLAIN % "a_profile")

    project.runner().up()

    assert project.profile(project.sign_up(ADA)) == (ADA, None, None, "viewer", 0, True)


def test_verify_tells_of_a_trigger_that_came_later_and_adopt_mends_it(migrated: Project) -> None:
    migrated.sql(PLAIN % "profile")

    found = run(migrated, "verify")

    assert found.exit_code == 1
    assert "differs: mail: sign-up (rehearsed)" in found.output
    assert "fails in the trigger profile, which calls public.theirs()" in found.output
    assert run(migrated, "up", "--no-backfill").output == "Nothing to apply.\n"
    assert run(migrated, "up", "--adopt", "--no-backfill").exit_code == 0
    assert run(migrated, "verify").exit_code == 0
    assert migrated.profile(migrated.sign_up(ADA)) == (ADA, None, None, "viewer", 0, True)
    migrated.runner().down(steps=99)
    assert migrated.sql(
        "select tgname from pg_trigger where tgrelid = 'auth.users'::regclass and not tgisinternal"
    ) == [("profile",)]


def test_a_rehearsal_leaves_nothing(migrated: Project) -> None:
    before = migrated.dump()

    assert migrated.runner().verify() == []

    assert migrated.dump() == before
    assert isinstance(migrated.sign_up(ADA), uuid.UUID)
