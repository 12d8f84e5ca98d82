"""A local copy of Supabase's rate limit: the gateway answers 429, with a ``Retry-After``, before Supabase would."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Self

from velro_auth.errors import UpstreamThrottled

logger = logging.getLogger("velro_auth.guards")

#: Supabase's default: 150 calls of ``/token`` per five minutes and address, 30 of them at once. One is left out: two
#: calls may come closer together on the way, and must not find Supabase's bucket empty.
BURST: Final = 29
REFILL_S: Final = 2.0

#: Supabase's default for mails, and for codes and links: 30 calls per five minutes and address, all of them at once. It
#: counts before it validates, and one more call is allowed every ten seconds.
MAIL_REFILL_S: Final = 10.0
#: Supabase's default for anonymous users: 30 per hour and address.
ANONYMOUS_REFILL_S: Final = 120.0

#: Calls kept for users who logged in before: the guesses of strangers must not use up their logins.
RESERVE: Final = 6

#: How often Supabase is asked for the cause of a 429.
PROVE_EVERY_S: Final = 1.0
#: How long a proof is valid. After that the next 429 is checked again.
PROVEN_FOR_S: Final = 60.0
#: How long the warning is not logged again.
LOG_EVERY_S: Final = 3600.0


class OneAddress:
    """Detects whether Supabase counts all callers as one, although their addresses are forwarded; per process.

    There are two cases. Supabase ignores the address in calls with the publishable key. And some projects ignore it
    always: then callers who did nothing get a 429. A single 429 proves nothing, because one caller may have used up
    the calls of his own address. So Supabase is asked.

    Args:
        is_public: Whether calls go with the publishable key; never by default.
        prove: Asks Supabase right after a 429; returns None when it cannot be asked, as by default.
        clock: A monotonic clock, in seconds.
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
        self._proven_until_s = 0.0
        self._next_proof_s = 0.0
        self._next_log_s = 0.0

    @property
    def is_proven(self) -> bool:
        """Whether a recent 429 proved it, although the addresses are forwarded; for a metric."""
        with self._lock:
            return self._clock() < self._proven_until_s

    def __call__(self) -> bool:
        """Return whether all callers count as one."""
        return self.is_proven or self._is_public()

    def upstream_refused(self) -> None:
        """Find out why Supabase answered 429, at most once a second; nothing to do if all callers count as one."""
        if self._is_public():
            return
        with self._lock:
            now_s = self._clock()
            if now_s < max(self._proven_until_s, self._next_proof_s):
                return
            self._next_proof_s = now_s + PROVE_EVERY_S
        # Not under the lock: it asks Supabase.
        if not self._prove():
            return
        with self._lock:
            now_s = self._clock()
            self._proven_until_s = now_s + PROVEN_FOR_S
            is_logged = now_s >= self._next_log_s
            if is_logged:
                self._next_log_s = now_s + LOG_EVERY_S
        if is_logged:
            logger.warning(
                "Supabase counts all callers as one: switch on IP address forwarding in the project (Authentication,"
                " Rate limits); until then the quota counts"
            )


class RateLimitState:
    """The calls that this process has counted; survives a settings reload.

    Attributes:
        numbers: The burst and the refill time that they were counted with.
        full_until: When the bucket is full again, on the clock of the bucket.
        lock: Held to read or change the others.
    """

    def __init__(self) -> None:
        self.numbers = (0, 0.0)
        self.full_until = 0.0
        self.lock = threading.Lock()


class RateLimitBucket:
    """A copy of the bucket that Supabase keeps for our address, as far as this process knows it.

    Logins and refreshes share one; mails, proofs and anonymous users have others (:class:`RateLimits`). It is in force
    while Supabase counts all callers as one, that is, unless their addresses are forwarded (``Sb-Forwarded-For``). A
    call is never given back: Supabase counts each request that arrives, with any outcome.

    Args:
        one_address: Whether all callers count as one, so that the limit is in force; None for always.
        burst: Calls at once.
        refill_s: How often one more call is allowed.
        reserve: How many calls of the burst are for known users only.
        processes: How many processes share the address; each gets its part.
        clock: A monotonic clock, in seconds.
        state: The state of the bucket before, at a settings reload. With other numbers the bucket starts full: calls
            that were counted with wrong numbers must not cause refusals, and Supabase keeps the true bucket.
    """

    def __init__(
        self,
        *,
        one_address: OneAddress | None = None,
        burst: int = BURST,
        refill_s: float = REFILL_S,
        reserve: int = RESERVE,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
        state: RateLimitState | None = None,
    ) -> None:
        self._one_address = one_address
        self._burst = max(1, burst // processes)
        self._refill_s = refill_s * processes
        self._reserve = min(reserve // processes, self._burst - 1)
        self._clock = clock
        self._state = state or RateLimitState()
        with self._state.lock:
            if self._state.numbers != (self._burst, self._refill_s):
                self._state.numbers, self._state.full_until = (self._burst, self._refill_s), 0.0

    @classmethod
    def never(cls) -> Self:
        """Return a bucket that is never in force."""
        return cls(one_address=OneAddress())

    @property
    def is_in_force(self) -> bool:
        """Whether calls are counted: all callers count as one."""
        return self._one_address is None or self._one_address()

    def acquire(self, *, is_known: bool) -> None:
        """Count one call, if the limit is in force; *is_known* is whether the user logged in before.

        Raises:
            UpstreamThrottled: No call is left; ``retry_after_s`` is exact.
        """
        self.acquire_for(lambda: is_known)

    def acquire_for(self, is_known: Callable[[], bool]) -> None:
        """Do the same; *is_known* is asked only if the limit is in force. It may ask Redis."""
        if not self.is_in_force:
            return
        available = self._burst if is_known() else self._burst - self._reserve
        with self._state.lock:
            now = self._clock()
            wait_s = self._state.full_until - (available - 1) * self._refill_s - now
            if wait_s > 0:
                reason = "our copy of Supabase's rate limit is used up; forward the caller's address"
                raise UpstreamThrottled(reason, retry_after_s=wait_s)
            self._state.full_until = max(self._state.full_until, now) + self._refill_s

    def upstream_refused(self) -> None:
        """Report that Supabase itself answered 429. If that was for all callers, no call is left."""
        if self._one_address is not None:
            self._one_address.upstream_refused()
            if not self._one_address():
                return
        with self._state.lock:
            self._state.full_until = self._clock() + self._burst * self._refill_s


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateLimits:
    """The copies for routes that Supabase counts apart from logins.

    In a project that counts all callers as one, one caller could otherwise use up the mails or the codes of all users.
    A part of each copy is kept for networks from which an account logged in before.

    Attributes:
        mails: Sign-ups, and everything else that may send a mail. Supabase counts these routes one by one, so one copy
            for all of them is the safer one.
        proofs: Links and codes.
        anonymous: New anonymous users.
        is_acquainted: Whether any account logged in from the network of an address before.
    """

    mails: RateLimitBucket
    proofs: RateLimitBucket
    anonymous: RateLimitBucket
    is_acquainted: Callable[[str], bool]

    def acquire(self, bucket: RateLimitBucket, address: str) -> None:
        """Count one call for a caller at *address* in *bucket*, one of these.

        Raises:
            UpstreamThrottled: No call is left.
        """
        bucket.acquire_for(lambda: self.is_acquainted(address))


class RateLimitStates:
    """The states of :class:`RateLimits`; survive a settings reload."""

    def __init__(self) -> None:
        self.mails, self.proofs, self.anonymous = RateLimitState(), RateLimitState(), RateLimitState()
