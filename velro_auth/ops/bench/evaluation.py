"""Whether a level is good enough, and whether a run is slower than an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.figures import Figures
from velro_auth.ops.verdict import Grade, Verdict, worst

#: Two runs of the same code on a quiet machine differ by this much.
NOISE_MS: Final = 2.0
#: Points of success rate: one failed login among a few hundred.
NOISE_PERCENT: Final = 0.5

#: Name of a time → where it is in a level of the file.
_TIMES: Final = {
    "p50": ("classes", "good", "latency_ms", "p50"),
    "p95": ("classes", "good", "latency_ms", "p95"),
    "own p95": ("own_ms", "p95"),
}

#: Settings that must be equal in two runs that are compared.
_CONDITIONS: Final = ("duration_s", "mix", "seed", "connections", "gently")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Limits of a level.

    A worse p95 of good logins is a warning or critical; a lower success rate is critical.
    """

    p95_warning_ms: float = 500.0
    p95_critical_ms: float = 1000.0
    success_rate_min_percent: float = 99.0

    def evaluate(self, figures: Figures) -> Verdict:
        """Return the verdict on one level, by its good logins."""
        return worst([*self._on_success(figures), *self._on_latency(figures), *_on_reliability(figures)])

    def _on_success(self, figures: Figures) -> Iterable[Verdict]:
        rate = figures.success_rate_percent
        if rate is None:
            yield Verdict(Grade.CRITICAL, ("no good login got an answer other than 429",))
        elif rate < self.success_rate_min_percent:
            reason = f"{rate:.2f} % of good logins succeeded, less than {self.success_rate_min_percent:g} %"
            yield Verdict(Grade.CRITICAL, (reason,))

    def _on_latency(self, figures: Figures) -> Iterable[Verdict]:
        good = figures.classes.get("good")
        if good is None or good.latency_ms is None:
            return
        p95 = good.latency_ms.p95
        for grade, limit_ms in ((Grade.CRITICAL, self.p95_critical_ms), (Grade.WARNING, self.p95_warning_ms)):
            if p95 > limit_ms:
                yield Verdict(grade, (f"p95 of good logins is {p95:.0f} ms, more than {limit_ms:g} ms",))
                return


def _on_reliability(figures: Figures) -> Iterable[Verdict]:
    """Warn where the figures prove less than they seem to."""
    if figures.punctuality.fell_behind:
        reason = (
            f"the generator fell behind: {figures.punctuality.late} requests left more than 10 ms late;"
            " their wait is part of the latency"
        )
        yield Verdict(Grade.WARNING, (reason,))
    if figures.throttled_good:
        yield Verdict(Grade.WARNING, (f"{figures.throttled_good} good logins were answered 429",))


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of a level in the earlier run and in this one."""

    rps: float
    name: str
    before: float
    after: float
    unit: str
    is_regression: bool

    def __str__(self) -> str:
        """Return one line for a terminal."""
        share = f" ({100 * (self.after - self.before) / self.before:+.0f} %)" if self.before else ""
        mark = "  REGRESSION" if self.is_regression else ""
        return f"{self.rps:g} rps  {self.name:<12} {self.before:.2f} → {self.after:.2f} {self.unit}{share}{mark}"


def changes(before: Document, after: Document, *, margin_percent: float) -> list[Change]:
    """Return what changed at the levels that both runs have.

    A time is a regression when it grew by more than *margin_percent* and by more than 2 ms; the success rate when it
    fell by more than half a point.
    """
    earlier = {level["rps"]: level for level in before["levels"]}
    pairs = [(earlier[level["rps"]], level) for level in after["levels"] if level["rps"] in earlier]
    return [change for old, new in pairs for change in _of_level(old, new, margin_percent)]


def verdict_on(changed: Sequence[Change]) -> Verdict:
    """Return a warning that names every regression, if there is one."""
    regressions = tuple(str(change) for change in changed if change.is_regression)
    return Verdict(Grade.WARNING if regressions else Grade.GOOD, regressions)


def different_conditions(before: Document, after: Document) -> list[str]:
    """Return what differs between the two runs besides the service."""
    different = [
        f"{name} was {before['settings'].get(name)}, is {after['settings'].get(name)}"
        for name in _CONDITIONS
        if before["settings"].get(name) != after["settings"].get(name)
    ]
    if before["target"]["url"] != after["target"]["url"]:
        different.append(f"url was {before['target']['url']}, is {after['target']['url']}")
    if before["machine"]["processor"] != after["machine"]["processor"]:
        different.append("the machine is another one")
    return different


def _of_level(old: Document, new: Document, margin_percent: float) -> Iterator[Change]:
    for name, path in _TIMES.items():
        before, after = _at(old, path), _at(new, path)
        if before is not None and after is not None:
            grew_ms = after - before
            is_regression = grew_ms > NOISE_MS and grew_ms > before * margin_percent / 100
            yield Change(new["rps"], name, before, after, "ms", is_regression)
    before, after = old["success_rate_percent"], new["success_rate_percent"]
    if before is not None:
        # A run without a success rate had no successful login.
        after = after or 0.0
        yield Change(new["rps"], "success rate", before, after, "%", before - after > NOISE_PERCENT)


def _at(level: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        level = level.get(name) if isinstance(level, dict) else None
    return level if isinstance(level, int | float) else None
