"""``velro-auth db …``: plans, applies, rolls back and verifies the migrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from velro_auth.ops.cli.click_helpers import (
    console,
    database_option,
    json_option,
    option,
    print_found,
    print_json,
    warn,
    working,
)
from velro_auth.ops.database import Progress as Backfill
from velro_auth.ops.database import Runner
from velro_auth.ops.database.backfill import BATCH_SIZE
from velro_auth.ops.database.connection import LOCK_TIMEOUT_MS, Transactions
from velro_auth.ops.database.plan import Step

#: Rolling back this migration can block all logins; the warning says what to do first.
HOOK: Final = "token_hook"
HOOK_WARNING: Final = (
    "Switch the hook off in the project first (Authentication, Hooks):"
    " with it on and its function gone, every login fails."
)

#: The data API calls this migration's function by name until it has read its configuration anew.
CHECK: Final = "session_check"
CHECK_WARNING: Final = "Requests of the data API may fail for a moment, until it has read its configuration anew."


@click.group()
@database_option
@option(
    "--lock-timeout-ms",
    type=click.IntRange(1),
    default=LOCK_TIMEOUT_MS,
    help="How long one try may wait for a lock, and hold up a sign-up.",
)
@click.pass_context
def db(context: click.Context, database_url: str, lock_timeout_ms: int) -> None:
    """Keep public.users in step with auth.users: migrations, back-fill, checks."""
    context.obj = _runner(database_url, lock_timeout_ms)


def _runner(database_url: str, lock_timeout_ms: int) -> Runner:
    return Runner(database_url, transactions=Transactions(lock_timeout_ms=lock_timeout_ms), on_notice=warn)


def _use_database(context: click.Context, _: click.Parameter, database_url: str | None) -> None:
    """Replace the runner of the group where the option comes after the command."""
    if database_url is not None and context.parent is not None:
        context.obj = _runner(database_url, context.parent.params["lock_timeout_ms"])


#: ``--database-url`` after the command; the group has the same option before it, and reads DATABASE_URL.
_database_option = click.option(
    "--database-url", expose_value=False, callback=_use_database, help="The database; also before the command."
)
_rehearsal_option = click.option(
    "--rehearsal/--no-rehearsal",
    "rehearse",
    default=True,
    help="Rehearse a sign-up in a transaction that is rolled back. Your triggers run in it.",
)
_with_option = click.option(
    "--with", "wanted", multiple=True, metavar="NAME", help="An optional migration too, such as session-check."
)
_adopt_option = click.option(
    "--adopt", is_flag=True, help="Let your triggers on auth.users that conflict with ours fire before ours."
)


@db.command()
@click.option("--to", metavar="VERSION", help="The last migration to apply.")
@_with_option
@_adopt_option
@_rehearsal_option
@_database_option
@json_option
@click.pass_obj
def plan(runner: Runner, /, *, as_json: bool, **how: Any) -> None:
    """Show what `up` would apply, or why it would refuse."""
    with working("Asking the database"):
        steps = runner.plan(**how)
    labels = [step.label for step in steps]
    print_found(labels, labels or ["Nothing to do."], as_json=as_json)


@db.command()
@click.option("--to", metavar="VERSION", help="The last migration to apply.")
@click.option("--dry-run", is_flag=True, help="Print the SQL and change nothing.")
@click.option("--again", is_flag=True, help="Run the applied ones once more too: repairs what was changed by hand.")
@click.option("--no-backfill", is_flag=True, help="Do not mirror the existing users; run `backfill` later.")
@_with_option
@_adopt_option
@_rehearsal_option
@_database_option
@click.pass_obj
def up(runner: Runner, /, *, dry_run: bool, no_backfill: bool, **how: Any) -> None:
    """Apply the migrations, then mirror the existing users."""
    with working("Applying the migrations"):
        steps = runner.up(dry_run=dry_run, **how)
    for step in steps:
        click.echo(step.sql if dry_run else f"applied {step.label}")
    if dry_run:
        return
    if not steps:
        click.echo("Nothing to apply.")
    if not no_backfill and runner.backfill_is_pending():
        _backfill(runner, BATCH_SIZE)


@db.command()
@option("--steps", type=click.IntRange(1), default=1, help="How many to roll back.")
@click.option("--to", metavar="VERSION", help="Roll back everything newer than this one.")
@click.option("--all", "everything", is_flag=True, help="Roll back all of them.")
@click.option("--only", metavar="NAME", help="Roll back this optional migration only.")
@click.option("--drop-data", is_flag=True, help="Drop the table, columns and type that we made, with their data.")
@click.option("--dry-run", is_flag=True, help="Print the SQL and what it would drop, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_database_option
@click.pass_obj
def down(runner: Runner, /, *, everything: bool, drop_data: bool, dry_run: bool, yes: bool, **which: Any) -> None:
    """Roll back the newest migrations; data stays unless asked."""
    if everything:
        which["steps"] = len(runner.status())
    planned = runner.down(dry_run=True, **which)
    if not planned:
        click.echo("Nothing to roll back.")
        return
    for line in _consequences(runner, planned, drop_data=drop_data):
        click.echo(f"-- {line}" if dry_run else line)
    if dry_run:
        click.echo("\n".join(["set velro.drop_data = 'on';"] * drop_data + [step.sql for step in planned]))
        return
    if not yes:
        click.confirm("Go on?", abort=True)
    for step in runner.down(drop_data=drop_data, **which):
        click.echo(f"rolled back {step.label}")


def _consequences(runner: Runner, planned: Sequence[Step], *, drop_data: bool) -> Iterator[str]:
    """Say what taking back *planned* does, and what becomes of the data."""
    yield "This rolls back: " + ", ".join(step.label for step in planned)
    if any(step.label.endswith(HOOK) for step in planned):
        yield HOOK_WARNING
    if any(step.label.endswith(CHECK) for step in planned):
        yield CHECK_WARNING
    for name in runner.droppable_data([step.version for step in planned]):
        yield f"{'drops' if drop_data else 'keeps'}: {name}"


@db.command()
@_database_option
@json_option
@click.pass_obj
def status(runner: Runner, *, as_json: bool) -> None:
    """Show the state of each migration."""
    found = runner.status()
    if as_json:
        rows = [
            {
                "migration": one.label,
                "state": one.state.value,
                "applied_at": one.applied_at,
                "applied_by": one.applied_by,
            }
            for one in found
        ]
        print_json({"migrations": rows, "backfill_pending": runner.backfill_is_pending()})
        return
    for one in found:
        when = f"{one.applied_at:%Y-%m-%d %H:%M} UTC" if one.applied_at else ""
        click.echo("  ".join(part for part in (one.label, one.state.value, when, one.applied_by) if part))
    if runner.backfill_is_pending():
        click.echo("The users from before are not mirrored yet: velro-auth db backfill")


@db.command()
@_rehearsal_option
@_database_option
@json_option
@click.pass_context
def verify(context: click.Context, *, rehearse: bool, as_json: bool) -> None:
    """Compare the live database with the migrations, and rehearse a sign-up; exit status 1 if it differs."""
    runner: Runner = context.obj
    with working("Comparing"):
        found = runner.verify(rehearse=rehearse)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        context.exit(0 if all(one.is_remark for one in found) else 1)
    for one in found:
        mark = "remark" if one.is_remark else "differs"
        click.echo(f"{mark}: {one.subject}\n    expected: {one.expected}\n    found:    {one.found}")
    wrong = sum(not one.is_remark for one in found)
    click.echo(f"{wrong} difference{'s' * (wrong > 1)}" if wrong else "As the migrations say.")
    context.exit(1 if wrong else 0)


@db.command()
@option("--batch-size", type=click.IntRange(1), default=BATCH_SIZE, help="Users at a time.")
@_database_option
@click.pass_obj
def backfill(runner: Runner, batch_size: int) -> None:
    """Mirror every user that has no row, or an outdated one; continues an interrupted run."""
    _backfill(runner, batch_size)


@db.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@_with_option
@_database_option
@click.pass_obj
def export(runner: Runner, directory: Path, *, wanted: tuple[str, ...]) -> None:
    """Write the up files into DIRECTORY, to deploy with the Supabase CLI (supabase/migrations)."""
    try:
        written = runner.export(directory, wanted=wanted)
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be written to ({error.strerror})") from error
    for path in written:
        click.echo(path)


def _backfill(runner: Runner, batch_size: int) -> None:
    columns = (
        TextColumn("mirroring users"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task("", total=None, rate="")

        def show(progress: Backfill) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} users/s" if speed else ""
            bar.update(task, completed=progress.scanned, total=progress.total, rate=rate)

        ended = runner.backfill(batch_size=batch_size, on_progress=show)
    click.echo(f"{ended.scanned} users looked at, {ended.written} rows written, {ended.failed} failed")
    if ended.failed:
        raise click.ClickException(_unwritten(ended))


def _unwritten(ended: Backfill) -> str:
    rows = f"{ended.failed} row{'s' * (ended.failed > 1)} could not be written"
    if ended.problem:
        return f"{rows}: {ended.problem}; fix that, and run velro-auth db backfill again."
    return (
        f"{rows} in a run that was interrupted; run velro-auth db backfill again, which writes"
        f" {'them' if ended.failed > 1 else 'it'} or says why not."
    )
