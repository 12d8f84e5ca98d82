"""How good it was, all in all; the value of the grade is the exit status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from velro_auth.ops.bench.verdict import Grade, Verdict, worst
from velro_auth.ops.monitor.aggregate import MOST_KEPT, Aggregate
from velro_auth.ops.monitor.incidents import Incident
from velro_auth.telemetry.slo import SloTarget

#: So many reasons are told; the report lists all incidents.
_MOST_REASONS: Final = 20
#: So often a target has to stay silent while others answer.
_SILENT: Final = 2


def judge(ledger: Aggregate) -> Verdict:
    """Return the worst grade of the whole watch, and why."""
    found = worst([*_by_silence(ledger), *_by_incidents(ledger), *_by_throttling(ledger), *_by_proof(ledger)])
    more = len(found.reasons) - _MOST_REASONS
    if more <= 0:
        return found
    return Verdict(found.grade, (*found.reasons[:_MOST_REASONS], f"and {more} more"))


def grade_of(incident: Incident, *, now_s: float, raise_after_s: float) -> Grade:
    """Return how bad an incident is: an outage is critical when it lasts as long as an alert has to."""
    if incident.kind == "alert":
        return Grade.CRITICAL if incident.level == "critical" else Grade.WARNING
    return Grade.CRITICAL if incident.lasted_s(now_s) >= raise_after_s else Grade.WARNING


def _by_silence(ledger: Aggregate) -> Iterator[Verdict]:
    """Say what never answered: that is critical however short the watch was, since it never worked."""
    # One lost answer among many of other targets proves nothing.
    least = _SILENT if ledger.answers else 1
    for target, account in ledger.accounts.items():
        if account.total.verdicts["failure"] >= least and not account.answers:
            yield Verdict(Grade.CRITICAL, (f"{target}: never answered",))


def _by_incidents(ledger: Aggregate) -> Iterator[Verdict]:
    limit_s = float(ledger.settings.get("raise_after_s", 0.0))
    for incident in ledger.incidents:
        grade = grade_of(incident, now_s=ledger.last_s, raise_after_s=limit_s)
        lasted = f"{incident.lasted_s(ledger.last_s):.1f} s"
        yield Verdict(grade, (f"{incident}, {lasted if incident.ended_s is not None else f'{lasted} and not over'}",))
    if ledger.left_out["incidents"]:
        yield Verdict(Grade.CRITICAL, (f"more than {MOST_KEPT} incidents",))


def _by_throttling(ledger: Aggregate) -> Iterator[Verdict]:
    for target, account in ledger.accounts.items():
        if throttled := account.total.verdicts["throttled"]:
            yield Verdict(Grade.WARNING, (f"{target}: {throttled} times answered 429",))


def _by_proof(ledger: Aggregate) -> Iterator[Verdict]:
    """Say where the figures prove less than they seem to; that is no fault of the target."""
    for target, account in ledger.accounts.items():
        judged = account.total.verdicts["success"] + account.total.verdicts["failure"]
        if judged < SloTarget().min_samples:
            yield Verdict(Grade.GOOD, (f"{target}: only {judged} answers, too few to raise an alert by",))
