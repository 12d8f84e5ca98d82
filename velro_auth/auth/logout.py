"""One logout: what it ends here, when, and what it makes of Supabase's answer.

=============================================  ==================================================================
what the token is                              what happens
=============================================  ==================================================================
good here                                      its session is denied before Supabase is asked (``others`` spares
                                               it), the user's other sessions after Supabase's yes
for Supabase to judge                          everything is denied after Supabase's yes
denied                                         nothing: a dead token makes, widens and lifts no denial
known to Supabase, session gone or user banned its own session is denied, no other
refused (expired, a revoked or foreign key)    the session may live on: with its refresh token it is refreshed once
                                               and then ended, without one the client is told
=============================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from velro_auth.auth.denylist import DenyList, Scope, end_of_session, end_of_user, last_end_s
from velro_auth.auth.issued import claims_of
from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.models import Session
from velro_auth.auth.ports import Identity
from velro_auth.auth.tokens import Claims
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.context import RequestContext
from velro_auth.errors import SessionExpired, SessionGone, SessionRefused, TokenError, TokenExpired, TokenInvalid
from velro_auth.guards import Guards


@dataclass(kw_only=True)
class Logout:
    """Ends sessions for one request.

    Attributes:
        scope: Which: this one, all of the user's, or all the others.
        context: The request.
        identity: Who is asked.
        guards: What stands before that.
        verifier: Judges tokens here, whether or not they are denied.
        denied: The deny-list.
        now: The wall clock.
    """

    scope: Scope
    context: RequestContext
    identity: Identity
    guards: Guards
    verifier: TokenVerifier
    denied: DenyList
    now: Callable[[], float]
    _denied_here: set[str] = field(default_factory=set)

    def end(self, token: str, refresh: Callable[[], Session | None]) -> None:
        """End the session of *token*, all of the user's, or all but this one.

        Args:
            token: The user's access token.
            refresh: Refreshes the session, with the refresh token that the client sent; returns None when it sent
                none. Called only where the token is refused.

        Raises:
            RequestError: What *refresh* says of the client's body.
            TokenExpired: The token has expired, and the session could not be refreshed: it may live on.
            TokenInvalid: The token was refused, likewise.
            Throttled: This network made too many logouts; here the session is over all the same.
            Unready: Too many calls are under way, or Supabase gets a rest; the token's own session is denied here
                all the same where the token was good.
            UpstreamThrottled: Supabase's rate limit; the same.
            UpstreamError: Supabase could not be asked; the same.
        """
        try:
            self._end(token)
        except TokenError as refusal:
            self._end_refreshed(refresh, refusal)

    def _end(self, token: str) -> None:
        try:
            claims, is_proven = self.verifier.verify(token), True
        except CannotVerify:
            claims, is_proven = self.verifier.read_vouched(token), False
        if self.denied.denies(claims):
            return
        if is_proven and self.scope != "others":
            self._deny_own(claims)
        self._ask(token, claims)

    def _end_refreshed(self, refresh: Callable[[], Session | None], refusal: TokenError) -> None:
        try:
            session = refresh()
        except SessionRefused:
            raise refusal from None
        except SessionExpired:
            # Nothing is left to be ended, and a refused token denies nothing.
            return
        claims = None if session is None else claims_of(session)
        if session is None or claims is None:
            raise refusal
        if self.denied.denies(claims) and claims.session_id not in self._denied_here:
            return
        if self.scope != "others":
            self._deny_own(claims)
        self._ask(session.access_token, claims)

    def _ask(self, token: str, claims: Claims) -> None:
        try:
            with (
                self.guards.sessions.permit("logout", self.context.address),
                self.guards.failure_delay.permit(),
                self.guards.asking(),
            ):
                at_s = self.identity.sign_out(token, self.scope, self.context)
        except SessionGone:
            self._deny_own(claims)
            return
        except TokenInvalid as refusal:
            if claims.exp <= self.now():
                # Here it is accepted for a moment longer than at Supabase.
                raise TokenExpired(refusal.reason) from refusal
            raise
        if self.scope != "others":
            self._deny_own(claims)
        if self.scope != "local":
            until_s = self._until_s(claims)
            at_s = self.now() if at_s is None else at_s
            self.denied.deny([end_of_user(claims, self.scope, at_s=at_s, until_s=until_s)])

    def _deny_own(self, claims: Claims) -> None:
        if claims.session_id not in self._denied_here:
            self._denied_here.add(claims.session_id)
            self.denied.deny([end_of_session(claims, until_s=self._until_s(claims))])

    def _until_s(self, claims: Claims) -> float:
        return last_end_s(claims, now_s=self.now(), longest_s=self.denied.longest_s)
