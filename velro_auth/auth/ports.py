"""What the core needs from the outside. Each port has two real implementations."""

from __future__ import annotations

from typing import Protocol

from velro_auth.auth.denylist import Scope
from velro_auth.auth.models import Credentials, Profile, Session
from velro_auth.context import RequestContext


class Identity(Protocol):
    """Whoever knows the users: Supabase, or nobody while the settings are wrong."""

    def sign_in(self, credentials: Credentials, context: RequestContext, /) -> Session:
        """Return a new session for *credentials*.

        Raises:
            InvalidCredentials: The pair was refused.
            EmailNotConfirmed: The password is right, the address not confirmed.
            CaptchaRequired: A captcha is demanded or was refused.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

    def refresh(self, refresh_token: str, context: RequestContext, /) -> Session:
        """Return the session that follows *refresh_token*, which is spent by this.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            SessionRefused: The same for now: a later try may succeed.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

    def check(self, access_token: str, context: RequestContext, /, *, deadline_s: float | None = None) -> None:
        """Return when the session and the user of *access_token* still exist.

        Args:
            access_token: The user's token.
            context: The request it came with.
            deadline_s: How long the answer may take, where that is less than usual.

        Raises:
            TokenInvalid: Supabase refuses the token.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

    def sign_out(self, access_token: str, scope: Scope, context: RequestContext, /) -> float | None:
        """End sessions of the user of *access_token*; return when, by Supabase's clock, if it says so.

        Raises:
            SessionGone: The session has ended already, or its user is gone or banned.
            TokenInvalid: Supabase refuses the token, so the session may live on.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """


class Profiles(Protocol):
    """Reads the caller's row of ``public.users``."""

    def load(self) -> None:
        """Load what reading takes. The first call may take a second, so no slot should be held meanwhile."""

    def of(self, access_token: str, user_id: str) -> Profile | None:
        """Return the profile row of a user, None where it cannot be read. Never raises."""
