"""``velro-auth bench``: measure how fast logins are for users."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import click
from rich.console import Console

from velro_auth.config.settings import Settings
from velro_auth.ops.bench import document as files
from velro_auth.ops.bench import report
from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.evaluation import Thresholds, changes, different_conditions, verdict_on
from velro_auth.ops.bench.progress import Progress
from velro_auth.ops.bench.run import BenchRun
from velro_auth.ops.bench.schedule import KINDS, RATE_LIMIT_REASON, BenchPlan, Kind
from velro_auth.ops.bench.target import Target, is_this_machine
from velro_auth.ops.cli.click_helpers import console as make_console
from velro_auth.ops.cli.click_helpers import (
    json_option,
    option,
    password_option,
    password_or_prompt,
    print_json,
    url_option,
)
from velro_auth.ops.cli.dev import DEMO_EMAIL, DEMO_PASSWORD
from velro_auth.ops.verdict import Verdict, worst


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers separated by commas, each between *low* and *high*; *count* of them, or any number if it is 0."""

    def __init__(self, name: str, *, low: float, high: float, count: int = 0) -> None:
        self.name = name
        self._low, self._high, self._count = low, high, count

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Read ``1,5,10``."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers: write 1,5,10", param, ctx)
        if not all(self._low <= number <= self._high for number in numbers):
            self.fail(f"each number must be between {self._low:g} and {self._high:g}", param, ctx)
        if self._count and len(numbers) != self._count:
            self.fail(f"{self._count} numbers are needed", param, ctx)
        return numbers


_LEVELS: Final = _Numbers("N,N,…", low=0.01, high=1000)
_MIX: Final = _Numbers("G,W,U", low=0, high=1000, count=len(KINDS))
_EXISTING: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER: Final = click.Path(exists=True, file_okay=False, writable=True, path_type=Path)


@click.command()
@url_option
@option("--rps", type=_LEVELS, default="1,5,10", help="Requests a second, level by level.")
@option("--duration", type=click.FloatRange(0.5, 600), default=30, help="Seconds for each level.")
@option(
    "--email",
    "emails",
    multiple=True,
    envvar="AUTH_BENCH_EMAIL",
    help="An account that can log in; may be given several times. Default: the demo account of 'velro-auth dev'.",
)
@password_option
@option(
    "--mix", type=_MIX, default="8,1,1", help="Good logins, wrong passwords and unknown users, relative to each other."
)
@option("--seed", type=click.IntRange(0), default=1, help="Seed of the random schedule.")
@option("--connections", type=click.IntRange(1, 256), default=64, help="Most requests in flight.")
@option("--timeout", type=click.FloatRange(0.1, 60), default=10, help="Seconds for one answer.")
@click.option(
    "--gently/--force",
    default=None,
    help="Stay below Supabase's rate limit, or do not. Default: gently unless the service, and SUPABASE_URL where it"
    " is set, are on this machine.",
)
@option("--p95-warning", type=float, envvar="AUTH_P95_WARNING", default=500, help="Milliseconds.")
@option("--p95-critical", type=float, envvar="AUTH_P95_CRITICAL", default=1000, help="Milliseconds.")
@option("--success-rate-min", type=float, envvar="AUTH_SUCCESS_RATE_MIN", default=99, help="Percent of good logins.")
@click.option("--compare", type=_EXISTING, help="An earlier file, to compare with.")
@option("--margin", type=click.FloatRange(0), default=20, help="Percent of time that is no regression.")
@click.option("--html", is_flag=True, help="Write a report with plots, too.")
@option("--output-dir", type=_FOLDER, default=Path(), help="Where the files go.")
@json_option
def bench(**options: Any) -> None:
    """Measure logins with an open loop, and evaluate whether they are fast enough."""
    console = make_console(stderr=options["as_json"], wide=True)
    before = files.read(options["compare"]) if options["compare"] else None
    after, verdict = _measure(options, console)
    if before is not None:
        verdict = worst([verdict, _compare(before, after, options["margin"], console)])
    console.print(f"\nVerdict: {verdict.grade.name.lower()}")
    if options["as_json"]:
        print_json(after)
    sys.exit(int(verdict.grade))


def _measure(options: Mapping[str, Any], console: Console) -> tuple[Document, Verdict]:
    url, (emails, password) = options["url"], _account(options)
    is_local = is_this_machine(url)
    plan = _plan(options, is_local=is_local)
    thresholds = Thresholds(
        p95_warning_ms=options["p95_warning"],
        p95_critical_ms=options["p95_critical"],
        success_rate_min_percent=options["success_rate_min"],
    )
    if plan.gently:
        console.print(f"Going gently: {RATE_LIMIT_REASON}. --force overrides.", soft_wrap=True)
    started = dt.datetime.now().astimezone()
    target = Target(
        url,
        emails=emails,
        password=password,
        timeout_s=plan.timeout_s,
        connections=plan.connections,
        spreads_addresses=is_local,
    )
    with contextlib.closing(target), contextlib.closing(Progress(console)) as progress:
        build = target.check()
        levels = BenchRun(plan=plan, target=target, thresholds=thresholds, progress=progress)()
    verdict = worst(level.verdict for level in levels)
    about = {"url": url, "is_this_machine": is_local, "version": build.get("version"), "commit": build.get("commit")}
    settings = {**dataclasses.asdict(plan), "accounts": len(emails), **dataclasses.asdict(thresholds)}
    contents = files.document(levels, started=started, target=about, settings=settings, verdict=verdict)
    _write(contents, options, started, console)
    return contents, verdict


def _account(options: Mapping[str, Any]) -> tuple[Sequence[str], str]:
    emails: Sequence[str] = options["emails"]
    password: str | None = options["password"]
    if emails:
        return emails, password_or_prompt(password)
    if not is_this_machine(options["url"]):
        raise click.UsageError("Name an account of that service: --email, and AUTH_BENCH_PASSWORD.")
    return (DEMO_EMAIL,), password or DEMO_PASSWORD


def _plan(options: Mapping[str, Any], *, is_local: bool) -> BenchPlan:
    weights: Sequence[float] = options["mix"]
    if not weights[0]:
        raise click.UsageError("--mix without good logins: there would be nothing to evaluate.")
    project = Settings.from_environment().supabase_url
    gently = options["gently"]
    return BenchPlan(
        levels_rps=options["rps"],
        duration_s=options["duration"],
        mix=cast("Mapping[Kind, float]", dict(zip(KINDS, weights, strict=True))),
        seed=options["seed"],
        connections=options["connections"],
        timeout_s=options["timeout"],
        # A service on this machine may use a real Supabase project.
        gently=not (is_local and (not project or is_this_machine(project))) if gently is None else gently,
    )


def _write(contents: Document, options: Mapping[str, Any], started: dt.datetime, console: Console) -> None:
    path = files.write(contents, options["output_dir"], started)
    console.print(f"\nWrote {path}", soft_wrap=True)
    if options["html"]:
        page = path.with_suffix(".html")
        page.write_text(report.html(contents), "utf-8")
        console.print(f"Wrote {page}", soft_wrap=True)


def _compare(before: Document, after: Document, margin_percent: float, console: Console) -> Verdict:
    console.print(f"\nSince {before['started_at']}:")
    for difference in different_conditions(before, after):
        console.print(f"  not alike: {difference}", soft_wrap=True)
    found = changes(before, after, margin_percent=margin_percent)
    for change in found:
        console.print(f"  {change}", soft_wrap=True, markup=False)
    if not found:
        console.print("  The two runs have no level in common.")
    return verdict_on(found)
