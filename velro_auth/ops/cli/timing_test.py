"""``velro-auth prove``: test a gateway for claims that anyone can check."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import requests

from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.cli.click_helpers import address, json_option, option, print_json, working
from velro_auth.ops.cli.dev import running_gateway
from velro_auth.ops.cli.local_project import LOOPBACK, CannotStart, LocalProject
from velro_auth.ops.cli.ports import free_port_beside
from velro_auth.ops.cli.serve import GUNICORN
from velro_auth.ops.enumeration import ROUTES, Sample, Target, gather, requests_of, upstream_requests
from velro_auth.ops.timing_comparison import compare

_TOO_MANY_REQUESTS: Final = 429

#: Status of a sign-up in a project that confirms by itself.
_TOLD: Final = frozenset({200, 409})

#: What an answer is compared by, beside its time.
_COMPARED: Final = ("status", "headers", "body")

_OPEN: Final = "Open the throttle of the gateway under test: see --help."

_FIRST_PORT: Final = 18400

#: Settings of the gateway that the command starts: no limit stops the measurement.
LIFTED: Final = {
    "AUTH_THROTTLE_SCALE": "1000000",
    "AUTH_MAIL_BUDGET_PER_HOUR": "1000000",
    "AUTH_UPSTREAM_QUOTA": "off",
    "AUTH_SESSION_CALLS_PER_S": "100000",
    # One network may use a part of the threads only.
    "GUNICORN_THREADS": "128",
}


@click.group()
def prove() -> None:
    """Check a claim of the service, and show the numbers."""


@prove.command()
@option("--route", type=click.Choice(list(ROUTES)), default="login", help="Which requests to compare.")
@option("--samples", default=1000, help="Requests of each kind.")
@click.option(
    "--url",
    callback=lambda context, option, value: value and address(context, option, value),
    help="Address of a running gateway. Default: a gateway of its own, in front of SUPABASE_URL or of the local"
    " Supabase of 'make run', with all limits lifted.",
)
@click.option("--direct", is_flag=True, help="Ask Supabase itself (SUPABASE_URL): it does tell accounts apart.")
@click.option("--supabase-api", is_flag=True, help="Ask /auth/v1 of the gateway, as Supabase's own clients do.")
@option("--existing", default="demo@example.com", help="An account that exists.")
@option("--banned", default="banned@example.com", help="An account that is banned.")
@click.option("--parallel", type=int, help="Requests at once. Default: 4, or 16 where each one waits.")
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path(".velro"), help="Of the local Supabase.")
@json_option
def enumeration(
    *,
    route: str,
    samples: int,
    url: str | None,
    direct: bool,
    supabase_api: bool,
    existing: str,
    banned: str,
    parallel: int | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Try to tell whether an address has an account.

    Requests for known and for unknown addresses are mixed at random, and their status, headers, body and time compared.
    For logins there are three kinds: unknown accounts, wrong passwords and banned accounts.

    Without --url the command starts a gateway of its own, whose limits do not stop the measurement. A gateway named
    with --url needs AUTH_THROTTLE_SCALE=1000000, AUTH_MAIL_BUDGET_PER_HOUR=1000000 and AUTH_UPSTREAM_QUOTA=off.

    By chance, a correct gateway is reported as told apart in one of eight tests with 1,000 samples. Told apart twice
    in a row means told apart.
    """
    if direct and supabase_api:
        raise click.UsageError("--direct asks Supabase, and --supabase-api the gateway: give one of them.")
    asked = ROUTES[route]
    at_once = parallel or (16 if asked.is_mailing and not direct else 4)
    environment = _environment(data_dir) if direct or url is None else {}
    try:
        with _target(route, url, environment, direct=direct, supabase_api=supabase_api) as target:
            known = target.prepare(existing)
            accounts = {"wrong": known, "known": known, "banned": banned}
            before = upstream_requests(target)
            with working("Comparing answers"):
                found = gather(target, accounts, rounds=samples, parallel=at_once)
            if reason := _not_measured([sample.status for sample in found], route, target):
                _give_up(reason)
            _require_upstream(target, before, requests_of(target, rounds=samples, parallel=at_once))
    except requests.RequestException as error:
        _give_up(f"The target cannot be asked: {type(error).__name__}")
    document = _document(found, asked.kinds)
    if as_json:
        print_json(document)
    else:
        _print(document, found, asked.kinds)
    sys.exit(int(document["told_apart"]))


def _environment(data_dir: Path) -> Mapping[str, str]:
    """Return the variables that name the project: those of this process, else those of the local Supabase."""
    if Settings.from_environment().supabase_url:
        return {}
    with contextlib.suppress(CannotStart):
        return LocalProject.running(data_dir).variables()
    raise click.UsageError(
        "There is no Supabase to ask: set SUPABASE_URL and its keys, start 'make run' in another terminal, or name a"
        " running gateway with --url."
    )


