"""Sign-up, confirmation and recovery at Supabase Auth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from velro_auth.auth.account import Link, MailKind, MailRequest, Proof, SignUp, Verified, has_confirmed
from velro_auth.auth.models import Session
from velro_auth.context import RequestContext
from velro_auth.errors import UpstreamFailed
from velro_auth.upstream import account_questions as questions
from velro_auth.upstream.answers import (
    date_s,
    demand,
    json_object,
    same_address,
    same_phone,
    session_from,
    user_from,
)
from velro_auth.upstream.calls import AuthCalls, PublicRequest
from velro_auth.upstream.transport.transport import Reply

_MAILS: Final[Mapping[MailKind, str]] = {"confirmation": "/resend", "code": "/otp", "recovery": "/recover"}


class SupabaseAccounts:
    """Asks Supabase Auth about accounts."""

    def __init__(self, calls: AuthCalls) -> None:
        self._calls = calls
        self._verify = calls.prepare_public("POST", "/verify")
        self._user = calls.prepare("PUT", "/user")

    def sign_up(self, sign_up: SignUp, context: RequestContext) -> Session | None:
        """Return the session of the new account, None for a mail; see ``Accounts``, also for what is raised."""
        name = "phone" if sign_up.is_phone else "email"
        body = {name: sign_up.email, "password": sign_up.password, "data": dict(sign_up.data), **_common(sign_up)}

        def read(reply: Reply) -> Session | None:
            answer = json_object(reply)
            if "access_token" in answer:
                session = session_from(reply)
                _demand_own(answer["user"], sign_up)
                return session
            _demand_own(answer, sign_up)
            return None

        session = self._calls.ask_public(self._to("/signup", sign_up), context, questions.SIGN_UP, read, body)
        if session is not None:
            self._calls.owners.note(session.refresh_token, session.user.id)
        return session

    def send_mail(self, kind: MailKind, request: MailRequest, context: RequestContext) -> None:
        """Have a mail sent; see ``Accounts``, also for what is raised."""
        fields: dict[str, Any] = {"type": "signup"} if kind == "confirmation" else {}
        if kind == "code":
            fields = {"create_user": request.creates_user}
        body = {"email": request.email, **fields, **_common(request)}
        self._calls.ask_public(self._to(_MAILS[kind], request), context, questions.MAIL, json_object, body)

    def verify(self, proof: Proof, context: RequestContext) -> Verified:
        """Return what a link or code leads to; see ``Accounts``, also for what is raised."""
        asked = None if isinstance(proof, Link) or proof.type == "email_change" else proof.email

        def read(reply: Reply) -> Verified:
            answer = json_object(reply)
            if "access_token" not in answer:
                if proof.type != "email_change":
                    raise UpstreamFailed("200 without a session")
                return Verified(None)
            session = session_from(reply)
            if asked is not None:
                _demand_address(session.user.email, asked)
            return Verified(session, has_confirmed=has_confirmed(answer["user"]))

        names = ("type", "token_hash") if isinstance(proof, Link) else ("type", "email", "token")
        body = {name: getattr(proof, name) for name in names}
        verified = self._calls.ask_public(self._verify, context, questions.VERIFY, read, body)
        if verified.session is not None:
            self._calls.owners.note(verified.session.refresh_token, verified.session.user.id)
        return verified

    def set_password(self, session: Session, password: str, context: RequestContext) -> tuple[Session, float | None]:
        """Replace the user's password; see ``Accounts``, also for what is returned and raised."""

        def read(reply: Reply) -> tuple[Session, float | None]:
            user = user_from(reply, session.access_token)
            demand(is_right=user.id == session.user.id, what="the user of the session")
            return dataclasses.replace(session, user=user), date_s(reply)

        body = {"password": password}
        return self._calls.ask(self._user, context, questions.PASSWORD, read, body=body, bearer=session.access_token)

    def _to(self, path: str, request: MailRequest) -> PublicRequest:
        query = f"?redirect_to={quote(request.redirect_to, safe='')}" if request.redirect_to else ""
        return self._calls.prepare_public("POST", path + query)


def _common(request: MailRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.challenge:
        fields |= {"code_challenge": request.challenge, "code_challenge_method": request.challenge_method}
    if request.captcha_token is not None:
        fields["gotrue_meta_security"] = {"captcha_token": request.captcha_token}
    return fields


def _demand_address(told: Any, asked: str) -> None:
    demand(is_right=isinstance(told, str) and same_address(told, asked), what="the mail address")


def _demand_own(user: Mapping[str, Any], sign_up: SignUp) -> None:
    if sign_up.is_phone:
        demand(is_right=same_phone(user.get("phone"), sign_up.email), what="the phone number")
    else:
        _demand_address(user.get("email"), sign_up.email)
