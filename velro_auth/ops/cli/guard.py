"""``velro-auth guard``: show and release what the guards block, compute what they allow, report what they would do."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

import click
import requests

from velro_auth.config.settings import Settings
from velro_auth.guards.attempts import MemoryAttempts, Refusal, Reservation
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets, Windows
from velro_auth.guards.keys import UNKNOWN_NETWORK, Caller, Keyring, network_of, throttle_secret
from velro_auth.guards.limits import DAY_S, HOUR_S, Limits
from velro_auth.ops.cli.click_helpers import address_or_none
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import FAILURES, StoreBackoff, connect
from velro_auth.stores.report import RedisReport, Row
from velro_auth.wiring.guards import budget_limits

#: Longer than in the service: an operator can wait for the answer.
OPERATOR_TIMEOUT_S: Final = 5.0

NO_STORE: Final = (
    "REDIS_URL is not set, so each process counts in its own memory, which no other process can reach.\n"
    "Restart the service to forget all counters, or set REDIS_URL to share them."
)

#: Longest attack on one account that is simulated.
LONG_S: Final = 6 * DAY_S

#: Interval of the owner's logins in the worst case for the account: each success resets the streak.
OWNER_S: Final = 60.0

_VICTIM: Final = "victim"

#: A counter of the report in the text of the metrics.
_REPORTED: Final = re.compile(r'^velro_auth_report_(refusals|good)_total\{limit="(\w+)"\} (\S+)$', re.MULTILINE)

#: Kind of budget → its heading, and what it counts.
_EXACT: Final[Mapping[str, tuple[str, str]]] = {
    "code": ("mailed codes", "one address or phone number"),
    "factor": ("second factors", "one factor"),
    "factor_own": ("second factors", "one factor, besides, for each network that passed it before"),
    "mail_pair": ("mails", "one address, asked for by one network"),
    "mail_account": ("mails", "one address"),
    "mail_account_strangers": ("mails", "one address, asked for by networks that never logged in to it"),
    "mail_network": ("mails", "one network (/24, /64)"),
    "mail_network56": ("mails", "one IPv6 /56"),
    "mail_network48": ("mails", "one IPv6 /48"),
    "mail_service": ("mails", "the whole service"),
    "mail_service_acquainted": ("mails", "the whole service, for addresses that never logged in from the network"),
    "mail_service_strangers": ("mails", "the whole service, asked for by networks from which nobody logged in"),
    "link_network": ("refused links", "one network (/24, /64)"),
    "link_network56": ("refused links", "one IPv6 /56"),
    "link_network48": ("refused links", "one IPv6 /48"),
    "link_service": ("refused links", "the whole service, from networks from which nobody logged in"),
    "sign_up": ("sign-ups that need no mail", "one network (/24, /64)"),
    "sign_up56": ("sign-ups that need no mail", "one IPv6 /56"),
    "sign_up48": ("sign-ups that need no mail", "one IPv6 /48"),
}

_who = click.argument("who", metavar="ACCOUNT|NETWORK")


@click.group()
def guard() -> None:
    """Show and release what the guards block, compute what they allow, and report what they would refuse."""


@guard.command()
@_who
def show(who: str) -> None:
    """Print the counters of an account (a mail address or phone number), or of an IP address and its networks."""
    with _store() as store:
        names = _names(who, store.keyring)
        standings, budgets = store.counters.show(*names), store.budgets.show(*names)
    for standing in standings:
        wait = f"wait {standing.wait_s:.0f} s" if standing.wait_s else "free to try"
        print(f"{standing.scope:<10} {standing.streak:>4} failures in a row   {wait:<16} {standing.key}")
    for status in budgets:
        wait = f"wait {status.wait_s:.0f} s" if status.wait_s else "free to try"
        windows = zip(status.used, status.windows, strict=True)
        used = ", ".join(f"{count} of {window.count} in {_time(window.window_s)}" for count, window in windows)
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
@click.option("--clients", default=500, show_default=True, help="Attackers at once, each in a network of its own.")
@click.option("--replicas", type=int, help="Instances of the service; the setting AUTH_REPLICAS if not given.")
def print_budget(clients: int, replicas: int | None) -> None:
    """Print what the present settings leave to an attacker who tries whenever a try is allowed."""
    settings = Settings.from_environment()
    processes = settings.web_concurrency * (replicas or settings.auth_replicas)
    passwords = budget(_limits(settings), clients=clients, processes=processes)
    for title, rows in {"passwords": passwords, **exact_budgets(budget_limits(settings))}.items():
        print(title)
        for what, count in rows.items():
            print(f"{count:>8,}  {what}")


@guard.command()
@click.option("--url", default="", callback=address_or_none, help="A running service, to be asked for its metrics.")
@click.option("--forget", is_flag=True, help="Begin a new report; only with REDIS_URL.")
def report(url: str, *, forget: bool) -> None:
    """Print what the guards would have refused (AUTH_GUARDS=report), and how much of it was good.

    With --url the metrics of one running service are read, with METRICS_TOKEN. Otherwise the report in Redis is read:
    that of all services together.
    """
    if url:
        since, rows = None, _report_of(url, Settings.from_environment().metrics_token)
    else:
        with _store() as store:
            since, rows = store.report.read()
            if forget:
                store.report.forget()
    for line in report_lines(rows):
        print(line)
    if since is not None:
        print(f"Counted since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC.")


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
    settings = Settings.from_environment()
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


def _time(seconds: float) -> str:
    return f"{seconds / HOUR_S:.0f} h" if seconds >= HOUR_S else f"{seconds / 60:.0f} min"


class Attack:
    """Simulates an attacker who tries whenever a try is allowed, with a simulated clock."""

    def __init__(self, limits: Limits) -> None:
        self._now = 0.0
        self._attempts = MemoryAttempts(limits=limits, clock=lambda: self._now)

    def on_account(self, seconds: float, *, clients: int) -> int:
        """Return the guesses at one account within *seconds*, each client in its own network."""
        return self._guess([Caller(_VICTIM, f"client{number}") for number in range(clients)], seconds)

    def on_account_in_use(self, seconds: float, *, clients: int) -> int:
        """Return the same while the owner logs in every minute."""
        tried = 0
        for _ in range(int(seconds / OWNER_S)):
            reservation = self._attempts.begin(Caller(_VICTIM, "home"))
            assert isinstance(reservation, Reservation), "strangers cannot block a known network"
            self._attempts.settle(reservation, succeeded=True)
            tried += self.on_account(OWNER_S, clients=clients)
        return tried

    def on_service(self, seconds: float, *, same_network: bool) -> int:
        """Return the guesses within *seconds*, each at another account, from one network or always another one."""
        end, tried = self._now + seconds, 0
        while self._now < end:
            caller = Caller(f"account{tried}", "one" if same_network else f"client{tried}")
            tried += self._guess([caller], end - self._now, until_one=True)
        return tried

    def _guess(self, callers: Iterable[Caller], seconds: float, *, until_one: bool = False) -> int:
        callers, end, tried = list(callers), self._now + seconds, 0
        while self._now < end:
            answers = [self._attempts.begin(caller) for caller in callers]
            waits = [answer.wait_s for answer in answers if isinstance(answer, Refusal)]
            tried += len(answers) - len(waits)
            if until_one and tried:
                return tried
            if len(waits) == len(answers):
                self._now = min(end, self._now + min(waits))
        return tried


def budget(limits: Limits, *, clients: int, processes: int) -> dict[str, int]:
    """Return attack → number of guesses, for *clients* parallel attackers and *processes* of ours.

    In the last one the shared store has failed, and each process counts alone.
    """

    def on_account(seconds: float, at: Limits = limits) -> int:
        return Attack(at).on_account(seconds, clients=clients)

    in_use = Attack(limits).on_account_in_use(HOUR_S, clients=clients)
    return {
        "one account, at once": on_account(1.0),
        "one account, first hour": on_account(HOUR_S),
        "one account, an hour in which its owner logs in every minute": in_use,
        "one account, first day": on_account(DAY_S),
        "one account, in a row until it is stopped": on_account(LONG_S),
        "one network, all accounts, first hour": Attack(limits).on_service(HOUR_S, same_network=True),
        "whole service, first hour": Attack(limits).on_service(HOUR_S, same_network=False),
        "one account, first hour, shared counters gone": processes * on_account(HOUR_S, limits.scaled(1 / processes)),
    }


def exact_budgets(limits: BudgetLimits) -> dict[str, dict[str, int]]:
    """Return heading → what is counted → how many of it *limits* allow. These budgets are exact in every window."""
    found: dict[str, dict[str, int]] = {}
    for kind, (title, what) in _EXACT.items():
        windows: Windows = limits.by_kind()[kind]
        for window in windows:
            found.setdefault(title, {})[f"{what}, in {_time(window.window_s)}"] = window.count
    return found
