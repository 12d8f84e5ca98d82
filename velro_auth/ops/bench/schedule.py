"""When each request is due and what it asks, decided before the first one is sent."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

#: What a request asks for.
Kind: TypeAlias = Literal["good", "wrong_password", "unknown_user"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: Supabase's bucket for password logins holds 30 per address (``GOTRUE_RATE_LIMIT_TOKEN_REFRESH``, 150 in 5 minutes);
#: five are left to the people who log in meanwhile.
BURST: Final = 25
REFILL_PER_S: Final = 0.5
#: How long the bucket takes to fill up again.
PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: what it asks, and when it is due, in seconds after the start."""

    at_s: float
    kind: Kind


def poisson(*, rate_per_s: float, duration_s: float, mix: Mapping[Kind, float], seed: int) -> tuple[Arrival, ...]:
    """Return requests as independent users make them: at random moments, *rate_per_s* on average.

    Evenly spaced requests would never meet each other, and so never show what a queue costs. The same *seed* gives
    the same schedule, so that two runs can be compared.
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
    """Return the first of *arrivals*, as many as Supabase's rate limit lets through.

    Beyond it every answer is 429, which measures nothing and locks out whoever logs in from the same address.
    """
    for index, arrival in enumerate(arrivals):
        if index + 1 > BURST + REFILL_PER_S * arrival.at_s:
            return tuple(arrivals[:index])
    return tuple(arrivals)
