"""The database checks of the doctor: each seen failing with its fault, and passing once that is fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.database.conftest import Cluster
from tests.contract.database.project import Project
from velro_auth.config.settings import Settings
from velro_auth.ops.doctor import fix
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.checkup import Result, run
from velro_auth.ops.doctor.context import DiagnosticContext

#: Check → the faults that it alone has to tell of: statement and role.
FAULTS = {
    "database.triggers": (
        ("drop trigger velro_auth_guard_user on public.users", "postgres"),
        ("alter table auth.users disable trigger on_auth_user_created", "supabase_admin"),
        ("drop trigger on_auth_user_changed on auth.users", "supabase_admin"),
    ),
    "database.functions": (
        ("alter function public.handle_new_auth_user() security invoker", "postgres"),
        (("create or replace function velro_auth.guard_user() returns trigger language plpgsql set search_path = ''"
         " as 'begin return new; end'"), "postgres"),
        ("grant execute on function velro_auth.mirror_users to anon", "postgres"),
    ),
    "database.policies": (
        ('drop policy "Users can view self" on public.users', "postgres"),
        ('alter policy "Users can update self" on public.users using (true)', "postgres"),
    ),
    "database.grants": (
        ("grant all on public.users to authenticated", "postgres"),
        ("grant update (role) on public.users to authenticated", "postgres"),
        ("revoke select on public.users from service_role", "postgres"),
    ),
    "database.row_security": (("alter table public.users disable row level security", "postgres"),),
    "database.columns": (
        ("alter table public.users drop column avatar_url", "postgres"),
        ("alter table public.users drop constraint users_credits_balance_not_negative", "postgres"),
    ),
    "database.missing_rows": (("delete from public.users", "postgres"),),
    "database.outdated_rows": (("update public.users set email = 'old@example.com'", "postgres"),),
    "database.hook": (
        ("revoke execute on function velro_auth.custom_access_token_hook from supabase_auth_admin", "postgres"),
        ("revoke select (role) on public.users from supabase_auth_admin", "postgres"),
        ('drop policy "Auth server can read roles" on public.users', "postgres"),
        ("drop function velro_auth.custom_access_token_hook", "postgres"),
    ),
}  # fmt: skip


@pytest.fixture
def cluster(clusters: Callable[[int], Cluster]) -> Cluster:
    """One version: what the checks are told is tested on both with ``verify``."""
    return clusters(18)


def look(project: Project, *, dsn: str = "") -> dict[str, Result]:
    """Run the checks of the database, in the order they have."""
    settings = Settings.from_environment({"DATABASE_URL": dsn or project.dsn()})
    chosen = [check.name for check in CHECKS if check.group == "database"]
    return {result.check.name: result for result in run(CHECKS, DiagnosticContext(settings=settings), only=chosen)}


def bad(project: Project) -> set[str]:
    return {name for name, result in look(project).items() if result.status != "pass"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_own_check_and_fix_repairs_it(migrated: Project, tmp_path: Path, name: str) -> None:
    migrated.sign_up("ada@example.com")
    assert bad(migrated) == set()
    for statement, user in FAULTS[name]:
        migrated.sql(statement, user=user)

    results = look(migrated)

    assert {one for one, result in results.items() if result.status != "pass"} <= {name, *NEIGHBOURS.get(name, ())}
    assert results[name].status == "fail"
    assert "velro-auth doctor --fix" in results[name].fix
    fix.apply(migrated.dsn(), folder=tmp_path)
    assert bad(migrated) == set()


#: What a fault of one kind rightly breaks beside it: rights of a column go with it.
NEIGHBOURS = {"database.columns": ("database.grants",)}


def test_each_fault_alone_is_told(migrated: Project, subtests: pytest.Subtests) -> None:
    """One after the other on one database: each adds its own line."""
    migrated.sign_up("ada@example.com")
    for name in ("database.grants", "database.hook", "database.functions"):
        for statement, user in FAULTS[name]:
            with subtests.test(statement):
                before = look(migrated)[name].found
                migrated.sql(statement, user=user)

                assert look(migrated)[name].found != before


def test_an_orphan_is_told_and_its_fix_works(migrated: Project) -> None:
    migrated.sql("alter table public.users drop constraint users_id_auth_users_fkey;"
                 "insert into public.users (id) values (gen_random_uuid())")  # fmt: skip

    result = look(migrated)["database.orphans"]

    assert result.status == "fail"
    statement = result.fix[result.fix.index("delete from") : result.fix.index("; then")]
    migrated.sql(statement)
    assert look(migrated)["database.orphans"].status == "pass"


def test_pending_migrations_fail_and_the_rest_waits_for_them(project: Project) -> None:
    results = look(project)

    assert results["database.migrations"].status == "fail"
    assert "velro-auth db up" in results["database.migrations"].fix
    assert results["database.policies"].status == "skip"
    project.runner().up()
    assert bad(project) == set()


def test_an_edited_migration_says_to_restore_it(migrated: Project) -> None:
    migrated.sql("update velro_auth.schema_migrations set checksum = 'other' where version = '20261122100400'")

    result = look(migrated)["database.migrations"]

    assert result.status == "fail"
    assert result.fix == "Restore the migration files of the release that applied them."


def test_a_newer_migration_is_a_warning(migrated: Project) -> None:
    migrated.sql("insert into velro_auth.schema_migrations (version, name, checksum, down_sql, applied_by)"
                 " values ('20991231000000', 'later', '', '', 'postgres')")  # fmt: skip

    assert look(migrated)["database.migrations"].status == "warn"


def test_a_policy_of_the_projects_own_is_a_warning(migrated: Project) -> None:
    migrated.sql('create policy "All see all" on public.users for select to anon using (true)')

    result = look(migrated)["database.policies"]

    assert result.status == "warn"
    assert "All see all" in result.found


#: A trigger of the project that fires after ours and inserts the row that ours made.
LATER = """
create function public.theirs() returns trigger language plpgsql security definer as
    $$ begin insert into public.users (id) values (new.id); return new; end $$;
