"""What a watch comes to, record by record, in bounded memory: the same for a live watch and for a file read anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.ops.monitor.event_log import SCHEMA
from velro_auth.ops.monitor.incidents import Incident, Tracker
from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.timeline import Tally, Timeline
from velro_auth.telemetry.slo import LEVELS, Level

#: Of incidents, gaps, deploys and runs each the first so many are kept, and the rest counted.
MOST_KEPT: Final = 1000
_MOST_OUTCOMES: Final = 50

#: Nothing seen for so many intervals, and a second for the machine's own hiccups: nobody was watching.
_GAP_INTERVALS: Final = 3
_HICCUP_S: Final = 1.0


@dataclass(slots=True)
class Interval:
    """A stretch of time: one run of the monitor, or one in which nothing was watched."""

    began_s: float
    ended_s: float

    @property
    def lasted_s(self) -> float:
        """How long it was."""
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True)
class VersionChange:
    """Another build answered than before."""

    at_s: float
    was: str
    now: str


class TargetStatistics:
    """What was seen of one target."""

    def __init__(self) -> None:
        self.total: Final = Tally()
        self.outcomes: Final = Counter[str]()
        self.tracker: Final = Tracker()
        self.down_s = 0.0
        #: How often there was an answer, whatever it said.
        self.answers = 0
        #: What was seen last.
        self.last: Observation | None = None

    def add(self, seen: Observation) -> list[Incident]:
        """Count one observation; return the incidents that began or ended with it."""
        self.last = seen
        self.answers += seen.status is not None
        self.total.add(seen)
        is_new = seen.outcome not in self.outcomes and len(self.outcomes) >= _MOST_OUTCOMES
        self.outcomes["other" if is_new else seen.outcome] += 1
        return self._noted(self.tracker.see(seen))

    def close(self, at_s: float) -> list[Incident]:
        """Nobody looks any more from *at_s* on."""
        return self._noted(self.tracker.close(at_s, "unwatched"))

    def _noted(self, changed: list[Incident]) -> list[Incident]:
        self.down_s += sum(one.lasted_s(one.began_s) for one in changed if one.ended_s is not None)
        return changed


class Aggregate:
    """Adds up the records of one file."""

    def __init__(self) -> None:
        #: What the latest run was told.
        self.settings: Mapping[str, Any] = {}
        self.accounts: Final[dict[str, TargetStatistics]] = {}
        self.timeline: Timeline | None = None
        self.runs: Final[list[Interval]] = []
        self.gaps: Final[list[Interval]] = []
        self.incidents: Final[list[Incident]] = []
        self.deploys: Final[list[VersionChange]] = []
        #: Alerts that are on, by name.
        self.alerts: Final[dict[str, Incident]] = {}
        #: What they are at now; the incident keeps the worst.
        self.alert_levels: Final[dict[str, Level]] = {}
        #: How many of what is kept were left out.
        self.left_out: Final = Counter[str]()
        self.unwatched_s = 0.0
        self._is_running = False
        #: The build that answered last.
        self._build = ""

    @property
    def began_s(self) -> float:
        """When the first run began."""
        return self.runs[0].began_s if self.runs else 0.0

    @property
    def last_s(self) -> float:
        """When something was recorded last."""
        return self.runs[-1].ended_s if self.runs else 0.0

    @property
    def answers(self) -> int:
        """How often there was an answer, of any target."""
        return sum(account.answers for account in self.accounts.values())

    @property
    def watched_s(self) -> float:
        """How long somebody watched."""
        return max(0.0, self.last_s - self.began_s - self.unwatched_s)

    def add(self, record: Mapping[str, Any]) -> list[str]:
        """Add one record; return what is news for whoever watches.

        Raises:
            ValueError: It is none of ours.
        """
        add = {"run": self._run, "observation": self._observation, "alert": self._alert, "end": self._end}
        if not self.runs and record.get("kind") != "run":
            raise ValueError("a file begins with its run")
        try:
            return add[record["kind"]](float(record["at"]), record)
        except (KeyError, TypeError, StopIteration) as error:
            raise ValueError("no record of a watch") from error

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
        seen = Observation.of(record)
        assert self.timeline is not None
        # Not where it was never sent: a monitor that slept did not watch meanwhile.
        news = [] if seen.verdict == "unsent" else self._seen_at(seen.at_s)
        news += self._deployed(seen) if seen.target == "version" and seen.verdict == "success" else []
        self.timeline.add(seen)
        changed = self.accounts.setdefault(seen.target, TargetStatistics()).add(seen)
        return [*news, *self._changed(changed)]

    def _alert(self, at_s: float, record: Mapping[str, Any]) -> list[str]:
        news = self._seen_at(at_s)
        name, text = str(record["alert"]), str(record["text"])
        level: Level = next(level for level in LEVELS if level == record["level"])
        if level == "ok":
            self._call_off(name, at_s)
        else:
            self._raise(name, level, Incident(str(record["target"]), "alert", text, at_s, level=level))
        return [*news, text]

    def _raise(self, name: str, level: Level, incident: Incident) -> None:
        self.alert_levels[name] = level
        if (known := self.alerts.get(name)) is None:
            self.alerts[name] = incident
            self._keep("incidents", self.incidents, incident)
        elif level == "critical":
            known.what, known.level = incident.what, level

    def _call_off(self, name: str, at_s: float) -> None:
        self.alert_levels.pop(name, None)
        if (known := self.alerts.pop(name, None)) is not None:
            known.end(at_s, "recovery")

    def _end(self, at_s: float, _: Mapping[str, Any]) -> list[str]:
        news = self._seen_at(at_s)
        self._is_running = False
        return news

    def _seen_at(self, at_s: float) -> list[str]:
        run = self.runs[-1]
        news = self._gap(run.ended_s, at_s) if self._is_running else []
        run.ended_s = max(run.ended_s, at_s)
        return news

    def _gap(self, from_s: float, to_s: float) -> list[str]:
        """Note that nobody watched, if it was for long."""
        gap = Interval(from_s, to_s)
        if gap.lasted_s <= _GAP_INTERVALS * self.settings["interval_s"] + _HICCUP_S:
            return []
        self._keep("gaps", self.gaps, gap)
        self.unwatched_s += gap.lasted_s
        for account in self.accounts.values():
            account.close(from_s)
        return [f"not watched for {gap.lasted_s:.0f} s"]

    def _deployed(self, seen: Observation) -> list[str]:
        was, self._build = self._build, seen.note or self._build
        if was in {"", self._build}:
            return []
        self._keep("deploys", self.deploys, VersionChange(seen.at_s, was, seen.note))
        return [f"another build answers: {seen.note} (was {was})"]

    def _changed(self, incidents: list[Incident]) -> list[str]:
        news = []
        for incident in incidents:
            if incident.ended_s is None:
                self._keep("incidents", self.incidents, incident)
                news.append(str(incident))
            else:
                news.append(f"{incident.target}: over after {incident.lasted_s(0):.1f} s ({incident.what})")
        return news

    def _keep(self, name: str, kept: list[Any], one: Any) -> None:
        if len(kept) < MOST_KEPT:
            kept.append(one)
        else:
            self.left_out[name] += 1
