"""The rows of a user's sessions, through functions of the migrations and with the user's own token."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from requests import PreparedRequest

from velro_auth import errors
from velro_auth.auth.session_list import ListedSession
from velro_auth.auth.tokens import Claims
from velro_auth.context import RequestContext
from velro_auth.errors import UpstreamFailed, UpstreamMisconfigured, VelroAuthError
from velro_auth.upstream import translate
from velro_auth.upstream.answers import content, demand
from velro_auth.upstream.calls import timed
from velro_auth.upstream.transport.transport import USER_AGENT, Read, Reply, Transport

logger = logging.getLogger("velro_auth.upstream")

_OK: Final = frozenset({200, 204})

#: What PostgREST says about the token itself (its reference, "Errors", group 3); ours have messages, see below.
_QUESTION: Final = translate.Question(
    codes={
        "PGRST301": errors.TokenInvalid,
        "PGRST302": errors.TokenInvalid,
        "PGRST303": errors.TokenExpired,
        # Of a pre-request function of the project's own.
        "PT401": errors.TokenInvalid,
        "PT403": errors.Forbidden,
        # The function is there, but the role of the token may not call it.
        "42501": UpstreamMisconfigured,
    },
    refused=errors.TokenInvalid,
)

#: Message of a refusal by our functions → our error.
_OURS: Final[Mapping[str, type[VelroAuthError]]] = {
    "session_not_found": errors.SessionGone,
    "insufficient_aal": errors.InsufficientAal,
}

#: There is no such function, by PostgREST and by PostgreSQL.
_MISSING: Final = frozenset({"PGRST202", "42883"})

#: The agent of every session that began or was refreshed through this service.
_OWN_AGENT: Final = USER_AGENT.partition("/")[0] + "/"


class SupabaseSessionRows:
    """Calls ``velro_auth_sessions`` and ``velro_auth_end_session``.

    Args:
        transport: The way to the project.
        shows_address: Whether Supabase records the clients' addresses for calls of this service. Otherwise it records
            this service's own address, which is no client's.
    """

    def __init__(self, transport: Transport, *, shows_address: Callable[[], bool]) -> None:
        self._transport = transport
        self._shows_address = shows_address
        self._list = transport.prepare("POST", "/rest/v1/rpc/velro_auth_sessions")
        self._end = transport.prepare("POST", "/rest/v1/rpc/velro_auth_end_session")

    def of(self, token: str, claims: Claims, context: RequestContext, only_id: str = "") -> Sequence[ListedSession]:
        """Return the user's sessions, or the one with the id *only_id* if the user has it.

        Raises:
            SessionGone: The session of the token has ended.
            InsufficientAal: The token lacks the user's second factor.
            TokenInvalid: The token was refused.
            TokenExpired: The token has expired.
            UpstreamError: The database could not be asked, gave no usable answer, or lacks the function.
        """

        def read(reply: Reply) -> list[ListedSession]:
            found = [self._session(row) for row in _rows(reply)]
            current = [one.id for one in found if one.is_current]
            if only_id:
                # Of another session, as this function is not asked about the own one by its id.
                is_right = not current and all(one.id == only_id for one in found)
            else:
                is_right = current == [claims.session_id]
            demand(is_right=is_right, what="the id of the session")
            return found

        return self._ask(self._list, token, context, read, {"only_id": only_id} if only_id else {})

    def end(self, token: str, session_id: str, context: RequestContext) -> None:
        """Delete a session of the user, if the user has it. Raises as :meth:`of`."""

        def read(reply: Reply) -> None:
            if not isinstance(content(reply), bool):
                raise UpstreamFailed("200 without a yes or no")

        self._ask(self._end, token, context, read, {"session_id": session_id})

    def _ask(
        self,
        request: PreparedRequest,
        token: str,
        context: RequestContext,
        read: Callable[[Reply], Read],
        arguments: Mapping[str, str],
    ) -> Read:
        def judged(reply: Reply) -> tuple[Read] | Reply:
            return (read(reply),) if reply.status in _OK else reply

        headers = {"Authorization": f"Bearer {token}"}
        if context.traceparent:
            headers["traceparent"] = context.traceparent
        with timed(context):
            payload = json.dumps(arguments).encode()
            answer = self._transport.ask(request, judged, payload, headers, waited_s=context.waited_s)
        if isinstance(answer, Reply):
            raise _refusal(answer)
        return answer[0]

    def _session(self, row: Mapping[str, Any]) -> ListedSession:
        agent = row.get("user_agent") or None
        is_direct = agent is not None and not str(agent).startswith(_OWN_AGENT)
        try:
            return ListedSession(
                id=str(row["id"]),
                created_at=_moment(row["created_at"]),
                last_used_at=_moment(row["last_used_at"]),
                aal=str(row["aal"]),
                is_current=row["is_current"] is True,
                address=row.get("ip") if is_direct or self._shows_address() else None,
                user_agent=agent if is_direct else None,
            )
        except (KeyError, ValueError, OverflowError) as error:
            raise UpstreamFailed("a session without its fields") from error


def _rows(reply: Reply) -> list[Mapping[str, Any]]:
    rows = content(reply)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UpstreamFailed("200 without a list of sessions")
    return rows


def _moment(text: object) -> str:
    return datetime.fromisoformat(str(text)).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refusal(reply: Reply) -> VelroAuthError:
    body = content(reply)
    told = body if isinstance(body, dict) else {}
    code, message = str(told.get("code")), str(told.get("message"))
    if code in _MISSING:
        logger.error("the database lacks the functions for sessions", extra={"advice": "run velro-auth db up"})
        return UpstreamMisconfigured("the migration of the sessions is missing: velro-auth db up")
    if code in {"PT401", "PT403"} and message in _OURS:
        return _OURS[message](f"the database answered {message}")
    return translate.refusal(reply, _QUESTION)
