"""Builds the state of a process that survives a settings reload: connections, counters, caches, the deny-list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from velro_auth.auth.models import Profiles
from velro_auth.auth.sealing import sealing_keys
from velro_auth.config.settings import Settings
from velro_auth.guards.asking import CircuitBreaker
from velro_auth.guards.upstream_rate_limit import OneAddress
from velro_auth.telemetry.gauges import ExternalCounter, Gauge, guard_gauges, pool_gauges
from velro_auth.telemetry.telemetry import Routes, Telemetry
from velro_auth.upstream.answers import Owners
from velro_auth.upstream.captcha import Captcha, DemandedCaptcha, LearntCaptcha
from velro_auth.upstream.probe import ForwardingProof, LearntSignUpMode, LoginPathCheck
from velro_auth.upstream.profiles import SupabaseProfiles
from velro_auth.upstream.transport.keep_warm import KeepWarm
from velro_auth.upstream.transport.tracing import Tracer
from velro_auth.upstream.transport.transport import Transport
from velro_auth.web.client_address import Addresses
from velro_auth.web.client_address_watch import AddressWatch
from velro_auth.wiring.guards import GuardState, open_guards
from velro_auth.wiring.sessions import BackgroundTask, SessionState, open_sessions
from velro_auth.wiring.telemetry import Tracing, slo_target, wire_sentry, wire_telemetry

if TYPE_CHECKING:
    from velro_auth.stores.client import SharedStore


class Threads(Protocol):
    """A task that runs beside the requests of a process."""

    @property
    def start(self) -> Callable[[], None]:
        """Start it in this process."""

    @property
    def stop(self) -> Callable[[], None]:
        """Stop it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upstream:
    """The connections to the project, and what the service has learnt about it.

    Attributes:
        transport: Sends the calls; None while the settings are wrong.
        login_path: Checks whether Supabase answers logins; None while the settings are wrong.
        keep_warm: Keeps idle connections open; None while the settings are wrong.
        profiles: Reads the profile row; None while the settings are wrong.
        captcha: Whether the project demands a captcha; None for never.
        one_address: Whether Supabase counts all callers as one, although their addresses are forwarded.
        owners: The user that each refresh token was issued to.
    """

    transport: Transport | None = None
    login_path: LoginPathCheck | None = None
    keep_warm: KeepWarm[Any] | None = None
    profiles: Profiles | None = None
    captcha: Captcha | None = None
    one_address: OneAddress = dataclasses.field(default_factory=OneAddress)
    owners: Owners = dataclasses.field(default_factory=Owners)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccountState:
    """What the services of accounts and users share with those that replace them at a settings reload.

    Attributes:
        mode: Whether the project has new addresses confirmed by mail.
        breaker: The circuit breaker of sign-ups, confirmations and resets.
        changes: The one of calls that change a user.
        factors: The one of proofs of second factors.
        enrolments: The one of enrolments.
        anonymous: The one of anonymous users.
    """

    mode: LearntSignUpMode
    breaker: CircuitBreaker = dataclasses.field(default_factory=CircuitBreaker)
    changes: CircuitBreaker = dataclasses.field(default_factory=CircuitBreaker)
    factors: CircuitBreaker = dataclasses.field(default_factory=CircuitBreaker)
    enrolments: CircuitBreaker = dataclasses.field(default_factory=CircuitBreaker)
    anonymous: CircuitBreaker = dataclasses.field(default_factory=CircuitBreaker)


@dataclasses.dataclass
class CurrentSettings:
    """The settings in force, for a task that goes on after a settings reload."""

    settings: Settings


@dataclasses.dataclass(kw_only=True)
class ApplicationState:
    """Objects that survive a settings reload. Settings that need a restart are read when they are made.

    Attributes:
        current: The settings in force.
        upstream: The connections to the project.
        store: Whether Redis works; None without Redis.
        guards: What the guards have counted.
        sessions: The deny-list, the signing keys and the caches.
        account: What is known about the project's sign-ups, and the circuit breakers of calls for accounts.
        telemetry: Records every response.
        tracing: Traces requests and calls, if that is switched on.
        threads: The tasks that run beside the requests, in the order in which they stop. Those that report on others
            stop last.
    """

    current: CurrentSettings
    upstream: Upstream
    store: SharedStore | None
    guards: GuardState
    sessions: SessionState
    account: AccountState
    telemetry: Telemetry
    tracing: Tracing
    threads: Sequence[Threads]
    _watch: AddressWatch | None = None
    _watched: object = None

    def sealing_keys(self, settings: Settings) -> Sequence[bytes]:
        """Return the keys that seal cookies and tickets."""
        return sealing_keys(settings.auth_cookie_keys, secret=settings.supabase_secret_key or self.guards.instance_key)

    def watch(self, settings: Settings, addresses: Addresses) -> AddressWatch:
        """Return the watch of the callers' addresses.

        A new one when the settings of the proxies changed, so that an operator sees whether the change helped.
        """
        watched = (settings.trusted_proxies, settings.auth_client_ip_header, settings.auth_trusted_hops)
        if self._watch is None or watched != self._watched:
            self._watch, self._watched = AddressWatch(addresses, header=settings.auth_client_ip_header), watched
        return self._watch


