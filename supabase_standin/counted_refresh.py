"""The refresh grant for tokens that are counted: the counter says whether a token is new, repeated or stolen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from supabase_standin import counted_tokens, sessions, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.counted_tokens import Counted
from supabase_standin.errors import Failure


def trade(backend: Backend, call: Call, presented: Counted) -> dict[str, Any]:
    """Trade a counted token for a new pair.

    The current token brings the next one. The one before, or an older one within the reuse interval, brings the
    current one again. Anything older was stolen or is a thief's: the session ends.

    Raises:
        Failure: The token, its session or its user is not good (any more).
    """
    with backend.auth.transaction() as connection:
        # Another refresh at the same time waits for this row.
        connection.execute("select from auth.sessions where id = %s for update", [presented.session_id])
        session = sessions.find(connection, presented.session_id)
        known = counted_tokens.current(connection, presented.session_id)
        if session is None or known is None:
            raise Failure(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        counter, key, token = known
        if not presented.is_signed_with(key) or presented.counter > counter:
            raise Failure(400, "validation_failed", "Invalid Refresh Token: Not Issued By This Server")
        user = users.get(connection, session.user_id)
        sessions.name_session(call, user.id, session.id)
        if user.is_banned(backend.clock()):
            raise Failure(400, "user_banned", "Invalid Refresh Token: User Banned")
        sessions.check_age(backend, session, seen=_refreshed(session) or session.created_at)
        is_repeated = presented.counter < counter
        if not is_repeated or presented.counter == counter - 1 or _is_recent(backend, session):
            return _answer(backend, connection, call, user, session, repeated=token if is_repeated else None)
        sessions.end(connection, user.id, only=session.id)  # committed, although the answer is a refusal
    call.reply_headers["sb-auth-refresh-token-rotated"] = "true"
    raise Failure(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")


def _answer(
    backend: Backend,
    connection: psycopg.Connection,
    call: Call,
    user: users.User,
    session: sessions.Session,
    *,
    repeated: str | None,
) -> dict[str, Any]:
    now = backend.clock()
    audit(connection, user, call, action="token_refreshed", now=now)
    token = repeated or counted_tokens.following(connection, session.id)
    assert token is not None
    if repeated is not None:
        call.reply_headers["sb-auth-refresh-token-reuse-cause"] = "concurrent-or-retried"
    sessions.note_refresh(connection, call, session.id, now=now)
    call.reply_headers["sb-auth-refresh-token-reuse"] = str(repeated is not None).lower()
    sessions.name_session(call, user.id, session.id, token)
    return sessions.issue(backend, connection, call, user.id, session.id, refresh_token=token, method="token_refresh")


def _is_recent(backend: Backend, session: sessions.Session) -> bool:
    refreshed, interval = _refreshed(session), timedelta(seconds=backend.config.refresh_reuse_s)
    return refreshed is not None and timestamps.moment(backend.clock()) <= refreshed + interval


def _refreshed(session: sessions.Session) -> datetime | None:
    return None if session.refreshed_at is None else session.refreshed_at.replace(tzinfo=UTC)
