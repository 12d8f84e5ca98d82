"""Decides whether a login may be tried at all, before anybody is asked."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from velro_auth.errors import ChallengeRequired, InvalidCredentials, Throttled
from velro_auth.guards.attempts import Attempts, Refusal, Ticket
from velro_auth.guards.challenges import Challenges
from velro_auth.guards.keys import Caller, Keyring
from velro_auth.guards.limits import Allowance


class TooManyAttempts(Throttled):
    """A limit of the throttle is reached; nobody was asked.

    Attributes:
        scope: The limit, for the log and the metrics.
        allowance: What the caller has left, for the ``RateLimit`` fields.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"limit reached: {refusal.scope}", retry_after_s=refusal.wait_s)
        self.scope = refusal.scope
        self.allowance = refusal.allowance


class Challenged(ChallengeRequired):
    """A limit is reached that others used up; nobody was asked. Solving the challenge opens it for one try.

    Attributes:
        scope: The limit, for the log and the metrics.
        allowance: What the caller has left, for the ``RateLimit`` fields.
    """

    def __init__(self, refusal: Refusal, challenge: Mapping[str, Any], *, wrong: str = "") -> None:
        said = f"limit reached: {refusal.scope}" + (f"; the solution was {wrong}" if wrong else "")
        super().__init__(said, challenge=challenge, retry_after_s=refusal.wait_s)
        self.scope = refusal.scope
        self.allowance = refusal.allowance


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """A counted try whose outcome is not known yet.

    Attributes:
        is_known: Whether this account logged in from this network before.
        allowance: What the caller has left, this try included; for the ``RateLimit`` fields.
        is_opened: Whether the solution of a challenge let it in.
    """

    is_known: bool
    allowance: Allowance
    is_opened: bool = False


def _nobody(_scope: str) -> None:
    """Tell nobody."""


class Throttle:
    """Stops password guessing without locking the owner out.

    Args:
        attempts: Where tries are counted.
        keyring: Turns accounts and addresses into counter names.
        challenges: Gives challenges to callers whom others' failures would refuse; None never gives any.
        is_challenging: Whether they are given.
        on_refused: Told the limit that refused a try; for a metric.
        on_challenge: Told of each challenge that is ``given``, ``solved``, or of which a solution is ``wrong``.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        keyring: Keyring,
        challenges: Challenges | None = None,
        is_challenging: bool = True,
        on_refused: Callable[[str], None] = _nobody,
        on_challenge: Callable[[str], None] = _nobody,
    ) -> None:
        self._attempts = attempts
        self._keyring = keyring
        self._challenges = challenges
        self._is_challenging = is_challenging
        self._on_refused = on_refused
        self._on_challenge = on_challenge

    def name(self, account: str) -> str:
        """Return what *account* is called in logs and counters: an HMAC, never the address."""
        return self._keyring.account(account)

    @contextlib.contextmanager
    def attempt(self, account: str, address: str, *, solution: str | None = None) -> Iterator[Attempt]:
        """Count one try for *account* from *address* around the question whether it is right.

        The try is counted before anybody is asked, so that a burst of parallel guesses cannot slip under the
        limit. A success gives it back, ends the streak and remembers the pair. A refused password stays
        counted. Anything else gives it back: an outage must not lock anybody out.

        Args:
            account: The mail address.
            address: The caller's IP address.
            solution: Of a challenge that was given to this account and network. It is looked at, and used up, only
                where it is needed.

        Raises:
            TooManyAttempts: A limit is reached; ``retry_after_s`` is exact if nobody else tries meanwhile.
            Challenged: Only limits are reached that others used up, and challenges are given.
        """
        caller, challenges, is_opened = self._keyring.caller(account, address), self._challenges, False
        ticket = self._attempts.begin(caller)
        if isinstance(ticket, Refusal):
            if challenges is None or not self._is_challenging:
                raise self._refused(ticket)
            if not ticket.is_openable:
                raise self._refused(ticket.own())
            ticket, is_opened = self._opened(caller, ticket, challenges, solution), True
        try:
            yield Attempt(ticket.is_known, ticket.allowance, is_opened)
        except InvalidCredentials:
            if is_opened and challenges is not None:
                challenges.refused()
            raise
        except BaseException:
            self._attempts.settle(ticket, succeeded=False)
            raise
        self._attempts.settle(ticket, succeeded=True)

    def _opened(self, caller: Caller, refusal: Refusal, challenges: Challenges, solution: str | None) -> Ticket:
        """Count the try of a caller who solved a challenge, under the limits that a solution does not open.

        It is counted before the solution is judged, so that parallel wrong ones cannot slip under the limit of their
        network, where they stay counted.
        """
        if not solution:
            raise self._challenged(caller, refusal, challenges)
        ticket = self._attempts.begin(caller, is_opened=True)
        if isinstance(ticket, Refusal):
            raise self._refused(ticket)
        try:
            wrong = challenges.wrong_with(caller, solution)
        except BaseException:
            self._attempts.settle(ticket, succeeded=False)
            raise
        if wrong:
            self._attempts.settle(ticket.but_for("network"), succeeded=False)
            self._on_challenge("wrong")
            raise self._challenged(caller, refusal, challenges, wrong)
        self._on_challenge("solved")
        return ticket

    def _refused(self, refusal: Refusal) -> TooManyAttempts:
        self._on_refused(refusal.scope)
        return TooManyAttempts(refusal)

    def _challenged(self, caller: Caller, refusal: Refusal, challenges: Challenges, wrong: str = "") -> Challenged:
        self._on_refused(refusal.scope)
        self._on_challenge("given")
        return Challenged(refusal, challenges.give(caller, failures=refusal.failures), wrong=wrong)
