"""What happens to a session after the login: refresh, verify, me and logout."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from velro_auth.auth.denylist import BEFORE_ALL, DenyList, Scope, end_of_session, end_of_user, last_end_s
from velro_auth.auth.introspection import Introspection, TokenIntrospector
from velro_auth.auth.login import ignore_token
from velro_auth.auth.logout import Logout
from velro_auth.auth.models import Identity, Profile, Profiles, Session
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.tokens import Claims, claims_of_issued
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.context import RequestContext
from velro_auth.errors import (
    Busy,
    SessionExpired,
    SessionGone,
    TokenError,
    UpstreamThrottled,
    VelroAuthError,
)
from velro_auth.guards import Guards

log = logging.getLogger(__name__)

#: Deadline of a strict check of a token that was verified here. Gateways give up after one or two seconds, so the
#: answer has to come earlier.
STRICT_DEADLINE_S: Final = 0.8

#: ``Retry-After`` after a 429 of Supabase, which sends none. Supabase allows one more call every 2 s.
THROTTLED_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Refreshes, verifies and ends sessions.

    Attributes:
        identity: Asks Supabase.
        guards: Guards of the calls.
        refreshes: Uses each refresh token once.
        verifier: Verifies tokens here, without the deny-list.
        introspector: Verifies tokens here or at Supabase.
        denied: The deny-list.
        profiles: Reads the profile row; None while the settings are wrong.
        is_strict: Whether Supabase is asked about every token.
        note_token: Called with each issued access token; must not block.
        now: The wall clock.
    """

    identity: Identity
    guards: Guards
    refreshes: Refreshes[Session]
    verifier: TokenVerifier
    introspector: TokenIntrospector
    denied: DenyList
    profiles: Profiles | None = None
    is_strict: bool = False
    note_token: Callable[[str], None] = ignore_token
    now: Callable[[], float] = time.time

    def refresh(self, refresh_token: str, context: RequestContext) -> Session:
        """Return the session that follows *refresh_token*; the same one for all calls within 10 s.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone or denied here.
            SessionRefused: The same for now: a later attempt may succeed.
            Busy: Too many calls are in progress, this network made too many refreshes, or Supabase's rate limit or
                our copy of it is reached.
            CircuitOpen: The circuit breaker is open.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        session = self.spend(refresh_token, context)
        claims = claims_of_issued(session.access_token)
        # Checked every time: the result may come from an earlier call or another process. A refresh begins no
        # session, so even the oldest denial applies.
        if claims is not None and not self.denied.admits(claims, BEFORE_ALL):
            self._end_denied(session.access_token, claims, context)
            raise SessionExpired("the session was ended here")
        context.shows_upstream = True
        return session

    def spend(self, refresh_token: str, context: RequestContext) -> Session:
        """Return the session that follows *refresh_token*, without looking at the deny-list; raises as ``refresh``."""

        def ask() -> Session:
            with self.guards.sessions.permit("refresh", context.address, context):
                # A user with a session is known. Supabase counts refreshes and logins together.
                self.guards.rate_limit.acquire(is_known=True)
                with self.guards.asking(context):
                    session = self.identity.refresh(refresh_token, context)
            self.note_token(session.access_token)
            return session

        try:
            return self.refreshes.refresh(refresh_token, ask, permit=self.guards.failure_delay.permit)
        except UpstreamThrottled as error:
            context.log_fields["is_throttled"] = True
            # supabase-js ends the session after a 429 on refresh, and keeps it after a 503 (measured).
            raise Busy(error.reason, retry_after_s=error.retry_after_s or THROTTLED_S) from error

    def _end_denied(self, token: str, claims: Claims, context: RequestContext) -> None:
        """End a denied session at Supabase, which refreshed it because it did not know of the logout."""
        self.deny(claims)
        try:
            # Also for a repeated result: it costs no refresh, but a logout.
            self.sign_out(token, "local", context)
        except SessionGone:
            return
        except VelroAuthError as error:
            # The session stays denied here for as long as the new token is valid.
            log.warning("A session that was ended here lives on at Supabase: %s", error.reason)

    def verify(self, token: str, context: RequestContext, *, strict: bool = False) -> Introspection:
        """Return the result for a good token.

        Raises:
            TokenInvalid: The token was refused.
            TokenExpired: The token has expired.
            UpstreamError: The token cannot be verified here, and Supabase gave no answer.
            UpstreamThrottled: The same, because of Supabase's rate limit.
            Unready: The same, because the circuit breaker is open or too many such tokens came in.
        """

        def ask(deadline_s: float | None = None) -> None:
            with self.guards.checks.attempt():
                self.identity.check(token, context, deadline_s=deadline_s)

        return self.introspector.introspect(
            token, ask, strict=strict or self.is_strict, strict_ask=lambda: ask(STRICT_DEADLINE_S)
        )

    def known(self, token: str) -> Introspection | None:
        """Return what :meth:`verify` returns, where that needs no waiting; None anywhere else, also for a bad token."""
        return None if self.is_strict else self.introspector.known(token)

    def me(self, token: str, context: RequestContext) -> tuple[Claims, Profile]:
        """Return the claims of a good token, and the user's profile row (empty if it cannot be read).

        Raises:
            TokenInvalid: The token was refused.
            TokenExpired: The token has expired.
            UpstreamError: The token cannot be verified here, and Supabase gave no answer.
            UpstreamThrottled: The same, because of Supabase's rate limit.
            Unready: The same, because the circuit breaker is open or too many such tokens came in; or too many
                calls are in progress.
            Throttled: This network made too many calls.
        """
        claims = self.verify(token, context).claims
        if self.profiles is None:
            return claims, Profile()
        self.profiles.load()
        with (
            self.guards.sessions.permit("me", context.address, context),
            self.guards.failure_delay.permit(),
            self.guards.asking.bulkhead.permit(context),
        ):
            return claims, self.profiles.of(token, claims.sub) or Profile()

    def log_out(
        self,
        token: str,
        scope: Scope,
        context: RequestContext,
        *,
        refresh_token: Callable[[], str | None] = lambda: None,
    ) -> None:
        """End the session of *token*, all sessions of the user, or all but this one; see the table of ``auth.logout``.

        Args:
            token: The user's access token.
            scope: Which sessions.
            context: The request.
            refresh_token: Returns the refresh token, if the client sent one. Called, and the token used, only if the
                access token is refused: a malformed body must not keep a good session alive.

        Raises:
            RequestError: The body is malformed, as *refresh_token* found.
            TokenExpired: The token has expired, and the session could not be refreshed: it may still exist.
            TokenInvalid: The token was refused; the same.
            Throttled: This network made too many logouts. A token that was good here is denied all the same.
            Unready: Too many calls are in progress, or the circuit breaker is open; the same.
            UpstreamThrottled: Supabase's rate limit; the same.
            UpstreamError: Supabase could not be asked; the same.
        """
        logout = Logout(self, scope, context)
        try:
            logout.end(token)
        except TokenError as refusal:
            logout.end_refreshed(refresh_token, refusal)

    def sign_out(self, token: str, scope: Scope, context: RequestContext) -> float | None:
        """End sessions at Supabase, if the guards allow it; raises as ``log_out``, and SessionGone."""
        with (
            self.guards.sessions.permit("logout", context.address, context),
            self.guards.failure_delay.permit(),
            self.guards.asking(context),
        ):
            return self.identity.sign_out(token, scope, context)

    def deny(self, claims: Claims) -> None:
        """Deny the session of *claims* until all of its tokens have expired."""
        self.denied.deny([end_of_session(claims, until_s=self.last_end_s(claims))])

    def last_end_s(self, claims: Claims) -> float:
        """Return when all tokens of the user have expired, by the wall clock."""
        return last_end_s(claims, now_s=self.now(), longest_s=self.denied.longest_s)

    def admit(self, session: Session, mark: int) -> Session:
        """Return *session*, which did not come from a password, and began after *mark* of the deny-list.

        Raises:
            Busy: The user's sessions were ended in the same moment, perhaps this one too.
        """
        self.note_token(session.access_token)
        claims = claims_of_issued(session.access_token)
        if claims is not None and not self.denied.admits(claims, mark):
            raise Busy("the user's sessions are being ended", retry_after_s=1)
        return session

    def end_others(self, claims: Claims | None, at_s: float | None) -> None:
        """Deny the other sessions of the user of *claims*, which Supabase ended.

        Args:
            claims: Of the session that stays; None for those of a token that ``verify`` refuses anyway.
            at_s: When they ended, by Supabase's clock; None if it did not say.
        """
        if claims is not None:
            at_s = self.now() if at_s is None else at_s
            self.denied.deny([end_of_user(claims, "others", at_s=at_s, until_s=self.last_end_s(claims))])
