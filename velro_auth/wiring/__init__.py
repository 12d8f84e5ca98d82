"""Builds every object, top to bottom. Connects to nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from velro_auth import __version__
from velro_auth.auth.login import Login
from velro_auth.auth.ports import Identity, Profiles
from velro_auth.checks import Check, Finding
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.docs import Contract, DocsEndpoint, OpenApiEndpoint
from velro_auth.endpoints.login import LoginEndpoint
from velro_auth.endpoints.metrics import MetricsEndpoint
from velro_auth.endpoints.probes import HealthEndpoint, PingEndpoint
from velro_auth.endpoints.ready import ReadyEndpoint
from velro_auth.endpoints.sessions import LogoutEndpoint, MeEndpoint, RefreshEndpoint
from velro_auth.endpoints.verify import VerifyEndpoint
from velro_auth.endpoints.version import VersionEndpoint
from velro_auth.guards import Guards
from velro_auth.guards.breaker import Breaker
from velro_auth.settings import Settings
from velro_auth.telemetry.answered import Routes
from velro_auth.telemetry.gauges import Gauge
from velro_auth.telemetry.standard import guard_gauges, pool_gauges
from velro_auth.tracing import Tracer
from velro_auth.upstream.identity import SupabaseIdentity, Unconfigured
from velro_auth.upstream.probe import LoginPathCheck
from velro_auth.upstream.profiles import SupabaseProfiles
from velro_auth.upstream.transport import Transport
from velro_auth.upstream.warmth import Warmth
from velro_auth.wiring.extras import wire_defects, wire_tracing
from velro_auth.wiring.guards import wire_guards
from velro_auth.wiring.sessions import wire_sessions
from velro_auth.wiring.telemetry import Later, Observer, wire_telemetry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_ENDPOINTS: Final = (
    LoginEndpoint,
    RefreshEndpoint,
    LogoutEndpoint,
    MeEndpoint,
    VerifyEndpoint,
    PingEndpoint,
    HealthEndpoint,
    ReadyEndpoint,
    VersionEndpoint,
    MetricsEndpoint,
    OpenApiEndpoint,
    DocsEndpoint,
)

#: Path → what the metrics call it.
ROUTES: Final = Routes(
    {path: endpoint.name for endpoint in _ENDPOINTS for path in endpoint.paths},
    {f"{path}/": VerifyEndpoint.name for path in VerifyEndpoint.paths},
)

#: Name of an endpoint → its documented path, for traces.
_PATHS: Final = {endpoint.name: endpoint.paths[0] for endpoint in _ENDPOINTS}

#: Asked every few seconds by machines: in traces they would hide the rest.
_NOT_TRACED: Final = frozenset(
    endpoint.name for endpoint in (PingEndpoint, HealthEndpoint, ReadyEndpoint, VersionEndpoint, MetricsEndpoint)
)


class Threads(Protocol):
    """Something that runs beside the requests."""

    @property
    def start(self) -> Callable[[], None]:
        """Start it in this process."""

    @property
    def stop(self) -> Callable[[], None]:
        """Stop it."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The endpoints of one process, wired.

    Attributes:
        auth: What frontends call.
        verify: What gateways call; answers everything below its path.
        operations: What operators and platforms call.
        fast: Those that the fast lane answers.
        probes: Those of which only some answers are logged.
        instant: Those that can be answered without ever waiting.
        observer: Is told of every answer.
        around: Wraps what answers requests, outside of everything else.
        threads: What runs beside the requests of a process.
    """

    auth: tuple[Endpoint, ...]
    verify: Endpoint
    operations: tuple[Endpoint, ...]
    fast: tuple[Endpoint, ...]
    probes: tuple[Endpoint, ...]
    instant: tuple[Endpoint, ...]
    observer: Observer
    around: Callable[[WSGIApplication], WSGIApplication]
    threads: tuple[Threads, ...]

    @property
    def public_paths(self) -> tuple[str, ...]:
        """Paths whose answers hold nothing of anybody: the documents."""
        return (*OpenApiEndpoint.paths, *DocsEndpoint.paths)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint there is."""
        return (*self.auth, self.verify, *self.operations)


