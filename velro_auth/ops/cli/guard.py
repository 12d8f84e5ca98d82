"""``velro-auth guard``: show and release what the login throttle blocks, and compute how many guesses it allows."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import click
import redis

from velro_auth.config.settings import Settings
from velro_auth.guards.attempts import MemoryAttempts, Refusal, Reservation
from velro_auth.guards.keys import Caller, Keyring, throttle_secret
from velro_auth.guards.limits import DAY_S, HOUR_S, Limits
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import StoreBackoff, connect

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

_who = click.argument("who", metavar="ACCOUNT|NETWORK")


@click.group()
def guard() -> None:
    """Show and release what the login throttle blocks, and compute the guesses it allows."""


@guard.command()
@_who
def show(who: str) -> None:
    """Print the counters of an account (a mail address), or of an IP address: of its network and those around it."""
    with _counters() as (counters, keyring):
        standings = counters.show(*_names(who, keyring))
    for standing in standings:
        wait = f"wait {standing.wait_s:.0f} s" if standing.wait_s else "free to try"
        print(f"{standing.scope:<10} {standing.streak:>4} failures in a row   {wait:<16} {standing.key}")
    if not standings:
        print("No failure is remembered.")


@guard.command()
@_who
def release(who: str) -> None:
    """Forget the failures of an account, or of an IP address and the networks around it. Known networks stay known."""
    with _counters() as (counters, keyring):
        forgotten = counters.release(*_names(who, keyring))
    print(f"{forgotten} counters forgotten.")


@guard.command(name="budget")
@click.option("--clients", default=500, show_default=True, help="Attackers at once, each in a network of its own.")
@click.option("--replicas", type=int, help="Instances of the service; the setting AUTH_REPLICAS if not given.")
def print_budget(clients: int, replicas: int | None) -> None:
    """Print how many guesses the present settings leave to an attacker who tries whenever a try is allowed."""
    settings = Settings.from_environment()
    processes = settings.web_concurrency * (replicas or settings.auth_replicas)
    for what, guesses in budget(_limits(settings), clients=clients, processes=processes).items():
        print(f"{guesses:>8,}  {what}")


@contextlib.contextmanager
def _counters() -> Iterator[tuple[RedisAttempts, Keyring]]:
    """Open the shared counters; without them, print the reason and exit."""
    settings = Settings.from_environment()
    if not settings.redis_url:
        print(NO_STORE, file=sys.stderr)
        sys.exit(2)
    secret = throttle_secret(settings.auth_throttle_secret, api_key=settings.upstream_key)
    limits = _limits(settings)
    with connect(settings.redis_url, timeout_s=OPERATOR_TIMEOUT_S) as client:
        counters = RedisAttempts(
            client=client,
            limits=limits,
            fallback=MemoryAttempts(limits=limits),
            backoff=StoreBackoff(),
            prefix=settings.redis_prefix,
        )
        try:
            yield counters, Keyring(secret)
        except redis.RedisError as error:
            print(f"The store cannot be asked: {error}", file=sys.stderr)
            sys.exit(2)


def _limits(settings: Settings) -> Limits:
    return Limits().scaled(settings.auth_throttle_scale)


def _names(who: str, keyring: Keyring) -> tuple[str, ...]:
    return (keyring.account(who),) if "@" in who else (keyring.network(who), *keyring.wider(who))


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
