"""What users do with their own account: look at it, change it, leave."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from supabase_standin import bearer, params, sessions, signup, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, database_trouble

FIELDS: Final[Mapping[str, type]] = {
    "email": str,
    "password": str,
    "data": dict,
    "app_metadata": dict,
}


def show(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``GET /user``: the one call that proves that user and session still exist.

    Raises:
        Failure: The token, the session or the user is not good.
    """
    who = bearer.user(backend, call)
    if who.claims.get("aud") != call.audience:
        raise Failure(400, "validation_failed", "Token audience doesn't match request audience")
    with backend.auth.transaction() as connection:
        return users.shown(connection, who.user)


def change(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``PUT /user``: a new password, a new address, other data.

    Raises:
        Failure: The token is not good, or the change is not allowed.
    """
    who = bearer.user(backend, call)
    given = params.read(call.body, struct="UserUpdateParams", fields=FIELDS)
    _check(backend, who, given)
    columns = _plain_changes(backend, who, given)
    with backend.auth.transaction() as connection:
        _demand_second_factor(connection, who, given)
        if "email" in given:
            columns |= _new_email(connection, who.user, given["email"], now=backend.clock())
        with database_trouble("Error updating user"):
            users.update(connection, who.user.id, now=backend.clock(), **columns)
        if "password" in given:
            sessions.end(connection, who.user.id, but=who.session_id)
        audit(connection, who.user, call, action="user_modified", now=backend.clock())
        return users.shown(connection, users.get(connection, who.user.id))


def log_out(backend: Backend, call: Call) -> None:
    """Answer ``POST /logout``: delete this session, the others, or all.

    Raises:
        Failure: The token is not good, or there is no such scope.
    """
    scope = call.query.get("scope") or "global"
    who = bearer.user(backend, call)
    if scope not in {"global", "local", "others"}:
        raise Failure(400, "validation_failed", f'Unsupported logout scope "{scope}"')
    reach: dict[str, uuid.UUID | None] = {}
    if scope != "global" and who.session_id is not None:
        reach = {"only" if scope == "local" else "but": who.session_id}
    with backend.auth.transaction() as connection:
        audit(connection, who.user, call, action="logout", now=backend.clock())
        sessions.end(connection, who.user.id, **reach)


def _check(backend: Backend, who: bearer.Bearer, given: Mapping[str, Any]) -> None:
    if "app_metadata" in given and who.claims.get("role") not in {*bearer.ADMIN_ROLES, "admin"}:
        raise Failure(403, "not_admin", "Updating app_metadata requires admin privileges")
    if "email" in given:
        signup.check_email(given["email"])
    if "password" in given:
        backend.passwords.check(given["password"])
        stored = who.user.encrypted_password
        if stored and backend.passwords.matches(given["password"], stored):
            text = "New password should be different from the old password."
            raise Failure(422, "same_password", text)


def _demand_second_factor(connection: psycopg.Connection, who: bearer.Bearer, given: Mapping[str, Any]) -> None:
    is_sensitive = "password" in given or "email" in given
    if not is_sensitive or who.claims.get("aal") == "aal2":
        return
    if users.has_verified_factor(connection, who.user.id):
        text = "AAL2 session is required to update email or password when MFA is enabled."
        raise Failure(401, "insufficient_aal", text)


def _plain_changes(backend: Backend, who: bearer.Bearer, given: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "password" in given:
        columns["encrypted_password"] = backend.passwords.hash(given["password"])
    if "data" in given:
        columns["raw_user_meta_data"] = merged(who.user.raw_user_meta_data, given["data"])
    if "app_metadata" in given:
        columns["raw_app_meta_data"] = merged(who.user.raw_app_meta_data, given["app_metadata"])
    return columns


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """Return *old* with the values of *new*; ``null`` takes a key away."""
    return {key: value for key, value in {**(old or {}), **new}.items() if value is not None}


def _new_email(connection: psycopg.Connection, user: users.User, email: str, *, now: float) -> dict[str, Any]:
    """Begin a change of address: it stays pending until a link is followed, autoconfirm or not."""
    email = email.strip().lower()
    if email == user.email:
        return {}
    if users.by_email(connection, email) is not None:
        text = "A user with this email address has already been registered"
        raise Failure(422, "email_exists", text)
    return {"email_change": email, "email_change_sent_at": timestamps.moment(now), "email_change_confirm_status": 0}
