"""Requests that may send a mail. Nothing in the answer depends on who has an account.

The answer leaves at a fixed time after the arrival, and is the same whether Supabase sends a mail or not. The client
gets only errors that depend on the request alone. All other errors are logged for the operator.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from velro_auth.auth.account import Accounts, MailKind, MailRequest
from velro_auth.auth.login import note_held
from velro_auth.context import RequestContext
from velro_auth.errors import (
    CaptchaRequired,
    InvalidRequest,
    MailRefused,
    UpstreamMisconfigured,
    VelroAuthError,
)
from velro_auth.guards import Guards
from velro_auth.guards.mails import MailPermit

logger = logging.getLogger(__name__)

#: Asks Supabase for a mail, on behalf of the given request.
Ask: TypeAlias = Callable[[RequestContext], None]

#: Supabase, or a server in front of it, decides these before it looks for the account.
TOLD: Final[tuple[type[VelroAuthError], ...]] = (CaptchaRequired, InvalidRequest, UpstreamMisconfigured)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mailing:
    """Asks Supabase for mails, behind the mail budget and at fixed times.

    Attributes:
        accounts: Asks Supabase for the mails of this service's own API.
        guards: Guards of the call.
        unusable: Why Supabase cannot be asked at all: what is wrong with the settings. Empty when it can.
    """

    accounts: Accounts
    guards: Guards
    unusable: str = ""

    def request(self, kind: MailKind, request: MailRequest, context: RequestContext) -> None:
        """Ask for a mail of this kind; raises as :meth:`send`."""
        self.send(request.email, context, lambda behind: self.accounts.send_mail(kind, request, behind))

    def send(
        self,
        email: str,
        context: RequestContext,
        ask: Ask,
        *,
        told: tuple[type[VelroAuthError], ...] = TOLD,
    ) -> None:
        """Have *ask* called if the mail budget allows it; return when the answer may leave.

        *ask* may still run then, and its failure is only logged.

        Args:
            email: The address that the mail would go to.
            context: The request.
            ask: Asks Supabase. It gets a context of its own, because that of the request ends with the answer.
            told: The errors that depend on the request alone.

        Raises:
            VelroAuthError: An error of *told* that came in time.
            Busy: Too many such requests are in progress; Supabase was not asked.
            CircuitOpen: Logins found out that Supabase fails; Supabase was not asked.
            UpstreamMisconfigured: The settings are wrong; Supabase was not asked.
        """
        if self.unusable:
            raise UpstreamMisconfigured(self.unusable)
        account = context.log_fields["account"] = self.guards.throttle.name(email)
        # Only logins open this breaker: failing mails would otherwise stop the logins, and show who has an account.
        self.guards.asking.breaker.demand()
        behind = dataclasses.replace(context, log_fields={})

        def call() -> None:
            permit = MailPermit.WITHHELD
            try:
                with self.guards.mails.attempt(email, context.address) as permit:
                    if permit:
                        ask(behind)
            except VelroAuthError as error:
                if isinstance(error, told) and permit is MailPermit.ALLOWED:
                    raise
                _log_refused(error, context.request_id, str(account))
            except Exception:
                logger.exception("unexpected error", extra={"request_id": context.request_id})

        failure = self.guards.mail_delay.run(
            call, context.arrived_s, address=context.address, on_held=note_held(context)
        )
        if failure is not None:
            raise failure

    def wait(self, context: RequestContext) -> None:
        """Wait until an answer that shows nothing may leave; raises as :meth:`send`."""
        self.guards.mail_delay.run(lambda: None, context.arrived_s, address=context.address, on_held=note_held(context))


def _log_refused(error: VelroAuthError, request_id: str, account: str) -> None:
    """Log why there was no mail. A refusal is usual: too soon after the last mail, or no account."""
    fields = {"request_id": request_id, "account": account, "reason": error.reason, "error": type(error).__name__}
    if isinstance(error, MailRefused):
        logger.info("a mail that was asked for was not sent", extra=fields)
    else:
        logger.warning("a mail that was asked for was not sent", extra=fields)
