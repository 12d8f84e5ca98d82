"""Counters of login tries: what the throttle needs from them, and the counters in the memory of one process."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import ENDED_BY_SUCCESS, SHARED, STRANGER, Allowance, Limits, Record, scopes_of, waits_of

#: About 350 bytes each: 20 MB with three full tables. Only counted tries make records: one a second for strangers, more
#: only for solved challenges. To drop a streak of ten failures, 20,000 other accounts need ten failures each.
MAX_RECORDS: Final = 20_000

#: Of this many oldest records, the one with the shortest streak is dropped.
CANDIDATES: Final = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """One counted try, until its outcome is known.

    Attributes:
        caller: Its sender.
        is_known: Whether this account logged in from this network before.
        scopes: The scopes that it was counted under.
        counted_at: Per counted scope, when it was counted, on the clock of the server that counted it.
        previous: Per counted scope, when the try before it was counted.
        allowance: What the caller has left, this try included; for the ``RateLimit`` fields.
        has_solved: Whether the caller sent the solution of a challenge.
        in_memory: The same try in the memory of this process; only for tries counted in a shared store.
        shard: Which part of the service's counter counted it; other than 0 only in a cluster.
    """

    caller: Caller
    is_known: bool
    scopes: tuple[str, ...]
    counted_at: tuple[float, ...]
    previous: tuple[float, ...]
    allowance: Allowance
    has_solved: bool = False
    in_memory: Reservation | None = None
    shard: int = 0

    def without(self, scope: str) -> Reservation:
        """Return the reservation without *scope*: when it is settled, the try stays counted there."""
        kept = [index for index, one in enumerate(self.scopes) if one != scope]
        return dataclasses.replace(
            self,
            scopes=tuple(self.scopes[index] for index in kept),
            counted_at=tuple(self.counted_at[index] for index in kept),
            previous=tuple(self.previous[index] for index in kept),
            in_memory=self.in_memory and self.in_memory.without(scope),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A try that was not counted, because a limit was reached.

    Attributes:
        scope: The limit with the longest wait.
        wait_s: When the try would be allowed if others did not try meanwhile.
        allowance: What the caller has left.
        own_scope: The same as *scope* among the limits that are not shared; empty if none of them was reached.
        own_wait_s: The same.
        failures: How many tries from the caller's own network failed within the last day.
    """

    scope: str
    wait_s: float
    allowance: Allowance
    own_scope: str
    own_wait_s: float
    failures: int = 0

    @property
    def is_shared_only(self) -> bool:
        """Whether only shared limits were reached, so that a solved challenge helps."""
        return not self.own_scope

    def own(self) -> Refusal:
        """Return the refusal without the shared limits, for a caller who may solve a challenge."""
        return dataclasses.replace(self, scope=self.own_scope, wait_s=self.own_wait_s)


def refusal_of(waits: Mapping[str, float], allowance: Allowance, *, failures: int) -> Refusal:
    """Return the refusal for scope → wait, in the order of ``STRANGER``; one of them at least is not 0."""
    longest = max(waits, key=lambda scope: waits[scope])
    longest_own = max((scope for scope in waits if scope not in SHARED), key=lambda scope: waits[scope])
    return Refusal(
        longest, waits[longest], allowance, longest_own if waits[longest_own] else "", waits[longest_own], failures
    )


class Known(NamedTuple):
    """Who logged in before.

    Attributes:
        pair: Whether the account logged in from this network.
        network: Whether any account did.
    """

    pair: bool
    network: bool


class Attempts(Protocol):
    """Counters of login tries: in memory, or shared in Redis. The methods never raise."""

    def begin(self, caller: Caller, *, has_solved: bool = False) -> Reservation | Refusal:
        """Count one try in all scopes at once, or in none. With a solved challenge shared limits do not count."""

    def settle(self, reservation: Reservation, *, succeeded: bool) -> None:
        """Give the try back; after a success also end the streaks and remember the pair."""

    def knows(self, caller: Caller) -> Known:
        """Return whether the pair, or any account from the network, logged in before."""

    def remember(self, caller: Caller) -> None:
        """End the streaks and remember the pair, after a success that was not counted as a try."""


class MemoryCounters:
    """The counters of one process, and the known networks of its accounts; survives a settings reload.

    Args:
        max_records: How many records are kept per scope, and how many accounts with known networks.
    """

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self.tables: Final[Mapping[str, RecordTable]] = {scope: RecordTable(max_records) for scope in STRANGER}
        self.known: Final = _KnownNetworks(max_accounts=max_records)
        self.lock: Final = threading.Lock()


