"""Sign-up, and requests for mails: the first half of every flow that goes by mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.account import MailKind, MailRequest, SignUp
from velro_auth.auth.mailing import Mailing
from velro_auth.auth.sign_up import SignUps
from velro_auth.context import RequestContext
from velro_auth.endpoints.account_schemas import MailBody, OtpBody, SentAnswer, SignUpBody
from velro_auth.endpoints.bodies import RawResponse, json_answer, validated
from velro_auth.endpoints.operation import BODY, UPSTREAM, Operation
from velro_auth.endpoints.schemas import SessionAnswer
from velro_auth.endpoints.sessions import session_answer
from velro_auth.errors import InvalidRequest
from velro_auth.web.flow_cookies import FlowCookies, Header
from velro_auth.web.redirects import AllowedRedirect, is_allowed, is_allowed_in_mail

_SIGN_UP: Final = SignUpBody(unknown=marshmallow.EXCLUDE)
_MAIL: Final = MailBody(unknown=marshmallow.EXCLUDE)
_OTP: Final = OtpBody(unknown=marshmallow.EXCLUDE)

_ACCEPTED: Final = "202 Accepted"
_MAIL_CODES: Final = (*BODY, "captcha_required", "upstream_misconfigured", "resting", "busy")


@dataclass(frozen=True)
class MailFlows:
    """What the requests for mails have in common.

    Attributes:
        cookies: Keep the PKCE verifier of each flow in the browser.
        redirects: The addresses that a link may lead to.
    """

    cookies: FlowCookies
    redirects: Sequence[AllowedRedirect]

    def begin(self, request: Request, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Header]]:
        """Return the fields of a ``MailRequest``, and the cookies that belong to it.

        Raises:
            InvalidRequest: ``redirect_to`` is not on the list, or has a query.
        """
        redirect_to = body["redirect_to"]
        if redirect_to is not None and not is_allowed(redirect_to, self.redirects):
            raise InvalidRequest({"redirect_to": ["Not one of the addresses that this service leads to."]})
        if redirect_to is not None and not is_allowed_in_mail(redirect_to, self.redirects):
            raise InvalidRequest({"redirect_to": ["Must have no query: the link in the mail adds its own."]})
        flow = self.cookies.new("mail")
        fields = {name: body[name] for name in ("email", "redirect_to", "captcha_token")}
        return {**fields, "challenge": flow.challenge}, self.cookies.keep(flow, request)


@dataclass(frozen=True)
class SignUpEndpoint:
    """``POST /api/v1/auth/signup``: a new account."""

    sign_up: SignUps
    flows: MailFlows
    max_body_bytes: int

    name: ClassVar = "signup"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/signup", "/api/v1/auth/register")
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Make an account",
            body=SignUpBody,
            answer=SessionAnswer,
            success=(200, "A session, where the project confirms addresses by itself."),
            accepted=(SentAnswer, "A mail was sent, if the address has no account."),
            codes=(
                *_MAIL_CODES,
                "weak_password",
                "already_registered",
                "not_enabled",
                "forbidden",
                "too_many_attempts",
                *UPSTREAM[:-1],
            ),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer a sign-up."""
        body = validated(request, _SIGN_UP, self.max_body_bytes)
        fields, cookies = self.flows.begin(request, body)
        context = RequestContext.of(request.environ)
        sign_up = SignUp(**fields, password=body["password"], data=_data(body))
        session = self.sign_up(sign_up, context)
        return sent("confirmation_sent", cookies) if session is None else session_answer(session, context)


@dataclass(frozen=True)
class _MailEndpoint:
    """A request for a mail.

    Attributes:
        kind: What the mail is for.
        schema: Loads the body.
        status: The answer.
    """

    mailing: Mailing
    flows: MailFlows
    max_body_bytes: int

    methods: ClassVar = ("POST",)
    kind: ClassVar[MailKind]
    schema: ClassVar[marshmallow.Schema] = _MAIL
    status: ClassVar[str]

    def __call__(self, request: Request) -> RawResponse:
        """Answer that a mail is on its way, whether or not it is."""
        body = validated(request, self.schema, self.max_body_bytes)
        fields, cookies = self.flows.begin(request, body)
        mail = MailRequest(**fields, creates_user=body.get("create_user", False))
        self.mailing.request(self.kind, mail, RequestContext.of(request.environ))
        return sent(self.status, cookies)


def _mailing(summary: str, body: type[marshmallow.Schema], meaning: str) -> Mapping[str, Operation]:
    return {"POST": Operation(summary=summary, body=body, answer=SentAnswer, success=(202, meaning), codes=_MAIL_CODES)}


class ResendEndpoint(_MailEndpoint):
    """``POST /api/v1/auth/signup/resend``: the mail of a sign-up once more."""

    kind, status = "confirmation", "confirmation_sent"
    name: ClassVar = "signup_resend"
    paths: ClassVar = ("/api/v1/auth/signup/resend",)
    operations: ClassVar = _mailing("Send the mail of a sign-up again", MailBody, "A mail was sent, if one was due.")


class OtpEndpoint(_MailEndpoint):
    """``POST /api/v1/auth/otp``: a mail with a link and a code to sign in with."""

    kind, status, schema = "code", "code_sent", _OTP
    name: ClassVar = "otp"
    paths: ClassVar = ("/api/v1/auth/otp",)
    operations: ClassVar = _mailing(
        "Send a link and a code to sign in with",
        OtpBody,
        "A mail was sent, if the address has an account or may get one.",
    )


class ForgotEndpoint(_MailEndpoint):
    """``POST /api/v1/auth/password/forgot``: a mail with which a forgotten password can be replaced."""

    kind, status = "recovery", "recovery_sent"
    name: ClassVar = "password_forgot"
    paths: ClassVar = ("/api/v1/auth/password/forgot", "/api/v1/auth/password-reset")
    operations: ClassVar = _mailing(
        "Send a link to replace a forgotten password", MailBody, "A mail was sent, if the address has an account."
    )


def sent(status: str, cookies: Sequence[Header]) -> RawResponse:
    """Return the one answer to requests for mails, whether a mail was sent or not."""
    answer = json_answer({"status": status})
    return RawResponse(answer.body, [*answer.headers, *cookies], _ACCEPTED)


def _data(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's metadata. Both names are written: the migrations read one, other frontends the other."""
    data: dict[str, Any] = dict(body["data"] or {})
    name = next((name for name in (body["display_name"], body["full_name"]) if name), None)
    return data if name is None else {**data, "display_name": name, "full_name": name}