@contextlib.contextmanager
def _target(
    route: str, url: str | None, environment: Mapping[str, str], *, direct: bool, supabase_api: bool
) -> Iterator[Target]:
    settings = Settings.from_environment(inherited(**environment))
    asked = ROUTES[route]
    headers = {"apikey": next(iter(settings.client_keys), ""), "X-Supabase-Api-Version": "2024-01-01"}
    if direct:
        yield Target(f"{settings.supabase_url.rstrip('/')}/auth/v1", asked, is_direct=True, headers=headers)
        return
    token = secrets.token_urlsafe(16)
    variables = {**environment, **LIFTED, "METRICS_TOKEN": token, "AUTH_SUPABASE_API": "on" if supabase_api else "off"}
    with contextlib.nullcontext(url) if url else _own_gateway(inherited(**variables)) as gateway:
        token = settings.metrics_token if url else token
        if supabase_api:
            yield Target(f"{gateway}/auth/v1", asked, is_supabase_api=True, headers=headers, metrics_token=token)
        else:
            yield Target(f"{gateway}/api/v1/auth", asked, metrics_token=token)


@contextlib.contextmanager
def _own_gateway(variables: Mapping[str, str]) -> Iterator[str]:
    """Run a gateway with those *variables* on a free port of this machine."""
    port = free_port_beside(_FIRST_PORT)
    click.echo(f"Starting a gateway on port {port}, with all limits lifted …", err=True)
    env = {"LOG_LEVEL": "error", **variables, "AUTH_ENV_FILE": ""}
    with running_gateway(GUNICORN, port, env, stdout=subprocess.DEVNULL):
        yield f"http://{LOOPBACK}:{port}"


def _require_upstream(target: Target, before: int | None, sent: int) -> None:
    """End the command unless every request reached Supabase: what a limit stops proves nothing."""
    after = upstream_requests(target)
    if target.is_direct:
        return
    if before is None or after is None:
        click.echo(
            "Whether every request reached Supabase is not known: the metrics are closed. Set METRICS_TOKEN.", err=True
        )
    elif after - before < sent:
        _give_up(f"Not measured: {sent} requests were sent, and {after - before} reached Supabase. {_OPEN}")


def _give_up(reason: str) -> NoReturn:
    print(reason, file=sys.stderr)
    sys.exit(2)


def _not_measured(statuses: Sequence[int], route: str, target: Target) -> str:
    """Return why the samples prove nothing; empty if they do. Supabase itself may answer each kind as it likes."""
    if target.is_direct and route != "login":
        return ""
    expected = target.face.status
    if all(status == expected for status in statuses):
        return ""
    counts = ", ".join(f"{statuses.count(status)} times {status}" for status in sorted(set(statuses)))
    hint = f" {_OPEN}" if _TOO_MANY_REQUESTS in statuses else ""
    if route == "signup" and _TOLD & set(statuses):
        hint = " This project confirms addresses by itself, so a sign-up has to tell who has an account."
    return f"Not measured: not all requests were answered with {expected} ({counts}).{hint}"


def _document(found: Sequence[Sample], kinds: Sequence[str]) -> dict[str, Any]:
    """Return the differences between the kinds."""
    differing = [what for what in _COMPARED if len(set(map(frozenset, _values(found, kinds, what).values()))) > 1]
    times = {kind: [sample.took_s for sample in found if sample.kind == kind] for kind in kinds}
    pairs = []
    for first, second in combinations(kinds, 2):
        comparison = compare(times[first], times[second])
        pairs.append({"pair": [first, second], **asdict(comparison), "told_apart": comparison.is_told_apart})
    told_apart = bool(differing) or any(pair["told_apart"] for pair in pairs)
    return {"samples": len(found), "differing": differing, "times": pairs, "told_apart": told_apart}


def _values(found: Sequence[Sample], kinds: Sequence[str], what: str) -> dict[str, set[Any]]:
    return {kind: {getattr(sample, what) for sample in found if sample.kind == kind} for kind in kinds}


def _print(document: Mapping[str, Any], found: Sequence[Sample], kinds: Sequence[str]) -> None:
    for what in _COMPARED:
        differs = what in document["differing"]
        print(f"{what:<20} {'DIFFERS' if differs else 'equal'}")
        values_of = _values(found, kinds, what)
        common = set[Any].intersection(*values_of.values())
        for kind, values in values_of.items() if differs else ():
            print(f"  {kind:<18} {' | '.join(_only(values - common, set().union(*values_of.values())))[:300]}")
    print(f"\n{'':<20} {'AUC':>7} {'may differ':>12} {'KS':>7} {'at most':>9}")
    for row in document["times"]:
        pair, margin = " / ".join(row["pair"]), f"0.5 ± {row['auc_margin']:.3f}"
        print(
            f"{pair:<20} {row['auc']:>7.3f} {margin:>12} {row['distance']:>7.3f} {row['most_distance']:>9.3f}"
            f"  {'TOLD APART' if row['told_apart'] else 'alike'}"
        )
    print(f"\n{'Told apart.' if document['told_apart'] else 'Not told apart.'}")


def _only(values: set[Any], of_all: set[Any]) -> list[str]:
    """Return values as texts; of headers only those that not all answers have."""
    if not all(isinstance(value, tuple) for value in values):
        return sorted(map(str, values))
    common = set[Any].intersection(*map(set, of_all))
    return sorted(str(sorted(set(value) - common)) for value in values)