def open_state(settings: Settings, routes: Routes, tracing: Tracing) -> ApplicationState:
    """Return the state of a process that has served no request. Connects to nothing and starts nothing."""
    current, upstream = CurrentSettings(settings), _upstream(settings, tracing.tracer)
    store = _shared_store(settings)
    guards = open_guards(settings, store=store, one_address=upstream.one_address)
    sessions = open_sessions(settings, store=store, instance_key=guards.instance_key)
    telemetry = wire_telemetry(
        settings,
        target=lambda: slo_target(current.settings),
        routes=routes,
        gauges=[*_gauges(guards, upstream, store), *sessions.gauges],
        counters=_counters(guards, upstream.transport),
        check_token=sessions.token_check.refused,
    )
    warm = [upstream.keep_warm] if upstream.keep_warm else []
    replicas = [guards.replicas] if guards.replicas else []
    telemetry.jobs.retry_with(*tracing.retryable, *(task.thread for task in warm), *(one.thread for one in replicas))
    return ApplicationState(
        current=current,
        upstream=upstream,
        store=store,
        guards=guards,
        sessions=sessions,
        account=AccountState(mode=LearntSignUpMode(upstream.transport)),
        telemetry=telemetry,
        tracing=tracing,
        threads=(
            BackgroundTask(_start_nothing, guards.mail_delay.finish),
            *sessions.background,
            *replicas,
            *([BackgroundTask(_start_nothing, store.close)] if store else []),
            *warm,
            telemetry,
            *tracing.tasks,
            *wire_sentry(settings),
        ),
    )


def _start_nothing() -> None:
    """Do nothing: the threads of calls behind their answers start with the requests."""


def _shared_store(settings: Settings) -> SharedStore | None:
    if not settings.redis_url:
        return None
    from velro_auth.stores.client import SharedStore  # noqa: PLC0415 - 5 MB that few need

    return SharedStore.of(settings.redis_url, prefix=settings.redis_prefix)


def _upstream(settings: Settings, tracer: Tracer | None) -> Upstream:
    if settings.errors:
        return Upstream()
    transport = Transport(
        settings.supabase_url,
        key=settings.upstream_key,
        pool_size=settings.gunicorn_threads + settings.upstream_warm_connections,
        connect_timeout_s=settings.upstream_connect_timeout_s,
        deadline_s=settings.upstream_deadline_s,
        tracer=tracer,
    )
    captcha, prove = _captcha(settings, transport), ForwardingProof(transport)
    return Upstream(
        transport=transport,
        login_path=LoginPathCheck(transport),
        keep_warm=KeepWarm(
            transport.idle_connections(),
            connections=settings.upstream_warm_connections,
            every_s=settings.upstream_warm_every_s,
        ),
        profiles=SupabaseProfiles(transport, url=settings.supabase_url, key=settings.upstream_key),
        captcha=captcha,
        one_address=OneAddress(is_public=captcha.is_demanded, prove=prove) if captcha else OneAddress(prove=prove),
    )


def _captcha(settings: Settings, transport: Transport) -> Captcha | None:
    key = settings.supabase_publishable_key
    # With a single key there is no choice.
    if not key or not settings.supabase_secret_key or settings.auth_captcha == "off":
        return None
    return DemandedCaptcha(key) if settings.auth_captcha == "on" else LearntCaptcha(transport, key=key)


def _gauges(guards: GuardState, upstream: Upstream, store: SharedStore | None) -> list[Gauge]:
    keep_warm, one_address = upstream.keep_warm, upstream.one_address
    gauges = [*guard_gauges(bulkhead=guards.bulkhead, breaker=guards.breaker, failure_delay=guards.failure_delay)]
    if keep_warm:
        gauges += pool_gauges(
            idle=lambda: len(keep_warm.ages()),
            age_s=lambda: max((one.age_s for one in keep_warm.ages()), default=0.0),
            unused_s=lambda: max((one.idle_s for one in keep_warm.ages()), default=0.0),
        )
    one_address_doc = "Workers for which Supabase counts all callers as one, although their addresses are passed on."
    waiting, calls = guards.mail_delay.waiting, guards.mail_delay.calls
    gauges += [
        Gauge("quota_one_address", one_address_doc, lambda: float(one_address.is_proven)),
        Gauge("mail_places_taken", "Requests that may send a mail and wait for their answer.", lambda: waiting.count),
        Gauge("mail_calls", "Calls for mails that are made or go on behind their answers.", lambda: calls.count),
    ]
    if store and (replicas := guards.replicas):
        degraded, shared = (
            "Workers that go on without the shared store.",
            "Processes of all instances that share the store.",
        )
        gauges += [
            Gauge("store_degraded", degraded, lambda: float(store.is_degraded())),
            Gauge("fleet_processes", shared, lambda: replicas.processes, is_same_everywhere=True),
        ]
    return gauges


def _counters(guards: GuardState, transport: Transport | None) -> list[ExternalCounter]:
    sessions, waiting, calls = guards.session_calls, guards.mail_delay.waiting, guards.mail_delay.calls
    refused = "Refreshes, logouts and me of networks that made too many."
    withheld = "Mails that were not asked for, because too many calls went on behind their answers."
    return [
        ExternalCounter("session_refusals", refused, lambda: sessions.refused),
        ExternalCounter("mail_places_refusals", "Requests that found no place to wait.", lambda: waiting.refused),
        ExternalCounter("mail_calls_withheld", withheld, lambda: calls.refused),
        ExternalCounter("upstream_requests", "Requests sent to Supabase.", lambda: transport.sent if transport else 0),
    ]
