"""Stops guessing of mailed codes and of the codes of second factors."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from velro_auth.errors import AuthError, Throttled, UpstreamTimeout
from velro_auth.guards.attempts import Attempts
from velro_auth.guards.budgets import Budgets, Claim, Spent, Taken
from velro_auth.guards.enforcement import ENFORCED, Enforcement
from velro_auth.guards.keys import Caller, Keyring


class BudgetSpent(Throttled):
    """A budget is used up; Supabase was not asked. ``kind`` is the budget."""

    def __init__(self, spent: Spent) -> None:
        super().__init__(f"budget used up: {spent.kind}", retry_after_s=spent.wait_s)
        self.kind = spent.kind


@contextlib.contextmanager
def one_try(
    budgets: Budgets, taken: Taken, *, counted: tuple[type[BaseException], ...] = (AuthError,)
) -> Iterator[None]:
    """Keep *taken* counted if the block raises an error of *counted*; give it back otherwise.

    An outage must not lock users out, and a right code is no guess.
    """
    try:
        yield
    except counted:
        raise
    except BaseException:
        budgets.give_back(taken)
        raise
    budgets.give_back(taken)


def of_networks(kind: str, caller: Caller) -> list[Claim]:
    """Return the claims of the caller's network, and of the wider ones around it."""
    wider = zip(("56", "48"), caller.wider, strict=False)
    return [Claim(kind, caller.network), *(Claim(kind + prefix, network) for prefix, network in wider)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeBudget:
    """One budget of mailed codes per address or phone number, for all types, routes and networks together.

    Supabase counts no wrong codes at all, and the codes of a recovery and of a magic link are the same one.
    Links (``token_hash``) have budgets of their own: :class:`velro_auth.guards.links.LinkBudget`.
    """

    budgets: Budgets
    keyring: Keyring
    enforcement: Enforcement = ENFORCED

    @contextlib.contextmanager
    def attempt(self, account: str) -> Iterator[None]:
        """Count one try for *account*; have the code checked within the block.

        The try is counted before, so that a burst of parallel guesses cannot pass the limit. A wrong code (any
        ``AuthError``) stays counted, every other outcome gives the try back.

        Raises:
            Throttled: The budget is used up; ``retry_after_s`` is exact if others do not try meanwhile.
        """
        name = self.keyring.account(account)
        taken = self.budgets.take([Claim("code", name)])
        if isinstance(taken, Spent):
            if self.enforcement.is_on:
                self.enforcement.on_refused(taken.kind)
                raise BudgetSpent(taken)
            with self.enforcement.let_through(taken.kind, account=name):
                yield
            return
        with one_try(self.budgets, taken):
            yield


@dataclasses.dataclass(frozen=True, kw_only=True)
class FactorBudget:
    """One budget of codes per second factor, and a small one for each network that passed the factor before.

    A request with a factor's code comes after a login with the password, so a login proves nothing about the owner.
    Only a network that passed the factor before has a budget of its own. So an attacker who knows the password cannot
    lock the owner out, and gets no more guesses by logging in from more networks.
    """

    budgets: Budgets
    keyring: Keyring
    attempts: Attempts
    enforcement: Enforcement = ENFORCED

    @contextlib.contextmanager
    def attempt(self, factor_id: str, account: str, address: str) -> Iterator[None]:
        """Count one try; have the code checked within the block.

        Args:
            factor_id: The factor, as the caller named it.
            account: The id of its owner, by the verified token or Supabase's answer. With the mail address in one route
                and the id in another, the factor would have two budgets.
            address: The caller's IP address.

        Raises:
            Throttled: The budget is used up.
        """
        factor, name = self.keyring.factor(account, factor_id), self.keyring.account(account)
        caller = Caller(factor, self.keyring.network(address), self.keyring.wider(address))
        taken = self._take(f"{name}:{factor}", caller)
        if isinstance(taken, Spent):
            if self.enforcement.is_on:
                self.enforcement.on_refused(taken.kind)
                raise BudgetSpent(taken)
            with self.enforcement.let_through(taken.kind, account=name):
                yield
        else:
            # After a time-out a right code may have been accepted, and the next refresh would show it.
            with one_try(self.budgets, taken, counted=(AuthError, UpstreamTimeout)):
                yield
        self.attempts.remember(caller)

    def _take(self, factor: str, caller: Caller) -> Taken | Spent:
        taken = self.budgets.take([Claim("factor", factor)])
        if isinstance(taken, Spent) and self.attempts.knows(caller).pair:
            own = self.budgets.take([Claim("factor_own", f"{factor}:{caller.network}")])
            return own if isinstance(own, Taken) or own.wait_s < taken.wait_s else taken
        return taken
