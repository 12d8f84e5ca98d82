"""Percentiles, histograms and counts: from the samples of one level to its figures.

The figures are part of the result file; ``docs/reference/benchmark-file.md`` describes each member.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from velro_auth.ops.bench.openloop import CLASSES, Class, Sample

#: Two neighbouring bounds differ by 12 %; two runs on one machine differ by more.
BUCKETS_PER_DECADE: Final = 20

#: A request sent later than this was delayed by the generator, not by the resolution of a timer.
LATE_MS: Final = 10.0
#: More late requests than this (at least one, at most 1 %) mean that the generator fell behind.
_MAX_LATE: Final = 1
_MAX_LATE_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Summary of a set of durations, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many durations were above the previous bound and at most ``le_ms``."""

    le_ms: float
    count: int


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The requests of one class."""

    count: int
    expected: int
    outcomes: Mapping[str, int]
    latency_ms: Percentiles | None
    histogram: Sequence[Bucket]


@dataclass(frozen=True, slots=True)
class Punctuality:
    """Whether requests were sent when they were due."""

    late_p99_ms: float
    late_max_ms: float
    late: int
    fell_behind: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of one level."""

    success_rate_percent: float | None
    throttled_good: int
    failed: int
    own_ms: Percentiles | None
    punctuality: Punctuality
    classes: Mapping[Class, ClassFigures]


def figures(samples: Sequence[Sample]) -> Figures:
    """Return the figures of *samples*."""
    by_class = {name: [sample for sample in samples if sample.counted_as == name] for name in CLASSES}
    good = by_class["good"]
    return Figures(
        success_rate_percent=round(100 * sum(sample.is_expected for sample in good) / len(good), 3) if good else None,
        throttled_good=sum(sample.kind == "good" for sample in by_class["throttled"]),
        failed=sum(not sample.is_expected for sample in samples),
        own_ms=percentiles([s.answer.own_ms for s in good if s.is_expected and s.answer.own_ms is not None]),
        punctuality=_punctuality(samples),
        classes={name: _of_class(members) for name, members in by_class.items() if members},
    )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least *percent* of all values do not exceed (nearest rank).

    The result is always one of the values, never an interpolation.
    """
    rank = math.ceil(len(ascending) * percent / 100)
    return ascending[max(0, rank - 1)]


def percentiles(values_ms: Sequence[float]) -> Percentiles | None:
    """Return the summary of *values_ms*; None when there are none."""
    if not values_ms:
        return None
    ascending = sorted(values_ms)
    p50, p95, p99 = (round(percentile(ascending, percent), 3) for percent in (50, 95, 99))
    return Percentiles(len(ascending), p50, p95, p99, round(ascending[-1], 3))


def histogram(values_ms: Sequence[float]) -> list[Bucket]:
    """Count *values_ms* in logarithmic buckets; empty buckets are left out."""
    counts = Counter(_bucket(value) for value in values_ms)
    return [Bucket(round(10 ** (index / BUCKETS_PER_DECADE), 4), counts[index]) for index in sorted(counts)]


def _bucket(value_ms: float) -> int:
    # 1 µs and below share the lowest bucket. The tolerance keeps a bound in the bucket that it ends.
    return math.ceil(math.log10(max(value_ms, 0.001)) * BUCKETS_PER_DECADE - 1e-9)


def _punctuality(samples: Sequence[Sample]) -> Punctuality:
    delays = sorted(sample.late_ms for sample in samples) or [0.0]
    late = sum(value > LATE_MS for value in delays)
    return Punctuality(
        late_p99_ms=round(percentile(delays, 99), 3),
        late_max_ms=round(delays[-1], 3),
        late=late,
        fell_behind=late > max(_MAX_LATE, _MAX_LATE_SHARE * len(delays)),
    )


def _of_class(samples: Sequence[Sample]) -> ClassFigures:
    timed = [sample.took_ms for sample in samples if sample.has_latency]
    return ClassFigures(
        count=len(samples),
        expected=sum(sample.is_expected for sample in samples),
        outcomes=dict(sorted(Counter(sample.outcome for sample in samples).items())),
        latency_ms=percentiles(timed),
        histogram=histogram(timed),
    )
