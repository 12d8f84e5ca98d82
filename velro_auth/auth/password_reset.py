"""New passwords for people who proved by mail that the account is theirs.

A mailed link works once, but a new password may need a second attempt: Supabase may find it too weak, or demand the
second factor first. So an error after the link was used carries a *ticket*: the session that the link led to, sealed.
The next attempt sends the ticket in place of the link.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import TypeAlias

from velro_auth.auth.account import OPENING, Accounts, Proof, Verified
from velro_auth.auth.models import Session
from velro_auth.auth.oauth import CodeExchange, Exchanged, is_supabase_code
from velro_auth.auth.proofs import Proofs
from velro_auth.auth.tickets import Series, Ticket, Tickets
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.context import RequestContext
from velro_auth.errors import (
    CodeInvalid,
    InsufficientAal,
    InvalidRequest,
    LinkInvalid,
    NotFound,
    SamePassword,
    TokenError,
    UpstreamFailed,
    VelroAuthError,
)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class FactorCode:
    """The code of a second factor; without *factor_id* it is for the user's first factor."""

    code: str = dataclasses.field(repr=False)
    factor_id: str | None = None


Key: TypeAlias = Proof | Ticket

#: Access token, factor, code and request → the session after its second factor was passed.
PassFactor: TypeAlias = Callable[[str, str, str, RequestContext], Session]


