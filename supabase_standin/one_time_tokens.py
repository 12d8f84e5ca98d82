"""The secrets in mails: a code of some digits and a link, both good for one use.

Code and link are one secret: the link carries the hash of address and code. The hash is kept twice, in a
column of ``auth.users`` and in a row of ``auth.one_time_tokens``. Links are found by the row, codes are
compared with the column.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import psycopg

from supabase_standin import timestamps

#: Stands before the hash when the link is to end in an authorization code.
PKCE_PREFIX: Final = "pkce_"


class Kind(StrEnum):
    """What a secret is for; also the name of its column in ``auth.users``."""

    CONFIRMATION = "confirmation_token"
    RECOVERY = "recovery_token"
    EMAIL_CHANGE_NEW = "email_change_token_new"
    EMAIL_CHANGE_CURRENT = "email_change_token_current"
    REAUTHENTICATION = "reauthentication_token"
    PHONE_CHANGE = "phone_change_token"


#: Kind → the column with the time its last mail was sent; some kinds share one clock.
SENT_AT: Final = {
    Kind.CONFIRMATION: "confirmation_sent_at",
    Kind.RECOVERY: "recovery_sent_at",
    Kind.EMAIL_CHANGE_NEW: "email_change_sent_at",
    Kind.EMAIL_CHANGE_CURRENT: "email_change_sent_at",
    Kind.REAUTHENTICATION: "reauthentication_sent_at",
    Kind.PHONE_CHANGE: "phone_change_sent_at",
}
#: Columns of a user whose mails all lost their meaning, as after a new password.
FORGOTTEN: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(map(str, Kind), ""),
    **dict.fromkeys(SENT_AT.values()),
}


def new_code(length: int) -> str:
    """Return *length* random digits."""
    return "".join(secrets.choice("0123456789") for _ in range(length))


def hashed(address: str, code: str, *, pkce: bool = False) -> str:
    """Return the hash of address (mail or phone) and code, as links carry it: 56 hex digits, SHA-224."""
    digest = hashlib.sha224((address + code).encode()).hexdigest()
    return PKCE_PREFIX + digest if pkce else digest


def store(
    connection: psycopg.Connection,
    user_id: uuid.UUID,
    kind: Kind,
    token_hash: str,
    *,
    relates_to: str,
    now: float,
) -> None:
    """Keep a hash in column and row; the user's older secret of this kind is dead then."""
    moment = timestamps.moment(now)
    connection.execute(_column_statement(kind), [token_hash, moment, user_id])
    connection.execute("delete from auth.one_time_tokens where user_id = %s and token_type = %s", [user_id, kind])
    connection.execute(
        "insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to, created_at, updated_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        [uuid.uuid4(), user_id, kind, token_hash, relates_to.lower(), *2 * [moment.replace(tzinfo=None)]],
    )


def clear(connection: psycopg.Connection, user_id: uuid.UUID, *kinds: Kind, now: float) -> None:
    """Forget the user's secrets of some kinds, in column and row."""
    for kind in kinds:
        connection.execute(_column_statement(kind), ["", timestamps.moment(now), user_id])
        connection.execute("delete from auth.one_time_tokens where user_id = %s and token_type = %s", [user_id, kind])


def clear_rows(connection: psycopg.Connection, user_id: uuid.UUID) -> None:
    """Make all links of the user useless; codes go on, because the columns stay."""
    connection.execute("delete from auth.one_time_tokens where user_id = %s", [user_id])


def find(connection: psycopg.Connection, token_hash: str, kinds: Iterable[Kind]) -> tuple[uuid.UUID, Kind] | None:
    """Return whose link this is and its kind, None when it is unknown or used; the prefix counts."""
    row = connection.execute(
        "select user_id, token_type::text from auth.one_time_tokens"
        " where token_hash = %s and token_type::text = any(%s) limit 1",
        [token_hash, [str(kind) for kind in kinds]],
    ).fetchone()
    return None if row is None else (row[0], Kind(row[1]))


def is_good(shown: str, kept: str | None, sent_at: datetime | None, *, now: float, lifetime_s: float) -> bool:
    """Tell whether *shown*, a hash without prefix, is the *kept* one and in time."""
    if not kept or sent_at is None or is_expired(sent_at, now=now, lifetime_s=lifetime_s):
        return False
    return kept in {shown, PKCE_PREFIX + shown}


def is_expired(sent_at: datetime | None, *, now: float, lifetime_s: float) -> bool:
    """Tell whether a mail of *sent_at* is too old; without a time it is."""
    return sent_at is None or timestamps.moment(now) > sent_at.astimezone(UTC) + timedelta(seconds=lifetime_s)


def _column_statement(kind: Kind) -> bytes:
    return f"update auth.users set {kind} = %s, updated_at = %s where id = %s".encode()
