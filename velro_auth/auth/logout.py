"""The end of a session by its user.

What a logout does:

============================================== =================================================================
the access token                               the effect
============================================== =================================================================
verified here                                  its session is denied before Supabase is asked (not with
                                               ``others``), the user's other sessions after Supabase confirmed
not verifiable here                            everything is denied after Supabase confirmed
denied                                         nothing: a dead token adds, widens and lifts no denial
its session is gone or its user banned         only its own session is denied
refused (expired, a revoked or foreign key)    the session may still exist: with its refresh token it is refreshed
                                               once and then ended, without one the client gets an error
============================================== =================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from velro_auth.auth.denylist import Scope, end_of_user
from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.tokens import Claims, claims_of_issued
from velro_auth.context import RequestContext
from velro_auth.errors import SessionExpired, SessionGone, SessionRefused, TokenError, TokenExpired, TokenInvalid

if TYPE_CHECKING:
    from velro_auth.auth.sessions import Sessions


@dataclass
class Logout:
    """One logout."""

    sessions: Sessions
    scope: Scope
    context: RequestContext
    _denied_here: set[str] = field(default_factory=set)

    def end(self, token: str) -> None:
        """End the session of a token that is good here, or that Supabase may know; raises as ``Sessions.log_out``."""
        try:
            claims, is_proven = self.sessions.verifier.verify(token), True
        except CannotVerify:
            claims, is_proven = self.sessions.verifier.check_claims(token), False
        if self.sessions.denied.denies(claims):
            return
        if is_proven and self.scope != "others":
            self._deny_own(claims)
        self._sign_out(token, claims)

    def end_refreshed(self, refresh_token: Callable[[], str | None], refusal: TokenError) -> None:
        """Do the same for a token that was refused, with the refresh token, if there is one."""
        given = refresh_token()
        if not given:
            raise refusal
        try:
            session = self.sessions.spend(given, self.context)
        except SessionRefused:
            raise refusal from None
        except SessionExpired:
            # No session is left to end, and a refused token denies nothing.
            return
        claims = claims_of_issued(session.access_token)
        if claims is None:
            raise refusal
        if self.sessions.denied.denies(claims) and claims.session_id not in self._denied_here:
            return
        if self.scope != "others":
            self._deny_own(claims)
        self._sign_out(session.access_token, claims)

    def _sign_out(self, token: str, claims: Claims) -> None:
        try:
            at_s = self.sessions.sign_out(token, self.scope, self.context)
        except SessionGone:
            self._deny_own(claims)
            return
        except TokenInvalid as refusal:
            if claims.exp <= self.sessions.now():
                # We accept a token a little longer than Supabase does.
                raise TokenExpired(refusal.reason) from refusal
            raise
        if self.scope != "others":
            self._deny_own(claims)
        if self.scope != "local":
            until_s = self.sessions.last_end_s(claims)
            at_s = self.sessions.now() if at_s is None else at_s
            self.sessions.denied.deny([end_of_user(claims, self.scope, at_s=at_s, until_s=until_s)])

    def _deny_own(self, claims: Claims) -> None:
        if claims.session_id not in self._denied_here:
            self._denied_here.add(claims.session_id)
            self.sessions.deny(claims)
