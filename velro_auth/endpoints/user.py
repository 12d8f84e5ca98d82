"""The user of a token: profile, password, proof of freshness; and anonymous users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import marshmallow
from werkzeug.wrappers import Request, Response

from velro_auth.auth.anonymous import NewAnonymous
from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.freshness import Proof
from velro_auth.auth.models import Profile, Session
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import Claims
from velro_auth.auth.user_changes import NewAddress, NewPassword, UserChanges
from velro_auth.context import RequestContext
from velro_auth.endpoints.account import MailFlows
from velro_auth.endpoints.bodies import RawResponse, json_answer, no_content, validated, validated_if_any
from velro_auth.endpoints.operation import BODY, TOKEN, UPSTREAM, Operation
from velro_auth.endpoints.schemas import MeAnswer, SessionAnswer
from velro_auth.endpoints.sessions import session_answer
from velro_auth.endpoints.user_schemas import AnonymousBody, MailedAnswer, PasswordBody, ProfileBody
from velro_auth.web.flow_cookies import Header

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_ME: Final = MeAnswer()
_PROFILE: Final = ProfileBody(unknown=marshmallow.EXCLUDE)
_PASSWORD: Final = PasswordBody(unknown=marshmallow.EXCLUDE)
_ANONYMOUS: Final = AnonymousBody(unknown=marshmallow.EXCLUDE)
_MAILED: Final = MailedAnswer().dump({})

#: Codes of every route that needs a proof of freshness.
PROOF: Final = (
    "reauthentication_needed",
    "insufficient_aal",
    "captcha_required",
    "too_many_attempts",
    "challenge_required",
)
_CHANGE: Final = Operation(
    summary="Change the display name, the picture or the mail address of the token's user",
    body=ProfileBody,
    answer=MeAnswer,
    success=(200, "The user. A new address stays pending until it is confirmed, and is not shown."),
    needs_token=True,
    codes=(*BODY, *TOKEN, *PROOF, *UPSTREAM, "resting", "busy"),
)


def proof_of(body: Mapping[str, Any]) -> Proof:
    """Return the proof of freshness of a loaded ``ProofBody``."""
    return Proof(body["current_password"], body["captcha_token"], body["challenge"])


def _me_answer(claims: Claims, profile: Profile) -> RawResponse:
    return json_answer(_ME.dump({"claims": claims, "profile": profile, "full_name": profile.display_name}))


@dataclass(frozen=True)
class ProfileEndpoint:
    """``PUT /api/v1/auth/profile``: another name of ``PATCH /api/v1/auth/me``, for older frontends."""

    sessions: Sessions
    changes: UserChanges
    flows: MailFlows
    max_body_bytes: int

    name: ClassVar = "profile"
    methods: ClassVar[tuple[str, ...]] = ("PUT",)
    paths: ClassVar = ("/api/v1/auth/profile",)
    operations: ClassVar[Mapping[str, Operation]] = {"PUT": _CHANGE}

    def __call__(self, request: Request) -> RawResponse:
        """Answer a change as ``GET`` answers, with the new values."""
        token = bearer_token(request.headers.get("Authorization"))
        context = RequestContext.of(request.environ)
        body = validated(request, _PROFILE, self.max_body_bytes)
        address: NewAddress | None = None
        cookies: list[Header] = []
        if "email" in body:
            # First of all, so that a refused request changes nothing.
            mail, cookies = self.flows.begin(request, body)
            address = NewAddress(email=mail["email"], redirect_to=mail["redirect_to"], code_challenge=mail["challenge"])
            self.changes.check_freshness(token, proof_of(body), context)
        values: dict[str, Any] = {
            "display_name" if name == "full_name" else name: body[name]
            for name in ("full_name", "display_name", "avatar_url")
            if name in body
        }
        # An empty name is none.
        values = {name: value or None for name, value in values.items()}
        written = self.changes.change_profile(token, values, context) if values else None
        if address is not None:
            self.changes.change_address(token, address, context)
        if written is not None:
            claims, profile = self.sessions.verify(token, context).claims, written
        else:
            claims, profile = self.sessions.me(token, context)
            profile = dataclasses.replace(profile, **values)
        context.security_event = "profile_changed" if address is None else "address_change_asked_for"
        answer = _me_answer(claims, profile)
        return dataclasses.replace(answer, headers=[*answer.headers, *cookies])


class MeEndpoint(ProfileEndpoint):
    """``/api/v1/auth/me``: the user of the token, with the profile row."""

    name: ClassVar = "me"
    methods: ClassVar = ("GET", "HEAD", "PATCH")
    paths: ClassVar = ("/api/v1/auth/me",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            summary="Tell who the token belongs to, with the profile row",
            answer=MeAnswer,
            success=(200, "The user."),
            needs_token=True,
            codes=(*TOKEN, *UPSTREAM, "too_many_attempts", "busy"),
        ),
        "PATCH": _CHANGE,
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the user."""
        if request.method == "PATCH":
            return super().__call__(request)
        token = bearer_token(request.headers.get("Authorization"))
        claims, profile = self.sessions.me(token, RequestContext.of(request.environ))
        return _me_answer(claims, profile)


