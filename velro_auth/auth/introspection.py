"""Checks a token here, at Supabase, or both.

========================  ======================================  ================================================
result here               normal                                  strict
========================  ======================================  ================================================
good                      good                                    Supabase is asked; without an answer: good, but
                                                                  *degraded*
refused                   refused                                 refused, Supabase is not asked
cannot be verified here   Supabase is asked; without an answer    the same
                          its error (503)
========================  ======================================  ================================================

A token is good only if its signature was verified here, or Supabase accepted it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from cachetools import TLRUCache

from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.singleflight import SingleFlight
from velro_auth.auth.tokens import Claims
from velro_auth.auth.verifier import TokenVerifier, token_digest
from velro_auth.errors import (
    AuthError,
    Busy,
    TokenError,
    TokenInvalid,
    Unready,
    UpstreamError,
    UpstreamThrottled,
)

#: Asks Supabase about a token. Returns anything if the token is accepted. Raises an AuthError if it is refused, and
#: one of :data:`NO_ANSWER` if Supabase said neither.
Ask: TypeAlias = Callable[[], object]

#: Supabase gave no answer about the token.
NO_ANSWER: Final = (UpstreamError, UpstreamThrottled, Unready)


class Introspection(NamedTuple):
    """A good token.

    Attributes:
        claims: Its claims.
        source: Where it was checked.
        degraded: Whether Supabase should have been asked too, and gave no answer.
    """

    claims: Claims
    source: Literal["local", "remote"]
    degraded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLimits:
    """Limits for questions to Supabase about tokens.

    Attributes:
        good_for_s: How long "good" is cached, in seconds; never beyond the token's expiry.
        bad_for_s: How long "refused" is cached.
        cache_size: How many answers are cached.
        in_flight: How many questions of each kind run at a time. Verified and unverified tokens are separate kinds,
            so that made-up tokens never block real ones.
        queue_s: How long a question waits for others to end.
        unproven_per_s: How many tokens that cannot be verified here are asked about per second, on average. Any client
            can make such tokens, and each costs Supabase a request.
        unproven_burst: How many at once.
        wait_s: How long to wait for the same question of another request: longer than an answer may take.
    """

    good_for_s: float = 60.0
    bad_for_s: float = 10.0
    cache_size: int = 20_000
    in_flight: int = 8
    queue_s: float = 0.5
    unproven_per_s: float = 20.0
    unproven_burst: int = 100
    wait_s: float = 6.0


class _Answer(NamedTuple):
    """What Supabase said. It holds no exception: its traceback would hold the request, with the token.

    Attributes:
        refusal: The error that the caller gets; None for a good token.
        reason: The reason of the error.
        keep_s: How long it is cached.
    """

    refusal: type[TokenError] | None
    reason: str
    keep_s: float

    def check(self) -> None:
        if self.refusal is not None:
            raise self.refusal(self.reason)


class IntrospectionState:
    """Supabase's cached answers about tokens and the questions in progress; survives a settings reload.

    Args:
        limits: See :class:`AskLimits`.
        clock: A clock that never jumps.

    Attributes:
        good_for_s: How long "good" is cached, in seconds: the limit of the newest introspector.
        lock: Held to read or change the answers.
    """

    def __init__(self, limits: AskLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.good_for_s = limits.good_for_s
        self.lock: Final = threading.Lock()
        self.answers: Final[TLRUCache[bytes, _Answer]] = TLRUCache(
            limits.cache_size, lambda _, answer, time_s: time_s + answer.keep_s, timer=clock
        )
        self.flights: Final[SingleFlight[_Answer]] = SingleFlight(wait_s=limits.wait_s)
        self.proven_limit: Final = _ConcurrencyLimit(limits)
        self.unproven_limit: Final = _ConcurrencyLimit(limits)
        self.rate: Final = _RateLimit(limits, clock)

    @property
    def remembered(self) -> int:
        """How many answers are cached; for a metric."""
        with self.lock:
            # Needs the lock: even len() drops expired entries.
            return len(self.answers)


class RemoteIntrospector:
    """Asks Supabase whether tokens are good, once per token and minute.

    Args:
        limits: See :class:`AskLimits`.
        permit: Entered by each request that waits for an answer about an unverified token. All requests that wait for
            Supabase share these permits, so that made-up tokens cannot use all threads. Raises Busy if none is left.
            Verified tokens need no permit: many parallel logins must not weaken strict checks.
        clock: A clock that never jumps.
        now: The wall clock, for ``exp``.
        state: The state of the introspector before, at a settings reload. Its answers are dropped if "good" is cached
            for another time than before.
    """

    def __init__(
        self,
        *,
        limits: AskLimits | None = None,
        permit: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        state: IntrospectionState | None = None,
    ) -> None:
        self._limits = limits = limits or AskLimits()
        self._permit = permit
        self._now = now
        self.state: Final = state or IntrospectionState(limits, clock)
        with self.state.lock:
            if self.state.good_for_s != limits.good_for_s:
                self.state.good_for_s = limits.good_for_s
                self.state.answers.clear()

    def check(self, token: str, claims: Claims, ask: Ask, *, is_proven: bool) -> None:
        """Return if Supabase accepts *token*.

        Args:
            token: The token.
            claims: Its claims; they limit how long the answer is cached.
            ask: Asks Supabase.
            is_proven: Whether its signature was verified here.

        Raises:
            TokenError: Supabase refuses the token.
            Busy: Too many questions are in progress, or too many unverified tokens came in.
            UpstreamError: Supabase gave no answer.
            UpstreamThrottled: The same, because of its rate limit.
            Unready: The same, because the circuit breaker is open.
        """
        digest = token_digest(token)
        with self.state.lock:
            answer = self.state.answers.get(digest)
        if answer is None:
            with nullcontext() if is_proven else self._permit():
                answer = self.state.flights.do(digest, lambda: self._ask(digest, claims, ask, is_proven=is_proven))
        answer.check()

    def _ask(self, digest: bytes, claims: Claims, ask: Ask, *, is_proven: bool) -> _Answer:
        if not is_proven:
            self.state.rate.acquire()
        limit = self.state.proven_limit if is_proven else self.state.unproven_limit
        refusal: type[TokenError] | None = None
        reason = ""
        with limit.acquired():
            try:
                ask()
            except AuthError as error:
                refusal = type(error) if isinstance(error, TokenError) else TokenInvalid
                reason = error.reason
        with self.state.lock:
            # The newest value: a reload while Supabase was asked may have shortened it.
            good_for_s = min(self.state.good_for_s, claims.exp - self._now())
            answer = _Answer(refusal, reason, good_for_s if refusal is None else self._limits.bad_for_s)
            self.state.answers[digest] = answer
        return answer


class TokenIntrospector:
    """Checks tokens here, and asks Supabase where that is needed or required.

    Args:
        verifier: Verifies tokens here.
        remote: Asks Supabase.
    """

    def __init__(self, *, verifier: TokenVerifier, remote: RemoteIntrospector) -> None:
        self._verifier = verifier
        self._remote = remote

    def known(self, token: str) -> Introspection | None:
        """Return the result for a good token that was verified here before; None for any other. Never waits."""
        claims = self._verifier.known(token)
        return None if claims is None else Introspection(claims, "local")

    def introspect(self, token: str, ask: Ask, *, strict: bool = False, strict_ask: Ask | None = None) -> Introspection:
        """Return the result for a good token.

        Args:
            token: The token.
            ask: Asks Supabase about it. Not called if the answer is cached or not needed.
            strict: Ask Supabase also about tokens that are good here: it knows of bans, deleted users and sessions
                that ended elsewhere.
            strict_ask: Asks about those tokens; default *ask*.

        Raises:
            TokenInvalid: The token was refused.
            TokenExpired: The token has expired.
            UpstreamError: The token cannot be verified here (CannotVerify), and Supabase gave no answer.
            UpstreamThrottled: The same, because of Supabase's rate limit.
            Unready: The same, because the circuit breaker is open or too many such tokens came in.
        """
        try:
            claims = self._verifier.verify(token)
        except CannotVerify:
            claims = self._verifier.check_claims(token)
            self._remote.check(token, claims, ask, is_proven=False)
            return Introspection(claims, "remote")
        if not strict:
            return Introspection(claims, "local")
        try:
            self._remote.check(token, claims, strict_ask or ask, is_proven=True)
        except NO_ANSWER:
            return Introspection(claims, "local", degraded=True)
        return Introspection(claims, "remote")


class _ConcurrencyLimit:
    """Bounds how many questions run at a time; a further one waits a short time."""

    def __init__(self, limits: AskLimits) -> None:
        self._free = threading.BoundedSemaphore(limits.in_flight)
        self._queue_s = limits.queue_s

    @contextmanager
    def acquired(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._queue_s):
            raise Busy("too many tokens are being asked about", retry_after_s=1)
        try:
            yield
        finally:
            self._free.release()


class _RateLimit:
    """Bounds how many questions start per second, with a burst (the generic cell rate algorithm)."""

    def __init__(self, limits: AskLimits, clock: Callable[[], float]) -> None:
        self._each_s = 1 / limits.unproven_per_s
        self._burst_s = limits.unproven_burst * self._each_s
        self._clock = clock
        self._lock = threading.Lock()
        self._due_s = float("-inf")

    def acquire(self) -> None:
        with self._lock:
            now_s = self._clock()
            due_s = max(self._due_s, now_s) + self._each_s
            # Some tolerance, because the sum of a hundred times 0.05 is not exactly 5.
            if due_s - now_s > self._burst_s + self._each_s / 2:
                raise Busy("too many tokens that cannot be verified here", retry_after_s=1)
            self._due_s = due_s
