"""Users and identities: reading, writing, and the JSON they are shown as."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from supabase_standin import factortable, timestamps
from supabase_standin.errors import Failure

AUDIENCE: Final = "authenticated"
ROLE: Final = "authenticated"
#: Rows with another (or no) instance are invisible.
INSTANCE: Final = uuid.UUID(int=0)

#: Optional timestamps, in the order they are shown.
SHOWN_TIMES: Final = (
    "email_confirmed_at",
    "phone_confirmed_at",
    "confirmed_at",
    "invited_at",
    "confirmation_sent_at",
    "recovery_sent_at",
    "email_change_sent_at",
    "phone_change_sent_at",
    "reauthentication_sent_at",
    "last_sign_in_at",
    "banned_until",
    "deleted_at",
)
#: Columns the original reads into plain strings and times: a NULL there makes the row unreadable.
NEVER_NULL: Final = (
    "aud",
    "role",
    "confirmation_token",
    "recovery_token",
    "email_change_token_new",
    "email_change",
    "created_at",
    "updated_at",
)


@dataclass(frozen=True, kw_only=True)
class User:
    """A row of ``auth.users``, columns as in the table."""

    id: uuid.UUID
    aud: str
    role: str
    email: str | None
    phone: str | None
    encrypted_password: str | None
    email_confirmed_at: datetime | None
    phone_confirmed_at: datetime | None
    confirmed_at: datetime | None
    invited_at: datetime | None
    confirmation_token: str
    confirmation_sent_at: datetime | None
    recovery_token: str
    recovery_sent_at: datetime | None
    email_change_token_new: str
    email_change: str
    email_change_token_current: str | None
    email_change_confirm_status: int | None
    email_change_sent_at: datetime | None
    phone_change_token: str | None
    phone_change: str | None
    phone_change_sent_at: datetime | None
    reauthentication_token: str | None
    reauthentication_sent_at: datetime | None
    last_sign_in_at: datetime | None
    raw_app_meta_data: dict[str, Any] | None
    raw_user_meta_data: dict[str, Any] | None
    banned_until: datetime | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    is_anonymous: bool

    def is_banned(self, now: float) -> bool:
        """Tell whether the ban lasts at *now*."""
        return self.banned_until is not None and self.banned_until > timestamps.moment(now)


COLUMNS: Final = ", ".join(field.name for field in fields(User))


def by_email(connection: psycopg.Connection, email: str, *, audience: str = AUDIENCE) -> User | None:
    """Return the user of an address, None when there is none."""
    return _one(connection, "lower(email) = %s and aud = %s", [email.lower(), audience])


def by_phone(connection: psycopg.Connection, phone: str, *, audience: str = AUDIENCE) -> User | None:
    """Return the user of a phone number, None when there is none."""
    return _one(connection, "phone = %s and aud = %s", [phone, audience])


def by_id(connection: psycopg.Connection, user_id: uuid.UUID) -> User | None:
    """Return the user with an id, None when there is none."""
    return _one(connection, "id = %s", [user_id])


def get(connection: psycopg.Connection, user_id: uuid.UUID) -> User:
    """Return the user with an id who is known to exist."""
    user = by_id(connection, user_id)
    assert user is not None
    return user


def page(
    connection: psycopg.Connection, *, limit: int, offset: int, order: str, text: str = ""
) -> tuple[list[User], int]:
    """Return some users and how many there are; *order* is SQL, *text* is part of an address or a full name."""
    condition = "instance_id = %s and (%s = '' or email like %s or raw_user_meta_data ->> 'full_name' ilike %s)"
    values = [INSTANCE, text, f"%{text}%", f"%{text}%"]
    statement = f"select {COLUMNS} from auth.users where {condition} order by {order}, id limit %s offset %s"
    with connection.cursor(row_factory=class_row(User)) as cursor:
        found = cursor.execute(statement.encode(), [*values, limit, offset]).fetchall()
    row = connection.execute(f"select count(*) from auth.users where {condition}".encode(), values).fetchone()
    return [_readable(user) for user in found], row[0] if row else 0


def insert(
    connection: psycopg.Connection,
    *,
    user_id: uuid.UUID,
    now: float,
    email: str | None,
    phone: str | None,
    password_hash: str,
    app_metadata: Mapping[str, Any],
    user_metadata: Mapping[str, Any],
) -> None:
    """Insert a user the way triggers see it: no role yet, not confirmed yet, no identity yet."""
    moment = timestamps.moment(now)
    connection.execute(
        "insert into auth.users (instance_id, id, aud, role, email, phone, encrypted_password,"
        " confirmation_token, recovery_token, email_change_token_new, email_change,"
        " raw_app_meta_data, raw_user_meta_data, created_at, updated_at)"
        " values (%s, %s, %s, '', %s, %s, %s, '', '', '', '', %s, %s, %s, %s)",
        [
            INSTANCE,
            user_id,
            AUDIENCE,
            email,
            phone,
            password_hash,
            Jsonb(app_metadata),
            Jsonb(user_metadata),
            moment,
            moment,
        ],
    )


def update(connection: psycopg.Connection, user_id: uuid.UUID, *, now: float, **columns: Any) -> None:
    """Set some columns of a user; dictionaries become JSON."""
    columns["updated_at"] = timestamps.moment(now)
    names = ", ".join(f"{name} = %s" for name in columns)
    values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
    connection.execute(f"update auth.users set {names} where id = %s".encode(), [*values, user_id])


def insert_identity(
    connection: psycopg.Connection,
    user_id: uuid.UUID,
    *,
    provider: str,
    data: Mapping[str, Any],
    now: float,
    subject: str | None = None,
) -> None:
    """Insert how a user logs in; *subject* is the id at the provider, None for the user's own."""
    moment = timestamps.moment(now)
    connection.execute(
        "insert into auth.identities"
        " (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        [subject or str(user_id), user_id, Jsonb(dict(data)), provider, moment, moment, moment],
    )


