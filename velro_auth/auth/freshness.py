"""A new proof of who the user is, demanded before a change that could give the account to another person.

A stolen access token is worth little if it cannot change the password, the mail address or the second factors. So
these changes need a sign-in of less than ten minutes ago, or the current password.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from velro_auth.auth.models import Credentials, Identity, Session
from velro_auth.auth.tokens import Claims
from velro_auth.context import RequestContext
from velro_auth.errors import AuthError, InvalidCredentials, ReauthenticationNeeded, SessionGone, VelroAuthError
from velro_auth.guards import Guards

log = logging.getLogger(__name__)

#: How long a sign-in proves who the user is, in seconds (contract, section 9).
FRESH_S: Final = 600.0
#: How far the clocks of Supabase and this machine may differ, in seconds.
LEEWAY_S: Final = 30.0

#: Entries of ``amr`` that are no proof: a refresh happens without the user.
_NO_PROOF: Final = frozenset({"token_refresh"})


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client sends to prove who the user is; its ``repr`` shows none of it.

    Attributes:
        current_password: The password of the account; None where the client relies on a recent sign-in.
        captcha_token: The solved captcha, where the project demands one.
        challenge: The solution of a challenge of ours.
    """

    current_password: str | None = field(default=None, repr=False)
    captcha_token: str | None = field(default=None, repr=False)
    challenge: str | None = field(default=None, repr=False)


def signed_in_s(claims: Claims) -> float | None:
    """Return when the user last proved who they are, in seconds since the epoch; None where the token does not say.

    That is the newest timestamp of ``amr``. ``iat`` proves nothing, because a refresh renews it.
    """
    entries = claims.raw.get("amr")
    stamps = [
        entry["timestamp"]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
        and entry.get("method") not in _NO_PROOF
        and type(entry.get("timestamp")) in {int, float}
    ]
    return max(stamps, default=None)


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """Demands a recent sign-in or the current password.

    Attributes:
        identity: Asks Supabase.
        guards: Guards of the call. A wrong password counts as a wrong password of a login does.
        now: The wall clock.
    """

    identity: Identity
    guards: Guards
    now: Callable[[], float] = time.time

    def demand(self, claims: Claims, proof: Proof, context: RequestContext) -> None:
        """Return if the user has just proven who they are.

        A password that is sent is always checked, however recent the sign-in: otherwise Supabase, which may check it
        too, would answer any number of guesses.

        Args:
            claims: The claims of a verified token.
            proof: What the client sent.
            context: The request.

        Raises:
            ReauthenticationNeeded: The last sign-in is too long ago, and the password is missing or wrong.
            Throttled: Too many wrong passwords for this account or network; or a challenge has to be solved.
            CaptchaRequired: Supabase requires a captcha for the check of the password.
            Unready: Too many calls are in progress, or the circuit breaker is open.
            UpstreamThrottled: Supabase's rate limit, or our copy of it, is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        if proof.current_password is not None:
            self._check_password(claims, proof, proof.current_password, context)
        elif not self.is_fresh(claims):
            raise ReauthenticationNeeded("the last sign-in is too long ago")

    def is_fresh(self, claims: Claims) -> bool:
        """Return whether the user signed in less than ten minutes ago."""
        at_s, now_s = signed_in_s(claims), self.now()
        return at_s is not None and now_s - FRESH_S < at_s <= now_s + LEEWAY_S

    def _check_password(self, claims: Claims, proof: Proof, password: str, context: RequestContext) -> None:
        if not claims.email:
            raise ReauthenticationNeeded("the user has no mail address, so no password can be checked")
        credentials = Credentials(claims.email, password, proof.captcha_token)
        context.log_fields["account"] = self.guards.throttle.name(claims.email)
        try:
            with (
                self.guards.throttle.attempt(claims.email, context.address, solution=proof.challenge) as attempt,
                self.guards.failure_delay.hold(context.arrived_s, is_known=attempt.is_known),
            ):
                self.guards.rate_limit.acquire(is_known=attempt.is_known)
                with self.guards.asking(context):
                    session = self.identity.sign_in(credentials, context)
                if session.user.id != claims.sub:
                    # The address was changed after the token was issued, and now is another user's.
                    self._end(session, context)
                    raise InvalidCredentials("the password is that of another user")
        except AuthError as error:
            raise ReauthenticationNeeded(f"the current password was refused: {error.reason}") from error
        self._end(session, context)

    def _end(self, session: Session, context: RequestContext) -> None:
        """End the session that the check began. No client has its tokens."""
        try:
            with self.guards.failure_delay.permit(), self.guards.asking(context):
                self.identity.sign_out(session.access_token, "local", context)
        except SessionGone:
            return
        except VelroAuthError as error:
            log.warning("The session of a password check lives on at Supabase: %s", error.reason)
