"""Builds what looks after sessions: keys, verifiers, deny-list, refreshes."""

from __future__ import annotations

import dataclasses
import hmac
import time
from collections.abc import Callable

from velro_auth.auth.denylist import DenyList, MemoryDenyList
from velro_auth.auth.introspection import AskLimits, RemoteJudge, TokenJudge
from velro_auth.auth.keys import Keys, NoKeys, secret_key
from velro_auth.auth.models import Session
from velro_auth.auth.ports import Identity, Profiles
from velro_auth.auth.refresh import Refreshes, Relay
from velro_auth.auth.session_json import dump_session, load_session
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import ClaimRules
from velro_auth.auth.verifier import Denied, TokenVerifier
from velro_auth.guards import Guards
from velro_auth.settings import Settings
from velro_auth.upstream.jwks import KeyStore
from velro_auth.upstream.jwks_http import HttpKeySet


@dataclasses.dataclass(frozen=True)
class Beside:
    """Something that runs beside the requests of a process."""

    start: Callable[[], None]
    stop: Callable[[], None]


def wire_sessions(
    settings: Settings, *, identity: Identity, guards: Guards, profiles: Profiles | None
) -> tuple[Sessions, list[Beside]]:
    """Build the sessions service that *settings* ask for, and what runs beside it."""
    keys, keys_beside = _keys(settings)
    denied, relay, denied_beside = _shared(settings)
    limits = AskLimits(good_for_s=settings.auth_verify_cache_s, wait_s=settings.upstream_deadline_s + 1)
    sessions = Sessions(
        identity=identity,
        guards=guards,
        refreshes=Refreshes(relay=relay, wait_s=settings.upstream_deadline_s + 1),
        verifier=_verifier(settings, keys),
        judge=TokenJudge(verifier=_verifier(settings, keys, denied), remote=RemoteJudge(limits=limits)),
        denied=denied,
        profiles=profiles,
        is_strict=settings.auth_verify_mode == "strict",
    )
    return sessions, [*keys_beside, *denied_beside]


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
        sessions.judge.believe_for(settings.auth_verify_cache_s)
    is_strict = settings.auth_verify_mode == "strict"
    return dataclasses.replace(sessions, identity=identity, guards=guards, is_strict=is_strict)


def _keys(settings: Settings) -> tuple[Keys, list[Beside]]:
    if settings.mistakes:
        return NoKeys(), []
    url = f"{settings.supabase_url.rstrip('/')}/auth/v1/.well-known/jwks.json"
    keys = KeyStore(fetch=HttpKeySet(url=url))
    return keys, [Beside(keys.warm, keys.close)]


def _verifier(settings: Settings, keys: Keys, denied: Denied | None = None) -> TokenVerifier:
    return TokenVerifier(
        keys=keys,
        rules=ClaimRules(issuers=settings.issuers, now=time.time),
        secret=secret_key(settings.supabase_jwt_secret) if settings.supabase_jwt_secret else None,
        denied=denied,
    )


def _shared(settings: Settings) -> tuple[DenyList, Relay[Session] | None, list[Beside]]:
    """Return what several processes share, where there is a Redis to share it in."""
    if not settings.redis_url:
        return MemoryDenyList(), None, []
    # 5 MB that few need.
    from velro_auth.guards.redis import connect  # noqa: PLC0415
    from velro_auth.upstream.denylist_redis import RedisDenyList  # noqa: PLC0415
    from velro_auth.upstream.denylist_wire import DenialsInRedis  # noqa: PLC0415
    from velro_auth.upstream.redis_guard import RedisGuard  # noqa: PLC0415
    from velro_auth.upstream.refresh_redis import RedisRelay  # noqa: PLC0415

    guard, client = RedisGuard(), connect(settings.redis_url)
    relay = RedisRelay(
        client=client,
        # What all processes know and Redis does not.
        secret=hmac.digest(settings.upstream_key.encode(), b"velro-auth relay", "sha256"),
        dump=dump_session,
        load=load_session,
        guard=guard,
        wait_s=settings.upstream_deadline_s + 1,
    )
    denied = RedisDenyList(store=DenialsInRedis(client=client), guard=guard)
    return denied, relay, [Beside(denied.start, denied.close)]
