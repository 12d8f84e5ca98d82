"""Login: from credentials to a session, after the guards have allowed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from velro_auth.auth.denylist import DenyList, MemoryDenyList
from velro_auth.auth.models import Credentials, Identity, Profiles, Session
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.context import RequestContext
from velro_auth.errors import Busy
from velro_auth.guards import Guards
from velro_auth.guards.throttle import Challenged, TooManyAttempts


def ignore_token(_token: str) -> None:
    """Do nothing with an issued token."""


def note_held(context: RequestContext) -> Callable[[float], None]:
    """Return a function that notes in the access log how long an answer was held back, in seconds."""
    return lambda held_s: context.log_fields.update(held_ms=round(held_s * 1000, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Login:
    """Logs users in.

    Attributes:
        identity: Asks Supabase.
        guards: Guards of the call.
        denied: The deny-list, which records sessions that began after a logout.
        profiles: Reads the profile row; None leaves the profile out (the fast lane).
        note_token: Called with each issued access token; must not block.
    """

    identity: Identity
    guards: Guards
    denied: DenyList = dataclasses.field(default_factory=MemoryDenyList)
    profiles: Profiles | None = None
    note_token: Callable[[str], None] = ignore_token

    def __call__(self, credentials: Credentials, context: RequestContext) -> Session:
        """Return a new session for *credentials*.

        The attempt is counted before Supabase is asked, so that a burst of parallel guesses cannot exceed the limit.
        A success gives the attempt back. A refusal is delayed by the failure delay.

        Raises:
            Throttled: Too many recent failures for this account or network.
            ChallengeRequired: Others used up a limit; the client may solve a challenge instead of waiting.
            Busy: Too many logins are in progress, or the user's sessions are being ended.
            CircuitOpen: The circuit breaker is open.
            InvalidCredentials: Supabase refused the credentials.
            EmailNotConfirmed: The password is right, the address not confirmed.
            CaptchaRequired: Supabase requires a captcha.
            InvalidRequest: Supabase does not accept the email address.
            UpstreamThrottled: Supabase's rate limit, or our copy of it, is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        context.log_fields["account"] = self.guards.throttle.name(credentials.email)
        session = self._attempt(credentials, context)
        self.note_token(session.access_token)
        context.shows_upstream = True
        # A success gives the attempt back, so the response has no RateLimit headers.
        context.allowance = None
        return session if self.profiles is None else self._with_profile(session, self.profiles)

    def _attempt(self, credentials: Credentials, context: RequestContext) -> Session:
        try:
            with (
                self.guards.throttle.attempt(
                    credentials.email, context.address, solution=credentials.challenge
                ) as attempt,
                self.guards.failure_delay.hold(
                    context.arrived_s, on_held=note_held(context), is_known=attempt.is_known
                ),
            ):
                context.allowance = attempt.allowance
                if attempt.has_solved:
                    context.log_fields["challenge"] = "solved"
                return self._sign_in(credentials, context, is_known=attempt.is_known)
        except (TooManyAttempts, Challenged) as error:
            context.allowance = error.allowance
            raise

    def _sign_in(self, credentials: Credentials, context: RequestContext, *, is_known: bool) -> Session:
        """Return a new session. If a logout may have ended it meanwhile, ask Supabase for another one, once."""
        for _ in range(2):
            self.guards.rate_limit.acquire(is_known=is_known)
            mark = self.denied.mark()
            with self.guards.asking(context):
                session = self.identity.sign_in(credentials, context)
            claims = claims_of_issued(session.access_token)
            if claims is None or self.denied.admits(claims, mark):
                return session
            # The password was right, so the second call counts as that of a known user.
            is_known = True
        raise Busy("the user's sessions are being ended", retry_after_s=1)

    @staticmethod
    def _with_profile(session: Session, profiles: Profiles) -> Session:
        profile = profiles.of(session.access_token, session.user.id)
        if profile is None:
            return session
        return dataclasses.replace(session, user=dataclasses.replace(session.user, profile=profile))
