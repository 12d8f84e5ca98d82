"""``velro-auth db …`` as somebody at a terminal meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.contract.database.project import Project
from velro_auth.ops.cli import main
from velro_auth.ops.database.files import load, shipped

LABELS = [migration.label for migration in load(shipped())]


def run(project: Project, *words: str, said: str = "") -> Result:
    return CliRunner().invoke(main, ["db", *words], input=said, env={"DATABASE_URL": project.dsn()})


def test_from_nothing_there_and_back(project: Project) -> None:
    project.fill(7)

    assert run(project, "plan").output.split() == LABELS
    up = run(project, "up")
    assert [f"applied {label}" for label in LABELS] == up.output.splitlines()[: len(LABELS)]
    assert "7 users looked at, 7 rows written, 0 failed" in up.output
    assert run(project, "up").output == "Nothing to apply.\n"
    assert run(project, "plan").output == "Nothing to do.\n"
    assert run(project, "status").output.count("applied") == len(LABELS)
    assert run(project, "verify").output == "As the migrations say.\n"

    down = run(project, "down", "--all", "--drop-data", said="y\n")

    assert down.exit_code == 0
    assert "Switch the hook off in the project first" in down.output
    assert "drops: table public.users (7 rows)" in down.output
    assert run(project, "status").output.count("pending") == len(LABELS)


def test_down_asks_and_takes_no_for_an_answer(migrated: Project) -> None:
    before = migrated.dump()

    result = run(migrated, "down", "--all", said="n\n")

    assert result.exit_code == 1
    assert "keeps: table public.users (0 rows)" in result.output
    assert migrated.dump() == before


@pytest.mark.parametrize("version", [migration.version for migration in load(shipped())])
def test_a_partial_way_there_has_a_way_back(project: Project, version: str) -> None:
    """Before the table was there, counting its rows failed."""
    before = project.dump()
    assert run(project, "up", "--to", version, "--no-backfill").exit_code == 0

    down = run(project, "down", "--all", "--drop-data", "--yes")

    assert down.exit_code == 0, down.output
    assert project.dump() == before


def test_an_optional_migration_is_asked_for_by_name(migrated: Project, tmp_path: Path) -> None:
    label = "20261126120100_session_check"

    assert f"{label}  optional, off\n" in run(migrated, "status").output
    assert run(migrated, "plan").output == "Nothing to do.\n"
    assert run(migrated, "plan", "--with", "session-check").output == f"{label}\n"
    assert "no optional migration nothing; there are: session-check" in run(migrated, "up", "--with", "nothing").output
    assert f"applied {label}\n" in run(migrated, "up", "--with", "session-check").output
    assert f"{label}  applied" in run(migrated, "status").output

    down = run(migrated, "down", "--only", "session-check", "--yes")

    assert f"rolled back {label}\n" in down.output
    assert "Requests of the data API may fail for a moment" in down.output
    assert run(migrated, "down", "--only", "session-check").output == "Nothing to roll back.\n"
    assert label not in run(migrated, "export", str(tmp_path)).output
    assert label in run(migrated, "export", str(tmp_path), "--with", "session-check").output


def test_looking_needs_no_right_to_create(project: Project) -> None:
    """Who may read may look; what could not be rehearsed is said."""
    project.sql(f"revoke create on database {project.name} from public, postgres;"
                f"alter database {project.name} owner to supabase_admin", user="supabase_admin")  # fmt: skip
    project.sql("revoke all on schema public from public, postgres; alter schema public owner to supabase_admin",
                user="supabase_admin")  # fmt: skip

    assert run(project, "status").output.count("pending") == len(LABELS)
    plan = run(project, "plan")
    assert plan.exit_code == 0
    assert plan.stdout.split() == LABELS
    assert "Not rehearsed, so up may still refuse: The role postgres may not create" in plan.stderr
    assert "may not create" in run(project, "up").output


def test_who_may_not_read_the_history_is_told_so(migrated: Project) -> None:
    """It looked as if nothing were applied."""
    with migrated.connected("supabase_admin") as connection:
        connection.execute("alter schema velro_auth owner to supabase_admin")
        connection.execute("revoke all on schema velro_auth from postgres")

    result = run(migrated, "status")

    assert result.exit_code == 1
    assert "The role postgres may not read velro_auth.schema_migrations" in result.output


def test_down_takes_back_one_by_default(migrated: Project) -> None:
    result = run(migrated, "down", "--yes")

    assert result.output.splitlines()[-1] == f"rolled back {LABELS[-1]}"
    assert run(migrated, "plan").output.split() == LABELS[-1:]


def test_a_dry_run_prints_the_sql(project: Project) -> None:
    before = project.dump()

    up = run(project, "up", "--dry-run").output

    assert "create or replace function public.handle_new_auth_user()" in up
    assert project.dump() == before
    project.migrated()
    assert (
        "drop function if exists velro_auth.custom_access_token_hook"
        in run(project, "down", "--steps", "3", "--dry-run").output
    )


def test_a_dry_run_of_the_way_back_says_what_it_would_drop_and_runs_by_hand(project: Project) -> None:
    before = project.dump()
    migrated = project.migrated().dump()

    kept = run(project, "down", "--all", "--dry-run").output
    dropped = run(project, "down", "--all", "--dry-run", "--drop-data").output

    assert "-- keeps: table public.users (0 rows)\n" in kept
    assert "-- drops: table public.users (0 rows)\n" in dropped
    assert project.dump() == migrated
    project.sql(dropped)
    project.sql("drop table velro_auth.schema_migrations; drop schema velro_auth")
    assert project.dump() == before


def test_verify_ends_with_status_1_and_a_list(migrated: Project) -> None:
    migrated.sql("alter table public.users disable row level security")

    result = run(migrated, "verify")

    assert result.exit_code == 1
    assert result.output == (
        "differs: row level security of public.users\n    expected: on\n    found:    off\n1 difference\n"
    )


def test_again_repairs(migrated: Project) -> None:
    migrated.sql("alter table public.users disable row level security")

    run(migrated, "up", "--again")

    assert run(migrated, "verify").exit_code == 0


def test_the_back_fill_can_be_left_for_later(project: Project) -> None:
    project.fill(3)

    run(project, "up", "--no-backfill")

    assert "not mirrored yet: velro-auth db backfill" in run(project, "status").output
    assert "3 rows written" in run(project, "backfill", "--batch-size", "2").output
    assert "not mirrored yet" not in run(project, "status").output


def test_a_back_fill_with_bad_rows_ends_with_status_1(migrated: Project) -> None:
    migrated.fill(3)
    migrated.sql("alter table public.users add constraint obstacle check (email <> 'user2@example.com')")

    result = run(migrated, "backfill")

    assert result.exit_code == 1
    assert "2 rows written, 1 failed" in result.output
    assert result.output.splitlines()[-1].startswith("Error: 1 row could not be written: ")
    assert 'violates check constraint "obstacle"' in result.output.splitlines()[-1]
    assert "fix that" in result.output.splitlines()[-1]


def test_a_back_fill_names_what_is_no_constraint(migrated: Project) -> None:
    migrated.fill(1)
    migrated.sql("alter table public.users add column badge text not null")

    last = run(migrated, "backfill").output.splitlines()[-1]

    assert 'null value in column "badge"' in last
    assert "constraint named above" not in last


def test_rows_that_failed_in_an_interrupted_run_are_named_by_another(migrated: Project) -> None:
    migrated.fill(3)
    migrated.sql("alter table public.users add constraint obstacle check (email <> 'user2@example.com')")
    migrated.sql("select velro_auth.backfill_users(1) from generate_series(1, 3)")
    migrated.sql("alter table public.users drop constraint obstacle")

    last = run(migrated, "backfill").output.splitlines()[-1]

    assert last == (
        "Error: 1 row could not be written in a run that was interrupted; run velro-auth db backfill again, which"
        " writes it or says why not."
    )
    assert run(migrated, "backfill").exit_code == 0


@pytest.mark.parametrize("variable", ["", "postgresql://postgres@nowhere.invalid/postgres"])
def test_the_address_may_come_before_or_after_the_command(project: Project, variable: str) -> None:
    for words in (["--database-url", project.dsn(), "status"], ["status", "--database-url", project.dsn()]):
        result = CliRunner().invoke(main, ["db", *words], env={"DATABASE_URL": variable})

        assert result.output.count("pending") == len(LABELS)


def test_the_lock_timeout_holds_for_an_address_after_the_command(migrated: Project) -> None:
    words = ["--lock-timeout-ms", "0", "backfill", "--database-url", migrated.dsn()]
    assert CliRunner().invoke(main, ["db", *words], env={"DATABASE_URL": ""}).exit_code == 2

    words[1] = "75"
    assert CliRunner().invoke(main, ["db", *words], env={"DATABASE_URL": ""}).exit_code == 0


def test_export_needs_no_database(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["db", "export", str(tmp_path / "out")], env={"DATABASE_URL": ""})

    assert [Path(line).stem for line in result.output.splitlines()] == LABELS


def test_a_folder_that_cannot_be_made_is_one_sentence() -> None:
    result = CliRunner().invoke(main, ["db", "export", "/proc/out"])

    assert result.output == "Error: /proc/out cannot be written to (No such file or directory)\n"


@pytest.mark.parametrize("address", ["", "https://project.supabase.co", "postgresql://postgres:s3cr/t@h:5432/postgres"])
def test_a_bad_address_is_one_sentence(address: str) -> None:
    result = CliRunner().invoke(main, ["db", "status"], env={"DATABASE_URL": address})

    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("Error: DATABASE_URL ")
    assert "s3cr" not in result.output
