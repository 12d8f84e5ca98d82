"""No login is refused without overload, shown with simulated traffic in simulated time."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.errors import Busy
from velro_auth.guards.asking import Bulkhead

#: What the default settings give: three quarters of 32 threads.
PERMITS: Final = 24

#: When the last call arrives, in seconds.
LENGTH_S: Final = 90.0

#: (chance, seconds since the start) → how long a call takes, in seconds.
Latency: TypeAlias = Callable[[random.Random, float], float]


@dataclass(frozen=True)
class Kind:
    """Calls of one kind.

    Attributes:
        per_s: How many arrive per second.
        latency: How long each takes.
        from_s: When they begin to arrive.
        until_s: When they cease to arrive.
        together: How many arrive at the same moment; more than one arrive at regular intervals.
    """

    per_s: float
    latency: Latency
    from_s: float = 0.0
    until_s: float = LENGTH_S
    together: int = 1


@dataclass
class Outcome:
    """What became of the calls: how many came and were refused, and how many were under way at most."""

    came: Counter[str]
    refused: Counter[str]
    most_under_way: int = 0


def about(median_s: float, spread: float = 0.2) -> Latency:
    return lambda chance, _: median_s * chance.lognormvariate(0.0, spread)


def bimodal(chance: random.Random, _: float) -> float:
    """Unknown accounts are answered without a password hash."""
    return chance.choice((0.012, 0.14))


def heavy_tailed(chance: random.Random, _: float) -> float:
    return min(5.0, 0.06 * chance.paretovariate(1.6))


def drifting(chance: random.Random, at_s: float) -> float:
    """Four times slower at the end than at the beginning."""
    return (0.06 + 0.18 * at_s / LENGTH_S) * chance.lognormvariate(0.0, 0.1)


ME: Final = about(0.008, 0.3)
REFRESH: Final = about(0.03, 0.3)
LOGIN: Final = about(0.13)

TRAFFIC: Final[Mapping[str, Mapping[str, Kind]]] = {
    "logins alone": {"login": Kind(20, LOGIN)},
    "bimodal": {"login": Kind(30, bimodal), "me": Kind(20, ME)},
    "heavy tail": {"login": Kind(20, heavy_tailed), "refresh": Kind(10, REFRESH)},
    "mixed kinds": {"login": Kind(25, LOGIN), "me": Kind(80, ME), "refresh": Kind(20, REFRESH)},
    "page views, then logins": {"me": Kind(80, ME, until_s=30), "login": Kind(35, LOGIN, from_s=30)},
    "slow drift": {"login": Kind(20, drifting), "me": Kind(40, ME)},
    "bursts": {"login": Kind(20, LOGIN, together=12), "me": Kind(40, ME), "refresh": Kind(2, REFRESH)},
}


def arrivals(kinds: Mapping[str, Kind], chance: random.Random) -> list[tuple[float, str, float]]:
    """Return when each call arrives, its kind, and how long it takes, in order of arrival."""

    def of(name: str, kind: Kind) -> Iterator[tuple[float, str, float]]:
        at_s, mean_s = kind.from_s, kind.together / kind.per_s
        while (at_s := at_s + (chance.expovariate(1 / mean_s) if kind.together == 1 else mean_s)) < kind.until_s:
            yield from ((at_s, name, kind.latency(chance, at_s)) for _ in range(kind.together))

    return sorted(call for name, kind in kinds.items() for call in of(name, kind))


def simulate(bulkhead: Bulkhead, calls: list[tuple[float, str, float]]) -> Outcome:
    """Send *calls* through *bulkhead*: each holds its permit until its simulated end."""
    under_way: list[tuple[float, int, AbstractContextManager[None]]] = []
    outcome = Outcome(Counter(), Counter())

    def leave_until(at_s: float) -> None:
        while under_way and under_way[0][0] <= at_s:
            _, _, permit = heapq.heappop(under_way)
            permit.__exit__(None, None, None)

    for number, (at_s, kind, took_s) in enumerate(calls):
        leave_until(at_s)
        outcome.came[kind] += 1
        permit = bulkhead.permit()
        try:
            permit.__enter__()
        except Busy:
            outcome.refused[kind] += 1
            continue
        heapq.heappush(under_way, (at_s + took_s, number, permit))
        outcome.most_under_way = max(outcome.most_under_way, len(under_way))
    leave_until(float("inf"))
    return outcome


@pytest.mark.parametrize("traffic", TRAFFIC)
@pytest.mark.parametrize("seed", range(5))
def test_healthy_traffic_is_never_refused_and_never_waits(traffic: str, seed: int) -> None:
    """The bulkhead has no queue here: a call that would have to wait is refused, and counted."""
    calls = arrivals(TRAFFIC[traffic], random.Random(seed))  # noqa: S311 - one seed, one traffic

    outcome = simulate(Bulkhead(permits=PERMITS, wait_s=0.0, max_waiting=0), calls)

    assert outcome.came["login"] > 1200
    assert outcome.refused == Counter()
    assert outcome.most_under_way <= PERMITS


@given(st.lists(st.floats(1e-6, 10.0), max_size=200), st.integers(1, 8))
def test_a_call_is_refused_only_while_all_permits_are_in_use(took_s: list[float], permits: int) -> None:
    """Whatever was measured before: what counts is how many calls are under way."""
    bulkhead = Bulkhead(permits=permits, wait_s=0.0, max_waiting=0)
    calls = [(0.1 * number, "login", seconds) for number, seconds in enumerate(took_s)]
    ends: list[float] = []
    expected = 0
    for at_s, _, seconds in calls:
        ends = [end for end in ends if end > at_s]
        if len(ends) == permits:
            expected += 1
        else:
            ends.append(at_s + seconds)

    outcome = simulate(bulkhead, calls)

    assert outcome.refused["login"] == expected
    assert bulkhead.in_use == 0
