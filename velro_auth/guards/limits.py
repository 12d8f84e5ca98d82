"""How many tries are allowed, and when the next one is: arithmetic without a clock and without a store.

Each limit has two rules over one small record. A *bucket* holds ``burst`` tries and drops one each ``refill_s``, so no
hour ever sees more than ``burst + 3600 / refill_s`` tries (the generic cell rate algorithm, GCRA: one number instead of
a list of times). A *streak* counts failures in a row: the first ``free`` cost no time, then the wait doubles from
``first_delay_s`` to ``longest_delay_s``. At ``stop_at`` no try is allowed until the streak is forgotten, ended by a
success, or released by the operator.

``stores/attempts.lua`` does the same arithmetic; a test drives both with the same steps and compares every number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

NEVER: Final = 10**9
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S

#: The counters of a caller, in this order everywhere. A pair that logged in before is counted by itself and for the
#: account only. Only IPv6 has the two wider networks.
STRANGER: Final = ("pair", "strangers", "network", "network56", "network48", "service", "account")
KNOWN: Final = ("pair", "account")

#: The caller's networks, the narrowest first.
NETWORKS: Final = ("network", "network56", "network48")
WIDER: Final = frozenset(NETWORKS[1:])

#: Limits that other people can use up. Only these are opened by a solved challenge.
SHARED: Final = WIDER | {"service"}

#: Streaks that a success ends. An attacker may own an account, so a success never clears a network.
ENDED_BY_SUCCESS: Final = frozenset({"pair", "strangers", "account"})

#: Shorter waits are rounding errors.
INSTANT_S: Final = 1e-6


def scopes_of(*, is_known: bool, is_wide: bool, has_solved: bool) -> tuple[str, ...]:
    """Return the scopes that a try is counted under, in the order of ``STRANGER``.

    *is_known* means that the pair logged in before, *is_wide* that the caller has wider networks (IPv6), and
    *has_solved* that the caller solved a challenge.
    """
    if is_known:
        return KNOWN
    left_out = SHARED if has_solved else frozenset[str]() if is_wide else WIDER
    return tuple(scope for scope in STRANGER if scope not in left_out)


class Record(NamedTuple):
    """The state of one counter.

    Attributes:
        full_until: When the bucket will be empty again, on the store's clock (the theoretical arrival time).
        streak: Failures in a row.
        last: When the last one was counted.
    """

    full_until: float = 0.0
    streak: int = 0
    last: float = 0.0

    def is_empty(self, now: float) -> bool:
        """Return whether the record is worth no more than no record."""
        return self.streak == 0 and self.full_until <= now

    def is_earlier_than(self, other: Record) -> bool:
        """Return whether *other* has later times: they were in the future, and were cut."""
        return self.last < other.last or self.full_until < other.full_until


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller has left, for the ``RateLimit`` and ``RateLimit-Policy`` fields.

    The names are those of draft-ietf-httpapi-ratelimit-headers-10: ``RateLimit-Policy: "login";q=5;w=86400``
    and ``RateLimit: "login";r=0;t=30``. It describes the account and network pair only: the caller's own tries.

    Attributes:
        quota: Tries in a row without waiting (``q``).
        window_s: How long until all of them are forgotten (``w``).
        remaining: Tries left without waiting (``r``).
        reset_s: When they are forgotten, or without one left when the next may be tried (``t``).
    """

    quota: int
    window_s: float
    remaining: int
    reset_s: float

    def fields(self) -> list[tuple[str, str]]:
        """Return both header fields."""
        return [
            ("RateLimit-Policy", f'"login";q={self.quota};w={whole_seconds(self.window_s)}'),
            ("RateLimit", f'"login";r={self.remaining};t={whole_seconds(self.reset_s)}'),
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """One row of the table of limits.

    Attributes:
        burst: Tries that the bucket holds.
        burst_after_failure: The same for a network that failed within the last day, so that a network without a
            failure is served while the others wait; 0 for as many as for all.
        refill_s: How often the bucket drops one; 0 for no bucket.
        free: Failures in a row before waiting begins.
        first_delay_s: The first wait (30 s: NIST SP 800-63B-4, 3.2.2).
        longest_delay_s: The longest wait (one hour: the same).
        stop_at: Failures in a row after which no try is allowed.
        forget_s: How long after the last failure the streak is forgotten.
    """

    burst: int
    refill_s: float
    burst_after_failure: int = 0
    free: int = NEVER
    first_delay_s: float = 30.0
    longest_delay_s: float = HOUR_S
    stop_at: int = NEVER
    forget_s: float = DAY_S

    def current(self, record: Record, now: float) -> Record:
        """Return *record* at *now*: without times in the future, and without a forgotten streak.

        A clock that was set back must not make a wait longer than the limit says.
        """
        last = min(record.last, now)
        streak = 0 if now - last >= self.forget_s else record.streak
        return Record(min(record.full_until, now + self.burst * self.refill_s), streak, last)

    def wait_s(self, record: Record, now: float, *, is_fresh: bool = True) -> float:
        """Return how long the caller of a *current* record has to wait; 0 for not at all.

        *is_fresh* is whether no try from the caller's networks failed within the last day.
        """
        burst = self.burst if is_fresh or not self.burst_after_failure else self.burst_after_failure
        wait = record.full_until - (burst - 1) * self.refill_s - now
        if record.streak >= self.stop_at:
            wait = max(wait, record.last + self.forget_s - now)
        elif record.streak >= self.free:
            wait = max(wait, record.last + self._delay_s(record.streak) - now)
        return wait if wait > INSTANT_S else 0.0

    def _delay_s(self, streak: int) -> float:
        return float(min(self.longest_delay_s, self.first_delay_s * 2.0 ** min(streak - self.free, 60)))

    def counted(self, record: Record, now: float) -> Record:
        """Return a *current* record with one more try in it."""
        return Record(max(record.full_until, now) + self.refill_s, record.streak + 1, now)

    def refunded(self, record: Record, counted_at: float, previous: float) -> Record:
        """Return the record without the try of *counted_at*; the try before it was counted at *previous*."""
        last = previous if record.last == counted_at else record.last
        return Record(record.full_until - self.refill_s, max(0, record.streak - 1), last)

    def allowance(self, record: Record, now: float) -> Allowance:
        """Return what is left after *record*."""
        held = max(0.0, record.full_until - now)
        room = math.floor(self.burst - held / self.refill_s + INSTANT_S) if self.refill_s else self.burst
        remaining = max(0, min(room, self.free - record.streak))
        reset_s = max(0.0, record.last + self.forget_s - now) if remaining else self.wait_s(record, now)
        return Allowance(min(self.burst, self.free), self.forget_s, remaining, reset_s)

    def scaled(self, factor: float) -> Limit:
        """Return the limit with *factor* times the tries, at least one of each."""
        return dataclasses.replace(
            self,
            burst=max(1, int(self.burst * factor)),
            burst_after_failure=max(1, int(self.burst_after_failure * factor)) if self.burst_after_failure else 0,
            refill_s=self.refill_s / factor,
            free=max(1, int(self.free * factor)),
            stop_at=max(1, int(self.stop_at * factor)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """All limits of the login throttle. ``docs/explanation/throttling.md`` gives the reasons.

    Attributes:
        pair: One account from one network.
        strangers: One account from all networks that never logged in to it: 10 at once, 20 in any hour.
        network: All accounts from one network (/24, /64).
        network56: The same for the /56 around it, which a subscriber may have; IPv6 only.
        network48: The same for the /48 around it, which a site may have; IPv6 only.
        service: All pairs that never logged in. Half of it is kept for networks without a failure within the last day:
            many guessing networks cannot use up the share of the others.
        account: One account from everywhere: it stops at 100 failures in a row (NIST SP 800-63B-4, 3.2.2). Strangers
            stop at 80, so that the last 20 are left to networks that logged in before.
        known_s: How long a pair is remembered after it logged in.
        known_networks: How many networks are remembered per account, the latest ones.
    """

    pair: Limit = Limit(burst=16, refill_s=900.0, free=5)
    strangers: Limit = Limit(burst=16, refill_s=900.0, free=10, stop_at=80, forget_s=7 * DAY_S)
    network: Limit = Limit(burst=50, refill_s=36.0)
    network56: Limit = Limit(burst=75, refill_s=24.0)
    network48: Limit = Limit(burst=100, refill_s=18.0)
    service: Limit = Limit(burst=300, refill_s=1.0, burst_after_failure=150)
    account: Limit = Limit(burst=1, refill_s=0.0, stop_at=100, forget_s=7 * DAY_S)
    known_s: float = 90 * DAY_S
    known_networks: int = 16

    def by_scope(self) -> Mapping[str, Limit]:
        """Return scope → limit, in the order of ``STRANGER``."""
        return MappingProxyType({scope: getattr(self, scope) for scope in STRANGER})

    def scaled(self, factor: float) -> Limits:
        """Return limits with *factor* times the tries: below 1 for a share, above 1 for a test."""
        scaled: dict[str, Any] = {scope: limit.scaled(factor) for scope, limit in self.by_scope().items()}
        return dataclasses.replace(self, **scaled)


def whole_seconds(seconds: float) -> int:
    """Return *seconds* rounded up for a header field, so that no client comes back too early.

    The difference of two times is off by some 1e-11 s, which is no reason for one second more.
    """
    return math.ceil(seconds - INSTANT_S)


def waits_of(limits: Mapping[str, Limit], records: Mapping[str, Record], now: float) -> Mapping[str, float]:
    """Return scope → how long the caller of the *current* records has to wait."""
    is_fresh = not any(records[scope].streak for scope in NETWORKS if scope in records)
    return {scope: limits[scope].wait_s(record, now, is_fresh=is_fresh) for scope, record in records.items()}
