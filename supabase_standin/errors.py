"""Supabase Auth's errors and the two shapes they are sent in.

A caller that sends ``X-Supabase-Api-Version: 2024-01-01`` (or later) gets ``{"code", "message"}``. All other
callers get the older form, which also leaks some of PostgreSQL's own errors.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from werkzeug.wrappers import Response

API_VERSION: Final = "2024-01-01"

#: PostgreSQL's errors that the older form hands out as they are, with status 500.
LEAKED_STATES: Final = frozenset(("P0001", "23000", "23001", "23502", "23503", "23505", "23514", "23P01"))


class Failure(Exception):
    """An answer that is not a success.

    Attributes:
        status: The HTTP status.
        code: The error code; None for errors without one.
        message: The text for people.
        cause: What the database said, if that was the cause.
        reasons: Why a password is weak; sent with the code ``weak_password`` only.
        has_id: Whether the older form carries an ``error_id`` from status 500 on.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        cause: psycopg.Error | None = None,
        reasons: Sequence[str] = (),
        has_id: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.cause = cause
        self.reasons = reasons
        self.has_id = has_id

    def respond(self, version: str | None) -> Response:
        """Return this failure in the shape the caller asked for."""
        return self._respond_new() if is_new(version) else self._respond_old()

    def _respond_new(self) -> Response:
        body: dict[str, Any] = {"code": self._code_or_default(), "message": self.message}
        response = as_json(self.status, body | self._weakness())
        response.headers["X-Supabase-Api-Version"] = API_VERSION
        if self.code and not self.reasons:
            response.headers["x-sb-error-code"] = self.code
        return response

    def _respond_old(self) -> Response:
        leaked = _leaked(self.cause) if self.code else None
        if leaked is not None:
            status, body = leaked
        else:
            status = self.status
            body = {"code": status, "error_code": self._code_or_default(), "msg": self.message}
            if status >= 500 and self.has_id:  # noqa: PLR2004 - the class of the status
                body["error_id"] = str(uuid.uuid4())
        response = as_json(status, body | self._weakness())
        if self.code:
            response.headers["x-sb-error-code"] = self.code
        return response

    def _code_or_default(self) -> str:
        if self.code:
            return self.code
        return "unexpected_failure" if self.status == 500 else "unknown"  # noqa: PLR2004

    def _weakness(self) -> dict[str, Any]:
        return {"weak_password": {"reasons": list(self.reasons)}} if self.reasons else {}


class OAuthFailure(Failure):
    """A failure in OAuth's form: always status 400, in either version."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(400, None, description)
        self.error = error

    def respond(self, version: str | None) -> Response:
        """Return OAuth's two keys."""
        response = as_json(400, {"error": self.error, "error_description": self.message})
        if is_new(version):
            response.headers["X-Supabase-Api-Version"] = API_VERSION
        return response


def unhandled() -> Failure:
    """Return the failure for every unexpected error."""
    text = "Unexpected failure, please check server logs for more information"
    return Failure(500, None, text, has_id=False)


@contextlib.contextmanager
def database_trouble(message: str) -> Iterator[None]:
    """Turn what the database says into a 500 with *message*.

    Raises:
        Failure: The database failed.
    """
    try:
        yield
    except psycopg.Error as error:
        raise Failure(500, "unexpected_failure", message, cause=error) from error


def as_json(status: int, value: Any) -> Response:
    """Return *value* as an answer, with the content type Supabase sends (no charset)."""
    response = Response(json.dumps(value, separators=(",", ":")), status)
    response.headers["Content-Type"] = "application/json"
    return response


def is_new(version: str | None) -> bool:
    """Tell whether *version*, a date, asks for the newer shape of errors."""
    return bool(version and re.fullmatch(r"\d{4}-\d\d-\d\d", version) and version >= API_VERSION)


def _leaked(cause: psycopg.Error | None) -> tuple[int, dict[str, Any]] | None:
    """Return status and body when *cause* is one of the states the older form hands out."""
    state = cause.sqlstate if cause is not None else None
    if cause is None or state is None:
        return None
    chosen = re.fullmatch(r"PT([1-5]\d\d)", state)
    if state not in LEAKED_STATES and chosen is None:
        return None
    said = cause.diag
    body = {"code": state, "message": said.message_primary or ""}
    body |= {"hint": said.message_hint} if said.message_hint else {}
    body |= {"detail": said.message_detail} if said.message_detail else {}
    return (int(chosen[1]) if chosen else 500), body
