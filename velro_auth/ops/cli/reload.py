"""``velro-auth reload``: have the running service read its settings anew, and say what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from velro_auth.config.settings import Settings
from velro_auth.server.process_files import MASTER, WORKER, folder_of, running_processes

#: The master looks at its signals every second; a busy machine may take longer.
_WITHIN_S: Final = 15.0
_EVERY_S: Final = 0.05

Facts = Mapping[str, Any]


@click.command()
@click.option("--port", type=int, help="Of the service, where several run. Default: PORT, if it is set.")
@click.option("--pid", type=int, help="Process number of its gunicorn master, where several run.")
def reload(port: int | None, pid: int | None) -> None:
    """Have the running service read its settings anew, as SIGHUP does, and wait until its workers follow.

    Exits with 1 when no service is found, or when the new settings are wrong: then all old ones stay.
    """
    settings = Settings.from_environment()
    if port is None and pid is None and settings.origins["PORT"] != "default":
        port = settings.port
    folder = folder_of(settings.auth_run_dir)
    master = _chosen(folder, port, pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(master["pid"], signal.SIGHUP)
    outcome = _outcome(folder, master)
    _report(outcome)
    if outcome["state"] == "taken":
        workers = _followed(folder, master["pid"], outcome["number"])
        click.echo(f"In force in {workers} worker{'s' * (workers != 1)} of process {master['pid']}.")


def _chosen(folder: Path, port: int | None, pid: int | None) -> Facts:
    """Return the note of the service that is meant."""
    try:
        running = list(running_processes(folder, MASTER))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    meant = [master for master in running if port in {None, *master["ports"]} and pid in {None, master["pid"]}]
    if len(meant) == 1:
        return meant[0]
    which = "".join(
        f"\n  process {master['pid']}, port {', '.join(map(str, master['ports'])) or 'none'}" for master in running
    )
    if not running:
        raise click.ClickException(
            f"No running service is noted in {folder}. If it runs, then as another user, in another container, or with"
            " another AUTH_RUN_DIR: run this command as it runs."
        )
    if not meant:
        raise click.ClickException(f"No running service has that port or process number. There are:{which}")
    raise click.ClickException(f"Several services run: name one with --port or --pid.{which}")


def _outcome(folder: Path, master: Facts) -> Facts:
    """Wait for what the master says of the signal, and return it."""

    def told() -> Facts | None:
        now = next((note for note in running_processes(folder, MASTER) if note["pid"] == master["pid"]), None)
        if now is None:
            raise click.ClickException(f"Process {master['pid']} has ended.")
        return now if now["reloads"] > master["reloads"] else None

    found = _await(told, f"Process {master['pid']} took no notice of the signal within {_WITHIN_S:.0f} s: see its log.")
    outcome: Facts = found["outcome"]
    return outcome


def _report(outcome: Facts) -> None:
    if outcome["state"] == "refused":
        lines = "".join(f"\n  {mistake}" for mistake in outcome["mistakes"])
        raise click.ClickException(f"All old settings stay, because of:{lines}")
    if outcome["state"] == "failed":
        raise click.ClickException(
            "All old settings stay: reading the new ones failed. The log of the service says why."
        )
    if not outcome["changed"] and not outcome["file"]:
        raise click.ClickException(
            "The service was started without AUTH_ENV_FILE, so there is no file to read: name one and restart it"
            " (docs/how-to/change-settings.md)."
        )
    if not outcome["changed"]:
        click.echo(
            f"Nothing has changed in {outcome['file']} that can change at run time (docs/how-to/change-settings.md)."
        )
    for variable, change in outcome["changed"].items():
        click.echo(f"{variable}: {change}")
    for variable in outcome["waiting"]:
        click.echo(f"{variable}: has changed and needs a restart; the old value stays")


def _followed(folder: Path, master: int, number: int) -> int:
    """Wait until all workers follow the settings of that number, and return how many there are."""

    def following() -> list[Facts] | None:
        workers = list(running_processes(folder, f"{WORKER}{master}-"))
        return workers if workers and all(worker["number"] >= number for worker in workers) else None

    workers = _await(following, f"Not every worker follows the new settings after {_WITHIN_S:.0f} s: see the log.")
    if kept := [str(worker["pid"]) for worker in workers if not worker["is_taken"]]:
        raise click.ClickException(f"Workers kept the old settings, and the log says why: process {', '.join(kept)}")
    return len(workers)


def _await(find: Callable[[], Any], otherwise: str) -> Any:
    ends_s = time.monotonic() + _WITHIN_S
    while (found := find()) is None:
        if time.monotonic() > ends_s:
            raise click.ClickException(otherwise)
        time.sleep(_EVERY_S)
    return found
