"""What the guards leave to an attacker: guesses in a simulated attack, and the budgets that are exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from velro_auth.guards.attempts import MemoryAttempts, Refusal, Reservation
from velro_auth.guards.budgets import BudgetLimits, Windows
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import DAY_S, HOUR_S, Limits

#: Longest attack on one account that is simulated.
LONG_S: Final = 6 * DAY_S

#: Interval of the owner's logins in the worst case for the account: each success resets the streak.
OWNER_S: Final = 60.0

_VICTIM: Final = "victim"

#: Kind of budget → its heading, and what it counts.
_EXACT: Final[Mapping[str, tuple[str, str]]] = {
    "code": ("mailed codes", "one address or phone number"),
    "factor": ("second factors", "one factor"),
    "factor_own": ("second factors", "one factor, besides, for each network that passed it before"),
    "mail_pair": ("mails", "one address, asked for by one network"),
    "mail_account": ("mails", "one address"),
    "mail_account_strangers": ("mails", "one address, asked for by networks that never logged in to it"),
    "mail_network": ("mails", "one network (/24, /64)"),
    "mail_network56": ("mails", "one IPv6 /56"),
    "mail_network48": ("mails", "one IPv6 /48"),
    "mail_service": ("mails", "the whole service"),
    "mail_service_acquainted": ("mails", "the whole service, for addresses that never logged in from the network"),
    "mail_service_strangers": ("mails", "the whole service, asked for by networks from which nobody logged in"),
    "link_network": ("refused links", "one network (/24, /64)"),
    "link_network56": ("refused links", "one IPv6 /56"),
    "link_network48": ("refused links", "one IPv6 /48"),
    "link_service": ("refused links", "the whole service, from networks from which nobody logged in"),
    "sign_up": ("sign-ups that need no mail", "one network (/24, /64)"),
    "sign_up56": ("sign-ups that need no mail", "one IPv6 /56"),
    "sign_up48": ("sign-ups that need no mail", "one IPv6 /48"),
}


def length_of(seconds: float) -> str:
    """Return a length of time as a person says it, such as ``15 min`` or ``24 h``."""
    return f"{seconds / HOUR_S:.0f} h" if seconds >= HOUR_S else f"{seconds / 60:.0f} min"


class Attack:
    """Simulates an attacker who tries whenever a try is allowed, with a simulated clock."""

    def __init__(self, limits: Limits) -> None:
        self._now = 0.0
        self._attempts = MemoryAttempts(limits=limits, clock=lambda: self._now)

    def on_account(self, seconds: float, *, clients: int) -> int:
        """Return the guesses at one account within *seconds*, each client in its own network."""
        return self._guess([Caller(_VICTIM, f"client{number}") for number in range(clients)], seconds)

    def on_account_in_use(self, seconds: float, *, clients: int) -> int:
        """Return the same while the owner logs in every minute."""
        tried = 0
        for _ in range(int(seconds / OWNER_S)):
            reservation = self._attempts.begin(Caller(_VICTIM, "home"))
            assert isinstance(reservation, Reservation), "strangers cannot block a known network"
            self._attempts.settle(reservation, succeeded=True)
            tried += self.on_account(OWNER_S, clients=clients)
        return tried

    def on_service(self, seconds: float, *, same_network: bool) -> int:
        """Return the guesses within *seconds*, each at another account, from one network or always another one."""
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
    """Return attack → number of guesses, for *clients* parallel attackers and *processes* of ours.

    In the last one the shared store has failed, and each process counts alone.
    """

    def on_account(seconds: float, at: Limits = limits) -> int:
        return Attack(at).on_account(seconds, clients=clients)

    in_use = Attack(limits).on_account_in_use(HOUR_S, clients=clients)
    return {
        "one account, at once": on_account(1.0),
        "one account, first hour": on_account(HOUR_S),
        "one account, an hour in which its owner logs in every minute": in_use,
        "one account, first day": on_account(DAY_S),
        "one account, in a row until it is stopped": on_account(LONG_S),
        "one network, all accounts, first hour": Attack(limits).on_service(HOUR_S, same_network=True),
        "whole service, first hour": Attack(limits).on_service(HOUR_S, same_network=False),
        "one account, first hour, shared counters gone": processes * on_account(HOUR_S, limits.scaled(1 / processes)),
    }


def exact_budgets(limits: BudgetLimits) -> dict[str, dict[str, int]]:
    """Return heading → what is counted → how many of it *limits* allow. These budgets are exact in every window."""
    found: dict[str, dict[str, int]] = {}
    for kind, (title, what) in _EXACT.items():
        windows: Windows = limits.by_kind()[kind]
        for window in windows:
            found.setdefault(title, {})[f"{what}, in {length_of(window.window_s)}"] = window.count
    return found
