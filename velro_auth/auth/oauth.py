"""The end of a sign-in with a provider, and of a mailed link: an authorization code becomes a session.

Supabase's code is bound to the PKCE challenge that this service sent at the beginning. The verifier is known to this
service alone: it waits in a sealed cookie of the browser (``web/flow_cookies.py``). After a provider, the code and the
verifier go on to the frontend as one sealed text. Only the frontend that began the sign-in can use it, because it has
to prove a challenge of its own. Nothing is stored here: that a code is used only once is Supabase's rule.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from velro_auth.auth.account import ONE_CODE_S, has_confirmed
from velro_auth.auth.login import note_held
from velro_auth.auth.models import Session
from velro_auth.auth.pkce import proves
from velro_auth.auth.sealing import Sealed, Sealer
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.context import RequestContext
from velro_auth.errors import LinkInvalid

#: How long the frontend has to exchange a sealed code. It does so as soon as its page loads.
HANDOFF_S: Final = 60

#: Supabase's codes are UUIDs.
_SUPABASE_CODE: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def is_supabase_code(text: str) -> bool:
    """Return whether *text* has the form of an authorization code of Supabase."""
    return _SUPABASE_CODE.fullmatch(text) is not None


class WrongVerifier(LinkInvalid):
    """The code belongs to another flow than the verifier. It can still be used."""


#: Asks Supabase for the session of a code, with its verifier. Raises WrongVerifier if the code belongs to another one;
#: LinkInvalid if it is unknown, used or expired; UpstreamThrottled, UpstreamError.
CodeGrant: TypeAlias = Callable[[str, str, RequestContext], Session]


class HandoffCodes:
    """Seals what the frontend hands back: Supabase's code, our verifier and the frontend's challenge.

    Args:
        keys: Keys that seal the text, as ``sealing.sealing_keys`` returns them.
        now: The wall clock, in seconds since the epoch.
    """

    def __init__(self, keys: Sequence[bytes], *, now: Callable[[], float] = time.time) -> None:
        self._sealer = Sealer(keys, "oauth code", now=now)

    def seal(self, code: str, verifier: str, challenge: str) -> str:
        """Return a code for the frontend whose challenge is *challenge*."""
        value = {"code": code, "verifier": verifier, "challenge": challenge}
        return self._sealer.seal(value, good_for_s=HANDOFF_S)

    def open(self, text: str, proof: str) -> tuple[str, str]:
        """Return Supabase's code and our verifier.

        Args:
            text: From :meth:`seal`.
            proof: The frontend's verifier.

        Raises:
            LinkInvalid: The text was not sealed here or has expired, or *proof* is another frontend's.
        """
        try:
            value = self._sealer.open(text)
        except Sealed:
            raise LinkInvalid("the code was not sealed here, or has expired") from None
        if not proves(proof, value["challenge"]):
            raise LinkInvalid("the code_verifier does not belong to the code_challenge of the beginning")
        return value["code"], value["verifier"]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange led to.

    Attributes:
        session: The new session.
        verifier: The verifier of the flow that it ends.
        is_password_set: Whether the owner of the address has set the password with this session.
    """

    session: Session
    verifier: str
    is_password_set: bool = False

    @property
    def is_recovery(self) -> bool:
        """Whether the code came from the link for a forgotten password."""
        return "recovery" in self._methods

    @property
    def is_password_unproven(self) -> bool:
        """Whether the code came from a link that confirmed the address: another person may have set the password.

        Supabase removes such a password itself when a provider confirms the address.
        """
        if self.is_password_set:
            return False
        methods, user = self._methods, self.session.raw.get("user", {})
        return "email/signup" in methods or ("oauth" not in methods and has_confirmed(user, within_s=ONE_CODE_S))

    @property
    def _methods(self) -> Collection[str]:
        claims = claims_of_issued(self.session.access_token)
        return () if claims is None else claims.amr


@dataclass(frozen=True, kw_only=True)
class CodeExchange:
    """Exchanges codes for sessions; the guards check each call first.

    Attributes:
        grant: Asks Supabase.
        handoffs: Opens sealed codes.
        sessions: Has the guards of the call, and records the new session.
    """

    grant: CodeGrant
    handoffs: HandoffCodes
    sessions: Sessions

    def __call__(self, code: str, proof: str, verifiers: Sequence[str], context: RequestContext) -> Exchanged:
        """Return the session of *code*. Every refusal is delayed by the failure delay.

        Args:
            code: A sealed code, or Supabase's own code from the link of a mail.
            proof: The frontend's verifier, for a sealed code.
            verifiers: The verifiers of the mails that this browser asked for, the newest first, for Supabase's own
                code. Supabase says which one belongs to the code; a wrong one does not use the code up.
            context: The request.

        Raises:
            LinkInvalid: The code is wrong, used or expired, or this browser or frontend did not begin the flow.
            Throttled: This network made too many such calls.
            Busy: Too many calls are in progress, or the user's sessions are being ended.
            CircuitOpen: The circuit breaker is open.
            UpstreamThrottled: Supabase's rate limit, or our copy of it, is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        guards = self.sessions.guards
        with (
            guards.failure_delay.hold(context.arrived_s, on_held=note_held(context), is_login=False),
            guards.sessions.permit("proof", context.address, context),
        ):
            if not is_supabase_code(code):
                code, verifier = self.handoffs.open(code, proof)
                verifiers = [verifier]
            exchanged = self._exchanged(code, verifiers, context)
        session = exchanged.session
        context.log_fields["account"] = guards.throttle.name(session.user.email or session.user.id)
        context.shows_upstream = True
        return exchanged

    def _exchanged(self, code: str, verifiers: Sequence[str], context: RequestContext) -> Exchanged:
        refusal = LinkInvalid("this browser has no open flow")
        for verifier in verifiers:
            try:
                return Exchanged(self._ask(code, verifier, context), verifier)
            except WrongVerifier as error:
                refusal = error
        raise refusal

    def _ask(self, code: str, verifier: str, context: RequestContext) -> Session:
        guards = self.sessions.guards
        guards.rate_limit.acquire(is_known=False)
        mark = self.sessions.denied.mark()
        with guards.asking(context):
            session = self.grant(code, verifier, context)
        return self.sessions.admit(session, mark)
