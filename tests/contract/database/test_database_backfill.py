"""The back-fill: in batches, interrupted and continued, and past rows that cannot be written."""

from __future__ import annotations

import threading

import pytest

from tests.contract.database.project import Project
from velro_auth.ops.database import Progress
from velro_auth.ops.database.connection import Transactions
from velro_auth.ops.database.errors import DatabaseError


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


def test_users_from_before_get_rows(project: Project) -> None:
    project.fill(100)
    project.runner().up()
    seen: list[Progress] = []

    ended = project.runner().backfill(batch_size=30, on_progress=seen.append)

    assert [one.scanned for one in seen] == [30, 60, 90, 100]
    assert ended == Progress(scanned=100, total=100, written=100, failed=0, finished=True)
    assert project.sql("select count(*), count(email), min(role::text) from public.users") == [(100, 100, "viewer")]
    assert project.runner().verify() == []


def test_an_interrupted_run_is_continued(project: Project) -> None:
    project.fill(100)
    project.runner().up()

    def interrupt(progress: Progress) -> None:
        if progress.scanned == 60:
            raise Interrupted

    with pytest.raises(Interrupted):
        project.runner().backfill(batch_size=30, on_progress=interrupt)
    assert project.runner().backfill_is_pending()
    assert project.sql("select count(*) from public.users") == [(60,)]

    seen: list[Progress] = []
    ended = project.runner().backfill(batch_size=30, on_progress=seen.append)

    assert [one.scanned for one in seen] == [90, 100]
    assert ended.written == 100
    assert not project.runner().backfill_is_pending()


def test_a_second_run_starts_over_and_mends(project: Project) -> None:
    project.fill(10)
    project.runner().up()
    project.runner().backfill()
    with project.connected("supabase_admin") as connection:
        connection.execute("delete from public.users where email = 'user1@example.com'")
        connection.execute("update public.users set email = 'x' where email = 'user2@example.com'")
        connection.execute("alter table auth.users disable trigger user")
        connection.execute("update auth.users set deleted_at = now() where email = 'user3@example.com'")
    found = [one.found for one in project.runner().verify() if one.expected == "0"]

    ended = project.runner().backfill()

    assert found == ["1", "1", "1"]
    assert (ended.scanned, ended.written) == (10, 3)
    assert project.runner().backfill().written == 0


def test_two_at_once_take_turns(project: Project) -> None:
    project.fill(200)
    project.runner().up()
    bulkhead = threading.Barrier(2)
    ended: list[Progress] = []

    def run() -> None:
        runner = project.runner()
        bulkhead.wait()
        ended.append(runner.backfill(batch_size=10))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [one.failed for one in ended] == [0, 0]
    assert project.sql("select count(*) from public.users") == [(200,)]


def test_one_bad_row_does_not_keep_the_others_out(project: Project) -> None:
    project.fill(50)
    project.runner().up()
    project.sql("alter table public.users add constraint obstacle check (email <> 'user7@example.com')")
    warnings: list[str] = []

    ended = project.runner(on_notice=warnings.append).backfill(batch_size=20)

    assert (ended.scanned, ended.written, ended.failed) == (50, 49, 1)
    assert 'violates check constraint "obstacle"' in warnings[0]
    assert "user7" not in warnings[0]


def test_a_user_whom_a_constraint_keeps_out_is_counted(project: Project) -> None:
    """A unique mail of the project's own and an SSO twin: nobody is passed over in silence."""
    project.sql("create table public.users (id uuid primary key, email text unique)")
    project.migrated()
    project.sign_up("ada@example.com")
    project.sign_up("ada@example.com", sso=True)
    warnings: list[str] = []

    ended = project.runner(on_notice=warnings.append).backfill()

    assert ended.failed == 1
    assert 'violates unique constraint "users_email_key"' in warnings[0]


def test_a_lock_is_waited_for_and_not_counted_as_a_bad_row(project: Project) -> None:
    project.fill(10)
    project.runner().up()
    pauses: list[float] = []
    with project.connected() as other:
        other.execute("begin; lock table public.users in access exclusive mode")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            other.execute("commit")

        ended = project.runner(transactions=Transactions(lock_timeout_ms=20, sleep=pause)).backfill()

    assert pauses == [0.1]
    assert (ended.written, ended.failed) == (10, 0)


def test_a_lock_that_lasts_ends_the_run(project: Project) -> None:
    project.fill(10)
    project.runner().up()
    with project.connected() as other, other.transaction():
        other.execute("lock table public.users in access exclusive mode")

        with pytest.raises(DatabaseError, match=r"postgres \(pid"):
            project.runner(transactions=Transactions(lock_timeout_ms=20, pauses_s=())).backfill()

    assert project.runner().backfill().written == 10


def test_before_the_migrations_there_is_no_back_fill(project: Project) -> None:
    assert not project.runner().backfill_is_pending()

    with pytest.raises(DatabaseError, match="run velro-auth db up first"):
        project.runner().backfill()


def test_a_deleted_user_gets_an_empty_inactive_row(project: Project) -> None:
    project.fill(1)
    project.sql("update auth.users set deleted_at = now()")
    project.runner().up()

    project.runner().backfill()

    assert project.sql("select email, display_name, is_active from public.users") == [(None, None, False)]
    assert project.runner().verify() == []


def test_an_assertion_of_the_project_is_a_row_that_failed(project: Project) -> None:
    """It is no "others" in PL/pgSQL, and ended the whole back-fill."""
    project.fill(5)
    project.runner().up()
    project.sql(
        "create function public.no() returns trigger language plpgsql as"
        " $$ begin assert new.email <> 'user2@example.com', 'not this one'; return new; end $$;"
        "create trigger obstacle before insert on public.users for each row execute function public.no()"
    )

    ended = project.runner().backfill()

    assert (ended.written, ended.failed, ended.problem) == (4, 1, "not this one")


def test_no_row_is_counted_twice(project: Project) -> None:
    """A row that is made, and then loses the data of a deleted user, is one row."""
    project.fill(10)
    project.sql("update auth.users set deleted_at = now()")
    project.runner().up()

    ended = project.runner().backfill()

    assert (ended.scanned, ended.written) == (10, 10)


def test_a_row_is_as_old_as_its_user(project: Project) -> None:
    project.fill(1)
    project.sql("update auth.users set created_at = '2020-02-02'")
    project.runner().up()

    project.runner().backfill()

    assert project.sql("select created_at::date::text from public.users") == [("2020-02-02",)]
