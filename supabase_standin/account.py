"""What users do with their own account: look at it, change it, leave."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from supabase_standin import (
    addresses,
    bearer,
    confirming,
    flow_states,
    mails,
    one_time_tokens,
    params,
    sessions,
    timestamps,
    users,
)
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, database_trouble
from supabase_standin.one_time_tokens import Kind

FIELDS: Final[Mapping[str, type]] = {
    "email": str,
    "password": str,
    "nonce": str,
    "current_password": str,
    "data": dict,
    "app_metadata": dict,
    **flow_states.FIELDS,
}
#: How old a session may be before a new password needs a nonce, where nonces are wanted.
FRESH_FOR_S: Final = 24 * 3600
#: Authentication methods of a session that a mail began: no present password is asked for in it.
MAILED_METHODS: Final = frozenset(("otp", "recovery"))
EMAIL_TAKEN: Final = "A user with this email address has already been registered"


def show(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``GET /user``: the one call that proves that user and session still exist.

    Raises:
        Failure: The token, the session or the user is not good.
    """
    who = bearer.user(backend, call)
    # Without the header the token's own audience is meant.
    if not who.claims.get("aud") or call.headers.get("x-jwt-aud", who.claims["aud"]) != who.claims["aud"]:
        raise Failure(400, "validation_failed", "Token audience doesn't match request audience")
    with backend.auth.transaction() as connection:
        return users.shown(connection, who.user)


def change(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``PUT /user``: a new password, a new address, other data.

    Raises:
        Failure: The token is not good, the change is not allowed, or the mail cannot be sent.
    """
    who = bearer.user(backend, call)
    backend.limits.demand("user", call.limited_as)
    given = params.read(call.body, struct="UserUpdateParams", fields=FIELDS)
    _check_form(backend, given)
    _check_rights(backend, who, given)
    if "password" in given:
        _check_password(backend, who, given)
    new_email = _new_email(who.user, given)
    with backend.auth.transaction() as connection:
        _write(backend, connection, who, given)
        if new_email:
            _change_email(backend, connection, call, who.user, email=new_email, given=given)
        audit(connection, who.user, call, action="user_modified", now=backend.clock())
        shown = users.shown(connection, users.get(connection, who.user.id))
    if who.user.is_anonymous and not shown["is_anonymous"]:
        shown.pop("confirmed_at", None)  # the original has not read the generated column yet
    return shown


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


def _check_form(backend: Backend, given: Mapping[str, Any]) -> None:
    if given.get("email"):
        addresses.checked(given["email"])
    if "password" in given:
        backend.passwords.check(given["password"])
    flow_states.check(given)


def _check_rights(backend: Backend, who: bearer.Bearer, given: Mapping[str, Any]) -> None:
    if "app_metadata" in given and who.claims.get("role") not in {*bearer.ADMIN_ROLES, "admin"}:
        raise Failure(403, "not_admin", "Updating app_metadata requires admin privileges")
    new_email = _new_email(who.user, given)
    with backend.auth.transaction() as connection:
        if ("password" in given or new_email) and who.claims.get("aal") != "aal2":
            _refuse_without_second_factor(connection, who.user)
        if who.user.is_anonymous and "password" in given and not given.get("email"):
            text = "Updating password of an anonymous user without an email or phone is not allowed"
            raise Failure(422, "validation_failed", text)
        if new_email and users.by_email(connection, new_email) is not None:
            raise Failure(422, "email_exists", EMAIL_TAKEN)


def _refuse_without_second_factor(connection: psycopg.Connection, user: users.User) -> None:
    if users.has_verified_factor(connection, user.id):
        text = "AAL2 session is required to update email or password when MFA is enabled."
        raise Failure(401, "insufficient_aal", text)


def _check_password(backend: Backend, who: bearer.Bearer, given: Mapping[str, Any]) -> None:
    with backend.auth.transaction() as connection:
        session = sessions.find(connection, who.session_id) if who.session_id else None
        methods = sessions.methods(connection, session.id) if session else []
    if backend.config.password_reauthentication:
        young = timestamps.moment(backend.clock() - FRESH_FOR_S)
        if session is None or session.created_at < young:
            _spend_nonce(backend, who.user, given.get("nonce", ""))
    stored, was_mailed = who.user.encrypted_password, bool(MAILED_METHODS & set(methods))
    if backend.config.password_needs_current and stored and not was_mailed:
        _check_current(backend, stored, given.get("current_password", ""))
    if stored and backend.passwords.matches(given["password"], stored):
        text = "New password should be different from the old password."
        raise Failure(422, "same_password", text)


def _spend_nonce(backend: Backend, user: users.User, nonce: str) -> None:
    """Check the mailed nonce and forget it, even if the new password is refused."""
    if not nonce:
        raise Failure(400, "reauthentication_needed", "Password update requires reauthentication")
    now, shown = backend.clock(), one_time_tokens.hashed(user.email or "", nonce)
    kept, sent_at = user.reauthentication_token, user.reauthentication_sent_at
    if not one_time_tokens.is_good(shown, kept, sent_at, now=now, lifetime_s=backend.config.otp_exp_s):
        raise Failure(422, "reauthentication_not_valid", "Nonce has expired or is invalid")
    with backend.auth.transaction() as connection:
        one_time_tokens.clear(connection, user.id, Kind.REAUTHENTICATION, now=now)


def _check_current(backend: Backend, stored: str, current: str) -> None:
    text = "Current password required when setting new password."
    if not current:
        raise Failure(400, "current_password_required", text)
    if not backend.passwords.matches(current, stored):
        raise Failure(400, "current_password_invalid", text)


def _write(backend: Backend, connection: psycopg.Connection, who: bearer.Bearer, given: Mapping[str, Any]) -> None:
    user, columns = who.user, dict[str, Any]()
    if "password" in given:
        columns = {"encrypted_password": backend.passwords.hash(given["password"]), **one_time_tokens.FORGOTTEN}
        one_time_tokens.clear_rows(connection, user.id)
        sessions.end(connection, user.id, but=who.session_id)
    if "data" in given:
        columns["raw_user_meta_data"] = merged(user.raw_user_meta_data, given["data"])
    if "app_metadata" in given:
        columns["raw_app_meta_data"] = merged(user.raw_app_meta_data, given["app_metadata"])
    with database_trouble("Error updating user"):
        users.update(connection, user.id, now=backend.clock(), **columns)


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """Return *old* with the values of *new*; ``null`` takes a key away."""
    return {key: value for key, value in {**(old or {}), **new}.items() if value is not None}


def _new_email(user: users.User, given: Mapping[str, Any]) -> str:
    email = str(given.get("email", "")).lower()
    return "" if email == (user.email or "") else email


def _change_email(
    backend: Backend,
    connection: psycopg.Connection,
    call: Call,
    user: users.User,
    *,
    email: str,
    given: Mapping[str, Any],
) -> None:
    """Begin a change of address; only a guest's is done at once, and only where no mail is needed."""
    user = users.get(connection, user.id)
    if user.is_anonymous and backend.config.autoconfirm:
        users.update(connection, user.id, now=backend.clock(), email_change=email)
        confirming.change_email(backend, connection, users.get(connection, user.id))
        return
    pkce = bool(given.get("code_challenge"))
    if pkce:
        now, kind = backend.clock(), "email_change"
        flow_states.start(connection, given, provider=kind, method=kind, now=now, user_id=user.id)
    mails.send_email_change(backend, connection, call, user, email, pkce=pkce)
