"""``velro-auth reload``: make the running service read its settings again, and print the result."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from velro_auth.config.settings import Settings
from velro_auth.ops.cli.click_helpers import json_option, print_json, working
from velro_auth.server.process_records import MASTER, WORKER, folder_of, running, working_directory

#: The master checks its signals every second; a busy machine may need longer.
_TIMEOUT_S: Final = 15.0
_EVERY_S: Final = 0.05

Record: TypeAlias = Mapping[str, Any]


@click.command()
@click.option("--port", type=int, help="Of the service, where several run. Default: PORT, if it is set.")
@click.option("--pid", type=int, help="Process number of its gunicorn master, where several run.")
@json_option
def reload(port: int | None, pid: int | None, *, as_json: bool) -> None:
    """Make the running service read its settings again, as SIGHUP does, and wait until all workers use them.

    When the new settings are wrong, all old ones stay.
    """
    settings = Settings.from_environment()
    if port is None and pid is None and settings.origins["PORT"] != "default":
        port = settings.port
    folder = folder_of(settings.auth_run_dir)
    master = _chosen(folder, port, pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(master["pid"], signal.SIGHUP)
    with working("Waiting for the service"):
        outcome = _outcome(folder, master)
    _require_taken(outcome)
    if not as_json:
        _report(outcome)
    workers = 0
    if outcome["state"] == "taken":
        with working("Waiting for the workers"):
            workers = _wait_for_workers(folder, master["pid"], outcome["number"])
    if as_json:
        told = {name: outcome[name] for name in ("state", "file", "changed", "waiting")}
        print_json({"process": master["pid"], **told, "workers": workers})
    elif workers:
        click.echo(f"In force in {workers} worker{'s' * (workers != 1)} of process {master['pid']}.")


def _chosen(folder: Path, port: int | None, pid: int | None) -> Record:
    """Return the record of the master with that port and process number."""
    try:
        masters = list(running(folder, MASTER))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    matching = [master for master in masters if port in {None, *master["ports"]} and pid in {None, master["pid"]}]
    if len(matching) == 1:
        return matching[0]
    listed = "".join(map(_described, masters))
    if not masters:
        raise click.ClickException(
            f"No running service has a record in {folder}. If it runs as another user, in another container or with"
            " another AUTH_RUN_DIR, run this command in the same way."
        )
    if not matching:
        raise click.ClickException(f"No running service has that port or process number. There are:{listed}")
    raise click.ClickException(f"Several services run: name one with --port or --pid.{listed}")


def _described(master: Record) -> str:
    """Return a line about one master: process number, ports, and the directory (the checkout) that it runs in."""
    ports = ", ".join(map(str, master["ports"])) or "none"
    # A service of an earlier version did not record its directory.
    directory = master.get("directory") or "unknown"
    here = " (this directory)" if directory == working_directory() else ""
    return f"\n  process {master['pid']}, port {ports}, directory {directory}{here}"


def _outcome(folder: Path, master: Record) -> Record:
    """Wait until the master has handled the signal, and return the result."""

    def handled() -> Record | None:
        now = next((record for record in running(folder, MASTER) if record["pid"] == master["pid"]), None)
        if now is None:
            raise click.ClickException(f"Process {master['pid']} has ended.")
        return now if now["reloads"] > master["reloads"] else None

    found = _await(
        handled, f"Process {master['pid']} did not handle the signal within {_TIMEOUT_S:.0f} s: see its log."
    )
    outcome: Record = found["outcome"]
    return outcome


def _require_taken(outcome: Record) -> None:
    """End the command with the reason unless the service read the new settings."""
    if outcome["state"] == "refused":
        lines = "".join(f"\n  {error}" for error in outcome["errors"])
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


def _report(outcome: Record) -> None:
    if not outcome["changed"]:
        click.echo(
            f"Nothing has changed in {outcome['file']} that can change at run time (docs/how-to/change-settings.md)."
        )
    for variable, change in outcome["changed"].items():
        click.echo(f"{variable}: {change}")
    for variable in outcome["waiting"]:
        click.echo(f"{variable}: has changed and needs a restart; the old value stays")


def _wait_for_workers(folder: Path, master: int, number: int) -> int:
    """Wait until all workers use the settings of that number, and return the number of workers."""

    def up_to_date() -> list[Record] | None:
        workers = list(running(folder, f"{WORKER}{master}-"))
        return workers if workers and all(worker["number"] >= number for worker in workers) else None

    workers = _await(up_to_date, f"Not every worker uses the new settings after {_TIMEOUT_S:.0f} s: see the log.")
    if kept := [str(worker["pid"]) for worker in workers if not worker["is_taken"]]:
        raise click.ClickException(f"Workers kept the old settings, and the log says why: process {', '.join(kept)}")
    return len(workers)


def _await(find: Callable[[], Any], otherwise: str) -> Any:
    ends_s = time.monotonic() + _TIMEOUT_S
    while (found := find()) is None:
        if time.monotonic() > ends_s:
            raise click.ClickException(otherwise)
        time.sleep(_EVERY_S)
    return found
