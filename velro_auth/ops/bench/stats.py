"""Percentiles and histograms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Neighbouring bounds differ by 12 %, finer than two runs on one machine agree.
BUCKETS_PER_DECADE: Final = 20


@dataclass(frozen=True, slots=True)
class Spread:
    """How a set of durations is spread, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many durations were above the bound before and at most ``le_ms``."""

    le_ms: float
    count: int


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least *percent* of all values do not exceed (nearest rank).

    Always a value that was seen, never one between two.
    """
    rank = math.ceil(len(ascending) * percent / 100)
    return ascending[max(0, rank - 1)]


def spread(values_ms: Sequence[float]) -> Spread | None:
    """Return how *values_ms* are spread; None when there are none."""
    if not values_ms:
        return None
    ascending = sorted(values_ms)
    p50, p95, p99 = (round(percentile(ascending, percent), 3) for percent in (50, 95, 99))
    return Spread(len(ascending), p50, p95, p99, round(ascending[-1], 3))


def histogram(values_ms: Sequence[float]) -> list[Bucket]:
    """Count *values_ms* in buckets that grow with the value; empty buckets are left out."""
    counts = Counter(_index(value) for value in values_ms)
    return [Bucket(round(10 ** (index / BUCKETS_PER_DECADE), 4), counts[index]) for index in sorted(counts)]


def _index(value_ms: float) -> int:
    # 1 µs and below share the lowest bucket; the tolerance keeps a bound in the bucket it bounds.
    return math.ceil(math.log10(max(value_ms, 0.001)) * BUCKETS_PER_DECADE - 1e-9)
