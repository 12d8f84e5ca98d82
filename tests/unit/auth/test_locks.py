"""What threads share is touched under its lock only, reads included.

Even ``len()`` of such a cache drops what has expired: beside another thread that raised KeyError in a request whose
refresh token was already spent. Each touch of a cache reads its clock, so the clock notices one without the lock.
"""

from __future__ import annotations

from tests.fixtures.clocks import LockWatch
from tests.fixtures.tokens import HeldKeys, SigningKey, checked_claims, claims_at, rules
from velro_auth.auth.introspection import AskLimits, RemoteIntrospector
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.verifier import TokenVerifier


def test_outcomes_of_refreshes() -> None:
    clock = LockWatch()
    refreshes: Refreshes[str] = Refreshes(clock=clock, size=2)
    clock.locks = (refreshes._lock, refreshes._flights._lock)

    for number in range(5):
        refreshes.refresh(f"token {number}", lambda: "session")
        clock.advance(4)

    assert refreshes.remembered == 2
    assert clock.without_lock == 0


def test_proven_tokens() -> None:
    clock, key = LockWatch(), SigningKey("one")
    verifier = TokenVerifier(keys=HeldKeys(key), rules=rules(clock.peek), cache_size=2, clock=clock)
    clock.locks = (verifier._lock,)

    for number in range(5):
        token = key.token(claims_at(nonce=number))
        assert verifier.verify(token) == verifier.verify(token)
        clock.advance(25)

    assert verifier.remembered == 2
    assert clock.without_lock == 0


def test_answers_about_tokens() -> None:
    clock = LockWatch()
    remote = RemoteIntrospector(limits=AskLimits(cache_size=2), clock=clock, now=clock.peek)
    clock.locks = (remote.state.lock,)

    for number in range(5):
        remote.check(f"token {number}", checked_claims(), lambda: None, is_proven=True)
        clock.advance(25)
    assert remote.state.remembered == 2
    RemoteIntrospector(limits=AskLimits(good_for_s=10), state=remote.state)

    assert remote.state.remembered == 0
    assert clock.without_lock == 0
