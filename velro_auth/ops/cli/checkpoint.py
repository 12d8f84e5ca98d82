"""``velro-auth checkpoint``: stores the state of a deployment, for a rollback to it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

import click

from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints.git import Found, Repository, Tags
from velro_auth.ops.checkpoints.rollback_plan import applied_now
from velro_auth.ops.cli.click_helpers import database_option, json_option, print_found, warn
from velro_auth.ops.database import Runner

NO_DATABASE: Final = (
    "DATABASE_URL is not set: the checkpoint has no database part, so a rollback to it cannot include the database"
)
DIRTY: Final = "there are changes that are not committed; the tag does not hold them"


@click.group(invoke_without_command=True)
@click.option("--message", metavar="TEXT", default="", help="A note.")
@click.option("--deployment-id", metavar="ID", help="The deployment that runs now; RAILWAY_DEPLOYMENT_ID if not given.")
@database_option
@click.pass_context
def checkpoint(context: click.Context, message: str, deployment_id: str | None, database_url: str) -> None:
    """Tag the commit that is checked out with all that a rollback needs: rollback-<YYYYMMDD-HHMM>, in UTC.

    The tag holds the commit, the deployment, the applied migrations and a fingerprint of the settings; no secret.
    """
    if context.invoked_subcommand:
        return
    repository = Repository(Path.cwd())
    # Before the slow database: fails at once where there is no repository.
    repository.head()
    if not database_url:
        warn(NO_DATABASE)
    if repository.is_dirty():
        warn(DIRTY)
    tag = Tags(repository).make(
        settings=Settings.from_environment(),
        deployment_id=deployment_id,
        migrations=applied_now(Runner(database_url, on_notice=warn).status()) if database_url else None,
        note=message,
    )
    click.echo(f"made {tag}\nto share it:  git push origin {tag}\nto roll back: velro-auth rollback {tag}")


@checkpoint.command(name="list")
@json_option
def show(*, as_json: bool) -> None:
    """Show the checkpoints, newest first."""
    found = Tags(Repository(Path.cwd())).all()
    lines = list(map(_line, found))
    print_found(list(map(_document, found)), lines or ["There is no checkpoint."], as_json=as_json)


def _document(found: Found) -> dict[str, Any]:
    made = found.checkpoint
    if made is None:
        return {"tag": found.tag, "damage": found.damage}
    return {
        "tag": found.tag,
        "at": made.at.isoformat(),
        "commit": made.commit,
        "release": made.release,
        "deployment": made.deployment_id,
        "migrations": None if made.migrations is None else [one.label for one in made.migrations],
        "before_rollback_to": made.before_rollback_to,
        "note": made.note,
    }


def _line(found: Found) -> str:
    made = found.checkpoint
    if made is None:
        return f"{shlex.quote(found.tag)}  {found.damage}"
    migrations = "no database" if made.migrations is None else f"{len(made.migrations)} migrations"
    why = f"before rolling back to {made.before_rollback_to}" if made.before_rollback_to else made.note
    deployment = f"deployment {made.deployment_id or 'not known'}"
    parts = (shlex.quote(found.tag), made.commit[:10], made.release, migrations, deployment, why)
    return "  ".join(part for part in parts if part)
