"""The refresh grant: rotation, a short grace for repeats, and the end of a family whose token was stolen.

One row per token. Using it marks the row revoked and inserts a child. Presenting a revoked token again is
forgiven when it is the parent of the active one (the answer was lost) or was used moments ago (two tabs).
"""

from __future__ import annotations

import random
import re
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from supabase_standin import counted_refresh, counted_tokens, params, sessions, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, OAuthFailure

#: How long a refresh tries to get hold of its rows, and the pause between two tries.
LOCK_PATIENCE_S: Final = 5.0
LOCK_PAUSE_S: Final = (0.010, 0.030)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A row of ``auth.refresh_tokens``."""

    id: int
    token: str
    user_id: str
    revoked: bool
    parent: str | None
    session_id: uuid.UUID | None
    updated_at: datetime


COLUMNS: Final = "id, token, user_id, revoked, parent, session_id, updated_at"


class _Busy(Exception):
    """Another transaction holds the rows at this moment."""


def refresh(backend: Backend, call: Call) -> dict[str, Any]:
    """Trade a refresh token for a new pair.

    Raises:
        Failure: The token, its session or its user is not good (any more).
    """
    given = params.read(call.body, struct="RefreshTokenGrantParams", fields={"refresh_token": str})
    presented = given.get("refresh_token", "")
    counted = counted_tokens.read(presented)
    if counted is not None:
        return counted_refresh.trade(backend, call, counted)
    if not re.fullmatch(r"[a-z0-9]{12}", presented):
        raise Failure(400, "validation_failed", "Refresh token is not valid")
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while time.monotonic() < deadline:
        _check(backend, call, presented)
        try:
            return _trade(backend, call, presented)
        except _Busy:
            time.sleep(random.uniform(*LOCK_PAUSE_S))  # noqa: S311 - spreads retries, guards nothing
    text = "Too many concurrent token refresh requests on the same session or refresh token"
    raise Failure(409, "conflict", text)


def _check(backend: Backend, call: Call, presented: str) -> None:
    """Judge token, user and session without locking anything."""
    with backend.auth.transaction() as connection:
        token = _find(connection, presented)
        user = users.by_id(connection, uuid.UUID(token.user_id)) if token else None
        if token is None or user is None:
            raise Failure(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        sessions.name_session(call, user.id)
        if user.is_banned(backend.clock()):
            raise Failure(400, "user_banned", "Invalid Refresh Token: User Banned")
        session = sessions.find(connection, token.session_id) if token.session_id else None
        if session is None:
            connection.execute("delete from auth.refresh_tokens where id = %s", [token.id])
    if session is None:
        raise Failure(400, "session_not_found", "Invalid Refresh Token: No Valid Session Found")
    sessions.name_session(call, user.id, session.id)
    seen = max(token.updated_at, _utc(session.refreshed_at) or session.created_at)
    sessions.check_age(backend, session, seen=seen)


def _trade(backend: Backend, call: Call, presented: str) -> dict[str, Any]:
    now = backend.clock()
    with backend.auth.transaction() as connection:
        token, session = _lock(connection, presented)
        if session.oauth_client_id is not None:
            raise OAuthFailure("invalid_client", "Client authentication required for OAuth session")
        if backend.config.single_session:
            _demand_newest(connection, session)
        issued = _reissued(connection, token) if token.revoked else None
        if issued is not None or not token.revoked or _is_forgiven(backend, token):
            user = users.get(connection, session.user_id)
            audit(connection, user, call, action="token_refreshed", now=now)
            was_answered = issued is not None
            issued = issued or _swap(connection, user, token, session.id, now=now)
            sessions.note_refresh(connection, call, session.id, now=now)
            if not was_answered:
                call.reply_headers["sb-auth-refresh-token-reuse"] = str(token.revoked).lower()
            sessions.name_session(call, user.id, session.id, issued)
            return sessions.issue(
                backend, connection, call, user.id, session.id, refresh_token=issued, method="token_refresh"
            )
        _revoke_family(connection, session.id, now=now)  # committed, although the answer is a refusal
    raise Failure(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")


def _lock(connection: psycopg.Connection, presented: str) -> tuple[Token, sessions.Session]:
    token = _find(connection, presented, lock=True)
    if token is None or token.session_id is None:
        raise _Busy
    session = sessions.find(connection, token.session_id, lock=True)
    if session is None:
        raise _Busy
    return token, session


def _find(connection: psycopg.Connection, presented: str, *, lock: bool = False) -> Token | None:
    locking = " for update skip locked" if lock else ""
    statement = f"select {COLUMNS} from auth.refresh_tokens where token = %s{locking}"
    with connection.cursor(row_factory=class_row(Token)) as cursor:
        return cursor.execute(statement.encode(), [presented]).fetchone()


def _reissued(connection: psycopg.Connection, token: Token) -> str | None:
    """Return the active child of *token*: its answer was lost, so it is given once more."""
    row = connection.execute(
        "select token, parent from auth.refresh_tokens where session_id = %s and revoked = false"
        " order by id desc limit 1",
        [token.session_id],
    ).fetchone()
    return str(row[0]) if row and row[1] == token.token else None


def _is_forgiven(backend: Backend, token: Token) -> bool:
    until = token.updated_at + timedelta(seconds=backend.config.refresh_reuse_s)
    return timestamps.moment(backend.clock()) <= until


def _swap(connection: psycopg.Connection, user: users.User, token: Token, session_id: uuid.UUID, *, now: float) -> str:
    connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = %s where id = %s",
        [timestamps.moment(now), token.id],
    )
    child = sessions.add_token(connection, user.id, session_id, parent=token.token, now=now)
    users.update(connection, user.id, now=now, last_sign_in_at=user.last_sign_in_at)
    return child


def _revoke_family(connection: psycopg.Connection, session_id: uuid.UUID, *, now: float) -> None:
    connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = %s where session_id = %s and revoked = false",
        [timestamps.moment(now), session_id],
    )


def _demand_newest(connection: psycopg.Connection, session: sessions.Session) -> None:
    row = connection.execute(
        "select id from auth.sessions where user_id = %s"
        " order by coalesce(refreshed_at, created_at at time zone 'utc') desc limit 1",
        [session.user_id],
    ).fetchone()
    if row is not None and row[0] != session.id:
        text = "Invalid Refresh Token: Session Expired (Revoked by Newer Login)"
        raise Failure(400, "session_expired", text)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