@dataclass(frozen=True)
class PasswordEndpoint:
    """``PUT /api/v1/auth/password``: a new password, which ends all other sessions."""

    changes: UserChanges
    max_body_bytes: int

    name: ClassVar = "password"
    methods: ClassVar = ("PUT",)
    paths: ClassVar = ("/api/v1/auth/password",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "PUT": Operation(
            summary="Set a new password, and end all other sessions of the user",
            body=PasswordBody,
            success=(204, "The password was changed."),
            has_content=False,
            needs_token=True,
            codes=(
                *BODY,
                "weak_password",
                "same_password",
                *TOKEN,
                "link_invalid",
                *PROOF,
                *UPSTREAM,
                "resting",
                "busy",
            ),
        )
    }

    def __call__(self, request: Request) -> Response:
        """Answer a change of the password."""
        token = bearer_token(request.headers.get("Authorization"))
        body = validated(request, _PASSWORD, self.max_body_bytes)
        change = NewPassword(password=body["password"], nonce=body["nonce"], proof=proof_of(body))
        self.changes.change_password(token, change, RequestContext.of(request.environ))
        return no_content()


@dataclass(frozen=True)
class ReauthenticateEndpoint:
    """``POST /api/v1/auth/reauthenticate``: mails a code, for projects that demand one with a new password."""

    changes: UserChanges

    name: ClassVar = "reauthenticate"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/reauthenticate",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Mail a code that a project may demand with a new password",
            answer=MailedAnswer,
            success=(202, "A code was mailed, unless too many mails were sent."),
            needs_token=True,
            codes=(*TOKEN, "invalid_request", *UPSTREAM, "too_many_attempts", "resting", "busy"),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer that a code is on its way, whether or not it is."""
        token = bearer_token(request.headers.get("Authorization"))
        self.changes.mail_nonce(token, RequestContext.of(request.environ))
        return json_answer(_MAILED, "202 Accepted")


@dataclass(frozen=True)
class AnonymousEndpoint:
    """``POST /api/v1/auth/anonymous``: a session of a new user without an address."""

    sign_up: Callable[[NewAnonymous, RequestContext], Session]
    max_body_bytes: int

    name: ClassVar = "anonymous"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/anonymous",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Begin a session of a new user without an address, where the project allows it",
            body=AnonymousBody,
            is_body_optional=True,
            answer=SessionAnswer,
            success=(200, "A session."),
            codes=(*BODY, "captcha_required", "not_enabled", "too_many_attempts", *UPSTREAM, "resting", "busy"),
        )
    }

    def __call__(self, request: Request) -> WSGIApplication:
        """Answer with a session."""
        body = validated_if_any(request, _ANONYMOUS, self.max_body_bytes)
        context = RequestContext.of(request.environ)
        wanted = NewAnonymous(data=body["data"] or {}, captcha_token=body["captcha_token"])
        return session_answer(self.sign_up(wanted, context), context)
