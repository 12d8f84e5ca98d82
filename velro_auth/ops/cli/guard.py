"""``velro-auth guard``: show and release what the guards block, compute what they allow, report what they would do."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

import click
import requests

from velro_auth.config.settings import Settings
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import MemoryBudgets
from velro_auth.guards.keys import UNKNOWN_NETWORK, Keyring, network_of, throttle_secret
from velro_auth.guards.limits import Limits
from velro_auth.ops.attack import budget, exact_budgets, length_of
from velro_auth.ops.cli.click_helpers import address_or_none, json_option, option, print_found, print_json, working
from velro_auth.ops.cli.serve import settings_here
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import FAILURES, StoreBackoff, connect
from velro_auth.stores.report import RedisReport, Row
from velro_auth.wiring.rate_limits import budget_limits

#: Longer than in the service: an operator can wait for the answer.
OPERATOR_TIMEOUT_S: Final = 5.0

NO_STORE: Final = (
    "REDIS_URL is not set, so each process counts in its own memory, which no other process can reach.\n"
    "Restart the service to forget all counters, or set REDIS_URL to share them."
)

#: A counter of the report in the text of the metrics.
_REPORTED: Final = re.compile(r'^velro_auth_report_(refusals|good)_total\{limit="(\w+)"\} (\S+)$', re.MULTILINE)

_who = click.argument("who", metavar="ACCOUNT|NETWORK")


@click.group()
def guard() -> None:
    """Show and release what the guards block, compute what they allow, and report what they would refuse."""


@guard.command()
@_who
@json_option
def show(who: str, *, as_json: bool) -> None:
    """Print the counters of an account (a mail address or phone number), or of an IP address and its networks."""
    with _store() as store:
        names = _names(who, store.keyring)
        standings, budgets = store.counters.show(*names), store.budgets.show(*names)
    if as_json:
        print_json(
            {
                "failures": [
                    {"scope": one.scope, "in_a_row": one.streak, "wait_s": one.wait_s, "key": one.key}
                    for one in standings
                ],
                "budgets": [
                    {
                        "budget": one.kind,
                        "wait_s": one.wait_s,
                        "key": one.key,
                        "windows": [
                            {"used": used, "of": window.count, "window_s": window.window_s}
                            for used, window in zip(one.used, one.windows, strict=True)
                        ],
                    }
                    for one in budgets
                ],
            }
        )
        return
    for standing in standings:
        wait = f"wait {standing.wait_s:.0f} s" if standing.wait_s else "free to try"
        print(f"{standing.scope:<10} {standing.streak:>4} failures in a row   {wait:<16} {standing.key}")
    for status in budgets:
        wait = f"wait {status.wait_s:.0f} s" if status.wait_s else "free to try"
        windows = zip(status.used, status.windows, strict=True)
        used = ", ".join(f"{count} of {window.count} in {length_of(window.window_s)}" for count, window in windows)
        print(f"{status.kind:<24} {used:<30} {wait:<16} {status.key}")
    if not standings and not budgets:
        print("No failure is remembered.")


@guard.command()
@_who
def release(who: str) -> None:
    """Forget what was counted for an account, or for an IP address and its networks. Known networks stay known."""
    with _store() as store:
        names = _names(who, store.keyring)
        forgotten = store.counters.release(*names) + store.budgets.release(*names)
    print(f"{forgotten} counters forgotten.")


@guard.command(name="budget")
@option("--clients", default=500, help="Attackers at once, each in a network of its own.")
@click.option("--replicas", type=int, help="Instances of the service; the setting AUTH_REPLICAS, or 1, if not given.")
@json_option
def print_budget(clients: int, replicas: int | None, *, as_json: bool) -> None:
    """Print what the present settings leave to an attacker who tries whenever a try is allowed."""
    settings = settings_here()
    processes = settings.web_concurrency * max(1, replicas or settings.auth_replicas)
    with working("Simulating an attack"):
        passwords = budget(_limits(settings), clients=clients, processes=processes)
    found = {"passwords": passwords, **exact_budgets(budget_limits(settings))}
    lines = (
        line for title, rows in found.items() for line in (title, *(f"{n:>8,}  {what}" for what, n in rows.items()))
    )
    print_found(found, lines, as_json=as_json)


@guard.command()
@click.option("--url", default="", callback=address_or_none, help="A running service, to be asked for its metrics.")
@click.option("--forget", is_flag=True, help="Begin a new report; only with REDIS_URL.")
@json_option
def report(url: str, *, forget: bool, as_json: bool) -> None:
    """Print what the guards would have refused (AUTH_GUARDS=report), and how much of it was good.

    With --url the metrics of one running service are read, with METRICS_TOKEN. Otherwise the report in Redis is read:
    that of all services together.
    """
    if url:
        since, rows = None, _report_of(url, settings_here().metrics_token)
    else:
        with _store() as store:
            since, rows = store.report.read()
            if forget:
                store.report.forget()
    began = None if since is None else datetime.fromtimestamp(since, UTC)
    limits = {limit: {"refused": row.refused, "good": row.good} for limit, row in rows.items()}
    lines = [*report_lines(rows), *([f"Counted since {began:%Y-%m-%d %H:%M} UTC."] if began else [])]
    print_found({"limits": limits, "since": began and began.isoformat()}, lines, as_json=as_json)


def report_lines(rows: Mapping[str, Row]) -> Iterator[str]:
    """Return the report as text, the limit that would have refused most first."""
    if not rows:
        yield "Nothing would have been refused, or AUTH_GUARDS is not report."
        return
    yield f"{'limit':<24} {'would refuse':>12} {'good ones':>10}"
    for limit, row in sorted(rows.items(), key=lambda item: (-item[1].refused, item[0])):
        yield f"{limit:<24} {row.refused:>12,} {row.good:>10,}"
    refused, good = sum(row.refused for row in rows.values()), sum(row.good for row in rows.values())
    yield f"{'all':<24} {refused:>12,} {good:>10,}"


def _report_of(url: str, token: str) -> Mapping[str, Row]:
    """Read the report from the metrics of a service; print the reason and exit if that is not possible."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{url}/metrics", headers=headers, timeout=OPERATOR_TIMEOUT_S)
    except requests.RequestException as error:
        _exit(f"The service cannot be asked: {type(error).__name__}")
    if not answer.ok:
        _exit(f"The service answered {answer.status_code} for its metrics: set METRICS_TOKEN to that of the service.")
    rows: dict[str, Row] = {}
    for what, limit, count in _REPORTED.findall(answer.text):
        if value := int(float(count)):
            field = "refused" if what == "refusals" else "good"
            rows[limit] = rows.get(limit, Row())._replace(**{field: value})
    return rows


