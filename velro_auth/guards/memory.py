"""Login tries counted in the memory of one process."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from velro_auth.guards.attempts import Refusal, Standing, Ticket
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import ENDED_BY_SUCCESS, SHARED, STRANGER, Limits, Record, scopes_of, waits_of

#: About 350 bytes each, so 20 MB at most with three crowded shelves. Only counted tries make records: strangers
#: have one a second, or as many as they pay for with solved challenges. To push out a row of ten failures, 20,000 other
#: accounts need ten failures each.
MAX_RECORDS: Final = 20_000

#: How many of the oldest records compete for being dropped.
CANDIDATES: Final = 8


class MemoryCounters:
    """The counters of one process and the networks that its accounts are known from; survives a settings reload.

    Args:
        max_records: How many records are kept per scope, and accounts with known networks.
    """

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self.shelves: Final[Mapping[str, Shelf]] = {scope: Shelf(max_records) for scope in STRANGER}
        self.known: Final = _KnownNetworks(max_accounts=max_records)
        self.lock: Final = threading.Lock()


class MemoryAttempts:
    """Counters of this process, nobody else's: with N processes each gets its share of the limits.

    One lock guards all counters and is held for microseconds, never while Supabase is asked.

    Args:
        limits: The limits of this process.
        clock: Seconds that never go back.
        counters: Those of the object before, at a settings reload.
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
        self._shelves, self._known, self._lock = self.counters.shelves, self.counters.known, self.counters.lock

    def begin(self, caller: Caller, *, is_opened: bool = False) -> Ticket | Refusal:
        """Count one try in all scopes at once, or in none."""
        with self._lock:
            now = self._clock()
            is_known, records = self._records(caller, now, is_opened=is_opened)
            waits = waits_of(self._limits, records, now)
            if any(waits.values()):
                return self._refusal(records, waits, now)
            return self._count(caller, records, now, is_known=is_known)

    def record(self, caller: Caller, *, is_opened: bool = False) -> Ticket:
        """Count a try that another store has allowed, whatever the limits say here."""
        with self._lock:
            now = self._clock()
            is_known, records = self._records(caller, now, is_opened=is_opened)
            return self._count(caller, records, now, is_known=is_known)

    def settle(self, ticket: Ticket, *, succeeded: bool) -> None:
        """Give the try back; after a success also end the streaks and remember the pair."""
        with self._lock:
            now = self._clock()
            self._give_back(ticket, now)
            if succeeded:
                self._end_streaks(ticket.caller, now)
                self._known.add(ticket.caller, until=now + self._known_s, per_account=self._known_networks)

    def show(
        self, *, account: str | None = None, network: str | None = None, wider: Sequence[str] = ()
    ) -> Sequence[Standing]:
        """Return the counters of an account or of a network and those around it."""
        with self._lock:
            now = self._clock()
            return [
                Standing(key, scope, record.streak, self._limits[scope].wait_s(record, now))
                for scope, key in self._keys_of(account, network, *wider)
                for record in [self._limits[scope].current(self._shelves[scope].get(key), now)]
            ]

    def release(self, *, account: str | None = None, network: str | None = None, wider: Sequence[str] = ()) -> int:
        """Forget the counters of an account or of a network and those around it; return how many there were."""
        with self._lock:
            found = list(self._keys_of(account, network, *wider))
            for scope, key in found:
                self._shelves[scope].put(key, Record(), self._clock())
            return len(found)

    def _records(self, caller: Caller, now: float, *, is_opened: bool) -> tuple[bool, Mapping[str, Record]]:
        is_known = self._known.has(caller, now)
        scopes = scopes_of(is_known=is_known, is_wide=bool(caller.wider), is_opened=is_opened)
        return is_known, {scope: self._record(caller, scope, now) for scope in scopes}

    def _record(self, caller: Caller, scope: str, now: float) -> Record:
        shelf, key = self._shelves[scope], caller.key(scope)
        stored = shelf.get(key)
        record = self._limits[scope].current(stored, now)
        if record.is_earlier_than(stored):
            # Kept, or the wait would begin anew at each look until the clock has caught up.
            shelf.put(key, record, now)
        return record

    def _refusal(self, records: Mapping[str, Record], waits: Mapping[str, float], now: float) -> Refusal:
        slowest = max(waits, key=lambda scope: waits[scope])
        slowest_own = max((scope for scope in waits if scope not in SHARED), key=lambda scope: waits[scope])
        own_wait_s = waits[slowest_own]
        return Refusal(
            slowest,
            waits[slowest],
            self._limits["pair"].allowance(records["pair"], now),
            own_scope=slowest_own if own_wait_s else "",
            own_wait_s=own_wait_s,
            failures=records["network"].streak if "network" in records else 0,
        )

    def _count(self, caller: Caller, records: Mapping[str, Record], now: float, *, is_known: bool) -> Ticket:
        for scope, record in records.items():
            self._shelves[scope].put(caller.key(scope), self._limits[scope].counted(record, now), now)
        pair = self._limits["pair"].counted(records["pair"], now)
        earlier = tuple(record.last for record in records.values())
        return Ticket(caller, is_known, tuple(records), now, earlier, self._limits["pair"].allowance(pair, now))

    def _give_back(self, ticket: Ticket, now: float) -> None:
        for scope, before in zip(ticket.scopes, ticket.earlier, strict=True):
            shelf, key = self._shelves[scope], ticket.caller.key(scope)
            if key in shelf:
                given_back = self._limits[scope].given_back(shelf.get(key), stamp=ticket.stamp, before=before)
                shelf.put(key, given_back, now)

    def _end_streaks(self, caller: Caller, now: float) -> None:
        for scope in ENDED_BY_SUCCESS:
            shelf, key = self._shelves[scope], caller.key(scope)
            # The hourly budget of strangers outlives the owner's logins: it must not be refilled by them.
            full_until = 0.0 if scope == "pair" else shelf.get(key).full_until
            shelf.put(key, Record(full_until), now)

    def _keys_of(self, *names: str | None) -> Iterator[tuple[str, str]]:
        for scope, shelf in self._shelves.items():
            for key in shelf.keys_naming(*names):
                yield scope, key


