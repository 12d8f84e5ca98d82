"""Supabase Auth as the one who knows the users."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

from velro_auth.auth.denylist import Scope
from velro_auth.auth.models import Credentials, Session
from velro_auth.context import RequestContext
from velro_auth.errors import UpstreamUnavailable
from velro_auth.upstream import translate
from velro_auth.upstream.answers import (
    Owners,
    claims_of,
    content,
    date_s,
    demand,
    is_text,
    same_address,
    same_phone,
    session_from,
)
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.transport.transport import Reply


class SupabaseIdentity:
    """Signs users in and out.

    Args:
        calls: Asks Supabase Auth.
        owners: Which user a refresh token was given to, where others know it already.
        clock: The current time, in seconds since the epoch.
    """

    def __init__(
        self, calls: AuthCalls, *, owners: Owners | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._owners = owners or Owners()
        self._password_grant = calls.prepare_public("POST", "/token?grant_type=password")
        self._refresh_grant = calls.prepare_public("POST", "/token?grant_type=refresh_token")
        self._user = calls.prepare("GET", "/user")
        self._logout = {scope: calls.prepare("POST", f"/logout?scope={scope}") for scope in get_args(Scope)}

    def sign_in(self, credentials: Credentials, context: RequestContext) -> Session:
        """Return a new session for *credentials*.

        Raises:
            InvalidCredentials: The pair was refused.
            EmailNotConfirmed: The password is right, the address not confirmed.
            CaptchaRequired: A captcha is demanded or was refused.
            InvalidRequest: Supabase does not take the address for one.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        name = "phone" if credentials.is_phone else "email"
        body: dict[str, Any] = {name: credentials.email, "password": credentials.password}
        if credentials.captcha_token is not None:
            body["gotrue_meta_security"] = {"captcha_token": credentials.captcha_token}

        def read(reply: Reply) -> Session:
            session = session_from(reply, self._clock())
            demand(is_right=_is_of(session, credentials), what="the address")
            return session

        session = self._calls.ask_public(self._password_grant, context, translate.PASSWORD_GRANT, read, body)
        self._owners.note(session.refresh_token, session.user.id)
        return session

    def refresh(self, refresh_token: str, context: RequestContext) -> Session:
        """Return the session that follows *refresh_token*, which is spent by this.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            SessionRefused: The same for now: a later try may succeed.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        owner = self._owners.of(refresh_token)

        def read(reply: Reply) -> Session:
            session = session_from(reply, self._clock())
            demand(is_right=owner in {None, session.user.id}, what="the user of the refresh token")
            return session

        body = {"refresh_token": refresh_token}
        session = self._calls.ask_public(self._refresh_grant, context, translate.REFRESH_GRANT, read, body)
        self._owners.note(session.refresh_token, session.user.id)
        return session

    def check(self, access_token: str, context: RequestContext, *, deadline_s: float | None = None) -> None:
        """Return when Supabase says that the session and the user of *access_token* still exist.

        Args:
            access_token: The user's token.
            context: The request it came with.
            deadline_s: How long the answer may take, where that is less than usual.

        Raises:
            TokenInvalid: Supabase refuses the token.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

        def read(reply: Reply) -> None:
            user = content(reply)
            if not isinstance(user, dict) or not is_text(user.get("id")):
                raise UpstreamUnavailable("200 without a user")
            demand(is_right=user["id"] == claims_of(access_token).get("sub"), what="the subject of the token")

        self._calls.ask(self._user, context, translate.BEARER, read, bearer=access_token, deadline_s=deadline_s)

    def sign_out(self, access_token: str, scope: Scope, context: RequestContext) -> float | None:
        """End sessions of the user of *access_token*; return when, by Supabase's clock, if it says so.

        Raises:
            SessionGone: The session has ended already, or its user is gone or banned.
            TokenInvalid: Supabase refuses the token, so the session may live on.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

        def read(reply: Reply) -> float | None:
            demand(is_right=not reply.body, what="a logout is answered without a body, and the body")
            return date_s(reply)

        return self._calls.ask(self._logout[scope], context, translate.BEARER, read, bearer=access_token)


def _is_of(session: Session, credentials: Credentials) -> bool:
    """Return whether the session is that of the user who was asked for."""
    if credentials.is_phone:
        # Supabase stores numbers without the plus sign.
        return same_phone(session.raw["user"].get("phone"), credentials.email)
    return session.user.email is not None and same_address(session.user.email, credentials.email)
