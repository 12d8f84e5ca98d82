"""The one object through which the service reports to telemetry, and its construction."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from velro_auth.auth.token_check import Refused
from velro_auth.background import PeriodicJobs
from velro_auth.context import OVERSIZE, RequestContext
from velro_auth.health_checks import Finding
from velro_auth.telemetry import alerts as alerting
from velro_auth.telemetry import slo
from velro_auth.telemetry.alerts import EVENTS, Alerts, Announcement, EventLog
from velro_auth.telemetry.audit import AuditTrail, LostRecords
from velro_auth.telemetry.gauges import ExternalCounter, Gauge
from velro_auth.telemetry.issued_tokens import IssuedTokens
from velro_auth.telemetry.metrics import OTHER, PrometheusMetrics, ResponseRecord, render
from velro_auth.telemetry.shared import Window, Workers
from velro_auth.telemetry.slo import Reading, Rule, SloTarget

#: The endpoint that has a service level objective.
LOGIN: Final = "login"

#: Supabase Auth's code for an error of its database, also of a trigger; ``upstream.translate`` notes it as the reason.
_DATABASE_FAILED: Final = "unexpected_failure"

#: Part of the reason where a migration of ours is missing: that is logged by itself, and logins work.
_MIGRATION_MISSING: Final = "velro-auth db up"


class Routes:
    """Maps paths to names of endpoints.

    Args:
        exact: Path → name.
        below: Prefix that ends with a slash → name, for endpoints that answer every path below it.

    A path of *exact* may have placeholders for one segment each, as in ``/factors/<factor_id>``.
    """

    def __init__(self, exact: Mapping[str, str], below: Mapping[str, str] | None = None) -> None:
        self._exact = dict(exact)
        self._patterns = tuple(
            (re.compile(re.sub("<[a-z_]+>", "[^/]+", path)), name) for path, name in exact.items() if "<" in path
        )
        self._below = tuple((below or {}).items())

    @property
    def names(self) -> tuple[str, ...]:
        """All possible names, each once."""
        return tuple(dict.fromkeys([*self._exact.values(), *(name for _, name in self._below), OTHER]))

    def name(self, path: str) -> str:
        """Return the name of the endpoint that answers *path*, or ``other``."""
        if found := self._exact.get(path):
            return found
        if found := next((name for pattern, name in self._patterns if pattern.fullmatch(path)), None):
            return found
        return next((name for prefix, name in self._below if path.startswith(prefix)), OTHER)


def event_of(context: RequestContext) -> str | None:
    """Return the event of ``EVENTS`` that a response shows, if any."""
    if _MIGRATION_MISSING in str(context.log_fields.get("reason", "")):
        return None
    if context.outcome in EVENTS:
        return context.outcome
    if context.log_fields.get("is_throttled"):
        # A refresh answers "busy" in this case.
        return "upstream_throttled"
    if context.outcome == "upstream_error" and _DATABASE_FAILED in str(context.log_fields.get("reason", "")):
        return "upstream_db_trigger"
    return "token_too_large" if OVERSIZE in context.log_fields else None


class Telemetry:
    """Records responses, and gives ``/metrics`` and readiness what they show.

    Built before gunicorn forks, so that the workers share its memory.

    Args:
        routes: Maps paths to names of endpoints.
        outcomes: Codes that a login can end with.
        workers: Number of worker processes.
        target: Returns the service level objective for logins, by the settings in force.
        window_s: Length of the rolling window.
        gauges: Values that other parts measure.
        counters: Counts that other parts keep.
        build: Labels of ``velro_auth_build_info``.
        outputs: Called with each change of an alert, after the log; must not block.
        audit: Records security events; None records none.
        check_token: Returns why this service would refuse a token that it issued.
        jobs_every_s: How often gauges are refreshed and alerts are evaluated, in seconds.
        clock: Monotonic clock in seconds, the same in all processes.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        outcomes: Sequence[str],
        workers: int = 1,
        target: Callable[[], SloTarget] = SloTarget,
        window_s: float = 300.0,
        gauges: Sequence[Gauge] = (),
        counters: Sequence[ExternalCounter] = (),
        build: Mapping[str, str] | None = None,
        outputs: Sequence[Callable[[Announcement], None]] = (),
        audit: AuditTrail | None = None,
        check_token: Callable[[str], Refused | None] = lambda _: None,
        jobs_every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        shared = Workers(workers=workers)
        self._routes = routes
        self._target = target
        self.window = Window(shared, length_s=window_s, clock=clock)
        self.events = EventLog()
        self.audit = audit
        self.lost_records = LostRecords(shared, clock=clock)
        if audit:
            audit.on_lost = self.lost_records.record
        self.issued_tokens = IssuedTokens(check_token, shared, clock=clock)
        self.alerts = Alerts(
            shared,
            rules=self._rules,
            min_samples=target().min_samples,
            outputs=(alerting.log, *outputs),
            clock=clock,
        )
        self.metrics = PrometheusMetrics(
            workers=shared,
            routes=routes.names,
            outcomes=outcomes,
            gauges=(*gauges, *_level_gauges(self.alerts), *_slo_gauges(self.alerts)),
            counters=(*counters, self.lost_records.counter()),
            build=build,
            clock=clock,
        )
        self.jobs = PeriodicJobs(
            (self.issued_tokens.check_newest, self.evaluate, self.metrics.refresh, self.lost_records.log_new),
            every_s=jobs_every_s,
        )
        #: Called when the process ends, after everything else has stopped.
        self.on_stop: Sequence[Callable[[], None]] = ()

    def on_response(self, path: str, status: int, took_ms: float, context: RequestContext, user_agent: str) -> None:
        """Record one response; *took_ms* is from arrival to response, the delay of a refused login included."""
        delayed_ms = context.log_fields.get("held_ms")
        if isinstance(delayed_ms, float):
            took_ms -= delayed_ms
        own_ms = max(0.0, took_ms - context.upstream_ms)
        self.record(
            ResponseRecord(context.operation or self._routes.name(path), status, took_ms, own_ms, context, user_agent)
        )

    def record(self, response: ResponseRecord) -> None:
        """Record one response."""
        context = response.context
        if self.jobs.thread is None:
            self.jobs.ensure()
        self.metrics.record(response)
        if response.route == LOGIN:
            self.window.record(
                response.status,
                took_ms=response.took_ms,
                own_ms=response.own_ms,
                called_supabase=context.upstream_ms > 0,
            )
        if event := event_of(context):
            self.metrics.record_event(event)
            self.events.record(event, context)
        if self.audit:
            self.audit.record_response(response)

    def record_withheld_mail(self, limit: str, account: str, address: str) -> None:
        """Record that a mail was not sent because of *limit*. The response does not show it; *account* is an HMAC."""
        if self.audit:
            self.audit.record("mail_withheld", level="warning", account=account, address=address, reason=limit)

    def evaluate(self) -> None:
        """Evaluate the alerts for the logins of the last minutes."""
        self.alerts.evaluate(lambda: slo.read(self.window, self._target()))

    def _rules(self) -> Sequence[Rule]:
        return (*slo.rules(self._target()), self.issued_tokens.rule())

    def render(self) -> bytes:
        """Return the metrics of the instance as text."""
        return render(self.metrics)

    def check(self) -> Finding:
        """Return the readiness check of the service level."""
        return self.alerts.check()

    def start(self) -> None:
        """Do nothing: the thread of the periodic jobs starts with the first response of a process."""

    def stop(self) -> None:
        """Write what is left and stop the threads."""
        if self.audit:
            self.audit.close()
        self.lost_records.log_now()
        self.jobs.stop()
        for stop in self.on_stop:
            stop()


