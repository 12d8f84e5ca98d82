"""Stops floods of mails, and of sign-ups that need no mail."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Final

from velro_auth.errors import NotEnabled, RequestError, Unready, UpstreamError, UpstreamThrottled
from velro_auth.guards.attempts import Attempts
from velro_auth.guards.budgets import Budgets, Claim, Spent, Taken
from velro_auth.guards.codes import BudgetSpent, of_networks
from velro_auth.guards.enforcement import ENFORCED, Enforcement
from velro_auth.guards.keys import Caller, Keyring
from velro_auth.guards.upstream_rate_limit import RateLimitBucket

logger = logging.getLogger("velro_auth.guards")

#: The limit that withholds mails because Supabase's own one would be reached.
UPSTREAM: Final = "mail_upstream"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MailBudget:
    """The mails that Supabase is asked to send: per address, per network and for the whole service.

    Whether the address has an account is never looked up, so mails that Supabase then does not send count too.

    Attributes:
        copy: The copy of Supabase's rate limit for mails. A mail that it refuses is withheld, as one that exceeds a
            budget: a refusal would tell nothing of the account, but the answers of all mails are the same.
        on_withheld: Called with the limit, the HMAC of the account and the caller's address for a mail that is not
            sent. The answer does not tell, so the audit trail has to.
    """

    budgets: Budgets
    keyring: Keyring
    attempts: Attempts
    copy: RateLimitBucket = dataclasses.field(default_factory=RateLimitBucket.never)
    enforcement: Enforcement = ENFORCED
    on_withheld: Callable[[str, str, str], None] = lambda _limit, _account, _address: None

    def take(self, account: str, address: str) -> bool:
        """Count one mail to *account*, asked for from *address*; return whether Supabase may be asked to send it.

        False: ask for no mail, and answer as if it had been sent. A mail is never given back, however the call ends:
        Supabase may have sent it. Never raises.
        """
        return self._take(account, address) is not None

    @contextlib.contextmanager
    def attempt(self, account: str, address: str) -> Iterator[bool]:
        """Have Supabase asked for the mail within the block, if the value is true; see :meth:`take`.

        A mail is given back only if Supabase refused the request for what is in it, such as a weak password: it sends
        no mail for that, whoever has an account. Where Supabase counts all callers as one, it stays counted: Supabase
        counted the call, and callers could use up everybody's calls with such requests.
        """
        taken = self._take(account, address)
        try:
            yield taken is not None
        except (RequestError, NotEnabled):
            if isinstance(taken, Taken) and not self.copy.is_in_force:
                self.budgets.give_back(taken)
            raise

    def _take(self, account: str, address: str) -> Taken | Spent | None:
        """Return what was taken, what would have been refused if that is only reported, or None for no mail."""
        caller = self.keyring.caller(account, address)
        taken = self.budgets.take(self._claims(caller))
        if isinstance(taken, Spent):
            if self.enforcement.is_on:
                self._withhold(taken.kind, caller, address)
                return None
            self.enforcement.report(taken.kind, account=caller.account)
        try:
            self.copy.acquire_for(lambda: self.is_acquainted(address))
        except UpstreamThrottled:
            # Supabase is not asked.
            if isinstance(taken, Taken):
                self.budgets.give_back(taken)
            self._withhold(UPSTREAM, caller, address)
            return None
        return taken

    def _withhold(self, limit: str, caller: Caller, address: str) -> None:
        self.enforcement.on_refused(limit)
        self.on_withheld(limit, caller.account, address)
        # The answer does not show it, so a developer would look for the mail in vain.
        logger.info("a mail was withheld", extra={"limit": limit, "account": caller.account})

    def is_acquainted(self, address: str) -> bool:
        """Return whether anybody logged in from the network of *address* before."""
        return self.attempts.knows(Caller("", self.keyring.network(address))).network

    def _claims(self, caller: Caller) -> list[Claim]:
        known = self.attempts.knows(caller)
        claims = [
            Claim("mail_pair", f"{caller.account}:{caller.network}"),
            Claim("mail_account", caller.account),
            *of_networks("mail_network", caller),
            Claim("mail_service"),
        ]
        if not known.pair:
            # What is kept for known pairs cannot be used up by others: neither the owner's mails nor the service's.
            claims += [Claim("mail_account_strangers", caller.account), Claim("mail_service_acquainted")]
            if not known.network:
                claims.append(Claim("mail_service_strangers"))
        return claims


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignUpLimit:
    """Sign-ups from one network, in projects that confirm them without a mail.

    There a sign-up says whether the address has an account, and a successful one makes a user. So both stay counted.
    """

    budgets: Budgets
    keyring: Keyring
    enforcement: Enforcement = ENFORCED

    @contextlib.contextmanager
    def attempt(self, address: str) -> Iterator[None]:
        """Count one sign-up from *address*; have it done within the block. Only an outage gives it back.

        Raises:
            Throttled: The network made too many sign-ups.
        """
        caller = Caller("", self.keyring.network(address), self.keyring.wider(address))
        taken = self.budgets.take(of_networks("sign_up", caller))
        if isinstance(taken, Spent):
            if self.enforcement.is_on:
                self.enforcement.on_refused(taken.kind)
                raise BudgetSpent(taken)
            with self.enforcement.let_through(taken.kind):
                yield
            return
        try:
            yield
        except (UpstreamError, UpstreamThrottled, Unready):
            self.budgets.give_back(taken)
            raise
