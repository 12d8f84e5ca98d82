"""What outlives a change of settings: connections, counters, caches, what was denied, what was counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from velro_auth.auth.models import Identity, Profiles
from velro_auth.auth.sessions import Sessions
from velro_auth.config.settings import Settings
from velro_auth.guards import Guards
from velro_auth.guards.upstream_rate_limit import OneAddress
from velro_auth.health_checks import Check
from velro_auth.telemetry.gauges import (
    Gauge,
    guard_gauges,
    one_address_gauge,
    pool_gauges,
    session_refusals,
    store_gauge,
)
from velro_auth.telemetry.telemetry import Routes, Telemetry
from velro_auth.upstream.captcha import Captcha, FixedCaptcha, LearntCaptcha
from velro_auth.upstream.forwarding import ForwardingProof
from velro_auth.upstream.identity import SupabaseIdentity, Unconfigured
from velro_auth.upstream.owners import Owners
from velro_auth.upstream.probe import LoginPathCheck
from velro_auth.upstream.profiles import SupabaseProfiles
from velro_auth.upstream.transport.keep_warm import KeepWarm
from velro_auth.upstream.transport.tracing import Tracer
from velro_auth.upstream.transport.transport import Transport
from velro_auth.web.client_address import Addresses, Network
from velro_auth.web.client_address_watch import AddressWatch
from velro_auth.wiring.guards import adjust_guards, wire_guards
from velro_auth.wiring.sessions import adjust_sessions, wire_sessions
from velro_auth.wiring.telemetry import Later, Tracing, slo_target, wire_sentry, wire_telemetry

if TYPE_CHECKING:
    from velro_auth.stores.client import SharedStore


class Threads(Protocol):
    """Something that runs beside the requests."""

    @property
    def start(self) -> Callable[[], None]:
        """Start it in this process."""

    @property
    def stop(self) -> Callable[[], None]:
        """Stop it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApplicationState:
    """The parts of a process that know something.

    Attributes:
        settings: What they were built or adjusted with.
        transport: The way to the project; None while the settings are wrong.
        login_path: Knows whether logins are answered; None likewise.
        captcha: Whether the project demands a captcha.
        one_address: Whether Supabase counts all callers as one, although their addresses are passed on.
        owners: Which user a refresh token was given to.
        identity: Who is asked about users.
        profiles: Who knows the profile row; None while the settings are wrong.
        guards: What stands before Supabase.
        sessions: Looks after sessions.
        telemetry: Records every response.
        addresses: Tells who calls.
        watch: Notices when that cannot be right.
        tracing: Draws requests and calls, where somebody wants to see them.
        checks: What they tell ``/health/ready``.
        threads: What runs beside the requests of a process.
    """

    settings: Settings
    transport: Transport | None
    login_path: LoginPathCheck | None
    captcha: Captcha
    one_address: OneAddress
    owners: Owners
    identity: Identity
    profiles: Profiles | None
    guards: Guards
    sessions: Sessions
    telemetry: Telemetry
    addresses: Addresses
    watch: AddressWatch
    tracing: Tracing
    checks: Mapping[str, Check]
    threads: Sequence[Threads]

    def adjusted(self, settings: Settings) -> ApplicationState:
        """Return the same parts with the numbers of *settings*; what those were built from needs a restart."""
        guards = adjust_guards(self.guards, settings, was=self.settings, one_address=self.one_address)
        identity = _identity(settings, self.transport, self.captcha, self.owners)
        sessions = adjust_sessions(self.sessions, settings, was=self.settings, identity=identity, guards=guards)
        self.telemetry.set_target(slo_target(settings))
        told = dataclasses.replace(self, settings=settings, identity=identity, guards=guards, sessions=sessions)
        if _addressing(settings) == _addressing(self.settings):
            return told
        # Looked at anew: whoever changes these settings wants to know whether that was the mend.
        return dataclasses.replace(told, addresses=_addresses(settings), watch=_watch(settings))


