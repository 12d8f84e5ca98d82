"""Supabase Auth's user routes: what a user changes with the own access token, and anonymous users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from requests import PreparedRequest

from velro_auth import errors
from velro_auth.auth.anonymous import NewAnonymous
from velro_auth.auth.models import Session
from velro_auth.auth.user_changes import NewAddress, NewPassword
from velro_auth.context import RequestContext
from velro_auth.upstream import translate
from velro_auth.upstream.answers import content, date_s, demand, user_of
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.transport.transport import Reply

#: ``PUT /user`` with a password. An unknown refusal is not about the token.
PASSWORD_CHANGE: Final = translate.Question(
    codes=translate.PASSWORD_CODES,
    refused=errors.UpstreamRefused,
    fields={
        "weak_password": ("password", "Too weak: too short, too common, or with too few kinds of characters."),
        "same_password": ("password", "Must differ from the current password."),
        "validation_failed": ("password", "The authentication server does not accept this password for this user."),
    },
)

#: ``PUT /user`` with a mail address.
ADDRESS_CHANGE: Final = translate.Question(
    codes={
        **translate.BEARER.codes,
        "validation_failed": errors.InvalidRequest,
        # Supabase checks the domain after it has looked for another user with the address. This error would show that.
        "email_address_invalid": errors.MailRefused,
        "email_address_not_authorized": errors.MailRefused,
        "insufficient_aal": errors.InsufficientAal,
        "email_exists": errors.AlreadyRegistered,
    },
    refused=errors.UpstreamRefused,
)

#: ``PUT /user`` with metadata.
METADATA_CHANGE: Final = translate.Question(codes=translate.BEARER.codes, refused=errors.UpstreamRefused)

#: ``GET /reauthenticate``.
NONCE: Final = translate.Question(
    codes={**translate.BEARER.codes, "validation_failed": errors.InvalidRequest},
    refused=errors.UpstreamRefused,
    fields={"validation_failed": ("email", "The user has no mail address.")},
)

#: ``POST /signup`` without an address.
ANONYMOUS: Final = translate.Question(
    codes={
        **translate.ANYWHERE,
        "anonymous_provider_disabled": errors.NotEnabled,
        "signup_disabled": errors.NotEnabled,
    },
    refused=errors.NotEnabled,
)


class SupabaseUsers:
    """Changes users with their own access tokens, and makes anonymous ones."""

    def __init__(self, calls: AuthCalls) -> None:
        self._calls = calls
        self._change = calls.prepare("PUT", "/user")
        self._nonce = calls.prepare("GET", "/reauthenticate")
        self._sign_up = calls.prepare_public("POST", "/signup")

    def change_password(self, access_token: str, change: NewPassword, context: RequestContext) -> float | None:
        """Set a new password; return when, by Supabase's clock, if it says so; see ``auth.user_changes.Users``."""
        body: dict[str, Any] = {"password": change.password}
        if change.nonce is not None:
            body["nonce"] = change.nonce
        if change.proof.current_password is not None:
            body["current_password"] = change.proof.current_password

        def read(reply: Reply) -> float | None:
            user_of(access_token, reply)
            return date_s(reply)

        return self._calls.ask(self._change, context, PASSWORD_CHANGE, read, body=body, bearer=access_token)

    def change_address(self, access_token: str, change: NewAddress, context: RequestContext) -> None:
        """Ask for another mail address; see ``auth.user_changes.Users``."""
        body: dict[str, Any] = {"email": change.email}
        if change.code_challenge is not None:
            body |= {"code_challenge": change.code_challenge, "code_challenge_method": "s256"}
        request = self._change
        if change.redirect_to is not None:
            request = self._calls.prepare("PUT", f"/user?redirect_to={quote(change.redirect_to, safe='')}")
        self._change_user(access_token, request, body, context, ADDRESS_CHANGE)

    def change_metadata(self, access_token: str, values: Mapping[str, str | None], context: RequestContext) -> None:
        """Write members of ``user_metadata``; see ``auth.user_changes.Users``."""
        self._change_user(access_token, self._change, {"data": dict(values)}, context, METADATA_CHANGE)

    def mail_nonce(self, access_token: str, context: RequestContext) -> None:
        """Mail a code that proves who the user is; see ``auth.user_changes.Users``."""

        def read(reply: Reply) -> None:
            demand(is_right=content(reply) == {}, what="a mailed code is answered with an empty object, and it")

        self._calls.ask(self._nonce, context, NONCE, read, bearer=access_token)

    def sign_up(self, wanted: NewAnonymous, context: RequestContext) -> Session:
        """Return the session of a new anonymous user; see ``auth.anonymous.AnonymousSignUp``."""
        body: dict[str, Any] = {"data": dict(wanted.data)}
        if wanted.captcha_token is not None:
            body["gotrue_meta_security"] = {"captcha_token": wanted.captcha_token}

        def check(session: Session) -> None:
            demand(is_right=session.user.is_anonymous and not session.user.email, what="that it is anonymous")

        return self._calls.new_session(self._sign_up, context, ANONYMOUS, body, check)

    def _change_user(
        self,
        access_token: str,
        request: PreparedRequest,
        body: Mapping[str, Any],
        context: RequestContext,
        question: translate.Question,
    ) -> None:
        def read(reply: Reply) -> None:
            user_of(access_token, reply)

        self._calls.ask(request, context, question, read, body=body, bearer=access_token)
