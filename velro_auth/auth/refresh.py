"""Uses each refresh token once, even if several calls bring it at the same time.

Browsers refresh from several tabs at once, and Supabase treats a second use of a token as theft: it may revoke the
whole session. So calls with one token that overlap, or follow within 10 s (Supabase's own reuse interval), cause one
call to Supabase and get one result.

The process that used the token keeps the result for 10 s, under the SHA-256 of the token. :class:`Relay` shares it
between processes. Nothing is logged, nothing is written to disk.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from cachetools import TTLCache

from velro_auth.auth.singleflight import SingleFlight
from velro_auth.errors import Busy, SessionExpired, SessionRefused

T = TypeVar("T")

#: How long a result is kept, in seconds: Supabase's reuse interval on the hosted platform. Later, the tokens of the
#: result may have been used already.
SAME_ANSWER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The result of a refresh: an answer, or the end of the session."""

    answer: T | None
    expired: str = ""

    def unwrap(self) -> T:
        """Return the answer.

        Raises:
            SessionExpired: The session is over.
        """
        if self.answer is None:
            raise SessionExpired(self.expired)
        return self.answer


class Relay(Protocol[T]):
    """Lets one process use a token and gives the outcome to the others."""

    def share(self, token: str, spend: Callable[[], Outcome[T]]) -> Outcome[T]:
        """Return the outcome of *spend*, called in one of the processes.

        Raises:
            SessionRefused: *spend* raised it, here or in another process.
            UpstreamError: The same.
            Exception: *spend* raised it here.
        """


class Refreshes(Generic[T]):
    """Refreshes sessions, each token once.

    "The session is over" is final, so it is kept like an answer. A failure that may not last (a hook refused, the
    network failed) is returned to all callers that wait, and not kept: the next caller asks Supabase again.

    Args:
        relay: Shares outcomes between processes; None for one process.
        same_answer_s: How long an outcome is kept, in seconds.
        size: How many outcomes are kept.
        wait_s: How long a caller waits for the call of another: longer than a call may take.
        clock: A clock that never jumps.
    """

    def __init__(
        self,
        *,
        relay: Relay[T] | None = None,
        same_answer_s: float = SAME_ANSWER_S,
        size: int = 10_000,
        wait_s: float = 6.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay = relay
        self._lock = threading.Lock()
        self._outcomes: TTLCache[bytes, Outcome[T]] = TTLCache(size, same_answer_s, timer=clock)
        self._flights: SingleFlight[Outcome[T]] = SingleFlight(wait_s=wait_s, clock=clock)

    @property
    def remembered(self) -> int:
        """How many outcomes are kept; for a metric."""
        with self._lock:
            # Needs the lock: even len() drops expired entries.
            return len(self._outcomes)

    def refresh(
        self,
        token: str,
        spend: Callable[[], T],
        *,
        permit: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """Return the session that follows *token*.

        Args:
            token: The refresh token.
            spend: Asks Supabase. Called by one of the callers with this token.
            permit: Entered by each caller; see :meth:`SingleFlight.do`.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            SessionRefused: The same for now: a later attempt may succeed.
            Busy: No permit is left.
            UpstreamThrottled: Supabase's rate limit is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        outcome = self._kept(digest)
        if outcome is None:
            try:
                outcome = self._flights.do(digest, lambda: self._outcome(token, digest, spend), permit=permit)
            except Busy:
                # Without a permit: the call of another may have ended just now.
                outcome = self._kept(digest)
                if outcome is None:
                    raise
        return outcome.unwrap()

    def _outcome(self, token: str, digest: bytes, spend: Callable[[], T]) -> Outcome[T]:
        # Looked up again: another call may have ended since the first look.
        if kept := self._kept(digest):
            return kept
        if self._relay is None:
            return self._spend(digest, spend)
        return self._relay.share(token, lambda: self._spend(digest, spend))

    def _spend(self, digest: bytes, spend: Callable[[], T]) -> Outcome[T]:
        # Only the process that uses the token keeps the outcome. An outcome of another process may be 10 s old, and
        # would be kept here for another 10 s.
        outcome = _outcome_of(spend)
        with self._lock:
            self._outcomes[digest] = outcome
        return outcome

    def _kept(self, digest: bytes) -> Outcome[T] | None:
        with self._lock:
            return self._outcomes.get(digest)


def _outcome_of(spend: Callable[[], T]) -> Outcome[T]:
    try:
        return Outcome(spend())
    except SessionRefused:
        raise
    except SessionExpired as error:
        return Outcome(None, error.reason or "the session is over")
