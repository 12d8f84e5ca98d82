"""Lets those who use Redis go on without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

log = logging.getLogger(__name__)


class RedisGone(Exception):
    """Redis does not answer, or failed a moment ago. Never leaves ``upstream``: everybody has a way without."""


class RedisGuard:
    """Turns every failure of Redis into :class:`RedisGone`, and spares callers the wait after one.

    One log line when Redis goes and one when it is back.

    Args:
        pause_s: For how long nobody tries after a failure, in seconds. Each try may cost a socket timeout.
        clock: A clock that never jumps.
    """

    def __init__(self, *, pause_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._rests_until_s = float("-inf")
        self.is_up = True

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Wrap commands to Redis.

        Raises:
            RedisGone: They failed, or others did a moment ago.
        """
        if self._clock() < self._rests_until_s:
            raise RedisGone("Redis failed a moment ago")
        try:
            yield
        except (RedisError, OSError) as error:
            self._rests_until_s = self._clock() + self._pause_s
            if self.is_up:
                log.warning("Redis is gone, going on without it: %s", type(error).__name__)
            self.is_up = False
            raise RedisGone(str(error)) from error
        if not self.is_up:
            log.warning("Redis is back")
        self.is_up = True
