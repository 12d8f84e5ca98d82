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

    assert tries.lost(NOW_S) == [(one, frozenset(one.scopes))]
    tries.recounted(one, one.scopes[:1])

    assert tries.lost(NOW_S) == [(one, frozenset(one.scopes[1:]))]


def test_a_try_that_was_given_back_stays_forgotten() -> None:
    tries, one = RecentTries(lambda: NOW_S), a_try()
    tries.add(one, is_in_store=True)
    tries.forget(one)
    tries.recounted(one, one.scopes)

    assert tries.lost(NOW_S) == []
