"""``velro-auth doctor`` as somebody at a terminal meets it: a real gateway, a project, a database, a Redis."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, clean_environment, gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import Api
from tests.waiting import eventually
from velro_auth.ops.doctor.checks import CHECKS

COMMAND = [sys.executable, "-m", "velro_auth", "doctor"]
PASSWORD = "canary-in-the-password"
TOKEN = "canary-in-the-metrics-token"


@pytest.fixture
def environment(migrated: Standin, redis_server: RedisServer) -> dict[str, str]:
    email = f"doctor-{random.getrandbits(48):x}@example.com"
    migrated.create_user(email, PASSWORD)
    return {
        "SUPABASE_URL": migrated.url,
        "SUPABASE_SECRET_KEY": migrated.secret_key,
        "SUPABASE_PUBLISHABLE_KEY": migrated.publishable_key,
        "DATABASE_URL": migrated.database_dsn,
        "REDIS_URL": redis_server.url,
        "METRICS_TOKEN": TOKEN,
        "RAILWAY_ENVIRONMENT_NAME": "production",
        "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "30",
        "RAILWAY_DEPLOYMENT_OVERLAP_SECONDS": "20",
        "AUTH_BENCH_EMAIL": email,
        "AUTH_BENCH_PASSWORD": PASSWORD,
    }


def doctor(environment: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        env=clean_environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def statuses(said: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {one["id"]: one["status"] for one in json.loads(said.stdout)["checks"]}


def test_everything_is_looked_at_where_everything_is_there(
    environment: dict[str, str], migrated: Standin, tmp_path: Path
) -> None:
    with gateway(tmp_path / "log", **environment, AUDIT_FILE=str(tmp_path / "audit.jsonl")) as running:
        running_metrics(running.url)
        said = doctor({**environment, "AUDIT_FILE": str(tmp_path / "audit.jsonl")}, "--json", "--url", running.url)

    document: dict[str, Any] = json.loads(said.stdout)
    found = statuses(said)
    assert list(found) == [check.name for check in CHECKS]
    # How far things are, and how much is free, is the machine's affair.
    machine = {"upstream.latency", "redis.latency", "redis.memory", "disk.free"}
    assert {name: one for name, one in found.items() if one != "pass" and name not in machine} == {
        "upstream.tls": "skip"
    }
    assert document["schema"] == "velro-auth/doctor/1"
    assert document["fix"] is None
    [pool] = [one["found"] for one in document["checks"] if one["id"] == "gateway.pool"]
    # Its metrics came after its first look at them: they are young, and not unknown.
    assert re.fullmatch(r"\d idle, the oldest opened \d+ s ago, the longest unused for \d+ s", pool)
    assert set(document["checks"][0]) == {"id", "group", "status", "found", "why", "mend", "took_ms"}
    assert said.stderr == ""
    assert Api(migrated).sql("select count(*) from auth.sessions") == [(0,)]


def running_metrics(url: str) -> None:
    """Wait until the gateway tells of its connections: its watch starts with the first answer, and looks every 5 s."""
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def is_told() -> bool:
        requests.get(f"{url}/health/ready", timeout=10)
        shown = requests.get(f"{url}/metrics", headers=headers, timeout=10).text
        age = re.search(r"^velro_auth_pool_connection_age_seconds (0\.\d*[1-9]|[1-9])", shown, re.MULTILINE)
        return age is not None and "velro_auth_pool_idle_connections 2.0" in shown

    eventually(is_told)
