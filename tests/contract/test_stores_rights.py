"""A user with exactly the rights that are documented: the service works, and each command is needed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
import redis

from tests.contract.test_doctor_store import look
from tests.fixtures.programs import ROOT
from tests.fixtures.redis import RedisServer, command, running_redis
from tests.fixtures.redis_cluster import ClusterGroup
from velro_auth.stores.rights import CLUSTER, COMMANDS, RIGHTS

PASSWORD = "canary"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


def look_as(server: RedisServer, *rights: str) -> str:
    """Return what the doctor says as a user with these rights."""
    with server.client() as admin:
        command(admin, "ACL", "SETUSER", "gateway", "reset", "on", f">{PASSWORD}", *rights)
    result = look("redis.sharing", f"unix://gateway:{PASSWORD}@{quote(str(server.socket))}")
    assert PASSWORD not in result.found + result.fix
    return f"{result.status}: {result.found}"


def denied(client: redis.Redis) -> list[str]:
    """Return what the server refused."""
    return [str(one["object"]) for one in client.acl_log() if one["object"] != "client|setinfo"]


def test_the_documented_rights_are_enough_for_all_that_the_service_does(server: RedisServer) -> None:
    with server.client() as admin:
        admin.acl_log_reset()
        assert look_as(server, *RIGHTS.split()).startswith("pass: ")
        for check in ("redis.reachable", "redis.latency", "redis.memory"):
            address = f"unix://gateway:{PASSWORD}@{quote(str(server.socket))}?db=0"
            assert look(check, address).status in {"pass", "warn"}, check

        assert denied(admin) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_each_of_them_is_needed(server: RedisServer, name: str) -> None:
    with server.client() as admin:
        admin.acl_log_reset()
        # A server that knows a script needs its text no more.
        admin.script_flush()

        found = look_as(server, *RIGHTS.split(), f"-{name}")

        assert found.startswith("fail: ") or name in denied(admin)


@pytest.mark.parametrize("missing", ["", *CLUSTER])
def test_a_cluster(cluster_group: ClusterGroup, missing: str) -> None:
    rights = [*RIGHTS.split(), *([f"-{missing}"] if missing else [])]
    for node in cluster_group.nodes:
        with node.client() as admin:
            command(admin, "ACL", "SETUSER", "gateway", "reset", "on", f">{PASSWORD}", *rights)
            admin.acl_log_reset()
    address = cluster_group.url.replace("://", f"://gateway:{PASSWORD}@")

    result = look("redis.sharing", address)

    refused: list[str] = []
    for node in cluster_group.nodes:
        with node.client() as admin:
            refused += denied(admin)
    if not missing:
        assert (result.status, refused) == ("pass", [])
        assert "a cluster, 3 primaries" in look("redis.reachable", address).found
        assert look("redis.memory", address).status == "pass"
    elif missing != "asking":
        # Sent only while a slot moves.
        assert result.status != "pass" or missing in refused


def test_the_rights_are_in_the_pages() -> None:
    for page in ("reference/doctor.md", "how-to/redis.md"):
        assert f">a-long-password {RIGHTS}\n" in (ROOT / "docs" / page).read_text("utf-8"), page
