"""Levels one after the other, and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from velro_auth.ops.bench.answers import Answer, Sample
from velro_auth.ops.bench.document import Level
from velro_auth.ops.bench.run import MOST_REQUESTS, WHY_GENTLE, BenchPlan, Run, schedule_of
from velro_auth.ops.bench.schedule import Arrival
from velro_auth.ops.bench.verdict import Grade, Thresholds


class Sender:
    """Answers 200 at once."""

    connections_opened = 3

    def __init__(self, status: int = 200) -> None:
        self.sent: list[Arrival] = []
        self._status = status

    def __call__(self, arrival: Arrival, /) -> Answer:
        self.sent.append(arrival)
        return Answer(self._status)


@dataclass
class Watcher:
    """Writes down what it is told."""

    told: list[tuple[Any, ...]] = field(default_factory=list)

    def begins(self, rps: float, planned: int, cut: str) -> None:
        self.told.append(("begins", rps, planned, cut))

    def goes_on(self, samples: Sequence[Sample]) -> None:
        pass

    def ends(self, level: Level) -> None:
        self.told.append(("ends", level.rps))

    def pauses(self, pause_s: float) -> None:
        self.told.append(("pauses", pause_s))


def plan(*levels_rps: float, duration_s: float = 0.2, gently: bool = False) -> BenchPlan:
    return BenchPlan(
        levels_rps=levels_rps,
        duration_s=duration_s,
        mix={"good": 1, "wrong_password": 0, "unknown_user": 0},
        seed=1,
        connections=8,
        timeout_s=5,
        gently=gently,
    )


def test_levels_run_in_turn_with_schedules_of_their_own() -> None:
    sender, watcher = Sender(), Watcher()

    levels = Run(plan=plan(100, 200), send=sender, thresholds=Thresholds(), watcher=watcher)()

    assert [level.rps for level in levels] == [100, 200]
    assert [len(level.samples) for level in levels] == [level.planned for level in levels]
    assert [level.seed for level in levels] == [1, 2]
    assert sum(level.planned for level in levels) == len(sender.sent)
    assert [word[0] for word in watcher.told] == ["begins", "ends"] * 2
    assert all(level.connections_opened == 0 for level in levels)
    # A busy machine may send late, and that is said; nothing else may be.
    assert all("fell behind" in reason for level in levels for reason in level.verdict.reasons)


def test_a_gentle_run_stays_below_the_limit_and_waits_between_levels() -> None:
    pauses: list[float] = []
    sender, watcher = Sender(), Watcher()
    gentle = plan(1000, 1000, gently=True)

    levels = Run(plan=gentle, send=sender, thresholds=Thresholds(), watcher=watcher, sleep=pauses.append)()

    assert [level.planned for level in levels] == [25, 25]
    assert [level.cut for level in levels] == [WHY_GENTLE, WHY_GENTLE]
    assert all(level.duration_s < 0.2 for level in levels)
    assert pauses == [60.0]
    assert ("pauses", 60.0) in watcher.told


def test_a_gentle_run_that_is_slow_enough_is_left_whole() -> None:
    """One login in four seconds is half of what the limit allows."""
    schedule = schedule_of(plan(0.25, duration_s=600, gently=True), 0)

    assert schedule.cut == ""
    assert schedule.duration_s == 600


def test_a_level_is_bounded_by_count() -> None:
    schedule = schedule_of(plan(1000, duration_s=60), 0)

    assert len(schedule.arrivals) == MOST_REQUESTS
    assert schedule.duration_s < 30
    assert str(MOST_REQUESTS) in schedule.cut


def test_a_failing_service_gets_its_verdict() -> None:
    [level] = Run(plan=plan(100), send=Sender(503), thresholds=Thresholds(), watcher=Watcher())()

    assert level.verdict.grade is Grade.CRITICAL
