"""Builds telemetry, and the optional extras: traces and error reports."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from velro_auth import __version__
from velro_auth.auth.token_check import Refused
from velro_auth.config.settings import Settings
from velro_auth.telemetry.audit import AuditTrail, open_trail
from velro_auth.telemetry.gauges import DROPPED_LINES, ExternalCounter, Gauge
from velro_auth.telemetry.logs import stdout_sink
from velro_auth.telemetry.sink import Sink
from velro_auth.telemetry.slo import SloTarget
from velro_auth.telemetry.telemetry import Routes, Telemetry
from velro_auth.telemetry.webhook import Webhook
from velro_auth.upstream.transport.tracing import Tracer
from velro_auth.web.problems import ANSWERS
from velro_auth.wiring.sessions import BackgroundTask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("velro_auth.telemetry")

#: The value of ``AUDIT_FILE`` that writes the audit trail to stdout, between the log lines.
STDOUT = "-"

_COLLECTOR: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SENTRY: Final = "SENTRY_DSN"


def wire_telemetry(
    settings: Settings,
    *,
    target: Callable[[], SloTarget],
    routes: Routes,
    gauges: Sequence[Gauge],
    check_token: Callable[[str], Refused | None],
    counters: Sequence[ExternalCounter] = (),
) -> Telemetry:
    """Build telemetry, before the workers are forked that share its memory.

    Args:
        settings: Those that need a restart are read here: the outputs for alerts and audit records, the window.
        target: Returns the service level objective, by the settings in force.
        routes: Maps paths to the names that the metrics use.
        gauges: Values that other parts measure.
        check_token: Returns why this service would refuse a token that it issued.
        counters: Counts that other parts keep.
    """
    webhook = _webhook(settings)
    telemetry = Telemetry(
        routes=routes,
        outcomes=sorted({answer.code for answer in ANSWERS.values()} | {"ok"}),
        workers=settings.web_concurrency,
        target=target,
        window_s=settings.auth_slo_window_s,
        gauges=gauges,
        counters=[DROPPED_LINES, *counters],
        build={"version": __version__, "commit": settings.commit},
        outputs=[webhook] if webhook else [],
        audit=_audit(settings),
        check_token=check_token,
    )
    if webhook:
        telemetry.jobs.retry_with(webhook.thread)
        telemetry.on_stop = (webhook.stop,)
    return telemetry


def slo_target(settings: Settings) -> SloTarget:
    """Return the service level objective of *settings*."""
    return SloTarget(
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


def _audit(settings: Settings) -> AuditTrail | None:
    if not settings.audit_file:
        return None
    sink = stdout_sink() if settings.audit_file == STDOUT else Sink(lambda: open_trail(Path(settings.audit_file)))
    # Without a configured log this process is not a server.
    return AuditTrail(sink.write, flush=sink.flush) if sink else None


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """What traces add to the service; by default nothing.

    Attributes:
        tracer: Makes the spans of calls to Supabase; None for no spans.
        wrap: Wraps the middleware.
        tasks: Started and stopped with the process.
        retryable: Starts that the periodic jobs retry when the system was out of threads.
    """

    tracer: Tracer | None = None
    wrap: Callable[[WSGIApplication], WSGIApplication] = lambda app: app
    tasks: tuple[BackgroundTask, ...] = ()
    retryable: tuple[SafeStart, ...] = ()


def wire_tracing(settings: Settings, *, routes: Routes, paths: Mapping[str, str], excluded: Collection[str]) -> Tracing:
    """Build traces, where a collector is set.

    Args:
        settings: The address of the collector.
        routes: Maps paths to names of endpoints.
        paths: Name of an endpoint → its documented path.
        excluded: Names of the endpoints that get no spans.
    """
    if not settings.otel_endpoint:
        return Tracing()
    try:
        from velro_auth.telemetry.traces import Traces, TracingMiddleware  # noqa: PLC0415 - 5 MB that few need
    except ImportError:
        _log_missing(_COLLECTOR, "tracing")
        return Tracing()
    resource = {
        "service.name": settings.otel_service_name,
        "service.version": __version__,
        "service.instance.id": settings.replica,
        "deployment.environment.name": settings.environment,
    }
    traces = Traces(
        endpoint=settings.otel_endpoint, resource={name: value for name, value in resource.items() if value}
    )
    wrap = functools.partial(TracingMiddleware, traces=traces, routes=routes, paths=paths, excluded=excluded)
    start = SafeStart(traces.start, _COLLECTOR)
    return Tracing(tracer=traces, wrap=wrap, tasks=(BackgroundTask(start, traces.stop),), retryable=(start,))


def wire_sentry(settings: Settings) -> tuple[BackgroundTask, ...]:
    """Build the error reports, where an address for them is set."""
    if not settings.sentry_dsn:
        return ()
    try:
        from velro_auth.telemetry.sentry import SentryHandler  # noqa: PLC0415 - 4 MB that few need
    except ImportError:
        _log_missing(_SENTRY, "sentry")
        return ()
    handler = SentryHandler(
        settings.sentry_dsn,
        release="+".join(filter(None, ["velro-auth@" + __version__, settings.commit])),
        environment=settings.environment,
        server_name=settings.replica,
    )
    return (BackgroundTask(SafeStart(handler.start, _SENTRY), handler.stop),)


def _log_missing(variable: str, extra: str) -> None:
    logger.error(
        "an extra is not installed",
        extra={"variable": variable, "advice": f"pip install 'velro-auth[{extra}]', or clear the variable"},
    )


class SafeStart:
    """Starts an extra, and logs a failure: a broken extra must not stop logins.

    Args:
        start: Starts it; leaves nothing behind when it fails.
        variable: The setting that switches it on.
    """

    def __init__(self, start: Callable[[], None], variable: str) -> None:
        self._start, self._variable = start, variable
        self._lacks_thread = False

    def __call__(self) -> None:
        """Start it."""
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - a library may raise anything about its variables
            # RuntimeError: the system is out of threads.
            is_known, self._lacks_thread = self._lacks_thread, isinstance(error, RuntimeError)
            if not is_known:
                # Only the name: the text of the error may quote the variable.
                logger.error(  # noqa: TRY400
                    "an extra did not start", extra={"variable": self._variable, "error": type(error).__name__}
                )
        else:
            self._lacks_thread = False

    def retry(self) -> None:
        """Start it if the system was out of threads before."""
        if self._lacks_thread:
            self()
