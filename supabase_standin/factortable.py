"""The rows of second factors and of their challenges."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from supabase_standin import timestamps


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A row of ``auth.mfa_factors``."""

    id: uuid.UUID
    user_id: uuid.UUID
    friendly_name: str | None
    factor_type: str
    status: str
    secret: str | None
    phone: str | None
    last_challenged_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def is_verified(self) -> bool:
        """Tell whether the factor was used once."""
        return self.status == "verified"

    def shown(self) -> dict[str, Any]:
        """Return the factor as JSON shows it, without its secret."""
        return {
            "id": str(self.id),
            "created_at": timestamps.text(self.created_at),
            "updated_at": timestamps.text(self.updated_at),
            "status": self.status,
            **({"friendly_name": self.friendly_name} if self.friendly_name else {}),
            "factor_type": self.factor_type,
            "phone": self.phone or "",
            "last_challenged_at": timestamps.text(self.last_challenged_at),
        }


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A row of ``auth.mfa_challenges``."""

    id: uuid.UUID
    factor_id: uuid.UUID
    created_at: datetime
    verified_at: datetime | None
    ip_address: str


#: Enums and addresses are read as text.
AS_TEXT: Final = ("factor_type", "status")
FACTOR_COLUMNS: Final = ", ".join(
    f"{field.name}::text" if field.name in AS_TEXT else field.name for field in fields(Factor)
)
CHALLENGE_COLUMNS: Final = "id, factor_id, created_at, verified_at, host(ip_address) as ip_address"


def of_user(connection: psycopg.Connection, user_id: uuid.UUID) -> list[Factor]:
    """Return the factors of a user; the one changed last comes last."""
    return _factors(connection, "user_id = %s order by updated_at, created_at", [user_id])


def find(connection: psycopg.Connection, user_id: uuid.UUID, factor_id: uuid.UUID) -> Factor | None:
    """Return a factor of a user, None when it is unknown or another one's."""
    return next(iter(_factors(connection, "user_id = %s and id = %s", [user_id, factor_id])), None)


def insert(connection: psycopg.Connection, user_id: uuid.UUID, *, now: float, **columns: Any) -> uuid.UUID:
    """Insert an unverified factor and return its id."""
    factor_id, moment = uuid.uuid4(), timestamps.moment(now)
    values = {
        "id": factor_id,
        "user_id": user_id,
        "status": "unverified",
        "created_at": moment,
        "updated_at": moment,
        **columns,
    }
    _insert(connection, "mfa_factors", values)
    return factor_id


def update(connection: psycopg.Connection, factor_id: uuid.UUID, *, now: float, **columns: Any) -> None:
    """Set some columns of a factor."""
    columns["updated_at"] = timestamps.moment(now)
    names = ", ".join(f"{name} = %s" for name in columns)
    connection.execute(f"update auth.mfa_factors set {names} where id = %s".encode(), [*columns.values(), factor_id])


def delete(connection: psycopg.Connection, factor_id: uuid.UUID) -> None:
    """Delete a factor and its challenges; the sessions that used it fall back to one factor."""
    connection.execute(
        "delete from auth.mfa_amr_claims where authentication_method = 'totp'"
        " and session_id in (select id from auth.sessions where factor_id = %s)",
        [factor_id],
    )
    connection.execute("update auth.sessions set aal = 'aal1', factor_id = null where factor_id = %s", [factor_id])
    connection.execute("delete from auth.mfa_factors where id = %s", [factor_id])


def delete_unverified(connection: psycopg.Connection, user_id: uuid.UUID, factor_type: str) -> None:
    """Delete the factors of a type that a user never verified."""
    connection.execute(
        "delete from auth.mfa_factors where user_id = %s and status = 'unverified' and factor_type::text = %s",
        [user_id, factor_type],
    )


def delete_stale(connection: psycopg.Connection, *, now: float, older_than_s: float) -> None:
    """Delete all unverified factors, of any user, that were never challenged and are old."""
    connection.execute(
        "delete from auth.mfa_factors f where status = 'unverified' and created_at < %s"
        " and not exists (select from auth.mfa_challenges c where c.factor_id = f.id)",
        [timestamps.moment(now - older_than_s)],
    )


def add_challenge(connection: psycopg.Connection, factor_id: uuid.UUID, *, address: str, now: float) -> uuid.UUID:
    """Insert a challenge and return its id."""
    challenge_id, moment = uuid.uuid4(), timestamps.moment(now)
    values = {"id": challenge_id, "factor_id": factor_id, "created_at": moment, "ip_address": address}
    _insert(connection, "mfa_challenges", values)
    update(connection, factor_id, now=now, last_challenged_at=moment)
    return challenge_id


def challenge(connection: psycopg.Connection, factor_id: uuid.UUID, challenge_id: uuid.UUID) -> Challenge | None:
    """Return a challenge of a factor, None when it is unknown."""
    statement = f"select {CHALLENGE_COLUMNS} from auth.mfa_challenges where id = %s and factor_id = %s"
    with connection.cursor(row_factory=class_row(Challenge)) as cursor:
        return cursor.execute(statement.encode(), [challenge_id, factor_id]).fetchone()


def close_challenge(connection: psycopg.Connection, challenge_id: uuid.UUID, *, now: float) -> None:
    """Note that a challenge was met."""
    moment = timestamps.moment(now)
    connection.execute("update auth.mfa_challenges set verified_at = %s where id = %s", [moment, challenge_id])


def delete_challenge(connection: psycopg.Connection, challenge_id: uuid.UUID) -> None:
    """Forget a challenge that came too late."""
    connection.execute("delete from auth.mfa_challenges where id = %s", [challenge_id])


def _factors(connection: psycopg.Connection, condition: str, values: list[Any]) -> list[Factor]:
    statement = f"select {FACTOR_COLUMNS} from auth.mfa_factors where {condition}"
    with connection.cursor(row_factory=class_row(Factor)) as cursor:
        return cursor.execute(statement.encode(), values).fetchall()


def _insert(connection: psycopg.Connection, table: str, values: Mapping[str, Any]) -> None:
    marks = ", ".join(["%s"] * len(values))
    statement = f"insert into auth.{table} ({', '.join(values)}) values ({marks})"
    connection.execute(statement.encode(), list(values.values()))
