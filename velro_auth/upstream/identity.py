"""Sign-in, refresh, token check and sign-out at Supabase Auth."""

from __future__ import annotations

from typing import Any, get_args
from urllib.parse import urlencode

from velro_auth.auth.denylist import Scope
from velro_auth.auth.models import Credentials, Session
from velro_auth.context import RequestContext
from velro_auth.upstream import translate
from velro_auth.upstream.account_questions import PKCE_GRANT
from velro_auth.upstream.answers import date_s, demand, same_address, same_phone, user_of
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.transport.transport import Reply


class SupabaseIdentity:
    """Signs users in and out; see ``auth.models.Identity``, also for what is raised.

    Args:
        calls: Asks Supabase Auth.
    """

    def __init__(self, calls: AuthCalls) -> None:
        self._calls = calls
        self._password_grant = calls.prepare_public("POST", "/token?grant_type=password")
        self._refresh_grant = calls.prepare_public("POST", "/token?grant_type=refresh_token")
        self._code_grant = calls.prepare_public("POST", "/token?grant_type=pkce")
        self._user = calls.prepare("GET", "/user")
        self._logout = {scope: calls.prepare("POST", f"/logout?scope={scope}") for scope in get_args(Scope)}

    def sign_in(self, credentials: Credentials, context: RequestContext) -> Session:
        """Return a new session for *credentials*."""
        name = "phone" if credentials.is_phone else "email"
        body: dict[str, Any] = {name: credentials.email, "password": credentials.password}
        if credentials.captcha_token is not None:
            body["gotrue_meta_security"] = {"captcha_token": credentials.captcha_token}

        def check(session: Session) -> None:
            demand(is_right=_is_of(session, credentials), what="the address")

        return self._calls.new_session(self._password_grant, context, translate.PASSWORD_GRANT, body, check)

    def refresh(self, refresh_token: str, context: RequestContext) -> Session:
        """Return the session that follows *refresh_token*, which is spent by this."""
        owner = self._calls.owners.of(refresh_token)

        def check(session: Session) -> None:
            demand(is_right=owner in {None, session.user.id}, what="the user of the refresh token")

        body = {"refresh_token": refresh_token}
        return self._calls.new_session(self._refresh_grant, context, translate.REFRESH_GRANT, body, check)

    def exchange(self, code: str, verifier: str, context: RequestContext) -> Session:
        """Return the session of an authorization code; see ``auth.oauth.CodeGrant``, also for what is raised."""
        body = {"auth_code": code, "code_verifier": verifier}
        return self._calls.new_session(self._code_grant, context, PKCE_GRANT, body)

    def check(self, access_token: str, context: RequestContext, *, deadline_s: float | None = None) -> None:
        """Return when Supabase says that the session and the user of *access_token* still exist."""

        def read(reply: Reply) -> None:
            user_of(access_token, reply)

        self._calls.ask(self._user, context, translate.BEARER, read, bearer=access_token, deadline_s=deadline_s)

    def sign_out(self, access_token: str, scope: Scope, context: RequestContext) -> float | None:
        """End sessions of the user of *access_token*; return when, by Supabase's clock, if it says so."""

        def read(reply: Reply) -> float | None:
            demand(is_right=not reply.body, what="a logout is answered without a body, and the body")
            return date_s(reply)

        return self._calls.ask(self._logout[scope], context, translate.BEARER, read, bearer=access_token)


def authorize_url(project_url: str, *, provider: str, redirect_to: str, challenge: str) -> str:
    """Return the address at which Supabase begins a sign-in with *provider*.

    Args:
        project_url: Address of the project.
        provider: Supabase's name of the provider.
        redirect_to: Where Supabase sends the browser at the end. The project has to allow it.
        challenge: Our PKCE challenge, by the method S256.
    """
    query = {
        "provider": provider,
        "redirect_to": redirect_to,
        "code_challenge": challenge,
        "code_challenge_method": "s256",
    }
    return f"{project_url.rstrip('/')}/auth/v1/authorize?{urlencode(query)}"


def _is_of(session: Session, credentials: Credentials) -> bool:
    """Return whether the session is that of the user who was asked for."""
    if credentials.is_phone:
        # Supabase stores numbers without the plus sign.
        return same_phone(session.raw["user"].get("phone"), credentials.email)
    return session.user.email is not None and same_address(session.user.email, credentials.email)
