"""Sessions, refresh tokens and the access tokens that name them."""

from __future__ import annotations

import secrets
import string
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from supabase_standin import counted_tokens, hook, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, database_trouble

TOKEN_ALPHABET: Final = string.ascii_lowercase + string.digits
TOKEN_LENGTH: Final = 12


@dataclass(frozen=True, kw_only=True)
class Session:
    """A row of ``auth.sessions``, as far as it is read."""

    id: uuid.UUID
    user_id: uuid.UUID
    created_at: datetime
    refreshed_at: datetime | None
    not_after: datetime | None
    aal: str
    oauth_client_id: uuid.UUID | None


SESSION_COLUMNS: Final = "id, user_id, created_at, refreshed_at, not_after, aal::text, oauth_client_id"


def log_in(backend: Backend, call: Call, user: users.User, *, method: str = "password") -> dict[str, Any]:
    """Begin a session for *user* and return the answer to its login, in one transaction.

    Raises:
        Failure: The database or the hook refused; nothing of the login is left then.
    """
    with backend.auth.transaction() as connection:
        audit(connection, user, call, action="login", now=backend.clock())
        return begin(backend, connection, call, user.id, method=method)


def begin(
    backend: Backend, connection: psycopg.Connection, call: Call, user_id: uuid.UUID, *, method: str
) -> dict[str, Any]:
    """Begin a session in the caller's transaction and return the answer.

    Args:
        backend: The service.
        connection: With the transaction.
        call: Who is named in the session; gets the headers of a new session.
        user_id: Whose.
        method: How the user logged in: ``password``, ``otp``, ``recovery`` and so on.

    Raises:
        Failure: The database or the hook refused.
    """
    now = backend.clock()
    with database_trouble("Database error granting user"):
        session_id = _begin(connection, call, user_id, now=now)
        if backend.config.refresh_tokens_v2:
            token = counted_tokens.first(connection, session_id)
        else:
            token = add_token(connection, user_id, session_id, parent=None, now=now)
        users.update(connection, user_id, now=now, last_sign_in_at=timestamps.moment(now))
        _add_method(connection, session_id, method, now=now)
    name_session(call, user_id, session_id, token)
    answer = issue(backend, connection, call, user_id, session_id, refresh_token=token, method=method)
    answer["user"]["last_sign_in_at"] = timestamps.precise_text(now)
    return answer


def issue(
    backend: Backend,
    connection: psycopg.Connection,
    call: Call,
    user_id: uuid.UUID,
    session_id: uuid.UUID,
    *,
    refresh_token: str,
    method: str,
) -> dict[str, Any]:
    """Sign an access token for a session and return the whole answer.

    Raises:
        Failure: The hook refused.
    """
    user = users.get(connection, user_id)
    issued = int(backend.clock())
    expires = issued + backend.config.jwt_lifetime_s
    claims = _claims(connection, user, session_id, issuer=backend.issuer, issued=issued, expires=expires)
    claims = hook.run(backend, connection, call, claims, method=method)
    return {
        "access_token": backend.keys.sign(claims),
        "token_type": "bearer",
        "expires_in": max(0, expires - int(backend.clock())),
        "expires_at": expires,
        "refresh_token": refresh_token,
        "user": users.shown(connection, user),
    }


def step_up(
    backend: Backend,
    connection: psycopg.Connection,
    call: Call,
    session_id: uuid.UUID,
    *,
    factor_id: uuid.UUID,
) -> dict[str, Any]:
    """Raise a session to aal2, swap its refresh token and return the answer; weaker sessions of the user end.

    Raises:
        Failure: The hook refused.
    """
    now = backend.clock()
    session = find(connection, session_id)
    assert session is not None
    _add_method(connection, session_id, "totp", now=now)
    connection.execute(
        "update auth.sessions set aal = 'aal2', factor_id = %s, updated_at = %s where id = %s",
        [factor_id, timestamps.moment(now), session_id],
    )
    token = counted_tokens.following(connection, session_id) or _swap_token(connection, session, now=now)
    answer = issue(backend, connection, call, session.user_id, session_id, refresh_token=token, method="totp")
    connection.execute("delete from auth.sessions where user_id = %s and aal < 'aal2'", [session.user_id])
    return answer


def _swap_token(connection: psycopg.Connection, session: Session, *, now: float) -> str:
    used = connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = %s where session_id = %s and not revoked"
        " returning token",
        [timestamps.moment(now), session.id],
    ).fetchone()
    return add_token(connection, session.user_id, session.id, parent=used[0] if used else None, now=now)


def add_token(
    connection: psycopg.Connection, user_id: uuid.UUID, session_id: uuid.UUID, *, parent: str | None, now: float
) -> str:
    """Insert a refresh token and return it."""
    token = "".join(secrets.choice(TOKEN_ALPHABET) for _ in range(TOKEN_LENGTH))
    moment = timestamps.moment(now)
    connection.execute(
        "insert into auth.refresh_tokens"
        " (instance_id, token, user_id, revoked, parent, session_id, created_at, updated_at)"
        " values (%s, %s, %s, false, %s, %s, %s, %s)",
        [users.INSTANCE, token, str(user_id), parent, session_id, moment, moment],
    )
    return token


