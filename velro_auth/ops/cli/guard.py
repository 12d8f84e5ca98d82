"""``velro-auth guard``: who is held back by the login throttle, and how many guesses it leaves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

import click
import redis

from velro_auth.config.settings import Settings
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.keys import Keyring, throttle_secret
from velro_auth.guards.limits import Limits
from velro_auth.ops.cli.guess_budget import budget as guess_budget
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import StoreBackoff, connect

#: An operator would rather wait than be told nothing.
OPERATOR_TIMEOUT_S: Final = 5.0

NO_STORE: Final = (
    "REDIS_URL is not set, so each process counts in its own memory, which no other process can reach.\n"
    "Restart the service to forget all counters, or set REDIS_URL to share them."
)

_who = click.argument("who", metavar="ACCOUNT|NETWORK")


@click.group()
def guard() -> None:
    """Look after the login throttle."""


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


@guard.command()
@click.option("--clients", default=500, show_default=True, help="Attackers at once, each in a network of its own.")
@click.option("--replicas", type=int, help="Instances of the service; the setting AUTH_REPLICAS if not given.")
def budget(clients: int, replicas: int | None) -> None:
    """Print how many guesses the present settings leave to somebody who tries whenever a try is allowed."""
    settings = Settings.from_environment()
    processes = settings.web_concurrency * (replicas or settings.auth_replicas)
    rows = guess_budget(_limits(settings), clients=clients, processes=processes)
    for what, guesses in rows.items():
        print(f"{guesses:>8,}  {what}")


@contextlib.contextmanager
def _counters() -> Iterator[tuple[RedisAttempts, Keyring]]:
    """Open the shared counters, or say why that cannot be, and end."""
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
