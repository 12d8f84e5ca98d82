"""``velro-auth rollback``: the plan for the way back to a checkpoint; on demand, its database part."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints import (
    AppliedMigration,
    Checkpoint,
    CheckpointError,
    Database,
    Fingerprint,
    Repository,
    RollbackPlan,
    Tags,
)
from velro_auth.ops.checkpoints.errors import CannotRestore, NoDatabasePart
from velro_auth.ops.checkpoints.guide import git_lines, railway_lines
from velro_auth.ops.cli.click_helpers import OneSentence, database_option, warn
from velro_auth.ops.cli.db import HOOK, HOOK_WARNING
from velro_auth.ops.database import DatabaseError


@click.command(cls=OneSentence)
@click.argument("tag", required=False)
@database_option
@click.option("--apply-database", is_flag=True, help="Bring the database back, and nothing else.")
@click.option("--drop-data", is_flag=True, help="Drop tables, columns and types that are taken back, with their data.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(tag: str | None, database_url: str, *, apply_database: bool, drop_data: bool, yes: bool) -> None:
    """Print the way back to a checkpoint: git, Railway, database. Changes nothing without --apply-database.

    TAG is the newest checkpoint when it is not given. Exit status: 0 planned, done or nothing to do, 1 not
    possible or not wanted, 2 wrong usage.
    """
    tags = Tags(Repository(Path.cwd()))
    tags.repository.head()
    tag = tag or tags.newest()
    checkpoint = tags.read(tag)
    settings = Settings.from_environment()
    _section(f"Back to {tag}, made at {checkpoint.at:%Y-%m-%d %H:%M} UTC", [checkpoint.note] if checkpoint.note else [])
    _section("Git", _as_far_as_possible(git_lines(tags.repository, tag, checkpoint)))
    _section("Railway", railway_lines(checkpoint, tag, Fingerprint.of(settings), datetime.now(UTC)))
    database = Database(database_url, on_notice=warn)
    if not apply_database:
        _section("Database", _as_far_as_possible(_database_lines(database, checkpoint, tag, drop_data=drop_data)))
        return
    then = _migrations(checkpoint, tag)
    way = database.way_back(then)
    _section(f"Database {database.place}", _way_lines(database, way, drop_data=drop_data))
    if not way.is_empty:
        if not yes:
            click.confirm("Go on?", abort=True)
        _keep(tags, database, settings, tag)
        _go(database, way, drop_data=drop_data)
        way = database.way_back(then)
    if way.obstacles or not way.is_empty:
        raise CannotRestore(f"The database is not as {tag} says: " + "; ".join(way.obstacles or ("others changed it",)))


def _section(title: str, lines: Iterable[str]) -> None:
    click.echo(title)
    for line in lines:
        click.echo(f"  {line}")
    click.echo()


def _as_far_as_possible(lines: Iterator[str]) -> Iterator[str]:
    """Yield *lines*; what one part lacks must not keep anybody from reading the others."""
    try:
        yield from lines
    except (CheckpointError, DatabaseError) as error:
        yield str(error)


def _migrations(checkpoint: Checkpoint, tag: str) -> tuple[AppliedMigration, ...]:
    if checkpoint.migrations is None:
        raise NoDatabasePart(
            f"{tag} was made without DATABASE_URL, so it does not say what to go back to; velro-auth db down can"
        )
    return checkpoint.migrations


def _database_lines(database: Database, checkpoint: Checkpoint, tag: str, *, drop_data: bool) -> Iterator[str]:
    way = database.way_back(_migrations(checkpoint, tag))
    yield database.place
    yield from _way_lines(database, way, drop_data=drop_data)
    if not way.is_empty:
        option = " --drop-data" if drop_data else ""
        yield f"to do it:        velro-auth rollback {shlex.quote(tag)} --apply-database{option}"


def _way_lines(database: Database, way: RollbackPlan, *, drop_data: bool) -> Iterator[str]:
    if way.is_empty:
        yield "Nothing can be done from here." if way.obstacles else "Nothing to do."
    if any(one.label.endswith(HOOK) for one in way.take_back):
        yield HOOK_WARNING
    yield from (f"takes back {one.label}" for one in way.take_back)
    if way.take_back:
        yield from (f"{'drops' if drop_data else 'keeps'}: {thing}" for thing in database.data_at_stake(way))
    yield from (f"applies again {one.label}" for one in way.apply)
    yield from (f"not possible: {obstacle}" for obstacle in way.obstacles)
    yield from (f"remark: {remark}" for remark in way.remarks)


def _keep(tags: Tags, database: Database, settings: Settings, tag: str) -> None:
    """Make a checkpoint of what is there now, so that the rollback can be rolled back."""
    made = tags.make(settings=settings, migrations=database.applied(), before_rollback_to=tag)
    click.echo(f"made {made}; to undo this: velro-auth rollback {made} --apply-database")


def _go(database: Database, way: RollbackPlan, *, drop_data: bool) -> None:
    for done in database.go(way, drop_data=drop_data):
        click.echo(done)
    if database.backfill_is_pending():
        click.echo("The users from before are not mirrored yet: velro-auth db backfill")
