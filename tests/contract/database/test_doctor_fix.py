"""``doctor --fix``: fixes in one transaction, once, and its file leads back to exactly what was there."""

from __future__ import annotations

import datetime as dt
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.database.project import OWN_TABLE, Project
from tests.contract.database.test_database_verify import CHANGES
from velro_auth.ops.database.catalogue import snapshot
from velro_auth.ops.database.connection import connected
from velro_auth.ops.doctor.fix import FixResult, apply

#: What somebody did by hand, and as whom.
BROKEN = (
    ("drop trigger on_auth_user_created on auth.users", "supabase_admin"),
    ("alter table public.users disable trigger velro_auth_guard_truncate", "postgres"),
    ("drop trigger velro_auth_guard_user on public.users", "postgres"),
    ('alter policy "Users can update self" on public.users using (true)', "postgres"),
    ('drop policy "Users can view self" on public.users', "postgres"),
    ("alter table public.users disable row level security", "postgres"),
    ("grant all on public.users to authenticated, anon with grant option", "postgres"),
    ("grant update (role) on public.users to authenticated", "postgres"),
    ("revoke select on public.users from service_role", "postgres"),
    ("revoke usage on schema velro_auth from supabase_auth_admin", "postgres"),
    ("grant execute on function velro_auth.custom_access_token_hook to public", "postgres"),
    (
        ("create or replace function public.handle_new_auth_user() returns trigger language plpgsql security definer as"
        " $$ begin return new; end $$"),
        "postgres",
    ),
    ("drop function velro_auth.validate_users()", "postgres"),
    ("alter table public.users drop constraint users_credits_balance_not_negative", "postgres"),
    ("alter table public.users alter column credits_balance set default 7", "postgres"),
    ("alter table public.users drop column avatar_url", "postgres"),
)  # fmt: skip


def test_the_session_check_is_set_again_and_its_file_unsets_it(migrated: Project, tmp_path: Path) -> None:
    migrated.runner().up(wanted=["session-check"])
    migrated.sql(f"alter role authenticator in database {migrated.name} reset pgrst.db_pre_request")
    setting = "setting pgrst.db_pre_request of authenticator: made"

    fixed = fix(migrated, tmp_path)

    assert fixed.changes == [setting]
    assert faults(migrated) == []
    assert fixed.rollback_file is not None
    migrated.sql(fixed.rollback_file.read_text("utf-8"))
    assert faults(migrated) == ["function that the data API calls before each request"]


def rows(project: Project) -> list[tuple[object, ...]]:
    return project.sql("select to_jsonb(u) from public.users u order by id")


def at(second: int = 0) -> Callable[[], dt.datetime]:
    return lambda: dt.datetime(2026, 11, 25, 12, 0, second)  # noqa: DTZ001 - a local time, as in the file's name


def fix(project: Project, folder: Path, second: int = 0) -> FixResult:
    return apply(project.dsn(), folder=folder, now=at(second))


def faults(project: Project) -> list[str]:
    return [one.subject for one in project.runner().verify() if not one.is_remark]


def broken(project: Project) -> Project:
    """Users, rows that do not follow them, and every kind of change by hand."""
    ada, bob, carol = (project.sign_up(f"{name}@example.com") for name in ("ada", "bob", "carol"))
    project.fill(3)
    for statement, user in BROKEN:
        project.sql(statement, user=user)
    with project.connected("supabase_admin") as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from public.users where id = %s", (ada,))
        connection.execute("update public.users set email = 'old@example.com' where id = %s", (bob,))
        connection.execute("update auth.users set deleted_at = now() where id = %s", (carol,))
    return project


def test_all_is_fixed_and_the_file_leads_back(migrated: Project, tmp_path: Path) -> None:
    project = broken(migrated)
    dump_before, rows_before = project.dump(), rows(project)

    fixed = fix(project, tmp_path)

    assert faults(project) == []
    assert "rows of public.users: 4 made, 2 brought up to date" in fixed.changes
    assert fixed.rollback_file == tmp_path / "doctor_rollback_20261125_120000.sql"
    assert stat.S_IMODE(fixed.rollback_file.stat().st_mode) == 0o600

    project.sql(fixed.rollback_file.read_text("utf-8"))

    assert rows(project) == rows_before
    assert differing(project.dump(), dump_before) == []


def differing(after: str, before: str) -> list[str]:
    """Return the lines of two dumps that are in one of them only; a column that came back stands last."""
    return sorted(set(after.splitlines()) ^ set(before.splitlines()))


def test_a_second_run_changes_nothing_and_writes_nothing(migrated: Project, tmp_path: Path) -> None:
    project = broken(migrated)
    fix(project, tmp_path)
    before = project.dump()

    again = fix(project, tmp_path, second=1)

    assert again == FixResult()
    assert project.dump() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("part", range(3))
def test_changes_by_hand_are_fixed_and_taken_back(migrated: Project, tmp_path: Path, part: int) -> None:
    for change in list(CHANGES)[part::3]:
        migrated.sql(change)
    before = taken_down(migrated)

    fixed = fix(migrated, tmp_path)

    assert faults(migrated) == []
    assert fixed.rollback_file is not None
    migrated.sql(fixed.rollback_file.read_text("utf-8"))
    assert taken_down(migrated) == before


def taken_down(project: Project) -> dict[str, str]:
    """What the catalogue says of ours."""
    with connected(project.dsn(), print) as connection:
        return snapshot(connection)


def test_a_table_of_the_projects_own_keeps_what_it_had(project: Project, tmp_path: Path) -> None:
    """Orphans, another constraint, a second trigger on our function: neither lost nor taken for a fault of ours."""
    project.sql(OWN_TABLE)
    project.runner().up()
    project.sql("alter table auth.users disable trigger on_auth_user_created", user="supabase_admin")
    before = project.dump()

    fixed = fix(project, tmp_path)

    assert "again AFTER INSERT" in "".join(
        project.sql("select string_agg(pg_get_triggerdef(oid), '') from pg_trigger")[0]
    )
    assert "trigger on_auth_user_created on auth.users" not in faults(project)
    assert fixed.rollback_file is not None
    project.sql(fixed.rollback_file.read_text("utf-8"), user="supabase_admin")
    assert differing(project.dump(), before) == []
    assert fix(project, tmp_path, 1).rollback_file is not None
    assert fix(project, tmp_path, 2) == FixResult()


def test_a_trigger_that_only_the_owner_can_switch_off_is_left_out_on_the_way_back(
    migrated: Project, tmp_path: Path
) -> None:
    migrated.sql("alter table auth.users disable trigger on_auth_user_created", user="supabase_admin")

    fixed = fix(migrated, tmp_path)

    assert faults(migrated) == []
    assert fixed.rollback_file is not None
    migrated.sql(fixed.rollback_file.read_text("utf-8"))
    assert faults(migrated) == ["trigger on_auth_user_created on auth.users"]
    assert migrated.profile(migrated.sign_up("eve@example.com")) is None
