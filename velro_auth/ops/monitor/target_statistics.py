"""What was observed of one target: counts and percentiles over time, and incidents, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from velro_auth.ops.monitor.observation import Observation
from velro_auth.telemetry.shared import BUCKETS, Durations, bucket

#: With more slices than this, each slice becomes twice as long.
MAX_SLICES: Final = 240

#: ``outage``: the target does not answer as it should. ``account``: the service works but refuses the monitored
#: account. ``alert``: a threshold is exceeded; see ``Levels``.
Kind: TypeAlias = Literal["outage", "account", "alert"]

#: How an incident ended. ``changed``: into one of another kind. ``unwatched``: the monitor stopped.
Ending: TypeAlias = Literal["", "recovery", "changed", "unwatched"]

#: How many failures in a row are an incident. Networks cause single failures, but never a refused password.
OPENS_AFTER: Final = {"outage": 2, "account": 1}

_MAX_OUTCOMES_OF_INCIDENT: Final = 20
_MAX_OUTCOMES_OF_TARGET: Final = 50
_FAILURES: Final = {
    "timeout": "no answer in time",
    "connection": "no connection",
    "dns": "its name cannot be resolved",
    "tls": "no trusted TLS connection",
    "garbage": "what answers is not this service",
}


@dataclass(slots=True)
class Tally:
    """Counts of the observations of one target in one period."""

    results: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0
    durations: Counter[int] = field(default_factory=Counter)

    def add(self, observation: Observation) -> None:
        """Count one observation."""
        self.results[observation.result] += 1
        if observation.has_latency:
            self.durations[bucket(observation.took_ms)] += 1
            self.slowest_ms = max(self.slowest_ms, observation.took_ms)

    def merge(self, other: Tally) -> None:
        """Add the counts of *other*."""
        self.results += other.results
        self.durations += other.durations
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)

    @property
    def rated(self) -> int:
        """Number of successes and failures; throttled and unsent requests are neither."""
        return self.results["success"] + self.results["failure"]

    @property
    def success_percent(self) -> float | None:
        """Share of successes among ``rated``; None when there are none."""
        return 100 * self.results["success"] / self.rated if self.rated else None

    def percentiles_ms(self) -> tuple[float, float, float] | None:
        """Return p50, p95 and p99 with an error of at most 10 %; None without any duration."""
        durations = Durations([self.durations[index] for index in range(BUCKETS)])
        if not durations.total:
            return None
        p50, p95, p99 = (min(durations.percentile_ms(share), self.slowest_ms) for share in (0.50, 0.95, 0.99))
        return p50, p95, p99


class Timeline:
    """The tallies of all targets over time, in slices of equal length."""

    def __init__(self, starts_s: float, slice_s: float) -> None:
        self.starts_s: Final = starts_s
        self.slice_s = slice_s
        self._slices: dict[int, dict[str, Tally]] = {}

    def add(self, observation: Observation) -> None:
        """Count one observation in its slice."""
        while (number := max(0, int((observation.at_s - self.starts_s) / self.slice_s))) >= MAX_SLICES:
            self._double_length()
        self._slices.setdefault(number, {}).setdefault(observation.target, Tally()).add(observation)

    def of(self, target: str) -> Mapping[float, Tally]:
        """Return the tallies of one target: start of the slice, in seconds after the first one → its tally."""
        return {
            number * self.slice_s: tallies[target]
            for number, tallies in sorted(self._slices.items())
            if target in tallies
        }

    def _double_length(self) -> None:
        finer, self._slices = self._slices, {}
        self.slice_s *= 2
        for number, tallies in finer.items():
            coarser = self._slices.setdefault(number // 2, {})
            for target, tally in tallies.items():
                coarser.setdefault(target, Tally()).merge(tally)


@dataclass(slots=True)
class Incident:
    """A period in which something was wrong.

    *level* is the worst level of an alert and empty for others; *ended_s* is None while the incident lasts.
    """

    target: str
    kind: Kind
    what: str
    began_s: float
    level: str = ""
    ended_s: float | None = None
    ended_by: Ending = ""
    outcomes: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: str) -> None:
        """Count one more outcome."""
        _count_bounded(self.outcomes, outcome, _MAX_OUTCOMES_OF_INCIDENT)

    def end(self, at_s: float, by: Ending) -> None:
        """Set the end."""
        self.ended_s, self.ended_by = max(at_s, self.began_s), by

    def lasted_s(self, now_s: float) -> float:
        """Return its duration; until *now_s* if it still lasts."""
        return (now_s if self.ended_s is None else self.ended_s) - self.began_s

    def __str__(self) -> str:
        """Return target and description."""
        return f"{self.target}: {self.what}"


class IncidentTracker:
    """Finds the incidents of one target: from the first of several failures in a row to the next success."""

    def __init__(self) -> None:
        #: The incident that lasts now.
        self.current: Incident | None = None
        self._suspected: Incident | None = None

    def add(self, observation: Observation) -> list[Incident]:
        """Add an observation; return the incidents that began or ended with it."""
        if observation.result == "success":
            return self.close(observation.at_s, "recovery")
        if observation.result != "failure":
            return []
        kind: Kind = "account" if observation.refuses_account else "outage"
        before = self.current or self._suspected
        changed = self.close(observation.at_s, "changed") if before is not None and before.kind != kind else []
        return [*changed, *self._count(observation, kind)]

    def close(self, at_s: float, by: Ending) -> list[Incident]:
        """End the current incident, if there is one, and return it."""
        ended, self.current, self._suspected = self.current, None, None
        if ended is None:
            return []
        ended.end(at_s, by)
        return [ended]

    def _count(self, observation: Observation, kind: Kind) -> list[Incident]:
        incident = self.current or self._suspected
        if incident is None:
            incident = Incident(observation.target, kind, _description(observation), observation.at_s)
        incident.count(observation.outcome)
        if self.current is not None:
            return []
        if incident.outcomes.total() < OPENS_AFTER[kind]:
            self._suspected = incident
            return []
        self.current, self._suspected = incident, None
        return [incident]


class TargetStatistics:
    """All observations of one target, summed up."""

    def __init__(self) -> None:
        self.total: Final = Tally()
        self.outcomes: Final = Counter[str]()
        self.tracker: Final = IncidentTracker()
        self.down_s = 0.0
        #: Number of answers of any status.
        self.answers = 0
        self.last: Observation | None = None

    def add(self, observation: Observation) -> list[Incident]:
        """Add one observation; return the incidents that began or ended with it."""
        self.last = observation
        self.answers += observation.status is not None
        self.total.add(observation)
        _count_bounded(self.outcomes, observation.outcome, _MAX_OUTCOMES_OF_TARGET)
        return self._with_downtime(self.tracker.add(observation))

    def close(self, at_s: float) -> None:
        """End the current incident: the monitor stopped at *at_s*."""
        self._with_downtime(self.tracker.close(at_s, "unwatched"))

    def _with_downtime(self, changed: list[Incident]) -> list[Incident]:
        self.down_s += sum(incident.lasted_s(0) for incident in changed if incident.ended_s is not None)
        return changed


def _count_bounded(counts: Counter[str], name: str, most: int) -> None:
    """Count *name*, or ``other`` when there are *most* names already."""
    counts["other" if name not in counts and len(counts) >= most else name] += 1


def _description(observation: Observation) -> str:
    if observation.refuses_account:
        return f"the watched account is refused ({observation.outcome}): is its password still right?"
    if observation.failure:
        return _FAILURES[observation.failure]
    note = f" ({observation.note})" if observation.note else ""
    return f"answered {observation.outcome}{note}"
