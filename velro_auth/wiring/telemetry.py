"""Builds what operators see: metrics, the window of logins, alerts, the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from velro_auth import __version__
from velro_auth.auth.token_check import Refused
from velro_auth.config.settings import Settings
from velro_auth.context import RequestContext
from velro_auth.telemetry.answered import Answered, Routes
from velro_auth.telemetry.assembly import Telemetry, assemble
from velro_auth.telemetry.audit import AuditTrail, open_trail
from velro_auth.telemetry.gauges import Gauge, Tally
from velro_auth.telemetry.logs import stdout_sink
from velro_auth.telemetry.sink import Sink
from velro_auth.telemetry.slo import Promise
from velro_auth.telemetry.standard import LOG_TALLY
from velro_auth.telemetry.webhook import Webhook
from velro_auth.web.problems import ANSWERS

#: ``AUDIT_FILE`` for the trail to go among the log lines on stdout.
STDOUT = "-"


@dataclass(frozen=True)
class Observer:
    """Tells telemetry of every answer, by the name of its route.

    Attributes:
        telemetry: Who is told.
        routes: Names the endpoint of a path.
        stops: What has to be stopped with the process, in this order.
    """

    telemetry: Telemetry
    routes: Routes
    stops: Sequence[Callable[[], object]]

    def __call__(self, path: str, status: int, took_ms: float, context: RequestContext, user_agent: str) -> None:
        """Take note of one answer."""
        route = self.routes.name(path)
        answered = Answered.after(took_ms, route=route, status=status, context=context, user_agent=user_agent)
        self.telemetry.answered(answered)

    def start(self) -> None:
        """Do nothing: the thread that judges starts with the first answer of a process."""

    def stop(self) -> None:
        """Stop the threads and write down what is left."""
        for stop in self.stops:
            stop()


def wire_telemetry(
    settings: Settings,
    *,
    promise: Callable[[], Promise],
    routes: Routes,
    gauges: Sequence[Gauge],
    refused: Callable[[str], Refused | None],
    tallies: Sequence[Tally] = (),
) -> Observer:
    """Build telemetry, before the workers are forked that share it.

    Args:
        settings: Those that need a restart are read here: who is told of alerts, the window, the audit file.
        promise: Returns what is demanded of logins, by the settings in force.
        routes: What the metrics call which path.
        gauges: What other parts can be asked for.
        refused: Says why this service would refuse a token that it handed out.
        tallies: What other parts count.
    """
    audit, audit_stops = _audit(settings)
    webhook = _webhook(settings)
    telemetry = assemble(
        routes=routes.names,
        outcomes=sorted({answer.code for answer in ANSWERS.values()} | {"ok"}),
        workers=settings.web_concurrency,
        promise=promise,
        window_s=settings.auth_slo_window_s,
        gauges=gauges,
        tallies=[LOG_TALLY, *tallies],
        build={"version": __version__, "commit": settings.commit},
        outputs=[webhook] if webhook else [],
        audit=audit,
        refused=refused,
    )
    if webhook:
        telemetry.watch.keep(webhook.thread)
    stops = [*audit_stops, telemetry.lost_records.say_now, telemetry.watch.stop, *([webhook.stop] if webhook else [])]
    return Observer(telemetry, routes, stops)


def promise_of(settings: Settings) -> Promise:
    """Return what *settings* demand of logins."""
    return Promise(
        p95_warning_ms=settings.auth_p95_warning,
        p95_critical_ms=settings.auth_p95_critical,
        success_rate_min=settings.auth_success_rate_min,
    )


def _webhook(settings: Settings) -> Webhook | None:
    if not settings.alert_webhook_url:
        return None
    return Webhook(
        settings.alert_webhook_url, secret=settings.alert_webhook_secret, source=settings.service or "velro-auth"
    )


def _audit(settings: Settings) -> tuple[AuditTrail | None, list[Callable[[], object]]]:
    if not settings.audit_file:
        return None, []
    sink = stdout_sink() if settings.audit_file == STDOUT else Sink(lambda: open_trail(Path(settings.audit_file)))
    if sink is None:
        # Nobody configured the log, so this is no server.
        return None, []
    audit = AuditTrail(sink.write)
    return audit, [audit.close, sink.flush]
