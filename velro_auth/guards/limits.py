"""How many tries there are, and when the next one is allowed; pure arithmetic, no clock and no store.

Each limit is two rules over one small record. A *bucket* holds ``burst`` tries and forgets one each
``refill_s``, so no hour ever sees more than ``burst + 3600 / refill_s`` of them (the generic cell rate
algorithm: one number instead of a list of times). A *streak* counts failures in a row: the first ``free`` cost
no time, then the wait doubles from ``first_delay_s`` to ``longest_delay_s``, and at ``stop_at`` it ends until
the streak is forgotten, ended by a success, or released by the operator.

``guards/script.py`` says the same in Lua; a test drives both with the same steps and compares every number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

NEVER: Final = 10**9
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S

#: What is counted for a caller, in this order everywhere. A pair that logged in before answers for itself
#: alone, and for the account's total.
STRANGER: Final = ("pair", "strangers", "network", "service", "account")
KNOWN: Final = ("pair", "account")

#: Streaks that a success ends. An attacker may own an account, so a success never clears a network.
ENDED_BY_SUCCESS: Final = frozenset({"pair", "strangers", "account"})

#: Waits shorter than this are rounding.
INSTANT_S: Final = 1e-6


class Record(NamedTuple):
    """What is remembered about one key.

    Attributes:
        full_until: When the bucket will be empty again, on the store's clock (the theoretical arrival time).
        streak: Failures in a row.
        last: When the last one was counted.
    """

    full_until: float = 0.0
    streak: int = 0
    last: float = 0.0

    def says_nothing(self, now: float) -> bool:
        """Return whether no record at all would do as well."""
        return self.streak == 0 and self.full_until <= now

    def is_earlier_than(self, other: Record) -> bool:
        """Return whether *other* had times that this one has not: they lay in the future."""
        return self.last < other.last or self.full_until < other.full_until


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller may still do, for the ``RateLimit`` and ``RateLimit-Policy`` fields.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """One row of the table of limits.

    Attributes:
        burst: Tries that the bucket holds.
        refill_s: How often it forgets one; 0 for no bucket.
        free: Failures in a row before waiting begins.
        first_delay_s: The first wait (30 s: NIST SP 800-63B-4, 3.2.2).
        longest_delay_s: The longest wait (one hour: the same).
        stop_at: Failures in a row that end it.
        forget_s: How long after the last failure the streak is forgotten.
    """

    burst: int
    refill_s: float
    free: int = NEVER
    first_delay_s: float = 30.0
    longest_delay_s: float = HOUR_S
    stop_at: int = NEVER
    forget_s: float = DAY_S

    @property
    def idle_s(self) -> float:
        """Return how long after the last try a record says nothing any more."""
        return max(self.forget_s, self.burst * self.refill_s)

    def current(self, record: Record, now: float) -> Record:
        """Return *record* as it stands at *now*.

        A clock that was set back must not make a wait longer than a limit can be: no wait is for ever.
        """
        last = min(record.last, now)
        streak = 0 if now - last >= self.forget_s else record.streak
        return Record(min(record.full_until, now + self.burst * self.refill_s), streak, last)

    def wait_s(self, record: Record, now: float) -> float:
        """Return how long a *current* record makes its caller wait; 0 for not at all."""
        wait = record.full_until - (self.burst - 1) * self.refill_s - now
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

    def given_back(self, record: Record, *, stamp: float, before: float) -> Record:
        """Return the record without the try of *stamp*, which found *before* as the time of the last one."""
        last = before if record.last == stamp else record.last
        return Record(record.full_until - self.refill_s, max(0, record.streak - 1), last)

    def allowance(self, record: Record, now: float) -> Allowance:
        """Return what is left after *record*, as data for the ``RateLimit`` fields."""
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
        service: Everything from pairs that never logged in.
        account: One account from everywhere: 100 failures in a row and it ends (NIST SP 800-63B-4, 3.2.2).
            Strangers end at 80, so that the last 20 are left to networks that did log in before.
        known_s: How long a pair is remembered after it logged in.
        known_networks: How many networks are remembered per account, the latest ones.
    """

    pair: Limit = Limit(burst=16, refill_s=900.0, free=5)
    strangers: Limit = Limit(burst=16, refill_s=900.0, free=10, stop_at=80, forget_s=7 * DAY_S)
    network: Limit = Limit(burst=50, refill_s=36.0)
    service: Limit = Limit(burst=300, refill_s=1.0)
    account: Limit = Limit(burst=1, refill_s=0.0, stop_at=100, forget_s=7 * DAY_S)
    known_s: float = 90 * DAY_S
    known_networks: int = 16

    def by_scope(self) -> Mapping[str, Limit]:
        """Return scope → limit, in the order of ``STRANGER``."""
        return MappingProxyType({scope: getattr(self, scope) for scope in STRANGER})

    def scaled(self, factor: float) -> Limits:
        """Return limits with *factor* times the tries: less than 1 for a share, more to open them for a test."""
        return dataclasses.replace(
            self,
            pair=self.pair.scaled(factor),
            strangers=self.strangers.scaled(factor),
            network=self.network.scaled(factor),
            service=self.service.scaled(factor),
            account=self.account.scaled(factor),
        )
