"""Samples to make figures of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from velro_auth.ops.bench import document as files
from velro_auth.ops.bench.document import Document, Level
from velro_auth.ops.bench.evaluation import Thresholds
from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.openloop import Answer, Sample
from velro_auth.ops.bench.schedule import Arrival, Kind, Schedule
from velro_auth.ops.verdict import worst

SETTINGS = {
    "levels_rps": [5.0],
    "duration_s": 30.0,
    "mix": {"good": 8.0, "wrong_password": 1.0, "unknown_user": 1.0},
    "seed": 1,
    "connections": 64,
    "timeout_s": 10.0,
    "gently": False,
    "accounts": 1,
    "p95_warning_ms": 500.0,
    "p95_critical_ms": 1000.0,
    "success_rate_min_percent": 99.0,
}


def sample(
    kind: Kind = "good",
    status: int | None = 200,
    took_ms: float = 100.0,
    *,
    late_ms: float = 0.1,
    at_s: float = 1.0,
    answer: Answer | None = None,
) -> Sample:
    return Sample(kind, at_s, late_ms, took_ms, answer or Answer(status))


def logins(*times_ms: float, own_ms: float | None = 1.0) -> list[Sample]:
    """Return good logins that took so long."""
    answer = Answer(200, own_ms=own_ms)
    return [sample(took_ms=took_ms, at_s=index, answer=answer) for index, took_ms in enumerate(times_ms)]


def run_of(samples: Sequence[Sample], *, rps: float = 5.0, url: str = "http://127.0.0.1:8000") -> Document:
    """Return the document of a run with one level."""
    found = figures(samples)
    verdict = Thresholds().evaluate(found)
    level = Level(
        schedule=Schedule(rps, 1, [Arrival(sample.at_s, sample.kind) for sample in samples], 30.0),
        took_s=30.2,
        connections_opened=2,
        samples=samples,
        figures=found,
        verdict=verdict,
    )
    return files.document(
        [level],
        started=dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC),
        target={"url": url, "is_this_machine": True, "version": "0.1.0", "commit": None},
        settings=SETTINGS,
        verdict=worst([verdict]),
    )
