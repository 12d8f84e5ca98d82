"""New accounts: signed up by strangers, or made by an administrator."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from supabase_standin import grants, params, sessions, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, database_trouble

FIELDS: Final[Mapping[str, type]] = {
    "email": str,
    "phone": str,
    "password": str,
    "data": dict,
    "gotrue_meta_security": dict,
}
EMAIL_PROVIDER: Final = {"provider": "email", "providers": ["email"]}


def sign_up(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /signup``: a session with autoconfirm, else the bare user who has mail to read.

    The account and the session are two transactions, as in the original: a failing hook leaves the account.

    Raises:
        Failure: Not allowed, not valid, taken, or a trigger objected.
    """
    grants.check_captcha(backend, call)
    given = params.read(call.body, struct="SignupParams", fields=FIELDS)
    _check(backend, given)
    email = given["email"].strip().lower()
    with backend.auth.transaction() as connection:
        known = users.by_email(connection, email, audience=call.audience)
        if known is not None and known.email_confirmed_at is not None:
            return _known(backend, known)
        if known is None:
            with database_trouble("Database error saving new user"):
                user_id = create(
                    connection,
                    now=backend.clock(),
                    email=email,
                    password_hash=backend.passwords.hash(given["password"]),
                    user_metadata=given.get("data", {}),
                )
            audit(connection, users.get(connection, user_id), call, action="user_signedup", now=backend.clock())
        else:
            user_id = known.id
        _confirm_or_mail(backend, connection, user_id)
        user = users.get(connection, user_id)
        if not backend.config.autoconfirm:
            return users.shown(connection, user)
    return sessions.log_in(backend, call, user)


def create(
    connection: psycopg.Connection,
    *,
    now: float,
    email: str,
    password_hash: str,
    user_metadata: Mapping[str, Any],
    user_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Insert a user, then the identity, then the role: in the order triggers see it in the original."""
    user_id = user_id or uuid.uuid4()
    users.insert(
        connection,
        user_id=user_id,
        now=now,
        email=email,
        phone=None,
        password_hash=password_hash,
        app_metadata=EMAIL_PROVIDER,
        user_metadata=user_metadata,
    )
    known = {"sub": str(user_id), "email": email, "email_verified": False, "phone_verified": False}
    data = {**user_metadata, **known}
    users.insert_identity(connection, user_id, provider="email", data=data, now=now)
    users.update(connection, user_id, now=now, raw_user_meta_data=data)
    users.update(connection, user_id, now=now, role=users.ROLE)
    return user_id


def confirm(connection: psycopg.Connection, user_id: uuid.UUID, *, now: float) -> None:
    """Mark the address as confirmed, in the row and in what the identity and the user say about it."""
    user = users.get(connection, user_id)
    metadata = {**(user.raw_user_meta_data or {}), "email_verified": True}
    users.update_identity(connection, user_id, {"email_verified": True}, now=now)
    users.update(
        connection,
        user_id,
        now=now,
        email_confirmed_at=timestamps.moment(now),
        raw_user_meta_data=metadata,
        confirmation_token="",
    )


def _check(backend: Backend, given: Mapping[str, Any]) -> None:
    if not backend.config.signups:
        raise Failure(422, "signup_disabled", "Signups not allowed for this instance")
    if not given.get("email"):
        if given.get("phone"):
            raise Failure(400, "phone_provider_disabled", "Phone signups are disabled")
        raise Failure(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")
    if not given.get("password"):
        raise Failure(400, "validation_failed", "Signup requires a valid password")
    backend.passwords.check(given["password"])
    if not backend.config.email_logins:
        raise Failure(400, "email_provider_disabled", "Email signups are disabled")
    check_email(given["email"])


def check_email(email: str) -> None:
    """Accept *email* as an address: something before and after one at sign, nothing invisible.

    Raises:
        Failure: It is none.
    """
    local, at, domain = email.strip().rpartition("@")
    is_plain = email.isprintable() and " " not in email.strip() and len(email) <= 255  # noqa: PLR2004 - column
    if not (local and at and "." in domain.strip(".") and is_plain):
        raise Failure(400, "validation_failed", "Unable to validate email address: invalid format")


def _known(backend: Backend, known: users.User) -> dict[str, Any]:
    """Refuse openly with autoconfirm; else pretend, so that nobody learns who has an account."""
    if backend.config.autoconfirm:
        raise Failure(422, "user_already_exists", "User already registered")
    now = timestamps.precise_text(backend.clock())
    return {
        "id": str(uuid.uuid4()),
        "aud": users.AUDIENCE,
        "role": "",
        "email": known.email,
        "phone": "",
        "confirmation_sent_at": now,
        "app_metadata": EMAIL_PROVIDER,
        "user_metadata": {},
        "identities": [],
        "created_at": now,
        "updated_at": now,
        "is_anonymous": False,
    }


def _confirm_or_mail(backend: Backend, connection: psycopg.Connection, user_id: uuid.UUID) -> None:
    now = backend.clock()
    if backend.config.autoconfirm:
        confirm(connection, user_id, now=now)
        return
    # The mail itself goes nowhere; the token is in the table for whoever wants to follow the link.
    token = secrets.token_hex(28)
    users.update(connection, user_id, now=now, confirmation_token=token, confirmation_sent_at=timestamps.moment(now))
