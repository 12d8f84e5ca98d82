"""Results of a run: rounds, medians with their spread, ratios within a round, and the table made of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

#: From this value on, so many digits behind the point: three digits in all.
_DIGITS: Final = ((100, 0), (10, 1))

#: Contender → metric → value, of one round.
Round: TypeAlias = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of *values*, at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """Return ``median (low to high)`` with as many digits as tell something."""
        digits = 0 if self._is_whole else next((few for least, few in _DIGITS if self.median >= least), 2)
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"

    @property
    def _is_whole(self) -> bool:
        return all(value == int(value) for value in (self.median, self.low, self.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that was measured.

    Attributes:
        name: In the file of results.
        title: Above the table.
        metrics: Their columns.
        titles: Contender → its title.
        rounds: What was found, round by round.
        ratio_of: The metric that is compared; empty compares none.
        reference: With whom.
        notes: What a reader has to know.
    """

    name: str
    title: str
    metrics: Sequence[str]
    titles: Mapping[str, str]
    rounds: Sequence[Round]
    ratio_of: str = ""
    reference: str = ""
    notes: Sequence[str] = field(default_factory=tuple)

    def spread(self, contender: str, metric: str) -> Spread | None:
        """Return the spread of a metric over the rounds that have it."""
        values = [found[contender][metric] for found in self.rounds if metric in found.get(contender, {})]
        return Spread.of(values) if values else None

    def ratio(self, contender: str) -> Spread | None:
        """Return the spread of the ratio to the reference, each taken within one round."""
        pairs = [
            (found[contender][self.ratio_of], found[self.reference][self.ratio_of])
            for found in self.rounds
            if self.ratio_of in found.get(contender, {}) and found.get(self.reference, {}).get(self.ratio_of)
        ]
        return Spread.of([value / reference for value, reference in pairs]) if pairs else None

    def as_json(self) -> dict[str, Any]:
        """Return everything for the file of results."""
        return {
            "name": self.name,
            "title": self.title,
            "rounds": [dict(found) for found in self.rounds],
            "ratio_of": self.ratio_of or None,
            "reference": self.reference or None,
            "notes": list(self.notes),
        }

    def as_markdown(self) -> str:
        """Return a heading, a table and the notes."""
        columns = [*self.metrics, *([f"times {self.titles[self.reference]}"] if self.ratio_of else [])]
        rows = [[self.titles[name], *self._cells(name)] for name in self.titles if self._occurs(name)]
        lines = [["", *columns], ["---"] * (len(columns) + 1), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"## {self.title}", table, *self.notes]) + "\n"

    def _occurs(self, name: str) -> bool:
        return any(found.get(name) for found in self.rounds)

    def _cells(self, name: str) -> list[str]:
        spreads = [self.spread(name, metric) for metric in self.metrics]
        if self.ratio_of:
            spreads.append(self.ratio(name))
        return ["" if found is None else str(found) for found in spreads]
