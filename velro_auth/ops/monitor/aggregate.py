"""The sum of all records, in bounded memory: the same for a live run and for a file that is read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.observation_file import SCHEMA
from velro_auth.ops.monitor.target_statistics import Incident, TargetStatistics, Timeline
from velro_auth.telemetry.slo import LEVELS, Level

#: The first so many incidents, gaps, version changes and runs are kept; the others are only counted.
MAX_KEPT: Final = 1000

#: A time without observations is a gap when it is longer than this many intervals plus a tolerance.
_GAP_INTERVALS: Final = 3
_GAP_TOLERANCE_S: Final = 1.0


@dataclass(slots=True)
class Interval:
    """A run of the monitor, or a gap between two observations."""

    began_s: float
    ended_s: float

    @property
    def lasted_s(self) -> float:
        """Its duration."""
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True)
class VersionChange:
    """Another build answered than before."""

    at_s: float
    before: str
    after: str


class Aggregate:
    """Adds up the records of one file."""

    def __init__(self) -> None:
        #: The settings of the latest run.
        self.settings: Mapping[str, Any] = {}
        self.targets: Final[dict[str, TargetStatistics]] = {}
        self.timeline: Timeline | None = None
        self.runs: Final[list[Interval]] = []
        self.gaps: Final[list[Interval]] = []
        self.incidents: Final[list[Incident]] = []
        self.version_changes: Final[list[VersionChange]] = []
        #: Active alerts by name. The incident contains the worst level, ``alert_levels`` the present one.
        self.alerts: Final[dict[str, Incident]] = {}
        self.alert_levels: Final[dict[str, Level]] = {}
        #: How many incidents, gaps, version changes and runs were not kept.
        self.left_out: Final = Counter[str]()
        self.unwatched_s = 0.0
        self._is_running = False
        self._latest_build = ""

    @property
    def began_s(self) -> float:
        """Start of the first run."""
        return self.runs[0].began_s if self.runs else 0.0

    @property
    def last_s(self) -> float:
        """Time of the last record."""
        return self.runs[-1].ended_s if self.runs else 0.0

    @property
    def answers(self) -> int:
        """Number of answers of all targets."""
        return sum(statistics.answers for statistics in self.targets.values())

    @property
    def watched_s(self) -> float:
        """Duration of all runs without the gaps."""
        return max(0.0, self.last_s - self.began_s - self.unwatched_s)

    def add(self, record: Mapping[str, Any]) -> list[str]:
        """Add one record; return news for the display.

        Raises:
            ValueError: The record is invalid.
        """
        add = {"run": self._run, "observation": self._observation, "alert": self._alert, "end": self._end}
        if not self.runs and record.get("kind") != "run":
            raise ValueError("a file begins with its run")
        try:
            return add[record["kind"]](float(record["at"]), record)
        except (KeyError, TypeError, StopIteration) as error:
            raise ValueError("no record of the monitor") from error

    def _run(self, at_s: float, record: Mapping[str, Any]) -> list[str]:
        if record["schema"] != SCHEMA:
            raise ValueError(f"no file of schema {SCHEMA}")
        news = self._gap(self.last_s, at_s) if self.runs else []
        self.settings = {**record, "interval_s": float(record["interval_s"])}
        self.timeline = self.timeline or Timeline(at_s, max(1.0, 2 * self.settings["interval_s"]))
        self._keep("runs", self.runs, Interval(at_s, at_s))
        self.runs[-1].ended_s = at_s
        self._is_running = True
        return news

    def _observation(self, _: float, record: Mapping[str, Any]) -> list[str]:
        observation = Observation.of(record)
        assert self.timeline is not None
        # Unsent requests do not end a gap: a monitor that slept observed nothing.
        news = [] if observation.result == "unsent" else self._extend_run(observation.at_s)
        if observation.target == "version" and observation.result == "success":
            news += self._compare_build(observation)
        self.timeline.add(observation)
        changed = self.targets.setdefault(observation.target, TargetStatistics()).add(observation)
        return news + [self._incident_news(incident) for incident in changed]

    def _alert(self, at_s: float, record: Mapping[str, Any]) -> list[str]:
        news = self._extend_run(at_s)
        name, text = str(record["alert"]), str(record["text"])
        level: Level = next(level for level in LEVELS if level == record["level"])
        known = self.alerts.get(name)
        if level == "ok":
            self.alert_levels.pop(name, None)
            if known is not None:
                known.end(at_s, "recovery")
                del self.alerts[name]
            return [*news, text]
        self.alert_levels[name] = level
        if known is None:
            self.alerts[name] = Incident(str(record["target"]), "alert", text, at_s, level=level)
            self._keep("incidents", self.incidents, self.alerts[name])
        elif level == "critical":
            known.what, known.level = text, level
        return [*news, text]

    def _end(self, at_s: float, _: Mapping[str, Any]) -> list[str]:
        news = self._extend_run(at_s)
        self._is_running = False
        return news

    def _extend_run(self, at_s: float) -> list[str]:
        run = self.runs[-1]
        news = self._gap(run.ended_s, at_s) if self._is_running else []
        run.ended_s = max(run.ended_s, at_s)
        return news

    def _gap(self, from_s: float, to_s: float) -> list[str]:
        """Add a gap if the time was long enough; it ends all incidents."""
        gap = Interval(from_s, to_s)
        if gap.lasted_s <= _GAP_INTERVALS * self.settings["interval_s"] + _GAP_TOLERANCE_S:
            return []
        self._keep("gaps", self.gaps, gap)
        self.unwatched_s += gap.lasted_s
        for statistics in self.targets.values():
            statistics.close(from_s)
        return [f"not watched for {gap.lasted_s:.0f} s"]

    def _compare_build(self, observation: Observation) -> list[str]:
        before, self._latest_build = self._latest_build, observation.note or self._latest_build
        if before in {"", self._latest_build}:
            return []
        self._keep("deploys", self.version_changes, VersionChange(observation.at_s, before, observation.note))
        return [f"another build answers: {observation.note} (was {before})"]

    def _incident_news(self, incident: Incident) -> str:
        if incident.ended_s is not None:
            return f"{incident.target}: over after {incident.lasted_s(0):.1f} s ({incident.what})"
        self._keep("incidents", self.incidents, incident)
        return str(incident)

    def _keep(self, name: str, kept: list[Any], item: Any) -> None:
        if len(kept) < MAX_KEPT:
            kept.append(item)
        else:
            self.left_out[name] += 1
