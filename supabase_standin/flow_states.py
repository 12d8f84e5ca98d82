"""PKCE (RFC 7636): what is remembered between the start of a login and the trade of its authorization code."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from supabase_standin import timestamps
from supabase_standin.errors import Failure, unhandled

#: Fields of a request that starts a flow with PKCE.
FIELDS: Final[Mapping[str, type]] = {"code_challenge": str, "code_challenge_method": str}
METHODS: Final = ("s256", "plain")
CHALLENGE_LENGTHS: Final = range(43, 129)


@dataclass(frozen=True, kw_only=True)
class FlowState:
    """A row of ``auth.flow_state``, as far as it is read."""

    id: uuid.UUID
    user_id: uuid.UUID | None
    auth_code: str | None
    code_challenge_method: str | None
    code_challenge: str | None
    provider_type: str
    provider_access_token: str | None
    provider_refresh_token: str | None
    created_at: datetime
    authentication_method: str
    auth_code_issued_at: datetime | None
    referrer: str | None
    linking_target_id: uuid.UUID | None

    def is_expired(self, now: float, lifetime_s: float) -> bool:
        """Tell whether it is too late for its code; a magic link's time runs from the click."""
        since = self.created_at
        if self.authentication_method == "magiclink" and self.auth_code_issued_at is not None:
            since = self.auth_code_issued_at
        return timestamps.moment(now) > since + timedelta(seconds=lifetime_s)

    def matches(self, verifier: str) -> bool:
        """Tell whether *verifier* is what the challenge was made of."""
        made = verifier
        if (self.code_challenge_method or "").lower() == "s256":
            made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        return secrets.compare_digest(made.encode(), (self.code_challenge or "").encode())


COLUMNS: Final = ", ".join(
    f"{field.name}::text" if field.name == "code_challenge_method" else field.name for field in fields(FlowState)
)


def check(given: Mapping[str, Any]) -> bool:
    """Return whether a request starts a flow with PKCE.

    Raises:
        Failure: Half of the pair is missing, or the challenge is none.
    """
    challenge, method = given.get("code_challenge", ""), given.get("code_challenge_method", "")
    if bool(challenge) != bool(method):
        raise Failure(400, "validation_failed", "PKCE flow requires code_challenge_method and code_challenge")
    if not challenge:
        return False
    if len(challenge) not in CHALLENGE_LENGTHS:
        text = "code challenge has to be between 43 and 128 characters"
        raise Failure(400, "validation_failed", text)
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", challenge):
        text = "code challenge can only contain alphanumeric characters, hyphens, periods, underscores and tildes"
        raise Failure(400, "validation_failed", text)
    return True


def start(
    connection: psycopg.Connection,
    given: Mapping[str, Any],
    *,
    provider: str,
    method: str,
    now: float,
    user_id: uuid.UUID | None = None,
    **columns: Any,
) -> uuid.UUID:
    """Insert a flow and return its id; its code exists already, but is handed out later.

    Args:
        connection: To the database.
        given: The request, with the challenge if there is one.
        provider: What starts it: ``email``, ``recovery``, ``magiclink``, ``email_change``, or a provider's name.
        method: The authentication method of the later session.
        now: Seconds since 1970.
        user_id: Whose it is, where that is known.
        columns: More columns of the table.

    Raises:
        Failure: The method is unknown (500, as in the original).
    """
    challenge_method = given.get("code_challenge_method", "").lower()
    if given.get("code_challenge") and challenge_method not in METHODS:
        raise unhandled()
    flow_id, moment = uuid.uuid4(), timestamps.moment(now)
    values: dict[str, Any] = {
        "id": flow_id,
        "user_id": user_id,
        "auth_code": str(uuid.uuid4()) if challenge_method else None,
        "code_challenge_method": challenge_method or None,
        "code_challenge": given.get("code_challenge") or None,
        "provider_type": provider,
        "authentication_method": method,
        "created_at": moment,
        "updated_at": moment,
        **columns,
    }
    marks = ", ".join(["%s"] * len(values))
    statement = f"insert into auth.flow_state ({', '.join(values)}) values ({marks})"
    connection.execute(statement.encode(), list(values.values()))
    return flow_id


def by_id(connection: psycopg.Connection, flow_id: uuid.UUID) -> FlowState | None:
    """Return the flow with an id, None when it is gone."""
    return _one(connection, "id = %s", [flow_id])


def by_code(connection: psycopg.Connection, code: str) -> FlowState | None:
    """Return the flow of an authorization code, None when it is unknown or was used."""
    return _one(connection, "auth_code = %s", [code])


def hand_out(connection: psycopg.Connection, user_id: uuid.UUID, method: str, *, now: float) -> str:
    """Return the code of the user's newest flow of a method and note the moment.

    Raises:
        Failure: There is no such flow.
    """
    flow = _one(connection, "user_id = %s and authentication_method = %s order by created_at desc", [user_id, method])
    if flow is None or flow.auth_code is None:
        text = "No associated flow state found. 422: No valid flow state found for user."
        raise Failure(400, "flow_state_not_found", text)
    update(connection, flow.id, now=now, auth_code_issued_at=timestamps.moment(now))
    return flow.auth_code


def update(connection: psycopg.Connection, flow_id: uuid.UUID, *, now: float, **columns: Any) -> None:
    """Set some columns of a flow."""
    columns["updated_at"] = timestamps.moment(now)
    names = ", ".join(f"{name} = %s" for name in columns)
    statement = f"update auth.flow_state set {names} where id = %s"
    connection.execute(statement.encode(), [*columns.values(), flow_id])


def delete(connection: psycopg.Connection, flow_id: uuid.UUID) -> None:
    """Forget a flow: its code was used, or it ended otherwise."""
    connection.execute("delete from auth.flow_state where id = %s", [flow_id])


def _one(connection: psycopg.Connection, condition: str, values: list[Any]) -> FlowState | None:
    statement = f"select {COLUMNS} from auth.flow_state where {condition} limit 1"
    with connection.cursor(row_factory=class_row(FlowState)) as cursor:
        return cursor.execute(statement.encode(), values).fetchone()
