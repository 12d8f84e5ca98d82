"""Numbers that other parts keep: asked for by the watch every few seconds, shown for all workers together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from velro_auth.telemetry.families import PREFIX
from velro_auth.telemetry.shared import Table, Workers

#: Gauges of a worker that has not renewed them for so long are those of a dead or stuck one: four looks of the watch.
STALE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that some other part of a worker can be asked for.

    Attributes:
        name: Without the common prefix.
        doc: One sentence for whoever reads the metric.
        read: Returns it. Asked by the watch, never by a request; must not block.
        labels: Label → value; gauges of one name have the same labels.
        is_same_everywhere: All workers mean the same thing: expose the greatest value, not the sum.
    """

    name: str
    doc: str
    read: Callable[[], float]
    labels: Mapping[str, str] | None = None
    is_same_everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """A count that some other part of a worker keeps itself, from zero upwards.

    Attributes:
        name: Without the common prefix and without ``_total``.
        doc: One sentence for whoever reads the metric.
        read: Returns it.
    """

    name: str
    doc: str
    read: Callable[[], float]


class GaugeRows:
    """The gauges of every worker: each renews its own, whoever is scraped shows all that are fresh."""

    def __init__(self, workers: Workers, gauges: Sequence[Gauge], *, clock: Callable[[], float]) -> None:
        self._list = tuple(gauges)
        # The first number of a row says when the others were renewed.
        self._table = Table(workers, 1 + len(self._list))
        self._clock = clock

    def refresh(self) -> None:
        """Ask for the gauges of this process."""
        row = self._table.mine()
        for place, gauge in enumerate(self._list, start=1):
            row[place] = gauge.read()
        row[0] = self._clock()

    def collect(self) -> Iterable[Metric]:
        """Return what is exposed."""
        oldest = self._clock() - STALE_S
        fresh = [row for row in self._table.rows if row[0] and row[0] >= oldest]
        yield GaugeMetricFamily(PREFIX + "workers", "Workers that are alive.", value=len(fresh))
        families: dict[str, GaugeMetricFamily] = {}
        for place, gauge in enumerate(self._list, start=1):
            labels = gauge.labels or {}
            family = families.setdefault(
                gauge.name, GaugeMetricFamily(PREFIX + gauge.name, gauge.doc, labels=tuple(labels))
            )
            combine = max if gauge.is_same_everywhere else sum
            family.add_metric(tuple(labels.values()), combine(row[place] for row in fresh))
        yield from families.values()


class TallyRows:
    """Counts kept elsewhere: what was added since the last look is added to the row of this process."""

    def __init__(self, workers: Workers, tallies: Sequence[Tally]) -> None:
        self._list = tuple(tallies)
        self._table = Table(workers, max(1, len(self._list)))
        self._pid, self._seen = 0, [0.0] * len(self._list)

    def refresh(self) -> None:
        """Ask for the counts of this process."""
        row = self._table.mine()
        with self._table.lock:
            if self._pid != os.getpid():
                self._pid, self._seen = os.getpid(), [0.0] * len(self._list)
            for place, tally in enumerate(self._list):
                now = tally.read()
                row[place] += max(0.0, now - self._seen[place])
                self._seen[place] = now

    def collect(self) -> Iterable[Metric]:
        """Return what is exposed."""
        sums = self._table.sums()
        for tally, value in zip(self._list, sums, strict=False):
            yield CounterMetricFamily(PREFIX + tally.name, tally.doc, value=value)
