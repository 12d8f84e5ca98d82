"""Decides whether a login may be tried, before Supabase is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from velro_auth.errors import ChallengeRequired, InvalidCredentials, Throttled
from velro_auth.guards.attempts import Attempts, Refusal, Reservation
from velro_auth.guards.challenges import Challenges
from velro_auth.guards.enforcement import ENFORCED, Enforcement
from velro_auth.guards.keys import Caller, Keyring


class TooManyAttempts(Throttled):
    """A limit of the throttle is reached; Supabase was not asked. ``allowance`` is what the caller has left."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"limit reached: {refusal.scope}", retry_after_s=refusal.wait_s)
        self.scope, self.allowance = refusal.scope, refusal.allowance


class Challenged(ChallengeRequired):
    """The same for a limit that others used up: a solved challenge allows one try."""

    def __init__(self, refusal: Refusal, challenge: Mapping[str, Any], *, wrong: str = "") -> None:
        reason = f"limit reached: {refusal.scope}" + (f"; the solution was {wrong}" if wrong else "")
        super().__init__(reason, challenge=challenge, retry_after_s=refusal.wait_s)
        self.scope, self.allowance = refusal.scope, refusal.allowance


class Throttle:
    """Stops password guessing without locking the owner out.

    Args:
        attempts: Where tries are counted.
        keyring: Turns accounts and addresses into counter names.
        challenges: Issues challenges to callers who are refused for the failures of others; None never issues any.
        is_challenging: Whether challenges are issued.
        on_refused: Called with the limit that refused a try; for a metric.
        on_challenge: Called with ``given`` or ``solved`` for a challenge, or ``wrong`` for a solution.
        enforcement: Whether limits refuse logins, or only report them.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        keyring: Keyring,
        challenges: Challenges | None = None,
        is_challenging: bool = True,
        on_refused: Callable[[str], None] = lambda _scope: None,
        on_challenge: Callable[[str], None] = lambda _event: None,
        enforcement: Enforcement = ENFORCED,
    ) -> None:
        self._attempts = attempts
        self._keyring = keyring
        self._challenges = challenges
        self._is_challenging = is_challenging
        self._on_refused = on_refused
        self._on_challenge = on_challenge
        self._enforcement = enforcement

    def name(self, account: str) -> str:
        """Return the name of *account* in logs and counters: an HMAC, never the mail address."""
        return self._keyring.account(account)

    def remember(self, account: str, address: str) -> None:
        """Remember that *account* logged in from *address* by other means than its password: a mailed code or link."""
        self._attempts.remember(self._keyring.caller(account, address))

    @contextlib.contextmanager
    def attempt(self, account: str, address: str, *, solution: str | None = None) -> Iterator[Reservation]:
        """Count one try for *account* from *address*; check the password within the block.

        The try is counted before the password is checked, so that a burst of parallel guesses cannot pass the limit.
        A success gives it back, ends the streak and remembers the pair. A refused password stays counted. Any other
        error gives it back: an outage must not lock users out.

        Args:
            account: The mail address.
            address: The caller's IP address.
            solution: The solution of a challenge that was issued to this account and network. It is checked, and
                used, only where it is needed.

        Raises:
            TooManyAttempts: A limit is reached; ``retry_after_s`` is exact if others do not try meanwhile.
            Challenged: Only shared limits are reached, and challenges are issued.
        """
        caller, challenges = self._keyring.caller(account, address), self._challenges
        reservation = self._attempts.begin(caller)
        if isinstance(reservation, Refusal):
            if not self._enforcement.is_on:
                with self._let_through(caller, reservation) as uncounted:
                    yield uncounted
                return
            if challenges is None or not self._is_challenging:
                raise self._refused(reservation)
            if not reservation.is_shared_only:
                raise self._refused(reservation.own())
            reservation = self._begin_with_solution(caller, reservation, challenges, solution)
        try:
            yield reservation
        except InvalidCredentials:
            if reservation.has_solved and challenges is not None:
                challenges.password_refused()
            raise
        except BaseException:
            self._attempts.settle(reservation, succeeded=False)
            raise
        self._attempts.settle(reservation, succeeded=True)

    @contextlib.contextmanager
    def _let_through(self, caller: Caller, refusal: Refusal) -> Iterator[Reservation]:
        """Report a try that would have been refused. It is not counted: a refused one would not have been either."""
        with self._enforcement.let_through(refusal.scope, account=caller.account):
            yield Reservation(
                caller, is_known=False, scopes=(), counted_at=(), previous=(), allowance=refusal.allowance
            )
        self._attempts.remember(caller)

    def _begin_with_solution(
        self, caller: Caller, refusal: Refusal, challenges: Challenges, solution: str | None
    ) -> Reservation:
        """Count the try of a caller who sent a solution, without the shared limits.

        The try is counted before the solution is checked, so that parallel wrong solutions cannot pass the limit of
        their network. They stay counted there.
        """
        if not solution:
            raise self._challenged(caller, refusal, challenges)
        reservation = self._attempts.begin(caller, has_solved=True)
        if isinstance(reservation, Refusal):
            raise self._refused(reservation)
        try:
            wrong = challenges.check(caller, solution)
        except BaseException:
            self._attempts.settle(reservation, succeeded=False)
            raise
        if wrong:
            self._attempts.settle(reservation.without("network"), succeeded=False)
            self._on_challenge("wrong")
            raise self._challenged(caller, refusal, challenges, wrong)
        self._on_challenge("solved")
        return reservation

    def _refused(self, refusal: Refusal) -> TooManyAttempts:
        self._on_refused(refusal.scope)
        return TooManyAttempts(refusal)

    def _challenged(self, caller: Caller, refusal: Refusal, challenges: Challenges, wrong: str = "") -> Challenged:
        self._on_refused(refusal.scope)
        self._on_challenge("given")
        return Challenged(refusal, challenges.issue(caller, failures=refusal.failures), wrong=wrong)
