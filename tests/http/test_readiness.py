"""What ``/health/ready`` and ``/metrics`` say about what has a way around it: signing keys and the shared store."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import responses
from werkzeug.test import Client

from tests.conftest import GOOD_LOGIN, MakeClient
from tests.fixtures.programs import ROOT
from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.upstream_double import PROJECT, TOKEN, session

KEYS = f"{PROJECT}/auth/v1/.well-known/jwks.json"
KEY = SigningKey("key-1")

#: Nobody listens there.
NO_REDIS = "redis://127.0.0.1:9"


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.post(TOKEN, json=session())
        mock.get(KEYS, body=document([KEY]))
        yield mock


def finding(client: Client, check: str) -> dict[str, Any]:
    return dict(client.get("/health/ready").get_json()["checks"][check][0])


def verify(client: Client) -> int:
    token = KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1"))
    return client.get("/api/v1/auth/verify", headers={"Authorization": f"Bearer {token}"}).status_code


def test_signing_keys_that_can_be_fetched_are_no_trouble(client: Client, supabase: responses.RequestsMock) -> None:
    assert finding(client, "signing_keys")["status"] == "pass"
    assert verify(client) == 200

    assert finding(client, "signing_keys")["status"] == "pass"


def test_signing_keys_that_cannot_be_fetched_are_a_warning(client: Client, supabase: responses.RequestsMock) -> None:
    supabase.replace("GET", KEYS, body="<html>", status=502)
    assert verify(client) == 503

    found = finding(client, "signing_keys")

    assert found["status"] == "warn"
    assert "Supabase is asked about every token" in found["output"]


def test_a_store_that_does_not_answer_is_a_warning_and_a_metric(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    client = make_client(REDIS_URL=NO_REDIS)
    assert finding(client, "shared_store")["status"] == "pass"

    assert client.post("/api/v1/auth/login", json=GOOD_LOGIN).status_code == 200
    assert client.post("/api/v1/auth/refresh", json={"refresh_token": "abcdefghijkl"}).status_code == 200

    found = finding(client, "shared_store")
    assert found["status"] == "warn"
    assert "this process counts alone" in found["output"]
    assert "this process knows of its own only" in found["output"]
    assert "velro_auth_store_degraded 1.0" in client.get("/metrics").text


def test_without_a_store_nothing_is_said_about_one(client: Client, supabase: responses.RequestsMock) -> None:
    assert "shared_store" not in client.get("/health/ready").get_json()["checks"]


def test_every_documented_metric_is_exposed(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    """A name on the page that nobody exposes is an alert rule that never fires."""
    page = Path(ROOT, "docs/reference/metrics.md").read_text("utf-8")
    documented = set(re.findall(r"`(velro_auth_[a-z0-9_]+)`", page)) - {"velro_auth_"}

    exposed = make_client(REDIS_URL=NO_REDIS).get("/metrics").text

    assert len(documented) > 20
    assert {name for name in documented if not re.search(rf"^# TYPE {name} ", exposed, re.MULTILINE)} == set()


def test_every_exposed_metric_is_documented(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    page = Path(ROOT, "docs/reference/metrics.md").read_text("utf-8")

    exposed = re.findall(
        r"^# TYPE (velro_auth_\w+) ", make_client(REDIS_URL=NO_REDIS).get("/metrics").text, re.MULTILINE
    )

    assert len(exposed) > 20
    assert [name for name in exposed if f"`{name}`" not in page] == []
