"""Lets those who use Redis go on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from velro_auth.stores.backoff import StoreBackoff, sessions_rest


class RedisGone(Exception):
    """Redis does not answer, or failed a moment ago. Never leaves ``upstream``: everybody has a way without."""


class RedisGuard:
    """Turns every failure of Redis into :class:`RedisGone`, and spares callers the wait after one.

    Each try at a hanging Redis costs a socket timeout. After a failure one request at a time tries, more and more
    rarely; all others go on without at once.

    Args:
        rest: Decides when Redis is tried again.
    """

    def __init__(self, *, rest: StoreBackoff | None = None) -> None:
        self._rest = rest or sessions_rest()

    @contextmanager
    def attempt(self, *, in_background: bool = False) -> Iterator[None]:
        """Wrap commands to Redis.

        Args:
            in_background: Whether no request waits for them. Such an attempt is always made, and its success is
                everybody's.

        Raises:
            RedisGone: They failed, or others did a moment ago.
        """
        if not in_background and not self._rest.may_ask():
            raise RedisGone("Redis failed a moment ago")
        try:
            yield
        except (RedisError, OSError) as error:
            self._rest.failed(error)
            raise RedisGone(str(error)) from error
        self._rest.worked()
