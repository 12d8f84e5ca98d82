"""One run: every level of load after the other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from velro_auth.ops.bench.answers import Answer, Sample
from velro_auth.ops.bench.document import Level
from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.openloop import OpenLoop
from velro_auth.ops.bench.schedule import PAUSE_S, Arrival, Kind, poisson, within_limit
from velro_auth.ops.bench.verdict import Thresholds

#: A level sends no more than this, whatever was asked for.
MOST_REQUESTS: Final = 20_000

WHY_GENTLE: Final = (
    "Supabase lets 30 password logins through at once and then one every 2 s for each address, so beyond that"
    " every answer is 429, for this benchmark and for people alike"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What to send.

    Attributes:
        levels_rps: Requests per second of each level.
        duration_s: How long each level lasts.
        mix: How often each kind is asked, relative to the others.
        seed: Of the schedules; each level gets one of its own.
        connections: Most requests in flight at one time.
        timeout_s: How long one answer may take.
        gently: Whether to stay below Supabase's rate limit.
    """

    levels_rps: Sequence[float]
    duration_s: float
    mix: Mapping[Kind, float]
    seed: int
    connections: int
    timeout_s: float
    gently: bool


class Sends(Protocol):
    """Whatever sends a login, as ``Target`` does."""

    @property
    def connections_opened(self) -> int:
        """How many connections were opened so far."""

    def __call__(self, arrival: Arrival, /) -> Answer:
        """Send one login."""


class Watches(Protocol):
    """Whoever wants to know how a run goes."""

    def begins(self, rps: float, planned: int, cut: str) -> None:
        """A level begins."""

    def goes_on(self, samples: Sequence[Sample]) -> None:
        """So much of the level is done."""

    def ends(self, level: Level) -> None:
        """A level is over."""

    def pauses(self, pause_s: float) -> None:
        """Nothing is sent for a while."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The requests of one level, and why they are fewer than asked for."""

    rps: float
    seed: int
    arrivals: Sequence[Arrival]
    duration_s: float
    cut: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Runs every level of a plan.

    Attributes:
        plan: What to send.
        send: Sends one login.
        thresholds: What is good enough.
        watcher: Told how it goes.
        sleep: Waits for so many seconds.
        clock: A clock that never jumps, in seconds.
    """

    plan: BenchPlan
    send: Sends
    thresholds: Thresholds
    watcher: Watches
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.perf_counter

    def __call__(self) -> list[Level]:
        """Run all levels and return what came of them."""
        levels = []
        for index in range(len(self.plan.levels_rps)):
            if self.plan.gently and index:
                self.watcher.pauses(PAUSE_S)
                self.sleep(PAUSE_S)
            levels.append(self._level(schedule_of(self.plan, index)))
        return levels

    def _level(self, schedule: Schedule) -> Level:
        self.watcher.begins(schedule.rps, len(schedule.arrivals), schedule.cut)
        loop = OpenLoop(
            schedule.arrivals,
            self.send,
            threads=self.plan.connections,
            give_up_after_s=schedule.duration_s + self.plan.timeout_s,
            clock=self.clock,
        )
        opened, started_s = self.send.connections_opened, self.clock()
        samples = loop.run(self.watcher.goes_on)
        found = figures(samples)
        level = Level(
            rps=schedule.rps,
            duration_s=schedule.duration_s,
            seed=schedule.seed,
            planned=len(schedule.arrivals),
            cut=schedule.cut,
            took_s=self.clock() - started_s,
            connections_opened=self.send.connections_opened - opened,
            samples=samples,
            figures=found,
            verdict=self.thresholds.judge(found),
        )
        self.watcher.ends(level)
        return level


def schedule_of(plan: BenchPlan, index: int) -> Schedule:
    """Return the requests of one level, within all limits."""
    rps, seed = plan.levels_rps[index], plan.seed + index
    arrivals = poisson(rate_per_s=rps, duration_s=plan.duration_s, mix=plan.mix, seed=seed)
    whole = Schedule(rps, seed, arrivals, plan.duration_s)
    if plan.gently and len(kept := within_limit(arrivals)) < len(arrivals):
        return _cut(whole, len(kept), WHY_GENTLE)
    if len(arrivals) > MOST_REQUESTS:
        return _cut(whole, MOST_REQUESTS, f"a level sends at most {MOST_REQUESTS} requests")
    return whole


def _cut(schedule: Schedule, count: int, why: str) -> Schedule:
    ends_s = schedule.arrivals[count].at_s
    return dataclasses.replace(schedule, arrivals=schedule.arrivals[:count], duration_s=ends_s, cut=why)
