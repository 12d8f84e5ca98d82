"""Judges a token here, at Supabase, or both, and says which it was.

================================  =======================================  ==========================
what is known here                normal                                   strict
================================  =======================================  ==========================
good                              good                                     Supabase is asked; when it
                                                                           cannot be: good, *degraded*
refused                           refused                                  refused, nobody is asked
cannot be judged                  Supabase is asked; when it cannot be,    the same
                                  the error of that (503)
================================  =======================================  ==========================

A token is never called good that nobody has proven.
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

#: Asks Supabase about a token. Returns, whatever it likes, for one that is accepted. Raises an AuthError for one
#: that is refused, and one of :data:`NO_VERDICT` when nothing was said about it.
Ask: TypeAlias = Callable[[], object]

#: Supabase gave no verdict. None of these says anything about the token.
NO_VERDICT: Final = (UpstreamError, UpstreamThrottled, Unready)


@dataclass(frozen=True, slots=True)
class Introspection:
    """A good token.

    Attributes:
        claims: What it says.
        source: Who judged it.
        degraded: Whether Supabase should have been asked too, and could not be.
    """

    claims: Claims
    source: Literal["local", "remote"]
    degraded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLimits:
    """How much Supabase is asked.

    Attributes:
        good_for_s: How long "good" is believed, in seconds; never beyond the token's end.
        bad_for_s: How long "refused" is believed.
        cache_size: How many answers are remembered.
        in_flight: How many questions of each kind may be under way. Two kinds, so that tokens anybody can make
            up never take the place of proven ones.
        queue_s: How long one waits for a place.
        unproven_per_s: How many tokens that could not be judged here are asked about per second, in the long
            run: anybody can make some up, and each would cost Supabase a request.
        unproven_burst: How many at once.
        wait_s: How long one waits for the same question under way: longer than an answer may take.
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
    refusal: TokenError | None
    keep_s: float

    def check(self) -> None:
        if self.refusal is not None:
            # A new one each time: an exception collects the traceback of everybody who raises it.
            raise type(self.refusal)(self.refusal.reason)


