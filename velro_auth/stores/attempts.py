"""Login tries counted in Redis or Valkey, for several processes at once."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from velro_auth.guards.attempts import Refusal, Standing, Ticket
from velro_auth.guards.challenges import MemorySpent
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import KNOWN, NETWORKS, STRANGER, Limits, Record, scopes_of
from velro_auth.guards.memory import MemoryAttempts
from velro_auth.stores.attempts_script import ATTEMPTS
from velro_auth.stores.backoff import StoreBackoff

#: Begins every key unless the caller names the project too.
PREFIX: Final = "velro"

#: Long enough for a busy machine (a false alarm costs exactness: each process counts alone for a while), short
#: enough for the one who notices.
TIMEOUT_S: Final = 0.5

#: What a store in trouble raises. A reply that makes no sense (an address that is no Redis) is trouble too.
TROUBLE: Final = (redis.RedisError, OSError, ValueError)


def connect(url: str, *, timeout_s: float = TIMEOUT_S, max_connections: int = 1024) -> redis.Redis:
    """Return a client for *url* that gives up early and never tries twice; it connects on first use.

    Trying again is the next login's business: ``StoreBackoff`` decides when. Threads bound the connections; the
    pool's own limit would only turn a busy moment into a store in trouble.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        max_connections=max_connections,
    )


