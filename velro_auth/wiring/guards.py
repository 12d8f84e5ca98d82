"""Builds the guards of the login."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from velro_auth.config.settings import Settings
from velro_auth.guards import Guards
from velro_auth.guards.attempts import Attempts, MemoryAttempts
from velro_auth.guards.bulkhead import Bulkhead
from velro_auth.guards.challenges import Challenges, Spent, challenge_secret
from velro_auth.guards.circuit_breaker import CircuitBreaker
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.keys import Keyring, throttle_secret
from velro_auth.guards.limits import Limits
from velro_auth.guards.sessions import SessionCalls
from velro_auth.guards.throttle import Throttle
from velro_auth.guards.upstream_rate_limit import (
    OneAddress,
    RateLimitBucket,
)

if TYPE_CHECKING:
    import redis

    from velro_auth.stores.client import SharedStore


def _nobody(_told: str) -> None:
    """Tell nobody."""


def wire_guards(
    settings: Settings,
    *,
    on_refused: Callable[[str], None],
    on_challenge: Callable[[str], None] = _nobody,
    store: SharedStore | None,
    one_address: OneAddress | None = None,
) -> Guards:
    """Build the guards that *settings* ask for.

    Args:
        settings: What they are like.
        on_refused: Told the limit that refused a login.
        on_challenge: Told of challenges that are given and solved.
        store: How Redis is; None where there is none.
        one_address: Whether Supabase counts all callers as one, although their addresses are passed on; None knows
            of no such thing.
    """
    client = _client(settings) if store else None
    return Guards(
        failure_delay=FailureDelay(
            delay_ms=settings.auth_failure_floor_ms,
            permits=settings.login_places,
            reserved=settings.login_places - settings.session_places,
        ),
        throttle=Throttle(
            attempts=_attempts(settings, client, store),
            keyring=Keyring(_secret(settings)),
            challenges=_challenges(settings, client, store),
            is_challenging=_is_challenging(settings),
            on_refused=on_refused,
            on_challenge=on_challenge,
        ),
        rate_limit=_rate_limit(settings, one_address or OneAddress()),
        bulkhead=Bulkhead(
            permits=settings.login_slots,
            wait_s=settings.login_queue_s,
            max_waiting=settings.login_places - settings.login_slots,
        ),
        breaker=CircuitBreaker(),
        sessions=SessionCalls(
            bulkhead=Bulkhead(
                permits=settings.session_slots,
                wait_s=settings.login_queue_s,
                max_waiting=settings.session_places - settings.session_slots,
            ),
            in_flight=settings.session_places_per_network,
            per_s=settings.auth_session_calls_per_s,
        ),
    )


def adjust_guards(guards: Guards, settings: Settings, *, was: Settings, one_address: OneAddress) -> Guards:
    """Return the guards with the numbers of *settings*, and all that they know.

    The same objects, so that nobody loses a place and nobody gains a guess. Only the quota is another one when
    its numbers changed: Supabase keeps the true one.

    Args:
        guards: As they are.
        settings: What they shall be like.
        was: The settings that they were built or adjusted with before.
        one_address: Whether Supabase counts all callers as one, although their addresses are passed on.
    """
    guards.throttle.adjust(_limits(settings), share=1 / _processes(settings), is_challenging=_is_challenging(settings))
    guards.failure_delay.adjust(
        delay_ms=settings.auth_failure_floor_ms,
        permits=settings.login_places,
        reserved=settings.login_places - settings.session_places,
    )
    guards.sessions.adjust(in_flight=settings.session_places_per_network, per_s=settings.auth_session_calls_per_s)
    guards.sessions.bulkhead.adjust(
        permits=settings.session_slots,
        wait_s=settings.login_queue_s,
        max_waiting=settings.session_places - settings.session_slots,
    )
    guards.bulkhead.adjust(
        permits=settings.login_slots,
        wait_s=settings.login_queue_s,
        max_waiting=settings.login_places - settings.login_slots,
    )
    if _quota_told(settings) == _quota_told(was):
        return guards
    return dataclasses.replace(guards, rate_limit=_rate_limit(settings, one_address))


def _limits(settings: Settings) -> Limits:
    return Limits().scaled(settings.auth_throttle_scale)


def _processes(settings: Settings) -> int:
    return settings.web_concurrency * settings.auth_replicas


def _secret(settings: Settings) -> bytes:
    # Without a key nothing is asked of anybody, and nothing is counted that matters.
    return throttle_secret(settings.auth_throttle_secret, api_key=settings.upstream_key or "unconfigured")


def _is_challenging(settings: Settings) -> bool:
    return settings.auth_challenge == "auto"


def _client(settings: Settings) -> redis.Redis:
    from velro_auth.stores.client import connect  # noqa: PLC0415 - 5 MB that few need

    return connect(settings.redis_url)


def _challenges(settings: Settings, client: redis.Redis | None, store: SharedStore | None) -> Challenges:
    spent: Spent | None = None
    if client is not None and store is not None:
        from velro_auth.stores.attempts import RedisSpent  # noqa: PLC0415 - the same

        spent = RedisSpent(client=client, backoff=store.counters, prefix=settings.redis_prefix)
    return Challenges(secret=challenge_secret(_secret(settings)), spent=spent)


def _attempts(settings: Settings, client: redis.Redis | None, store: SharedStore | None) -> Attempts:
    """Count in Redis where there is one; in memory each process takes its part of the limits."""
    limits = _limits(settings)
    memory = MemoryAttempts(limits=limits.scaled(1 / _processes(settings)))
    if client is None or store is None:
        return memory
    from velro_auth.stores.attempts import RedisAttempts  # noqa: PLC0415 - 5 MB that few need

    return RedisAttempts(
        client=client,
        limits=limits,
        fallback=memory,
        backoff=store.counters,
        prefix=settings.redis_prefix,
    )


def _rate_limit(settings: Settings, one_address: OneAddress) -> RateLimitBucket:
    kept, burst, refill_s, processes = _quota_told(settings)
    in_force = {"always": None, "never": OneAddress()}.get(kept, one_address)
    return RateLimitBucket(one_address=in_force, burst=burst, refill_s=refill_s, processes=processes)


def _quota_told(settings: Settings) -> tuple[str, int, float, int]:
    watched = "never" if settings.auth_upstream_quota == "off" else "when needed"
    return (
        "always" if settings.keeps_quota else watched,
        settings.upstream_quota_burst,
        settings.upstream_quota_refill_s,
        _processes(settings),
    )