def build(settings: Settings, routes: Routes, tracing: Tracing) -> ApplicationState:
    """Build what *settings* ask for.

    Args:
        settings: What the environment says.
        routes: What the metrics call which path.
        tracing: Is told of calls to Supabase.
    """
    transport = None if settings.mistakes else _transport(settings, tracing.tracer)
    captcha = _captcha(settings, transport)
    one_address, owners = _one_address(transport, captcha), Owners()
    identity, profiles = _identity(settings, transport, captcha, owners), _profiles(settings, transport)
    refused, challenged, issued_tokens = Later(), Later(), Later()
    store = _shared_store(settings)
    guards = wire_guards(settings, on_refused=refused, on_challenge=challenged, store=store, one_address=one_address)
    keep_warm = _keep_warm(settings, transport)
    sessions = wire_sessions(
        settings, identity=identity, guards=guards, profiles=profiles, store=store, note_token=issued_tokens
    )
    gauges = [
        *_gauges(guards, keep_warm),
        one_address_gauge(lambda: one_address.is_proven),
        *sessions.gauges,
        *([store_gauge(store.is_degraded)] if store else []),
    ]
    counters = [session_refusals(lambda: guards.sessions.refused)]
    telemetry = wire_telemetry(
        settings, routes=routes, gauges=gauges, counters=counters, check_token=sessions.token_check.refused
    )
    refused.to, issued_tokens.to = telemetry.metrics.record_throttled, telemetry.issued_tokens.record
    challenged.to = telemetry.metrics.record_challenge
    telemetry.jobs.retry_with(*tracing.retryable, *([keep_warm.thread] if keep_warm else []))
    return ApplicationState(
        settings=settings,
        transport=transport,
        login_path=LoginPathCheck(transport) if transport else None,
        captcha=captcha,
        one_address=one_address,
        owners=owners,
        identity=identity,
        profiles=profiles,
        guards=guards,
        sessions=sessions.service,
        telemetry=telemetry,
        tracing=tracing,
        checks={**sessions.checks, **({"shared_store": store.check} if store else {})},
        # The last to stop are those who are told of the others.
        addresses=_addresses(settings),
        watch=_watch(settings),
        threads=(
            *sessions.beside,
            *([keep_warm] if keep_warm else []),
            telemetry,
            *tracing.tasks,
            *wire_sentry(settings),
        ),
    )


def _shared_store(settings: Settings) -> SharedStore | None:
    if not settings.redis_url:
        return None
    from velro_auth.stores.client import SharedStore  # noqa: PLC0415 - 5 MB that few need

    return SharedStore()


def _addressing(settings: Settings) -> tuple[Sequence[Network], str, int]:
    return settings.trusted_proxies, settings.auth_client_ip_header, settings.auth_trusted_hops


def _addresses(settings: Settings) -> Addresses:
    networks, header, hops = _addressing(settings)
    return Addresses(networks, header=header, hops=hops)


def _watch(settings: Settings) -> AddressWatch:
    return AddressWatch(_addresses(settings), header=settings.auth_client_ip_header)


def _transport(settings: Settings, tracer: Tracer) -> Transport:
    return Transport(
        settings.supabase_url,
        key=settings.upstream_key,
        pool_size=settings.gunicorn_threads + settings.upstream_warm_connections,
        connect_timeout_s=settings.upstream_connect_timeout_s,
        deadline_s=settings.upstream_deadline_s,
        tracer=tracer,
    )


def _captcha(settings: Settings, transport: Transport | None) -> Captcha:
    key = settings.supabase_publishable_key
    # With one key there is nothing to choose.
    if transport is None or not key or not settings.supabase_secret_key or settings.auth_captcha == "off":
        return FixedCaptcha()
    return FixedCaptcha(always=True, key=key) if settings.auth_captcha == "on" else LearntCaptcha(transport, key=key)


def _one_address(transport: Transport | None, captcha: Captcha) -> OneAddress:
    if transport is None:
        return OneAddress()
    return OneAddress(is_public=captcha.is_demanded, prove=ForwardingProof(transport))


def _identity(settings: Settings, transport: Transport | None, captcha: Captcha, owners: Owners) -> Identity:
    if transport is None:
        return Unconfigured("; ".join(map(str, settings.mistakes)))
    return SupabaseIdentity(transport, forwards_address=settings.forwards_client_ip, captcha=captcha, owners=owners)


def _profiles(settings: Settings, transport: Transport | None) -> Profiles | None:
    if transport is None:
        return None
    return SupabaseProfiles(transport, url=settings.supabase_url, key=settings.upstream_key)


def _keep_warm(settings: Settings, transport: Transport | None) -> KeepWarm[Any] | None:
    if transport is None:
        return None
    return KeepWarm(
        transport.idle_connections(),
        connections=settings.upstream_warm_connections,
        every_s=settings.upstream_warm_every_s,
    )


def _gauges(guards: Guards, keep_warm: KeepWarm[Any] | None) -> list[Gauge]:
    gauges = [*guard_gauges(bulkhead=guards.bulkhead, breaker=guards.breaker, failure_delay=guards.failure_delay)]
    if keep_warm:
        gauges += pool_gauges(
            idle=lambda: len(keep_warm.ages()),
            age_s=lambda: max((one.age_s for one in keep_warm.ages()), default=0.0),
            unused_s=lambda: max((one.idle_s for one in keep_warm.ages()), default=0.0),
        )
    return gauges
