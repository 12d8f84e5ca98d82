"""Builds the guards of the login."""

from __future__ import annotations

from collections.abc import Callable

from velro_auth.guards import Guards
from velro_auth.guards.attempts import Attempts
from velro_auth.guards.breaker import Breaker
from velro_auth.guards.floor import FailureFloor
from velro_auth.guards.gate import Gate
from velro_auth.guards.keys import Keyring, throttle_secret
from velro_auth.guards.limits import Limits
from velro_auth.guards.memory import MemoryAttempts
from velro_auth.guards.quota import NoQuota, Quota, UpstreamQuota
from velro_auth.guards.size import AdaptiveSize, FixedSize, Size
from velro_auth.guards.throttle import Throttle
from velro_auth.settings import Settings
from velro_auth.wiring.store import SharedStore


def wire_guards(settings: Settings, *, on_refused: Callable[[str], None], store: SharedStore | None) -> Guards:
    """Build the guards that *settings* ask for.

    Args:
        settings: What they are like.
        on_refused: Told the limit that refused a login.
        store: How Redis is; None where there is none.
    """
    # Without a key nothing is asked of anybody, and nothing is counted that matters.
    secret = throttle_secret(settings.auth_throttle_secret, api_key=settings.upstream_key or "unconfigured")
    return Guards(
        floor=FailureFloor(floor_ms=settings.auth_failure_floor_ms, places=settings.login_places),
        throttle=Throttle(attempts=_attempts(settings, store), keyring=Keyring(secret), on_refused=on_refused),
        quota=_quota(settings),
        gate=Gate(
            size=_size(settings),
            wait_s=settings.login_queue_s,
            max_waiting=settings.login_places - settings.login_slots,
        ),
        breaker=Breaker(),
    )


def _attempts(settings: Settings, store: SharedStore | None) -> Attempts:
    """Count in Redis where there is one; in memory each process takes its part of the limits."""
    limits = Limits().scaled(settings.auth_throttle_scale)
    processes = settings.web_concurrency * settings.auth_replicas
    memory = MemoryAttempts(limits=limits.scaled(1 / processes) if processes > 1 else limits)
    if store is None:
        return memory
    from velro_auth.guards.redis import RedisAttempts, connect  # noqa: PLC0415 - 5 MB that few need

    return RedisAttempts(client=connect(settings.redis_url), limits=limits, fallback=memory, rest=store.counters)


def _quota(settings: Settings) -> Quota:
    if not settings.keeps_quota:
        return NoQuota()
    return UpstreamQuota(
        burst=settings.upstream_quota_burst,
        refill_s=settings.upstream_quota_refill_s,
        processes=settings.web_concurrency * settings.auth_replicas,
    )


def _size(settings: Settings) -> Size:
    if settings.login_gate == "adaptive":
        return AdaptiveSize(least=min(4, settings.login_slots), most=settings.login_slots)
    return FixedSize(settings.login_slots)
