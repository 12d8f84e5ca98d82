"""Processes that share a Redis count themselves, so that each knows its part of the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.conftest import ENVIRONMENT
from tests.fixtures.redis import RedisServer
from tests.fixtures.threads import out_of_threads
from tests.waiting import eventually
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.stores import replicas as module
from velro_auth.stores.client import connect
from velro_auth.stores.replicas import ALIVE_S, Replicas

KEY = "velro:test:processes"

MakeReplica = Callable[[], Replicas]


@pytest.fixture
def replica(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeReplica]:
    """A function that makes one more process; each beats as often as a test wants to wait."""
    monkeypatch.setattr(module, "BEAT_S", 0.02)
    made: list[Replicas] = []

    def make() -> Replicas:
        made.append(Replicas(client=connect(own_redis.url), prefix="velro:test"))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_each_process_counts_all_of_them(replica: MakeReplica) -> None:
    first, second, third = replica(), replica(), replica()

    assert [each.count() for each in (first, second, third)] == [1, 2, 3]
    assert [each.count() for each in (first, second, third)] == [3, 3, 3]


def test_one_that_stops_is_counted_no_longer(replica: MakeReplica) -> None:
    first, second = replica(), replica()
    first.count()
    assert second.count() == 2

    first.stop()

    assert second.count() == 1


def test_one_that_was_killed_is_forgotten(replica: MakeReplica, own_redis: RedisServer) -> None:
    """By Redis's clock: those of the machines may differ."""
    first = replica()
    first.count()
    with own_redis.client() as client:
        seconds, _ = client.time()
        client.zadd(KEY, {"killed": seconds - ALIVE_S - 1, "alive": seconds - ALIVE_S + 3})

        assert first.count() == 2
        assert client.zscore(KEY, "killed") is None
        assert 0 < client.ttl(KEY) <= 3600


def test_the_last_number_stays_while_redis_is_away(replica: MakeReplica, own_redis: RedisServer) -> None:
    first, second, changes = replica(), replica(), []
    first.on_change = lambda: changes.append(first.processes)
    first.start()
    eventually(lambda: changes == [1])
    second.start()
    eventually(lambda: changes == [1, 2])

    own_redis.kill()
    with pytest.raises((redis.RedisError, OSError)):
        second.count()

    assert first.processes == 2
    own_redis.start()
    eventually(lambda: first.processes == 2)
    assert set(changes) == {1, 2}


def test_a_failure_to_take_the_number_over_ends_nothing(replica: MakeReplica, caplog: pytest.LogCaptureFixture) -> None:
    first, second, changes = replica(), replica(), []

    def fail() -> None:
        changes.append(first.processes)
        raise ValueError("no such number")

    first.on_change = fail
    first.start()
    eventually(lambda: changes == [1])
    second.count()

    eventually(lambda: changes == [1, 2])
    assert "another number of processes could not be taken over" in caplog.text


def burst_of(service: Any) -> float:
    """Return how many tries memory allows at once."""
    memory = vars(vars(service._parts.guards.throttle)["_attempts"])["_fallback"]
    return float(memory._limits["pair"].burst)


@pytest.mark.parametrize(("setting", "share"), [("0", 4), ("3", 3)])
def test_the_limits_of_memory_follow_the_number(
    own_redis: RedisServer, replica: MakeReplica, setting: str, share: int
) -> None:
    """A setting wins over what is counted."""
    environment = {**ENVIRONMENT, "REDIS_URL": own_redis.url, "AUTH_REPLICAS": setting}
    alone = create_app(Settings.from_environment({**ENVIRONMENT, "REDIS_URL": own_redis.url}))
    service = create_app(Settings.from_environment(environment))
    whole = burst_of(alone)
    found = service._parts.state.guards.replicas
    assert found is not None
    with own_redis.client() as client:
        seconds, _ = client.time()
        client.zadd(f"{Settings.from_environment(environment).redis_prefix}:processes", {"a": seconds, "b": seconds})
        client.zadd(f"{Settings.from_environment(environment).redis_prefix}:processes", {"c": seconds})
    try:
        service.start()
        eventually(lambda: found.processes == 4)
        eventually(lambda: burst_of(service) == whole // share)
    finally:
        service.stop()
        alone.stop()


def test_redis_that_comes_back_empty_makes_the_number_no_smaller(replica: MakeReplica, own_redis: RedisServer) -> None:
    """Each of the others notes itself again within a beat."""
    all_of_them = [replica() for _ in range(3)]
    for each in all_of_them * 2:
        each._has_changed()
    assert [each.processes for each in all_of_them] == [3, 3, 3]

    with own_redis.client() as client:
        client.delete(KEY)
    has_changed = [each._has_changed() for each in all_of_them * 2]

    assert not any(has_changed)
    assert [each.processes for each in all_of_them] == [3, 3, 3]


def test_a_smaller_number_counts_from_the_second_beat_on(replica: MakeReplica) -> None:
    first, second = replica(), replica()
    second._has_changed()
    first._has_changed()
    second.stop()

    numbers = []
    for _ in range(2):
        first._has_changed()
        numbers.append(first.processes)

    assert numbers == [2, 1]


def test_a_defect_while_counting_does_not_end_it(replica: MakeReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    first = replica()
    outcomes: Iterator[Exception | int] = iter([RuntimeError("a defect"), 4])

    def count() -> int:
        outcome = next(outcomes, 4)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(first, "count", count)
    first.start()

    eventually(lambda: first.processes == 4)


def test_a_count_that_could_not_start_is_started_later(own_redis: RedisServer) -> None:
    service = create_app(Settings.from_environment({**ENVIRONMENT, "REDIS_URL": own_redis.url}))
    found = service._parts.state.guards.replicas
    assert found is not None
    try:
        with out_of_threads():
            found.start()
        service._parts.state.telemetry.jobs.run_once()

        eventually(lambda: found.processes == 1)
    finally:
        service.stop()


def test_another_number_of_processes_forgets_no_tries(own_redis: RedisServer) -> None:
    """They have to be counted in Redis again where it may have lost them."""
    service = create_app(Settings.from_environment({**ENVIRONMENT, "REDIS_URL": own_redis.url}))

    def recent_tries() -> object:
        return vars(vars(service._parts.guards.throttle)["_attempts"])["_recent"]

    guards, recent = service._parts.guards, recent_tries()
    service._rebuild()

    assert service._parts.guards is not guards
    assert recent_tries() is recent
    service.stop()