class RedisAttempts:
    """Counters in Redis, with memory standing in while Redis cannot be used.

    Every try that Redis allows is noted in memory too, so that memory neither forgets it nor grants a second
    budget when Redis goes away, comes back and goes away again.

    Args:
        client: A client from ``connect``: short timeouts, no retries.
        limits: The limits, for all processes together.
        fallback: Counters of this process, with its share of the limits.
        rest: Decides when Redis is asked again after it failed.
        prefix: Begins every key; it names the project, so that several can share one Redis.
        clock: Seconds, for tests; None means Redis's own time, one clock for all gateways.
    """

    def __init__(
        self,
        *,
        client: redis.Redis,
        limits: Limits,
        fallback: MemoryAttempts,
        rest: StoreBackoff,
        prefix: str = PREFIX,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._script = client.register_script(ATTEMPTS)
        self._limits = limits.by_scope()
        self._limits_json = _as_json(limits)
        self._fallback = fallback
        self._rest = rest
        self._prefix = f"{prefix}:throttle:"
        self._clock = clock

    def begin(self, caller: Caller, *, is_opened: bool = False) -> Ticket | Refusal:
        """Count one try in all scopes at once, or in none; in memory where Redis cannot."""
        scopes = scopes_of(is_known=False, is_wide=bool(caller.wider), is_opened=is_opened)
        answer = self._ask("begin", caller, _numbers(scopes))
        if answer is None:
            return self._fallback.begin(caller, is_opened=is_opened)
        allowed, is_known, now, slowest, wait_s, slowest_own, own_wait_s, failures, *numbers = answer
        full_until, streak, last, *earlier = map(float, numbers)
        stamp, pair = float(now), Record(full_until, int(streak), last)
        allowance = self._limits["pair"].allowance(pair, stamp)
        if not allowed:
            scope, own_scope = ("", *STRANGER)[slowest], ("", *STRANGER)[slowest_own]
            return Refusal(scope, float(wait_s), allowance, own_scope, float(own_wait_s), failures)
        shadow = self._fallback.record(caller, is_opened=is_opened)
        counted = KNOWN if is_known else scopes
        return Ticket(caller, bool(is_known), counted, stamp, tuple(earlier), allowance, shadow)

    def settle(self, ticket: Ticket, *, succeeded: bool) -> None:
        """Give the try back where it was counted; after a success also end the streaks, remember the pair."""
        self._fallback.settle(ticket.shadow or ticket, succeeded=succeeded)
        if ticket.shadow is not None:
            outcome = (int(succeeded), repr(ticket.stamp), *map(repr, ticket.earlier))
            self._ask("settle", ticket.caller, _numbers(ticket.scopes), *outcome)

    def show(
        self, *, account: str | None = None, network: str | None = None, wider: Sequence[str] = ()
    ) -> Sequence[Standing]:
        """Return the counters of an account or of a network and those around it.

        Raises:
            redis.RedisError: Redis cannot be asked; the operator has to know.
        """
        now = self._now()
        return [self._standing(key, now) for key in self._keys_of(account, network, wider)]

    def release(self, *, account: str | None = None, network: str | None = None, wider: Sequence[str] = ()) -> int:
        """Forget the counters of an account or of a network and those around it; return how many there were.

        Raises:
            redis.RedisError: Redis cannot be asked; the operator has to know.
        """
        found = list(self._keys_of(account, network, wider))
        return self._client.delete(*found) if found else 0

    def _ask(self, what: str, caller: Caller, scopes: str, *more: Any) -> list[Any] | None:
        if not self._rest.may_ask():
            return None
        keys = [self._prefix + caller.key(scope) for scope in ("known", *STRANGER)]
        now = "" if self._clock is None else repr(self._clock())
        try:
            answer = self._script(keys=keys, args=[what, self._limits_json, caller.network, now, scopes, *more])
        except TROUBLE as error:
            self._rest.failed(error)
            return None
        self._rest.worked()
        return cast("list[Any]", answer) if what == "begin" else None

    def _keys_of(self, account: str | None, network: str | None, wider: Sequence[str]) -> Iterator[str]:
        patterns = []
        if account is not None:
            patterns += [f"strangers:{account}", f"account:{account}", f"pair:{account}:*"]
        if network is not None:
            patterns += [f"network:{network}", f"pair:*:{network}"]
        patterns += [f"{scope}:{key}" for scope, key in zip(NETWORKS[1:], wider, strict=False)]
        for pattern in patterns:
            yield from (key.decode() for key in self._client.scan_iter(match=self._prefix + pattern, count=1000))

    def _standing(self, key: str, now: float) -> Standing:
        name = key.removeprefix(self._prefix)
        limit = self._limits[scope := name.partition(":")[0]]
        raw = cast("list[bytes | None]", self._client.hmget(key, ["full_until", "streak", "last"]))
        full_until, streak, last = (float(value or 0) for value in raw)
        record = limit.current(Record(full_until, int(streak), last), now)
        return Standing(name, scope, record.streak, limit.wait_s(record, now))

    def _now(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._client.time()
        return seconds + micros / 1e6


class RedisSpent:
    """Challenges used in any process. While Redis cannot be used, each process knows of its own only.

    Args:
        client: A client from ``connect``.
        memory: Challenges used in this process.
        rest: Decides when Redis is asked again after it failed.
        prefix: Begins every key; it names the project.
        clock: The wall clock.
    """

    def __init__(
        self,
        *,
        client: redis.Redis,
        memory: MemorySpent,
        rest: StoreBackoff,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._memory = memory
        self._rest = rest
        self._prefix = f"{prefix}:challenge:"
        self._clock = clock

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge up; return whether it was unused. Never raises."""
        if not self._memory.spend(name, until_s):
            return False
        if not self._rest.may_ask():
            return True
        expires_ms = max(1, math.ceil((until_s - self._clock()) * 1000))
        try:
            is_unused = self._client.set(self._prefix + name, b"1", nx=True, px=expires_ms)
        except TROUBLE as error:
            self._rest.failed(error)
            return True
        self._rest.worked()
        return bool(is_unused)


def _numbers(scopes: Sequence[str]) -> str:
    """Return *scopes* as the script counts them."""
    return ",".join(str(STRANGER.index(scope) + 1) for scope in scopes)


def _as_json(limits: Limits) -> str:
    scopes = [dataclasses.asdict(limit) for limit in limits.by_scope().values()]
    known = {"known_s": limits.known_s, "known_networks": limits.known_networks}
    return json.dumps({"scopes": scopes, **known})
