"""The runner on a real database: there, again, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.database.conftest import MakeProject
from tests.contract.database.project import OWN_TABLE, Project
from velro_auth.ops.database import Runner, State
from velro_auth.ops.database.errors import (
    DatabaseError,
)
from velro_auth.ops.database.files import Migration, load, shipped

FILES = load(shipped())

VERSIONS = [migration.version for migration in FILES]


def states(project: Project) -> list[State]:
    return [one.state for one in project.runner().status()]


@pytest.mark.parametrize("kind", ["new", "open"])
@pytest.mark.parametrize("own", ["", OWN_TABLE], ids=["empty project", "own table"])
def test_up_twice_is_up_once_and_down_is_before(make_project: MakeProject, kind: str, own: str) -> None:
    """The promise of the whole: run it, run it again, take it back, and nothing is left of it."""
    project = make_project(kind)
    project.sql(own or "select")
    before = project.dump()

    project.runner().up()
    after = project.dump()

    assert [step.version for step in project.runner().up()] == []
    assert project.dump() == after
    assert [step.version for step in project.runner().up(again=True)] == VERSIONS
    assert project.dump() == after
    assert len(project.runner().down(steps=99, drop_data=True)) == len(FILES)
    assert project.dump() == before


def test_up_again_leaves_triggers_and_policies_where_they_are(project: Project) -> None:
    """Nothing is dropped and made again: that needs the owner of auth.users, and leaves a gap."""
    oids = "select oid from pg_policy union all select oid from pg_trigger union all select oid from pg_proc order by 1"
    before = project.migrated().sql(oids)

    project.runner().up(again=True)

    assert project.sql(oids) == before


def test_the_role_is_what_it_is_on_the_platform(project: Project) -> None:
    """All of these tests prove something only for a role that is no superuser and does not own auth.users."""
    [(is_superuser,)] = project.sql("select rolsuper from pg_roles where rolname = current_user")
    [(owner,)] = project.sql("select tableowner from pg_tables where schemaname = 'auth' and tablename = 'users'")

    assert not is_superuser
    assert owner == "supabase_auth_admin"


def test_the_files_run_on_their_own(project: Project) -> None:
    """In the SQL editor there is no runner; a later run of the runner changes nothing but its history."""
    with project.connected() as connection:
        for migration in FILES:
            with connection.transaction():
                connection.execute(migration.up_sql.encode())
    by_hand = project.dump()

    project.runner().up()

    with project.connected() as connection:
        connection.execute("drop table velro_auth.schema_migrations")
    assert project.dump() == by_hand
    with project.connected() as connection:
        connection.execute("set velro.drop_data = 'on'")
        for migration in reversed(FILES):
            with connection.transaction():
                connection.execute(migration.down_sql.encode())
    assert project.sql("select to_regnamespace('velro_auth'), to_regclass('public.users')") == [(None, None)]


def test_a_lost_history_is_written_anew(project: Project) -> None:
    project.migrated().sql("drop table velro_auth.schema_migrations")

    assert [step.version for step in project.runner().up()] == VERSIONS
    assert project.runner().verify() == []


def test_a_dry_run_changes_nothing(project: Project) -> None:
    before = project.dump()

    steps = project.runner().plan()

    assert [step.sql for step in steps] == [migration.up_sql for migration in FILES]
    assert project.dump() == before


def test_an_edited_file_is_refused(project: Project) -> None:
    project.migrated()
    edited: Sequence[Migration] = [replace(FILES[0], up_sql=FILES[0].up_sql + "\n-- edited"), *FILES[1:]]
    runner = Runner(project.dsn(), migrations=edited)

    with pytest.raises(DatabaseError, match="20261122100000_ground"):
        runner.up()

    assert runner.status()[0].state is State.EDITED
    assert [one.found for one in runner.verify()] == ["edited after it was applied"]


def test_an_older_release_leaves_newer_migrations_alone(project: Project) -> None:
    project.migrated()
    older = Runner(project.dsn(), migrations=FILES[:-1])

    assert older.up() == []

    assert older.status()[-1].state is State.NEWER


def test_what_the_supabase_cli_applied_counts_as_applied(project: Project, tmp_path: Path) -> None:
    """It matches by version only. Ours can take it back all the same."""
    paths = project.runner().export(tmp_path)
    project.sql("create schema supabase_migrations; create table supabase_migrations.schema_migrations"
                " (version text primary key, statements text[], name text)")  # fmt: skip
    with project.connected() as connection:
        for path in paths:
            connection.execute(path.read_bytes())
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version) values (%s)", (path.name[:14],)
            )

    assert project.runner().plan() == []
    assert project.runner().up() == []
    assert {one.applied_by for one in project.runner().status() if one.state.is_applied} == {"supabase cli"}
    assert len(project.runner().down(steps=99, drop_data=True)) == len(FILES)
    assert project.sql("select to_regclass('public.users')") == [(None,)]


def test_export_writes_the_ways_there_only(project: Project, tmp_path: Path) -> None:
    """The Supabase CLI would take a way back for a migration."""
    project.runner().export(tmp_path / "supabase" / "migrations")

    written = sorted(path.name for path in (tmp_path / "supabase" / "migrations").iterdir())
    assert written == [f"{migration.label}.sql" for migration in FILES]
