"""A watch from its first observation to its report."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from velro_auth import __version__
from velro_auth.ops.monitor.event_log import SCHEMA
from velro_auth.ops.monitor.levels import Levels
from velro_auth.ops.monitor.poller import Poll, Poller
from velro_auth.ops.monitor.probes import PATHS, Ask, Get, Login
from velro_auth.ops.monitor.recorder import Recorder
from velro_auth.ops.monitor.schedule import Pace
from velro_auth.telemetry.slo import SloTarget

#: How often a stop is noticed, at least.
_TURN_S: Final = 0.2
#: Between two judgements of the last minutes.
_LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class MonitorPlan:
    """What is watched, how often, and what is demanded of it.

    Attributes:
        url: Address of the service.
        interval_s: Between two looks at one target.
        timeout_s: Limit for one answer.
        login_every_s: Between two logins; None without.
        duration_s: How long to watch; None until stopped.
        window_s: Length of the rolling window.
        promise: The thresholds.
        raise_after_s: How long a worse level lasts before it is announced.
        clear_after_s: The same for a better one.
    """

    url: str
    interval_s: float
    timeout_s: float
    login_every_s: float | None
    duration_s: float | None
    window_s: float
    promise: SloTarget
    raise_after_s: float
    clear_after_s: float

    @property
    def targets(self) -> tuple[str, ...]:
        """What is watched."""
        return (*PATHS, *(("login", "logout") if self.login_every_s is not None else ()))

    @property
    def longest_s(self) -> float:
        """How long what is under way may take to end: a login, and then its logout."""
        return 2 * self.timeout_s + _TURN_S

    def record(self, at_s: float) -> dict[str, Any]:
        """Return it as the first line of a run."""
        return {
            "kind": "run",
            "schema": SCHEMA,
            "at": round(at_s, 3),
            "version": __version__,
            "url": self.url,
            "targets": list(self.targets),
            "interval_s": self.interval_s,
            "timeout_s": self.timeout_s,
            "login_every_s": self.login_every_s,
            "window_s": self.window_s,
            "p95_warning_ms": self.promise.p95_warning_ms,
            "p95_critical_ms": self.promise.p95_critical_ms,
            "success_rate_min_percent": self.promise.success_rate_min,
            "raise_after_s": self.raise_after_s,
            "clear_after_s": self.clear_after_s,
        }


def rounds(plan: MonitorPlan, ask: Ask, *, email: str, password: str, clock: Callable[[], float]) -> list[Poll]:
    """Return what has to be asked."""
    found = [
        Poll(target=name, probe=Get(name, ask, clock), every_s=plan.interval_s, lasts_s=plan.timeout_s)
        for name in PATHS
    ]
    if plan.login_every_s is not None:
        login = Login(email, password, ask, clock)
        every_s, pace = plan.login_every_s, Pace(plan.login_every_s)
        found.append(Poll(target="login", probe=login, every_s=every_s, lasts_s=plan.longest_s, pace=pace))
    return found


class Watch:
    """Takes in what the patrol sees: keeps it, judges it, shows it.

    Args:
        plan: What was asked for.
        patrol: Sees.
        book: Keeps.
        levels: Judges.
        clock: The time of day in seconds, never going back.
    """

    def __init__(
        self, plan: MonitorPlan, *, patrol: Poller, book: Recorder, levels: Levels, clock: Callable[[], float]
    ) -> None:
        self._plan, self._patrol, self._book, self._levels = plan, patrol, book, levels
        self._clock = clock
        self._looks_s = 0.0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Watch until the time is over or *stopped* says so."""
        starts_s = self._clock()
        ends_s = math.inf if self._plan.duration_s is None else starts_s + self._plan.duration_s
        self._book.keep(self._plan.record(starts_s))
        self._patrol.start()
        try:
            while not stopped() and self._clock() < ends_s:
                self._take(_TURN_S)
                self._look()
        finally:
            # The end is now: while the last answers are waited for, nothing new is asked.
            ended_s = self._clock()
            self._patrol.stop(self._plan.longest_s)
            while self._take(0):
                pass
            self._levels.look(ended_s)
            self._book.keep({"kind": "end", "at": round(ended_s, 3)})

    def _take(self, within_s: float) -> bool:
        """Take in one observation; tell whether there was one."""
        try:
            seen = self._patrol.seen.get(block=within_s > 0, timeout=within_s)
        except queue.Empty:
            return False
        self._levels.note(seen)
        self._book.keep(seen.record())
        return True

    def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._looks_s >= _LOOK_EVERY_S:
            self._looks_s = now_s
            self._levels.look(now_s)
            self._book.display.update(now_s, self._levels.reading)
