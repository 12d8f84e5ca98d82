"""``doctor --fix``: what it leaves alone, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.contract.database.conftest import Cluster, MakeProject
from tests.contract.database.project import Project
from tests.contract.database.test_doctor_fix import broken, faults, fix, rows
from velro_auth.ops.database import errors
from velro_auth.ops.database.connection import Transactions
from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.doctor import fix as fixing
from velro_auth.ops.doctor import undo


@pytest.fixture
def cluster(clusters: Callable[[int], Cluster]) -> Cluster:
    """One version: what is sent to the database is tested on both in the module beside."""
    return clusters(18)


def test_nothing_is_changed_when_the_file_cannot_be_written(migrated: Project, tmp_path: Path) -> None:
    project = broken(migrated)
    before = project.dump()

    with pytest.raises(DatabaseError, match="nothing was changed"):
        fix(project, tmp_path / "absent")

    assert project.dump() == before


def test_a_file_that_is_there_is_not_written_over(migrated: Project, tmp_path: Path) -> None:
    path = tmp_path / "doctor_rollback_20261125_120000.sql"
    path.write_text("precious", "utf-8")
    migrated.sql("alter table public.users disable row level security")

    with pytest.raises(DatabaseError, match="File exists"):
        fix(migrated, tmp_path)

    assert path.read_text("utf-8") == "precious"
    assert faults(migrated) == ["row level security of public.users"]


def test_a_held_lock_leaves_the_database_and_the_folder_as_they_were(migrated: Project, tmp_path: Path) -> None:
    migrated.sql("alter table public.users disable row level security")
    patience = Transactions(lock_timeout_ms=5, pauses_s=(0.0, 0.0))

    with migrated.connected() as other, other.transaction():
        other.execute("select from public.users")
        with pytest.raises(errors.DatabaseError):
            fixing.apply(migrated.dsn(), folder=tmp_path, transactions=patience)

    assert faults(migrated) == ["row level security of public.users"]
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_complete_before_the_transaction_ends(
    migrated: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at the moment the file is on the disk still finds the database unchanged."""
    migrated.sql("alter table public.users disable row level security")
    seen: list[str] = []
    really = undo._sync

    def look(folder: Path) -> None:
        really(folder)
        [path] = folder.iterdir()
        seen.append(path.read_text("utf-8"))
        seen.extend(str(one[0]) for one in migrated.sql("select relrowsecurity from pg_class where oid ="
                                                        " 'public.users'::regclass"))  # fmt: skip

    # Reading pg_class needs no lock on the table itself.
    monkeypatch.setattr(undo, "_sync", look)
    fix(migrated, tmp_path)

    assert seen[0].endswith("commit;\n")
    assert seen[1] == "False"


def test_a_commit_that_is_refused_leaves_no_file(migrated: Project, tmp_path: Path) -> None:
    migrated.sql(
        "create function public.never() returns trigger language plpgsql as $$ begin raise 'never'; end $$;"
        "create constraint trigger never after insert on public.users deferrable initially deferred"
        " for each row execute function public.never()"
    )
    migrated.fill(1)

    with pytest.raises(errors.MigrationFailed, match="rolled back: never"):
        fix(migrated, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_row_that_a_constraint_refuses_is_left_to_the_back_fill(migrated: Project, tmp_path: Path) -> None:
    migrated.fill(3)
    migrated.sql("alter table public.users add constraint obstacle check (email <> 'user2@example.com')")
    migrated.sql("alter table public.users disable row level security")

    fixed = fix(migrated, tmp_path)

    [remark] = fixed.remarks
    assert "obstacle" in remark
    assert "velro-auth db backfill" in remark
    assert "user2" not in remark
    assert "row level security of public.users" not in faults(migrated)
    assert rows(migrated) == []


def test_many_rows_are_left_to_the_back_fill(
    migrated: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("velro_auth.ops.doctor.fix.MOST_ROWS", 2)
    migrated.fill(3)

    fixed = fix(migrated, tmp_path)

    assert fixed.rollback_file is None
    assert "velro-auth db backfill" in fixed.remarks[0]


def test_orphans_are_not_deleted(migrated: Project, tmp_path: Path) -> None:
    migrated.sql("alter table public.users drop constraint users_id_auth_users_fkey;"
                 "insert into public.users (id) values (gen_random_uuid())")  # fmt: skip

    fix(migrated, tmp_path)

    assert len(rows(migrated)) == 1


def test_without_migrations_it_says_so(project: Project, tmp_path: Path) -> None:
    before = project.dump()

    with pytest.raises(errors.DatabaseError, match="velro-auth db up"):
        fix(project, tmp_path)

    assert project.dump() == before


def test_pending_migrations_stay_pending(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project("migrated")
    project.runner().down(to="20261122100500")
    project.sql("alter table public.users disable row level security")

    fixed, again = fix(project, tmp_path), fix(project, tmp_path, 1)

    assert fixed.changes == ["row level security public.users: changed"]
    assert again.changes == ()
    assert again.rollback_file is None
    for one in (fixed, again):
        assert list(one.remarks) == [
            "what 20261126100000_sign_ups, 20261126120000_sessions brings is not fixed here: run velro-auth db up"
        ]
    assert "migration 20261126100000_sign_ups" in faults(project)
    assert "migration 20261126100000_sign_ups" not in [one.subject for one in fixing.preview(project.dsn())]


def test_a_preview_changes_nothing(migrated: Project) -> None:
    project = broken(migrated)
    before = project.dump()

    subjects = [one.subject for one in fixing.preview(project.dsn())]

    assert "row level security of public.users" in subjects
    assert 'policy "Users can view self" on public.users' in subjects
    assert project.dump() == before


def test_the_file_runs_in_one_transaction(migrated: Project, tmp_path: Path) -> None:
    """A way back that fails half way leaves what was fixed."""
    project = broken(migrated)
    fixed = fix(project, tmp_path)
    assert fixed.rollback_file is not None
    project.sql("drop function velro_auth.validate_users() cascade")
    before = project.dump()
    statements = fixed.rollback_file.read_text("utf-8").replace("commit;", "select 1 / 0;\ncommit;")

    with pytest.raises(psycopg.errors.DivisionByZero):
        project.sql(statements)

    assert project.dump() == before
