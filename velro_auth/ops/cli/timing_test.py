"""``velro-auth prove``: claims that anybody can check against a running gateway."""

from __future__ import annotations

import sys

import click
import requests

from velro_auth.config.settings import Settings
from velro_auth.ops.cli.parameter_types import address
from velro_auth.ops.cli.sampling import KINDS, Accounts, Sample, Target, gather, samples_of
from velro_auth.ops.cli.timing_comparison import TimingComparison, likeness

PAIRS = (("unknown", "wrong"), ("unknown", "banned"), ("wrong", "banned"))


@click.group()
def prove() -> None:
    """Check a claim of the service, and show the numbers."""


@prove.command()
@click.option("--samples", default=1000, show_default=True, help="Logins of each kind.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, callback=address, help="The gateway.")
@click.option("--direct", is_flag=True, help="Ask Supabase itself (SUPABASE_URL): it does tell accounts apart.")
@click.option("--existing", default="demo@example.com", show_default=True, help="An account that exists.")
@click.option("--banned", default="banned@example.com", show_default=True, help="An account that is banned.")
@click.option("--parallel", default=4, show_default=True, help="Logins at once.")
def enumeration(*, samples: int, url: str, direct: bool, existing: str, banned: str, parallel: int) -> None:
    """Try to tell unknown accounts, wrong passwords and banned accounts apart.

    Refused logins of the three kinds are mixed at random, and their status, headers, body and time compared.
    Exit status 0: alike. 1: told apart. 2: not measured.

    The limits of the service would stop this after a few tries. Open them for the gateway under test, and only
    there: AUTH_THROTTLE_SCALE=100000, and AUTH_UPSTREAM_QUOTA=off if its Supabase takes that many calls.

    Two fair dice differ by more than a margin now and then: one gateway in eight is accused wrongly by 1,000
    samples. Told apart twice in a row means told apart.
    """
    target = _target(url, direct=direct)
    accounts = Accounts(existing=existing, banned=banned)
    try:
        found = gather(target, accounts, rounds=samples, parallel=parallel)
    except requests.RequestException as error:
        print(f"{target.url} cannot be asked: {type(error).__name__}", file=sys.stderr)
        sys.exit(2)
    unexpected = [sample.status for sample in found if sample.status != target.refusal]
    if unexpected:
        print(_not_measured(unexpected, target), file=sys.stderr)
        sys.exit(2)
    sys.exit(int(_report(found)))


def _target(url: str, *, direct: bool) -> Target:
    if not direct:
        return Target(url=url.rstrip("/") + "/api/v1/auth/login", headers={}, refusal=401)
    settings = Settings.from_environment()
    if not settings.supabase_url:
        raise click.UsageError("--direct needs SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY.")
    return Target(
        url=settings.supabase_url.rstrip("/") + "/auth/v1/token?grant_type=password",
        headers={"apikey": settings.supabase_publishable_key, "X-Supabase-Api-Version": "2024-01-01"},
        refusal=400,
    )


def _not_measured(statuses: list[int], target: Target) -> str:
    counts = ", ".join(f"{statuses.count(status)} times {status}" for status in sorted(set(statuses)))
    hint = " Open the throttle of the gateway under test: see --help." if 429 in statuses else ""  # noqa: PLR2004
    return f"Not measured: not all logins were refused with {target.refusal} ({counts}).{hint}"


def _report(found: list[Sample]) -> bool:
    """Print what was found; return whether anything tells the kinds apart."""
    told = [_report_equality(found, what) for what in ("status", "headers", "body")]
    print(f"\n{'':<20} {'AUC':>7} {'may differ':>12} {'KS':>7} {'at most':>9}")
    for first, second in PAIRS:
        alike = likeness(samples_of(found, first), samples_of(found, second))
        print(_row(first, second, alike))
        told.append(alike.is_told_apart)
    print(f"\n{'Told apart.' if any(told) else 'Nobody can tell them apart by this.'}")
    return any(told)


def _report_equality(found: list[Sample], what: str) -> bool:
    """Print whether all samples agree in *what*; return whether they differ."""
    seen = {kind: {getattr(sample, what) for sample in found if sample.kind == kind} for kind in KINDS}
    differs = len({frozenset(values) for values in seen.values()}) > 1
    print(f"{what:<20} {'DIFFERS' if differs else 'equal'}")
    for kind, values in seen.items() if differs else ():
        print(f"  {kind:<18} {' | '.join(sorted(map(str, values)))[:300]}")
    return differs


def _row(first: str, second: str, alike: TimingComparison) -> str:
    verdict = "TOLD APART" if alike.is_told_apart else "alike"
    margin = f"0.5 ± {alike.auc_margin:.3f}"
    return (
        f"{first + ' / ' + second:<20} {alike.auc:>7.3f} {margin:>12} {alike.distance:>7.3f}"
        f" {alike.most_distance:>9.3f}  {verdict}"
    )
