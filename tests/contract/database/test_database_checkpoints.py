"""``velro-auth checkpoint`` and ``velro-auth rollback`` with a real database and a real repository."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.contract.database.project import Project
from tests.fixtures.checkout import Checkout
from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints.checkpoint import AppliedMigration
from velro_auth.ops.checkpoints.git import Tags
from velro_auth.ops.checkpoints.rollback_plan import applied_now, plan_rollback, run_rollback
from velro_auth.ops.cli import main
from velro_auth.ops.database import State
from velro_auth.ops.database.catalogue import snapshot
from velro_auth.ops.database.connection import connected
from velro_auth.ops.database.files import load, shipped

FILES = load(shipped())
VERSIONS = [migration.version for migration in FILES]
LABELS = [migration.label for migration in FILES]

Run = Callable[..., Result]


@pytest.fixture
def run(project: Project, checkout: Checkout) -> Run:

    def invoke(*words: str, said: str = "") -> Result:
        return CliRunner().invoke(main, words, input=said, env={"DATABASE_URL": project.dsn()})

    return invoke


def catalogue(project: Project) -> dict[str, str]:
    """Return all of ours in the database, but for this: a constraint that was validated stays so."""
    with connected(project.dsn(), print) as connection:
        found = snapshot(connection)
    return {name: value.replace("not validated", "holds") for name, value in found.items()}


def applied(project: Project) -> list[str]:
    return [one.version for one in project.runner().status() if one.applied_at]


def test_there_and_back_and_there_again(project: Project, checkout: Checkout, run: Run) -> None:
    project.runner().up(to=VERSIONS[2])
    before = catalogue(project)
    run("checkpoint")
    [tag] = checkout.tags()
    project.runner().up()
    after = catalogue(project)

    result = run("rollback", "--apply-database", "--drop-data", "--yes")

    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if line.startswith("rolled back")] == [
        f"rolled back {label}" for label in LABELS[:2:-1]
    ]
    assert "Switch the hook off in the project first" in result.output
    assert catalogue(project) == before
    [undo] = set(checkout.tags()) - {tag}
    assert f"to undo this: velro-auth rollback {undo} --apply-database" in result.output

    again = run("rollback", "--apply-database", "--yes")
    assert (again.exit_code, "Nothing to do." in again.output, len(checkout.tags())) == (0, True, 2)

    undone = run("rollback", undo, "--apply-database", "--yes")
    assert f"applied {LABELS[-1]}" in undone.output
    assert (undone.exit_code, catalogue(project)) == (0, after)
    assert project.runner().verify() == []


def test_an_optional_migration_comes_back_if_it_was_applied_then(
    project: Project, checkout: Checkout, run: Run
) -> None:
    runner = project.migrated().runner()
    runner.up(wanted=["session-check"])
    run("checkpoint")
    runner.down(only="session-check")

    result = run("rollback", "--apply-database", "--yes")

    assert "applied 20261126120100_session_check" in result.output
    assert runner.verify() == []
    assert {one.state for one in runner.status()} == {State.APPLIED}


def test_a_tag_holds_what_is_applied_and_no_secret(project: Project, checkout: Checkout, run: Run) -> None:
    project.runner().up(to=VERSIONS[1])

    password = str(conninfo_to_dict(project.dsn())["password"])

    made = run("checkpoint")

    [tag] = checkout.tags()
    assert Tags(checkout.repository).read(tag).migrations == tuple(
        AppliedMigration(one.version, one.label, one.checksum) for one in FILES[:2]
    )
    for text in (made.output, checkout.message(tag), run("rollback").output):
        assert password not in text


def test_a_plan_says_what_would_be_done_and_does_nothing(project: Project, checkout: Checkout, run: Run) -> None:
    run("checkpoint")
    project.migrated()
    project.sign_up("ada@example.com")
    before = project.dump()

    result = run("rollback")

    told = result.output.partition("\nDatabase\n")[2]
    assert told.startswith(f"  {project.name} on ")
    assert [line.split()[-1] for line in told.splitlines() if "rolls back" in line] == LABELS[::-1]
    assert "keeps: table public.users (1 rows)" in told
    assert f"velro-auth rollback {checkout.tags()[0]} --apply-database" in told
    assert project.dump() == before
    assert len(checkout.tags()) == 1


def test_data_is_kept_unless_asked(project: Project, checkout: Checkout, run: Run) -> None:
    run("checkpoint")
    user = project.migrated().sign_up("ada@example.com")

    result = run("rollback", "--apply-database", "--yes")

    assert result.exit_code == 0
    assert applied(project) == []
    assert project.sql("select id from public.users") == [(user,)]


def test_it_asks_and_takes_no_for_an_answer(project: Project, checkout: Checkout, run: Run) -> None:
    run("checkpoint")
    before = project.migrated().dump()

    result = run("rollback", "--apply-database", said="n\n")

    assert result.exit_code == 1
    assert project.dump() == before
    assert len(checkout.tags()) == 1


def test_without_its_own_checkpoint_it_does_not_begin(project: Project, checkout: Checkout, run: Run) -> None:
    run("checkpoint")
    before = project.migrated().dump()
    checkout.git("config", "user.useConfigOnly", "true")
    checkout.git("config", "--unset", "user.email")

    result = run("rollback", "--apply-database", "--yes")

    assert result.exit_code == 1
    assert "Git does not know who makes the tag" in result.stderr
    assert project.dump() == before


def test_what_cannot_be_brought_back_is_said_and_ends_with_status_1(
    project: Project, checkout: Checkout, run: Run
) -> None:
    """The checkpoint knows a migration that no file here is about; what can be rolled back is."""
    project.runner().up(to=VERSIONS[1])
    foreign = AppliedMigration("20261122100150", "20261122100150_foreign", "f" * 64)
    checkpoint = (*(AppliedMigration(one.version, one.label, one.checksum) for one in FILES[:2]), foreign)
    Tags(checkout.repository).make(settings=Settings.from_environment({}), migrations=checkpoint)
    project.runner().up(to=VERSIONS[2])

    result = run("rollback", "--apply-database", "--yes")

    assert result.exit_code == 1
    assert "not possible: 20261122100150_foreign was applied then and is missing now" in result.output
    assert "The database is not as rollback-" in result.stderr
    assert applied(project) == VERSIONS[:2]


def test_what_others_take_back_meanwhile_is_not_taken_back_twice(project: Project) -> None:
    """Nothing that the checkpoint has is rolled back in place of it."""
    project.migrated()
    runner = project.runner()
    statuses = runner.status()
    plan = plan_rollback(applied_now(statuses)[:3], statuses, runner.migrations)
    runner.down(steps=4)

    done = list(run_rollback(runner, plan))

    assert done == [f"rolled back {LABELS[3]}"]
    assert applied(project) == VERSIONS[:3]


def test_an_edited_checkpoint_touches_nothing(project: Project, checkout: Checkout, run: Run) -> None:
    project.migrated()
    run("checkpoint")
    [tag] = checkout.tags()
    message = checkout.message(tag).partition("\n\n")[2].replace(VERSIONS[-1], "20261122100501")
    checkout.git("tag", "--annotate", "--force", "--cleanup=verbatim", "--file=-", tag, given=message + "\n")
    before = project.dump()

    result = run("rollback", "--apply-database", "--yes")

    assert result.exit_code == 1
    assert f"The checkpoint {tag} was edited after it was made" in result.stderr
    assert project.dump() == before


def test_a_database_that_cannot_be_asked_makes_no_checkpoint_and_leaves_the_rest_of_a_plan(
    project: Project, checkout: Checkout, run: Run
) -> None:
    run("checkpoint")
    elsewhere = {"DATABASE_URL": make_conninfo(project.dsn(), dbname="nowhere")}

    made = CliRunner().invoke(main, ["checkpoint"], env=elsewhere)
    planned = CliRunner().invoke(main, ["rollback"], env=elsewhere)
    applied = CliRunner().invoke(main, ["rollback", "--apply-database", "--yes"], env=elsewhere)

    assert (made.exit_code, planned.exit_code, applied.exit_code) == (1, 0, 1)
    assert "No connection to nowhere" in made.stderr
    assert "Nothing to do: what is checked out holds the same files as the checkpoint." in planned.output
    assert "No connection to nowhere" in planned.output
    assert "No connection to nowhere" in applied.stderr
    assert len(checkout.tags()) == 1
