"""The latest tries of this process, so that a store which may have lost them can count them again.

A new primary lacks what the old one had not sent to it yet, and no store knows the tries that memory allowed while it
was away. So each process counts its own once more when the store works again: those that memory allowed, and those of
the last seconds before the failure. Some of the latter may be counted twice then. That is the safe side: only failed
tries are kept here, so a person who mistyped the password in those seconds has one try less.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, TypeAlias

from velro_auth.guards.attempts import Reservation

#: Tries that were counted in the store this long before it failed count again, in seconds. Longer than replication
#: lags, and about as long as a primary that lost its replicas may take writes until another one is chosen.
KEPT_S: Final = 10.0

#: The latest ones are kept: 500 bytes each.
MAX_TRIES: Final = 1_000

#: A try counts again after so many failures, each within ``KEPT_S`` of the one before. A Redis that flaps and loses
#: nothing counts a mistyped password once more each time.
MAX_RECOUNTS: Final = 3

_Key: TypeAlias = tuple[str, str, float]


class _Entry(NamedTuple):
    at_s: float
    reservation: Reservation
    is_in_store: bool
    left: frozenset[str]
    recounts: int = 0
    recovery: int = -1


class RecentTries:
    """The latest failed tries of this process, and those without an outcome yet.

    Args:
        clock: A monotonic clock, in seconds.
        recoveries: How often the store had recovered before the first of them.

    Attributes:
        recoveries: How often the store had recovered when they were counted again last.
    """

    def __init__(self, clock: Callable[[], float], *, recoveries: int = 0) -> None:
        self._clock = clock
        self.recoveries = recoveries
        self._tries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, reservation: Reservation, *, is_in_store: bool) -> None:
        """Keep a try that was allowed: by the store, or by memory while the store was away."""
        with self._lock:
            self._tries[_key(reservation)] = _Entry(
                self._clock(), reservation, is_in_store, frozenset(reservation.scopes)
            )
            if len(self._tries) > MAX_TRIES:
                self._tries.popitem(last=False)

    def forget(self, reservation: Reservation) -> None:
        """Forget a try that was given back."""
        with self._lock:
            self._tries.pop(_key(reservation), None)

    def recounted(self, reservation: Reservation, scopes: Collection[str]) -> None:
        """Note that a lost try was counted again under *scopes*, so that another failure counts only the rest again."""
        with self._lock:
            entry = self._tries.get(_key(reservation))
            if entry is not None:
                self._tries[_key(reservation)] = entry._replace(left=entry.left - frozenset(scopes))

    def counted_again(self, reservation: Reservation, *, recovery: int) -> None:
        """Note that the store has a lost try again since this recovery. It may lose it once more."""
        with self._lock:
            entry = self._tries.pop(_key(reservation), None)
            if entry is not None and entry.recounts + 1 < MAX_RECOUNTS:
                self._tries[_key(reservation)] = _Entry(
                    at_s=self._clock(),
                    reservation=reservation,
                    is_in_store=True,
                    left=frozenset(reservation.scopes),
                    recounts=entry.recounts + 1,
                    recovery=recovery,
                )

    def lost(self, failed_s: float, *, recovery: int) -> list[tuple[Reservation, frozenset[str]]]:
        """Return the tries to be counted again after a failure, each with the scopes that are left; the oldest first.

        Args:
            failed_s: When the store failed, by the same clock.
            recovery: How often it has recovered. Those that were counted again since this recovery are left out.
        """
        with self._lock:
            entries = list(self._tries.values())
        return [
            (one.reservation, one.left)
            for one in entries
            if one.recovery != recovery and (not one.is_in_store or one.at_s >= failed_s - KEPT_S)
        ]


def _key(reservation: Reservation) -> _Key:
    caller = reservation.caller
    return caller.account, caller.network, reservation.counted_at[0] if reservation.counted_at else 0.0
