"""PostgREST's errors: its own, and PostgreSQL's with a status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import psycopg
from werkzeug.wrappers import Response

from supabase_standin.errors import as_json

#: SQLSTATE, or the first two characters of one → status (PostgREST's reference, "Errors").
STATUSES: Final[Mapping[str, int]] = {
    "08": 503,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "28": 403,
    "40": 500,
    "42883": 404,
    "42P01": 404,
    "53": 503,
    "57": 500,
}
UNAUTHORIZED: Final = 401


class RestFailure(Exception):
    """An answer that is not a success, in PostgREST's shape."""

    def __init__(
        self, status: int, code: str, message: str, *, details: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "details": details, "hint": hint, "message": message}

    def respond(self) -> Response:
        """Return the answer."""
        response = as_json(self.status, self.body)
        response.headers["Content-Type"] = "application/json; charset=utf-8"
        if self.status == UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def no_table(name: str) -> RestFailure:
    """Return the failure for a table that is not there."""
    return RestFailure(404, "PGRST205", f"Could not find the table 'public.{name}' in the schema cache")


def translated(error: psycopg.Error, *, role: str) -> RestFailure:
    """Return what a caller with *role* is told about *error*."""
    state = error.sqlstate or "22021"  # psycopg itself refuses a NUL before it reaches the server
    if state == "42P01":
        return no_table("users")
    return RestFailure(
        _status(state, role=role),
        state,
        error.diag.message_primary or str(error),
        details=error.diag.message_detail,
        hint=error.diag.message_hint,
    )


def _status(state: str, *, role: str) -> int:
    if state == "42501":  # insufficient privilege
        return UNAUTHORIZED if role == "anon" else 403
    chosen = re.fullmatch(r"PT([1-5]\d\d)", state)
    if chosen:
        return int(chosen[1])
    return STATUSES.get(state) or STATUSES.get(state[:2], 400)