def _exit(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)


@dataclass(frozen=True)
class _Store:
    counters: RedisAttempts
    budgets: RedisBudgets
    report: RedisReport
    keyring: Keyring


@contextlib.contextmanager
def _store() -> Iterator[_Store]:
    """Open the shared counters; without them, print the reason and exit."""
    settings = settings_here()
    if not settings.redis_url:
        _exit(NO_STORE)
    secret = throttle_secret(settings.auth_throttle_secret, api_key=settings.upstream_key)
    limits, budgets, prefix = _limits(settings), budget_limits(settings), settings.redis_prefix
    with connect(settings.redis_url, timeout_s=OPERATOR_TIMEOUT_S) as client:
        backoff, memory = StoreBackoff(), MemoryAttempts(limits=limits)
        in_memory = MemoryBudgets(limits=budgets)
        store = _Store(
            RedisAttempts(client=client, limits=limits, fallback=memory, backoff=backoff, prefix=prefix),
            RedisBudgets(client=client, limits=budgets, fallback=in_memory, backoff=backoff, prefix=prefix),
            RedisReport(client, backoff, prefix=prefix),
            Keyring(secret),
        )
        try:
            yield store
        except FAILURES as error:
            _exit(f"The store cannot be asked: {error}")


def _limits(settings: Settings) -> Limits:
    return Limits().scaled(settings.auth_throttle_scale)


def _names(who: str, keyring: Keyring) -> tuple[str, ...]:
    if network_of(who) == UNKNOWN_NETWORK:
        return (keyring.account(who),)
    return (keyring.network(who), *keyring.wider(who))
