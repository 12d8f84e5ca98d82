"""The sessions of a user: the list, and the end of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from marshmallow import Schema, fields
from werkzeug.wrappers import Request, Response

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.session_list import SessionList
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse, json_answer, no_content, uuid_in_path
from velro_auth.endpoints.operation import TOKEN, UPSTREAM, Operation

_CODES: Final = (*TOKEN, "insufficient_aal", "too_many_attempts", *UPSTREAM, "resting", "busy")


class ListedSessionAnswer(Schema):
    """A session of the user."""

    id = fields.UUID(required=True)
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    last_used_at = fields.String(
        required=True, metadata={"format": "date-time", "description": "Its last refresh, or its beginning."}
    )
    aal = fields.String(required=True, metadata={"description": "Authenticator assurance level: `aal1`, `aal2`."})
    is_current = fields.Boolean(required=True, metadata={"description": "Whether this request was made with it."})
    address = fields.String(allow_none=True, metadata={"description": "IP address of the client; null if unknown."})
    user_agent = fields.String(allow_none=True, metadata={"description": "null if unknown."})


class SessionsAnswer(Schema):
    """The sessions of the user, the current one first."""

    sessions = fields.List(fields.Nested(ListedSessionAnswer), required=True)


_SESSIONS: Final = SessionsAnswer()


@dataclass(frozen=True)
class SessionsEndpoint:
    """``GET /api/v1/auth/sessions``: the sessions of the user of the token."""

    sessions: SessionList

    name: ClassVar = "sessions"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/api/v1/auth/sessions",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            summary="List the sessions of the user of the token",
            answer=SessionsAnswer,
            success=(200, "The sessions, the current one first."),
            needs_token=True,
            codes=_CODES,
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the list."""
        token = bearer_token(request.headers.get("Authorization"))
        listed = self.sessions.list(token, RequestContext.of(request.environ))
        return json_answer(_SESSIONS.dump({"sessions": listed}))


@dataclass(frozen=True)
class SessionEndpoint:
    """``DELETE /api/v1/auth/sessions/{id}``: ends one session of the user of the token."""

    sessions: SessionList

    name: ClassVar = "session"
    methods: ClassVar = ("DELETE",)
    paths: ClassVar = ("/api/v1/auth/sessions/<session_id>",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "DELETE": Operation(
            summary="End one session of the user of the token",
            success=(204, "It has ended; `verify` refuses its tokens from now on."),
            has_content=False,
            needs_token=True,
            codes=(*_CODES, "not_found"),
        )
    }

    def __call__(self, request: Request) -> Response:
        """Answer when the session has ended."""
        token = bearer_token(request.headers.get("Authorization"))
        session_id = uuid_in_path(request, "session_id")
        self.sessions.end(token, session_id, RequestContext.of(request.environ))
        return no_content()
