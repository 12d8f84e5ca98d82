"""What the live panel shows: figures of all workers, read from the metrics and from the window of the latest logins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from velro_auth.telemetry.shared import is_success
from velro_auth.telemetry.telemetry import Telemetry
from velro_auth.web.problems import ANSWERS

#: Error code → status.
_STATUS: Final = {answer.code: answer.status for answer in ANSWERS.values()}
_PREFIX: Final = "velro_auth_"


def readings(telemetry: Telemetry) -> dict[str, Any]:
    """Return the figures of this moment. Times are in milliseconds; counts without ``window`` are since the start.

    Those of other workers are up to five seconds old.
    """
    values = _values(telemetry)
    recent = telemetry.window.recent()
    return {
        "window": {
            "logins": recent.count.logins,
            "failures": recent.count.failures,
            "p50_ms": round(recent.total.percentile_ms(0.50), 1),
            "p95_ms": round(recent.total.percentile_ms(0.95), 1),
        },
        "logins": _logins(values.get("logins_total", {})),
        "breaker": {state: int(count) for state, count in values["breaker"].items()},
        "bulkhead": {name: int(values[f"gate_{name}"][""]) for name in ("slots", "taken", "waiting")},
        "throttle": {limit: int(count) for limit, count in values["throttle_refusals_total"].items() if count},
        "mails_withheld": sum(
            int(count) for budget, count in values["budget_refusals_total"].items() if budget.startswith("mail_")
        ),
    }


def _values(telemetry: Telemetry) -> dict[str, dict[str, float]]:
    """Return name of a sample → the value of its only label → value."""
    values: dict[str, dict[str, float]] = {}
    for metric in telemetry.metrics.collect():
        for sample in metric.samples:
            if len(sample.labels) < 2:  # noqa: PLR2004 - of those with more, none is shown
                label = next(iter(sample.labels.values()), "")
                values.setdefault(sample.name.removeprefix(_PREFIX), {})[label] = sample.value
    return values


def _logins(by_outcome: Mapping[str, float]) -> dict[str, int]:
    """Return how many logins were good, refused as they should be, and failed."""
    counts: Counter[str] = Counter(good=0, refused=0, failed=0)
    for kind, count in _kinds(by_outcome.items()):
        counts[kind] += int(count)
    return dict(counts)


def _kinds(outcomes: Iterable[tuple[str, float]]) -> Iterable[tuple[str, float]]:
    for outcome, count in outcomes:
        if outcome == "ok":
            yield "good", count
        else:
            yield "failed" if is_success(_STATUS.get(outcome, 400)) is False else "refused", count
