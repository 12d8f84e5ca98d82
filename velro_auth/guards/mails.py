"""Stops floods of mails, and of sign-ups that need no mail."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
from collections.abc import Callable, Iterator
from typing import Final

from velro_auth.errors import NotEnabled, RequestError, Unready, UpstreamError, UpstreamThrottled
from velro_auth.guards.attempts import Attempts, Known
from velro_auth.guards.budgets import Budgets, Claim, Spent, Taken
from velro_auth.guards.codes import BudgetSpent, of_networks
from velro_auth.guards.enforcement import ENFORCED, Enforcement
from velro_auth.guards.keys import Caller, Keyring
from velro_auth.guards.upstream_rate_limit import RateLimitBucket

logger = logging.getLogger("velro_auth.guards")

#: The limit that withholds mails because Supabase's own one would be reached.
UPSTREAM: Final = "mail_upstream"


class MailPermit(enum.Enum):
    """Whether Supabase may be asked for a mail."""

    #: Ask for no mail, and answer as if it had been sent.
    WITHHELD = enum.auto()
    #: Ask, but always answer as if the mail had been sent. The mail is one of those that are kept for accounts that
    #: logged in from the caller's network before. Without such a login it would be withheld now, so an error would show
    #: that this address has an account.
    KEPT = enum.auto()
    ALLOWED = enum.auto()

    def __bool__(self) -> bool:
        """Return whether Supabase may be asked."""
        return self is not MailPermit.WITHHELD


@dataclasses.dataclass(frozen=True, kw_only=True)
class MailBudget:
    """The mails that Supabase is asked to send: per address, per network and for the whole service.

    Whether the address has an account is never looked up, so mails that Supabase then does not send count too.

    Attributes:
        copy: The copy of Supabase's rate limit for mails. A mail that it refuses is withheld, as one that exceeds a
            budget: a refusal would show nothing of the account, but the answers of all mails are the same.
        on_withheld: Called with the limit, the HMAC of the account and the caller's address for a mail that is not
            sent. The answer does not show that, so the audit trail has to.
    """

    budgets: Budgets
    keyring: Keyring
    attempts: Attempts
    copy: RateLimitBucket = dataclasses.field(default_factory=RateLimitBucket.never)
    enforcement: Enforcement = ENFORCED
    on_withheld: Callable[[str, str, str], None] = lambda _limit, _account, _address: None

    def take(self, account: str, address: str) -> MailPermit:
        """Count one mail to *account*, asked for from *address*; return whether Supabase may be asked to send it.

        A mail is never given back, however the call ends: Supabase may have sent it. Never raises.
        """
        return self._take(account, address)[1]

    @contextlib.contextmanager
    def attempt(self, account: str, address: str) -> Iterator[MailPermit]:
        """Have Supabase asked for the mail within the block, as the value says; see :meth:`take`.

        A mail is given back only if Supabase refused the content of the request, such as a weak password: it sends no
        mail then, with or without an account. Where Supabase counts all callers as one, the mail stays counted:
        Supabase counted the call, and one caller could use up the calls of all others with such requests.
        """
        taken, permit = self._take(account, address)
        try:
            yield permit
        except (RequestError, NotEnabled):
            if isinstance(taken, Taken) and not self.copy.is_in_force:
                self.budgets.give_back(taken)
            raise

    def _take(self, account: str, address: str) -> tuple[Taken | Spent | None, MailPermit]:
        """Return what was taken, or what would have been refused if that is only reported, and the permit."""
        caller = self.keyring.caller(account, address)
        known = self.attempts.knows(caller)
        permit = MailPermit.KEPT if known.pair and self._is_used_up(caller) else MailPermit.ALLOWED
        taken = self.budgets.take(_claims(caller, known))
        if isinstance(taken, Spent):
            if self.enforcement.is_on:
                self._withhold(taken.kind, caller, address)
                return None, MailPermit.WITHHELD
            self.enforcement.report(taken.kind, account=caller.account)
        try:
            self.copy.acquire_for(lambda: self.is_acquainted(address))
        except UpstreamThrottled:
            # Supabase is not asked.
            if isinstance(taken, Taken):
                self.budgets.give_back(taken)
            self._withhold(UPSTREAM, caller, address)
            return None, MailPermit.WITHHELD
        return taken, permit

    def _is_used_up(self, caller: Caller) -> bool:
        """Return whether this mail would be withheld if the account had never logged in from this network."""
        if not self.enforcement.is_on:
            return False
        taken = self.budgets.take(_not_for_known_pairs(caller))
        if isinstance(taken, Taken):
            self.budgets.give_back(taken)
        return isinstance(taken, Spent)

    def _withhold(self, limit: str, caller: Caller, address: str) -> None:
        self.enforcement.on_refused(limit)
        self.on_withheld(limit, caller.account, address)
        # The answer does not show it, so a developer would look for the mail in vain.
        logger.info("a mail was withheld", extra={"limit": limit, "account": caller.account})

    def is_acquainted(self, address: str) -> bool:
        """Return whether any account logged in from the network of *address* before."""
        return self.attempts.knows(Caller("", self.keyring.network(address))).network


def _claims(caller: Caller, known: Known) -> list[Claim]:
    claims = [
        Claim("mail_pair", f"{caller.account}:{caller.network}"),
        Claim("mail_account", caller.account),
        *of_networks("mail_network", caller),
        Claim("mail_service"),
    ]
    if not known.pair:
        claims += _not_for_known_pairs(caller)
        if not known.network:
            claims.append(Claim("mail_service_strangers"))
    return claims


def _not_for_known_pairs(caller: Caller) -> list[Claim]:
    """What is kept for known pairs cannot be used up by others: neither the owner's mails nor the service's."""
    return [Claim("mail_account_strangers", caller.account), Claim("mail_service_acquainted")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignUpLimit:
    """Sign-ups from one network, in projects that confirm them without a mail.

    There a sign-up shows whether the address has an account, and a successful one makes a user. So both stay counted.
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
