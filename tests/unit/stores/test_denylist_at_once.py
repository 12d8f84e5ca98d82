"""The shared deny-list, asked by a thread that must not wait."""

from __future__ import annotations

import time
from typing import cast

from tests.fixtures.tokens import checked_claims
from velro_auth.auth.denylist import end_of_session
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis


class Untouched:
    """A store that fails the test when it is asked."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def test_while_logouts_of_others_are_not_heard_nothing_is_known_without_waiting() -> None:
    denied, claims = RedisDenyList(store=cast("DenialsInRedis", Untouched())), checked_claims()

    assert denied.denies(claims, waits=False)

    denied._set_heard(time.monotonic())
    assert not denied.denies(claims, waits=False)
    denied._memory.deny([end_of_session(claims, until_s=time.time() + 60)])
    assert denied.denies(claims, waits=False)
