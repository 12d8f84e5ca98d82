"""A token bucket per caller, as the original keeps it: in memory, and silent about when to come back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from supabase_standin.config import RateLimit


class Limiter:
    """Counts requests per key.

    Args:
        limit: Burst and refill; None lets everything pass.
        clock: Seconds, monotonic.
    """

    def __init__(self, limit: RateLimit | None, *, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, key: str) -> bool:
        """Take one token of *key*; False when there is none left."""
        if self._limit is None:
            return True
        with self._lock:
            now = self._clock()
            tokens, seen = self._buckets.get(key, (float(self._limit.burst), now))
            tokens = min(self._limit.burst, tokens + (now - seen) * self._limit.per_s)
            is_allowed = tokens >= 1
            self._buckets[key] = (tokens - is_allowed, now)
        return is_allowed
