"""The report of a watch as JSON: ``observe_<YYYYMMDD_HHMMSS>.json``, made from the ledger alone.

Its schema is in ``docs/reference/observation-file.md``, and a test holds the two together. It names no account and
holds no password, so that it can be shown around.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from velro_auth import __version__
from velro_auth.ops.monitor import event_log
from velro_auth.ops.monitor.aggregate import Aggregate, Interval, TargetStatistics
from velro_auth.ops.monitor.event_log import SCHEMA, CannotWatch
from velro_auth.ops.monitor.incidents import Incident
from velro_auth.ops.monitor.observation import TARGETS, Observation
from velro_auth.ops.monitor.timeline import Tally
from velro_auth.ops.monitor.verdict import grade_of, judge

Document: TypeAlias = dict[str, Any]

#: What a run was told, without what is said elsewhere in the report.
_NOT_SETTINGS: Final = frozenset({"kind", "schema", "at", "url", "version", "targets"})


def fill(ledger: Aggregate, path: Path, note: Callable[[Observation], object] = lambda _: None) -> int:
    """Add the records of a file to *ledger*; return how many of its lines could not be read.

    Args:
        ledger: An empty one.
        path: The file.
        note: Told of every observation.

    Raises:
        CannotWatch: It cannot be read, or is a file of something else.
    """
    bad = 0

    def skip() -> None:
        nonlocal bad
        bad += 1

    for record in event_log.read(path, bad=skip):
        try:
            ledger.add(record)
            if record["kind"] == "observation":
                note(Observation.of(record))
        except ValueError as error:
            if not ledger.runs:
                raise CannotWatch(f"{path} is no observation file: {error}") from error
            skip()
    return bad


def document(ledger: Aggregate, *, unreadable_lines: int) -> Document:
    """Return the contents of the report."""
    verdict, timeline = judge(ledger), ledger.timeline
    assert timeline is not None
    targets = [name for name in TARGETS if name in ledger.accounts]
    return {
        "schema": SCHEMA,
        "tool": {"name": "velro-auth monitor", "version": __version__},
        "url": ledger.settings["url"],
        "began_at": _iso(ledger.began_s),
        "ended_at": _iso(ledger.last_s),
        "watched_s": round(ledger.watched_s, 3),
        "settings": {name: value for name, value in ledger.settings.items() if name not in _NOT_SETTINGS},
        "verdict": {"grade": verdict.grade.name.lower(), "reasons": list(verdict.reasons)},
        "targets": {name: _target(ledger.accounts[name], ledger) for name in targets},
        "incidents": [_incident(one, ledger) for one in ledger.incidents],
        "deploys": [{"at": _iso(one.at_s), "was": one.was, "is": one.now} for one in ledger.deploys],
        "runs": _stretches(ledger.runs),
        "not_watched": _stretches(ledger.gaps),
        "left_out": dict(ledger.left_out),
        "unreadable_lines": unreadable_lines,
        "slices": {
            "length_s": timeline.slice_s,
            "targets": {name: [_slice(at_s, one) for at_s, one in timeline.of(name).items()] for name in targets},
        },
    }


def _target(account: TargetStatistics, ledger: Aggregate) -> Document:
    total, times = account.total, account.total.percentiles_ms()
    current = account.tracker.current
    down_s = account.down_s + (current.lasted_s(ledger.last_s) if current else 0.0)
    up_share = max(0.0, 1 - down_s / ledger.watched_s) if ledger.watched_s else 1.0
    rate = total.success_percent
    return {
        "observations": total.verdicts.total(),
        **{name: total.verdicts[name] for name in ("success", "failure", "throttled", "unsent")},
        "success_percent": None if rate is None else round(rate, 3),
        "down_s": round(down_s, 3),
        "available_percent": round(100 * up_share, 3),
        "latency_ms": None if times is None else {**_times(times), "max": round(total.slowest_ms, 3)},
        "outcomes": dict(sorted(account.outcomes.items())),
    }


def _incident(incident: Incident, ledger: Aggregate) -> Document:
    limit_s = float(ledger.settings.get("raise_after_s", 0.0))
    return {
        "target": incident.target,
        "kind": incident.kind,
        "grade": grade_of(incident, now_s=ledger.last_s, raise_after_s=limit_s).name.lower(),
        "what": incident.what,
        "began_at": _iso(incident.began_s),
        "ended_at": None if incident.ended_s is None else _iso(incident.ended_s),
        "ended_by": incident.ended_by or None,
        "duration_s": round(incident.lasted_s(ledger.last_s), 3),
        "outcomes": dict(incident.outcomes),
    }


def _slice(at_s: float, tally: Tally) -> list[float | None]:
    times = tally.percentiles_ms() or (None, None, None)
    counts = (tally.verdicts[name] for name in ("success", "failure", "throttled"))
    return [round(at_s, 3), *counts, *(None if value is None else round(value, 3) for value in times)]


def _times(times: tuple[float, float, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in zip(("p50", "p95", "p99"), times, strict=True)}


def _stretches(stretches: Sequence[Interval]) -> list[Document]:
    return [
        {"began_at": _iso(one.began_s), "ended_at": _iso(one.ended_s), "duration_s": round(one.lasted_s, 3)}
        for one in stretches
    ]


def _iso(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).isoformat(timespec="milliseconds")
