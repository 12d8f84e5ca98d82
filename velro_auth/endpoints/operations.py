"""What operators and platforms call: ping, health, readiness, version, metrics and the index."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from werkzeug.wrappers import Request, Response

from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import NO_STORE, RawResponse, json_answer, json_bytes
from velro_auth.endpoints.operation import Operation
from velro_auth.errors import NotFound
from velro_auth.health_checks import Check, worst
from velro_auth.telemetry.metrics import MEDIA_TYPE

#: Readiness → status. 503 makes a balancer use another instance; a warning does not.
_STATUS: Final = {"pass": "200 OK", "warn": "200 OK", "fail": "503 Service Unavailable"}
_HEALTH_JSON: Final = (("Content-Type", "application/health+json"), NO_STORE)


@dataclass(frozen=True)
class PingEndpoint:
    """``/api/v1/auth/ping``, for uptime checks. Uses no network, no disk and no lock that a login holds."""

    clock: Callable[[], float] = time.time

    name: ClassVar = "ping"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/api/v1/auth/ping",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a ping."""
        is_fast = RequestContext.of(request.environ).lane == "fast"
        return json_answer({"status": "ok", "service": "auth", "fastpath": is_fast, "timestamp": self.clock()})


@dataclass(frozen=True)
class HealthEndpoint:
    """``/health``: 200 while the process can serve. Uses no network, no disk and no lock that a login holds.

    It does not depend on Supabase: otherwise no fix of ours could be deployed during an outage of Supabase.
    """

    clock: Callable[[], float] = time.time

    name: ClassVar = "health"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/health", "/__lbheartbeat__", "/__health", "/api/v1/auth/health")

    def __call__(self, request: Request) -> RawResponse:
        """Answer that the process serves."""
        is_fast = RequestContext.of(request.environ).lane == "fast"
        return json_answer({"status": "healthy", "bypass_middleware": is_fast, "timestamp": self.clock()})


@dataclass(frozen=True)
class ReadyEndpoint:
    """``/health/ready``: runs every health check and answers with the worst result.

    Attributes:
        checks: Stable identifier → check.
        version: This build.
    """

    checks: Mapping[str, Check]
    version: str

    name: ClassVar = "ready"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/health/ready", "/__heartbeat__")

    def __call__(self, _: Request) -> RawResponse:
        """Answer with every finding."""
        findings = {name: check() for name, check in self.checks.items()}
        status = worst(finding.status for finding in findings.values())
        body = {
            "status": status,
            "version": self.version,
            "checks": {
                name: [{"status": finding.status, "output": finding.output}] for name, finding in findings.items()
            },
        }
        return RawResponse(json_bytes(body), _HEALTH_JSON, _STATUS[status])


@dataclass(frozen=True)
class VersionEndpoint:
    """``/__version``: which build this is, as known at start. Unknown values are null."""

    build: Mapping[str, Any]

    name: ClassVar = "version"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/__version", "/__version__")

    def __call__(self, _: Request) -> RawResponse:
        """Answer with the build."""
        return json_answer(self.build)


@dataclass(frozen=True)
class IndexEndpoint:
    """``/``: what answers here, and where to go on.

    Attributes:
        version: This build.
        shows_docs: Whether the documents of the service are public.
    """

    version: str
    shows_docs: bool

    name: ClassVar = "index"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/",)
    operations: ClassVar[Mapping[str, Operation]] = {"GET": Operation(summary="Tell what answers here")}

    def __call__(self, _: Request) -> RawResponse:
        """Answer with the name, the version and the links."""
        links = {"health": "/health", "version": "/__version"}
        if self.shows_docs:
            links |= {"docs": "/docs", "openapi": "/openapi.json"}
        return json_answer({"name": "velro-auth", "version": self.version, "links": links})


@dataclass(frozen=True)
class MetricsEndpoint:
    """``/metrics`` for Prometheus: all metrics of this instance, whichever worker answers.

    Attributes:
        render: Returns the metrics as text.
        token: The bearer token that Prometheus has to send; empty for none.
        is_production: Whether to stay closed without a token.
    """

    render: Callable[[], bytes]
    token: str = field(default="", repr=False)
    is_production: bool = True

    name: ClassVar = "metrics"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/metrics",)

    def __call__(self, request: Request) -> Response:
        """Answer a scrape.

        Raises:
            NotFound: The token is missing or wrong. 404 does not reveal that metrics exist.
        """
        if not self._admits(request.headers.get("Authorization", "")):
            raise NotFound("metrics without their token")
        return Response(self.render(), headers=[("Content-Type", MEDIA_TYPE), NO_STORE])

    def _admits(self, authorization: str) -> bool:
        if not self.token:
            return not self.is_production
        scheme, _, sent = authorization.partition(" ")
        # Both as bytes: compare_digest accepts no text beyond ASCII.
        is_equal = hmac.compare_digest(sent.strip().encode("utf-8", "replace"), self.token.encode())
        return scheme.lower() == "bearer" and is_equal
