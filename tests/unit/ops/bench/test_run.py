"""Levels one after the other, and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from velro_auth.ops.bench.document import Level
from velro_auth.ops.bench.evaluation import Thresholds
from velro_auth.ops.bench.openloop import Answer, Sample
from velro_auth.ops.bench.progress import Progress
from velro_auth.ops.bench.run import BenchRun
from velro_auth.ops.bench.schedule import MAX_REQUESTS, RATE_LIMIT_REASON, Arrival, BenchPlan, schedule_of
from velro_auth.ops.bench.target import Target
from velro_auth.ops.verdict import Grade


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
class ProgressDouble:
    """Records the calls."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def start_level(self, rps: float, planned: int, why_shortened: str) -> None:
        self.calls.append(("begins", rps, planned, why_shortened))

    def update(self, samples: Sequence[Sample]) -> None:
        pass

    def end_level(self, level: Level) -> None:
        self.calls.append(("ends", level.schedule.rps))

    def pause(self, pause_s: float) -> None:
        self.calls.append(("pauses", pause_s))


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


def run_levels(target: Sender, progress: ProgressDouble, **options: Any) -> list[Level]:
    return BenchRun(
        target=cast("Target", target), progress=cast("Progress", progress), thresholds=Thresholds(), **options
    )()


def test_levels_run_in_turn_with_schedules_of_their_own() -> None:
    sender, progress = Sender(), ProgressDouble()

    levels = run_levels(sender, progress, plan=plan(100, 200))

    assert [level.schedule.rps for level in levels] == [100, 200]
    assert [len(level.samples) for level in levels] == [len(level.schedule.arrivals) for level in levels]
    assert [level.schedule.seed for level in levels] == [1, 2]
    assert sum(len(level.schedule.arrivals) for level in levels) == len(sender.sent)
    assert [word[0] for word in progress.calls] == ["begins", "ends"] * 2
    assert all(level.connections_opened == 0 for level in levels)
    # A busy machine may send late, and that is said; nothing else may be.
    assert all("fell behind" in reason for level in levels for reason in level.verdict.reasons)


def test_a_gentle_run_stays_below_the_limit_and_waits_between_levels() -> None:
    pauses: list[float] = []
    sender, progress = Sender(), ProgressDouble()
    gentle = plan(1000, 1000, gently=True)

    levels = run_levels(sender, progress, plan=gentle, sleep=pauses.append)

    assert [len(level.schedule.arrivals) for level in levels] == [25, 25]
    assert [level.schedule.why_shortened for level in levels] == [RATE_LIMIT_REASON, RATE_LIMIT_REASON]
    assert all(level.schedule.duration_s < 0.2 for level in levels)
    assert pauses == [60.0]
    assert ("pauses", 60.0) in progress.calls


def test_a_gentle_run_that_is_slow_enough_is_left_whole() -> None:
    """One login in four seconds is half of what the limit allows."""
    schedule = schedule_of(plan(0.25, duration_s=600, gently=True), 0)

    assert schedule.why_shortened == ""
    assert schedule.duration_s == 600


def test_a_level_is_bounded_by_count() -> None:
    schedule = schedule_of(plan(1000, duration_s=60), 0)

    assert len(schedule.arrivals) == MAX_REQUESTS
    assert schedule.duration_s < 30
    assert str(MAX_REQUESTS) in schedule.why_shortened


def test_a_failing_service_gets_its_verdict() -> None:
    [level] = run_levels(Sender(503), ProgressDouble(), plan=plan(100))

    assert level.verdict.grade is Grade.CRITICAL
