"""What administrators do: list, create, change, ban and delete users."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from supabase_standin import (
    account,
    addresses,
    confirming,
    newcomers,
    one_time_tokens,
    params,
    passwords,
    phone_numbers,
    sessions,
    timestamps,
    users,
)
from supabase_standin.backend import SERVICE_ROLE, Backend, Call, write_audit
from supabase_standin.errors import Failure, database_trouble

FIELDS: Final[Mapping[str, type]] = {
    "id": str,
    "email": str,
    "password": str,
    "password_hash": str,
    "phone": str,
    "email_confirm": bool,
    "phone_confirm": bool,
    "user_metadata": dict,
    "app_metadata": dict,
    "role": str,
    "aud": str,
    "ban_duration": str,
}
DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
UNITS_S: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def create(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /admin/users``: a user who need not have signed up.

    Raises:
        Failure: Not valid, taken, or a trigger objected.
    """
    given = params.read(call.body, struct="AdminUserParams", fields=FIELDS)
    if not given.get("email") and not given.get("phone"):
        text = "Cannot create a user without either an email or phone"
        raise Failure(400, "validation_failed", text)
    email = addresses.checked(given["email"]) if given.get("email") else None
    phone = phone_numbers.checked(given["phone"]) if given.get("phone") else None
    user_id = _own_id(given["id"]) if "id" in given else None
    if given.get("password") and given.get("password_hash"):
        raise Failure(400, "validation_failed", "Only a password or a password hash should be provided")
    if "ban_duration" in given:
        _banned_until(given["ban_duration"], now=0)
    now = backend.clock()
    with backend.auth.transaction() as connection:
        _demand_free(connection, email=email, phone=phone)
        password_hash = _password_hash(backend, given)
        with database_trouble("Database error creating new user"):
            user_id = newcomers.create(
                connection,
                now=now,
                email=email,
                phone=phone,
                password_hash=password_hash,
                user_metadata=given.get("user_metadata", {}),
                user_id=user_id,
                by_admin=True,
            )
            users.update(connection, user_id, now=now, **_changes(backend, given, users.get(connection, user_id)))
            _confirm(connection, user_id, given, now=now)
        user = users.get(connection, user_id)
        traits = {"user_id": str(user_id), "user_email": email or "", "user_phone": phone or ""}
        audit_as_admin(connection, "user_signedup", traits, now=now)
        shown = users.shown(connection, user)
    shown.pop("confirmed_at", None)  # the original has not read the generated column yet
    return shown


def show(backend: Backend, user_id: str) -> dict[str, Any]:
    """Answer ``GET /admin/users/{id}``.

    Raises:
        Failure: There is no such user.
    """
    with backend.auth.transaction() as connection:
        return users.shown(connection, known(connection, user_id))


def change(backend: Backend, call: Call, user_id: str) -> dict[str, Any]:
    """Answer ``PUT /admin/users/{id}``; a new password ends all sessions, a ban ends none.

    Raises:
        Failure: There is no such user, or the values are not valid.
    """
    given = params.read(call.body, struct="AdminUserParams", fields=FIELDS)
    now = backend.clock()
    with backend.auth.transaction() as connection:
        user = known(connection, user_id)
        columns = _changes(backend, given, user)
        if "user_metadata" in given:
            columns["raw_user_meta_data"] = account.merged(user.raw_user_meta_data, given["user_metadata"])
        if "password" in given:
            backend.passwords.check(given["password"])
            columns["encrypted_password"] = backend.passwords.hash(given["password"])
            sessions.end(connection, user.id)
        with database_trouble("Error updating user"):
            columns |= _new_addresses(connection, user, given, now=now)
            users.update(connection, user.id, now=now, **columns)
            _confirm(connection, user.id, given, now=now)
        audit_as_admin(connection, "user_modified", _traits(user), now=now)
        shown = users.shown(connection, users.get(connection, user.id))
    return _as_read_before(shown, user, given)


def delete(backend: Backend, call: Call, user_id: str) -> None:
    """Answer ``DELETE /admin/users/{id}``: gone, or unrecognisable but still there.

    Raises:
        Failure: There is no such user, or another table holds on to the row.
    """
    fields = {"should_soft_delete": bool}
    given = params.read(call.body, struct="adminUserDeleteParams", fields=fields) if call.body else {}
    with backend.auth.transaction() as connection:
        user = known(connection, user_id)
        audit_as_admin(connection, "user_deleted", _traits(user), now=backend.clock())
        with database_trouble("Database error deleting user"):
            if given.get("should_soft_delete"):
                _soften(connection, user, now=backend.clock())
            else:
                connection.execute("delete from auth.users where id = %s", [user.id])


def duration_s(text: str) -> float:
    """Return a duration like ``1h30m`` in seconds.

    Raises:
        Failure: It is none.
    """
    if not re.fullmatch(rf"(?:{DURATION_PART.pattern})+", text):
        raise Failure(400, "validation_failed", f'invalid format for ban duration: time: invalid duration "{text}"')
    return sum(float(number) * UNITS_S[unit] for number, unit in DURATION_PART.findall(text))


