"""``velro-auth monitor``: monitor a deployment from outside."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from rich.console import Console

from velro_auth.config.settings import Settings
from velro_auth.ops.bench.target import is_this_machine
from velro_auth.ops.cli.click_helpers import (
    Duration,
    json_option,
    option,
    password_option,
    password_or_prompt,
    print_json,
    url_option,
)
from velro_auth.ops.cli.click_helpers import console as make_console
from velro_auth.ops.cli.processes import deferred_signals
from velro_auth.ops.monitor import document, report
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.display import Display
from velro_auth.ops.monitor.levels import Levels
from velro_auth.ops.monitor.observation_file import ObservationFile, latest, new_path
from velro_auth.ops.monitor.poller import Poller, SteadyClock
from velro_auth.ops.monitor.probes import Client
from velro_auth.ops.monitor.run import MonitorPlan, MonitorRun, Recorder, polls_of
from velro_auth.ops.verdict import Grade, NotMeasured
from velro_auth.telemetry.slo import SloTarget
from velro_auth.telemetry.webhook import Webhook

#: Supabase accepts one login every 2 s for each address; half of them are left to other users of the address.
MIN_LOGIN_INTERVAL_S: Final = 4.0

#: The rolling window contains at least this many requests, more than an alert needs.
_MIN_REQUESTS_IN_WINDOW: Final = 30
_WEBHOOK_TIMEOUT_S: Final = 10.0
_SETTINGS: Final = ("AUTH_P95_WARNING", "AUTH_P95_CRITICAL", "AUTH_SUCCESS_RATE_MIN", "AUTH_SLO_WINDOW_S")

_SECONDS: Final = click.FloatRange(0, 3600)
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@url_option
@option("--interval", type=click.FloatRange(0.1, 300), default=5, help="Seconds between two requests to a target.")
@click.option("--duration", type=Duration(), help="How long: 90, 30m, 24h, 7d. Default: until Ctrl-C or SIGTERM.")
@option("--timeout", type=click.FloatRange(0.1, 60), default=5, help="Seconds for one answer.")
@option("--email", envvar="AUTH_BENCH_EMAIL", help="An account to log in with. Default: no logins.")
@password_option
@option(
    "--login-every",
    type=click.FloatRange(0.1, 3600),
    default=10,
    help="Seconds between two logins, if --interval is not more. At least 4 unless the service is on this machine.",
)
@option("--raise-after", type=_SECONDS, default=10, help="Seconds that a problem lasts before it is announced.")
@option("--clear-after", type=_SECONDS, default=30, help="Seconds that it has to be over before the all clear.")
@option("--output-dir", type=_FOLDER, default=Path("logs"), help="Where the files go; created if necessary.")
@click.option(
    "--resume", metavar="FILE|latest", help="Continue an earlier file; 'latest' starts a new one if there is none."
)
@json_option
@click.pass_context
def monitor(ctx: click.Context, /, **options: Any) -> None:
    """Monitor a deployment from outside, and write a report."""
    if ctx.invoked_subcommand is not None:
        return
    as_json: bool = options["as_json"]
    console = make_console(stderr=as_json, wide=True)
    aggregate = Aggregate()
    path, unreadable = _run(options, aggregate, console)
    _finish(aggregate, path, unreadable, console, as_json=as_json)


@monitor.command(name="report")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def make_report(file: Path, *, as_json: bool) -> None:
    """Make the report of FILE (observe_<timestamp>.jsonl) again, from the file alone."""
    aggregate = Aggregate()
    unreadable = document.load(aggregate, file)
    if not aggregate.runs:
        raise NotMeasured(f"{file} is no observation file: it holds no run")
    _finish(aggregate, file, unreadable, make_console(stderr=as_json), as_json=as_json)


def _run(options: Mapping[str, Any], aggregate: Aggregate, console: Console) -> tuple[Path, int]:
    """Monitor; return the path of the file and the number of its unreadable lines."""
    settings = _settings()
    plan, password = _plan(options, settings), password_or_prompt(options["password"]) if options["email"] else ""
    clock, path = SteadyClock(), _path(options)
    display = Display(console, aggregate=aggregate, title=plan.url)
    observation_file = ObservationFile(path, warn=lambda text: display.print_line(clock(), text))
    recorder, webhook = Recorder(observation_file, aggregate, display, clock), _webhook(settings, plan.url)
    levels = Levels(
        plan.targets,
        slo_target=plan.slo_target,
        window_s=plan.window_s,
        outputs=[recorder.record_alert, *([lambda _, announcement: webhook(announcement)] if webhook else [])],
        raise_after_s=plan.raise_after_s,
        clear_after_s=plan.clear_after_s,
    )
    client = Client(plan.url, timeout_s=plan.timeout_s)
    poller = Poller(polls_of(plan, client, email=options["email"] or "", password=password, clock=clock), clock=clock)
    with contextlib.closing(observation_file), deferred_signals() as stop_request:
        observation_file.open()
        unreadable = _resume(path, plan, aggregate, levels) if options["resume"] and path.exists() else 0
        display.print_line(clock(), f"Watching {plan.url}, every {plan.interval_s:g} s, into {path}")
        with contextlib.closing(display):
            display.start(clock())
            run = MonitorRun(plan, poller=poller, recorder=recorder, levels=levels, clock=clock)
            run.run(lambda: stop_request.is_made)
        if webhook is not None:
            webhook.drain(_WEBHOOK_TIMEOUT_S)
            webhook.stop()
    return path, unreadable


def _resume(path: Path, plan: MonitorPlan, aggregate: Aggregate, levels: Levels) -> int:
    """Restore windows and alerts from an earlier run; return the number of unreadable lines."""
    unreadable = document.load(aggregate, path, levels.add)
    # A file has no run when its first line was cut off.
    if aggregate.runs and aggregate.settings["url"] != plan.url:
        raise NotMeasured(f"{path} is about {aggregate.settings['url']}, not {plan.url}")
    for name, level in aggregate.alert_levels.items():
        levels.restore(name, level)
    return unreadable


def _finish(aggregate: Aggregate, path: Path, unreadable: int, console: Console, *, as_json: bool) -> None:
    """Write the report, print a summary, and exit."""
    contents = document.document(aggregate, unreadable_lines=unreadable)
    files = {".json": json.dumps(contents, indent=1) + "\n", ".html": report.html(contents)}
    for suffix, text in files.items():
        try:
            path.with_suffix(suffix).write_text(text, "utf-8")
        except OSError as error:
            console.print(f"{path.with_suffix(suffix)} cannot be written: {error.strerror}", soft_wrap=True)
        else:
            console.print(f"Wrote {path.with_suffix(suffix)}", soft_wrap=True)
    for name, row in contents["targets"].items():
        console.print(f"  {name}: {_summary(row)}", soft_wrap=True)
    verdict = contents["verdict"]
    for reason in verdict["reasons"]:
        console.print(f"  {reason}", soft_wrap=True, markup=False)
    console.print(f"Verdict: {verdict['grade']}")
    if as_json:
        print_json(contents)
    if not aggregate.answers:
        raise NotMeasured(f"{aggregate.settings['url']} never answered")
    sys.exit(int(Grade[verdict["grade"].upper()]))


def _summary(row: Mapping[str, Any]) -> str:
    rate, times = row["success_percent"], row["latency_ms"]
    success = "no success or failure" if rate is None else f"{rate:.2f} % of {row['success'] + row['failure']}"
    return success + (f", p50 {times['p50']:.0f}, p95 {times['p95']:.0f}, p99 {times['p99']:.0f} ms" if times else "")


def _settings() -> Settings:
    settings = Settings.from_environment()
    for error in settings.errors:
        if error.variable in _SETTINGS:
            raise click.UsageError(str(error))
    return settings


def _plan(options: Mapping[str, Any], settings: Settings) -> MonitorPlan:
    interval_s: float = options["interval"]
    login_every_s = max(interval_s, options["login_every"]) if options["email"] else None
    if login_every_s is not None and login_every_s < MIN_LOGIN_INTERVAL_S and not is_this_machine(options["url"]):
        raise click.UsageError(
            f"--login-every: at least {MIN_LOGIN_INTERVAL_S:g}. Supabase accepts one login every 2 s for each address,"
            " and other users of the address need half of them."
        )
    return MonitorPlan(
        url=options["url"],
        interval_s=interval_s,
        timeout_s=options["timeout"],
        login_every_s=login_every_s,
        duration_s=options["duration"],
        window_s=max(settings.auth_slo_window_s, _MIN_REQUESTS_IN_WINDOW * max(interval_s, login_every_s or 0.0)),
        slo_target=SloTarget(
            p95_warning_ms=settings.auth_p95_warning,
            p95_critical_ms=settings.auth_p95_critical,
            success_rate_min=settings.auth_success_rate_min,
        ),
        raise_after_s=options["raise_after"],
        clear_after_s=options["clear_after"],
    )


def _path(options: Mapping[str, Any]) -> Path:
    resume, folder = options["resume"], options["output_dir"]
    if resume and resume != "latest":
        path = Path(resume)
        if not path.is_file():
            raise NotMeasured(f"{path} is not there to be resumed")
        return path
    earlier = latest(folder) if resume else None
    return earlier or new_path(folder, dt.datetime.now().astimezone())


def _webhook(settings: Settings, url: str) -> Webhook | None:
    if not settings.alert_webhook_url:
        return None
    source = f"velro-auth monitor of {urlsplit(url).netloc}"
    return Webhook(settings.alert_webhook_url, secret=settings.alert_webhook_secret, source=source)
