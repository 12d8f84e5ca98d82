"""Families of metrics: their names, their series, and where in a row of numbers each series lies.

Every series is known beforehand, so a hostile client can add none, and finding its place is one look-up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

Labels: TypeAlias = tuple[str, ...]

#: What all our metrics begin with.
PREFIX: Final = "velro_auth_"

#: Half a millisecond to ten seconds: our own share begins near the first, the upstream deadline lies below the last.
DURATION_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0),
)


class Family(Protocol):
    """Metrics of one name."""

    @property
    def width(self) -> int:
        """How many numbers all its series take."""

    def metric(self, cells: Sequence[float]) -> Metric:
        """Return what is exposed, given its numbers."""


class CounterFamily:
    """Counts what happened.

    Args:
        name: Without ``_total``, which is added when it is exposed.
        doc: One sentence for whoever reads the metric.
        labels: Names of the labels.
        series: Their values, series by series.
        hides_zeros: Leave out what never happened; for families of which most combinations never do.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        labels: Labels = (),
        series: Iterable[Labels] = ((),),
        *,
        hides_zeros: bool = False,
    ) -> None:
        self.name, self._doc, self._labels = name, doc, labels
        self.places: Final[Mapping[Labels, int]] = {values: place for place, values in enumerate(series)}
        self._hides_zeros = hides_zeros

    @property
    def width(self) -> int:
        """One number for each series."""
        return len(self.places)

    def metric(self, cells: Sequence[float]) -> Metric:
        """Return what is exposed."""
        metric = CounterMetricFamily(self.name, self._doc, labels=self._labels)
        for values, place in self.places.items():
            if cells[place] or not self._hides_zeros:
                metric.add_metric(values, cells[place])
        return metric


class HistogramFamily:
    """Sorts durations into buckets.

    Args:
        name: With its unit.
        doc: One sentence for whoever reads the metric.
        labels: Names of the labels.
        series: Their values, series by series.
        bounds: Upper bounds of the buckets, ascending; one more without a bound is added.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        labels: Labels,
        series: Iterable[Labels],
        *,
        bounds: Sequence[float] = DURATION_BOUNDS_S,
    ) -> None:
        self.name, self._doc, self._labels = name, doc, labels
        self.bounds: Final = tuple(bounds)
        self._stride = len(self.bounds) + 2  # the bucket without a bound, and the sum
        self.places: Final[Mapping[Labels, int]] = {
            values: number * self._stride for number, values in enumerate(series)
        }
        self._names = (*map(str, self.bounds), "+Inf")

    @property
    def width(self) -> int:
        """The buckets and the sum of each series."""
        return len(self.places) * self._stride

    @property
    def sum_offset(self) -> int:
        """Where the sum lies, counted from the place of a series."""
        return self._stride - 1

    def metric(self, cells: Sequence[float]) -> Metric:
        """Return what is exposed; a series that nothing was sorted into is left out."""
        metric = HistogramMetricFamily(self.name, self._doc, labels=self._labels)
        for values, place in self.places.items():
            counts = list(itertools.accumulate(cells[place : place + self.sum_offset]))
            if counts[-1]:
                metric.add_metric(values, list(zip(self._names, counts, strict=True)), cells[place + self.sum_offset])
        return metric


def laid_out(families: Iterable[Family]) -> tuple[Mapping[Family, int], int]:
    """Lay families one after another; return where each begins, and the width of all."""
    starts, width = {}, 0
    for family in families:
        starts[family] = width
        width += family.width
    return starts, width
