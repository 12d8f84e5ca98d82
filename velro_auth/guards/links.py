"""Stops guessing of mailed links.

The hash in a link (``token_hash``) is SHA-224 of the mail address and the code of six digits that is in the same mail.
An attacker who knows the address can compute all million candidates: a link is as easy to guess as its code.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from velro_auth.errors import AuthError, ChallengeRequired
from velro_auth.guards.attempts import Attempts
from velro_auth.guards.budgets import Budgets, Claim, Spent, Taken
from velro_auth.guards.challenges import Challenges
from velro_auth.guards.codes import BudgetSpent, of_networks, one_try
from velro_auth.guards.enforcement import ENFORCED, Enforcement
from velro_auth.guards.keys import Caller, Keyring


class LinkChallenged(ChallengeRequired):
    """Others used up a budget of refused links: a solved challenge allows one try. ``kind`` is the budget."""

    def __init__(self, spent: Spent, challenge: Mapping[str, Any], *, wrong: str = "") -> None:
        reason = f"budget used up: {spent.kind}" + (f"; the solution was {wrong}" if wrong else "")
        super().__init__(reason, challenge=challenge, retry_after_s=spent.wait_s)
        self.kind = spent.kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkBudget:
    """Refused links per network, and for the whole service.

    A hash does not show its address, so there is no budget per address: only the sender can be counted. Networks from
    which any account logged in before do not share the budget of the service. Others can use up the budgets of the
    service and of the wider networks. A solved challenge opens those, so no attacker can close the route for others.

    Attributes:
        budgets: Counts.
        keyring: Names the counters.
        attempts: Knows from which networks accounts logged in.
        challenges: Issues and checks challenges.
        is_challenging: Whether challenges are issued.
        on_challenge: Called with ``given`` or ``solved`` for a challenge, or ``wrong`` for a solution.
        enforcement: Whether budgets refuse links, or only report them.
    """

    budgets: Budgets
    keyring: Keyring
    attempts: Attempts
    challenges: Challenges
    is_challenging: bool = True
    on_challenge: Callable[[str], None] = lambda _event: None
    enforcement: Enforcement = ENFORCED

    @contextlib.contextmanager
    def attempt(self, token_hash: str, address: str, *, solution: str | None = None) -> Iterator[None]:
        """Count one try from *address*; have the link checked within the block.

        The try is counted before, so that a burst of parallel guesses cannot pass the limit. A refused link (any
        ``AuthError``) stays counted, every other outcome gives the try back.

        Args:
            token_hash: The hash in the link.
            address: The caller's IP address.
            solution: The solution of a challenge that was issued for this link and network. It is checked, and used,
                only where it is needed.

        Raises:
            Throttled: The network made too many tries.
            ChallengeRequired: Only budgets that others share are used up, and challenges are issued.
        """
        keyring = self.keyring
        caller = Caller(keyring.link(token_hash), keyring.network(address), keyring.wider(address))
        taken = self.budgets.take(self._claims(caller))
        if isinstance(taken, Taken):
            with one_try(self.budgets, taken):
                yield
        elif not self.enforcement.is_on:
            with self.enforcement.let_through(taken.kind):
                yield
        else:
            solved = self._take_with_solution(caller, taken, solution)
            try:
                with one_try(self.budgets, solved):
                    yield
            except AuthError:
                self.challenges.password_refused()
                raise

    def _claims(self, caller: Caller) -> list[Claim]:
        claims = of_networks("link_network", caller)
        is_acquainted = self.attempts.knows(Caller("", caller.network)).network
        return claims if is_acquainted else [*claims, Claim("link_service")]

    def _take_with_solution(self, caller: Caller, spent: Spent, solution: str | None) -> Taken:
        """Count the try of a caller who sent a solution, in the budget of their own network alone.

        The try is counted before the solution is checked. A wrong solution stays counted.
        """
        if not self.is_challenging:
            raise self._refused(spent)
        taken = self.budgets.take([Claim("link_network", caller.network)])
        if isinstance(taken, Spent):
            raise self._refused(taken)
        wrong = ""
        if not solution:
            self.budgets.give_back(taken)
        else:
            wrong = self.challenges.check(caller, solution)
            self.on_challenge("wrong" if wrong else "solved")
            if not wrong:
                return taken
        self.enforcement.on_refused(spent.kind)
        self.on_challenge("given")
        raise LinkChallenged(spent, self.challenges.issue(caller, failures=0), wrong=wrong)

    def _refused(self, spent: Spent) -> BudgetSpent:
        self.enforcement.on_refused(spent.kind)
        return BudgetSpent(spent)
