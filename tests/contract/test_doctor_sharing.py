"""A Redis that answers and is of no use: the doctor finds out by doing what the service does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import redis

from tests.contract.test_doctor_store import look
from tests.fixtures.programs import ROOT
from tests.fixtures.redis import RedisServer, command
from velro_auth.stores.advice import advice_for

#: What the advice says, word for word.
RIGHTS = advice_for(redis.exceptions.NoPermissionError()).partition("<user> ")[2].rstrip("'").split()


@pytest.fixture
def admin(own_redis: RedisServer) -> Iterator[redis.Redis]:
    with own_redis.client() as client:
        yield client


def look_as(server: RedisServer, admin: redis.Redis, *rights: str) -> str:
    """Return what the doctor says as a user with these rights."""
    command(admin, "ACL", "SETUSER", "gateway", "reset", "on", ">canary", *rights)
    address = f"unix://gateway:canary@{quote(str(server.socket))}"
    result = look("redis.sharing", address)
    assert "canary" not in result.found + result.fix
    return f"{result.status}: {result.found}; {result.fix}"


def test_a_redis_that_works_is_left_as_it_was(own_redis: RedisServer, admin: redis.Redis) -> None:
    result = look("redis.sharing", own_redis.url)

    assert (result.status, result.found) == (
        "pass",
        "shared: failed logins, codes and mails, ended sessions, refreshes, the report",
    )
    assert admin.keys("*") == []


def test_a_cluster_is_told_though_it_answers(redis_cluster: str) -> None:
    """Case 29."""
    assert look("redis.reachable", redis_cluster).status == "pass"

    result = look("redis.sharing", redis_cluster)

    assert result.status == "fail"
    # What has few keys may lie at this node.
    assert re.fullmatch(
        "each process keeps to itself: failed logins, codes and mails(, ended sessions)?(, refreshes)?(, the report)?"
        "; it is a Redis Cluster, and REDIS_URL names one server",
        result.found,
    )
    assert result.fix == "Write redis+cluster:// for redis://."


def test_the_page_lists_the_rights_that_are_advised() -> None:
    assert f">a-long-password {' '.join(RIGHTS)}\n" in (ROOT / "docs" / "reference" / "doctor.md").read_text("utf-8")


def test_a_user_with_the_rights_that_are_advised(own_redis: RedisServer, admin: redis.Redis) -> None:
    assert look_as(own_redis, admin, *RIGHTS).startswith("pass: ")
    assert look("redis.memory", f"unix://gateway:canary@{quote(str(own_redis.socket))}").status in {"pass", "warn"}


@pytest.mark.parametrize(
    ("rights", "alone"),
    [
        (["~other:*", "&*", "+@all"], "failed logins, codes and mails, ended sessions, refreshes, the report"),
        (["~*", "&other", "+@all"], "ended sessions"),
        (["~*", "&*", "+@all", "-hset"], "failed logins"),
        (["~*", "&*", "+@all", "-@scripting"], "failed logins, codes and mails, ended sessions, refreshes"),
        (
            ["~*", "&*", "+@read", "+@connection"],
            "failed logins, codes and mails, ended sessions, refreshes, the report",
        ),
        (["~*", "&*", "+@all", "-@pubsub"], "ended sessions"),
    ],
)
def test_a_user_who_lacks_rights(own_redis: RedisServer, admin: redis.Redis, rights: list[str], alone: str) -> None:
    said = look_as(own_redis, admin, *rights)

    assert said.startswith(f"fail: each process keeps to itself: {alone}; its user lacks rights; Allow ")
    assert f"ACL SETUSER <user> {' '.join(RIGHTS)}" in said


def test_a_replica(own_redis: RedisServer, admin: redis.Redis) -> None:
    # Of nobody: it reads what it has and takes nothing.
    command(admin, "REPLICAOF", "127.0.0.1", "9")

    result = look("redis.sharing", own_redis.url)

    assert result.status == "fail"
    assert "it is a read-only replica" in result.found
    assert result.fix == "Use the address of the primary."
    command(admin, "REPLICAOF", "NO", "ONE")
    assert look("redis.sharing", own_redis.url).status == "pass"


def test_a_redis_that_is_full(own_redis: RedisServer, admin: redis.Redis) -> None:
    admin.config_set("maxmemory-policy", "noeviction")
    admin.set("filler", b"x")
    admin.config_set("maxmemory", "1mb")

    result = look("redis.sharing", own_redis.url)

    assert result.status == "fail"
    assert "it is full" in result.found
