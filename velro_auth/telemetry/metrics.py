"""Metrics of requests and logins, over all workers of an instance, and their text for Prometheus.

Every series is known at the start, so a hostile client cannot add one, and each is found by one look-up.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from velro_auth.context import RequestContext
from velro_auth.guards.budgets import KINDS
from velro_auth.guards.mails import UPSTREAM
from velro_auth.telemetry.alerts import EVENTS
from velro_auth.telemetry.gauges import PREFIX, ExternalCounter, ExternalCounters, Gauge, Gauges
from velro_auth.telemetry.shared import Table, Workers

Labels: TypeAlias = tuple[str, ...]

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

#: The route label of all paths that are not ours: a scanner must not choose label values.
OTHER: Final = "other"

LANES: Final = ("fast", "flask", "edge", "server")
STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
SCOPES: Final = ("pair", "strangers", "account", "network", "network56", "network48", "service", OTHER)
BUDGETS: Final = (*KINDS, UPSTREAM, OTHER)
LIMITS: Final = (*SCOPES[:-1], *BUDGETS)
CHALLENGES: Final = ("given", "solved", "wrong")
SHARES: Final = ("own", "upstream", "total")

#: 0.5 ms to 10 s: our own share starts near the first bound, the upstream deadline is below the last.
DURATION_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0),
)


class ResponseRecord(NamedTuple):
    """One response, as telemetry counts it.

    Attributes:
        route: Name of the endpoint, or ``other``.
        took_ms: Time from arrival to response, without the deliberate delay of refused logins.
        own_ms: Our own share: without the time of Supabase.
        context: Lane, outcome, time of Supabase, caller.
        user_agent: The User-Agent header, shortened.
    """

    route: str
    status: int
    took_ms: float
    own_ms: float
    context: RequestContext
    user_agent: str = ""


class CounterFamily:
    """Counters of one name in a row of numbers.

    Args:
        name: Without the common prefix and without ``_total``.
        doc: The help text.
        labels: Label → its values; there is a series for each combination.
        start: Offset of the first series in the row.
    """

    def __init__(self, name: str, doc: str, labels: Mapping[str, Iterable[str]], *, start: int) -> None:
        self._name, self._doc, self._labels = PREFIX + name, doc, tuple(labels)
        series = itertools.product(*labels.values())
        self.offsets: Final[Mapping[Labels, int]] = {values: offset for offset, values in enumerate(series, start)}
        self.end: Final = start + len(self.offsets)
        # Most combinations of several labels never happen, so those that are zero are left out.
        self._hides_zeros = len(labels) > 1

    def add(self, row: memoryview[float], *values: str) -> None:
        """Add one to a series; a label value that is not known counts as ``other``, where the family has that."""
        row[self.offsets[values if values in self.offsets else (OTHER,)]] += 1

    def metric(self, row: Sequence[float]) -> Metric:
        """Return the metric for Prometheus."""
        metric = CounterMetricFamily(self._name, self._doc, labels=self._labels)
        for values, offset in self.offsets.items():
            if row[offset] or not self._hides_zeros:
                metric.add_metric(values, row[offset])
        return metric


class HistogramFamily:
    """Histograms of durations of one name in a row of numbers."""

    def __init__(self, name: str, doc: str, label: str, values: Iterable[str], *, start: int) -> None:
        self._name, self._doc, self._label = PREFIX + name, doc, label
        # A series is its buckets, the last of them without a bound, and then the sum.
        self._sum_offset = len(DURATION_BOUNDS_S) + 1
        self.offsets: Final = {value: start + n * (self._sum_offset + 1) for n, value in enumerate(values)}
        self.end: Final = start + len(self.offsets) * (self._sum_offset + 1)

    def observe(self, row: memoryview[float], value: str, took_s: float) -> None:
        """Add a duration to the series of a label value."""
        offset = self.offsets[value]
        row[offset + bisect_left(DURATION_BOUNDS_S, took_s)] += 1
        row[offset + self._sum_offset] += took_s

    def metric(self, row: Sequence[float]) -> Metric:
        """Return the metric for Prometheus, without empty series."""
        metric = HistogramMetricFamily(self._name, self._doc, labels=(self._label,))
        names = (*map(str, DURATION_BOUNDS_S), "+Inf")
        for value, offset in self.offsets.items():
            total_s = row[offset + self._sum_offset]
            counts = list(itertools.accumulate(row[offset : offset + self._sum_offset]))
            if counts[-1]:
                metric.add_metric((value,), list(zip(names, counts, strict=True)), total_s)
        return metric


class PrometheusMetrics:
    """Counts in memory that all workers share, and exposes the sums (measured: 1.7 µs a login, 1.0 µs other requests).

    Args:
        routes: Names of the endpoints; all others are counted as ``other``.
        outcomes: Error codes of logins, and ``ok``; all others are counted as ``other``.
        gauges: Values that other parts measure.
        counters: Counts that other parts keep.
        build: Labels of ``velro_auth_build_info``.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        routes: Iterable[str],
        outcomes: Iterable[str],
        gauges: Sequence[Gauge] = (),
        counters: Sequence[ExternalCounter] = (),
        build: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        routes = tuple(dict.fromkeys([*routes, OTHER]))
        self._families: list[CounterFamily | HistogramFamily] = []
        self._requests = self._counter(
            "requests", "Answered requests.", route=routes, status=STATUS_CLASSES, lane=LANES
        )
        self._own = self._histogram("request_own_seconds", "Our own share of the time a request took.", "route", routes)
        self._logins = self._counter("logins", "Logins by outcome.", outcome=dict.fromkeys([*outcomes, OTHER]))
        doc = "Time that logins took: our own share, the upstream's, and in total without deliberate waiting."
        self._shares = self._histogram("login_seconds", doc, "share", SHARES)
        # Each of these counts one by its label: a refusal by the limit, a challenge by its outcome, …
        self.record_throttled = self._recorder("throttle_refusals", "Logins refused, by limit.", scope=SCOPES)
        self.record_challenge = self._recorder("challenges", "Challenges of the throttle.", outcome=CHALLENGES)
        doc = "Codes, mails and sign-ups refused, by budget."
        self.record_budget_refused = self._recorder("budget_refusals", doc, budget=BUDGETS)
        doc = "Requests that a limit would have refused (AUTH_GUARDS=report)."
        self.record_reported = self._recorder("report_refusals", doc, limit=LIMITS)
        doc = "Those of them that were good: a right password or code, or a sign-up that succeeded."
        self.record_reported_good = self._recorder("report_good", doc, limit=LIMITS)
        self.record_event = self._recorder("events", "Events that an operator should know of.", event=EVENTS)
        self._table = Table(workers, self._families[-1].end)
        self._gauges = Gauges(workers, gauges, clock=clock)
        self._counters = ExternalCounters(workers, counters)
        self._build = dict(build or {})

    def _counter(self, name: str, doc: str, **labels: Iterable[str]) -> CounterFamily:
        self._families.append(family := CounterFamily(name, doc, labels, start=self._next_offset()))
        return family

    def _recorder(self, name: str, doc: str, **labels: Iterable[str]) -> Callable[[str], None]:
        """Add a counter with one label; return what adds one to the series of a value."""
        family = self._counter(name, doc, **labels)

        def record(value: str) -> None:
            row = self._table.own_row()
            with self._table.lock:
                family.add(row, value)

        return record

    def _histogram(self, name: str, doc: str, label: str, values: Iterable[str]) -> HistogramFamily:
        self._families.append(family := HistogramFamily(name, doc, label, values, start=self._next_offset()))
        return family

    def _next_offset(self) -> int:
        return self._families[-1].end if self._families else 0

    def record(self, response: ResponseRecord) -> None:
        """Count one response."""
        route = response.route if response.route in self._own.offsets else OTHER
        row = self._table.own_row()
        with self._table.lock:
            self._requests.add(row, route, STATUS_CLASSES[response.status // 100 - 1], response.context.lane)
            self._own.observe(row, route, response.own_ms / 1000)
            if route == "login":
                self._record_login(row, response)

    def _record_login(self, row: memoryview[float], response: ResponseRecord) -> None:
        context = response.context
        self._logins.add(row, context.outcome)
        self._shares.observe(row, "own", response.own_ms / 1000)
        self._shares.observe(row, "total", response.took_ms / 1000)
        if context.upstream_ms:
            self._shares.observe(row, "upstream", context.upstream_ms / 1000)

    def refresh(self) -> None:
        """Read the gauges and the external counters of this process; called every few seconds."""
        self._gauges.refresh()
        self._counters.refresh()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of the instance; called by prometheus-client's registry."""
        self.refresh()
        sums = self._table.sums()
        yield InfoMetricFamily(PREFIX + "build", "What is running.", value=self._build)
        for family in self._families:
            yield family.metric(sums)
        yield from self._gauges.collect()
        yield from self._counters.collect()


def render(collector: Collector) -> bytes:
    """Return the metrics of *collector* as text for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
