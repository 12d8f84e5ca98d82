"""Metrics: what is counted, sorted and measured, over all workers of an instance."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client.core import InfoMetricFamily, Metric

from velro_auth.telemetry.answered import OTHER, Answered
from velro_auth.telemetry.events import EVENTS
from velro_auth.telemetry.families import PREFIX, CounterFamily, Family, HistogramFamily, laid_out
from velro_auth.telemetry.gauges import Gauge, GaugeRows, Tally, TallyRows
from velro_auth.telemetry.shared import Table, Workers

LANES: Final = ("fast", "flask", "edge", "server")
STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
SCOPES: Final = ("pair", "strangers", "account", "network", "network56", "network48", "service", OTHER)

#: What happens to challenges.
CHALLENGES: Final = ("given", "solved", "wrong")
SHARES: Final = ("own", "upstream", "total")


class Metrics(Protocol):
    """Where the service says what it did."""

    def answered(self, answered: Answered) -> None:
        """Note one answered request."""

    def throttled(self, scope: str) -> None:
        """Note a login that the throttle refused, and which limit did."""

    def challenged(self, outcome: str) -> None:
        """Note what happened to a challenge: one of ``CHALLENGES``."""

    def happened(self, event: str) -> None:
        """Note one of ``events.EVENTS``."""


class NullMetrics:
    """Notes nothing: for commands and tests."""

    def answered(self, answered: Answered) -> None:
        """Note nothing."""

    def throttled(self, scope: str) -> None:
        """Note nothing."""

    def challenged(self, outcome: str) -> None:
        """Note nothing."""

    def happened(self, event: str) -> None:
        """Note nothing."""


class PrometheusMetrics:
    """Counts in memory that all workers share, and shows the sum.

    Nothing is allocated for a request: its series are found by one look-up each (measured: 1.7 µs a login, 1.0 µs
    any other request).

    Args:
        workers: The processes of this instance.
        routes: Names of the endpoints; any other is counted as ``other``.
        outcomes: Error codes that a login can end with, ``ok`` among them; any other is counted as ``other``.
        gauges: What else is measured.
        tallies: What else is counted elsewhere.
        build: What is told about this build.
        clock: Seconds that never go back, the same in all processes.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        routes: Iterable[str],
        outcomes: Iterable[str],
        gauges: Sequence[Gauge] = (),
        tallies: Sequence[Tally] = (),
        build: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._define(dict.fromkeys([*routes, OTHER]), dict.fromkeys([*outcomes, OTHER]))
        self._starts, width = laid_out(self._families)
        self._table = Table(workers, width)
        self._gauges = GaugeRows(workers, gauges, clock=clock)
        self._tallies = TallyRows(workers, tallies)
        self._build = dict(build or {})
        self._prepare()

    def _define(self, routes: Iterable[str], outcomes: Iterable[str]) -> None:
        every = [(route, status, lane) for route in routes for status in STATUS_CLASSES for lane in LANES]
        self._requests = CounterFamily(
            PREFIX + "requests", "Answered requests.", ("route", "status", "lane"), every, hides_zeros=True
        )
        self._own = HistogramFamily(
            PREFIX + "request_own_seconds",
            "Our own share of the time a request took.",
            ("route",),
            [(route,) for route in routes],
        )
        self._logins = CounterFamily(
            PREFIX + "logins", "Logins by outcome.", ("outcome",), [(outcome,) for outcome in outcomes]
        )
        self._shares = HistogramFamily(
            PREFIX + "login_seconds",
            "Time that logins took: our own share, the upstream's, and in total without deliberate waiting.",
            ("share",),
            [(share,) for share in SHARES],
        )
        self._throttled = CounterFamily(
            PREFIX + "throttle_refusals", "Logins refused, by limit.", ("scope",), [(scope,) for scope in SCOPES]
        )
        self._challenges = CounterFamily(
            PREFIX + "challenges", "Challenges of the throttle.", ("outcome",), [(outcome,) for outcome in CHALLENGES]
        )
        self._events = CounterFamily(
            PREFIX + "events", "What an operator should hear of.", ("event",), [(event,) for event in EVENTS]
        )
        self._families: Sequence[Family] = (
            *(self._requests, self._own, self._logins, self._shares, self._throttled, self._challenges, self._events),
        )

    def _prepare(self) -> None:
        """Work out where in the row each series lies."""

        def places(family: CounterFamily | HistogramFamily) -> dict[str, int]:
            return {labels[0]: self._starts[family] + place for labels, place in family.places.items()}

        self._request_places = {
            (route, int(status[0]), lane): self._starts[self._requests] + place
            for (route, status, lane), place in self._requests.places.items()
        }
        self._login_places, self._scope_places = places(self._logins), places(self._throttled)
        self._event_places, self._own_places = places(self._events), places(self._own)
        self._challenge_places = places(self._challenges)
        shares = places(self._shares)
        self._share_places = tuple(shares[share] for share in SHARES)
        self._bounds, self._sum_offset = self._own.bounds, self._own.sum_offset

    def answered(self, answered: Answered) -> None:
        """Note one answered request."""
        context, route = answered.context, answered.route
        if route not in self._own_places:
            route = OTHER
        place = self._request_places[route, answered.status // 100, context.lane]
        own_s = answered.own_ms / 1000
        row = self._table.mine()
        with self._table.lock:
            row[place] += 1
            self._sort(row, self._own_places[route], own_s)
            if route == "login":
                self._login(row, answered, own_s)

    def _login(self, row: memoryview[float], answered: Answered, own_s: float) -> None:
        context = answered.context
        row[self._login_places.get(context.outcome, self._login_places[OTHER])] += 1
        own, upstream, total = self._share_places
        self._sort(row, own, own_s)
        self._sort(row, total, answered.took_ms / 1000)
        if context.upstream_ms:
            self._sort(row, upstream, context.upstream_ms / 1000)

    def _sort(self, row: memoryview[float], place: int, value: float) -> None:
        row[place + bisect_left(self._bounds, value)] += 1
        row[place + self._sum_offset] += value

    def throttled(self, scope: str) -> None:
        """Note a login that the throttle refused."""
        self._add(self._scope_places.get(scope, self._scope_places[OTHER]))

    def challenged(self, outcome: str) -> None:
        """Note what happened to a challenge."""
        self._add(self._challenge_places[outcome])

    def happened(self, event: str) -> None:
        """Note one of ``EVENTS``."""
        self._add(self._event_places[event])

    def _add(self, place: int) -> None:
        row = self._table.mine()
        with self._table.lock:
            row[place] += 1

    def refresh(self) -> None:
        """Ask for the gauges and tallies of this process; the watch calls this every few seconds."""
        self._gauges.refresh()
        self._tallies.refresh()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of the instance, as prometheus-client's registries ask for them."""
        self.refresh()
        sums = self._table.sums()
        yield InfoMetricFamily(PREFIX + "build", "What is running.", value=self._build)
        for family, start in self._starts.items():
            yield family.metric(sums[start : start + family.width])
        yield from self._gauges.collect()
        yield from self._tallies.collect()
