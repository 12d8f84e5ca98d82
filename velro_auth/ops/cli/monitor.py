"""``velro-auth monitor``: watch a deployment from outside."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from rich.console import Console

from velro_auth.config.settings import Settings
from velro_auth.ops.bench.target import is_this_machine
from velro_auth.ops.bench.verdict import Grade
from velro_auth.ops.cli.parameter_types import Span, address, password_of_email
from velro_auth.ops.cli.processes import noting_signals
from velro_auth.ops.monitor import document, report
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.clock import DayClock
from velro_auth.ops.monitor.display import Display
from velro_auth.ops.monitor.event_log import CannotWatch, EventLog, latest, new_path
from velro_auth.ops.monitor.levels import Levels
from velro_auth.ops.monitor.poller import Poller
from velro_auth.ops.monitor.recorder import Recorder
from velro_auth.ops.monitor.run import MonitorPlan, Watch, rounds
from velro_auth.ops.monitor.wire import Wire
from velro_auth.telemetry.slo import SloTarget
from velro_auth.telemetry.webhook import Webhook

#: Exit status when nothing could be watched; 0, 1 and 2 are grades.
NOT_WATCHED: Final = 3

#: Supabase lets one login through every 2 s for each address, and others log in from there, too.
LOGIN_LEAST_S: Final = 4.0

#: So many looks make a window that alerts can be raised by, with some to spare.
_LOOKS: Final = 30
_WEBHOOK_PATIENCE_S: Final = 10.0
#: Columns of a line that goes into a file or a log.
_LOG_WIDTH: Final = 120
_SETTINGS: Final = ("AUTH_P95_WARNING", "AUTH_P95_CRITICAL", "AUTH_SUCCESS_RATE_MIN", "AUTH_SLO_WINDOW_S")


@click.group(invoke_without_command=True)
@click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, callback=address, help="Address of the service."
)
@click.option(
    "--interval", type=click.FloatRange(0.1, 300), default=5, show_default=True, help="Seconds between two looks."
)
@click.option("--duration", type=Span(), help="How long: 90, 30m, 24h, 7d. Default: until Ctrl-C or SIGTERM.")
@click.option("--timeout", type=click.FloatRange(0.1, 60), default=5, show_default=True, help="Seconds for one answer.")
@click.option(
    "--email", envvar="AUTH_BENCH_EMAIL", show_envvar=True, help="An account to log in with. Default: no logins."
)
@click.option(
    "--password",
    envvar="AUTH_BENCH_PASSWORD",
    show_envvar=True,
    help="Its password. Better in the variable: every user of a machine sees its command lines.",
)
@click.option(
    "--login-every",
    type=click.FloatRange(0.1, 3600),
    default=10,
    show_default=True,
    help="Seconds between two logins, if --interval is not more. At least 4 unless the service is on this machine.",
)
@click.option(
    "--raise-after", type=click.FloatRange(0, 3600), default=10, show_default=True,
    help="Seconds that trouble lasts before it is announced.",
)  # fmt: skip
@click.option(
    "--clear-after", type=click.FloatRange(0, 3600), default=30, show_default=True,
    help="Seconds that it has to be over before the all clear.",
)  # fmt: skip
@click.option(
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("logs"),
    show_default=True,
    help="Where the files go; made if need be.",
)
@click.option(
    "--resume", metavar="FILE|latest", help="Go on with an earlier file; 'latest' begins one if there is none."
)
@click.pass_context
def monitor(ctx: click.Context, /, **options: Any) -> None:
    """Watch a deployment from outside, and report what was seen.

    Exit status: 0 good; 1 a warning was seen; 2 something critical was; 3 nothing could be watched.
    """
    if ctx.invoked_subcommand is not None:
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    ledger = Aggregate()
    with _exiting():
        path, unreadable = _watch(options, ledger, console)
        _finish(ledger, path, unreadable, console)


@monitor.command(name="report")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def make_report(file: Path) -> None:
    """Make the report of FILE (observe_<timestamp>.jsonl) anew, from the file alone."""
    with _exiting():
        ledger = Aggregate()
        unreadable = document.fill(ledger, file)
        if not ledger.runs:
            raise CannotWatch(f"{file} is no observation file: it holds no run")
        _finish(ledger, file, unreadable, Console(highlight=False))


@contextlib.contextmanager
def _exiting() -> Iterator[None]:
    try:
        yield
    except CannotWatch as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(NOT_WATCHED)


def _watch(options: Mapping[str, Any], ledger: Aggregate, console: Console) -> tuple[Path, int]:
    """Watch, and return the file and how many of its lines could not be read."""
    settings = _settings()
    plan, password = _plan(options, settings), _password(options)
    clock, path = DayClock(), _path(options)
    display = Display(console, ledger=ledger, title=plan.url)
    journal = EventLog(path, say=lambda text: display.say(clock(), text))
    book, webhook = Recorder(journal, ledger, display, clock), _webhook(settings, plan.url)
    levels = Levels(
        plan.targets,
        promise=plan.promise,
        window_s=plan.window_s,
        outputs=[book.announced, *([lambda _, told: webhook(told)] if webhook else [])],
        raise_after_s=plan.raise_after_s,
        clear_after_s=plan.clear_after_s,
    )
    ask = Wire(plan.url, timeout_s=plan.timeout_s)
    patrol = Poller(rounds(plan, ask, email=options["email"] or "", password=password, clock=clock), clock=clock)
    with contextlib.closing(journal), noting_signals() as stopped:
        journal.open()
        unreadable = _take_up(path, plan, ledger, levels) if options["resume"] and path.exists() else 0
        display.say(clock(), f"Watching {plan.url}, every {plan.interval_s:g} s, into {path}")
        with contextlib.closing(display):
            display.start(clock())
            Watch(plan, patrol=patrol, book=book, levels=levels, clock=clock).run(lambda: stopped.is_made)
        if webhook is not None:
            webhook.drain(_WEBHOOK_PATIENCE_S)
            webhook.stop()
    return path, unreadable


def _take_up(path: Path, plan: MonitorPlan, ledger: Aggregate, levels: Levels) -> int:
    """Go on where an earlier run stopped, windows and alerts included."""
    unreadable = document.fill(ledger, path, levels.note)
    # Without a run when the very first line was torn off.
    if ledger.runs and ledger.settings["url"] != plan.url:
        raise CannotWatch(f"{path} is about {ledger.settings['url']}, not {plan.url}")
    for name, level in ledger.alert_levels.items():
        levels.take_up(name, level)
    return unreadable


def _finish(ledger: Aggregate, path: Path, unreadable: int, console: Console) -> None:
    """Write the report, say how it was, and exit."""
    contents = document.document(ledger, unreadable_lines=unreadable)
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
    if not ledger.answers:
        raise CannotWatch(f"{ledger.settings['url']} never answered")
    sys.exit(int(Grade[verdict["grade"].upper()]))


def _summary(row: Mapping[str, Any]) -> str:
    rate, times = row["success_percent"], row["latency_ms"]
    success = "nothing to judge" if rate is None else f"{rate:.2f} % of {row['success'] + row['failure']}"
    return success + (f", p50 {times['p50']:.0f}, p95 {times['p95']:.0f}, p99 {times['p99']:.0f} ms" if times else "")


def _settings() -> Settings:
    settings = Settings.from_environment()
    for mistake in settings.mistakes:
        if mistake.variable in _SETTINGS:
            raise click.UsageError(str(mistake))
    return settings


def _plan(options: Mapping[str, Any], settings: Settings) -> MonitorPlan:
    interval_s: float = options["interval"]
    login_every_s = max(interval_s, options["login_every"]) if options["email"] else None
    if login_every_s is not None and login_every_s < LOGIN_LEAST_S and not is_this_machine(options["url"]):
        raise click.UsageError(
            f"--login-every: at least {LOGIN_LEAST_S:g}. Supabase lets one login through every 2 s for each address,"
            " and the people who log in meanwhile need theirs."
        )
    return MonitorPlan(
        url=options["url"],
        interval_s=interval_s,
        timeout_s=options["timeout"],
        login_every_s=login_every_s,
        duration_s=options["duration"],
        window_s=max(settings.auth_slo_window_s, _LOOKS * max(interval_s, login_every_s or 0.0)),
        promise=SloTarget(
            p95_warning_ms=settings.auth_p95_warning,
            p95_critical_ms=settings.auth_p95_critical,
            success_rate_min=settings.auth_success_rate_min,
        ),
        raise_after_s=options["raise_after"],
        clear_after_s=options["clear_after"],
    )


def _password(options: Mapping[str, Any]) -> str:
    return password_of_email(options["password"]) if options["email"] else ""


def _path(options: Mapping[str, Any]) -> Path:
    resume, folder = options["resume"], options["output_dir"]
    if resume and resume != "latest":
        path = Path(resume)
        if not path.is_file():
            raise CannotWatch(f"{path} is not there to be resumed")
        return path
    earlier = latest(folder) if resume else None
    return earlier or new_path(folder, dt.datetime.now().astimezone())


def _webhook(settings: Settings, url: str) -> Webhook | None:
    if not settings.alert_webhook_url:
        return None
    source = f"velro-auth monitor of {urlsplit(url).netloc}"
    return Webhook(settings.alert_webhook_url, secret=settings.alert_webhook_secret, source=source)
