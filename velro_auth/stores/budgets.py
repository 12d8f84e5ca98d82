"""Budgets counted in Redis or Valkey, for several processes together."""

from __future__ import annotations

import dataclasses
import itertools
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from velro_auth.guards.budgets import BudgetLimits, Claim, MemoryBudgets, Spent, Taken, Windows
from velro_auth.guards.keys import REDIS_PREFIX, REDIS_VERSION
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff
from velro_auth.stores.connections import Script, is_cluster

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

    One server takes all units in one call. In a cluster the logs of an account, of each network and of the service lie
    in slots of their own, so there is one call for each. Where one of them gives nothing, the units taken before are
    given back. If the process ends in between, they stay taken: one unit of each log at most.

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
        self._script = Script(client, _SCRIPT)
        self._is_cluster = is_cluster(client)
        self._windows = limits.by_kind()
        self._fallback = fallback
        self._backoff = backoff
        self._prefix = f"{prefix}:{REDIS_VERSION}:budget:"
        self._clock = clock

    def take(self, wanted: Sequence[Claim]) -> Taken | Spent:
        """Take one unit of each budget in one step, or none; in memory while Redis is unavailable."""
        number = secrets.token_hex(8)
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                waits = self._take(wanted, number)
        except RedisUnavailable:
            return self._fallback.take(wanted)
        if waits:
            kind = max((claim.kind for claim in wanted if claim.kind in waits), key=lambda kind: waits[kind])
            return Spent(kind, waits[kind])
        return Taken(tuple(wanted), number, in_memory=self._fallback.record(wanted))

    def give_back(self, taken: Taken) -> None:
        """Give the units back where they were taken."""
        self._fallback.give_back(taken.in_memory or taken)
        if taken.in_memory is None:
            return
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                for claims in self._slots(taken.claims):
                    self._ask("give_back", claims, taken.number)
        except RedisUnavailable:
            return

    def show(self, *names: str) -> Sequence[BudgetStatus]:
        """Return the budgets of an account, or of a network and the wider ones; *names* are keys of a ``Keyring``.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        claims = self._claims_of(names)
        found = [
            BudgetStatus(claim.key, claim.kind, self._windows[claim.kind], tuple(used), float(wait_s))
            for slot in self._slots(claims)
            for claim, (wait_s, *used) in zip(slot, self._ask("used", slot, ""), strict=True)
        ]
        return [status for status in found if any(status.used)]

    def release(self, *names: str) -> int:
        """Delete the same budgets' logs; return how many there were.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        return sum(self._client.delete(self._key(claim)) for claim in self._claims_of(names))

    def _take(self, wanted: Sequence[Claim], number: str) -> dict[str, float]:
        """Take the units in all slots, or in none; return the kinds that gave nothing, with their waits."""
        slots, taken = self._slots(wanted), 0
        for claims in slots:
            is_taken, index, wait_s = self._ask("take", claims, number)
            if not is_taken:
                break
            taken += 1
        else:
            return {}
        waits = {claims[index - 1].kind: float(wait_s)}
        for others in slots[taken + 1 :]:
            # Only looked at: the longest wait of all decides.
            for claim, (other_s, *_) in zip(others, self._ask("used", others, ""), strict=True):
                waits[claim.kind] = max(float(other_s), waits.get(claim.kind, 0.0))
        for claims in slots[:taken]:
            self._ask("give_back", claims, number)
        return waits

    def _slots(self, claims: Sequence[Claim]) -> list[list[Claim]]:
        """Return the claims of each call: one server takes all together, a cluster those of one slot."""
        if not self._is_cluster:
            return [list(claims)] if claims else []
        return [list(group) for _, group in itertools.groupby(sorted(claims, key=_tag), key=_tag)]

    def _ask(self, command: str, claims: Sequence[Claim], number: str) -> Any:
        windows = [[(window.count, window.window_s) for window in self._windows[claim.kind]] for claim in claims]
        now = "" if self._clock is None else repr(self._clock())
        return self._script(list(map(self._key, claims)), [command, now, number, json.dumps(windows)])

    def _key(self, claim: Claim) -> str:
        """Return the name of a log in Redis. A cluster hashes what is in braces."""
        return f"{self._prefix}{{{_tag(claim)}}}:{claim.key}"

    def _claims_of(self, names: Sequence[str]) -> list[Claim]:
        """Return the budgets that have one of *names* in their name. The budgets of the service have no name."""
        found: dict[str, Claim] = {}
        for name in names:
            for raw in self._client.scan_iter(match=f"{self._prefix}*}}:*:*{name}*", count=1000):
                key = raw.decode().partition("}:")[2]
                kind, _, owner = key.partition(":")
                if kind in self._windows and name in owner.split(":"):
                    found[key] = Claim(kind, owner)
        return [found[key] for key in sorted(found)]


def _tag(claim: Claim) -> str:
    """Return whose slot the log is in: the account's, a network's, or the service's."""
    return claim.name.partition(":")[0] or "service"
