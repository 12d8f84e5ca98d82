"""Login tries counted in Redis or Valkey, for several processes together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import redis

from velro_auth.background import Background
from velro_auth.guards.attempts import Known, MemoryAttempts, Refusal, Reservation, refusal_of
from velro_auth.guards.keys import REDIS_PREFIX, REDIS_VERSION, Caller
from velro_auth.guards.limits import STRANGER, Limit, Limits, Record, scopes_of
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff
from velro_auth.stores.connections import Script, is_cluster
from velro_auth.stores.counter_keys import Answer, CounterKeys, Slot
from velro_auth.stores.recent_tries import RecentTries

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

    Every try that Redis allows is counted in memory too. So memory neither forgets it nor grants a second budget,
    however often Redis becomes unavailable.

    One server counts a try in one call. In a cluster the counters of the account, of its networks and of the service
    lie in three slots, so a try takes three calls, always in this order. If a slot refuses the try, the slots before
    give it back, so a limit is never exceeded. If the process ends in between, the try stays counted there: one try
    of each limit at most, for each request under way.

    When Redis works again after a failure, a thread counts the latest tries of this process there once more: see
    ``stores.recent_tries``.

    Args:
        client: A client from ``connect``: short timeouts, no retries.
        limits: The limits, for all processes together.
        fallback: Counters of this process, with its share of the limits.
        backoff: Decides when Redis is asked again after it failed.
        recent: The latest tries of this process, if they outlive this object.
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
        recent: RecentTries | None = None,
        prefix: str = REDIS_PREFIX,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._script = Script(client, _SCRIPT)
        self._limits: Mapping[str, Limit] = limits.by_scope()
        self._keys = CounterKeys(
            f"{prefix}:{REDIS_VERSION}:throttle:", is_cluster=is_cluster(client), service=limits.service
        )
        self._limits_json = _as_json(dataclasses.replace(limits, service=self._keys.share))
        self._fallback = fallback
        self._backoff = backoff
        self._clock = clock
        self._recent = recent or RecentTries(backoff.clock, recoveries=backoff.recoveries)
        self._recounting = Background(self._recount, name="recount")
        backoff.on_recovery = self._recounting.ensure

    def begin(self, caller: Caller, *, has_solved: bool = False) -> Reservation | Refusal:
        """Count one try in all scopes at once, or in none; in memory while Redis is unavailable."""
        scopes = scopes_of(is_known=False, is_wide=bool(caller.wider), has_solved=has_solved)
        if self._recent.recoveries != self._backoff.recoveries:
            # Not while the store is away again: each login would ask it once more.
            if self._backoff.may_ask():
                self._recounting.ensure()
            return self._in_memory(caller, has_solved=has_solved)
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                answers = self._count(caller, scopes)
        except RedisUnavailable:
            return self._in_memory(caller, has_solved=has_solved)
        found: dict[str, tuple[Slot, Answer]] = {
            scope: (slot, answer) for slot, answer in answers for scope in answer.records
        }
        asked: tuple[str, ...] = tuple(scope for scope in STRANGER if scope in found)
        records = {scope: found[scope][1].records[scope] for scope in asked}
        counted_at = tuple(found[scope][1].now for scope in asked)
        pair, now = self._limits["pair"], found["pair"][1].now
        if not all(answer.is_allowed for _, answer in answers):
            waits = {scope: found[scope][1].waits[scope] for scope in asked}
            failures = records["network"].streak if "network" in records else 0
            return refusal_of(waits, pair.allowance(records["pair"], now), failures=failures)
        in_memory = self._fallback.record(caller, has_solved=has_solved)
        reservation = Reservation(
            caller,
            any(answer.is_known for _, answer in answers),
            asked,
            counted_at,
            tuple(record.last for record in records.values()),
            pair.allowance(pair.counted(records["pair"], now), now),
            has_solved,
            in_memory,
            found["service"][0].shard if "service" in found else 0,
        )
        self._recent.add(reservation, is_in_store=True)
        return reservation

    def settle(self, reservation: Reservation, *, succeeded: bool) -> None:
        """Give the try back where it was counted; after a success also end the streaks and remember the pair."""
        self._recent.forget(reservation)
        self._fallback.settle(reservation.in_memory or reservation, succeeded=succeeded)
        if reservation.in_memory is None:
            return
        caller, scopes = reservation.caller, reservation.scopes
        times = dict(zip(scopes, zip(reservation.counted_at, reservation.previous, strict=True), strict=True))
        self._settle_all(caller, scopes, times, shard=reservation.shard, succeeded=succeeded)

    def knows(self, caller: Caller) -> Known:
        """Return whether the pair, or any account from the network, logged in before."""
        pair = network = 0
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                for slot in self._keys.slots(caller, ("known", "known_network")):
                    answer = self._run("knows", caller, slot, ())
                    pair, network = pair or answer[0], network or answer[1]
        except RedisUnavailable:
            return self._fallback.knows(caller)
        return Known(bool(pair), bool(network))

    def remember(self, caller: Caller) -> None:
        """End the streaks and remember the pair, after a success that was not counted as a try."""
        self._fallback.remember(caller)
        self._settle_all(caller, (), {}, shard=0, succeeded=True)

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
        return sum(self._client.delete(key) for key in self._keys_of(names))

    def _count(self, caller: Caller, scopes: Sequence[str]) -> list[tuple[Slot, Answer]]:
        """Count a try in all slots, or in none; return the answer of each."""
        answers: list[tuple[Slot, Answer]] = []
        is_allowed, failures = True, 0
        for slots in self._keys.of_try(caller, scopes):
            slot, answer = self._count_in_one(slots, caller, scopes, is_counted=is_allowed, failures=failures)
            answers.append((slot, answer))
            is_allowed, failures = is_allowed and answer.is_allowed, answer.failures
            if answer.is_known:
                break
        if not is_allowed:
            for slot, answer in answers:
                if not answer.is_allowed:
                    # Those behind were only looked at.
                    break
                times = {scope: (answer.now, record.last) for scope, record in answer.records.items()}
                self._settle(caller, slot, tuple(answer.records), times, succeeded=False)
        return answers

    def _count_in_one(
        self, slots: Sequence[Slot], caller: Caller, scopes: Sequence[str], *, is_counted: bool, failures: int
    ) -> tuple[Slot, Answer]:
        """Count a try in the first of *slots* that allows it, or return the one with the shortest wait."""
        refused: list[tuple[Slot, Answer]] = []
        for slot in slots:
            command = "begin" if is_counted else "look"
            answer = Answer.of(self._run(command, caller, slot, slot.counted(scopes), failures))
            if answer.is_allowed:
                return slot, answer
            refused.append((slot, answer))
        return min(refused, key=lambda one: max(one[1].waits.values()))

    def _in_memory(self, caller: Caller, *, has_solved: bool) -> Reservation | Refusal:
        answer = self._fallback.begin(caller, has_solved=has_solved)
        if isinstance(answer, Reservation):
            self._recent.add(answer, is_in_store=False)
        return answer

    def _recount(self) -> None:
        """Count the latest tries again in a store that may have lost them. New ones are counted in memory meanwhile."""
        recoveries = self._backoff.recoveries
        try:
            with self._backoff.attempt(in_background=True, failures=STORE_ERRORS):
                while tries := self._recent.lost(self._backoff.failed_s, recovery=recoveries):
                    for reservation, scopes in tries:
                        self._recount_one(reservation, scopes)
                        self._recent.counted_again(reservation, recovery=recoveries)
        except RedisUnavailable:
            return
        self._recent.recoveries = recoveries

    def _recount_one(self, reservation: Reservation, left: frozenset[str]) -> None:
        caller, scopes = reservation.caller, tuple(scope for scope in reservation.scopes if scope in left)
        for slot in self._keys.slots(caller, ("known", *scopes), shard=reservation.shard):
            self._run("recount", caller, slot, slot.counted(scopes), 0)
            self._recent.recounted(reservation, slot.counted(scopes))

    def _settle_all(
        self,
        caller: Caller,
        scopes: Sequence[str],
        times: Mapping[str, tuple[float, float]],
        *,
        shard: int,
        succeeded: bool,
    ) -> None:
        ended = ("known", "pair", "strangers", "account", "known_network") if succeeded else ()
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                for slot in self._keys.slots(caller, (*scopes, *ended), shard=shard):
                    self._settle(caller, slot, slot.counted(scopes), times, succeeded=succeeded)
        except RedisUnavailable:
            return

    def _settle(
        self,
        caller: Caller,
        slot: Slot,
        scopes: Sequence[str],
        times: Mapping[str, tuple[float, float]],
        *,
        succeeded: bool,
    ) -> None:
        counted_at = times[scopes[0]][0] if scopes else 0.0
        previous = [repr(times[scope][1]) for scope in scopes]
        self._run("settle", caller, slot, scopes, int(succeeded), repr(counted_at), *previous)

    def _run(self, command: str, caller: Caller, slot: Slot, scopes: Sequence[str], *more: Any) -> Any:
        now = "" if self._clock is None else repr(self._clock())
        names, keys = ",".join(slot.keys), list(slot.keys.values())
        arguments = [command, self._limits_json, caller.network, now, names, ",".join(scopes), *more]
        return self._script(keys, arguments)

    def _keys_of(self, names: Sequence[str]) -> list[str]:
        found = []
        for name in names:
            of_pairs = self._client.scan_iter(match=f"{self._keys.prefix}*}}:pair:*{name}*", count=1000)
            found += [key.decode() for key in of_pairs]
            # The widest network is the last one.
            exact = [
                self._keys.key(names[-1], f"{scope}:{name}") for scope in STRANGER if scope not in {"pair", "service"}
            ]
            found += [key for key in exact if self._client.exists(key)]
        return found

    def _status(self, key: str, now: float) -> CounterStatus:
        name = key.partition("}:")[2]
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


def _as_json(limits: Limits) -> str:
    scopes = {scope: dataclasses.asdict(limit) for scope, limit in limits.by_scope().items()}
    known = {"known_s": limits.known_s, "known_networks": limits.known_networks}
    return json.dumps({"scopes": scopes, **known})
