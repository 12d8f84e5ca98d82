"""What happens to a session after the login: it is refreshed, looked at, verified and ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from velro_auth.auth.denylist import DenyList, Scope, denials_of_logout
from velro_auth.auth.introspection import TokenJudge, Verdict
from velro_auth.auth.keys import CannotJudge
from velro_auth.auth.login import note_nothing
from velro_auth.auth.models import Profile, Session
from velro_auth.auth.ports import Identity, Profiles
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.tokens import Claims
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.errors import TokenExpired, TokenInvalid
from velro_auth.exchange import Exchange
from velro_auth.guards import Guards

#: How long a strict check of a token proven here may take. Gateways wait for a second or two and then fail the
#: request, so an answer from here has to come before that.
STRICT_DEADLINE_S: Final = 0.8


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Looks after sessions.

    Attributes:
        identity: Who is asked.
        guards: What stands before that.
        refreshes: Spends refresh tokens once.
        verifier: Judges tokens here, ended sessions or not: whoever logs out twice is logged out.
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
    judge: TokenJudge
    denied: DenyList
    profiles: Profiles | None = None
    is_strict: bool = False
    note_token: Callable[[str], None] = note_nothing
    now: Callable[[], float] = time.time

    def refresh(self, refresh_token: str, exchange: Exchange) -> Session:
        """Return the session that follows *refresh_token*; the same to all who ask within 10 s.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            Busy: Too many calls are under way, or this network made too many refreshes.
            CircuitOpen: Supabase gets a rest.
            UpstreamThrottled: Supabase's rate limit, or our twin of it.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        # Also for those who only wait for another one's call: that costs a thread as well.
        with self.guards.floor.place():
            session = self.refreshes.refresh(refresh_token, lambda: self._spent(refresh_token, exchange))
        exchange.shows_upstream = True
        return session

    def _spent(self, refresh_token: str, exchange: Exchange) -> Session:
        with self.guards.sessions.place("refresh", exchange.address):
            # Whoever has a session has logged in before; Supabase counts refreshes with the logins.
            self.guards.quota.take(is_known=True)
            with self.guards.asking():
                session = self.identity.refresh(refresh_token, exchange)
        self.note_token(session.access_token)
        return session

    def verify(self, token: str, exchange: Exchange, *, strict: bool = False) -> Verdict:
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
                self.identity.check(token, exchange, deadline_s=deadline_s)

        return self.judge.judge(
            token, ask, strict=strict or self.is_strict, hurried=lambda: ask(deadline_s=STRICT_DEADLINE_S)
        )

    def me(self, token: str, exchange: Exchange) -> tuple[Claims, Profile]:
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
        claims = self.verify(token, exchange).claims
        if self.profiles is None:
            return claims, Profile()
        with (
            self.guards.sessions.place("me", exchange.address),
            self.guards.floor.place(),
            self.guards.gate.slot(),
        ):
            return claims, self.profiles.of(token, claims.sub) or Profile()

    def log_out(self, token: str, scope: Scope, exchange: Exchange) -> None:
        """End the session of *token*, all of the user's, or all but this one.

        What is proven to be the user's own wish is refused here at once, whatever Supabase says; a session that
        has ended already is a success. An expired token cannot end anything at Supabase, but its user is as
        good as logged out, so that is a success too.

        Raises:
            TokenInvalid: The token is none of this project's.
            Throttled: This network made too many logouts; here the session is over all the same.
            Unready: Too many calls are under way, or Supabase gets a rest; here the session is over all the same.
            UpstreamThrottled: Supabase's rate limit; the same.
            UpstreamError: Supabase could not be asked; the same.
        """
        try:
            claims, is_proven = self._whose(token)
        except TokenExpired:
            return
        if is_proven:
            self._deny(claims, scope)
        try:
            with (
                self.guards.sessions.place("logout", exchange.address),
                self.guards.floor.place(),
                self.guards.asking(),
            ):
                self.identity.sign_out(token, scope, exchange)
        except TokenInvalid:
            if not is_proven:
                raise
            return
        if not is_proven:
            self._deny(claims, scope)

    def _whose(self, token: str) -> tuple[Claims, bool]:
        """Return the claims of *token*, and whether its signature was proven here."""
        try:
            return self.verifier.verify(token), True
        except CannotJudge:
            return self.verifier.read_vouched(token), False

    def _deny(self, claims: Claims, scope: Scope) -> None:
        self.denied.deny(denials_of_logout(claims, scope, now_s=self.now()))
