"""What changed since an earlier run, and whether that is a regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.verdict import Grade, Verdict

#: Below this, two runs of the same code differ on a quiet machine.
GRAIN_MS: Final = 2.0
#: Points of success rate that are one unlucky login among a few hundred.
GRAIN_PERCENT: Final = 0.5

#: Name → where it is in a level; smaller is better.
_TIMES: Final = {
    "p50": ("classes", "good", "latency_ms", "p50"),
    "p95": ("classes", "good", "latency_ms", "p95"),
    "own p95": ("own_ms", "p95"),
}

#: Settings that have to agree for a comparison to mean anything.
_CONDITIONS: Final = ("duration_s", "mix", "seed", "connections", "gently")


@dataclass(frozen=True, slots=True)
class Change:
    """One figure before and after.

    Attributes:
        rps: At which level.
        name: Which figure.
        before: In the earlier run.
        after: In this one.
        unit: Of both.
        is_regression: Whether it got worse by more than the margin.
    """

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


def verdict(found: Sequence[Change]) -> Verdict:
    """Return a warning that names every regression, if there is one."""
    regressions = tuple(str(change) for change in found if change.is_regression)
    return Verdict(Grade.WARNING if regressions else Grade.GOOD, regressions)


def unlike_conditions(before: Document, after: Document) -> list[str]:
    """Return what differs between the runs beside the service, so that figures are compared with care."""
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
            is_regression = grew_ms > GRAIN_MS and grew_ms > before * margin_percent / 100
            yield Change(new["rps"], name, before, after, "ms", is_regression)
    before, after = old["success_rate_percent"], new["success_rate_percent"]
    if before is not None:
        # No rate at all is no success at all.
        after = after or 0.0
        yield Change(new["rps"], "success rate", before, after, "%", before - after > GRAIN_PERCENT)


def _at(level: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        level = level.get(name) if isinstance(level, dict) else None
    return level if isinstance(level, int | float) else None
