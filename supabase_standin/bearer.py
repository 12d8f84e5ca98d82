"""Whose token is this: the check before every route that acts for a user or an administrator."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final

import jwt

from supabase_standin import sessions, users
from supabase_standin.backend import SERVICE_ROLE, Backend, Call
from supabase_standin.errors import Failure

ADMIN_ROLES: Final = (SERVICE_ROLE, "supabase_admin")
UNPARSABLE: Final = "invalid JWT: unable to parse or verify signature, "


@dataclass(frozen=True, kw_only=True)
class Bearer:
    """A user whose access token was good.

    Attributes:
        user: Who.
        session_id: The session the token belongs to, None for tokens without one.
        claims: What the token says.
    """

    user: users.User
    session_id: uuid.UUID | None
    claims: dict[str, Any]


def claims(backend: Backend, call: Call) -> dict[str, Any]:
    """Return what the request's bearer token says.

    The platform's edge knows its API keys and puts a token with the key's role in their place.

    Raises:
        Failure: There is none, or it is not good.
    """
    if call.bearer is None:
        raise Failure(401, "no_authorization", "This endpoint requires a valid Bearer token")
    if call.bearer == backend.config.secret_key:
        return {"role": SERVICE_ROLE}
    if call.bearer == backend.config.publishable_key:
        return {"role": "anon"}
    try:
        return backend.keys.verify(call.bearer)
    except jwt.PyJWTError as error:
        raise Failure(403, "bad_jwt", UNPARSABLE + _reason(error)) from error


def user(backend: Backend, call: Call) -> Bearer:
    """Return the user of the request's access token; the session must still be there.

    Raises:
        Failure: No token, a bad one, or user or session are gone.
    """
    said = claims(backend, call)
    user_id = _user_id(said)
    with backend.auth.transaction() as connection:
        found = users.by_id(connection, user_id)
        if found is None:
            raise Failure(403, "user_not_found", "User from sub claim in JWT does not exist")
        session_id = _uuid(said.get("session_id"))
        if session_id is not None and sessions.find(connection, session_id) is None:
            text = "Session from session_id claim in JWT does not exist"
            raise Failure(403, "session_not_found", text)
    if found.is_banned(backend.clock()):
        raise Failure(403, "user_banned", "User is banned")
    return Bearer(user=found, session_id=session_id, claims=said)


def demand_admin(backend: Backend, call: Call) -> None:
    """Let administrators pass: the secret key, as ``apikey`` or bearer, or a token with such a role.

    Raises:
        Failure: The caller is no administrator.
    """
    if claims(backend, call).get("role") not in ADMIN_ROLES:
        raise Failure(403, "not_admin", "User not allowed")


def is_administrator(backend: Backend, call: Call) -> bool:
    """Return whether the call is an administrator's."""
    try:
        demand_admin(backend, call)
    except Failure:
        return False
    return True


def _user_id(said: dict[str, Any]) -> uuid.UUID:
    if not said.get("sub"):
        raise Failure(403, "bad_jwt", "invalid claim: missing sub claim")
    user_id = _uuid(said["sub"])
    if user_id is None:
        raise Failure(400, "bad_jwt", "invalid claim: sub claim must be a UUID")
    return user_id


def _uuid(value: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def _reason(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.ExpiredSignatureError):
        return "token has invalid claims: token is expired"
    if isinstance(error, jwt.InvalidSignatureError):
        return "token signature is invalid: crypto/ecdsa: verification error"
    if isinstance(error, jwt.InvalidKeyError):
        return f"token is unverifiable: error while executing keyfunc: {error}"
    return f"token is malformed: {error}"
