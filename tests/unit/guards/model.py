"""A simple model of the throttle, and a state machine that compares counters with it.

The model keeps a log of failures and successes and reads it from the start for every question. It shares no arithmetic
with the counters; memory and Redis both have to agree with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.guards.clock import HandClock
from velro_auth.guards.attempts import Attempts, MemoryAttempts, Refusal
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limit, Limits
from velro_auth.stores.attempts import RedisAttempts

#: Small and whole, so that a few steps reach every limit and no float is ever rounded.
SMALL = Limits(
    pair=Limit(burst=4, refill_s=64, free=3, first_delay_s=32, longest_delay_s=256, forget_s=1024),
    strangers=Limit(burst=5, refill_s=64, free=4, first_delay_s=32, longest_delay_s=256, stop_at=7, forget_s=4096),
    network=Limit(burst=6, refill_s=32, forget_s=1024),
    network56=Limit(burst=7, refill_s=24, forget_s=1024),
    network48=Limit(burst=8, refill_s=20, forget_s=2048),
    service=Limit(burst=9, refill_s=16, burst_after_failure=6, forget_s=1024),
    account=Limit(burst=1, refill_s=0, stop_at=9, forget_s=4096),
    known_s=8192,
    known_networks=2,
)

KEYRING = Keyring(b"the key of the tests")

#: Address → the /56 and the /48 around it; the last one shares its /48 only.
AROUND: dict[str, tuple[str, ...]] = {
    "10.0.1.7": (),
    "10.0.2.7": (),
    "2001:db8::7": ("2001:db8::/56", "2001:db8::/48"),
    "2001:db8:0:1::7": ("2001:db8::/56", "2001:db8::/48"),
    "2001:db8:0:100::7": ("2001:db8:0:100::/56", "2001:db8::/48"),
}
SHARED = {"network56", "network48", "service"}
MakeAttempts: TypeAlias = Callable[[HandClock], Attempts]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the log."""

    at: float
    account: str
    network: str
    succeeded: bool
    was_known: bool
    has_solved: bool


