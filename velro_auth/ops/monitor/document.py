"""The report of a file as JSON, ``observe_<YYYYMMDD_HHMMSS>.json``, and the verdict in it.

Its schema is in ``docs/reference/observation-file.md``, and a test compares the two. The report contains neither
account names nor passwords, so that it can be published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from velro_auth import __version__
from velro_auth.ops.monitor import observation_file
from velro_auth.ops.monitor.aggregate import MAX_KEPT, Aggregate, Interval
from velro_auth.ops.monitor.observation import TARGETS, Observation
from velro_auth.ops.monitor.observation_file import SCHEMA
from velro_auth.ops.monitor.target_statistics import Incident, Tally, TargetStatistics
from velro_auth.ops.verdict import Grade, NotMeasured, Verdict, worst
from velro_auth.telemetry.slo import SloTarget

Document: TypeAlias = dict[str, Any]

#: Members of a run's record that are not settings, or that the report contains elsewhere.
_NOT_SETTINGS: Final = frozenset({"kind", "schema", "at", "url", "version", "targets"})

#: The verdict contains this many reasons; the report lists all incidents.
_MAX_REASONS: Final = 20
#: A target never answered if this many requests failed while other targets answered. One request may get lost.
_MIN_SILENT: Final = 2


def load(aggregate: Aggregate, path: Path, observe: Callable[[Observation], object] = lambda _: None) -> int:
    """Add the records of a file to *aggregate*; return the number of unreadable lines.

    *observe* is called with each observation.

    Raises:
        NotMeasured: The file cannot be read, or is not an observation file.
    """
    unreadable = 0

    def skip() -> None:
        nonlocal unreadable
        unreadable += 1

    for record in observation_file.read(path, bad=skip):
        try:
            aggregate.add(record)
            if record["kind"] == "observation":
                observe(Observation.of(record))
        except ValueError as error:
            if not aggregate.runs:
                raise NotMeasured(f"{path} is no observation file: {error}") from error
            skip()
    return unreadable


def document(aggregate: Aggregate, *, unreadable_lines: int) -> Document:
    """Return the contents of the report."""
    timeline = aggregate.timeline
    assert timeline is not None
    targets = [name for name in TARGETS if name in aggregate.targets]
    return {
        "schema": SCHEMA,
        "tool": {"name": "velro-auth monitor", "version": __version__},
        "url": aggregate.settings["url"],
        "began_at": _iso(aggregate.began_s),
        "ended_at": _iso(aggregate.last_s),
        "watched_s": round(aggregate.watched_s, 3),
        "settings": {name: value for name, value in aggregate.settings.items() if name not in _NOT_SETTINGS},
        "verdict": verdict_on(aggregate).as_json(),
        "targets": {name: _target(aggregate.targets[name], aggregate) for name in targets},
        "incidents": [_incident(incident, aggregate) for incident in aggregate.incidents],
        "deploys": [{"at": _iso(one.at_s), "was": one.before, "is": one.after} for one in aggregate.version_changes],
        "runs": _intervals(aggregate.runs),
        "not_watched": _intervals(aggregate.gaps),
        "left_out": dict(aggregate.left_out),
        "unreadable_lines": unreadable_lines,
        "slices": {
            "length_s": timeline.slice_s,
            "targets": {name: [_slice(at_s, one) for at_s, one in timeline.of(name).items()] for name in targets},
        },
    }


def verdict_on(aggregate: Aggregate) -> Verdict:
    """Return the worst grade of all runs, with the reasons."""
    found = worst([
        *_on_silence(aggregate), *_on_incidents(aggregate), *_on_throttling(aggregate), *_on_few_answers(aggregate),
    ])  # fmt: skip
    more = len(found.reasons) - _MAX_REASONS
    if more <= 0:
        return found
    return Verdict(found.grade, (*found.reasons[:_MAX_REASONS], f"and {more} more"))


def _grade(incident: Incident, aggregate: Aggregate) -> Grade:
    """Return the grade of an incident: an outage is critical when it lasts as long as an alert has to."""
    if incident.kind == "alert":
        return Grade.CRITICAL if incident.level == "critical" else Grade.WARNING
    raise_after_s = float(aggregate.settings.get("raise_after_s", 0.0))
    return Grade.CRITICAL if incident.lasted_s(aggregate.last_s) >= raise_after_s else Grade.WARNING


def _on_silence(aggregate: Aggregate) -> Iterator[Verdict]:
    """Targets that never answered are critical, even in a short run: they never worked."""
    least = _MIN_SILENT if aggregate.answers else 1
    for target, statistics in aggregate.targets.items():
        if statistics.total.results["failure"] >= least and not statistics.answers:
            yield Verdict(Grade.CRITICAL, (f"{target}: never answered",))


def _on_incidents(aggregate: Aggregate) -> Iterator[Verdict]:
    for incident in aggregate.incidents:
        lasted = f"{incident.lasted_s(aggregate.last_s):.1f} s"
        end = "" if incident.ended_s is not None else " and not over"
        yield Verdict(_grade(incident, aggregate), (f"{incident}, {lasted}{end}",))
    if aggregate.left_out["incidents"]:
        yield Verdict(Grade.CRITICAL, (f"more than {MAX_KEPT} incidents",))


def _on_throttling(aggregate: Aggregate) -> Iterator[Verdict]:
    for target, statistics in aggregate.targets.items():
        if throttled := statistics.total.results["throttled"]:
            yield Verdict(Grade.WARNING, (f"{target}: {throttled} times answered 429",))


def _on_few_answers(aggregate: Aggregate) -> Iterator[Verdict]:
    """Say where an alert was impossible; this does not make the grade worse."""
    least = SloTarget().min_samples
    counts = {target: statistics.total.rated for target, statistics in aggregate.targets.items()}
    few = ", ".join(f"{target} {count}" for target, count in counts.items() if count < least)
    if few:
        yield Verdict(Grade.GOOD, (f"fewer than {least} answers, too few to raise an alert: {few}",))


def _target(statistics: TargetStatistics, aggregate: Aggregate) -> Document:
    total, times = statistics.total, statistics.total.percentiles_ms()
    current = statistics.tracker.current
    down_s = statistics.down_s + (current.lasted_s(aggregate.last_s) if current else 0.0)
    up_share = max(0.0, 1 - down_s / aggregate.watched_s) if aggregate.watched_s else 1.0
    rate = total.success_percent
    return {
        "observations": total.results.total(),
        **{name: total.results[name] for name in ("success", "failure", "throttled", "unsent")},
        "success_percent": None if rate is None else round(rate, 3),
        "down_s": round(down_s, 3),
        "available_percent": round(100 * up_share, 3),
        "latency_ms": None if times is None else {**_times(times), "max": round(total.slowest_ms, 3)},
        "outcomes": dict(sorted(statistics.outcomes.items())),
    }


def _incident(incident: Incident, aggregate: Aggregate) -> Document:
    return {
        "target": incident.target,
        "kind": incident.kind,
        "grade": _grade(incident, aggregate).name.lower(),
        "what": incident.what,
        "began_at": _iso(incident.began_s),
        "ended_at": None if incident.ended_s is None else _iso(incident.ended_s),
        "ended_by": incident.ended_by or None,
        "duration_s": round(incident.lasted_s(aggregate.last_s), 3),
        "outcomes": dict(incident.outcomes),
    }


def _slice(at_s: float, tally: Tally) -> list[float | None]:
    times = tally.percentiles_ms() or (None, None, None)
    counts = (tally.results[name] for name in ("success", "failure", "throttled"))
    return [round(at_s, 3), *counts, *(None if value is None else round(value, 3) for value in times)]


def _times(times: tuple[float, float, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in zip(("p50", "p95", "p99"), times, strict=True)}


def _intervals(intervals: Sequence[Interval]) -> list[Document]:
    return [
        {"began_at": _iso(one.began_s), "ended_at": _iso(one.ended_s), "duration_s": round(one.lasted_s, 3)}
        for one in intervals
    ]


def _iso(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).isoformat(timespec="milliseconds")
