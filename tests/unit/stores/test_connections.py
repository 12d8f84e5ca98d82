"""A client of a cluster that is away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import exceptions as errors
from redis.cluster import RedisCluster

from tests.waiting import PATIENCE_S, eventually
from velro_auth.stores.connections import LazyCluster


class Counted:
    """A lock that counts those who have asked for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.asked: list[int] = []

    def __enter__(self) -> None:
        self.asked.append(1)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_callers_that_wait_for_a_failing_connection_fail_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would wait for all nodes, after the others had."""
    may_fail, opened = threading.Event(), []

    def open_slowly(*_: object, **__: object) -> None:
        opened.append(1)
        assert may_fail.wait(PATIENCE_S)
        raise errors.RedisClusterException("no node answers")

    monkeypatch.setattr(RedisCluster, "__init__", open_slowly)
    client, lock = LazyCluster(), Counted()
    client.__dict__["_opening"] = lock

    def ask() -> None:
        with pytest.raises(errors.RedisClusterException):
            client.get("key")

    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(ask) for _ in range(5)]
        eventually(lambda: len(lock.asked) == 5)
        may_fail.set()
        for each in waiting:
            each.result(PATIENCE_S)
    assert len(opened) == 1

    ask()
    assert len(opened) == 2


def test_a_client_that_could_not_connect_is_never_without_its_own_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads read them at that time."""
    seen: list[set[str]] = []

    class Left:
        """Looks at the client when it is thrown away."""

        def __del__(self) -> None:
            seen.append(set(client.__dict__))

    def fail(self: RedisCluster, **_: object) -> None:
        self.left = Left()  # type: ignore[attr-defined]
        raise errors.RedisClusterException("no node answers")

    monkeypatch.setattr(RedisCluster, "__init__", fail)
    client = LazyCluster()
    with pytest.raises(errors.RedisClusterException):
        client.get("key")

    assert seen == [{"_options", "_opening", "_failures"}]
