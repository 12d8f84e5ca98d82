"""What happens to a session after the login: it is refreshed, looked at, verified and ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from velro_auth.auth.denylist import BEFORE_ALL, DenyList, Scope, end_of_session, last_end_s
from velro_auth.auth.introspection import Introspection, TokenIntrospector
from velro_auth.auth.issued import claims_of
from velro_auth.auth.login import note_nothing
from velro_auth.auth.logout import Logout
from velro_auth.auth.models import Profile, Session
from velro_auth.auth.ports import Identity, Profiles
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.tokens import Claims
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.context import RequestContext
from velro_auth.errors import Busy, SessionExpired, SessionGone, UpstreamThrottled, VelroAuthError
from velro_auth.guards import Guards

log = logging.getLogger(__name__)

#: How long a strict check of a token proven here may take. Gateways wait for a second or two and then fail the
#: request, so an answer from here has to come before that.
STRICT_DEADLINE_S: Final = 0.8

#: When to try again after Supabase's 429, which does not say: its bucket gets a call back each 2 s.
THROTTLED_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Looks after sessions.

    Attributes:
        identity: Who is asked.
        guards: What stands before that.
        refreshes: Spends refresh tokens once.
        verifier: Judges tokens here, whether or not their sessions were ended.
        judge: Judges tokens here or at Supabase.
        denied: The deny-list.
        profiles: Who knows the profile row; None while the settings are wrong.
        is_strict: Whether Supabase is asked about every token.
        note_token: Told each access token that is handed out; must not block.
        now: The wall clock.
    """

    identity: Identity
    guards: Guards
    refreshes: Refreshes[Session]
    verifier: TokenVerifier
    judge: TokenIntrospector
    denied: DenyList
    profiles: Profiles | None = None
    is_strict: bool = False
    note_token: Callable[[str], None] = note_nothing
    now: Callable[[], float] = time.time

    def refresh(self, refresh_token: str, context: RequestContext) -> Session:
        """Return the session that follows *refresh_token*; the same to all who ask within 10 s.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone or denied here.
            SessionRefused: The same for now: a later try may succeed.
            Busy: Too many calls are under way, or this network made too many refreshes, or Supabase's rate limit is
                reached, or our twin of it.
            CircuitOpen: Supabase gets a rest.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        session = self._refreshed(refresh_token, context)
        claims = claims_of(session)
        # Looked at each time: the answer may be an earlier one, or that of another process. A refresh begins no
        # session, so no denial is too old for it.
        if claims is not None and not self.denied.admits(claims, BEFORE_ALL):
            self._end_for_good(session.access_token, claims, context)
            raise SessionExpired("the session was ended here")
        context.shows_upstream = True
        return session

    def _refreshed(self, refresh_token: str, context: RequestContext) -> Session:
        try:
            return self.refreshes.refresh(
                refresh_token, lambda: self._spent(refresh_token, context), place=self.guards.failure_delay.permit
            )
        except UpstreamThrottled as error:
            context.notes["is_throttled"] = True
            # supabase-js ends the session on a 429 of the refresh, and keeps it on a 503 (measured).
            raise Busy(error.reason, retry_after_s=error.retry_after_s or THROTTLED_S) from error

    def _end_for_good(self, token: str, claims: Claims, context: RequestContext) -> None:
        """End a denied session that Supabase refreshed: it had not heard of the logout."""
        until_s = last_end_s(claims, now_s=self.now(), longest_s=self.denied.longest_s)
        self.denied.deny([end_of_session(claims, until_s=until_s)])
        try:
            # Each time: an answer that is given again, which costs no refresh, costs a logout here.
            with (
                self.guards.sessions.permit("logout", context.address),
                self.guards.failure_delay.permit(),
                self.guards.asking(),
            ):
                self.identity.sign_out(token, "local", context)
        except SessionGone:
            return
        except VelroAuthError as error:
            # The session stays denied here for as long as the new token could be used.
            log.warning("A session that was ended here lives on at Supabase: %s", error.reason)

    def _spent(self, refresh_token: str, context: RequestContext) -> Session:
        with self.guards.sessions.permit("refresh", context.address):
            # Who has a session has logged in before; Supabase counts refreshes with the logins.
            self.guards.rate_limit.acquire(is_known=True)
            with self.guards.asking():
                session = self.identity.refresh(refresh_token, context)
        self.note_token(session.access_token)
        return session

    def verify(self, token: str, context: RequestContext, *, strict: bool = False) -> Introspection:
        """Return the verdict on a good token.

        Raises:
            TokenInvalid: The token was judged and refused.
            TokenExpired: The token was good once.
            UpstreamError: Nobody could judge it.
            UpstreamThrottled: The same, because of Supabase's rate limit.
            Unready: The same, because Supabase gets a rest, or too many such tokens came in.
        """

        def ask(deadline_s: float | None = None) -> None:
            with self.guards.checks.attempt():
                self.identity.check(token, context, deadline_s=deadline_s)

        return self.judge.judge(
            token, ask, strict=strict or self.is_strict, hurried=lambda: ask(deadline_s=STRICT_DEADLINE_S)
        )

    def me(self, token: str, context: RequestContext) -> tuple[Claims, Profile]:
        """Return what a good token says about its user, and the user's profile row (empty when it cannot be read).

        Raises:
            TokenInvalid: The token was judged and refused.
            TokenExpired: The token was good once.
            UpstreamError: Nobody could judge it.
            UpstreamThrottled: The same, because of Supabase's rate limit.
            Unready: The same, because Supabase gets a rest, or too many such tokens came in; or too many calls
                are under way.
            Throttled: This network asked too often.
        """
        claims = self.verify(token, context).claims
        if self.profiles is None:
            return claims, Profile()
        self.profiles.load()
        with (
            self.guards.sessions.permit("me", context.address),
            self.guards.failure_delay.permit(),
            self.guards.bulkhead.permit(),
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
        """End the session of *token*, all of the user's, or all but this one; see :mod:`velro_auth.auth.logout`.

        Args:
            token: The user's access token.
            scope: Which sessions.
            context: The request.
            refresh_token: Returns that of the session, if the client sent it. Called, and the token spent, only where
                the access token is refused: a body that is wrong must keep no good session alive.

        Raises:
            RequestError: What *refresh_token* says of the client's body.
            TokenExpired: The token has expired, and the session could not be refreshed: it may live on.
            TokenInvalid: The token was refused, likewise.
            Throttled: This network made too many logouts; here the session is over all the same.
            Unready: Too many calls are under way, or Supabase gets a rest; here the session is over all the same.
            UpstreamThrottled: Supabase's rate limit; the same.
            UpstreamError: Supabase could not be asked; the same.
        """
        logout = Logout(
            scope=scope,
            context=context,
            identity=self.identity,
            guards=self.guards,
            verifier=self.verifier,
            denied=self.denied,
            now=self.now,
        )

        def refresh() -> Session | None:
            given = refresh_token()
            return self._refreshed(given, context) if given else None

        logout.end(token, refresh)
