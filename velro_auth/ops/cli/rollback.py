"""``velro-auth rollback``: prints the plan of a rollback to a checkpoint, and runs its database part on request."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints.checkpoint import AppliedMigration, Checkpoint, CheckpointError, Fingerprint
from velro_auth.ops.checkpoints.git import Repository, Tags
from velro_auth.ops.checkpoints.guide import git_lines, railway_lines
from velro_auth.ops.checkpoints.rollback_plan import RollbackPlan, applied_now, plan_rollback, run_rollback
from velro_auth.ops.cli.click_helpers import database_option, json_option, print_json, warn
from velro_auth.ops.cli.db import HOOK, HOOK_WARNING
from velro_auth.ops.database import DatabaseError, Runner
from velro_auth.ops.database.connection import describe


@click.command()
@click.argument("tag", required=False)
@database_option
@click.option("--apply-database", is_flag=True, help="Roll back the database, and nothing else.")
@click.option("--drop-data", is_flag=True, help="Drop tables, columns and types that are rolled back, with their data.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rollback(
    tag: str | None, database_url: str, *, apply_database: bool, drop_data: bool, yes: bool, as_json: bool
) -> None:
    """Print how to roll back to a checkpoint: git, Railway, database. Changes nothing without --apply-database.

    TAG is the newest checkpoint when it is not given.
    """
    if as_json and apply_database:
        raise click.UsageError("--json prints the plan; it does not go with --apply-database.")
    tags = Tags(Repository(Path.cwd()))
    tags.repository.head()
    tag = tag or tags.newest()
    checkpoint = tags.read(tag)
    settings = Settings.from_environment()
    runner = Runner(database_url, on_notice=warn)
    parts: dict[str, Iterable[str]] = {
        "git": _as_far_as_possible(git_lines(tags.repository, tag, checkpoint)),
        "railway": railway_lines(checkpoint, tag, Fingerprint.of(settings), datetime.now(UTC)),
        "database": _as_far_as_possible(_database_lines(runner, checkpoint, tag, drop_data=drop_data)),
    }
    if as_json:
        about = {"tag": tag, "at": checkpoint.at.isoformat(), "note": checkpoint.note}
        print_json({**about, **{name: list(lines) for name, lines in parts.items()}})
        return
    _section(f"Back to {tag}, made at {checkpoint.at:%Y-%m-%d %H:%M} UTC", [checkpoint.note] if checkpoint.note else [])
    for name in ("git", "railway") if apply_database else parts:
        _section(name.capitalize(), parts[name])
    if apply_database:
        _apply(runner, tags, tag, checkpoint, drop_data=drop_data, yes=yes)


def _apply(runner: Runner, tags: Tags, tag: str, checkpoint: Checkpoint, *, drop_data: bool, yes: bool) -> None:
    """Roll the database back, after a checkpoint of the present state."""
    then = _migrations(checkpoint, tag)
    plan = plan_rollback(then, runner.status(), runner.migrations)
    _section(f"Database {describe(runner.dsn)}", _plan_lines(runner, plan, drop_data=drop_data))
    if not plan.is_empty:
        if not yes:
            click.confirm("Go on?", abort=True)
        before = applied_now(runner.status())
        made = tags.make(settings=Settings.from_environment(), migrations=before, before_rollback_to=tag)
        click.echo(f"made {made}; to undo this: velro-auth rollback {made} --apply-database")
        for done in run_rollback(runner, plan, drop_data=drop_data):
            click.echo(done)
        if runner.backfill_is_pending():
            click.echo("The users from before are not mirrored yet: velro-auth db backfill")
        plan = plan_rollback(then, runner.status(), runner.migrations)
    if plan.blockers or not plan.is_empty:
        reasons = "; ".join(plan.blockers or ("others changed it",))
        raise CheckpointError(f"The database is not as {tag} says: {reasons}")


def _section(title: str, lines: Iterable[str]) -> None:
    click.echo(title)
    for line in lines:
        click.echo(f"  {line}")
    click.echo()


def _as_far_as_possible(lines: Iterator[str]) -> Iterator[str]:
    """Yield *lines*, and an error as the last line: the other sections shall be printed too."""
    try:
        yield from lines
    except (CheckpointError, DatabaseError) as error:
        yield str(error)


def _migrations(checkpoint: Checkpoint, tag: str) -> tuple[AppliedMigration, ...]:
    if checkpoint.migrations is None:
        raise CheckpointError(f"{tag} was made without DATABASE_URL, so it names no migrations; use velro-auth db down")
    return checkpoint.migrations


def _database_lines(runner: Runner, checkpoint: Checkpoint, tag: str, *, drop_data: bool) -> Iterator[str]:
    plan = plan_rollback(_migrations(checkpoint, tag), runner.status(), runner.migrations)
    yield describe(runner.dsn)
    yield from _plan_lines(runner, plan, drop_data=drop_data)
    if not plan.is_empty:
        option = " --drop-data" if drop_data else ""
        yield f"to do it:        velro-auth rollback {shlex.quote(tag)} --apply-database{option}"


def _plan_lines(runner: Runner, plan: RollbackPlan, *, drop_data: bool) -> Iterator[str]:
    if plan.is_empty:
        yield "Nothing can be done from here." if plan.blockers else "Nothing to do."
    if any(one.label.endswith(HOOK) for one in plan.roll_back):
        yield HOOK_WARNING
    yield from (f"rolls back {one.label}" for one in plan.roll_back)
    if plan.roll_back:
        droppable = runner.droppable_data([one.version for one in plan.roll_back])
        yield from (f"{'drops' if drop_data else 'keeps'}: {name}" for name in droppable)
    yield from (f"applies again {one.label}" for one in plan.apply)
    yield from (f"not possible: {blocker}" for blocker in plan.blockers)
    yield from (f"remark: {remark}" for remark in plan.remarks)
