"""Sign-up: a new account, with a session where the project confirms addresses by itself."""

from __future__ import annotations

import dataclasses
import logging
from typing import Final

from velro_auth.auth.account import Accounts, SignUp, SignUpMode
from velro_auth.auth.mailing import TOLD, Mailing
from velro_auth.auth.models import Session
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.errors import AlreadyRegistered, MailRefused, NotEnabled, UpstreamFailed, WrongAnswer
from velro_auth.guards.asking import CircuitBreaker

logger = logging.getLogger(__name__)

#: Supabase decides NotEnabled before it looks for the account; AlreadyRegistered comes only where it cannot be hidden.
_TOLD: Final = (*TOLD, AlreadyRegistered, NotEnabled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignUps:
    """Signs users up.

    Whether an answer may show that an address is known depends on the project. If it confirms addresses by itself, a
    sign-up gives a session at once or is refused, and nothing can hide which. If it sends a mail, both look alike.

    Attributes:
        accounts: Asks Supabase.
        sessions: Has the guards of the call, and records the new session.
        mailing: Guards of sign-ups that may send a mail.
        breaker: Stops sign-ups while they fail. Logins have another one: a sign-up may fail because of a trigger.
        mode: Whether the project sends mails.
    """

    accounts: Accounts
    sessions: Sessions
    mailing: Mailing
    breaker: CircuitBreaker
    mode: SignUpMode

    def __call__(self, sign_up: SignUp, context: RequestContext) -> Session | None:
        """Return the session of the new account; None if a mail was sent, or would have been.

        Raises:
            AlreadyRegistered: The address has an account, in a project that confirms by itself.
            WeakPassword: Supabase does not accept the password.
            InvalidRequest: Supabase does not accept the address.
            CaptchaRequired: A captcha is required, or was refused.
            NotEnabled: The project takes no sign-ups.
            Throttled: This network made too many sign-ups.
            Unready: Too many such requests are in progress, or Supabase fails.
            Forbidden, UpstreamThrottled, UpstreamError: As Supabase says, in a project that confirms by itself.
        """
        return self._by_mail(sign_up, context) if self.mode.needs_mail() else self._at_once(sign_up, context)

    def _at_once(self, sign_up: SignUp, context: RequestContext) -> Session | None:
        mark, guards = self.sessions.denied.mark(), self.sessions.guards
        context.log_fields["account"] = guards.throttle.name(sign_up.email)
        session = None
        try:
            with (
                guards.sign_ups.attempt(context.address),
                guards.failure_delay.permit(),
                guards.sessions.permit("sign_up", context.address, context),
                self.breaker.attempt(),
            ):
                guards.families.acquire(guards.families.mails, context.address)
                session = self._asked(sign_up, context)
        except MailRefused as error:
            logger.info("a sign-up was refused its mail", extra={"reason": error.reason})
        if session is not None:
            context.shows_upstream = True
            return self.sessions.admit(session, mark)
        # The project began to send mails: from now on the answer must show nothing.
        self.mode.learn(needs_mail=True)
        self.mailing.wait(context)
        return None

    def _asked(self, sign_up: SignUp, context: RequestContext) -> Session | None:
        """Ask, and once more if Supabase failed: if two sign-ups of one address overlap, one fails in the database.

        The database rolls that one back. The second answer then says that the address is known.
        """
        try:
            return self.accounts.sign_up(sign_up, context)
        except WrongAnswer:
            raise
        except UpstreamFailed:
            return self.accounts.sign_up(sign_up, context)

    def _by_mail(self, sign_up: SignUp, context: RequestContext) -> Session | None:
        mark = self.sessions.denied.mark()
        opened: list[Session] = []

        def ask(behind: RequestContext) -> None:
            try:
                session = self.accounts.sign_up(sign_up, behind)
            except AlreadyRegistered:
                self.mode.learn(needs_mail=False)
                raise
            if session is not None:
                opened.append(session)
                self.mode.learn(needs_mail=False)

        self.mailing.send(sign_up.email, context, ask, told=_TOLD)
        # A session that comes later than the answer is lost, and its owner logs in. That happens only until the mode
        # is known: from then on the answer waits for the sign-up.
        return self.sessions.admit(opened[0], mark) if opened else None
