"""Whether what was measured is good enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from velro_auth.ops.bench.figures import Figures


class Grade(IntEnum):
    """How good, worst last; the value is the exit status of ``velro-auth bench``."""

    GOOD = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade and what led to it."""

    grade: Grade
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is good enough.

    Attributes:
        p95_warning_ms: A slower good login is worth a look.
        p95_critical_ms: A slower one is a failure.
        success_rate_min_percent: At least so many good logins have to succeed.
    """

    p95_warning_ms: float = 500.0
    p95_critical_ms: float = 1000.0
    success_rate_min_percent: float = 99.0

    def judge(self, figures: Figures) -> Verdict:
        """Judge one level by its good logins."""
        return worst([*self._by_success(figures), *self._by_time(figures), *_by_proof(figures)])

    def _by_success(self, figures: Figures) -> Iterable[Verdict]:
        rate = figures.success_rate_percent
        if rate is None:
            yield Verdict(Grade.CRITICAL, ("no good login got an answer other than 429",))
        elif rate < self.success_rate_min_percent:
            reason = f"{rate:.2f} % of good logins succeeded, less than {self.success_rate_min_percent:g} %"
            yield Verdict(Grade.CRITICAL, (reason,))

    def _by_time(self, figures: Figures) -> Iterable[Verdict]:
        good = figures.classes.get("good")
        if good is None or good.latency_ms is None:
            return
        p95 = good.latency_ms.p95
        for grade, limit_ms in ((Grade.CRITICAL, self.p95_critical_ms), (Grade.WARNING, self.p95_warning_ms)):
            if p95 > limit_ms:
                yield Verdict(grade, (f"p95 of good logins is {p95:.0f} ms, more than {limit_ms:g} ms",))
                return


def _by_proof(figures: Figures) -> Iterable[Verdict]:
    """Warn where the figures prove less than they seem to."""
    if figures.punctuality.fell_behind:
        reason = (
            f"the generator fell behind: {figures.punctuality.late} requests left more than 10 ms late;"
            " their wait is part of the latency"
        )
        yield Verdict(Grade.WARNING, (reason,))
    if figures.throttled_good:
        yield Verdict(Grade.WARNING, (f"{figures.throttled_good} good logins were answered 429",))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst grade with all reasons."""
    found = list(verdicts)
    grade = max((verdict.grade for verdict in found), default=Grade.GOOD)
    return Verdict(grade, tuple(reason for verdict in found for reason in verdict.reasons))
