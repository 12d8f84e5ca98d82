"""What has to happen to a session that did not come from a password: it is recorded, and may end the others."""

from __future__ import annotations

import dataclasses

from velro_auth.auth.denylist import end_of_user
from velro_auth.auth.models import Session
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.errors import Busy


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewSessions:
    """Records new sessions in the deny-list, and ends older ones there.

    Attributes:
        sessions: The sessions service, whose deny-list it is.
    """

    sessions: Sessions

    def mark(self) -> int:
        """Return a mark for :meth:`admit`; call this before Supabase is asked for a new session."""
        return self.sessions.denied.mark()

    def admit(self, session: Session, mark: int) -> Session:
        """Return *session*, which began after *mark*.

        Raises:
            Busy: The user's sessions were ended in the same moment, perhaps this one too.
        """
        self.sessions.note_token(session.access_token)
        claims = claims_of_issued(session.access_token)
        if claims is not None and not self.sessions.denied.admits(claims, mark):
            raise Busy("the user's sessions are being ended", retry_after_s=1)
        return session

    def end_others(self, session: Session, at_s: float | None) -> None:
        """Deny the other sessions of the user of *session*, which Supabase ended.

        Args:
            session: The session that stays.
            at_s: When they ended, by Supabase's clock; None if it did not say.
        """
        claims = claims_of_issued(session.access_token)
        if claims is None:
            # ``verify`` refuses such tokens anyway.
            return
        at_s = self.sessions.now() if at_s is None else at_s
        self.sessions.denied.deny([end_of_user(claims, "others", at_s=at_s, until_s=self.sessions.last_end_s(claims))])
