"""Builds every object, top to bottom. Connects to nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth import __version__
from velro_auth.auth.login import Login
from velro_auth.auth.session_list import SessionList
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
from velro_auth.endpoints.session_list import SessionEndpoint, SessionsEndpoint
from velro_auth.endpoints.sessions import LoginEndpoint, LogoutEndpoint, RefreshEndpoint
from velro_auth.endpoints.supabase_api.routes import SupabaseApiEndpoint
from velro_auth.endpoints.verify import VerifyEndpoint
from velro_auth.guards import Guards
from velro_auth.guards.enforcement import Enforcement, only_reporting
from velro_auth.health_checks import Check, Finding
from velro_auth.telemetry.telemetry import Routes
from velro_auth.upstream.calls import AuthCalls, RefusingCalls
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.web.client_address import Addresses
from velro_auth.web.client_address_watch import AddressWatch
from velro_auth.wiring import account
from velro_auth.wiring.cookie_sessions import cookie_sessions
from velro_auth.wiring.guards import build_guards
from velro_auth.wiring.oauth import OAUTH_ENDPOINTS, build_oauth
from velro_auth.wiring.pages import PAGES, build_pages
from velro_auth.wiring.protection import protected
from velro_auth.wiring.sessions import build_session_list, build_sessions
from velro_auth.wiring.state import ApplicationState, open_state
from velro_auth.wiring.supabase_api import build_supabase_api
from velro_auth.wiring.telemetry import wire_tracing
from velro_auth.wiring.user import USER_ENDPOINTS, build_user

_ENDPOINTS: Final = (
    LoginEndpoint,
    RefreshEndpoint,
    LogoutEndpoint,
    *USER_ENDPOINTS,
    *account.ENDPOINTS,
    *OAUTH_ENDPOINTS,
    SessionsEndpoint,
    SessionEndpoint,
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


@dataclass(frozen=True, kw_only=True)
class _Services:
    calls: AuthCalls
    login: Login
    guards: Guards
    sessions: Sessions
    session_list: SessionList
    addresses: Addresses
    watch: AddressWatch


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
    services, telemetry = _services(settings, state), state.telemetry
    sessions, max_body_bytes = services.sessions, settings.auth_max_body_bytes
    browsers, page_browsers = cookie_sessions(settings, sessions, state.sealing_keys(settings))
    login = browsers(LoginEndpoint(services.login, max_body_bytes))
    refresh = browsers(RefreshEndpoint(sessions, max_body_bytes))
    ping, health, version = PingEndpoint(), HealthEndpoint(), VersionEndpoint(build_of(settings))
    logout, frontends = LogoutEndpoint(sessions, max_body_bytes), _frontends(settings, state, services)
    auth: tuple[Endpoint, ...] = (login, refresh, *map(browsers, (logout, *frontends)), ping)
    verify = protected(settings, browsers(VerifyEndpoint(sessions)))
    supabase_api = build_supabase_api(settings, state, calls=services.calls, login=services.login, sessions=sessions)
    ready = ReadyEndpoint(_checks(settings, state, services.watch), __version__)
    metrics = MetricsEndpoint(telemetry.render, settings.metrics_token, is_production=bool(settings.environment))
    index = IndexEndpoint(__version__, settings.shows_docs)
    contract = Contract((*auth, verify, health, ready, version, index), __version__, settings.shows_docs)
    state.current.settings = settings
    return Parts(
        auth=auth,
        verify=verify,
        supabase_api=supabase_api,
        operations=(health, ready, version, index, metrics, OpenApiEndpoint(contract), DocsEndpoint(contract)),
        pages=build_pages(settings, state, services.login, sessions, calls=services.calls, browsers=page_browsers),
        fast=(ping, health, version, *((login, refresh) if settings.auth_fast_login else ())),
        fast_prefixed=(verify, supabase_api) if supabase_api and settings.auth_fast_login else (verify,),
        probes=(ping, health, ready, version),
        instant=(ping, health, version),
        guards=services.guards,
        sessions=sessions,
        addresses=services.addresses,
        watch=services.watch,
        state=state,
    )


def _frontends(settings: Settings, state: ApplicationState, services: _Services) -> tuple[Endpoint, ...]:
    """Build the endpoints of the account and of the sessions, beyond login, refresh and logout."""
    calls, owners, sessions = services.calls, state.upstream.owners, services.sessions
    keys = state.sealing_keys(settings)
    user = build_user(settings, state.user, calls=calls, sessions=sessions, owners=owners, keys=keys)
    spent = state.guards.challenges.spent
    setter = account.build_setter(
        state.account, state.user, calls=calls, owners=owners, sessions=sessions, spent=spent, keys=keys
    )
    oauth = build_oauth(settings, calls=calls, owners=owners, sessions=sessions, setter=setter, keys=keys)
    flows = account.build_account(
        settings, state.account, calls=calls, owners=owners, sessions=sessions, setter=setter, keys=keys
    )
    listed = (SessionsEndpoint(services.session_list), SessionEndpoint(services.session_list))
    return (*user, *flows, *oauth, *listed)


def _services(settings: Settings, state: ApplicationState) -> _Services:
    upstream, note_token = state.upstream, state.telemetry.issued_tokens.record
    reason = "; ".join(map(str, settings.errors))
    calls: AuthCalls = RefusingCalls(reason)
    if upstream.transport is not None:
        calls = AuthCalls(upstream.transport, forwards_address=settings.forwards_client_ip, captcha=upstream.captcha)
    identity = SupabaseIdentity(calls, owners=upstream.owners)
    guards = _guards(settings, state)
    sessions = build_sessions(
        settings,
        state.sessions,
        identity=identity,
        guards=guards,
        profiles=upstream.profiles,
        note_token=note_token,
    )
    login = Login(
        identity=identity,
        guards=guards,
        denied=sessions.denied,
        profiles=None if settings.auth_fast_login else upstream.profiles,
        note_token=note_token,
    )
    addresses = Addresses(
        settings.trusted_proxies, header=settings.auth_client_ip_header, hops=settings.auth_trusted_hops
    )
    watch = state.watch(settings, addresses)
    return _Services(
        calls=calls,
        login=login,
        guards=guards,
        sessions=sessions,
        session_list=build_session_list(
            settings, sessions, transport=upstream.transport, one_address=upstream.one_address
        ),
        addresses=addresses,
        watch=watch,
    )


def _guards(settings: Settings, state: ApplicationState) -> Guards:
    metrics = state.telemetry.metrics
    return build_guards(
        settings,
        state.guards,
        on_refused=metrics.record_throttled,
        on_challenge=metrics.record_challenge,
        on_withheld=state.telemetry.record_withheld_mail,
        enforcement=Enforcement(
            is_on=settings.auth_guards == "on",
            on_refused=metrics.record_budget_refused,
            on_reported=metrics.record_reported,
            on_good=metrics.record_reported_good,
        ),
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
