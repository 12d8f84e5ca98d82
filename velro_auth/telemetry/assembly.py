"""Puts the parts of telemetry together: one object that the edge tells of every answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from velro_auth.auth.token_check import Refused
from velro_auth.health_checks import Finding
from velro_auth.telemetry import alerts as alerting
from velro_auth.telemetry import slo
from velro_auth.telemetry.alerts import Alerts, Announcement
from velro_auth.telemetry.answered import Answered
from velro_auth.telemetry.audit import AuditTrail
from velro_auth.telemetry.events import EventLog, event_of
from velro_auth.telemetry.exposition import render
from velro_auth.telemetry.gauges import Gauge, Tally
from velro_auth.telemetry.issued_tokens import IssuedTokens
from velro_auth.telemetry.lost_records import LostRecords
from velro_auth.telemetry.metrics import PrometheusMetrics
from velro_auth.telemetry.shared import Workers
from velro_auth.telemetry.slo import Promise, Reading
from velro_auth.telemetry.watch import Watch
from velro_auth.telemetry.window import Window

#: The endpoint whose service level is watched.
LOGIN: Final = "login"


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """What the edge, ``/metrics`` and readiness need of telemetry.

    Attributes:
        metrics: Counts.
        window: The logins of the last minutes.
        alerts: What is wrong with them.
        events: Tells of single bad answers.
        audit: Records security events; None records none.
        losses: What of the audit trail could not be written.
        watch: Renews gauges and judges the window.
        handed_out: Judges samples of the tokens that are handed out.
    """

    metrics: PrometheusMetrics
    window: Window
    alerts: Alerts
    events: EventLog
    audit: AuditTrail | None
    lost_records: LostRecords
    watch: Watch
    issued_tokens: IssuedTokens

    def answered(self, answered: Answered) -> None:
        """Take note of one answered request."""
        self.watch.ensure()
        self.metrics.answered(answered)
        if answered.route == LOGIN:
            self.window.note(answered)
        if event := event_of(answered.context):
            self.metrics.happened(event)
            self.events.note(event, answered.context)
        if self.audit:
            self.audit.answered(answered)

    def render(self) -> bytes:
        """Return the metrics of the instance as text."""
        return render(self.metrics)

    def check(self) -> Finding:
        """Return what readiness says about the service level."""
        return self.alerts.check()


def _accepted(_token: str) -> None:
    """Find nothing wrong with a token."""


def assemble(
    *,
    routes: Sequence[str],
    outcomes: Sequence[str],
    workers: int = 1,
    promise: Callable[[], Promise] = Promise,
    window_s: float = 300.0,
    gauges: Sequence[Gauge] = (),
    tallies: Sequence[Tally] = (),
    build: Mapping[str, str] | None = None,
    outputs: Sequence[Callable[[Announcement], None]] = (),
    audit: AuditTrail | None = None,
    refused: Callable[[str], Refused | None] = _accepted,
    watch_every_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> Telemetry:
    """Build telemetry for an instance; before gunicorn forks, so that its workers share it.

    Args:
        routes: Names of the endpoints.
        outcomes: Codes that a login can end with.
        workers: How many worker processes there are.
        promise: Returns what is demanded of logins, by the settings in force.
        window_s: Length of the rolling window.
        gauges: What else is measured.
        tallies: What else is counted elsewhere.
        build: What ``velro_auth_build_info`` tells.
        outputs: Who is told of alerts besides the log.
        audit: Records security events.
        refused: Says why this service would refuse a token that it handed out.
        watch_every_s: How often gauges are renewed and the window is judged.
        clock: Seconds that never go back, the same in all processes.
    """
    shared = Workers(workers=workers)
    lost_records = LostRecords(shared, clock=clock)
    if audit:
        audit.on_lost = lost_records.note
    window = Window(shared, length_s=window_s, clock=clock)
    issued_tokens = IssuedTokens(refused, shared, clock=clock)
    alerts = Alerts(
        shared,
        rules=lambda: (*slo.rules(promise()), issued_tokens.rule()),
        min_samples=promise().min_samples,
        outputs=(alerting.log, *outputs),
        clock=clock,
    )
    metrics = PrometheusMetrics(
        workers=shared,
        routes=routes,
        outcomes=outcomes,
        gauges=(*gauges, *_alert_gauges(alerts)),
        tallies=(
            *tallies,
            Tally("audit_records_lost", "Audit records that could not be written.", lambda: lost_records.here),
        ),
        build=build,
        clock=clock,
    )

    def judge() -> None:
        alerts.look(lambda: slo.read(window, promise()))

    return Telemetry(
        metrics=metrics,
        window=window,
        alerts=alerts,
        events=EventLog(),
        audit=audit,
        lost_records=lost_records,
        watch=Watch((issued_tokens.look, judge, metrics.refresh, lost_records.say), every_s=watch_every_s),
        issued_tokens=issued_tokens,
    )


def _alert_gauges(alerts: Alerts) -> list[Gauge]:
    def level(name: str) -> Callable[[], float]:
        return lambda: alerts.number(name)

    def last(read: Callable[[Reading], float]) -> Callable[[], float]:
        # Only the leading worker judges; the others have nothing greater to say.
        return lambda: read(alerts.last) if alerts.last else 0.0

    levels = [
        Gauge("alert_level", "0 ok, 1 warning, 2 critical.", level(name), {"alert": name}, is_same_everywhere=True)
        for name in alerts.names
    ]
    windows = [
        Gauge(name, doc, last(read), is_same_everywhere=True)
        for name, (doc, read) in {
            "slo_logins": ("Judged logins in the rolling window.", lambda reading: reading.logins),
            "slo_failures": ("Failed logins in the rolling window.", lambda reading: reading.failures),
            "slo_p50_seconds": ("Median of the rolling window.", lambda reading: reading.p50_ms / 1000),
            "slo_p95_seconds": ("95th percentile of the rolling window.", lambda reading: reading.p95_ms / 1000),
            "slo_p99_seconds": ("99th percentile of the rolling window.", lambda reading: reading.p99_ms / 1000),
            "slo_own_p95_seconds": ("95th percentile of our own share.", lambda reading: reading.own_p95_ms / 1000),
            "slo_burn_hour": ("How many times faster than allowed logins failed.", lambda reading: reading.burn_hour),
        }.items()
    ]
    return [*levels, *windows]
