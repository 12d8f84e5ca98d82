"""The sessions of a user: listing them, and ending one of them.

Ending another session of the user takes three steps. The database confirms that the session is the user's; it is
denied here, in every process; then its row is deleted. So a session id of another user denies nothing, and a database
that fails at the last step leaves a session that is refused here, as the user wished. A call whose answer was lost can
be repeated until then. The own session is ended by a logout, which works without the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from velro_auth.auth.denylist import Denial
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import Claims
from velro_auth.context import RequestContext
from velro_auth.errors import NotFound, SessionGone, UpstreamMisconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSession:
    """A session, as its user sees it.

    Attributes:
        id: Its id, a UUID.
        created_at: When it began; ISO 8601, UTC.
        last_used_at: When it was refreshed last, or began.
        aal: Its authenticator assurance level: ``aal1``, ``aal2``.
        is_current: Whether the request was made with it.
        address: The IP address of the client; None if unknown.
        user_agent: The client's ``User-Agent``; None if unknown.
    """

    id: str
    created_at: str
    last_used_at: str
    aal: str
    is_current: bool
    address: str | None = None
    user_agent: str | None = None


class SessionRows(Protocol):
    """Reads and deletes the rows of the user's sessions, with the user's own token.

    Each method raises:

    * SessionGone: The session of the token has ended.
    * InsufficientAal: The token lacks the user's second factor.
    * TokenInvalid, TokenExpired: The token is refused.
    * UpstreamError: The database could not be asked, or lacks the function.
    """

    def of(self, token: str, claims: Claims, context: RequestContext, only_id: str = "") -> Sequence[ListedSession]:
        """Return the user's sessions, or the one with the id *only_id* if the user has it."""

    def end(self, token: str, session_id: str, context: RequestContext) -> None:
        """Delete a session of the user, if the user has it."""


@dataclass(frozen=True, kw_only=True)
class SessionList:
    """Lists and ends the sessions of the user of a token.

    Attributes:
        sessions: Verifies the token; knows the guards and the deny-list.
        rows: The rows of the sessions; None while the settings are wrong.
    """

    sessions: Sessions
    rows: SessionRows | None

    def list(self, token: str, context: RequestContext) -> Sequence[ListedSession]:
        """Return the sessions of the user of *token*, the current one first.

        Raises:
            TokenError: The token was refused, or its session has ended.
            InsufficientAal: The user has a second factor, and the token lacks it.
            Throttled: This network made too many calls.
            Unready: Too many calls are in progress, or the circuit breaker is open.
            UpstreamError: The database could not be asked, or lacks the function.
        """
        claims = self.sessions.verify(token, context).claims
        with self._asking(claims, context) as rows:
            return rows.of(token, claims, context)

    def end(self, token: str, session_id: str, context: RequestContext) -> None:
        """End the session *session_id* of the user of *token*; see the module. Raises as :meth:`list`.

        Raises:
            NotFound: The user has no such session.
        """
        claims = self.sessions.verify(token, context).claims
        if session_id == claims.session_id:
            self.sessions.log_out(token, "local", context)
            return
        with self._asking(claims, context) as rows:
            found = rows.of(token, claims, context, session_id)
        if not found:
            raise NotFound("the user has no such session")
        until_s = self.sessions.last_end_s(claims)
        # Not within a block that asks: with Redis it waits for the other processes.
        self.sessions.denied.deny([Denial(subject=f"session:{session_id}", until_s=until_s)])
        with self._asking(claims, context) as rows:
            rows.end(token, session_id, context)

    @contextmanager
    def _asking(self, claims: Claims, context: RequestContext) -> Iterator[SessionRows]:
        """Ask the database within the block; deny the session of *claims* where it says that it has ended."""
        if self.rows is None:
            raise UpstreamMisconfigured("the settings are wrong")
        guards = self.sessions.guards
        try:
            with (
                guards.sessions.permit("sessions", context.address, context),
                guards.failure_delay.permit(),
                guards.asking.bulkhead.permit(context),
                guards.data.attempt(),
            ):
                yield self.rows
        except SessionGone:
            self.sessions.deny(claims)
            raise
