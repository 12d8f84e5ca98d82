"""Challenges that were used, in Redis or Valkey, for several processes together."""

from __future__ import annotations

import contextlib
import math
import time

import redis

from velro_auth.guards.challenges import MemorySpent
from velro_auth.guards.keys import REDIS_VERSION
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff


class RedisSpent:
    """Challenges used in any process. While Redis is unavailable, each process knows only its own.

    Args:
        client: A client from ``connect``: short timeouts, no retries.
        backoff: Decides when Redis is asked again after it failed.
        prefix: The beginning of every key; it names the project.
    """

    def __init__(self, *, client: redis.Redis, backoff: StoreBackoff, prefix: str) -> None:
        self._client = client
        self._memory = MemorySpent()
        self._backoff = backoff
        self._prefix = f"{prefix}:{REDIS_VERSION}:challenge:"

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge; return whether it was unused. Never raises."""
        if not self._memory.spend(name, until_s):
            return False
        expires_ms = max(1, math.ceil((until_s - time.time()) * 1000))
        try:
            with self._backoff.attempt(failures=STORE_ERRORS):
                return bool(self._client.set(self._prefix + name, b"1", nx=True, px=expires_ms))
        except RedisUnavailable:
            return True

    def forget(self, name: str) -> None:
        """Forget that it was used. Never raises."""
        self._memory.forget(name)
        with contextlib.suppress(RedisUnavailable), self._backoff.attempt(failures=STORE_ERRORS):
            self._client.delete(self._prefix + name)
