"""How many guesses the limits allow, found by guessing: an attacker who tries whenever a try is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from velro_auth.guards.attempts import MemoryAttempts, Refusal, Reservation
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import DAY_S, HOUR_S, Limits

#: How long the attack on one account is followed until it is stopped.
LONG_S: Final = 6 * DAY_S

#: How often the owner logs in, in the case that is worst for the account: each success ends the streak.
OWNER_S: Final = 60.0

_VICTIM: Final = "victim"


class Attack:
    """An attacker with all the time of the world and a clock of its own.

    Args:
        limits: The limits under attack.
    """

    def __init__(self, limits: Limits) -> None:
        self._now = 0.0
        self._attempts = MemoryAttempts(limits=limits, clock=lambda: self._now)

    def on_account(self, seconds: float, *, clients: int) -> int:
        """Return the guesses at one account within *seconds*, each client in a network of its own."""
        return self._guess([Caller(_VICTIM, f"client{number}") for number in range(clients)], seconds)

    def on_account_in_use(self, seconds: float, *, clients: int) -> int:
        """Return the same while the owner logs in every minute."""
        tried = 0
        for _ in range(int(seconds / OWNER_S)):
            self._owner_logs_in()
            tried += self.on_account(OWNER_S, clients=clients)
        return tried

    def _owner_logs_in(self) -> None:
        ticket = self._attempts.begin(Caller(_VICTIM, "home"))
        assert isinstance(ticket, Reservation), "a known network is never held back by strangers"
        self._attempts.settle(ticket, succeeded=True)

    def from_one_network(self, seconds: float) -> int:
        """Return the guesses from one network, each at another account."""
        return self._spray(seconds, same_network=True)

    def on_service(self, seconds: float) -> int:
        """Return the guesses at the whole service, each at another account from another network."""
        return self._spray(seconds, same_network=False)

    def _spray(self, seconds: float, *, same_network: bool) -> int:
        end, tried = self._now + seconds, 0
        while self._now < end:
            caller = Caller(f"account{tried}", "one" if same_network else f"client{tried}")
            tried += self._guess([caller], end - self._now, until_one=True)
        return tried

    def _guess(self, callers: Iterable[Caller], seconds: float, *, until_one: bool = False) -> int:
        callers, end, tried = list(callers), self._now + seconds, 0
        while self._now < end:
            answers = [self._attempts.begin(caller) for caller in callers]
            waits = [answer.wait_s for answer in answers if isinstance(answer, Refusal)]
            tried += len(answers) - len(waits)
            if until_one and tried:
                return tried
            if len(waits) == len(answers):
                self._now = min(end, self._now + min(waits))
        return tried


def budget(limits: Limits, *, clients: int, processes: int) -> dict[str, int]:
    """Return what → how many guesses, for *clients* parallel attackers and *processes* of ours.

    The last row is for the time when the shared store is gone and each process counts alone.
    """
    share = limits.scaled(1 / processes)
    return {
        "one account, at once": Attack(limits).on_account(1.0, clients=clients),
        "one account, first hour": Attack(limits).on_account(HOUR_S, clients=clients),
        "one account, an hour in which its owner logs in every minute": Attack(limits).on_account_in_use(
            HOUR_S, clients=clients
        ),
        "one account, first day": Attack(limits).on_account(DAY_S, clients=clients),
        "one account, in a row until it is stopped": Attack(limits).on_account(LONG_S, clients=clients),
        "one network, all accounts, first hour": Attack(limits).from_one_network(HOUR_S),
        "whole service, first hour": Attack(limits).on_service(HOUR_S),
        "one account, first hour, shared counters gone": processes * Attack(share).on_account(HOUR_S, clients=clients),
    }
