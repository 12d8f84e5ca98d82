"""One run: all levels of load, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from velro_auth.ops.bench.document import Level
from velro_auth.ops.bench.evaluation import Thresholds
from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.openloop import OpenLoop
from velro_auth.ops.bench.progress import Progress
from velro_auth.ops.bench.schedule import PAUSE_S, BenchPlan, Schedule, schedule_of
from velro_auth.ops.bench.target import Target


@dataclass(frozen=True, kw_only=True)
class BenchRun:
    """Runs all levels of a plan."""

    plan: BenchPlan
    target: Target
    thresholds: Thresholds
    progress: Progress
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.perf_counter

    def __call__(self) -> list[Level]:
        """Run all levels and return their results."""
        levels = []
        for index in range(len(self.plan.levels_rps)):
            if self.plan.gently and index:
                self.progress.pause(PAUSE_S)
                self.sleep(PAUSE_S)
            levels.append(self._level(schedule_of(self.plan, index)))
        return levels

    def _level(self, schedule: Schedule) -> Level:
        self.progress.start_level(schedule.rps, len(schedule.arrivals), schedule.why_shortened)
        loop = OpenLoop(
            schedule.arrivals,
            self.target,
            threads=self.plan.connections,
            give_up_after_s=schedule.duration_s + self.plan.timeout_s,
            clock=self.clock,
        )
        opened, started_s = self.target.connections_opened, self.clock()
        samples = loop.run(self.progress.update)
        found = figures(samples)
        level = Level(
            schedule=schedule,
            took_s=self.clock() - started_s,
            connections_opened=self.target.connections_opened - opened,
            samples=samples,
            figures=found,
            verdict=self.thresholds.evaluate(found),
        )
        self.progress.end_level(level)
        return level
