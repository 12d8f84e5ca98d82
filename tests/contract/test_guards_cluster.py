"""A gateway whose Redis is a cluster: logins go on, each process counts alone, and it says so."""

from __future__ import annotations

import random

import responses
from werkzeug.test import Client

from tests.conftest import LogLines, MakeClient
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
    for what in ("login counters", "refreshes and logouts"):
        assert f"the store of {what} refuses to work (it is a Redis Cluster" in found["output"]
        lines = [one for one in logs.records if f"; {what}, " in one.getMessage()]
        assert [line.levelname for line in lines] == ["ERROR"]
    assert "this process counts alone, with its share of the limits" in found["output"]
    assert "velro_auth_store_degraded 1.0" in client.get("/metrics").text
