"""``python -m benchmarks``: measure everything, write the results and the page that shows them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import click

from benchmarks import page
from benchmarks.measures import account, cookies, far, life, login, models, probes, supabase_api, trouble
from benchmarks.results import Measure
from benchmarks.servers import ROOT, Cores, Fleet
from benchmarks.setting import FULL, QUICK, Setting

#: How long the reader of the servers' output may take after all of them have been stopped, in seconds.
_READ_LIMIT_S: Final = 5


def _logins(setting: Setting) -> Iterator[Measure]:
    found = login.throughput(setting)
    yield found
    most = {name: spread.median for name in found.titles if (spread := found.spread(name, "logins/s"))}
    yield from login.added_latency(setting, most)


#: Name → what it measures, in the order of the page.
MEASURES: Final[Mapping[str, Callable[[Setting], Iterator[Measure]]]] = {
    "logins": _logins,
    "account": account.added_latency,
    "supabase-api": supabase_api.measures,
    "probes": lambda setting: iter(probes.throughput(setting)),
    "verify": lambda setting: iter([cookies.throughput(setting)]),
    "start": lambda setting: iter([life.starts(setting)]),
    "idle": lambda setting: iter([far.after_idle(setting)]),
    "flat": lambda setting: iter([far.flatness(setting)]),
    "hung": lambda setting: iter([trouble.while_hung(setting)]),
    "models": lambda setting: iter([models.processes_and_threads(setting)]),
    "endurance": lambda setting: iter([life.endurance(setting)]),
}


@click.command()
@click.option("--quick", is_flag=True, help="About five minutes instead of about twenty-five; for a first look.")
@click.option("--only", type=click.Choice(list(MEASURES)), multiple=True, help="Only this; may be given several times.")
@click.option("--no-pin", is_flag=True, help="Leave it to the system which core does what.")
@click.option("--first-port", type=click.IntRange(1024, 60000), default=18600, show_default=True)
@click.option("--remark", default="", help="A sentence for the page: what else the machine was doing, for example.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the JSON goes.")
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Where the page goes, as Markdown.")
def main(**options: Any) -> None:
    """Measure this service beside others: everything on this machine, in one run, in turn."""
    started, started_s = dt.datetime.now(dt.UTC), time.monotonic()
    cores = None if options["no_pin"] else Cores.divided()
    with _setting(quick=options["quick"], cores=cores, first_port=options["first_port"]) as setting:
        found = [measure for name in options["only"] or MEASURES for measure in MEASURES[name](setting)]
    about = {
        "started_at": started.isoformat(timespec="seconds"),
        "took_s": round(time.monotonic() - started_s, 1),
        "mode": "quick" if options["quick"] else "full",
        "pinned": cores is not None,
        "remark": options["remark"],
    }
    results = page.results(found, about)
    path = options["output"] or ROOT / f"auth_benchmark_peers_{started:%Y%m%d_%H%M%S}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    text = page.markdown(results, found)
    if options["page"]:
        options["page"].write_text(text, "utf-8")
    click.echo(text)
    click.echo(f"Wrote {path}")


@contextlib.contextmanager
def _setting(*, quick: bool, cores: Cores | None, first_port: int) -> Iterator[Setting]:
    if cores:
        os.sched_setaffinity(0, cores.load)
    with tempfile.TemporaryDirectory(prefix="velro-benchmarks-") as folder:
        log_file = Path(folder) / "servers.log"
        try:
            with log_file.open("wb") as file, _read_by_another(file) as log:
                fleet = Fleet(first_port=first_port, cores=cores, log=log)
                yield Setting(
                    fleet, QUICK if quick else FULL, Path(folder), lambda text: click.echo(f"… {text}", err=True)
                )
        except (OSError, AssertionError):
            sys.stderr.write(log_file.read_text("utf-8", "replace")[-4000:])
            raise


@contextlib.contextmanager
def _read_by_another(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Return a pipe that another process reads into *file*: what a container writes is taken like that."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as reader:  # noqa: S607 - wherever it is
        assert reader.stdin is not None
        try:
            yield reader.stdin
        finally:
            reader.stdin.close()
            try:
                reader.wait(_READ_LIMIT_S)
            except subprocess.TimeoutExpired:
                # A server that outlived its end still holds the pipe.
                reader.kill()


if __name__ == "__main__":
    main()