def update_identity(
    connection: psycopg.Connection,
    user_id: uuid.UUID,
    changes: Mapping[str, Any],
    *,
    now: float,
    provider: str = "email",
) -> None:
    """Merge *changes* into what an identity knows."""
    connection.execute(
        "update auth.identities set identity_data = identity_data || %s, updated_at = %s"
        " where user_id = %s and provider = %s",
        [Jsonb(changes), timestamps.moment(now), user_id, provider],
    )


def has_identity(connection: psycopg.Connection, user_id: uuid.UUID, provider: str) -> bool:
    """Tell whether the user logs in by *provider*."""
    row = connection.execute(
        "select 1 from auth.identities where user_id = %s and provider = %s limit 1", [user_id, provider]
    ).fetchone()
    return row is not None


def shown(connection: psycopg.Connection, user: User) -> dict[str, Any]:
    """Return *user* as JSON shows it."""
    body: dict[str, Any] = {
        "id": str(user.id),
        "aud": user.aud,
        "role": user.role,
        "email": user.email or "",
        "phone": user.phone or "",
    }
    body |= {name: timestamps.text(getattr(user, name)) for name in SHOWN_TIMES if getattr(user, name)}
    body |= {"new_email": user.email_change} if user.email_change else {}
    body |= {"new_phone": user.phone_change} if user.phone_change else {}
    factors = [factor.shown() for factor in factortable.of_user(connection, user.id)]
    body |= {"factors": factors} if factors else {}
    return body | {
        "app_metadata": user.raw_app_meta_data or {},
        "user_metadata": user.raw_user_meta_data or {},
        "identities": _identities(connection, user.id),
        "created_at": timestamps.text(user.created_at),
        "updated_at": timestamps.text(user.updated_at),
        "is_anonymous": user.is_anonymous,
    }


def has_verified_factor(connection: psycopg.Connection, user_id: uuid.UUID) -> bool:
    """Tell whether the user has a second factor in use."""
    return any(factor.is_verified for factor in factortable.of_user(connection, user_id))


def _one(connection: psycopg.Connection, condition: str, values: list[Any]) -> User | None:
    statement = (
        f"select {COLUMNS} from auth.users where instance_id = %s and is_sso_user = false and {condition} limit 1"
    )
    with connection.cursor(row_factory=class_row(User)) as cursor:
        user = cursor.execute(statement.encode(), [INSTANCE, *values]).fetchone()
    return None if user is None else _readable(user)


def _readable(user: User) -> User:
    if any(getattr(user, name) is None for name in NEVER_NULL):
        raise Failure(500, "unexpected_failure", "Database error querying schema")
    return user


def _identities(connection: psycopg.Connection, user_id: uuid.UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "select id as identity_id, provider_id as id, user_id, identity_data, provider, last_sign_in_at,"
            " created_at, updated_at, email from auth.identities where user_id = %s order by created_at",
            [user_id],
        ).fetchall()
    return [{key: _plain(value) for key, value in row.items() if value not in (None, "", {})} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamps.text(value)
    return str(value) if isinstance(value, uuid.UUID) else value