def _changes(backend: Backend, given: Mapping[str, Any], user: users.User) -> dict[str, Any]:
    columns = {name: given[name] for name in ("role", "aud") if given.get(name)}
    if "app_metadata" in given:
        columns["raw_app_meta_data"] = account.merged(user.raw_app_meta_data, given["app_metadata"])
    if "ban_duration" in given:
        columns["banned_until"] = _banned_until(given["ban_duration"], now=backend.clock())
    return columns


def _banned_until(duration: str, *, now: float) -> Any:
    return None if duration == "none" else timestamps.moment(now + duration_s(duration))


def _confirm(connection: psycopg.Connection, user_id: uuid.UUID, given: Mapping[str, Any], *, now: float) -> None:
    if given.get("email_confirm"):
        # What the identity says of the address stays as it is, in the original too.
        confirming.confirm(connection, user_id, now=now)
    if given.get("phone_confirm"):
        users.update(connection, user_id, now=now, phone_confirmed_at=timestamps.moment(now))
        one_time_tokens.clear_rows(connection, user_id)


def _demand_free(connection: psycopg.Connection, *, email: str | None, phone: str | None) -> None:
    if email is not None and users.by_email(connection, email) is not None:
        text = "A user with this email address has already been registered"
        raise Failure(422, "email_exists", text)
    if phone is not None and users.by_phone(connection, phone) is not None:
        raise Failure(422, "phone_exists", "Phone number already registered by another user")


def _new_addresses(
    connection: psycopg.Connection, user: users.User, given: Mapping[str, Any], *, now: float
) -> dict[str, Any]:
    """Put a new address or number into the identities and return what changes in the user."""
    email = addresses.checked(given["email"]) if given.get("email") else None
    phone = phone_numbers.checked(given["phone"]) if given.get("phone") else None
    for provider, value in (("email", email), ("phone", phone)):
        if value is None:
            continue
        known = {provider: value} | ({f"{provider}_verified": True} if given.get(f"{provider}_confirm") else {})
        if users.has_identity(connection, user.id, provider):
            users.update_identity(connection, user.id, known, now=now, provider=provider)
        else:
            data = {"sub": str(user.id), "email_verified": False, "phone_verified": False, **known}
            users.insert_identity(connection, user.id, provider=provider, data=data, now=now)
    return ({"email": email} if email else {}) | ({"phone": phone} if phone else {})


def _as_read_before(shown: dict[str, Any], user: users.User, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the original shows: a mail identity as it was before a change of the address."""
    if given.get("email") and user.email:
        for identity in shown["identities"]:
            if identity["provider"] == "email":
                identity["email"] = identity["identity_data"]["email"] = user.email
    return shown


def audit_as_admin(connection: psycopg.Connection, action: str, traits: Mapping[str, Any], *, now: float) -> None:
    """Write a row of the audit log about what an administrator did."""
    payload = {
        "action": action,
        "actor_id": str(users.INSTANCE),
        "actor_username": SERVICE_ROLE,
        "actor_via_sso": False,
        "log_type": "user" if action == "user_modified" else "team",
        "traits": dict(traits),
    }
    write_audit(connection, payload, now=now)


def _traits(user: users.User) -> dict[str, Any]:
    return {"user_id": str(user.id), "user_email": user.email or "", "user_phone": user.phone or ""}


def _password_hash(backend: Backend, given: Mapping[str, Any]) -> str:
    if given.get("password_hash"):
        if not passwords.HASH.fullmatch(given["password_hash"]):
            raise Failure(500, "unexpected_failure", "Error creating user")
        return str(given["password_hash"])
    password = given.get("password") or secrets.token_urlsafe(48)
    if len(password.encode()) > 72:  # noqa: PLR2004 - bcrypt's limit; here the original fails late
        raise Failure(500, "unexpected_failure", "Error creating user")
    return backend.passwords.hash(password)


def known(connection: psycopg.Connection, user_id: str) -> users.User:
    """Return a user by what the path says.

    Raises:
        Failure: That is no id, or there is no such user.
    """
    user = users.by_id(connection, _user_id(user_id))
    if user is None:
        raise Failure(404, "user_not_found", "User not found")
    return user


def _own_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Failure(400, "validation_failed", "ID must conform to the uuid v4 format") from None


def _user_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Failure(404, "validation_failed", "user_id must be an UUID") from None


def _soften(connection: psycopg.Connection, user: users.User, *, now: float) -> None:
    hidden = hashlib.sha256(f"{user.id}{user.email or ''}".encode()).digest()
    address = base64.urlsafe_b64encode(hidden).decode().rstrip("=")
    sessions.end(connection, user.id)
    connection.execute("delete from auth.identities where user_id = %s", [user.id])
    users.update(
        connection,
        user.id,
        now=now,
        email=address if user.email else None,
        phone=None,
        encrypted_password="",
        email_change="",
        confirmation_token="",
        recovery_token="",
        email_change_token_new="",
        raw_app_meta_data={},
        raw_user_meta_data={},
        deleted_at=timestamps.moment(now),
    )
