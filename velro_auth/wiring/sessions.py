"""Builds the sessions service: signing keys, token verifiers, deny-list, refreshes."""

from __future__ import annotations

import dataclasses
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from velro_auth.auth.denylist import DenyList, MemoryDenyList
from velro_auth.auth.introspection import AskLimits, IntrospectionState
from velro_auth.auth.keys import Key, Keys, NoKeys, secret_key
from velro_auth.auth.models import Session, dump_session, load_session
from velro_auth.auth.refresh import Refreshes, Relay
from velro_auth.auth.token_check import IssuedTokenCheck
from velro_auth.auth.tokens import ClaimRules
from velro_auth.auth.verifier import Denied, TokenVerifier
from velro_auth.config.settings import Settings
from velro_auth.guards.keys import REDIS_PREFIX
from velro_auth.health_checks import Check, Finding
from velro_auth.telemetry.gauges import Gauge, cache_gauge, key_gauges
from velro_auth.upstream.jwks import KeyState, KeyStore
from velro_auth.upstream.jwks_http import HttpKeySet

if TYPE_CHECKING:
    from velro_auth.stores.client import SharedStore


@dataclasses.dataclass(frozen=True)
class BackgroundTask:
    """A task that runs beside the requests of a process."""

    start: Callable[[], None]
    stop: Callable[[], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionState:
    """What the sessions service shares with the service that replaces it at a settings reload.

    Attributes:
        denied: The deny-list.
        refreshes: Spends refresh tokens once; remembers the results.
        verifier: Verifies tokens with the signing keys, whether or not their sessions were ended.
        introspected: The same, but refuses the tokens of ended sessions.
        introspection: Supabase's answers about tokens.
        token_check: Verifies samples of the issued tokens.
        background: The tasks that run beside the requests.
        gauges: The gauges of the caches and of the signing keys.
        checks: The checks of ``/health/ready``.
    """

    denied: DenyList
    refreshes: Refreshes[Session]
    verifier: TokenVerifier
    introspected: TokenVerifier
    introspection: IntrospectionState
    token_check: IssuedTokenCheck
    background: Sequence[BackgroundTask]
    gauges: Sequence[Gauge]
    checks: Mapping[str, Check]


def open_sessions(settings: Settings, *, store: SharedStore | None, instance_key: str) -> SessionState:
    """Return the state of a sessions service that has seen no request.

    Args:
        settings: Those that need a restart are read here: the project, its keys, Redis.
        store: Whether Redis works; None without Redis.
        instance_key: Random characters that only this instance knows.
    """
    key_store = None if settings.errors else _key_store(settings)
    keys: Keys = key_store or NoKeys()
    denied, relay, background = _shared(settings, store, instance_key)
    refreshes = Refreshes[Session](relay=relay, wait_s=_longest_refresh_s(settings))
    introspected, introspection = _verifier(settings, keys, denied), IntrospectionState(ask_limits(settings))
    gauges = [
        cache_gauge("verified_tokens", lambda: introspected.remembered),
        cache_gauge("checked_tokens", lambda: introspection.remembered),
        cache_gauge("refreshes", lambda: refreshes.remembered),
    ]
    checks: dict[str, Check] = {}
    if key_store is not None:
        state = key_store.state
        gauges += key_gauges(count=lambda: len(state().names), age_s=lambda: state().age_s or 0.0)
        background = [BackgroundTask(key_store.warm, key_store.close), *background]
        checks["signing_keys"] = lambda: keys_check(state())
    return SessionState(
        denied=denied,
        refreshes=refreshes,
        verifier=_verifier(settings, keys),
        introspected=introspected,
        introspection=introspection,
        token_check=own_tokens_of(settings, keys),
        background=background,
        gauges=gauges,
        checks=checks,
    )


def ask_limits(settings: Settings) -> AskLimits:
    """Return the limits of questions about tokens."""
    return AskLimits(good_for_s=settings.auth_verify_cache_s, wait_s=settings.upstream_deadline_s + 1)


def keys_check(state: KeyState) -> Finding:
    """Return the result for ``/health/ready``: without fresh keys, the old keys or Supabase itself verify tokens."""
    if not state.is_failing:
        return Finding("pass")
    if state.age_s is None:
        return Finding("warn", "the signing keys cannot be fetched: Supabase is asked about every token")
    return Finding("warn", f"the signing keys cannot be fetched: those at hand are {state.age_s:.0f} s old")


def _key_store(settings: Settings) -> KeyStore:
    url = f"{settings.supabase_url.rstrip('/')}/auth/v1/.well-known/jwks.json"
    return KeyStore(fetch=HttpKeySet(url=url))


def own_tokens_of(settings: Settings, keys: Keys, *, now: Callable[[], float] = time.time) -> IssuedTokenCheck:
    """Build the check of the tokens that a service with these *settings* issues."""
    rules = ClaimRules(issuers=settings.issuers, now=now)
    # No cache: each token is verified once.
    return IssuedTokenCheck(TokenVerifier(keys=keys, rules=rules, secret=_secret(settings), cache_size=0), rules)


def _verifier(settings: Settings, keys: Keys, denied: Denied | None = None) -> TokenVerifier:
    return TokenVerifier(
        keys=keys,
        rules=ClaimRules(issuers=settings.issuers, now=time.time),
        secret=_secret(settings),
        denied=denied,
    )


def _secret(settings: Settings) -> Key | None:
    return secret_key(settings.supabase_jwt_secret) if settings.supabase_jwt_secret else None


def _longest_refresh_s(settings: Settings) -> float:
    """Return how long a refresh may take: the wait for a permit, the call, and a second for the rest."""
    return settings.login_queue_s + settings.upstream_deadline_s + 1


def _shared(
    settings: Settings, store: SharedStore | None, instance_key: str
) -> tuple[DenyList, Relay[Session] | None, Sequence[BackgroundTask]]:
    """Return the deny-list, the cross-process single flight and their tasks; in Redis if there is one."""
    if store is None:
        return MemoryDenyList(), None, []
    # 5 MB that few need.
    from velro_auth.stores.client import connect  # noqa: PLC0415
    from velro_auth.stores.denylist import RedisDenyList  # noqa: PLC0415
    from velro_auth.stores.denylist_codec import DenialsInRedis  # noqa: PLC0415
    from velro_auth.stores.refresh import RedisSingleFlight  # noqa: PLC0415

    client = store.client or connect(settings.redis_url)
    # Redis does not know it, so it is never made from a publishable key. With the instance's own key, only the
    # processes of one instance share their refreshes.
    secret = settings.supabase_secret_key or settings.auth_throttle_secret or instance_key
    relay = RedisSingleFlight(
        client=client,
        secret=hmac.digest(secret.encode(), b"velro-auth relay", "sha256"),
        dump=dump_session,
        load=load_session,
        backoff=store.sessions,
        prefix=settings.redis_prefix,
        wait_s=_longest_refresh_s(settings),
    )
    # Logouts that an earlier release entered under keys without the project must stay in force.
    denials = DenialsInRedis(client=client, prefix=settings.redis_prefix, earlier_prefix=REDIS_PREFIX)
    denied = RedisDenyList(store=denials, backoff=store.sessions)
    return denied, relay, [BackgroundTask(denied.start, denied.close)]
