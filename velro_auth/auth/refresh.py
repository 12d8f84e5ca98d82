"""Spends a refresh token once, however many ask for it at the same time.

Browsers refresh from several tabs at once, and Supabase takes a second use of a token for theft: the whole
session family may be revoked. So calls with one token that overlap, or follow within 10 s (Supabase's own reuse
interval), get one upstream call and one answer.

What is kept, and where: in the process that spent the token, the answer, for 10 s, under the SHA-256 of the token;
between processes whatever the :class:`Relay` does. Nothing is logged, nothing is written to disk.
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

#: Seconds an answer is given again. Supabase's reuse interval on the hosted platform; a longer time would hand
#: out tokens whose children are in use already.
SAME_ANSWER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How a refresh ended: with an answer, or with the end of the session."""

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
    """Lets one process spend a token and hands the outcome to the others."""

    def share(self, token: str, spend: Callable[[], Outcome[T]]) -> Outcome[T]:
        """Return the outcome of *spend*, called in one of the processes.

        Raises:
            SessionRefused: What *spend* raised, here or in the process that called it.
            UpstreamError: The same.
            Exception: Anything else that *spend* raised here.
        """


class Alone(Generic[T]):
    """The twin for one process: every token is spent here."""

    def share(self, token: str, spend: Callable[[], Outcome[T]]) -> Outcome[T]:  # noqa: ARG002 (protocol)
        """Return the outcome of *spend*."""
        return spend()


class Refreshes(Generic[T]):
    """Refreshes sessions, each token once.

    "The session is over" is final, so it is given again like an answer. What may end otherwise next time (a refusal
    of a hook, trouble on the way) is shared by those who were waiting and then forgotten: the next caller tries again.

    Args:
        relay: Between processes; by default there is but one.
        same_answer_s: How long an outcome is given again, in seconds.
        size: How many outcomes are kept.
        wait_s: How long one waits for another's call: longer than a call may take.
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
        self._relay: Relay[T] = relay or Alone()
        self._lock = threading.Lock()
        self._outcomes: TTLCache[bytes, Outcome[T]] = TTLCache(size, same_answer_s, timer=clock)
        self._flights: SingleFlight[Outcome[T]] = SingleFlight(wait_s=wait_s, clock=clock)

    @property
    def remembered(self) -> int:
        """How many outcomes are remembered; for a metric."""
        with self._lock:
            # Even this drops what has expired.
            return len(self._outcomes)

    def refresh(
        self,
        token: str,
        spend: Callable[[], T],
        *,
        place: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """Return the session that follows *token*.

        Args:
            token: The refresh token.
            spend: Asks Supabase. Called by one of those who ask with this token.
            place: Entered by those who ask or wait; see :meth:`SingleFlight.do`.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            SessionRefused: The same for now: a later try may succeed.
            Busy: There is no place left.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        outcome = self._kept(digest)
        if outcome is None:
            try:
                outcome = self._flights.do(digest, lambda: self._flown(token, digest, spend), place=place)
            except Busy:
                # Without a place one may also come when the call has just ended.
                outcome = self._kept(digest)
                if outcome is None:
                    raise
        return outcome.unwrap()

    def _flown(self, token: str, digest: bytes, spend: Callable[[], T]) -> Outcome[T]:
        # Looked up again: another flight may have landed between the first look and this one's start.
        return self._kept(digest) or self._relay.share(token, lambda: self._spent_here(digest, spend))

    def _spent_here(self, digest: bytes, spend: Callable[[], T]) -> Outcome[T]:
        # Kept by whoever spends only. An outcome of another process is as old as it is, and would be kept here
        # for another ten seconds from now.
        outcome = _spent(spend)
        with self._lock:
            self._outcomes[digest] = outcome
        return outcome

    def _kept(self, digest: bytes) -> Outcome[T] | None:
        with self._lock:
            return self._outcomes.get(digest)


def _spent(spend: Callable[[], T]) -> Outcome[T]:
    try:
        return Outcome(spend())
    except SessionRefused:
        raise
    except SessionExpired as error:
        return Outcome(None, error.reason or "the session is over")
