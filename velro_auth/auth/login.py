"""Logging in: the way from credentials to a session, past the guards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from velro_auth.auth.denylist import DenyList, MemoryDenyList
from velro_auth.auth.issued import claims_of
from velro_auth.auth.models import Credentials, Session
from velro_auth.auth.ports import Identity, Profiles
from velro_auth.context import RequestContext
from velro_auth.errors import Busy
from velro_auth.guards import Guards
from velro_auth.guards.throttle import Challenged, TooManyAttempts


def note_nothing(_token: str) -> None:
    """Tell nobody of a token."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Login:
    """Logs people in.

    Attributes:
        identity: Who is asked.
        guards: What stands before that.
        denied: The deny-list: learns which sessions began after a logout.
        profiles: Who knows the profile row; None leaves the profile out (the fast lane).
        note_token: Told each access token that is handed out; must not block.
    """

    identity: Identity
    guards: Guards
    denied: DenyList = dataclasses.field(default_factory=MemoryDenyList)
    profiles: Profiles | None = None
    note_token: Callable[[str], None] = note_nothing

    def __call__(self, credentials: Credentials, context: RequestContext) -> Session:
        """Return a new session for *credentials*.

        The attempt is counted before Supabase is asked, so that a burst of parallel guesses cannot slip under
        the limit. A success gives the count back. A refusal is told no sooner than the floor allows.

        Raises:
            Throttled: Too many recent failures for this account or network.
            ChallengeRequired: Others used up a limit; the caller may solve a challenge instead of waiting.
            Busy: Too many logins are on their way, or the user's sessions are being ended.
            CircuitOpen: Supabase gets a rest.
            InvalidCredentials: Supabase refused the pair.
            EmailNotConfirmed: The password is right, the address not confirmed.
            CaptchaRequired: Supabase demands a captcha.
            InvalidRequest: Supabase does not take the address for one.
            UpstreamThrottled: Supabase's rate limit, or our twin of it.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        context.notes["account"] = self.guards.throttle.name(credentials.email)
        session = self._attempted(credentials, context)
        self.note_token(session.access_token)
        context.shows_upstream = True
        # A success gives the attempt back: there is nothing to tell.
        context.allowance = None
        return session if self.profiles is None else self._with_profile(session, self.profiles)

    def _attempted(self, credentials: Credentials, context: RequestContext) -> Session:
        def note_held(held_s: float) -> None:
            context.notes["held_ms"] = round(held_s * 1000, 2)

        try:
            with (
                self.guards.throttle.attempt(
                    credentials.email, context.address, solution=credentials.challenge
                ) as attempt,
                self.guards.failure_delay.hold(context.arrived_s, on_held=note_held),
            ):
                context.allowance = attempt.allowance
                if attempt.has_solved:
                    context.notes["challenge"] = "solved"
                return self._asked(credentials, context, is_known=attempt.is_known)
        except (TooManyAttempts, Challenged) as error:
            context.allowance = error.allowance
            raise

    def _asked(self, credentials: Credentials, context: RequestContext, *, is_known: bool) -> Session:
        """Return a session that no logout has ended meanwhile; ask a second time where one may have."""
        for _ in range(2):
            self.guards.rate_limit.acquire(is_known=is_known)
            mark = self.denied.mark()
            with self.guards.asking():
                session = self.identity.sign_in(credentials, context)
            claims = claims_of(session)
            if claims is None or self.denied.admits(claims, mark):
                return session
            # The password was right, so the second try is no stranger's.
            is_known = True
        raise Busy("the user's sessions are being ended", retry_after_s=1)

    @staticmethod
    def _with_profile(session: Session, profiles: Profiles) -> Session:
        profile = profiles.of(session.access_token, session.user.id)
        if profile is None:
            return session
        return dataclasses.replace(session, user=dataclasses.replace(session.user, profile=profile))
