"""Checks of a running gateway, from outside: ``--url``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from urllib3.exceptions import HTTPError

from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable, NotGiven

_OK: Final = 200
_NOT_FOUND: Final = 404

#: The gateway renews the gauges every 5 s and replaces an idle connection after 600 s; this much later is too late.
_SLACK_S: Final = 60.0
_OLDEST_S: Final = 600.0

_POOL: Final = re.compile(rb"^velro_auth_pool_(\w+) ([0-9.e+-]+)$", re.MULTILINE)


def _health(context: DiagnosticContext) -> Finding:
    try:
        answer = context.gateway.ask("GET", "/health")
    except (HTTPError, ValueError) as error:
        return Finding("fail", f"no answer ({type(error).__name__})")
    is_ours = answer.document.get("status") == "healthy"
    if answer.status != _OK or not is_ours:
        return Finding(
            "fail", f"/health answers {answer.status}" + ("" if is_ours else ", and not as this service does")
        )
    return Finding("pass", "healthy")


def _ready(context: DiagnosticContext) -> Finding:
    document = context.gateway.ask("GET", "/health/ready").document
    status, entries = document.get("status"), document.get("checks")
    if status not in {"pass", "warn", "fail"} or not isinstance(entries, dict):
        return Finding("fail", "/health/ready says nothing that can be read")
    bad = [f"{name} ({found[0].get('output', '')})" for name, found in entries.items() if found[0]["status"] != "pass"]
    return Finding(status, "; ".join(bad) or "ready")


def _pool(context: DiagnosticContext) -> Finding:
    settings = context.settings
    headers = {"Authorization": f"Bearer {settings.metrics_token}"} if settings.metrics_token else {}
    answer = context.gateway.ask("GET", "/metrics", headers=headers)
    if answer.status == _NOT_FOUND:
        raise NotGiven("/metrics of the gateway is closed", give="METRICS_TOKEN")
    found = {name.decode(): float(value) for name, value in _POOL.findall(answer.body)}
    if "idle_connections" not in found:
        raise NotApplicable("the gateway shows no connections yet: it reports them after the first request")
    if not settings.upstream_warm_connections:
        raise NotApplicable("UPSTREAM_WARM_CONNECTIONS is 0")
    idle, age_s, unused_s = (
        found.get(name, 0.0) for name in ("idle_connections", "connection_age_seconds", "connection_unused_seconds")
    )
    said = f"{idle:.0f} idle, the oldest opened {age_s:.0f} s ago, the longest unused for {unused_s:.0f} s"
    is_stuck = age_s > _OLDEST_S + _SLACK_S or unused_s > settings.upstream_warm_every_s + _SLACK_S
    return Finding("warn" if not idle or is_stuck else "pass", said)


CHECKS: Final[Mapping[str, Run]] = {
    "gateway.health": _health,
    "gateway.ready": _ready,
    "gateway.pool": _pool,
}
