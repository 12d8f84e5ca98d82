"""``velro-auth serve``: run the service under gunicorn, with the configuration that comes with the package."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from velro_auth.config import sources
from velro_auth.config.settings import Settings, inherited


def gunicorn(application: str) -> Sequence[str]:
    """Return gunicorn's command for an application of this package. It needs no file, so any folder will do."""
    return (sys.executable, "-m", "gunicorn", application, "--config", "python:velro_auth.server.gunicorn_conf")


#: gunicorn's command for the service.
GUNICORN: Final = gunicorn("velro_auth.app:from_environment()")

#: The environment file that ``velro-auth init`` writes.
ENV_FILE: Final = Path(".env")


@click.command()
@click.option("--bind", metavar="ADDRESS", help="HOST:PORT, [HOST]:PORT or unix:PATH. Default: PORT on every address.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes. Default: WEB_CONCURRENCY.")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with settings. Default: AUTH_ENV_FILE, or .env in this folder if there is one.",
)
@click.option("--print-config", is_flag=True, help="Print gunicorn's settings, and start nothing.")
def serve(*, bind: str | None, workers: int | None, env_file: Path | None, print_config: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C; requests in flight are finished."""
    variables = environment(inherited(), env_file)
    if workers is not None:
        variables = {**variables, "WEB_CONCURRENCY": str(workers)}
        # Limits are shared out by this setting, so it must be the number of workers that run.
        if Settings.from_environment(variables).web_concurrency != workers:
            raise click.UsageError(
                f"WEB_CONCURRENCY in {variables[sources.VARIABLE]} wins over --workers: change it there."
            )
    command = [*GUNICORN, *(["--bind", bind] if bind else []), *(["--print-config"] if print_config else [])]
    # gunicorn takes this process's place, so that signals reach it.
    os.execve(command[0], command, variables)  # noqa: S606 - our own program


def settings_here() -> Settings:
    """Return the settings of a service that is started in this folder with these variables; tells of its ``.env``."""
    return Settings.from_environment(environment(inherited(), None))


def environment(variables: Mapping[str, str], env_file: Path | None, *, tell: bool = True) -> dict[str, str]:
    """Return *variables* for a service whose settings are in *env_file*; None looks for ``.env`` in this folder.

    ``AUTH_ENV_FILE`` comes before that ``.env``. An empty one keeps any file from being read. With *tell*, the name of
    that ``.env`` is printed to standard error.
    """
    if env_file is None and sources.VARIABLE not in variables and ENV_FILE.is_file():
        env_file = ENV_FILE
        if tell:
            click.echo(f"Settings from {env_file.resolve()}", err=True)
    if env_file is None:
        return dict(variables)
    return {**variables, sources.VARIABLE: str(env_file.resolve())}
