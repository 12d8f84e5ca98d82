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

from supabase_standin import account, addresses, confirming, params, sessions, signup, timestamps, users
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure, database_trouble

FIELDS: Final[Mapping[str, type]] = {
    "id": str,
    "email": str,
    "password": str,
    "password_hash": str,
    "email_confirm": bool,
    "user_metadata": dict,
    "app_metadata": dict,
    "role": str,
    "aud": str,
    "ban_duration": str,
}
DEFAULT_PAGE_SIZE: Final = 50
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


def page(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``GET /admin/users``: one page, with the total and links in the headers.

    Raises:
        Failure: Page or size are no numbers.
    """
    number, size = _number(call, "page", 1), _number(call, "per_page", DEFAULT_PAGE_SIZE)
    if size == 0:
        raise Failure(500, "unexpected_failure", "Internal Server Error", has_id=False)
    with backend.auth.transaction() as connection:
        found, total = users.page(connection, limit=size, offset=(number - 1) * size)
        shown = [users.shown(connection, user) for user in found]
    last = max(1, -(-total // size))
    links = [f'</admin/users?page={number + 1}&per_page={size}>; rel="next"'] if number < last else []
    links.append(f'</admin/users?page={last}&per_page={size}>; rel="last"')
    call.reply_headers["Link"] = ", ".join(links)
    call.reply_headers["X-Total-Count"] = str(total)
    return {"users": shown, "aud": users.AUDIENCE}


def create(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /admin/users``: a user who need not have signed up.

    Raises:
        Failure: Not valid, taken, or a trigger objected.
    """
    given = params.read(call.body, struct="AdminUserParams", fields=FIELDS)
    if not given.get("email"):
        text = "Cannot create a user without either an email or phone"
        raise Failure(400, "validation_failed", text)
    email = addresses.checked(given["email"])
    user_id = _user_id(given["id"]) if "id" in given else None
    password_hash = _password_hash(backend, given)
    now = backend.clock()
    with backend.auth.transaction() as connection:
        if users.by_email(connection, email) is not None:
            text = "A user with this email address has already been registered"
            raise Failure(422, "email_exists", text)
        with database_trouble("Database error creating new user"):
            user_id = signup.create(
                connection,
                now=now,
                email=email,
                password_hash=password_hash,
                user_metadata=given.get("user_metadata", {}),
                user_id=user_id,
            )
            # An account made by hand says nothing of itself in the user's own metadata.
            own = {"raw_user_meta_data": given.get("user_metadata", {})}
            changes = own | _changes(backend, given, users.get(connection, user_id))
            users.update(connection, user_id, now=now, **changes)
            _confirm(connection, user_id, given, now=now)
        return users.shown(connection, users.get(connection, user_id))


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
            if "email" in given:
                columns["email"] = addresses.checked(given["email"])
                users.update_identity(connection, user.id, {"email": columns["email"]}, now=now)
            users.update(connection, user.id, now=now, **columns)
            _confirm(connection, user.id, given, now=now)
        return users.shown(connection, users.get(connection, user.id))


def delete(backend: Backend, call: Call, user_id: str) -> None:
    """Answer ``DELETE /admin/users/{id}``: gone, or unrecognisable but still there.

    Raises:
        Failure: There is no such user, or another table holds on to the row.
    """
    fields = {"should_soft_delete": bool}
    given = params.read(call.body, struct="adminUserDeleteParams", fields=fields) if call.body else {}
    with backend.auth.transaction() as connection:
        user = known(connection, user_id)
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


def _password_hash(backend: Backend, given: Mapping[str, Any]) -> str:
    if given.get("password_hash"):
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


def _user_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Failure(404, "validation_failed", "user_id must be an UUID") from None


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name)
    if not text:  # the official client sends empty ones for "not given"
        return default
    if not re.fullmatch(r"\d{1,9}", text):
        raise Failure(400, "validation_failed", f"Bad Pagination Parameters: strconv.ParseUint: {text}")
    return max(int(text), 1 if name == "page" else 0)


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