def wire(settings: Settings) -> Parts:
    """Build everything that *settings* ask for."""
    tracing = wire_tracing(settings, routes=ROUTES, paths=_PATHS, left_out=_NOT_TRACED)
    transport = None if settings.mistakes else _transport(settings, tracing.tracer)
    identity, profiles = _identity(settings, transport), _profiles(settings, transport)
    refused = Later()
    guards = wire_guards(settings, on_refused=refused)
    warmth = _warmth(settings, transport)
    observer = wire_telemetry(settings, routes=ROUTES, gauges=_gauges(guards, warmth))
    refused.to = observer.telemetry.metrics.throttled
    sessions, sessions_threads = wire_sessions(settings, identity=identity, guards=guards, profiles=profiles)
    log_in = Login(identity=identity, guards=guards, profiles=None if settings.auth_fast_login else profiles)

    login = LoginEndpoint(log_in, settings.auth_max_body_bytes)
    refresh = RefreshEndpoint(sessions, settings.auth_max_body_bytes)
    ping, health, version = PingEndpoint(), HealthEndpoint(), VersionEndpoint(build_of(settings))
    auth = (login, refresh, LogoutEndpoint(sessions), MeEndpoint(sessions), ping)
    verify = VerifyEndpoint(sessions)
    checks = {**_checks(settings, transport, guards), "slo": observer.telemetry.check}
    ready = ReadyEndpoint(checks, __version__)
    metrics = MetricsEndpoint(
        observer.telemetry.render, settings.metrics_token, is_production=bool(settings.environment)
    )
    contract = Contract((*auth, verify, health, ready, version), __version__, settings.shows_docs)
    return Parts(
        auth=auth,
        verify=verify,
        operations=(health, ready, version, metrics, OpenApiEndpoint(contract), DocsEndpoint(contract)),
        fast=(ping, health, version, *((login, refresh) if settings.auth_fast_login else ())),
        probes=(ping, health, ready, version),
        instant=(ping, health, version),
        observer=observer,
        around=tracing.around,
        # The last to stop are those who are told of the others.
        threads=(*sessions_threads, *([warmth] if warmth else []), observer, *tracing.beside, *wire_defects(settings)),
    )


def build_of(settings: Settings) -> Mapping[str, Any]:
    """Return what ``/__version`` says; unknown values are None."""
    return {
        "source": settings.source or None,
        "version": __version__,
        "commit": settings.commit or None,
        "build": settings.build or None,
        "deployment": {
            "id": settings.deployment_id or None,
            "environment": settings.environment or None,
            "service": settings.service or None,
            "region": settings.region or None,
            "replica": settings.replica or None,
        },
        "flags": {"auth_fast_login": settings.auth_fast_login},
    }


def _transport(settings: Settings, tracer: Tracer) -> Transport:
    return Transport(
        settings.supabase_url,
        key=settings.upstream_key,
        pool_size=settings.gunicorn_threads + settings.upstream_warm_connections,
        connect_timeout_s=settings.upstream_connect_timeout_s,
        deadline_s=settings.upstream_deadline_s,
        tracer=tracer,
    )


def _identity(settings: Settings, transport: Transport | None) -> Identity:
    if transport is None:
        return Unconfigured("; ".join(map(str, settings.mistakes)))
    return SupabaseIdentity(transport, forwards_address=settings.forwards_client_ip)


def _profiles(settings: Settings, transport: Transport | None) -> Profiles | None:
    if transport is None:
        return None
    return SupabaseProfiles(transport, url=settings.supabase_url, key=settings.upstream_key)


def _warmth(settings: Settings, transport: Transport | None) -> Warmth[Any] | None:
    if transport is None:
        return None
    return Warmth(
        transport.spares(), connections=settings.upstream_warm_connections, every_s=settings.upstream_warm_every_s
    )


def _gauges(guards: Guards, warmth: Warmth[Any] | None) -> list[Gauge]:
    gauges = [*guard_gauges(gate=guards.gate, breaker=guards.breaker, floor=guards.floor)]
    if warmth:
        gauges += pool_gauges(
            idle=lambda: len(warmth.ages()),
            age_s=lambda: max((one.age_s for one in warmth.ages()), default=0.0),
            unused_s=lambda: max((one.idle_s for one in warmth.ages()), default=0.0),
        )
    return gauges


def _checks(settings: Settings, transport: Transport | None, guards: Guards) -> Mapping[str, Check]:
    def settings_check() -> Finding:
        found = "; ".join(map(str, settings.mistakes))
        return Finding("fail", found) if found else Finding("pass")

    checks: dict[str, Check] = {"settings": settings_check, "breaker": lambda: _breaker_check(guards.breaker)}
    if transport is not None:
        checks["upstream:login"] = LoginPathCheck(transport)
    return checks


def _breaker_check(breaker: Breaker) -> Finding:
    state = breaker.state
    return Finding("pass") if state == "closed" else Finding("warn", f"{state}: Supabase fails and gets a rest")
