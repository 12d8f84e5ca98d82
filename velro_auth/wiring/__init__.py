"""Builds every object, top to bottom. Connects to nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth import __version__
from velro_auth.auth.sessions import Sessions
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.docs import Contract, DocsEndpoint, OpenApiEndpoint
from velro_auth.endpoints.operations import (
    HealthEndpoint,
    IndexEndpoint,
    MetricsEndpoint,
    PingEndpoint,
    ReadyEndpoint,
    VersionEndpoint,
)
from velro_auth.endpoints.protection import ProtectionEndpoint
from velro_auth.endpoints.supabase_api.routes import SupabaseApiEndpoint
from velro_auth.endpoints.verify import VerifyEndpoint
from velro_auth.guards import Guards
from velro_auth.guards.enforcement import only_reporting
from velro_auth.health_checks import Check, Finding
from velro_auth.telemetry.telemetry import Routes
from velro_auth.web.client_address import Addresses
from velro_auth.web.client_address_watch import AddressWatch
from velro_auth.wiring.endpoints import (
    FRONTENDS,
    PAGES,
    build_pages,
    build_supabase_api,
    build_verify,
    cookie_sessions,
)
from velro_auth.wiring.services import Services
from velro_auth.wiring.state import ApplicationState, open_state
from velro_auth.wiring.telemetry import wire_tracing

_ENDPOINTS: Final[tuple[Any, ...]] = (
    *FRONTENDS,
    VerifyEndpoint,
    SupabaseApiEndpoint,
    PingEndpoint,
    HealthEndpoint,
    ReadyEndpoint,
    VersionEndpoint,
    IndexEndpoint,
    MetricsEndpoint,
    OpenApiEndpoint,
    DocsEndpoint,
    *PAGES,
)

#: Path → its name in the metrics.
ROUTES: Final = Routes(
    {path: endpoint.name for endpoint in _ENDPOINTS for path in endpoint.paths},
    {f"{path}/": endpoint.name for endpoint in (VerifyEndpoint, SupabaseApiEndpoint) for path in endpoint.paths},
)

#: Name of an endpoint → its documented path, for traces.
_PATHS: Final = {endpoint.name: endpoint.paths[0] for endpoint in _ENDPOINTS}

#: Monitors ask these every few seconds: their traces would hide the others.
_NOT_TRACED: Final = frozenset(
    endpoint.name for endpoint in (PingEndpoint, HealthEndpoint, ReadyEndpoint, VersionEndpoint, MetricsEndpoint)
)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The endpoints of one process and the services that they call, built from one version of the settings.

    Attributes:
        auth: The endpoints that frontends call.
        verify: The endpoint that gateways call; answers everything below its path.
        supabase_api: The endpoint that Supabase's own clients call, the same way; None where it is off.
        operations: The endpoints that operators and platforms call.
        pages: The pages for people; none where they are off.
        fast: The endpoints that the fast lane answers, beside those of ``fast_prefixed``.
        fast_prefixed: The endpoints that the fast lane answers with everything below their paths.
        probes: The endpoints of which only some responses are logged.
        instant: The endpoints that answer without waiting.
        guards: The guards of calls to Supabase.
        sessions: The sessions service.
        addresses: Finds the caller's address.
        watch: Notices a caller's address that cannot be right.
        state: Survives a settings reload.
    """

    auth: tuple[Endpoint, ...]
    verify: ProtectionEndpoint
    supabase_api: Endpoint | None
    operations: tuple[Endpoint, ...]
    pages: tuple[Endpoint, ...]
    fast: tuple[Endpoint, ...]
    fast_prefixed: tuple[Endpoint, ...]
    probes: tuple[Endpoint, ...]
    instant: tuple[Endpoint, ...]
    guards: Guards
    sessions: Sessions
    addresses: Addresses
    watch: AddressWatch
    state: ApplicationState

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints."""
        return (*self.auth, *self.prefixed, *self.operations, *self.pages)

    @property
    def prefixed(self) -> tuple[Endpoint, ...]:
        """The endpoints that answer everything below their paths."""
        return (self.verify,) if self.supabase_api is None else (self.verify, self.supabase_api)


def build(settings: Settings, state: ApplicationState | None = None) -> Parts:
    """Build everything that serves requests, in the same way at the start and at a settings reload.

    Earlier parts finish the requests under way: they share *state* with the new ones.

    Args:
        settings: The settings to serve with. At a reload, those that need a restart have their old values.
        state: The state of this process; None at the start.
    """
    if state is None:
        tracing = wire_tracing(settings, routes=ROUTES, paths=_PATHS, excluded=_NOT_TRACED)
        state = open_state(settings, ROUTES, tracing)
    services = Services(settings, state)
    browsers, page_browsers = cookie_sessions(services)
    frontends = [browsers(build_one(services)) for build_one in FRONTENDS.values()]
    login, refresh = frontends[:2]
    ping, health, version = PingEndpoint(), HealthEndpoint(), VersionEndpoint(build_of(settings))
    auth = (*frontends, ping)
    verify, supabase_api = build_verify(services, browsers), build_supabase_api(services)
    addresses = Addresses(
        settings.trusted_proxies, header=settings.auth_client_ip_header, hops=settings.auth_trusted_hops
    )
    watch = state.watch(settings, addresses)
    ready = ReadyEndpoint(_checks(settings, state, watch), __version__)
    metrics = MetricsEndpoint(state.telemetry.render, settings.metrics_token, is_production=bool(settings.environment))
    index = IndexEndpoint(__version__, settings.shows_docs)
    contract = Contract((*auth, verify, health, ready, version, index), __version__, settings.shows_docs)
    state.current.settings = settings
    return Parts(
        auth=auth,
        verify=verify,
        supabase_api=supabase_api,
        operations=(health, ready, version, index, metrics, OpenApiEndpoint(contract), DocsEndpoint(contract)),
        pages=build_pages(services, page_browsers),
        fast=(ping, health, version, *((login, refresh) if settings.auth_fast_login else ())),
        fast_prefixed=(verify, supabase_api) if supabase_api and settings.auth_fast_login else (verify,),
        probes=(ping, health, ready, version),
        instant=(ping, health, version),
        guards=services.guards,
        sessions=services.sessions,
        addresses=addresses,
        watch=watch,
        state=state,
    )


def build_of(settings: Settings) -> Mapping[str, Any]:
    """Return the body of ``/__version``; unknown values are None."""
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


def _checks(settings: Settings, state: ApplicationState, watch: AddressWatch) -> Mapping[str, Check]:
    def settings_check() -> Finding:
        found = "; ".join(map(str, settings.errors))
        return Finding("fail", found) if found else Finding("pass")

    checks: dict[str, Check] = {"settings": settings_check, "breaker": state.guards.check}
    if state.upstream.login_path is not None:
        checks["upstream:login"] = state.upstream.login_path
    checks["client_address"] = watch.finding
    telemetry = state.telemetry
    if telemetry.audit:
        checks["audit"] = telemetry.lost_records.check
    checks |= state.sessions.checks
    if settings.auth_guards == "report":
        checks["guards"] = only_reporting
    if state.store:
        checks["shared_store"] = state.store.check
    return checks | {"tokens": telemetry.issued_tokens.check, "slo": telemetry.check}
