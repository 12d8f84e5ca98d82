"""What a confirmed address changes: in the user, in the identity, and in what was mailed before."""

from __future__ import annotations

import secrets
import uuid

import psycopg

from supabase_standin import one_time_tokens, timestamps, users
from supabase_standin.backend import Backend
from supabase_standin.one_time_tokens import Kind

EMAIL_PROVIDER = {"provider": "email", "providers": ["email"]}


def confirm(connection: psycopg.Connection, user_id: uuid.UUID, *, now: float) -> None:
    """Mark the user's address as confirmed; links that were mailed before are useless then."""
    metadata = {**(users.get(connection, user_id).raw_user_meta_data or {}), "email_verified": True}
    users.update(
        connection,
        user_id,
        now=now,
        email_confirmed_at=timestamps.moment(now),
        raw_user_meta_data=metadata,
        confirmation_token="",
    )
    one_time_tokens.clear_rows(connection, user_id)


def confirm_identity(connection: psycopg.Connection, user: users.User, *, now: float) -> None:
    """Mark the address as verified in the identities that hold it."""
    connection.execute(
        "update auth.identities set identity_data = identity_data || '{\"email_verified\": true}', updated_at = %s"
        " where user_id = %s and email = lower(%s)",
        [timestamps.moment(now), user.id, user.email or ""],
    )


def confirm_sign_up(backend: Backend, connection: psycopg.Connection, user: users.User) -> None:
    """Finish a sign-up or accept an invitation; an invited user without password gets a random one."""
    now = backend.clock()
    if not user.encrypted_password and user.invited_at is not None:
        password_hash = backend.passwords.hash(secrets.token_urlsafe(48))
        # A new password forgets when mails were sent, in the original too.
        users.update(connection, user.id, now=now, encrypted_password=password_hash, confirmation_sent_at=None)
    confirm(connection, user.id, now=now)
    confirm_identity(connection, user, now=now)


def recover(backend: Backend, connection: psycopg.Connection, user: users.User) -> None:
    """Spend a recovery secret; it proves the address as well."""
    now = backend.clock()
    one_time_tokens.clear(connection, user.id, Kind.RECOVERY, now=now)
    one_time_tokens.clear_rows(connection, user.id)
    if user.email_confirmed_at is None:
        confirm(connection, user.id, now=now)


def needs_both_addresses(backend: Backend, user: users.User) -> bool:
    """Tell whether this confirmation of a change of address is the first of two."""
    config = backend.config
    is_double = config.secure_email_change and not config.autoconfirm and bool(user.email)
    return is_double and not user.email_change_confirm_status


def confirm_one_address(backend: Backend, connection: psycopg.Connection, user: users.User, kind: Kind) -> None:
    """Note the first of two confirmations; the address stays as it is."""
    now = backend.clock()
    one_time_tokens.clear(connection, user.id, kind, now=now)
    users.update(connection, user.id, now=now, email_change_confirm_status=1)


def change_email(backend: Backend, connection: psycopg.Connection, user: users.User) -> None:
    """Give the user the pending address; a guest becomes a permanent user by that."""
    now = backend.clock()
    known = {"email": user.email_change, "email_verified": True}
    if users.has_identity(connection, user.id, "email"):
        users.update_identity(connection, user.id, known, now=now)
    else:
        data = {"sub": str(user.id), **known, "phone_verified": False}
        users.insert_identity(connection, user.id, provider="email", data=data, now=now)
    one_time_tokens.clear(connection, user.id, Kind.EMAIL_CHANGE_CURRENT, Kind.EMAIL_CHANGE_NEW, now=now)
    users.update(
        connection,
        user.id,
        now=now,
        email=user.email_change,
        email_change="",
        email_change_confirm_status=0,
        is_anonymous=False,
    )
    if user.email_confirmed_at is None:
        confirm(connection, user.id, now=now)
