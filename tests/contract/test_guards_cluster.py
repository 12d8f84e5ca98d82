"""A gateway whose store is a cluster: it counts there, or says what is wrong with the address."""

from __future__ import annotations

import random

import responses
from werkzeug.test import Client

from tests.conftest import LogLines, MakeClient
from tests.fixtures.redis_cluster import ClusterGroup
from tests.upstream_double import PROJECT, TOKEN, session

WRONG = {"json": {"code": "invalid_credentials"}, "status": 400}


def log_in(client: Client, email: str) -> int:
    return client.post("/api/v1/auth/login", json={"email": email, "password": "wrong"}).status_code


def test_a_cluster_is_told_in_log_and_readiness_and_guessing_stays_limited(
    make_client: MakeClient, redis_cluster: str, logs: LogLines
) -> None:
    """Case 29."""
    client, email = make_client(REDIS_URL=redis_cluster), f"{random.getrandbits(48):x}@example.com"
    with responses.RequestsMock(assert_all_requests_are_fired=False) as supabase:
        supabase.add_passthru("http://127.0.0.1")
        supabase.post(TOKEN, **WRONG)
        statuses = [log_in(client, email) for _ in range(12)]
        supabase.upsert("POST", TOKEN, json=session())
        supabase.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", json={"keys": []})
        refreshed = client.post("/api/v1/auth/refresh", json={"refresh_token": f"{random.getrandbits(60):x}"})
        found = client.get("/health/ready").get_json()["checks"]["shared_store"][0]

    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    assert refreshed.status_code == 200
    assert found["status"] == "warn"
    # Refreshes and logouts have single keys, some of which this node serves.
    assert "the store of login counters refuses to work (it is a Redis Cluster" in found["output"]
    lines = [one for one in logs.records if "; login counters, " in one.getMessage()]
    assert {line.levelname for line in lines} == {"ERROR"}
    assert "this process counts alone, with its share of the limits" in found["output"]
    assert "velro_auth_store_degraded 1.0" in client.get("/metrics").text


def test_a_cluster_is_used(make_client: MakeClient, cluster_group: ClusterGroup) -> None:
    client, email = make_client(REDIS_URL=cluster_group.url), f"{random.getrandbits(48):x}@example.com"
    with responses.RequestsMock(assert_all_requests_are_fired=False) as supabase:
        supabase.add_passthru("http://127.0.0.1")
        supabase.post(TOKEN, **WRONG)
        statuses = [log_in(client, email) for _ in range(12)]
        other = make_client(REDIS_URL=cluster_group.url)
        found = client.get("/health/ready").get_json()["checks"]["shared_store"][0]

        assert statuses == [401] * 5 + [429] * 7
        assert log_in(other, email) == 429
    assert found["status"] == "pass"
    assert "velro_auth_store_degraded 0.0" in client.get("/metrics").text
