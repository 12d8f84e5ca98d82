"""Mailed links and codes: checked once, behind the guards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from velro_auth.auth.account import Accounts, Code, Link, Proof, Verified
from velro_auth.auth.login import note_held
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.singleflight import SingleFlight
from velro_auth.context import RequestContext
from velro_auth.errors import LinkInvalid
from velro_auth.guards.asking import CircuitBreaker

#: How long a request waits for another one with the same link or code, in seconds: longer than a call may take.
FLIGHT_S: Final = 15.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proofs:
    """Has links and codes checked.

    Attributes:
        accounts: Asks Supabase.
        sessions: Has the guards of the call, and records the new session.
        breaker: Stops these calls while they fail. Logins have another one, because mails fail more often.
        flights: Has each link or code checked once at a time. Supabase may accept both calls of a double click, and
            the second call then ends the session of the first.
    """

    accounts: Accounts
    sessions: Sessions
    breaker: CircuitBreaker
    flights: SingleFlight[tuple[Verified, str]] = dataclasses.field(
        default_factory=lambda: SingleFlight(wait_s=FLIGHT_S)
    )

    def check(self, proof: Proof, context: RequestContext, *, password: str = "") -> Verified:
        """Return what a good link or code leads to.

        Requests at the same time with the same link or code get the same answer, if they want the same password.

        A code counts against the code budget of its address. The hash of a link can be guessed too, but does not show
        its address. So a refused link counts against the budgets of the caller's network. Refusals come at fixed times.

        Raises:
            LinkInvalid: It is wrong, was used before, or has expired. Or it is being used with another password.
            InvalidRequest: Supabase does not accept the address.
            Throttled: The code budget of the address is used up, or this network made too many calls or sent too many
                wrong links.
            ChallengeRequired: Others sent too many wrong links; a try with ``Link.solution`` is allowed.
            Busy: Too many calls are in progress, or the user's sessions are being ended.
            CircuitOpen: The circuit breaker is open.
            UpstreamThrottled: Supabase's rate limit is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        secret = proof.token_hash if isinstance(proof, Link) else f"{proof.email} {proof.token}"
        verified, used_with = self.flights.do(
            (proof.type, secret),
            lambda: (self.check_with(proof, context, lambda: self.accounts.verify(proof, context)), password),
            permit=self.sessions.guards.failure_delay.permit,
        )
        if used_with != password:
            raise LinkInvalid("it is being used with another password")
        return verified

    def check_with(self, proof: Proof, context: RequestContext, ask: Callable[[], Verified]) -> Verified:
        """Do the same with *ask*, which asks Supabase. It is always called: callers need its other results too."""
        guards = self.sessions.guards
        with (
            self._budget(proof, context),
            guards.failure_delay.hold(context.arrived_s, on_held=note_held(context), is_login=False),
            self.asking(context),
        ):
            guards.families.acquire(guards.families.proofs, context.address)
            mark = self.sessions.denied.mark()
            verified = ask()
        if verified.session is not None:
            self.sessions.admit(verified.session, mark)
            email = verified.session.user.email or ""
            context.log_fields["account"] = guards.throttle.name(email)
            if email:
                guards.throttle.remember(email, context.address)
        return verified

    @contextlib.contextmanager
    def asking(self, context: RequestContext) -> Iterator[None]:
        """Ask Supabase within the block."""
        with self.sessions.guards.sessions.permit("proof", context.address, context), self.breaker.attempt():
            yield

    def _budget(self, proof: Proof, context: RequestContext) -> AbstractContextManager[None]:
        guards = self.sessions.guards
        if isinstance(proof, Code):
            context.log_fields["account"] = guards.throttle.name(proof.email)
            return guards.codes.attempt(proof.email)
        return guards.links.attempt(proof.token_hash, context.address, solution=proof.solution)
