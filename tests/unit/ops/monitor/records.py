"""What a watch is made of: observations, records, a clock."""

from __future__ import annotations

from typing import Any

from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.observation import Failure, Observation
from velro_auth.ops.monitor.run import MonitorPlan
from velro_auth.telemetry.slo import SloTarget

BEGAN_S = 1_785_600_000.0

PLAN = MonitorPlan(
    url="http://127.0.0.1:8000",
    interval_s=1.0,
    timeout_s=5.0,
    login_every_s=10.0,
    duration_s=None,
    window_s=300.0,
    slo_target=SloTarget(),
    raise_after_s=10.0,
    clear_after_s=30.0,
)


def observed(
    after_s: float = 0.0,
    status: int | None = 200,
    *,
    target: str = "health",
    failure: Failure = "",
    took_ms: float = 20.0,
    code: str = "",
    note: str = "",
) -> Observation:
    """Return what was seen so many seconds after the beginning."""
    return Observation(
        BEGAN_S + after_s, target, took_ms, status=None if failure else status, failure=failure, code=code, note=note
    )


def run(after_s: float = 0.0) -> dict[str, Any]:
    return PLAN.record(BEGAN_S + after_s)


def end(after_s: float) -> dict[str, Any]:
    return {"kind": "end", "at": BEGAN_S + after_s}


def alert(after_s: float, level: str, *, target: str = "health", name: str = "health_success") -> dict[str, Any]:
    text = f"{level}: much fails"
    return {"kind": "alert", "at": BEGAN_S + after_s, "target": target, "alert": name, "level": level, "text": text}


def aggregate_of(*records: dict[str, Any] | Observation) -> Aggregate:
    """Return what a file with these records comes to, after the line of its run."""
    aggregate = Aggregate()
    for record in (run(), *records):
        aggregate.add(record.record() if isinstance(record, Observation) else record)
    return aggregate
