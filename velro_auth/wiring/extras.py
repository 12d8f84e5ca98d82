"""Builds what is switched on by a setting and installed as an extra: traces and reports of defects."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from velro_auth import __version__
from velro_auth.config.settings import Settings
from velro_auth.telemetry.answered import Routes
from velro_auth.tracing import NULL_TRACER, Tracer
from velro_auth.wiring.sessions import BackgroundTask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("velro_auth.telemetry")

_COLLECTOR: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SENTRY: Final = "SENTRY_DSN"


def _bare(app: WSGIApplication) -> WSGIApplication:
    return app


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """What traces need of the rest.

    Attributes:
        tracer: Is told of calls to Supabase.
        around: Wraps what answers requests.
        beside: What runs beside the requests.
        retried: What the watch starts again when the system had no thread for it.
    """

    tracer: Tracer = NULL_TRACER
    around: Callable[[WSGIApplication], WSGIApplication] = _bare
    beside: tuple[BackgroundTask, ...] = ()
    retried: tuple[CarefulStart, ...] = ()


def wire_tracing(settings: Settings, *, routes: Routes, paths: Mapping[str, str], left_out: Collection[str]) -> Tracing:
    """Build traces, where there is a collector for them.

    Args:
        settings: Where the collector is.
        routes: Names the endpoint of a path.
        paths: Name of an endpoint → its documented path.
        left_out: Names of the endpoints that are not drawn.
    """
    if not settings.otel_endpoint:
        return Tracing()
    try:
        from velro_auth.telemetry.traced import Traced  # noqa: PLC0415 - 5 MB that few need
        from velro_auth.telemetry.traces import Traces  # noqa: PLC0415
    except ImportError:
        _say_missing(_COLLECTOR, "tracing")
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
    around = functools.partial(Traced, traces=traces, routes=routes, paths=paths, left_out=left_out)
    start = CarefulStart(traces.start, _COLLECTOR)
    return Tracing(tracer=traces, around=around, beside=(BackgroundTask(start, traces.stop),), retried=(start,))


def wire_defects(settings: Settings) -> tuple[BackgroundTask, ...]:
    """Build the reports of defects, where there is somebody who wants them."""
    if not settings.sentry_dsn:
        return ()
    try:
        from velro_auth.telemetry.defects import Defects  # noqa: PLC0415 - 4 MB that few need
    except ImportError:
        _say_missing(_SENTRY, "sentry")
        return ()
    defects = Defects(
        settings.sentry_dsn,
        release="+".join(filter(None, ["velro-auth@" + __version__, settings.commit])),
        environment=settings.environment,
        server_name=settings.replica,
    )
    return (BackgroundTask(CarefulStart(defects.start, _SENTRY), defects.stop),)


def _say_missing(variable: str, extra: str) -> None:
    logger.error(
        "an extra is not installed",
        extra={"variable": variable, "advice": f"pip install 'velro-auth[{extra}]', or clear the variable"},
    )


class CarefulStart:
    """Starts an extra and logs what it fails with: how we watch logins must keep nobody from logging in.

    Args:
        start: Starts it; leaves nothing behind when it fails.
        variable: The setting that asks for it.
    """

    def __init__(self, start: Callable[[], None], variable: str) -> None:
        self._start, self._variable = start, variable
        self._lacks_thread = False

    def __call__(self) -> None:
        """Start it."""
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - whatever a library thinks of its variables
            # RuntimeError: the system has no thread to give just now.
            is_known, self._lacks_thread = self._lacks_thread, isinstance(error, RuntimeError)
            if not is_known:
                # By name only: the text of the error may quote the variable.
                logger.error(  # noqa: TRY400
                    "an extra did not start", extra={"variable": self._variable, "error": type(error).__name__}
                )
        else:
            self._lacks_thread = False

    def retry(self) -> None:
        """Start it if there was no thread for it before."""
        if self._lacks_thread:
            self()
