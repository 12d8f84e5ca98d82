"""A twin of Supabase's rate limit, so that we say 429 with a reason before Supabase says it without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from velro_auth.errors import UpstreamThrottled

logger = logging.getLogger("velro_auth.guards")

#: Supabase's default: 150 calls of ``/token`` per five minutes and address, 30 of them at once. One is left
#: out, so that two calls that come closer together on the way do not meet an empty bucket.
BURST: Final = 29
REFILL_S: Final = 2.0

#: Kept for users who logged in before: a stranger's guesses must not cost them their login.
RESERVE: Final = 6


#: How often a 429 is looked into.
PROVE_EVERY_S: Final = 1.0
#: How long callers are counted as one after it was proven. The next 429 after that proves it anew, or does not: where
#: all were refused for a moment only, no caller is held up for long.
PROVEN_FOR_S: Final = 60.0
#: How long it was said once when it was said.
SAID_FOR_S: Final = 3600.0


class UpstreamRateLimit(Protocol):
    """What may be asked of Supabase just now."""

    def take(self, *, is_known: bool) -> None:
        """Take one call out of the quota.

        Raises:
            UpstreamThrottled: There is none left; ``retry_after_s`` is exact.
        """

    def refused(self) -> None:
        """Note that Supabase itself answered 429: its bucket is emptier than ours."""


class RateLimitState:
    """What is left of Supabase's rate limit as far as this process knows; survives a settings reload.

    Attributes:
        numbers: The burst and the refill time that it was counted with.
        full_until: When the bucket is full again, on the clock of the bucket.
        lock: Held to read or change it.
    """

    def __init__(self) -> None:
        self.numbers = (0, 0.0)
        self.full_until = 0.0
        self.lock = threading.Lock()


class RateLimitBucket:
    """The bucket that Supabase keeps for our address, as far as this process knows it.

    Logins and refreshes share it. It is needed while Supabase counts all callers as one, which it does until
    the caller's address is forwarded (``Sb-Forwarded-For``). A call that was taken is never given back: Supabase
    counts what arrives, whatever comes of it.

    Args:
        burst: Calls at once.
        refill_s: How often one more is allowed.
        reserve: How many of the burst only known users may take.
        processes: How many processes share the address; each gets its part.
        clock: Seconds that never go back.
        state: That of the bucket before, at a settings reload. With other numbers the bucket starts full: calls that
            were counted with wrong numbers must not cause refusals, and Supabase keeps the true bucket.
    """

    def __init__(
        self,
        *,
        burst: int = BURST,
        refill_s: float = REFILL_S,
        reserve: int = RESERVE,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
        state: RateLimitState | None = None,
    ) -> None:
        self._burst = max(1, burst // processes)
        self._refill_s = refill_s * processes
        self._reserve = min(reserve // processes, self._burst - 1)
        self._clock = clock
        self._state = state or RateLimitState()
        with self._state.lock:
            if self._state.numbers != (self._burst, self._refill_s):
                self._state.numbers, self._state.full_until = (self._burst, self._refill_s), 0.0

    def take(self, *, is_known: bool) -> None:
        """Take one call out of the quota.

        Raises:
            UpstreamThrottled: There is none left; ``retry_after_s`` is exact.
        """
        room = self._burst if is_known else self._burst - self._reserve
        with self._state.lock:
            now = self._clock()
            wait_s = self._state.full_until - (room - 1) * self._refill_s - now
            if wait_s > 0:
                reason = "the local twin of Supabase's rate limit is empty; forward the caller's address"
                raise UpstreamThrottled(reason, retry_after_s=wait_s)
            self._state.full_until = max(self._state.full_until, now) + self._refill_s

    def refused(self) -> None:
        """Note that Supabase itself answered 429: its bucket is emptier than ours."""
        with self._state.lock:
            self._state.full_until = self._clock() + self._burst * self._refill_s


class OneAddress:
    """Knows whether Supabase counts all callers as one, although their addresses are passed on; per process.

    It does in two cases. Calls with the publishable key carry no address that it listens to. And where the project
    does not listen at all, a 429 comes for callers who did nothing. A 429 alone proves nothing: one caller may have
    used up his own calls, and must not get the others counted. So it is proven by asking.

    Args:
        is_public: Whether calls go with the publishable key.
        prove: Asks Supabase right after a 429; None when it cannot be asked.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        *,
        is_public: Callable[[], bool] = lambda: False,
        prove: Callable[[], bool | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_public = is_public
        self._prove = prove
        self._clock = clock
        self._lock = threading.Lock()
        self._until_s = 0.0
        self._proves_from_s = 0.0
        self._silent_until_s = 0.0

    @property
    def is_proven(self) -> bool:
        """Whether it was proven lately, in spite of the addresses that are passed on; for a metric."""
        with self._lock:
            return self._clock() < self._until_s

    def __call__(self) -> bool:
        """Return whether all callers count as one."""
        return self.is_proven or self._is_public()

    def refused(self) -> None:
        """Find out why Supabase answered 429, at most once a second."""
        with self._lock:
            now_s = self._clock()
            if now_s < max(self._until_s, self._proves_from_s):
                return
            self._proves_from_s = now_s + PROVE_EVERY_S
        # Not under the lock: it asks Supabase.
        if not self._prove():
            return
        with self._lock:
            now_s = self._clock()
            self._until_s = now_s + PROVEN_FOR_S
            is_news = now_s >= self._silent_until_s
            if is_news:
                self._silent_until_s = now_s + SAID_FOR_S
        if is_news:
            logger.warning(
                "Supabase counts all callers as one: switch on IP address forwarding in the project (Authentication,"
                " Rate limits); until then the quota counts"
            )


class WatchedRateLimit:
    """The quota of a service that passes addresses on: counts only while Supabase counts all callers as one.

    Args:
        twin: The bucket that Supabase keeps for our address.
        one_address: Whether it counts.
    """

    def __init__(self, twin: RateLimitBucket, one_address: OneAddress) -> None:
        self._twin = twin
        self._one_address = one_address

    def take(self, *, is_known: bool) -> None:
        """Take one call out of the quota, where it counts.

        Raises:
            UpstreamThrottled: There is none left; ``retry_after_s`` is exact.
        """
        if self._one_address():
            self._twin.take(is_known=is_known)

    def refused(self) -> None:
        """Note that Supabase itself answered 429, and find out whether it was for all callers."""
        if not self._one_address():
            self._one_address.refused()
        if self._one_address():
            self._twin.refused()


class NoRateLimit:
    """No limit: the project is self-hosted without one."""

    def take(self, *, is_known: bool) -> None:
        """Allow it."""

    def refused(self) -> None:
        """Leave it to Supabase."""
