"""Refresh, logout and me: what a frontend does with a session after the login."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, Final, cast, get_args

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token, note_too_large
from velro_auth.auth.denylist import Scope
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import json_answer, validated
from velro_auth.endpoints.schemas import LogoutBody, MeAnswer, RefreshBody, SessionAnswer
from velro_auth.errors import InvalidRequest
from velro_auth.web.responses import RawResponse

_REFRESH: Final = RefreshBody(unknown=marshmallow.EXCLUDE)
_LOGOUT: Final = LogoutBody(unknown=marshmallow.EXCLUDE)
_LOGGED_OUT: Final = {"message": "Logged out"}
_SESSION: Final = SessionAnswer()
_ME: Final = MeAnswer()


@dataclass(frozen=True)
class RefreshEndpoint:
    """``POST /api/v1/auth/refresh``: a refresh token for a new session.

    Attributes:
        sessions: Who does it.
        max_body_bytes: Largest request body.
    """

    sessions: Sessions
    max_body_bytes: int

    name: ClassVar = "refresh"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/refresh",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a refresh."""
        token = validated(request, _REFRESH, self.max_body_bytes)["refresh_token"]
        context = RequestContext.of(request.environ)
        session = self.sessions.refresh(token, context)
        note_too_large(session.access_token, context)
        return json_answer(_SESSION.dump(session))


@dataclass(frozen=True)
class LogoutEndpoint:
    """``POST /api/v1/auth/logout``: ends this session, all of the user's, or all the others.

    Attributes:
        sessions: Who does it.
        max_body_bytes: Largest request body.
    """

    sessions: Sessions
    max_body_bytes: int

    name: ClassVar = "logout"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/logout",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a logout. A JSON body may bring the refresh token, and is read only where that is needed."""
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
        is_empty = not request.content_length and "chunked" not in request.headers.get("Transfer-Encoding", "").lower()
        # Frontends send the JSON type without a body, too.
        if is_empty or request.mimetype != "application/json":
            return None
        token: str | None = validated(request, _LOGOUT, self.max_body_bytes)["refresh_token"]
        return token


@dataclass(frozen=True)
class MeEndpoint:
    """``GET /api/v1/auth/me``: who the token belongs to, with the profile row."""

    sessions: Sessions

    name: ClassVar = "me"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/api/v1/auth/me",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer who it is."""
        token = bearer_token(request.headers.get("Authorization"))
        claims, profile = self.sessions.me(token, RequestContext.of(request.environ))
        return json_answer(_ME.dump({"claims": claims, "profile": profile}))
