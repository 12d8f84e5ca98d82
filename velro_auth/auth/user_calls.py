"""Calls of Supabase with a user's own token, behind guards that all these calls share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import Claims
from velro_auth.context import RequestContext
from velro_auth.errors import TokenError
from velro_auth.guards.asking import CircuitBreaker

Kind: TypeAlias = Literal["change", "factors", "me"]


class _Refused(Exception):
    """Carries a refusal of the token past a budget."""

    def __init__(self, error: TokenError) -> None:
        super().__init__()
        self.error = error


@contextlib.contextmanager
def guessing(budget: AbstractContextManager[None]) -> Iterator[None]:
    """Have a code checked within the block, and count it with *budget*.

    If Supabase refuses the token, no code was tried. That counts neither as a wrong code, which would use up the
    owner's tries, nor as a right code, which would make the caller's network a known one.
    """
    try:
        with budget:
            try:
                yield
            except TokenError as error:
                raise _Refused(error) from None
    except _Refused as refused:
        raise refused.error from None


@dataclass(frozen=True, kw_only=True)
class UserCalls:
    """Verifies tokens, and guards the calls that are made with them.

    Attributes:
        sessions: Verifies tokens.
        breaker: The circuit breaker of these calls. It is not that of the logins: a mail server that fails makes
            changes of addresses fail, and must not stop logins.
        kind: The calls of each network are counted under this name.
    """

    sessions: Sessions
    breaker: CircuitBreaker
    kind: Kind

    def claims(self, token: str, context: RequestContext) -> Claims:
        """Return the claims of a good token, whose session was not ended; raises as ``Sessions.verify``."""
        claims = self.sessions.verify(token, context).claims
        context.log_fields["account"] = self.sessions.guards.throttle.name(claims.email or claims.sub)
        return claims

    @contextlib.contextmanager
    def asking(self, context: RequestContext) -> Iterator[None]:
        """Ask Supabase within the block.

        Raises:
            Throttled: This network made too many calls.
            Busy: Too many calls are in progress.
            CircuitOpen: The circuit breaker is open.
        """
        with self.sessions.guards.failure_delay.permit(), self.asking_with_permit(context):
            yield

    @contextlib.contextmanager
    def asking_with_permit(self, context: RequestContext) -> Iterator[None]:
        """Do the same, where the caller, or the thread that waits for it, holds a permit of the failure delay."""
        guards = self.sessions.guards
        with (
            guards.sessions.permit(self.kind, context.address, context),
            guards.asking.bulkhead.permit(context),
            self.breaker.attempt(),
        ):
            yield
