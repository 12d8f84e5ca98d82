"""Values that other parts of a worker keep: read every few seconds, exposed for all workers together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from velro_auth.guards.asking import BulkheadState, CircuitBreaker, State
from velro_auth.guards.failure_delay import FailureDelayState
from velro_auth.telemetry.logs import dropped_lines
from velro_auth.telemetry.shared import Table, Workers

#: The beginning of all our metric names.
PREFIX: Final = "velro_auth_"

#: Gauges of a worker that did not refresh them for so long are left out: it is dead or stuck. Four refreshes.
STALE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value that another part of a worker measures.

    Attributes:
        name: Without the common prefix.
        doc: The help text.
        read: Returns the value; must not block.
        labels: Label → value; gauges of one name have the same labels.
        is_same_everywhere: Expose the greatest value of all workers, not the sum.
    """

    name: str
    doc: str
    read: Callable[[], float]
    labels: Mapping[str, str] | None = None
    is_same_everywhere: bool = False


@dataclass(frozen=True, slots=True)
class ExternalCounter:
    """A count that another part of a worker keeps, from zero upwards.

    Attributes:
        name: Without the common prefix and without ``_total``.
        doc: The help text.
        read: Returns the count.
    """

    name: str
    doc: str
    read: Callable[[], float]


class Gauges:
    """The gauges of all workers: each worker refreshes its own row, every worker can expose all."""

    def __init__(self, workers: Workers, gauges: Sequence[Gauge], *, clock: Callable[[], float]) -> None:
        self._gauges = tuple(gauges)
        # The first number of a row is the time of its last refresh.
        self._table = Table(workers, 1 + len(self._gauges))
        self._clock = clock

    def refresh(self) -> None:
        """Read the gauges of this process."""
        row = self._table.own_row()
        for offset, gauge in enumerate(self._gauges, start=1):
            row[offset] = gauge.read()
        row[0] = self._clock()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for Prometheus."""
        oldest = self._clock() - STALE_S
        fresh = [row for row in self._table.rows if row[0] and row[0] >= oldest]
        yield GaugeMetricFamily(PREFIX + "workers", "Workers that are alive.", value=len(fresh))
        families: dict[str, GaugeMetricFamily] = {}
        for offset, gauge in enumerate(self._gauges, start=1):
            labels = gauge.labels or {}
            family = families.setdefault(
                gauge.name, GaugeMetricFamily(PREFIX + gauge.name, gauge.doc, labels=tuple(labels))
            )
            combine = max if gauge.is_same_everywhere else sum
            family.add_metric(tuple(labels.values()), combine(row[offset] for row in fresh))
        yield from families.values()


class ExternalCounters:
    """The external counters of all workers: the increase since the last refresh is added to the row of the process."""

    def __init__(self, workers: Workers, counters: Sequence[ExternalCounter]) -> None:
        self._counters = tuple(counters)
        self._table = Table(workers, max(1, len(self._counters)))
        self._pid, self._last = 0, [0.0] * len(self._counters)

    def refresh(self) -> None:
        """Read the counters of this process."""
        row = self._table.own_row()
        with self._table.lock:
            if self._pid != os.getpid():
                self._pid, self._last = os.getpid(), [0.0] * len(self._counters)
            for offset, counter in enumerate(self._counters):
                value = counter.read()
                row[offset] += max(0.0, value - self._last[offset])
                self._last[offset] = value

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for Prometheus."""
        for counter, value in zip(self._counters, self._table.sums(), strict=False):
            yield CounterMetricFamily(PREFIX + counter.name, counter.doc, value=value)


DROPPED_LINES: Final = ExternalCounter("log_lines_dropped", "Log lines that could not be written.", dropped_lines)


def guard_gauges(
    *, bulkhead: BulkheadState, breaker: CircuitBreaker, failure_delay: FailureDelayState
) -> Sequence[Gauge]:
    """Return the gauges of the guards."""

    def is_in(state: State) -> Callable[[], float]:
        return lambda: float(breaker.state == state)

    doc = "Workers by state of their breaker."
    return (
        Gauge("gate_slots", "Logins that may ask Supabase at once.", lambda: bulkhead.permits),
        Gauge("gate_taken", "Logins that ask Supabase now.", lambda: bulkhead.in_use),
        Gauge("gate_waiting", "Logins that wait for a slot.", lambda: len(bulkhead.waiting)),
        Gauge("floor_free", "Requests that may still set out for Supabase.", lambda: failure_delay.free),
        *(Gauge("breaker", doc, is_in(state), {"state": state}) for state in get_args(State)),
    )


def pool_gauges(
    *, idle: Callable[[], float], age_s: Callable[[], float], unused_s: Callable[[], float]
) -> Sequence[Gauge]:
    """Return the gauges of the connection pool.

    Args:
        idle: Number of idle connections to Supabase.
        age_s: Age of the oldest idle one; 0 without any.
        unused_s: Time since the last use of the connection that was idle longest; 0 without any.
    """
    unused = "Time since the last use of the one unused for longest."
    return (
        Gauge("pool_idle_connections", "Open connections to Supabase that wait for use.", idle),
        Gauge("pool_connection_age_seconds", "Age of the oldest of them.", age_s, is_same_everywhere=True),
        Gauge("pool_connection_unused_seconds", unused, unused_s, is_same_everywhere=True),
    )


def key_gauges(*, count: Callable[[], float], age_s: Callable[[], float]) -> Sequence[Gauge]:
    """Return the gauges of the signing keys: their number, and the seconds since they were fetched.

    Every worker fetches its own keys: the oldest are shown.
    """
    return (
        Gauge("signing_keys", "Signing keys that are known.", count, is_same_everywhere=True),
        Gauge("signing_keys_age_seconds", "Age of the oldest key set.", age_s, is_same_everywhere=True),
    )


def cache_gauge(cache: str, size: Callable[[], float]) -> Gauge:
    """Return the gauge of the entries of one cache."""
    return Gauge("cache_entries", "Entries that caches hold.", size, {"cache": cache})
