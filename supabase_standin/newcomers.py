"""New accounts with an address or a number, signed up or made by an administrator."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import psycopg

from supabase_standin import users


def create(
    connection: psycopg.Connection,
    *,
    now: float,
    password_hash: str,
    user_metadata: Mapping[str, Any],
    email: str | None = None,
    phone: str | None = None,
    user_id: uuid.UUID | None = None,
    by_admin: bool = False,
) -> uuid.UUID:
    """Insert a user, then the identities, then the role: in the order triggers see it in the original.

    Args:
        connection: With a transaction.
        now: Seconds since 1970.
        password_hash: Of the password; empty for none.
        user_metadata: What users say of themselves.
        email: The address, in lower case.
        phone: The number, without plus sign.
        user_id: The id; None for a new one.
        by_admin: Whether identity and metadata are separate. After a sign-up by the user, the metadata contains
            the values of the identity too, and the reverse.
    """
    user_id = user_id or uuid.uuid4()
    providers = [name for name, value in (("email", email), ("phone", phone)) if value]
    users.insert(
        connection,
        user_id=user_id,
        now=now,
        email=email,
        phone=phone,
        password_hash=password_hash,
        app_metadata={"provider": providers[0], "providers": providers},
        user_metadata=user_metadata,
    )
    metadata = dict(user_metadata)
    for provider in providers:
        known: dict[str, Any] = {"sub": str(user_id), "email_verified": False, "phone_verified": False}
        known |= {"email": email} if provider == "email" else {}
        known |= {"phone": phone} if provider == "phone" and by_admin else {}
        data = known if by_admin else {**user_metadata, **known}
        users.insert_identity(connection, user_id, provider=provider, data=data, now=now)
        metadata = metadata if by_admin else data
    users.update(connection, user_id, now=now, raw_user_meta_data=metadata)
    users.update(connection, user_id, now=now, role=users.ROLE)
    return user_id
