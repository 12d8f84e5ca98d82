"""Login, refresh and logout: how a frontend gets a session, keeps it and ends it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast, get_args

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.denylist import Scope
from velro_auth.auth.models import Credentials, Session
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import MAX_TOKEN_BYTES
from velro_auth.context import OVERSIZE, RequestContext
from velro_auth.endpoints.bodies import RawResponse, is_empty, json_answer, validated
from velro_auth.endpoints.schemas import LoginBody, LogoutBody, RefreshBody, SessionAnswer
from velro_auth.errors import InvalidRequest

_LOGIN: Final = LoginBody(unknown=marshmallow.EXCLUDE)
_REFRESH: Final = RefreshBody(unknown=marshmallow.EXCLUDE)
_LOGOUT: Final = LogoutBody(unknown=marshmallow.EXCLUDE)
_HOW_TO_REFRESH: Final = 'Send it as JSON: {"refresh_token": "…"}. The access token in Authorization refreshes nothing.'
_LOGGED_OUT: Final = {"message": "Logged out"}
_SESSION: Final = SessionAnswer()
#: What a page is told of a session that a cookie keeps.
_SHOWN: Final = frozenset({"user", "expires_at", "mfa"})


@dataclass(frozen=True)
class LoginEndpoint:
    """``POST /api/v1/auth/login``: an email address and a password for a session.

    Attributes:
        log_in: Returns a new session for credentials, or raises one of our errors.
        max_body_bytes: Largest request body.
    """

    log_in: Callable[[Credentials, RequestContext], Session]
    max_body_bytes: int

    name: ClassVar = "login"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/login",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a login."""
        credentials = Credentials(**validated(request, _LOGIN, self.max_body_bytes))
        context = RequestContext.of(request.environ)
        return session_answer(self.log_in(credentials, context), context)


@dataclass(frozen=True)
class RefreshEndpoint:
    """``POST /api/v1/auth/refresh``: a refresh token for a new session."""

    sessions: Sessions
    max_body_bytes: int

    name: ClassVar = "refresh"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/refresh",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a refresh.

        Raises:
            InvalidRequest: Only an access token was sent, as to the service before this one.
        """
        if is_empty(request) and "Authorization" in request.headers:
            raise InvalidRequest({"refresh_token": [_HOW_TO_REFRESH]})
        token = validated(request, _REFRESH, self.max_body_bytes)["refresh_token"]
        context = RequestContext.of(request.environ)
        return session_answer(self.sessions.refresh(token, context), context)


@dataclass(frozen=True)
class LogoutEndpoint:
    """``POST /api/v1/auth/logout``: ends this session, all sessions of the user, or all the others."""

    sessions: Sessions
    max_body_bytes: int

    name: ClassVar = "logout"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/logout",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a logout. The body may hold the refresh token; it is read only when that token is needed."""
        scope = request.args.get("scope", "global")
        if scope not in get_args(Scope):
            raise InvalidRequest({"scope": ["Must be one of: " + ", ".join(get_args(Scope)) + "."]})
        token = bearer_token(request.headers.get("Authorization"))
        self.sessions.log_out(
            token,
            cast("Scope", scope),
            RequestContext.of(request.environ),
            refresh_token=functools.partial(self._refresh_token, request),
        )
        return json_answer(_LOGGED_OUT)

    def _refresh_token(self, request: Request) -> str | None:
        if kept := RequestContext.of(request.environ).kept_refresh_token:
            return kept
        if is_empty(request) or request.mimetype != "application/json":
            return None
        token: str | None = validated(request, _LOGOUT, self.max_body_bytes)["refresh_token"]
        return token


def session_answer(session: Session, context: RequestContext, **members: Any) -> RawResponse:
    """Answer with *session*, and further *members*; log and count an access token that is too large for a header.

    Where a cookie keeps the session, the answer holds no token.

    Raises:
        UpstreamMisconfigured: The session is too large for cookies.
    """
    if len(session.access_token) > MAX_TOKEN_BYTES:
        context.log_fields[OVERSIZE] = len(session.access_token)
    answer = {**_SESSION.dump(session), **members}
    if session.mfa is None:
        del answer["mfa"]
    if context.keep_session is not None:
        context.keep_session(session)
        answer = {name: value for name, value in answer.items() if name in _SHOWN or name in members}
    return json_answer(answer)