class Shelf:
    """Records by key, the latest last, at most so many.

    What is dropped is the shortest streak among the oldest: whoever floods the shelf with fresh records pushes
    out other fresh records, not the one account that was attacked for hours.
    """

    def __init__(self, max_records: int) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._max_records = max_records

    def __contains__(self, key: str) -> bool:
        """Return whether there is a record of *key*."""
        return key in self._records

    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self._records)

    def get(self, key: str) -> Record:
        """Return the record of *key*; an empty one where there is none."""
        return self._records.get(key, Record())

    def put(self, key: str, record: Record, now: float) -> None:
        """Keep *record*, unless it says nothing."""
        if record.says_nothing(now):
            self._records.pop(key, None)
            return
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > self._max_records:
            oldest = itertools.islice(self._records, CANDIDATES)
            del self._records[min(oldest, key=lambda old: self._records[old].streak)]

    def keys_naming(self, *names: str | None) -> list[str]:
        """Return the keys that have one of these accounts or networks in their name."""
        return [key for key in self._records if set(names) & set(key.split(":")[1:])]


class _KnownNetworks:
    """The networks that logged in to each account before."""

    def __init__(self, *, max_accounts: int) -> None:
        self._networks: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._max_accounts = max_accounts

    def has(self, caller: Caller, now: float) -> bool:
        return self._networks.get(caller.account, {}).get(caller.network, now) > now

    def add(self, caller: Caller, *, until: float, per_account: int) -> None:
        networks = self._networks.setdefault(caller.account, {})
        networks[caller.network] = until
        self._networks.move_to_end(caller.account)
        # Bounded per account too: one account with a /48 of its own must not push out everybody else.
        if len(networks) > per_account:
            del networks[min(networks, key=lambda network: (networks[network], network))]
        if len(self._networks) > self._max_accounts:
            self._networks.popitem(last=False)
