"""Budgets of mailed codes and links, second factors, mails and sign-ups: exact counts within a sliding window.

A budget keeps the times of what it counted, so no window of its length ever holds more than its count, wherever the
window begins. That is affordable because all counts are small. ``stores/budgets.lua`` does the same in Redis; a test
drives both with the same steps and compares every number.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import operator
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

from velro_auth.guards.limits import DAY_S, HOUR_S, INSTANT_S

QUARTER_S: Final = 900.0

#: Logs of times per kind of budget; about 500 bytes each. To drop the used-up budget of one account, as many other
#: budgets need as many tries.
MAX_LOGS: Final = 20_000

#: Of this many oldest logs, the shortest one is dropped.
CANDIDATES: Final = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """At most *count* within any *window_s* seconds."""

    count: int
    window_s: float

    def scaled(self, factor: float) -> Window:
        """Return the window with *factor* times the count, at least one."""
        return Window(max(1, int(self.count * factor)), self.window_s)


#: The windows of one kind of budget; all of them count the same log.
Windows: TypeAlias = tuple[Window, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """One unit of one budget.

    Attributes:
        kind: The kind of budget: a field of :class:`BudgetLimits`.
        name: Whose budget it is: HMACs of a ``Keyring``, separated by colons. Empty for that of the service.
    """

    kind: str
    name: str = ""

    @property
    def key(self) -> str:
        """The name of the counter."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """One unit of each claimed budget, which can be given back.

    Attributes:
        claims: The budgets.
        number: Identifies the entry in the logs.
        in_memory: The same units in the memory of this process; only for those that were taken in a shared store.
    """

    claims: tuple[Claim, ...]
    number: str
    in_memory: Taken | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """Nothing was taken, because a budget is used up.

    Attributes:
        kind: The budget with the longest wait.
        wait_s: When the claims could be taken if others take nothing meanwhile.
    """

    kind: str
    wait_s: float


class Budgets(Protocol):
    """Counts in memory, or shared in Redis. The methods never raise."""

    def take(self, wanted: Sequence[Claim]) -> Taken | Spent:
        """Take one unit of each budget in one step, or none."""

    def give_back(self, taken: Taken) -> None:
        """Give the units back, as if they had not been taken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetLimits:
    """All budgets. ``docs/explanation/throttling.md`` gives the reasons.

    Attributes:
        code: Mailed codes of one address or phone number, from everywhere.
        factor: Codes of one second factor.
        factor_own: The same factor's, for each network that passed it before.
        mail_pair: Mails to one address, asked for by one network.
        mail_account: Mails to one address.
        mail_account_strangers: Those that networks may ask for which never logged in to this account.
        mail_network: Mails that one network asks for (/24, /64).
        mail_network56: The same for an IPv6 /56.
        mail_network48: The same for an IPv6 /48.
        mail_service: All mails.
        mail_service_acquainted: Those that may be asked for by pairs that never logged in.
        mail_service_strangers: Those that networks may ask for from which no account ever logged in.
        link_network: Refused links of one network (/24, /64).
        link_network56: The same for an IPv6 /56.
        link_network48: The same for an IPv6 /48.
        link_service: Refused links of all networks from which no account ever logged in.
        sign_up: Sign-ups without a mail from one network (/24, /64).
        sign_up56: The same for an IPv6 /56.
        sign_up48: The same for an IPv6 /48.
    """

    code: Windows = (Window(10, HOUR_S), Window(30, DAY_S))
    factor: Windows = (Window(5, QUARTER_S),)
    factor_own: Windows = (Window(2, QUARTER_S),)
    mail_pair: Windows = (Window(2, HOUR_S),)
    mail_account: Windows = (Window(6, HOUR_S),)
    mail_account_strangers: Windows = (Window(4, HOUR_S),)
    mail_network: Windows = (Window(10, HOUR_S),)
    mail_network56: Windows = (Window(15, HOUR_S),)
    mail_network48: Windows = (Window(20, HOUR_S),)
    mail_service: Windows = (Window(25, HOUR_S),)
    mail_service_acquainted: Windows = (Window(18, HOUR_S),)
    mail_service_strangers: Windows = (Window(12, HOUR_S),)
    link_network: Windows = (Window(10, HOUR_S),)
    link_network56: Windows = (Window(15, HOUR_S),)
    link_network48: Windows = (Window(20, HOUR_S),)
    link_service: Windows = (Window(300, HOUR_S),)
    sign_up: Windows = (Window(30, HOUR_S),)
    sign_up56: Windows = (Window(45, HOUR_S),)
    sign_up48: Windows = (Window(60, HOUR_S),)

    @classmethod
    def with_mails(cls, per_hour: int) -> BudgetLimits:
        """Return the limits of a service that may ask for *per_hour* mails an hour.

        Half of them are kept for pairs and networks that logged in before, and half of that half for pairs.
        """
        return cls(
            mail_service=(Window(per_hour, HOUR_S),),
            mail_service_acquainted=(Window(max(1, per_hour * 3 // 4), HOUR_S),),
            mail_service_strangers=(Window(max(1, per_hour // 2), HOUR_S),),
        )

    def by_kind(self) -> Mapping[str, Windows]:
        """Return kind → its windows."""
        return MappingProxyType({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    def scaled(self, factor: float) -> BudgetLimits:
        """Return limits with *factor* times the counts: below 1 for a share, above 1 for a test."""
        scaled: dict[str, Any] = {
            kind: tuple(window.scaled(factor) for window in windows) for kind, windows in self.by_kind().items()
        }
        return dataclasses.replace(self, **scaled)


#: The kinds of budgets, in a fixed order.
KINDS: Final = tuple(BudgetLimits().by_kind())

#: One counted unit: when, and the number that identifies it.
_Entry: TypeAlias = tuple[float, int]
_time_of: Final = operator.itemgetter(0)


class MemoryLogs:
    """The logs of one process; survives a settings reload.

    Args:
        max_logs: How many logs are kept of each kind.
    """

    def __init__(self, max_logs: int = MAX_LOGS) -> None:
        self.by_kind: Final[Mapping[str, OrderedDict[str, list[_Entry]]]] = {kind: OrderedDict() for kind in KINDS}
        self.max_logs: Final = max_logs
        self.numbers: Final = itertools.count(1)
        self.lock: Final = threading.Lock()


class MemoryBudgets:
    """Budgets of this process only: with N processes each has its share; see :class:`Budgets`.

    Args:
        limits: The limits of this process.
        clock: A monotonic clock, in seconds.
        logs: The logs of the object before, at a settings reload.
    """

    def __init__(
        self,
        *,
        limits: BudgetLimits,
        clock: Callable[[], float] = time.monotonic,
        logs: MemoryLogs | None = None,
    ) -> None:
        self._windows = limits.by_kind()
        self._clock = clock
        self.logs: Final = logs or MemoryLogs()

    def take(self, wanted: Sequence[Claim]) -> Taken | Spent:
        """Take one unit of each budget in one step, or none."""
        with self.logs.lock:
            now = self._clock()
            waits = {claim.kind: self._wait_s(claim, now) for claim in wanted}
            longest = max(waits, key=lambda kind: waits[kind])
            if waits[longest]:
                return Spent(longest, waits[longest])
            return self._add(wanted, now)

    def record(self, wanted: Sequence[Claim]) -> Taken:
        """Count units that another store has given, without checking the limits here."""
        with self.logs.lock:
            now = self._clock()
            for claim in wanted:
                self._current(claim, now)
            return self._add(wanted, now)

    def give_back(self, taken: Taken) -> None:
        """Give the units back, as if they had not been taken."""
        number = int(taken.number)
        with self.logs.lock:
            for claim in taken.claims:
                logs = self.logs.by_kind[claim.kind]
                log = logs.get(claim.name, [])
                # From the end: it is one of the newest.
                place = next((place for place in reversed(range(len(log))) if log[place][1] == number), None)
                if place is not None:
                    del log[place]
                if not log:
                    logs.pop(claim.name, None)

    def used(self, claim: Claim) -> Sequence[int]:
        """Return how many units of each window are used now."""
        with self.logs.lock:
            now = self._clock()
            log = self._current(claim, now)
            return [_used(log, window.window_s, now) for window in self._windows[claim.kind]]

    def _wait_s(self, claim: Claim, now: float) -> float:
        log = self._current(claim, now)
        return max(_wait_s(log, window, now) for window in self._windows[claim.kind])

    def _current(self, claim: Claim, now: float) -> list[_Entry]:
        """Return the log without entries that no window counts any more; entries of the future count as of now.

        A clock that was set back must not make a wait longer than the window.
        """
        logs = self.logs.by_kind[claim.kind]
        log = logs.get(claim.name)
        if log is None:
            return []
        if log[-1][0] > now:
            log[:] = [(min(at, now), number) for at, number in log]
        longest_s = max(window.window_s for window in self._windows[claim.kind])
        del log[: len(log) - _used(log, longest_s, now)]
        if not log:
            del logs[claim.name]
        return log

    def _add(self, wanted: Sequence[Claim], now: float) -> Taken:
        number = next(self.logs.numbers)
        for claim in wanted:
            logs = self.logs.by_kind[claim.kind]
            logs.setdefault(claim.name, []).append((now, number))
            logs.move_to_end(claim.name)
            if len(logs) > self.logs.max_logs:
                oldest = itertools.islice(logs, CANDIDATES)
                del logs[min(oldest, key=lambda name: len(logs[name]))]
        return Taken(tuple(wanted), str(number))


def _used(log: Sequence[_Entry], window_s: float, now: float) -> int:
    return len(log) - bisect.bisect_right(log, now - window_s + INSTANT_S, key=_time_of)


def _wait_s(log: Sequence[_Entry], window: Window, now: float) -> float:
    if _used(log, window.window_s, now) < window.count:
        return 0.0
    return max(INSTANT_S, log[-window.count][0] + window.window_s - now)
