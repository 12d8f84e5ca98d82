"""What each level of load sends and when, decided before the first request is sent."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

#: What a login request contains.
Kind: TypeAlias = Literal["good", "wrong_password", "unknown_user"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: Supabase's bucket for password logins holds 30 per address (``GOTRUE_RATE_LIMIT_TOKEN_REFRESH``, 150 in 5 minutes);
#: five are left to other users of the same address.
BURST: Final = 25
REFILL_PER_S: Final = 0.5
#: Time until the bucket is full again.
PAUSE_S: Final = 60.0

#: Upper limit for the requests of one level.
MAX_REQUESTS: Final = 20_000

RATE_LIMIT_REASON: Final = (
    "Supabase accepts 30 password logins at once and then one every 2 s for each address, so beyond that every answer"
    " is 429, for this benchmark and for other users"
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: its kind, and when it is due, in seconds after the start."""

    at_s: float
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What to send.

    *connections* is the maximum number of requests in flight; *gently* means below Supabase's rate limit.
    """

    levels_rps: Sequence[float]
    duration_s: float
    mix: Mapping[Kind, float]
    seed: int
    connections: int
    timeout_s: float
    gently: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """The requests of one level, and why there are fewer than asked for (empty: there are not)."""

    rps: float
    seed: int
    arrivals: Sequence[Arrival]
    duration_s: float
    why_shortened: str = ""


def schedule_of(plan: BenchPlan, index: int) -> Schedule:
    """Return the requests of one level, within all limits."""
    rps, seed = plan.levels_rps[index], plan.seed + index
    arrivals = poisson(rate_per_s=rps, duration_s=plan.duration_s, mix=plan.mix, seed=seed)
    kept, reason = len(arrivals), ""
    if plan.gently and (allowed := len(within_limit(arrivals))) < kept:
        kept, reason = allowed, RATE_LIMIT_REASON
    elif kept > MAX_REQUESTS:
        kept, reason = MAX_REQUESTS, f"a level sends at most {MAX_REQUESTS} requests"
    duration_s = arrivals[kept].at_s if reason else plan.duration_s
    return Schedule(rps, seed, arrivals[:kept], duration_s, reason)


def poisson(*, rate_per_s: float, duration_s: float, mix: Mapping[Kind, float], seed: int) -> tuple[Arrival, ...]:
    """Return requests as independent users send them: at random times, *rate_per_s* on average.

    Evenly spaced requests would never overlap and so never show the cost of queueing. The same *seed* gives the same
    schedule, so that two runs can be compared.
    """
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    kinds, weights = list(mix), list(mix.values())
    arrivals = []
    at_s = chance.expovariate(rate_per_s)
    while at_s < duration_s:
        arrivals.append(Arrival(at_s, chance.choices(kinds, weights)[0]))
        at_s += chance.expovariate(rate_per_s)
    return tuple(arrivals)


def within_limit(arrivals: Sequence[Arrival]) -> tuple[Arrival, ...]:
    """Return the first of *arrivals*, as many as Supabase's rate limit allows.

    Further logins would be answered 429, which measures nothing and blocks other users of the same address.
    """
    for index, arrival in enumerate(arrivals):
        if index + 1 > BURST + REFILL_PER_S * arrival.at_s:
            return tuple(arrivals[:index])
    return tuple(arrivals)
