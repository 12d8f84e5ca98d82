"""A twin of Supabase's rate limit, so that we say 429 with a reason before Supabase says it without."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from velro_auth.errors import UpstreamThrottled

#: Supabase's default: 150 calls of ``/token`` per five minutes and address, 30 of them at once. One is left
#: out, so that two calls that come closer together on the way do not meet an empty bucket.
BURST: Final = 29
REFILL_S: Final = 2.0

#: Kept for users who logged in before: a stranger's guesses must not cost them their login.
RESERVE: Final = 6


class Quota(Protocol):
    """What may be asked of Supabase just now."""

    def take(self, *, is_known: bool) -> None:
        """Take one call out of the quota.

        Raises:
            UpstreamThrottled: There is none left; ``retry_after_s`` is exact.
        """

    def refused(self) -> None:
        """Note that Supabase itself answered 429: its bucket is emptier than ours."""


class UpstreamQuota:
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
    """

    def __init__(
        self,
        *,
        burst: int = BURST,
        refill_s: float = REFILL_S,
        reserve: int = RESERVE,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = max(1, burst // processes)
        self._refill_s = refill_s * processes
        self._reserve = min(reserve // processes, self._burst - 1)
        self._clock = clock
        self._full_until = 0.0
        self._lock = threading.Lock()

    def take(self, *, is_known: bool) -> None:
        """Take one call out of the quota.

        Raises:
            UpstreamThrottled: There is none left; ``retry_after_s`` is exact.
        """
        room = self._burst if is_known else self._burst - self._reserve
        with self._lock:
            now = self._clock()
            wait_s = self._full_until - (room - 1) * self._refill_s - now
            if wait_s > 0:
                reason = "the local twin of Supabase's rate limit is empty; forward the caller's address"
                raise UpstreamThrottled(reason, retry_after_s=wait_s)
            self._full_until = max(self._full_until, now) + self._refill_s

    def refused(self) -> None:
        """Note that Supabase itself answered 429: its bucket is emptier than ours."""
        with self._lock:
            self._full_until = self._clock() + self._burst * self._refill_s


class NoQuota:
    """No limit: the caller's address is forwarded, or the project is self-hosted without one."""

    def take(self, *, is_known: bool) -> None:
        """Allow it."""

    def refused(self) -> None:
        """Leave it to Supabase."""
