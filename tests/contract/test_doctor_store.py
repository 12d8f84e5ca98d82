"""The doctor's checks of Redis: each seen failing on a real one with that very fault, and well without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.fixtures.redis import RedisServer, slow_way_to
from velro_auth.config.settings import Settings
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.checkup import Result, run
from velro_auth.ops.doctor.context import DiagnosticContext


def look(name: str, url: str, **changes: str) -> Result:
    settings = Settings.from_environment({"REDIS_URL": url, **changes})
    return {one.check.name: one for one in run(CHECKS, DiagnosticContext(settings=settings), only=[name])}[name]


@pytest.fixture
def limited(own_redis: RedisServer) -> Iterator[redis.Redis]:
    """A Redis with room for little."""
    with own_redis.client() as client:
        client.config_set("maxmemory", "40mb")
        client.config_set("maxmemory-policy", "noeviction")
        yield client


def test_a_redis_that_is_gone_and_comes_back(own_redis: RedisServer) -> None:
    own_redis.kill()

    result = look("redis.reachable", own_redis.url)

    assert result.status == "fail"
    assert "REDIS_URL" in result.fix
    assert look("redis.latency", own_redis.url).status == "skip"
    own_redis.start()
    assert look("redis.reachable", own_redis.url).status == "pass"
    assert look("redis.latency", own_redis.url).status in {"pass", "warn"}


def test_a_redis_that_hangs_is_not_waited_for(own_redis: RedisServer) -> None:
    own_redis.pause()
    try:
        assert look("redis.reachable", own_redis.url).found == "no answer (TimeoutError)"
    finally:
        own_redis.resume()


@pytest.fixture
def far_redis(redis_server: RedisServer) -> Iterator[str]:
    """The address of one that is 40 ms away."""

    with slow_way_to(redis_server, delay_s=lambda: 0.04) as url:
        yield url


def test_a_redis_that_is_far_away(far_redis: str) -> None:
    result = look("redis.latency", far_redis)

    assert result.status == "warn"
    assert "same region" in result.fix


def test_an_address_of_another_kind() -> None:
    result = look("redis.reachable", "https://:canary@redis.example")

    assert result.status == "fail"
    assert "must start with redis://" in result.found
    assert "canary" not in result.found


def test_a_redis_that_would_throw_keys_away(limited: redis.Redis, own_redis: RedisServer) -> None:
    limited.config_set("maxmemory-policy", "allkeys-lru")

    result = look("redis.memory", own_redis.url)

    assert result.status == "warn"
    assert "noeviction" in result.fix
    limited.config_set("maxmemory-policy", "noeviction")
    assert look("redis.memory", own_redis.url).status == "pass"


def test_a_redis_that_threw_keys_away(limited: redis.Redis, own_redis: RedisServer) -> None:
    limited.config_set("maxmemory-policy", "allkeys-lru")
    limited.config_set("maxmemory", str(limited.info("memory")["used_memory"] + 500_000))
    for number in range(40):
        limited.set(f"key {number}", b"x" * 50_000)

    result = look("redis.memory", own_redis.url)

    assert result.status == "fail"
    assert "were evicted" in result.found


def test_a_redis_that_is_nearly_full(limited: redis.Redis, own_redis: RedisServer) -> None:
    limited.config_set("maxmemory", str(int(limited.info("memory")["used_memory"] * 1.02)))

    assert "nearly full" in look("redis.memory", own_redis.url).found
    limited.config_set("maxmemory", "40mb")
    assert look("redis.memory", own_redis.url).status == "pass"


def test_several_processes_without_a_redis() -> None:
    assert look("redis.shared", "", WEB_CONCURRENCY="2").status == "warn"
    assert look("redis.shared", "", AUTH_REPLICAS="3").status == "warn"
    assert look("redis.shared", "").status == "pass"
    assert look("redis.shared", "redis://127.0.0.1:9", WEB_CONCURRENCY="2").status == "pass"