create trigger profile after insert on auth.users for each row execute function public.theirs()
"""


def test_sign_ups_that_fail_are_reported_and_fixed(migrated: Project) -> None:
    """All else looked well."""
    migrated.sql(LATER)

    assert bad(migrated) == {"database.sign_up"}
    result = look(migrated)["database.sign_up"]
    assert result.status == "fail"
    assert "fails in the trigger profile, which calls public.theirs()" in result.found
    assert "velro-auth db up --adopt" in result.fix
    migrated.runner().up(adopt=True)
    assert bad(migrated) == set()


def test_a_rule_of_the_project_that_refuses_the_rehearsed_user_is_a_warning(migrated: Project) -> None:
    migrated.sql(
        "create function public.invited() returns trigger language plpgsql as"
        " $$ begin raise exception 'only with an invitation'; end $$;"
        "create trigger invited before insert on auth.users for each row execute function public.invited()"
    )

    result = look(migrated)["database.sign_up"]

    assert result.status == "warn"
    assert "in the trigger invited, which calls public.invited(): only with an invitation" in result.found


def test_a_rehearsal_can_be_switched_off(migrated: Project) -> None:
    migrated.sql(LATER)
    context = DiagnosticContext(settings=Settings.from_environment({"DATABASE_URL": migrated.dsn()}), rehearses=False)

    [result] = run(CHECKS, context, only=["database.sign_up"])

    assert result.status == "pass"


@pytest.fixture
def addresses(migrated: Project) -> dict[str, str]:
    return {
        "http": "https://project.supabase.co",
        "database": migrated.dsn().replace(migrated.name, "nowhere"),
        "no project": migrated.server.dsn(database="postgres"),
    }


@pytest.mark.parametrize("what", ["http", "database", "no project"])
def test_a_database_that_will_not_do_is_one_failure_and_the_rest_is_skipped(
    migrated: Project, addresses: dict[str, str], what: str
) -> None:
    results = look(migrated, dsn=addresses[what])

    assert results.pop("database.reachable").status == "fail"
    assert {result.status for result in results.values()} == {"skip"}
    assert look(migrated)["database.reachable"].status == "pass"
