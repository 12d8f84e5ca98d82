"""One run of the monitor, from its first observation to its end."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from velro_auth import __version__
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.display import Display
from velro_auth.ops.monitor.levels import Levels
from velro_auth.ops.monitor.observation_file import SCHEMA, ObservationFile
from velro_auth.ops.monitor.poller import LoginBackoff, Poll, Poller
from velro_auth.ops.monitor.probes import PATHS, Client, GetProbe, LoginProbe
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.slo import SloTarget

#: Longest wait for an observation, and so the delay until a stop is noticed.
_WAIT_S: Final = 0.2
#: Seconds between two evaluations of the service level.
_EVALUATE_EVERY_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class MonitorPlan:
    """What is monitored, how often, and its thresholds.

    Without *login_every_s* there are no logins; without *duration_s* the run lasts until it is stopped.
    """

    url: str
    interval_s: float
    timeout_s: float
    login_every_s: float | None
    duration_s: float | None
    window_s: float
    slo_target: SloTarget
    raise_after_s: float
    clear_after_s: float

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return (*PATHS, *(("login", "logout") if self.login_every_s is not None else ()))

    @property
    def longest_s(self) -> float:
        """Longest duration of a probe: a login and its logout."""
        return 2 * self.timeout_s + _WAIT_S

    def record(self, at_s: float) -> dict[str, Any]:
        """Return it as the first line of a run."""
        settings = asdict(self)
        del settings["slo_target"], settings["duration_s"]
        return {
            "kind": "run",
            "schema": SCHEMA,
            "at": round(at_s, 3),
            "version": __version__,
            "targets": list(self.targets),
            **settings,
            "p95_warning_ms": self.slo_target.p95_warning_ms,
            "p95_critical_ms": self.slo_target.p95_critical_ms,
            "success_rate_min_percent": self.slo_target.success_rate_min,
        }


def polls_of(plan: MonitorPlan, client: Client, *, email: str, password: str, clock: Callable[[], float]) -> list[Poll]:
    """Return the polls of a plan."""
    polls = [
        Poll(target=name, probe=GetProbe(name, client, clock), every_s=plan.interval_s, lasts_s=plan.timeout_s)
        for name in PATHS
    ]
    if plan.login_every_s is not None:
        login = LoginProbe(email, password, client, clock)
        every_s, backoff = plan.login_every_s, LoginBackoff(plan.login_every_s)
        polls.append(Poll(target="login", probe=login, every_s=every_s, lasts_s=plan.longest_s, backoff=backoff))
    return polls


@dataclass(frozen=True)
class Recorder:
    """Puts each record into the file, the aggregate and the display."""

    observation_file: ObservationFile
    aggregate: Aggregate
    display: Display
    clock: Callable[[], float]

    def record(self, record: Mapping[str, Any]) -> None:
        """Record one line."""
        self.observation_file.write(record)
        for news in self.aggregate.add(record):
            self.display.print_line(self.clock(), news)

    def record_alert(self, target: str, announcement: Announcement) -> None:
        """Record an alert."""
        fields = announcement.fields()
        self.record({**fields, "kind": "alert", "target": target, "at": round(announcement.at, 3)})


class MonitorRun:
    """Records, evaluates and shows the observations of a poller."""

    def __init__(
        self, plan: MonitorPlan, *, poller: Poller, recorder: Recorder, levels: Levels, clock: Callable[[], float]
    ) -> None:
        self._plan, self._poller, self._recorder, self._levels = plan, poller, recorder, levels
        self._clock = clock
        self._evaluated_s = 0.0

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Run until the duration is over or *is_stopped* returns True."""
        starts_s = self._clock()
        ends_s = math.inf if self._plan.duration_s is None else starts_s + self._plan.duration_s
        self._recorder.record(self._plan.record(starts_s))
        self._poller.start()
        try:
            while not is_stopped() and self._clock() < ends_s:
                self._record_next(_WAIT_S)
                self._evaluate()
        finally:
            # The run ends now: the wait for the last answers is not part of it.
            ended_s = self._clock()
            self._poller.stop(self._plan.longest_s)
            while self._record_next(0):
                pass
            self._levels.evaluate(ended_s)
            self._recorder.record({"kind": "end", "at": round(ended_s, 3)})

    def _record_next(self, within_s: float) -> bool:
        """Record the next observation; return whether there was one."""
        try:
            observation = self._poller.observations.get(block=within_s > 0, timeout=within_s)
        except queue.Empty:
            return False
        self._levels.add(observation)
        self._recorder.record(observation.record())
        return True

    def _evaluate(self) -> None:
        now_s = self._clock()
        if now_s - self._evaluated_s >= _EVALUATE_EVERY_S:
            self._evaluated_s = now_s
            self._levels.evaluate(now_s)
            self._recorder.display.update(now_s, self._levels.reading)