@dataclasses.dataclass(frozen=True, slots=True)
class Confirmed:
    """What a confirmation led to.

    Attributes:
        session: The new session; None for the first one of the two confirmations of a new address.
        is_password_unproven: Whether the password of the account may be that of another person, who signed the address
            up before its owner did.
    """

    session: Session | None
    is_password_unproven: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PasswordSetter:
    """Sets the password of a user whose session came from a mailed link or code.

    Attributes:
        accounts: Asks Supabase.
        proofs: Has links and codes checked.
        codes: Exchanges codes for sessions.
        pass_factor: Has the code of a second factor checked, with the budget that all such codes share.
        tickets: Makes tickets.
    """

    accounts: Accounts
    proofs: Proofs
    codes: CodeExchange
    pass_factor: PassFactor
    tickets: Tickets

    def set(
        self,
        session: Session,
        password: str,
        context: RequestContext,
        *,
        factor: FactorCode | None = None,
        series: Series | None = None,
    ) -> Session:
        """Return the session after the password was set and the user's other sessions ended.

        Args:
            session: The session of the link.
            password: The new password.
            context: The request.
            factor: The code of the user's second factor, if the client sent one.
            series: The tickets that the next one belongs to; None where the link itself was used just now.

        Raises:
            WeakPassword, SamePassword, CodeInvalid, UpstreamError: The next attempt may succeed; each has a ticket.
            InsufficientAal: The user has a second factor; has a ticket, and names the factors.
            LinkInvalid: The session is over.
        """
        try:
            if factor is not None and session.mfa is not None:
                factors = [known["id"] for known in session.mfa["factors"]]
                session = self._pass(session, factor, factors, context)
            with self.proofs.asking(context):
                changed, at_s = self.accounts.set_password(session, password, context)
        except TokenError as error:
            raise LinkInvalid(error.reason) from error
        except VelroAuthError as error:
            error.members = {**error.members, "ticket": self.tickets.seal(session, series or self.tickets.begin())}
            if isinstance(error, InsufficientAal) and session.mfa is not None:
                error.members["factors"] = session.mfa["factors"]
            raise
        self.proofs.sessions.end_others(claims_of_issued(changed.access_token), at_s)
        return changed

    def replace(
        self, verified: Verified, password: str, context: RequestContext, *, factor: FactorCode | None = None
    ) -> Session:
        """Do the same with the session of a link or code that was just used.

        If the link or code confirmed the address, the password may be that of another person, who signed the address
        up before its owner did. If the owner's password cannot be set, the account gets a random one that is not kept,
        so that the old one stops working. Then the owner sends another password with the ticket.

        Raises:
            VelroAuthError: As :meth:`set` raises. Where that other password could not be set either, the answer has
                ``password_unproven``.
        """
        session = _demanded(verified)
        try:
            return self.set(session, password, context, factor=factor)
        except SamePassword:
            # The owner knows this password.
            raise
        except Exception as error:
            if verified.has_confirmed and not self._lock(session, context) and isinstance(error, VelroAuthError):
                error.members = {**error.members, "password_unproven": True}
            raise

    def reset(self, key: Key, password: str, context: RequestContext, *, factor: FactorCode | None = None) -> Session:
        """Return a session of the user, whose password is *password* from now on; all other sessions end.

        Raises:
            LinkInvalid: The link, code or ticket is wrong, was used before, or has expired.
            VelroAuthError: As ``Proofs.check``, ``PasswordSetter.set`` and ``PasswordSetter.replace`` raise.
        """
        if isinstance(key, Ticket):
            tickets = self.tickets
            with contextlib.ExitStack() as use:
                with self.proofs.sessions.guards.failure_delay.hold(context.arrived_s, is_login=False):
                    session, series = tickets.open(key)
                    use.enter_context(tickets.using(series))
                return self.set(session, password, context, factor=factor, series=series)
        return self.replace(self.proofs.check(key, context, password=password), password, context, factor=factor)

    def confirm(self, proof: Proof, password: str | None, context: RequestContext) -> Confirmed:
        """Return the session of a link or code; *password* becomes the account's password.

        Another person may have signed the address up, with a password of their own, before its owner did. So the owner
        gives the password anew.

        Raises:
            VelroAuthError: As ``Proofs.check`` and :meth:`replace` raise.
        """
        verified = self.proofs.check(proof, context, password=password or "")
        session = verified.session
        if session is None or password is None or proof.type not in OPENING:
            # A user who changes the address has logged in before, so the link did not confirm the account.
            is_opened = proof.type == "signup" or (verified.has_confirmed and proof.type != "email_change")
            return Confirmed(session, is_password_unproven=session is not None and is_opened)
        try:
            return Confirmed(self.replace(verified, password, context))
        except SamePassword:
            # The person who confirms is the person who signed up.
            return Confirmed(session)

    def exchange(
        self, code: str, proof: str, verifiers: Sequence[str], password: str | None, context: RequestContext
    ) -> Exchanged:
        """Return the session of *code*; *password* becomes the account's password, as in :meth:`confirm`.

        Args:
            code: As ``CodeExchange`` takes it.
            proof: The same.
            verifiers: The same.
            password: The new password; only with the code of a mailed link.
            context: The request.

        Raises:
            InvalidRequest: There is a password, and the code is that of a sign-in with a provider.
            SamePassword: A forgotten password is to be replaced by itself; has a ticket.
            VelroAuthError: As ``CodeExchange`` and :meth:`replace` raise.
        """
        if password is None:
            return self.codes(code, proof, verifiers, context)
        if not is_supabase_code(code):
            raise InvalidRequest({"password": ["Only with the code of a mailed link."]})
        exchanged = self.codes(code, proof, verifiers, context)
        verified = Verified(exchanged.session, has_confirmed=exchanged.is_password_unproven)
        try:
            session = self.replace(verified, password, context)
        except SamePassword:
            if exchanged.is_recovery:
                raise
            # The person who confirms is the person who signed up.
            session = exchanged.session
        return dataclasses.replace(exchanged, session=session, is_password_set=True)

    def _lock(self, session: Session, context: RequestContext) -> bool:
        """Give the account a random password that is not kept; return whether one of two tries worked."""
        unknown = f"aA1-{secrets.token_urlsafe(32)}"
        for _ in range(2):
            with contextlib.suppress(VelroAuthError):
                self.set(session, unknown, context)
                return True
        log.info("an account keeps a password that may not be its owner's", extra={"user_id": session.user.id})
        return False

    def _pass(self, session: Session, factor: FactorCode, factors: Sequence[str], context: RequestContext) -> Session:
        factor_id = factor.factor_id or factors[0]
        if factor_id not in factors:
            raise CodeInvalid("the user has no such factor")
        try:
            return self.pass_factor(session.access_token, factor_id, factor.code, context)
        except NotFound as error:
            raise CodeInvalid("the factor was removed") from error


def _demanded(verified: Verified) -> Session:
    if verified.session is None:
        raise UpstreamFailed("a recovery without a session")
    return verified.session
