"""Login tries counted in Redis or Valkey, for several processes together."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import redis

from velro_auth.guards.attempts import Known, MemoryAttempts, Refusal, Reservation
from velro_auth.guards.challenges import MemorySpent
from velro_auth.guards.keys import REDIS_PREFIX, Caller
from velro_auth.guards.limits import KNOWN, STRANGER, Limits, Record, scopes_of
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff

_SCRIPT: Final = Path(__file__).with_name("attempts.lua").read_text("utf-8")


@dataclasses.dataclass(frozen=True, slots=True)
class CounterStatus:
    """One counter, for the operator: its name in the store, its limit, failures in a row, and the wait now."""

    key: str
    scope: str
    streak: int
    wait_s: float


class RedisAttempts:
    """Counters in Redis, and in memory while Redis is unavailable; see ``guards.attempts.Attempts``.

    Every try that Redis allows is counted in memory too. So memory neither forgets it nor grants a second budget when
    Redis becomes unavailable, again and again.

    Args:
        client: A client from ``connect``: short timeouts, no retries.
        limits: The limits, for all processes together.
        fallback: Counters of this process, with its share of the limits.
        backoff: Decides when Redis is asked again after it failed.
        prefix: The beginning of every key; it names the project, so that several can share one Redis.
        clock: Seconds, for tests; None means Redis's own time, one clock for all gateways.
    """

    def __init__(
        self,
        *,
        client: redis.Redis,
        limits: Limits,
        fallback: MemoryAttempts,
        backoff: StoreBackoff,
        prefix: str = REDIS_PREFIX,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)
        self._limits = limits.by_scope()
        self._limits_json = _as_json(limits)
        self._fallback = fallback
        self._backoff = backoff
        self._prefix = f"{prefix}:throttle:"
        self._clock = clock

    def begin(self, caller: Caller, *, has_solved: bool = False) -> Reservation | Refusal:
        """Count one try in all scopes at once, or in none; in memory while Redis is unavailable."""
        scopes = scopes_of(is_known=False, is_wide=bool(caller.wider), has_solved=has_solved)
        answer = self._run("begin", caller, scopes)
        if answer is None:
            return self._fallback.begin(caller, has_solved=has_solved)
        allowed, is_known, now, longest, wait_s, longest_own, own_wait_s, failures, *numbers = answer
        full_until, streak, last, *previous = map(float, numbers)
        counted_at, pair = float(now), Record(full_until, int(streak), last)
        allowance = self._limits["pair"].allowance(pair, counted_at)
        if not allowed:
            scope, own_scope = ("", *STRANGER)[longest], ("", *STRANGER)[longest_own]
            return Refusal(scope, float(wait_s), allowance, own_scope, float(own_wait_s), failures)
        in_memory = self._fallback.record(caller, has_solved=has_solved)
        counted = KNOWN if is_known else scopes
        return Reservation(
            caller, bool(is_known), counted, counted_at, tuple(previous), allowance, has_solved, in_memory
        )

    def settle(self, reservation: Reservation, *, succeeded: bool) -> None:
        """Give the try back where it was counted; after a success also end the streaks and remember the pair."""
        self._fallback.settle(reservation.in_memory or reservation, succeeded=succeeded)
        if reservation.in_memory is not None:
            outcome = (int(succeeded), repr(reservation.counted_at), *map(repr, reservation.previous))
            self._run("settle", reservation.caller, reservation.scopes, *outcome)

    def knows(self, caller: Caller) -> Known:
        """Return whether the pair, or anybody from the network, logged in before."""
        answer = self._run("knows", caller, ())
        return self._fallback.knows(caller) if answer is None else Known(*map(bool, answer))

    def remember(self, caller: Caller) -> None:
        """End the streaks and remember the pair, after a success that was not counted as a try."""
        self._fallback.remember(caller)
        self._run("settle", caller, (), 1, "0")

    def show(self, *names: str) -> Sequence[CounterStatus]:
        """Return the counters of an account, or of a network and the wider ones; *names* are keys of a ``Keyring``.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        now = self._now()
        return [self._status(key, now) for key in self._keys_of(names)]

    def release(self, *names: str) -> int:
        """Delete the same counters; return how many there were.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        found = self._keys_of(names)
        return self._client.delete(*found) if found else 0

    def _run(self, command: str, caller: Caller, scopes: Sequence[str], *more: Any) -> Any:
        """Run the script; return its answer, or None while Redis is unavailable."""
        keys = [self._prefix + caller.key(scope) for scope in ("known", *STRANGER, "known_network")]
        numbers = ",".join(str(STRANGER.index(scope) + 1) for scope in scopes)
        now = "" if self._clock is None else repr(self._clock())
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                return self._script(keys=keys, args=[command, self._limits_json, caller.network, now, numbers, *more])
        except RedisUnavailable:
            return None

    def _keys_of(self, names: Sequence[str]) -> list[str]:
        found = []
        for name in names:
            of_pairs = self._client.scan_iter(match=f"{self._prefix}pair:*{name}*", count=1000)
            found += [key.decode() for key in of_pairs]
            exact = [f"{self._prefix}{scope}:{name}" for scope in STRANGER if scope not in {"pair", "service"}]
            found += [key for key in exact if self._client.exists(key)]
        return found

    def _status(self, key: str, now: float) -> CounterStatus:
        name = key.removeprefix(self._prefix)
        limit = self._limits[scope := name.partition(":")[0]]
        raw = cast("list[bytes | None]", self._client.hmget(key, ["full_until", "streak", "last"]))
        full_until, streak, last = (float(value or 0) for value in raw)
        record = limit.current(Record(full_until, int(streak), last), now)
        return CounterStatus(name, scope, record.streak, limit.wait_s(record, now))

    def _now(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._client.time()
        return seconds + micros / 1e6


class RedisSpent:
    """Challenges used in any process. While Redis is unavailable, each process knows only its own.

    The arguments are those of :class:`RedisAttempts`.
    """

    def __init__(self, *, client: redis.Redis, backoff: StoreBackoff, prefix: str) -> None:
        self._client = client
        self._memory = MemorySpent()
        self._backoff = backoff
        self._prefix = f"{prefix}:challenge:"

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge; return whether it was unused. Never raises."""
        if not self._memory.spend(name, until_s):
            return False
        expires_ms = max(1, math.ceil((until_s - time.time()) * 1000))
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                return bool(self._client.set(self._prefix + name, b"1", nx=True, px=expires_ms))
        except RedisUnavailable:
            return True

    def forget(self, name: str) -> None:
        """Forget that it was used. Never raises."""
        self._memory.forget(name)
        with contextlib.suppress(RedisUnavailable), self._backoff.attempt(failures=STORE_ERRORS):
            self._client.delete(self._prefix + name)


def _as_json(limits: Limits) -> str:
    scopes = [dataclasses.asdict(limit) for limit in limits.by_scope().values()]
    known = {"known_s": limits.known_s, "known_networks": limits.known_networks}
    return json.dumps({"scopes": scopes, **known})
