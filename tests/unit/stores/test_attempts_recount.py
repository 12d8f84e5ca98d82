"""After a failure of the store the latest tries are counted again, but not while it is away once more."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
import redis

from tests.unit.guards.model import KEYRING
from tests.waiting import eventually
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.limits import Limits
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import StoreBackoff

AWAY = redis.exceptions.ConnectionError("away")


class Store:
    """Counts how often it is asked to run a script."""

    def __init__(self) -> None:
        self.works = False
        self.asked = 0

    def evalsha(self, *_: Any) -> list[object]:
        self.asked += 1
        if not self.works:
            raise AWAY
        return []

    def probe(self) -> None:
        """Find it away."""
        raise AWAY


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def attempts(store: Store, backoff: StoreBackoff) -> RedisAttempts:
    """A try was counted in memory while the store was away."""
    client, limits = cast("redis.Redis", store), Limits()
    made = RedisAttempts(client=client, limits=limits, fallback=MemoryAttempts(limits=limits), backoff=backoff)
    backoff.failed(AWAY)
    guess(made, 1)
    return made


def is_not_counting() -> bool:
    return "recount" not in {thread.name for thread in threading.enumerate()}


def guess(attempts: RedisAttempts, times: int) -> None:
    for number in range(times):
        attempts.begin(KEYRING.caller("somebody@example.com", f"10.0.{number}.1"))
        eventually(is_not_counting)


def test_no_login_asks_a_store_that_failed_again_before_all_was_counted(
    store: Store, backoff: StoreBackoff, attempts: RedisAttempts
) -> None:
    backoff.succeeded()
    eventually(is_not_counting)
    assert (store.asked, backoff.is_degraded) == (1, True)

    guess(attempts, 5)

    assert store.asked == 1


def test_the_tries_are_counted_again_without_waiting_for_a_login(
    store: Store, backoff: StoreBackoff, attempts: RedisAttempts
) -> None:
    store.works = True

    backoff.succeeded()

    eventually(lambda: attempts._recent.recoveries == backoff.recoveries)
    assert store.asked >= 1
