"""Mailed links and codes: checked once, behind the guards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from velro_auth.auth.account import Accounts, Code, Proof, Verified
from velro_auth.auth.new_sessions import NewSessions
from velro_auth.context import RequestContext
from velro_auth.guards import Guards
from velro_auth.guards.asking import CircuitBreaker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proofs:
    """Has links and codes checked.

    Attributes:
        accounts: Asks Supabase.
        guards: Guards of the call.
        breaker: Stops these calls while they fail. Not that of the logins: mails fail more often.
        new_sessions: Records the new session.
    """

    accounts: Accounts
    guards: Guards
    breaker: CircuitBreaker
    new_sessions: NewSessions

    def check(self, proof: Proof, context: RequestContext) -> Verified:
        """Return what a good link or code leads to.

        A code counts against the code budget of its address. A link has a hash that nobody can guess, so it has no
        budget: nobody can stop the owner's link by guessing. Refusals are answered at fixed times.

        Raises:
            LinkInvalid: It is wrong, was used before, or has expired.
            InvalidRequest: Supabase does not take the address for one.
            Throttled: The code budget of the address is used up, or this network made too many calls.
            Busy: Too many calls are in progress, or the user's sessions are being ended.
            CircuitOpen: The circuit breaker is open.
            UpstreamThrottled: Supabase's rate limit is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        account = proof.email if isinstance(proof, Code) else None
        return self.check_with(account, context, lambda: self.accounts.verify(proof, context))

    def check_with(self, account: str | None, context: RequestContext, ask: Callable[[], Verified]) -> Verified:
        """Do the same with *ask*, which asks Supabase; *account* is the address that a code was sent to."""
        guards = self.guards
        with (
            self._budget(account, context),
            guards.failure_delay.hold(
                context.arrived_s,
                on_held=lambda held_s: context.log_fields.update(held_ms=round(held_s * 1000, 2)),
                is_login=False,
            ),
            self.asking(context),
        ):
            guards.families.acquire(guards.families.proofs, context.address)
            mark = self.new_sessions.mark()
            verified = ask()
        if verified.session is not None:
            self.new_sessions.admit(verified.session, mark)
            email = verified.session.user.email or ""
            context.log_fields["account"] = guards.throttle.name(email)
            if email:
                guards.throttle.remember(email, context.address)
        return verified

    @contextlib.contextmanager
    def asking(self, context: RequestContext) -> Iterator[None]:
        """Ask Supabase within the block."""
        with self.guards.sessions.permit("proof", context.address), self.breaker.attempt():
            yield

    def _budget(self, account: str | None, context: RequestContext) -> AbstractContextManager[None]:
        if account is None:
            return contextlib.nullcontext()
        context.log_fields["account"] = self.guards.throttle.name(account)
        return self.guards.codes.attempt(account)
