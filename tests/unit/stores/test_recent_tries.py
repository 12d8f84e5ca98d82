"""The latest tries of a process, which a store that failed counts again."""

from __future__ import annotations

from typing import Final

from velro_auth.guards.attempts import MemoryAttempts, Reservation
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Limits
from velro_auth.stores.recent_tries import RecentTries

NOW_S: Final = 100.0


def a_try() -> Reservation:
    found = MemoryAttempts(limits=Limits(), clock=lambda: NOW_S).begin(Caller("account", "network"))
    assert isinstance(found, Reservation)
    return found


def test_what_was_counted_again_is_not_counted_a_third_time_when_the_store_fails_meanwhile() -> None:
    tries, one = RecentTries(lambda: NOW_S), a_try()
    tries.add(one, is_in_store=True)

    assert tries.lost(NOW_S, recovery=1) == [(one, frozenset(one.scopes))]
    tries.recounted(one, one.scopes[:1])

    assert tries.lost(NOW_S, recovery=1) == [(one, frozenset(one.scopes[1:]))]


def test_a_try_that_was_given_back_stays_forgotten() -> None:
    tries, one = RecentTries(lambda: NOW_S), a_try()
    tries.add(one, is_in_store=True)
    tries.forget(one)
    tries.recounted(one, one.scopes)

    assert tries.lost(NOW_S, recovery=1) == []


def test_what_was_counted_again_counts_again_when_the_store_fails_once_more() -> None:
    """It is among the newest of the store. One that flaps and loses nothing counts it no more than three times."""
    tries, one = RecentTries(lambda: NOW_S), a_try()
    tries.add(one, is_in_store=False)

    counted = []
    for recovery in range(1, 6):
        found = tries.lost(NOW_S, recovery=recovery)
        counted.append(len(found))
        for each, _ in found:
            tries.counted_again(each, recovery=recovery)
        assert tries.lost(NOW_S, recovery=recovery) == []

    assert counted == [1, 1, 1, 0, 0]
