"""Builds what looks after sessions: keys, verifiers, deny-list, refreshes."""

from __future__ import annotations

import dataclasses
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from velro_auth.auth.denylist import DenyList, MemoryDenyList
from velro_auth.auth.introspection import AskLimits, RemoteIntrospector, TokenIntrospector
from velro_auth.auth.keys import Key, Keys, NoKeys, secret_key
from velro_auth.auth.models import Identity, Profiles, Session, dump_session, load_session
from velro_auth.auth.refresh import Refreshes, Relay
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.token_check import IssuedTokenCheck
from velro_auth.auth.tokens import ClaimRules
from velro_auth.auth.verifier import Denied, TokenVerifier
from velro_auth.config.settings import Settings
from velro_auth.guards import Guards
from velro_auth.guards.keys import REDIS_PREFIX
from velro_auth.health_checks import Check, Finding
from velro_auth.telemetry.gauges import Gauge, cache_gauge, key_gauges
from velro_auth.upstream.jwks import KeyState, KeyStore
from velro_auth.upstream.jwks_http import HttpKeySet

if TYPE_CHECKING:
    from velro_auth.stores.client import SharedStore


@dataclasses.dataclass(frozen=True)
class BackgroundTask:
    """Something that runs beside the requests of a process."""

    start: Callable[[], None]
    stop: Callable[[], None]


@dataclasses.dataclass(frozen=True)
class WiredSessions:
    """The sessions service, and what belongs to it.

    Attributes:
        service: The service.
        beside: What runs beside the requests.
        gauges: What the metrics tell about it.
        checks: What ``/health/ready`` tells about it.
        own_tokens: Judges tokens that are handed out.
    """

    service: Sessions
    beside: Sequence[BackgroundTask]
    gauges: Sequence[Gauge]
    checks: Mapping[str, Check]
    token_check: IssuedTokenCheck


def wire_sessions(
    settings: Settings,
    *,
    identity: Identity,
    guards: Guards,
    profiles: Profiles | None,
    store: SharedStore | None,
    note_token: Callable[[str], None],
) -> WiredSessions:
    """Build the sessions service that *settings* ask for.

    Args:
        settings: What it is like.
        identity: Who is asked.
        guards: What stands before that.
        profiles: Who knows the profile row; None while the settings are wrong.
        store: How Redis is; None where there is none.
        note_token: Told each access token that is handed out.
    """
    store_of_keys = _key_store(settings)
    keys: Keys = store_of_keys or NoKeys()
    denied, relay, beside = _shared(settings, store)
    limits = AskLimits(good_for_s=settings.auth_verify_cache_s, wait_s=settings.upstream_deadline_s + 1)
    refreshes = Refreshes[Session](relay=relay, wait_s=_longest_refresh_s(settings))
    verifier = _verifier(settings, keys, denied)
    remote = RemoteIntrospector(limits=limits, permit=guards.failure_delay.permit)
    sessions = Sessions(
        identity=identity,
        guards=guards,
        refreshes=refreshes,
        verifier=_verifier(settings, keys),
        introspector=TokenIntrospector(verifier=verifier, remote=remote),
        denied=denied,
        profiles=profiles,
        is_strict=settings.auth_verify_mode == "strict",
        note_token=note_token,
    )
    token_check = own_tokens_of(settings, keys)
    gauges = [
        cache_gauge("verified_tokens", lambda: verifier.remembered),
        cache_gauge("checked_tokens", lambda: remote.remembered),
        cache_gauge("refreshes", lambda: refreshes.remembered),
    ]
    if store_of_keys is None:
        return WiredSessions(sessions, beside, gauges, {}, token_check)
    state = store_of_keys.state
    gauges += key_gauges(count=lambda: len(state().names), age_s=lambda: state().age_s or 0.0)
    beside = [BackgroundTask(store_of_keys.warm, store_of_keys.close), *beside]
    return WiredSessions(sessions, beside, gauges, {"signing_keys": lambda: keys_check(state())}, token_check)


def adjust_sessions(
    sessions: Sessions, settings: Settings, *, was: Settings, identity: Identity, guards: Guards
) -> Sessions:
    """Return the service with the numbers of *settings*, the keys it has, and all that it remembers.

    Args:
        sessions: As it is.
        settings: What it shall be like.
        was: The settings that it was built or adjusted with before.
        identity: Who is asked from now on.
        guards: What stands before that.
    """
    if settings.auth_verify_cache_s != was.auth_verify_cache_s:
        sessions.introspector.believe_for(settings.auth_verify_cache_s)
    is_strict = settings.auth_verify_mode == "strict"
    return dataclasses.replace(sessions, identity=identity, guards=guards, is_strict=is_strict)


def keys_check(state: KeyState) -> Finding:
    """Return what ``/health/ready`` says about the signing keys: tokens are judged by the old ones, or by Supabase."""
    if not state.is_failing:
        return Finding("pass")
    if state.age_s is None:
        return Finding("warn", "the signing keys cannot be fetched: Supabase is asked about every token")
    return Finding("warn", f"the signing keys cannot be fetched: those at hand are {state.age_s:.0f} s old")


def _key_store(settings: Settings) -> KeyStore | None:
    if settings.mistakes:
        return None
    url = f"{settings.supabase_url.rstrip('/')}/auth/v1/.well-known/jwks.json"
    return KeyStore(fetch=HttpKeySet(url=url))


def own_tokens_of(settings: Settings, keys: Keys, *, now: Callable[[], float] = time.time) -> IssuedTokenCheck:
    """Build what judges the tokens that a service with these *settings* hands out.

    Args:
        settings: Those of the service.
        keys: The signing keys of the project.
        now: The wall clock.
    """
    rules = ClaimRules(issuers=settings.issuers, now=now)
    # Remembers none: each is judged once.
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
    """Return how long a refresh may take: the queue of the gate, the call, and a second for the rest."""
    return settings.login_queue_s + settings.upstream_deadline_s + 1


def _shared(
    settings: Settings, store: SharedStore | None
) -> tuple[DenyList, Relay[Session] | None, Sequence[BackgroundTask]]:
    """Return what several processes share, where there is a Redis to share it in."""
    if store is None:
        return MemoryDenyList(), None, []
    # 5 MB that few need.
    from velro_auth.stores.client import connect  # noqa: PLC0415
    from velro_auth.stores.denylist import RedisDenyList  # noqa: PLC0415
    from velro_auth.stores.denylist_codec import DenialsInRedis  # noqa: PLC0415
    from velro_auth.stores.refresh import RedisSingleFlight  # noqa: PLC0415

    client = connect(settings.redis_url)
    relay = RedisSingleFlight(
        client=client,
        # What all processes know and Redis does not.
        secret=hmac.digest(settings.upstream_key.encode(), b"velro-auth relay", "sha256"),
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
