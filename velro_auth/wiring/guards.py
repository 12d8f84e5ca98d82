"""Builds the guards of the login."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from velro_auth.guards import Guards
from velro_auth.guards.attempts import Attempts
from velro_auth.guards.breaker import Breaker
from velro_auth.guards.floor import FailureFloor
from velro_auth.guards.gate import Gate
from velro_auth.guards.keys import Keyring, throttle_secret
from velro_auth.guards.limits import Limits
from velro_auth.guards.memory import MemoryAttempts
from velro_auth.guards.quota import NoQuota, OneAddress, Quota, UpstreamQuota, WatchedQuota
from velro_auth.guards.size import AdaptiveSize, FixedSize, Size
from velro_auth.guards.throttle import Throttle
from velro_auth.settings import Settings
from velro_auth.wiring.store import SharedStore


def wire_guards(
    settings: Settings, *, on_refused: Callable[[str], None], store: SharedStore | None, one_address: OneAddress
) -> Guards:
    """Build the guards that *settings* ask for.

    Args:
        settings: What they are like.
        on_refused: Told the limit that refused a login.
        store: How Redis is; None where there is none.
        one_address: Whether Supabase counts all callers as one, although their addresses are passed on.
    """
    # Without a key nothing is asked of anybody, and nothing is counted that matters.
    secret = throttle_secret(settings.auth_throttle_secret, api_key=settings.upstream_key or "unconfigured")
    return Guards(
        floor=FailureFloor(floor_ms=settings.auth_failure_floor_ms, places=settings.login_places),
        throttle=Throttle(attempts=_attempts(settings, store), keyring=Keyring(secret), on_refused=on_refused),
        quota=_quota(settings, one_address),
        gate=Gate(
            size=_size(settings),
            wait_s=settings.login_queue_s,
            max_waiting=settings.login_places - settings.login_slots,
        ),
        breaker=Breaker(),
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
    guards.throttle.adjust(_limits(settings), share=1 / _processes(settings))
    guards.floor.adjust(floor_ms=settings.auth_failure_floor_ms, places=settings.login_places)
    guards.gate.adjust(
        wait_s=settings.login_queue_s,
        max_waiting=settings.login_places - settings.login_slots,
        size=None if _size_told(settings) == _size_told(was) else _size(settings),
    )
    if _quota_told(settings) == _quota_told(was):
        return guards
    return dataclasses.replace(guards, quota=_quota(settings, one_address))


def _limits(settings: Settings) -> Limits:
    return Limits().scaled(settings.auth_throttle_scale)


def _processes(settings: Settings) -> int:
    return settings.web_concurrency * settings.auth_replicas


def _attempts(settings: Settings, store: SharedStore | None) -> Attempts:
    """Count in Redis where there is one; in memory each process takes its part of the limits."""
    limits = _limits(settings)
    memory = MemoryAttempts(limits=limits.scaled(1 / _processes(settings)))
    if store is None:
        return memory
    from velro_auth.guards.redis import RedisAttempts, connect  # noqa: PLC0415 - 5 MB that few need

    return RedisAttempts(client=connect(settings.redis_url), limits=limits, fallback=memory, rest=store.counters)


def _quota(settings: Settings, one_address: OneAddress) -> Quota:
    kept, burst, refill_s, processes = _quota_told(settings)
    if kept == "never":
        return NoQuota()
    twin = UpstreamQuota(burst=burst, refill_s=refill_s, processes=processes)
    return twin if kept == "always" else WatchedQuota(twin, one_address)


def _quota_told(settings: Settings) -> tuple[str, int, float, int]:
    watched = "never" if settings.auth_upstream_quota == "off" else "when needed"
    return (
        "always" if settings.keeps_quota else watched,
        settings.upstream_quota_burst,
        settings.upstream_quota_refill_s,
        _processes(settings),
    )


def _size(settings: Settings) -> Size:
    kind, slots = _size_told(settings)
    return AdaptiveSize(least=min(4, slots), most=slots) if kind == "adaptive" else FixedSize(slots)


def _size_told(settings: Settings) -> tuple[str, int]:
    return settings.login_gate, settings.login_slots