#: Gauge → its help text and its value in a reading.
_SLO_GAUGES: Final[Mapping[str, tuple[str, Callable[[Reading], float]]]] = {
    "slo_logins": ("Judged logins in the rolling window.", lambda reading: reading.logins),
    "slo_failures": ("Failed logins in the rolling window.", lambda reading: reading.failures),
    "slo_p50_seconds": ("Median of the rolling window.", lambda reading: reading.p50_ms / 1000),
    "slo_p95_seconds": ("95th percentile of the rolling window.", lambda reading: reading.p95_ms / 1000),
    "slo_p99_seconds": ("99th percentile of the rolling window.", lambda reading: reading.p99_ms / 1000),
    "slo_own_p95_seconds": ("95th percentile of our own share.", lambda reading: reading.own_p95_ms / 1000),
    "slo_burn_hour": ("How many times faster than allowed logins failed.", lambda reading: reading.burn_hour),
}


def _slo_gauges(alerts: Alerts) -> list[Gauge]:
    def last(read: Callable[[Reading], float]) -> Callable[[], float]:
        # Only the leading worker has a reading: the others expose 0, and the greatest value is shown.
        return lambda: read(alerts.last_reading) if alerts.last_reading else 0.0

    return [Gauge(name, doc, last(read), is_same_everywhere=True) for name, (doc, read) in _SLO_GAUGES.items()]


def _level_gauges(alerts: Alerts) -> list[Gauge]:
    def level(name: str) -> Callable[[], float]:
        return lambda: alerts.level_number(name)

    doc = "0 ok, 1 warning, 2 critical."
    return [Gauge("alert_level", doc, level(name), {"alert": name}, is_same_everywhere=True) for name in alerts.names]