class Model:
    """The expected behaviour."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._log: list[Entry] = []

    def write(self, now: float, account: str, network: str, *, succeeded: bool, has_solved: bool) -> None:
        was_known = self.knows(now, account, network)
        self._log.append(Entry(now, account, network, succeeded, was_known, has_solved))

    def knows(self, now: float, account: str, network: str) -> bool:
        mine = [entry for entry in self._log if entry.succeeded and entry.account == account]
        latest = {entry.network: entry.at for entry in mine}
        # Equally late: the store's order of names decides.
        order = sorted(latest, key=lambda name: (latest[name], KEYRING.network(name)), reverse=True)
        remembered = order[: self._limits.known_networks]
        return network in remembered and latest[network] + self._limits.known_s > now

    def failures(self, now: float, network: str) -> int:
        """Return the failures from *network*, until there was none for as long as the limit says."""
        here = [entry for entry in self._log if not entry.was_known and entry.network == network]
        return self._streak(here, self._limits.network, now)

    def waits(self, now: float, account: str, network: str, *, has_solved: bool = False) -> dict[str, float]:
        mine = [entry for entry in self._log if entry.account == account]
        pair = [entry for entry in mine if entry.network == network]
        waits = {
            "pair": self._wait(self._since_success(pair), pair, self._limits.pair, now),
            "account": self._wait([], mine, self._limits.account, now),
        }
        if not self.knows(now, account, network):
            strange = [entry for entry in self._log if not entry.was_known]
            common = [entry for entry in strange if not entry.has_solved]
            wider = zip(("network56", "network48"), AROUND[network], strict=False)
            around = {scope: [entry for entry in common if name in AROUND[entry.network]] for scope, name in wider}
            ours = [entry for entry in mine if entry.succeeded or not entry.was_known]
            here = [entry for entry in strange if entry.network == network]
            waits["strangers"] = self._wait(ours, ours, self._limits.strangers, now)
            waits["network"] = self._wait(here, [], self._limits.network, now)
            if not has_solved:
                limits = self._limits.by_scope()
                failed = self.failures(now, network) or any(
                    self._streak(entries, limits[scope], now) for scope, entries in around.items()
                )
                service = dataclasses.replace(limits["service"], burst=6) if failed else limits["service"]
                waits |= {scope: self._wait(entries, [], limits[scope], now) for scope, entries in around.items()}
                waits["service"] = self._wait(common, [], service, now)
        return waits

    def _streak(self, entries: list[Entry], limit: Limit, now: float) -> int:
        streak, last = 0, 0.0
        for entry in (entry for entry in entries if not entry.succeeded):
            streak, last = (streak if entry.at - last < limit.forget_s else 0) + 1, entry.at
        return streak if now - last < limit.forget_s else 0

    def _since_success(self, entries: list[Entry]) -> list[Entry]:
        ends = [index for index, entry in enumerate(entries) if entry.succeeded]
        return entries[ends[-1] + 1 :] if ends else entries

    def _wait(self, bucket: list[Entry], streak: list[Entry], limit: Limit, now: float) -> float:
        return max(0.0, self._bucket_wait(bucket, limit, now), self._streak_wait(streak, limit, now))

    def _bucket_wait(self, entries: list[Entry], limit: Limit, now: float) -> float:
        """Empty the bucket drop by drop: one try is forgotten each ``refill_s`` while any is left."""
        forgotten_at = 0.0
        for entry in entries:
            if not entry.succeeded:
                forgotten_at = max(forgotten_at, entry.at) + limit.refill_s
        held_s = forgotten_at - now
        return held_s - (limit.burst - 1) * limit.refill_s

    def _streak_wait(self, entries: list[Entry], limit: Limit, now: float) -> float:
        streak, last = 0, 0.0
        for entry in entries:
            if entry.succeeded:
                streak = 0
            else:
                streak, last = (streak if entry.at - last < limit.forget_s else 0) + 1, entry.at
        if not streak or now - last >= limit.forget_s:
            return 0.0
        if streak >= limit.stop_at:
            return last + limit.forget_s - now
        doublings = streak - limit.free
        delay = min(limit.longest_delay_s, limit.first_delay_s * 2**doublings) if doublings >= 0 else 0
        return last + delay - now


def statuses(attempts: Attempts, *names: str) -> dict[str, tuple[int, float]]:
    """Return key → failures in a row and wait, of the counters that have one of *names* in their key."""
    if isinstance(attempts, RedisAttempts):
        return {status.key: (status.streak, status.wait_s) for status in attempts.show(*names)}
    assert isinstance(attempts, MemoryAttempts)
    now, found = attempts._clock(), {}
    for scope, table in attempts._tables.items():
        limit = attempts._limits[scope]
        for key in table._records:
            if set(names) & set(key.split(":")[1:]):
                record = limit.current(table.get(key), now)
                found[key] = (record.streak, limit.wait_s(record, now))
    return found


class ThrottleMachine(RuleBasedStateMachine):
    """Any order of tries, outcomes and pauses."""

    make: ClassVar[MakeAttempts]

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.attempts = type(self).make(self.clock)
        self.model = Model(SMALL)
        self.last_wait = 0.0

    @rule(quarters=st.one_of(st.integers(0, 40), st.integers(0, 4 * 300), st.integers(0, 4 * 9000)))
    def time_passes(self, quarters: int) -> None:
        self.clock.advance(quarters / 4)

    @rule()
    def the_wait_is_over(self) -> None:
        self.clock.advance(self.last_wait)
        self.last_wait = 0.0

    @rule()
    def the_wait_is_almost_over(self) -> None:
        self.clock.advance(max(0.0, self.last_wait - 0.25))
        self.last_wait = min(0.25, self.last_wait)

    @rule(
        account=st.sampled_from("abcd"),
        network=st.sampled_from(sorted(AROUND)),
        outcome=st.sampled_from(["refused", "refused", "refused", "succeeded", "outage"]),
        times=st.integers(1, 5),
        has_solved=st.sampled_from([False, False, True]),
    )
    def somebody_tries(self, account: str, network: str, outcome: str, times: int, *, has_solved: bool) -> None:
        for _ in range(times):
            self._try(account, network, outcome, has_solved=has_solved)

    def _try(self, account: str, network: str, outcome: str, *, has_solved: bool) -> None:
        waits = self.model.waits(self.clock.now, account, network, has_solved=has_solved)
        answer = self.attempts.begin(KEYRING.caller(account, network), has_solved=has_solved)
        if isinstance(answer, Refusal):
            assert answer.wait_s == max(waits.values()) > 0
            assert answer.wait_s == waits[answer.scope]
            own = {scope: wait for scope, wait in waits.items() if wait > 0 and scope not in SHARED}
            assert answer.is_shared_only == (not own)
            assert answer.own_wait_s == max(own.values(), default=0.0) == own.get(answer.own_scope, 0.0)
            if not self.model.knows(self.clock.now, account, network):
                assert answer.failures == self.model.failures(self.clock.now, network)
            self.last_wait = answer.wait_s
            return
        assert max(waits.values()) == 0
        assert answer.is_known == self.model.knows(self.clock.now, account, network)
        if outcome != "refused":
            self.attempts.settle(answer, succeeded=outcome == "succeeded")
        if outcome != "outage":
            self.model.write(self.clock.now, account, network, succeeded=outcome == "succeeded", has_solved=has_solved)

    @invariant()
    def the_operator_sees_the_same(self) -> None:
        account = KEYRING.account("a")
        waits = self.model.waits(self.clock.now, "a", "10.0.1.7")
        _, wait_s = statuses(self.attempts, account).get(f"account:{account}", (0, 0.0))
        assert wait_s == waits["account"]


def machine(make: MakeAttempts) -> type[ThrottleMachine]:
    """Return the machine for one kind of counters."""
    return type("ThrottleMachine", (ThrottleMachine,), {"make": staticmethod(make)})
