"""Builds every object, top to bottom. Connects to nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth import __version__
from velro_auth.auth.login import Login
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.docs import Contract, DocsEndpoint, OpenApiEndpoint
from velro_auth.endpoints.operations import (
    HealthEndpoint,
    MetricsEndpoint,
    PingEndpoint,
    ReadyEndpoint,
    VersionEndpoint,
)
from velro_auth.endpoints.sessions import LoginEndpoint, LogoutEndpoint, MeEndpoint, RefreshEndpoint
from velro_auth.endpoints.verify import VerifyEndpoint
from velro_auth.guards import Guards
from velro_auth.health_checks import Check, Finding
from velro_auth.telemetry.telemetry import Routes
from velro_auth.wiring.state import ApplicationState, build
from velro_auth.wiring.telemetry import Tracing, wire_tracing

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
        lasting: What they work with, and what outlives a change of settings.
    """

    auth: tuple[Endpoint, ...]
    verify: Endpoint
    operations: tuple[Endpoint, ...]
    fast: tuple[Endpoint, ...]
    probes: tuple[Endpoint, ...]
    instant: tuple[Endpoint, ...]
    lasting: ApplicationState

    @property
    def public_paths(self) -> tuple[str, ...]:
        """Paths whose answers hold nothing of anybody: the documents."""
        return (*OpenApiEndpoint.paths, *DocsEndpoint.paths)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint there is."""
        return (*self.auth, self.verify, *self.operations)


def wire(settings: Settings, earlier: Parts | None = None) -> Parts:
    """Build everything that *settings* ask for.

    Args:
        settings: What the environment says.
        earlier: What has served this process so far; the parts that know something are taken over from it.
    """
    lasting = earlier.lasting.adjusted(settings) if earlier else build(settings, ROUTES, _tracing(settings))
    sessions, telemetry = lasting.sessions, lasting.telemetry
    profiles = None if settings.auth_fast_login else lasting.profiles
    log_in = Login(
        identity=lasting.identity,
        guards=lasting.guards,
        denied=sessions.denied,
        profiles=profiles,
        note_token=telemetry.issued_tokens.record,
    )

    login = LoginEndpoint(log_in, settings.auth_max_body_bytes)
    refresh = RefreshEndpoint(sessions, settings.auth_max_body_bytes)
    ping, health, version = PingEndpoint(), HealthEndpoint(), VersionEndpoint(build_of(settings))
    auth = (login, refresh, LogoutEndpoint(sessions, settings.auth_max_body_bytes), MeEndpoint(sessions), ping)
    verify = VerifyEndpoint(sessions)
    ready = ReadyEndpoint(_checks(lasting), __version__)
    metrics = MetricsEndpoint(telemetry.render, settings.metrics_token, is_production=bool(settings.environment))
    contract = Contract((*auth, verify, health, ready, version), __version__, settings.shows_docs)
    return Parts(
        auth=auth,
        verify=verify,
        operations=(health, ready, version, metrics, OpenApiEndpoint(contract), DocsEndpoint(contract)),
        fast=(ping, health, version, *((login, refresh) if settings.auth_fast_login else ())),
        probes=(ping, health, ready, version),
        instant=(ping, health, version),
        lasting=lasting,
    )


def _tracing(settings: Settings) -> Tracing:
    return wire_tracing(settings, routes=ROUTES, paths=_PATHS, excluded=_NOT_TRACED)


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


def _checks(lasting: ApplicationState) -> Mapping[str, Check]:
    def settings_check() -> Finding:
        found = "; ".join(map(str, lasting.settings.mistakes))
        return Finding("fail", found) if found else Finding("pass")

    checks: dict[str, Check] = {"settings": settings_check, "breaker": lambda: _breaker_check(lasting.guards)}
    if lasting.login_path is not None:
        checks["upstream:login"] = lasting.login_path
    checks["client_address"] = lasting.watch.finding
    telemetry = lasting.telemetry
    if telemetry.audit:
        checks["audit"] = telemetry.lost_records.check
    return {**checks, **lasting.checks, "tokens": telemetry.issued_tokens.check, "slo": telemetry.check}


def _breaker_check(guards: Guards) -> Finding:
    states = {"logins": guards.breaker.state, "checks of tokens": guards.checks.state}
    resting = [f"{what} {state}" for what, state in states.items() if state != "closed"]
    return Finding("warn", f"{', '.join(resting)}: Supabase fails and gets a rest") if resting else Finding("pass")
