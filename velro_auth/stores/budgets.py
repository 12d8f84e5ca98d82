"""Budgets counted in Redis or Valkey, for several processes together."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from velro_auth.guards.budgets import BudgetLimits, Claim, MemoryBudgets, Spent, Taken, Windows
from velro_auth.guards.keys import REDIS_PREFIX
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff

_SCRIPT: Final = Path(__file__).with_name("budgets.lua").read_text("utf-8")


@dataclasses.dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget, for the operator: its name in the store, its windows, what each has used, and the wait now."""

    key: str
    kind: str
    windows: Windows
    used: tuple[int, ...]
    wait_s: float


class RedisBudgets:
    """Budgets in Redis, and in memory while Redis is unavailable; see ``guards.budgets.Budgets``.

    Every unit that Redis gives is counted in memory too. So memory does not grant a second budget when Redis becomes
    unavailable.

    Args:
        client: A client from ``connect``: short timeouts, no retries.
        limits: The limits, for all processes together.
        fallback: Budgets of this process, with its share of the limits.
        backoff: Decides when Redis is asked again after it failed.
        prefix: The beginning of every key; it names the project.
        clock: Seconds, for tests; None means Redis's own time, one clock for all gateways.
    """

    def __init__(
        self,
        *,
        client: redis.Redis,
        limits: BudgetLimits,
        fallback: MemoryBudgets,
        backoff: StoreBackoff,
        prefix: str = REDIS_PREFIX,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)
        self._windows = limits.by_kind()
        self._fallback = fallback
        self._backoff = backoff
        self._prefix = f"{prefix}:budget:"
        self._clock = clock

    def take(self, wanted: Sequence[Claim]) -> Taken | Spent:
        """Take one unit of each budget in one step, or none; in memory while Redis is unavailable."""
        number = secrets.token_hex(8)
        answer = self._run("take", wanted, number)
        if answer is None:
            return self._fallback.take(wanted)
        is_taken, index, wait_s = answer
        if not is_taken:
            return Spent(wanted[index - 1].kind, float(wait_s))
        return Taken(tuple(wanted), number, in_memory=self._fallback.record(wanted))

    def give_back(self, taken: Taken) -> None:
        """Give the units back where they were taken."""
        self._fallback.give_back(taken.in_memory or taken)
        if taken.in_memory is not None:
            self._run("give_back", taken.claims, taken.number)

    def show(self, *names: str) -> Sequence[BudgetStatus]:
        """Return the budgets of an account, or of a network and the wider ones; *names* are keys of a ``Keyring``.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        claims = self._claims_of(names)
        answer = self._ask("used", claims, "") if claims else []
        found = [
            BudgetStatus(claim.key, claim.kind, self._windows[claim.kind], tuple(used), float(wait_s))
            for claim, (wait_s, *used) in zip(claims, answer, strict=True)
        ]
        return [status for status in found if any(status.used)]

    def release(self, *names: str) -> int:
        """Delete the same budgets' logs; return how many there were.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        found = [self._prefix + claim.key for claim in self._claims_of(names)]
        return self._client.delete(*found) if found else 0

    def _run(self, command: str, claims: Sequence[Claim], number: str) -> Any:
        """Run the script; return its answer, or None while Redis is unavailable."""
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                return self._ask(command, claims, number)
        except RedisUnavailable:
            return None

    def _ask(self, command: str, claims: Sequence[Claim], number: str) -> Any:
        keys = [self._prefix + claim.key for claim in claims]
        windows = [[(window.count, window.window_s) for window in self._windows[claim.kind]] for claim in claims]
        now = "" if self._clock is None else repr(self._clock())
        return self._script(keys=keys, args=[command, now, number, json.dumps(windows)])

    def _claims_of(self, names: Sequence[str]) -> list[Claim]:
        """Return the budgets that have one of *names* in their name. The budgets of the service have no name."""
        found: dict[str, Claim] = {}
        for name in names:
            for raw in self._client.scan_iter(match=f"{self._prefix}*:*{name}*", count=1000):
                key = raw.decode().removeprefix(self._prefix)
                kind, _, owner = key.partition(":")
                if kind in self._windows and name in owner.split(":"):
                    found[key] = Claim(kind, owner)
        return [found[key] for key in sorted(found)]