def find(connection: psycopg.Connection, session_id: uuid.UUID, *, lock: bool = False) -> Session | None:
    """Return a session, None when it is gone or (with *lock*) another transaction holds it."""
    with connection.cursor(row_factory=class_row(Session)) as cursor:
        locking = " for update skip locked" if lock else ""
        statement = f"select {SESSION_COLUMNS} from auth.sessions where id = %s{locking}"
        return cursor.execute(statement.encode(), [session_id]).fetchone()


def methods(connection: psycopg.Connection, session_id: uuid.UUID) -> list[str]:
    """Return how the user of a session logged in, newest first."""
    rows = connection.execute(
        "select authentication_method from auth.mfa_amr_claims where session_id = %s order by updated_at desc",
        [session_id],
    ).fetchall()
    return [name for (name,) in rows]


def end(
    connection: psycopg.Connection,
    user_id: uuid.UUID,
    *,
    only: uuid.UUID | None = None,
    but: uuid.UUID | None = None,
) -> None:
    """Delete sessions of a user: all, *only* one, or all *but* one; their refresh tokens go with them."""
    connection.execute(
        "delete from auth.sessions where user_id = %s"
        " and (%s::uuid is null or id = %s) and (%s::uuid is null or id <> %s)",
        [user_id, only, only, but, but],
    )


def check_age(backend: Backend, session: Session, *, seen: datetime) -> None:
    """Let a session go on that is not over; *seen* is when its user was last here.

    Raises:
        Failure: Its time limit has passed, or it was not used for too long.
    """
    now = timestamps.moment(backend.clock())
    timebox, inactivity = backend.config.session_timebox_s, backend.config.session_inactivity_s
    is_over = session.not_after is not None and now > session.not_after
    is_over |= timebox is not None and now > session.created_at + timedelta(seconds=timebox)
    if is_over:
        raise Failure(400, "session_expired", "Invalid Refresh Token: Session Expired")
    if inactivity is not None and now > seen + timedelta(seconds=inactivity):
        raise Failure(400, "session_expired", "Invalid Refresh Token: Session Expired (Inactivity)")


def note_refresh(connection: psycopg.Connection, call: Call, session_id: uuid.UUID, *, now: float) -> None:
    """Write into a session when and by whom it was refreshed."""
    moment = timestamps.moment(now)
    connection.execute(
        "update auth.sessions set refreshed_at = %s, updated_at = %s, user_agent = %s, ip = %s where id = %s",
        [moment.replace(tzinfo=None), moment, call.user_agent or None, call.address or None, session_id],
    )


def name_session(
    call: Call, user_id: uuid.UUID, session_id: uuid.UUID | None = None, refresh_token: str | None = None
) -> None:
    """Set the headers that tell who the answer is about; failures carry them as well."""
    call.reply_headers["sb-auth-user-id"] = str(user_id)
    if session_id is not None:
        call.reply_headers["sb-auth-session-id"] = str(session_id)
    if refresh_token is not None:
        call.reply_headers["sb-auth-refresh-token-prefix"] = refresh_token[:5]


def _begin(connection: psycopg.Connection, call: Call, user_id: uuid.UUID, *, now: float) -> uuid.UUID:
    session_id = uuid.uuid4()
    moment = timestamps.moment(now)
    connection.execute(
        "insert into auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip)"
        " values (%s, %s, %s, %s, 'aal1', %s, %s)",
        [session_id, user_id, moment, moment, call.user_agent or None, call.address or None],
    )
    return session_id


def _add_method(connection: psycopg.Connection, session_id: uuid.UUID, method: str, *, now: float) -> None:
    moment = timestamps.moment(now)
    connection.execute(
        "insert into auth.mfa_amr_claims (session_id, created_at, updated_at, authentication_method, id)"
        " values (%s, %s, %s, %s, %s)"
        " on conflict (session_id, authentication_method) do update set updated_at = excluded.updated_at",
        [session_id, moment, moment, method, uuid.uuid4()],
    )


def _claims(
    connection: psycopg.Connection,
    user: users.User,
    session_id: uuid.UUID,
    *,
    issuer: str,
    issued: int,
    expires: int,
) -> dict[str, Any]:
    session = find(connection, session_id)
    methods = connection.execute(
        "select authentication_method, floor(extract(epoch from updated_at))::bigint from auth.mfa_amr_claims"
        " where session_id = %s order by updated_at desc",
        [session_id],
    ).fetchall()
    return {
        "iss": issuer,
        "sub": str(user.id),
        "aud": user.aud,
        "exp": expires,
        "iat": issued,
        "email": user.email or "",
        "phone": user.phone or "",
        "app_metadata": user.raw_app_meta_data or {},
        "user_metadata": user.raw_user_meta_data or {},
        "role": user.role,
        "aal": session.aal if session else "aal1",
        "amr": [{"method": name, "timestamp": moment} for name, moment in methods],
        "session_id": str(session_id),
        "is_anonymous": user.is_anonymous,
    }
