"""What every part of the Auth service shares, and what it knows about one request."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.types.json import Json

from supabase_standin import timestamps, users
from supabase_standin.config import StandinConfig
from supabase_standin.keys import Keys
from supabase_standin.limits import Limits
from supabase_standin.mailer import Mailer
from supabase_standin.passwords import Passwords
from supabase_standin.pool import Pool
from supabase_standin.provider import Provider

SERVICE_ROLE: Final = "service_role"
#: What is written to the audit log → the kind of entry it is.
LOG_TYPES: Final[Mapping[str, str]] = {
    "login": "account",
    "logout": "account",
    "token_refreshed": "token",
    "user_modified": "user",
    "user_signedup": "team",
    "user_invited": "team",
    "user_confirmation_requested": "user",
    "user_reauthenticate_requested": "user",
    "user_recovery_requested": "user",
    "user_updated_password": "user",
}


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The parts of the service, put together once.

    Attributes:
        config: What was set.
        issuer: The ``iss`` of tokens: the service's own address.
        auth: Connections as ``supabase_auth_admin``.
        data: Connections as ``authenticator``.
        keys: Signs and verifies tokens.
        passwords: Hashes and judges passwords.
        limits: Of requests per address, by route.
        mailer: Sends mails and keeps them for the mailbox.
        provider: Plays the OAuth providers.
        clock: Seconds since 1970.
    """

    config: StandinConfig
    issuer: str
    auth: Pool
    data: Pool
    keys: Keys
    passwords: Passwords
    limits: Limits
    mailer: Mailer
    provider: Provider
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as far as it matters here.

    Attributes:
        body: The raw body.
        query: The query's values, the first of each name.
        bearer: The bearer token, None without one.
        key_role: The role of the API key: ``anon`` or ``service_role``.
        address: Whom the session names.
        limited_as: Whom the limiters count; None is not limited.
        user_agent: What the session names as its device.
        audience: Whose users are meant.
        headers: The request's headers, names in lower case.
        reply_headers: Headers of the answer, success or not.
    """

    body: bytes
    query: dict[str, str]
    bearer: str | None
    key_role: str
    address: str
    user_agent: str
    limited_as: str | None = None
    audience: str = users.AUDIENCE
    headers: Mapping[str, str] = field(default_factory=dict)
    reply_headers: dict[str, str] = field(default_factory=dict)


def audit(connection: psycopg.Connection, user: users.User, _call: Call, *, action: str, now: float) -> None:
    """Write a row of the audit log."""
    provider = "phone" if user.phone and not user.email else "email"
    payload: dict[str, Any] = {
        "action": action,
        "actor_id": str(user.id),
        "actor_username": user.email or user.phone or "",
        "actor_via_sso": False,
        "log_type": LOG_TYPES[action],
        "traits": {"provider": provider},
    }
    write_audit(connection, payload, now=now)


def write_audit(connection: psycopg.Connection, payload: Mapping[str, Any], *, now: float) -> None:
    """Write a row of the audit log; the original leaves the address empty."""
    connection.execute(
        "insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)"
        " values (%s, %s, %s, %s, %s)",
        [users.INSTANCE, uuid.uuid4(), Json(payload), timestamps.moment(now), ""],
    )
