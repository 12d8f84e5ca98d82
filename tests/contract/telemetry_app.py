"""A small service under gunicorn with telemetry as the gateway has it: every answer is what the query says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from werkzeug.wrappers import Request

from velro_auth.context import RequestContext
from velro_auth.endpoints.operations import MetricsEndpoint
from velro_auth.guards.asking import Bulkhead, CircuitBreaker
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.telemetry.audit import AuditTrail, open_trail
from velro_auth.telemetry.gauges import DROPPED_LINES, Gauge, cache_gauge, guard_gauges, key_gauges, pool_gauges
from velro_auth.telemetry.sink import Sink
from velro_auth.telemetry.slo import SloTarget
from velro_auth.telemetry.telemetry import Routes, Telemetry
from velro_auth.telemetry.webhook import Webhook

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

OUTCOMES = ("ok", "invalid_credentials", "too_many_attempts", "upstream_timeout", "upstream_misconfigured")


def _gauges() -> list[Gauge]:
    bulkhead = Bulkhead(permits=24, wait_s=1.0, max_waiting=4)
    return [
        *guard_gauges(bulkhead=bulkhead.state, breaker=CircuitBreaker(), failure_delay=FailureDelay(permits=30).state),
        *pool_gauges(idle=lambda: 3.0, age_s=lambda: 90.0, unused_s=lambda: 20.0),
        *key_gauges(count=lambda: 2.0, age_s=lambda: 5.0),
        cache_gauge("introspection", lambda: 10.0),
    ]


def build(*, workers: int, audit_file: str = "", webhook_url: str = "") -> Telemetry:
    """Return telemetry as a gateway has it, with jobs that run often."""
    sink = Sink(lambda: open_trail(Path(audit_file)))
    return Telemetry(
        routes=Routes({f"/{name}": name for name in ("login", "health", "metrics")}),
        outcomes=OUTCOMES,
        workers=workers,
        target=SloTarget,
        gauges=_gauges(),
        counters=[DROPPED_LINES],
        build={"version": "test"},
        outputs=[Webhook(webhook_url)] if webhook_url else [],
        audit=AuditTrail(sink.write) if audit_file else None,
        jobs_every_s=0.2,
    )


class Service:
    """``/login?status=503&took_ms=900&outcome=…`` answers just so, at once; ``/metrics`` shows what was counted."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._metrics = MetricsEndpoint(telemetry.render, is_production=False)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        route = environ["PATH_INFO"].strip("/")
        if route == "metrics":
            return self._metrics(Request(environ))(environ, start_response)
        asked = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        status, took_ms = int(asked.get("status", 200)), float(asked.get("took_ms", 120))
        context = RequestContext("a-request", "192.0.2.7", 0.0, lane="fast", outcome=asked.get("outcome", "ok"))
        context.upstream_ms = took_ms - 2
        self._telemetry.on_response(environ["PATH_INFO"], status, took_ms, context, "")
        start_response(f"{status} As Asked", [("Content-Length", "0"), ("X-Pid", str(os.getpid()))])
        return [b""]


def create() -> Service:
    """Return what gunicorn serves: ``gunicorn "tests.contract.telemetry_app:create()"``."""
    return Service(build(workers=int(os.environ["WORKERS"]), audit_file=os.environ.get("AUDIT", "")))
