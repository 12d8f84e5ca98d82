"""Figures over time in bounded memory: slices that grow longer as the watch does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from velro_auth.ops.monitor.observation import Observation
from velro_auth.telemetry.window import BUCKETS, Durations, bucket

#: More slices than this, and each becomes twice as long.
MOST_SLICES: Final = 240


@dataclass(slots=True)
class Tally:
    """What became of the requests of one target, for a while.

    Attributes:
        verdicts: How many counted as what.
        slowest_ms: The longest time there was.
        times: How many durations fell into each bucket.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0
    times: Counter[int] = field(default_factory=Counter)

    def add(self, seen: Observation) -> None:
        """Count one observation."""
        self.verdicts[seen.verdict] += 1
        if seen.has_latency:
            self.times[bucket(seen.took_ms)] += 1
            self.slowest_ms = max(self.slowest_ms, seen.took_ms)

    def merge(self, other: Tally) -> None:
        """Add all that *other* counted."""
        self.verdicts += other.verdicts
        self.times += other.times
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)

    @property
    def success_percent(self) -> float | None:
        """Successes among what was judged; None when nothing was."""
        judged = self.verdicts["success"] + self.verdicts["failure"]
        return 100 * self.verdicts["success"] / judged if judged else None

    def percentiles_ms(self) -> tuple[float, float, float] | None:
        """Return p50, p95 and p99, at most a tenth off; None without any duration."""
        durations = Durations([self.times[place] for place in range(BUCKETS)])
        if not durations.total:
            return None
        p50, p95, p99 = (min(durations.percentile_ms(share), self.slowest_ms) for share in (0.50, 0.95, 0.99))
        return p50, p95, p99


class Timeline:
    """The tallies of all targets, slice by slice.

    Args:
        starts_s: Where the first slice begins.
        slice_s: How long a slice is at first.
    """

    def __init__(self, starts_s: float, slice_s: float) -> None:
        self.starts_s: Final = starts_s
        self.slice_s = slice_s
        self._slices: dict[int, dict[str, Tally]] = {}

    def add(self, seen: Observation) -> None:
        """Count one observation where it belongs."""
        while (number := max(0, int((seen.at_s - self.starts_s) / self.slice_s))) >= MOST_SLICES:
            self._halve()
        self._slices.setdefault(number, {}).setdefault(seen.target, Tally()).add(seen)

    def of(self, target: str) -> Mapping[float, Tally]:
        """Return the tallies of one target: where a slice begins, in seconds after the start → its tally."""
        return {
            number * self.slice_s: members[target]
            for number, members in sorted(self._slices.items())
            if target in members
        }

    def _halve(self) -> None:
        finer, self._slices = self._slices, {}
        self.slice_s *= 2
        for number, members in finer.items():
            coarser = self._slices.setdefault(number // 2, {})
            for target, tally in members.items():
                coarser.setdefault(target, Tally()).merge(tally)