class IntrospectionState:
    """Supabase's answers about tokens and the questions under way; survives a settings reload.

    Args:
        limits: See :class:`AskLimits`.
        clock: A clock that never jumps.

    Attributes:
        good_for_s: How long "good" is believed, in seconds, as the newest introspector says.
        lock: Held to read or change the answers.
    """

    def __init__(self, limits: AskLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.good_for_s = limits.good_for_s
        self.lock: Final = threading.Lock()
        self.answers: Final[TLRUCache[bytes, _Answer]] = TLRUCache(
            limits.cache_size, lambda _, answer, time_s: time_s + answer.keep_s, timer=clock
        )
        self.flights: Final[SingleFlight[_Answer]] = SingleFlight(wait_s=limits.wait_s)
        self.proven_places, self.unproven_places = _Places(limits), _Places(limits)
        self.pace: Final = _Pace(limits, clock)

    @property
    def remembered(self) -> int:
        """How many answers are remembered; for a metric."""
        with self.lock:
            # Even this drops what has expired.
            return len(self.answers)


class RemoteIntrospector:
    """Asks Supabase whether tokens are good, once per token and minute.

    Args:
        limits: See :class:`AskLimits`.
        place: Entered by whoever waits for an answer about an unproven token, its own or another's: what else
            waits for Supabase shares it, so that made-up tokens cannot take all threads. Raises Busy when there
            is none left. Proven tokens go without: a crowd of logins must not make strict checks lenient.
        clock: A clock that never jumps.
        now: The wall clock, which ``exp`` is measured with.
        state: That of the introspector before, at a settings reload. Its answers are forgotten when "good" is
            believed for another time than before.
    """

    def __init__(
        self,
        *,
        limits: AskLimits | None = None,
        place: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        state: IntrospectionState | None = None,
    ) -> None:
        self._limits = limits = limits or AskLimits()
        self._place = place
        self._now = now
        self.state: Final = state or IntrospectionState(limits, clock)
        with self.state.lock:
            if self.state.good_for_s != limits.good_for_s:
                self.state.good_for_s = limits.good_for_s
                self.state.answers.clear()

    def check(self, token: str, claims: Claims, ask: Ask, *, is_proven: bool) -> None:
        """Return when Supabase says that *token* is good.

        Args:
            token: The token.
            claims: Its claims; they only tell how long the answer may be kept.
            ask: Asks Supabase.
            is_proven: Whether its signature was proven here.

        Raises:
            TokenError: Supabase refuses it.
            Busy: Too many questions are under way, or too many unproven tokens came in.
            UpstreamError: Supabase gave no verdict.
            UpstreamThrottled: The same, because of its rate limit.
            Unready: The same, because it gets a rest.
        """
        digest = token_digest(token)
        with self.state.lock:
            answer = self.state.answers.get(digest)
        if answer is None:
            with nullcontext() if is_proven else self._place():
                answer = self.state.flights.do(digest, lambda: self._asked(digest, claims, ask, is_proven=is_proven))
        answer.check()

    def _asked(self, digest: bytes, claims: Claims, ask: Ask, *, is_proven: bool) -> _Answer:
        if not is_proven:
            self.state.pace.take()
        places = self.state.proven_places if is_proven else self.state.unproven_places
        refusal: TokenError | None = None
        with places.taken():
            try:
                ask()
            except AuthError as error:
                refusal = error if isinstance(error, TokenError) else TokenInvalid(error.reason)
        with self.state.lock:
            # The newest value: a reload while Supabase was asked may have shortened it.
            good_for_s = min(self.state.good_for_s, claims.exp - self._now())
            answer = _Answer(refusal, good_for_s if refusal is None else self._limits.bad_for_s)
            self.state.answers[digest] = answer
        return answer


class TokenIntrospector:
    """Says whether a token is good, and asks Supabase where that is needed or wanted.

    Args:
        verifier: Judges here.
        remote: Asks Supabase.
    """

    def __init__(self, *, verifier: TokenVerifier, remote: RemoteIntrospector) -> None:
        self._verifier = verifier
        self._remote = remote

    def judge(self, token: str, ask: Ask, *, strict: bool = False, hurried: Ask | None = None) -> Introspection:
        """Return the verdict on a good token.

        Args:
            token: The token.
            ask: Asks Supabase about it. Not called when the answer is known or not needed.
            strict: Ask Supabase even about tokens that are good by themselves: it knows about bans, deleted
                users and sessions ended elsewhere.
            hurried: How to ask about those, where that is another way: not for long, since there is a verdict.

        Raises:
            TokenInvalid: The token was judged and refused.
            TokenExpired: The token was good once.
            UpstreamError: Nobody could judge it (among them CannotJudge).
            UpstreamThrottled: The same, because of Supabase's rate limit.
            Unready: The same, because Supabase gets a rest, or too many such tokens came in.
        """
        try:
            claims = self._verifier.verify(token)
        except CannotVerify:
            return self._vouched(token, ask)
        return self._confirmed(token, claims, hurried or ask) if strict else Introspection(claims, "local")

    def _vouched(self, token: str, ask: Ask) -> Introspection:
        claims = self._verifier.read_vouched(token)
        self._remote.check(token, claims, ask, is_proven=False)
        return Introspection(claims, "remote")

    def _confirmed(self, token: str, claims: Claims, ask: Ask) -> Introspection:
        try:
            self._remote.check(token, claims, ask, is_proven=True)
        except NO_VERDICT:
            return Introspection(claims, "local", degraded=True)
        return Introspection(claims, "remote")


class _Places:
    """So many at a time, and a short wait for a place."""

    def __init__(self, limits: AskLimits) -> None:
        self._free = threading.BoundedSemaphore(limits.in_flight)
        self._queue_s = limits.queue_s

    @contextmanager
    def taken(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._queue_s):
            raise Busy("too many tokens are being asked about", retry_after_s=1)
        try:
            yield
        finally:
            self._free.release()


class _Pace:
    """So many per second in the long run, with a burst (the generic cell rate algorithm)."""

    def __init__(self, limits: AskLimits, clock: Callable[[], float]) -> None:
        self._each_s = 1 / limits.unproven_per_s
        self._burst_s = limits.unproven_burst * self._each_s
        self._clock = clock
        self._lock = threading.Lock()
        self._due_s = float("-inf")

    def take(self) -> None:
        with self._lock:
            now_s = self._clock()
            due_s = max(self._due_s, now_s) + self._each_s
            # A hair of tolerance: the sum of a hundred 0.05 is not exactly 5.
            if due_s - now_s > self._burst_s + self._each_s / 2:
                raise Busy("too many tokens that cannot be judged here", retry_after_s=1)
            self._due_s = due_s
