"""``POST /api/v1/auth/login``: a mail address and a password for a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.bearer import note_too_large
from velro_auth.auth.models import Credentials, Session
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import json_answer, validated
from velro_auth.endpoints.schemas import LoginBody, SessionAnswer
from velro_auth.web.responses import RawResponse

_BODY: Final = LoginBody(unknown=marshmallow.EXCLUDE)
_ANSWER: Final = SessionAnswer()


class LogsIn(Protocol):
    """Whatever turns credentials into a session."""

    def __call__(self, credentials: Credentials, context: RequestContext) -> Session:
        """Return a new session, or raise one of our errors."""


@dataclass(frozen=True)
class LoginEndpoint:
    """Validates what came in, logs in, and shapes what goes out.

    Attributes:
        log_in: Who does it.
        max_body_bytes: Largest request body.
    """

    log_in: LogsIn
    max_body_bytes: int

    name: ClassVar = "login"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/login",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a login."""
        credentials = Credentials(**validated(request, _BODY, self.max_body_bytes))
        context = RequestContext.of(request.environ)
        session = self.log_in(credentials, context)
        note_too_large(session.access_token, context)
        return json_answer(_ANSWER.dump(session))
