"""What an administrator does with one user: look at the sessions, end them, ban, and remove second factors.

Supabase Auth has no call that ends the sessions of another user. So they are ended in the database. Bans and factors
go through Supabase's administration, with the secret key.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from psycopg.rows import class_row

from velro_auth.auth.denylist import LEEWAY_S, LONGEST_LIFETIME_S, Cutoff, Denial
from velro_auth.config.settings import Settings
from velro_auth.errors import VelroAuthError
from velro_auth.ops.database.connection import Connection
from velro_auth.stores.client import connect
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.upstream.answers import content
from velro_auth.upstream.transport.transport import Reply, Transport

#: Longer than in the service: an administrator can wait.
_DEADLINE_S: Final = 30.0
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_PER_PAGE: Final = 500

#: How long to wait until every process has a denial, in seconds.
_ACK_S: Final = 2.0

_OK: Final = 200

_FIND: Final = (
    "select id from auth.users where lower(email::text) = lower(%s) and deleted_at is null order by id limit 2"
)
_SESSIONS: Final = """
select id, created_at, greatest(created_at, refreshed_at at time zone 'UTC') as last_used_at,
       coalesce(aal::text, 'aal1') as aal, host(ip) as ip, user_agent
from auth.sessions where user_id = %s order by 3 desc
"""
_END: Final = "with gone as (delete from auth.sessions where user_id = %s returning id) select count(*) from gone"


class UserError(VelroAuthError):
    """The user cannot be found, or Supabase refused. The message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session of a user, as the database has it. Address and agent may be those of this service."""

    id: uuid.UUID
    created_at: datetime
    last_used_at: datetime
    aal: str
    ip: str | None
    user_agent: str | None


def find_user(connection: Connection, who: str) -> str:
    """Return the id of the user with this mail address or id.

    Raises:
        UserError: There is none, or more than one.
    """
    if given := _as_id(who):
        rows = connection.execute("select id from auth.users where id = %s", (given,)).fetchall()
    else:
        rows = connection.execute(_FIND, (who.strip(),)).fetchall()
    return _only([str(row[0]) for row in rows])


def sessions_of(connection: Connection, user_id: str) -> Sequence[SessionRow]:
    """Return the sessions of a user, the most recently used one first."""
    with connection.cursor(row_factory=class_row(SessionRow)) as cursor:
        return cursor.execute(_SESSIONS, (user_id,)).fetchall()


def end_sessions(connection: Connection, user_id: str) -> int:
    """Delete the sessions of a user with their refresh tokens; return how many there were."""
    row = connection.execute(_END, (user_id,)).fetchone()
    return cast("int", row[0]) if row else 0


class Administration:
    """Supabase Auth's calls for administrators. Each may raise ``UserError``: Supabase refused."""

    def __init__(self, transport: Transport, *, key: str) -> None:
        self._transport = transport
        # The edge turns a secret key into an administrator's token; an older service_role key is one.
        self._headers = {"Authorization": f"Bearer {key}"} if key.startswith("eyJ") else {}

    def find(self, who: str) -> str:
        """Return the id of the user with this mail address or id.

        Raises:
            UserError: There is none, or more than one.
        """
        if given := _as_id(who):
            return str(self._call("GET", f"/{given}")["id"])
        found, page = [], 1
        while True:
            users = self._call("GET", f"?page={page}&per_page={_PER_PAGE}").get("users") or []
            found += [str(user["id"]) for user in users if _is_at(user, who)]
            if len(users) < _PER_PAGE:
                return _only(found)
            page += 1

    def ban(self, user_id: str, duration_s: float | None) -> None:
        """Ban a user for so many seconds; None ends the ban. Sessions stay; Supabase refuses their tokens meanwhile."""
        duration = "none" if duration_s is None else f"{int(duration_s)}s"
        self._call("PUT", f"/{user_id}", {"ban_duration": duration})

    def factors(self, user_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the second factors of a user: ``id``, ``factor_type``, ``friendly_name``, ``status``."""
        factors: Any = self._call("GET", f"/{user_id}").get("factors")
        return [one for one in factors or [] if isinstance(one, dict)]

    def remove_factor(self, user_id: str, factor_id: str) -> None:
        """Remove a second factor."""
        self._call("DELETE", f"/{user_id}/factors/{factor_id}")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        request = self._transport.prepare(method, f"/auth/v1/admin/users{path}")
        payload = None if body is None else json.dumps(body).encode()
        reply = self._transport.send(request, payload, self._headers)
        told = content(reply)
        if reply.status != _OK or not isinstance(told, dict):
            raise UserError(_refusal(reply, told))
        return told


@contextmanager
def administration(settings: Settings) -> Iterator[Administration]:
    """Open the way to the project of *settings*.

    Raises:
        UserError: There is no secret key.
    """
    if settings.errors:
        raise UserError("; ".join(map(str, settings.errors)))
    if not settings.supabase_secret_key:
        raise UserError("SUPABASE_SECRET_KEY is not set; only its owner may administer users")
    transport = Transport(
        settings.supabase_url,
        key=settings.supabase_secret_key,
        pool_size=1,
        connect_timeout_s=settings.upstream_connect_timeout_s,
        deadline_s=_DEADLINE_S,
        max_body_bytes=_MAX_BODY_BYTES,
    )
    try:
        yield Administration(transport, key=settings.supabase_secret_key)
    finally:
        transport.close()


def deny_user(
    settings: Settings,
    user_id: str,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Have all running processes refuse every token of a user that was issued until now.

    The denial lasts as long as the longest token that Supabase can issue.

    Returns:
        How many processes have it.

    Raises:
        redis.RedisError: Redis cannot be asked.
    """
    at_s = now()
    cutoff = Cutoff(name=secrets.token_hex(8), at_s=int(at_s))
    denial = Denial(subject=f"user:{user_id}", until_s=at_s + LONGEST_LIFETIME_S + LEEWAY_S, cutoffs=(cutoff,))
    with connect(settings.redis_url, timeout_s=_ACK_S) as client:
        store = DenialsInRedis(client=client, prefix=settings.redis_prefix)
        message_id, listeners = store.write([denial])
        ends_s = time.monotonic() + _ACK_S
        while (known := store.acknowledged(message_id)) < listeners and time.monotonic() < ends_s:
            sleep(0.01)
        return known


def _as_id(who: str) -> str:
    try:
        return str(uuid.UUID(who))
    except ValueError:
        return ""


def _is_at(user: Mapping[str, Any], address: str) -> bool:
    return str(user.get("email") or "").casefold() == address.strip().casefold()


def _only(ids: Sequence[str]) -> str:
    if not ids:
        raise UserError("There is no such user")
    if len(ids) > 1:
        raise UserError("Several users have this address; give the id instead: Authentication, Users")
    return ids[0]


def _refusal(reply: Reply, told: object) -> str:
    text = told.get("message") or told.get("msg") if isinstance(told, dict) else ""
    return f"Supabase answered {reply.status}{f' ({text})' if text else ''}"