class MemoryAttempts:
    """Counters of this process only: with N processes each gets its share of the limits; see :class:`Attempts`.

    One lock guards all counters. It is held for microseconds, never while Supabase is asked.

    Args:
        limits: The limits of this process.
        clock: A monotonic clock, in seconds.
        counters: The counters of the object before, at a settings reload.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        counters: MemoryCounters | None = None,
    ) -> None:
        self._limits = limits.by_scope()
        self._known_s, self._known_networks = limits.known_s, limits.known_networks
        self._clock = clock
        self.counters: Final = counters or MemoryCounters()
        self._tables, self._known, self._lock = self.counters.tables, self.counters.known, self.counters.lock

    def begin(self, caller: Caller, *, has_solved: bool = False) -> Reservation | Refusal:
        """Count one try in all scopes at once, or in none."""
        with self._lock:
            now = self._clock()
            is_known, records = self._records(caller, now, has_solved=has_solved)
            waits = waits_of(self._limits, records, now)
            if any(waits.values()):
                allowance = self._limits["pair"].allowance(records["pair"], now)
                return refusal_of(waits, allowance, failures=records.get("network", Record()).streak)
            return self._count(caller, records, now, is_known=is_known, has_solved=has_solved)

    def record(self, caller: Caller, *, has_solved: bool = False) -> Reservation:
        """Count a try that another store has allowed, without checking the limits here."""
        with self._lock:
            now = self._clock()
            is_known, records = self._records(caller, now, has_solved=has_solved)
            return self._count(caller, records, now, is_known=is_known, has_solved=has_solved)

    def settle(self, reservation: Reservation, *, succeeded: bool) -> None:
        """Give the try back; after a success also end the streaks and remember the pair."""
        with self._lock:
            now = self._clock()
            self._refund(reservation, now)
            if succeeded:
                self._succeeded(reservation.caller, now)

    def knows(self, caller: Caller) -> Known:
        """Return whether the pair, or any account from the network, logged in before."""
        with self._lock:
            now = self._clock()
            return Known(self._known.has(caller, now), self._known.has_network(caller.network, now))

    def remember(self, caller: Caller) -> None:
        """End the streaks and remember the pair, after a success that was not counted as a try."""
        with self._lock:
            self._succeeded(caller, self._clock())

    def _succeeded(self, caller: Caller, now: float) -> None:
        self._end_streaks(caller, now)
        self._known.add(caller, until=now + self._known_s, per_account=self._known_networks)

    def _records(self, caller: Caller, now: float, *, has_solved: bool) -> tuple[bool, Mapping[str, Record]]:
        is_known = self._known.has(caller, now)
        scopes = scopes_of(is_known=is_known, is_wide=bool(caller.wider), has_solved=has_solved)
        return is_known, {scope: self._record(caller, scope, now) for scope in scopes}

    def _record(self, caller: Caller, scope: str, now: float) -> Record:
        table, key = self._tables[scope], caller.key(scope)
        stored = table.get(key)
        record = self._limits[scope].current(stored, now)
        if record.is_earlier_than(stored):
            # Kept; otherwise the wait would start again at each try until the clock has caught up.
            table.put(key, record, now)
        return record

    def _count(
        self, caller: Caller, records: Mapping[str, Record], now: float, *, is_known: bool, has_solved: bool
    ) -> Reservation:
        for scope, record in records.items():
            self._tables[scope].put(caller.key(scope), self._limits[scope].counted(record, now), now)
        pair = self._limits["pair"].counted(records["pair"], now)
        previous = tuple(record.last for record in records.values())
        allowance = self._limits["pair"].allowance(pair, now)
        counted_at = (now,) * len(records)
        return Reservation(caller, is_known, tuple(records), counted_at, previous, allowance, has_solved)

    def _refund(self, reservation: Reservation, now: float) -> None:
        times = zip(reservation.scopes, reservation.counted_at, reservation.previous, strict=True)
        for scope, counted_at, previous in times:
            table, key = self._tables[scope], reservation.caller.key(scope)
            record = self._limits[scope].refunded(table.get(key), counted_at, previous)
            table.put(key, record, now)

    def _end_streaks(self, caller: Caller, now: float) -> None:
        for scope in ENDED_BY_SUCCESS:
            table, key = self._tables[scope], caller.key(scope)
            # The owner's logins must not refill the hourly budget of strangers.
            full_until = 0.0 if scope == "pair" else table.get(key).full_until
            table.put(key, Record(full_until), now)


class RecordTable:
    """Records by key, the latest last, with a maximum number.

    The shortest streak among the oldest records is dropped. So a flood of new records drops other new records, not
    the record of one account that was attacked for hours.
    """

    def __init__(self, max_records: int) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._max_records = max_records

    def get(self, key: str) -> Record:
        """Return the record of *key*; an empty one where there is none."""
        return self._records.get(key, Record())

    def put(self, key: str, record: Record, now: float) -> None:
        """Keep *record*, or delete it if it is empty."""
        if record.is_empty(now):
            self._records.pop(key, None)
            return
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > self._max_records:
            oldest = itertools.islice(self._records, CANDIDATES)
            del self._records[min(oldest, key=lambda old: self._records[old].streak)]


class _KnownNetworks:
    """The networks that logged in to each account before, and those that logged in to any."""

    def __init__(self, *, max_accounts: int) -> None:
        self._networks: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._all: OrderedDict[str, float] = OrderedDict()
        self._max_accounts = max_accounts

    def has(self, caller: Caller, now: float) -> bool:
        return self._networks.get(caller.account, {}).get(caller.network, now) > now

    def has_network(self, network: str, now: float) -> bool:
        return self._all.get(network, now) > now

    def add(self, caller: Caller, *, until: float, per_account: int) -> None:
        networks = self._networks.setdefault(caller.account, {})
        networks[caller.network] = until
        self._networks.move_to_end(caller.account)
        # Bounded per account too: one account with a /48 must not drop the networks of all others.
        if len(networks) > per_account:
            del networks[min(networks, key=lambda network: (networks[network], network))]
        if len(self._networks) > self._max_accounts:
            self._networks.popitem(last=False)
        self._all[caller.network] = until
        self._all.move_to_end(caller.network)
        if len(self._all) > self._max_accounts:
            self._all.popitem(last=False)
