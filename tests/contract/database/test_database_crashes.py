"""Runners that are killed, fail or meet a lock: before or after, never between."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tests.contract.database.conftest import MakeProject
from tests.contract.database.project import Project
from velro_auth.ops.database import Runner, State
from velro_auth.ops.database.connection import Transactions
from velro_auth.ops.database.errors import (
    DatabaseError,
    MigrationFailed,
)
from velro_auth.ops.database.files import Migration, load, shipped

FILES = load(shipped())

VERSIONS = [migration.version for migration in FILES]


def states(project: Project) -> list[State]:
    return [one.state for one in project.runner().status()]


#: Runs something once for each point, and kills it before (even) or after (odd) so many statements.
KILLING = """
import os, signal, sys
import psycopg
from velro_auth.ops.database import Runner
from velro_auth.ops.database.files import Migration

def killed(point, work):
    if (child := os.fork()) != 0:
        return os.waitpid(child, 0)
    execute, calls = psycopg.Connection.execute, []

    def counted(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) == point // 2 and not point % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = execute(self, *arguments, **options)
        if len(calls) == point // 2 and point % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    psycopg.Connection.execute = counted
    work()
    os._exit(0)
"""


#: Each address gets all migrations, and a runner that is killed later than the one before.
KILLED_RUNS = 9


SHIPPED = """
for number, dsn in enumerate(sys.argv[1:]):
    killed(11 + 25 * number, Runner(dsn).up)
"""


#: One database gets two migrations for each point there is.
POINTS = range(2, 110)


EVERYWHERE = """
for point in range(2, 110):
    two = [
        Migration(f"{n}{point:013}", "m", f"create table public.t{n}{point:013} ()", "select 1") for n in (1, 2)
    ]
    killed(point, Runner(sys.argv[1], migrations=two).up)
"""


IMPATIENT = Transactions(lock_timeout_ms=20, pauses_s=(0.01,), advisory_lock_timeout_ms=50)


def test_four_at_once_apply_each_migration_once(project: Project) -> None:
    """Four deploys of a release start together."""
    applied: list[list[str]] = []
    bulkhead = threading.Barrier(4)

    def run() -> None:
        runner = project.runner()
        bulkhead.wait()
        applied.append([step.version for step in runner.up()])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(version for versions in applied for version in versions) == VERSIONS
    assert len(applied) == 4


def test_a_runner_killed_at_any_statement_has_done_what_it_recorded(project: Project) -> None:
    """Before and after each statement of two migrations, on one database."""
    subprocess.run([sys.executable, "-c", KILLING + EVERYWHERE, project.dsn()], check=True)

    found = {
        point: [
            project.sql(
                "select to_regclass(%s) is not null,"
                " exists (select from velro_auth.schema_migrations where version = %s)",
                f"public.t{version}",
                version,
            )[0]
            for version in (f"1{point:013}", f"2{point:013}")
        ]
        for point in POINTS
    }

    before, between, after = [(False, False)] * 2, [(True, True), (False, False)], [(True, True)] * 2
    assert all(states in (before, between, after) for states in found.values()), found
    assert found[POINTS[0]] == before
    assert between in found.values()
    assert found[POINTS[-1]] == after


def test_a_killed_runner_leaves_before_or_after(make_project: MakeProject) -> None:
    """The shipped migrations, killed here and there; the next run ends the work."""
    projects = [make_project("open") for _ in range(KILLED_RUNS)]
    addresses = [project.dsn() for project in projects]
    subprocess.run([sys.executable, "-c", KILLING + SHIPPED, *addresses], check=True)

    seen = set()
    for project in projects:
        found = [state for state in states(project) if state is not State.NOT_ASKED_FOR]
        seen.add(found.count(State.APPLIED))
        assert found == sorted(found, key=[State.APPLIED, State.PENDING].index)
        assert has_objects(project) == [state is State.APPLIED for state in found]
        project.runner().up()
        assert project.runner().verify() == []
    assert {0, len(FILES)} < seen


def has_objects(project: Project) -> list[bool]:
    """Return for each migration whether the last thing it makes is there."""
    [found] = project.sql("""
        select to_regproc('velro_auth.put_policy') is not null,
               to_regtype('public.user_role') is not null,
               to_regproc('velro_auth.guard_truncate') is not null,
               to_regproc('public.handle_new_auth_user') is not null,
               to_regproc('velro_auth.validate_users') is not null,
               to_regproc('velro_auth.custom_access_token_hook') is not null,
               coalesce((select prosrc like '%assert_failure%' from pg_proc
                         where oid = to_regproc('public.handle_new_auth_user')), false),
               to_regproc('public.velro_auth_end_session') is not null""")
    return list(found)


def test_a_statement_that_fails_half_way_takes_everything_back(project: Project) -> None:
    broken = Migration("20991231235959", "broken", "create table public.half (); select 1/0;", "")
    before = project.migrated().dump()

    with pytest.raises(MigrationFailed, match="20991231235959_broken failed and was rolled back: division by zero"):
        Runner(project.dsn(), migrations=[*FILES, broken]).up()

    assert project.dump() == before


def test_a_migration_waits_briefly_and_sees_no_search_path(project: Project) -> None:
    """The sign-ups behind a waiting migration wait as long as it does."""
    curious = Migration(
        "20991231235959",
        "curious",
        "create table public.seen as select current_setting('lock_timeout'), current_setting('search_path') as path",
        "",
    )

    Runner(project.dsn(), migrations=[curious]).up()

    assert project.sql("select * from public.seen") == [("50ms", "")]


def test_a_lock_that_lasts_is_named_and_nothing_is_changed(project: Project) -> None:
    """Somebody's open transaction on auth.users: we try, give up, and say who it is."""
    project.runner().up(to=VERSIONS[2])
    with project.connected("supabase_auth_admin") as other, other.transaction():
        other.execute("lock table auth.users in row exclusive mode")

        with pytest.raises(DatabaseError, match=f"supabase_auth_admin .pid {other.info.backend_pid}."):
            project.runner(transactions=IMPATIENT).up()

    assert states(project).count(State.APPLIED) == 3
    project.runner(transactions=IMPATIENT).up()
    assert states(project).count(State.APPLIED) == len(FILES)


def test_a_lock_that_passes_is_waited_for(project: Project) -> None:
    project.runner().up(to=VERSIONS[2])
    pauses = []
    with project.connected("supabase_auth_admin") as other:
        other.execute("begin; lock table auth.users in row exclusive mode")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                other.execute("commit")

        project.runner(transactions=Transactions(lock_timeout_ms=20, sleep=pause)).up()

    assert pauses == [0.1, 0.2]
    assert states(project).count(State.APPLIED) == len(FILES)


def test_another_run_that_does_not_end_is_named(project: Project) -> None:
    with project.connected() as other, other.transaction():
        Transactions()._acquire_advisory_lock(other)

        with pytest.raises(DatabaseError, match="Another run of the migrations did not end"):
            project.runner(transactions=IMPATIENT).up()
