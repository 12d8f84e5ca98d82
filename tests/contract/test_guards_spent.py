"""A challenge is used once in all processes together, and once in each while Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.fixtures.redis import RedisServer
from velro_auth.stores.client import StoreBackoff, connect
from velro_auth.stores.spent import RedisSpent

MakeSpent = Callable[[], RedisSpent]


@pytest.fixture
def make_spent(own_redis: RedisServer) -> Iterator[MakeSpent]:
    """Return a function that makes what one process would have."""
    with ExitStack() as ends:

        def make() -> RedisSpent:
            client = ends.enter_context(connect(own_redis.url, timeout_s=5.0))
            return RedisSpent(client=client, backoff=StoreBackoff(), prefix="velro:project")

        yield make


def test_one_process_of_several_uses_a_challenge(make_spent: MakeSpent, own_redis: RedisServer) -> None:
    one, other = make_spent(), make_spent()
    until_s = time.time() + 60

    assert [spent.spend("name", until_s) for spent in (one, other, one)] == [True, False, False]
    with own_redis.client() as client:
        assert [key.decode() for key in client.scan_iter()] == ["velro:project:v2:challenge:name"]
        assert 0 < client.pttl("velro:project:v2:challenge:name") <= 60_000


def test_without_redis_each_process_knows_its_own(make_spent: MakeSpent, own_redis: RedisServer) -> None:
    one, other = make_spent(), make_spent()
    until_s = time.time() + 60
    assert one.spend("before", until_s)
    own_redis.kill()

    assert [spent.spend("name", until_s) for spent in (one, one, other)] == [True, False, True]
    assert not one.spend("before", until_s)


def test_what_is_forgotten_can_be_used_again_in_any_process(make_spent: MakeSpent) -> None:
    one, other = make_spent(), make_spent()
    until_s = time.time() + 60
    assert one.spend("name", until_s)

    one.forget("name")

    assert [spent.spend("name", until_s) for spent in (other, one)] == [True, False]


def test_without_redis_a_process_forgets_its_own(make_spent: MakeSpent, own_redis: RedisServer) -> None:
    one = make_spent()
    own_redis.kill()
    assert one.spend("name", time.time() + 60)

    one.forget("name")

    assert one.spend("name", time.time() + 60)
