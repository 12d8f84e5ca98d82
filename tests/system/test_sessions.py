"""Sessions over two instances of the gateway, with a real Redis between them and the official clients beside."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import supabase

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, Program, gateway
from tests.fixtures.redis import RedisServer

PASSWORD = "correct horse battery staple"
AUTH = "/api/v1/auth"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def pair(standin: Standin, own_redis: RedisServer, tmp_path: Path) -> Iterator[tuple[Program, Program]]:
    """Two instances of two processes each."""
    environment = {
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "REDIS_URL": own_redis.url,
        "WEB_CONCURRENCY": "2",
    }
    with gateway(tmp_path / "one.log", **environment) as one, gateway(tmp_path / "two.log", **environment) as two:
        yield one, two


@pytest.fixture
def email(standin: Standin) -> str:
    address = f"sessions-{random.getrandbits(48):x}@example.com"
    standin.create_user(address, PASSWORD)
    return address


def log_in(program: Program, email: str) -> dict[str, Any]:
    response = requests.post(f"{program.url}{AUTH}/login", json={"email": email, "password": PASSWORD}, timeout=10)
    assert response.status_code == 200, response.text
    return dict(response.json())


def refresh(program: Program, token: str) -> requests.Response:
    return requests.post(f"{program.url}{AUTH}/refresh", json={"refresh_token": token}, timeout=10)


def verify(program: Program, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{program.url}{AUTH}/verify", headers=headers, timeout=10).status_code


def log_out(program: Program, token: str, scope: str = "global") -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{program.url}{AUTH}/logout?scope={scope}", headers=headers, timeout=10).status_code


def refreshes_seen(standin: Standin) -> int:
    return sum(request.query == "grant_type=refresh_token" for request in standin.requests)


def test_20_refreshes_of_one_token_are_one(pair: tuple[Program, Program], standin: Standin, email: str) -> None:
    """The family of tokens must survive: Supabase takes a second use for theft."""
    session = log_in(pair[0], email)
    standin.faults.on("latency", path="/auth/v1/token", seconds=0.2)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: refresh(pair[n % 2], session["refresh_token"]), range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert refreshes_seen(standin) == 1
    standin.faults.clear()
    child = answers[0].json()["refresh_token"]
    assert refresh(pair[1], child).status_code == 200


def test_an_ended_session_is_refused_by_the_other_instance_at_once(pair: tuple[Program, Program], email: str) -> None:
    for number in range(20):
        token = log_in(pair[number % 2], email)["access_token"]
        assert {verify(program, token) for program in pair} == {200}

        assert log_out(pair[0], token, "local") == 200

        assert [verify(program, token) for program in (*pair, *pair)] == [401] * 4


def test_redis_may_come_and_go(
    pair: tuple[Program, Program], own_redis: RedisServer, standin: Standin, email: str
) -> None:
    first, second = log_in(pair[0], email), log_in(pair[0], email)

    own_redis.kill()
    assert log_out(pair[0], first["access_token"], "local") == 200
    assert verify(pair[0], second["access_token"]) == 200
    assert refresh(pair[0], second["refresh_token"]).status_code == 200
    assert log_in(pair[1], email)["access_token"]
    own_redis.start()

    third = log_in(pair[1], email)["access_token"]
    assert log_out(pair[1], third, "local") == 200
    # Each process leaves a Redis that failed alone for a moment, and tells what it noted meanwhile when it is back.
    everywhere = [*pair] * 4
    ends_s = time.monotonic() + 20
    while [verify(program, third) for program in everywhere] != [401] * len(everywhere):
        assert time.monotonic() < ends_s
        time.sleep(0.1)
    for program in pair:
        assert not [line for line in map(json.loads, program.whole_lines) if line.get("status", 0) >= 500]


def test_the_official_python_client_goes_on_with_our_tokens(
    pair: tuple[Program, Program], standin: Standin, email: str
) -> None:
    session = log_in(pair[0], email)
    session = refresh(pair[1], session["refresh_token"]).json()

    with httpx.Client() as http:
        options = supabase.ClientOptions(httpx_client=http, auto_refresh_token=False)
        client = supabase.create_client(standin.url, standin.publishable_key, options)
        client.auth.set_session(session["access_token"], session["refresh_token"])
        user = client.auth.get_user()
        renewed = client.auth.refresh_session()
        client.auth.sign_out()

    assert user is not None
    assert user.user.email == email
    assert renewed.session is not None
    assert renewed.session.refresh_token != session["refresh_token"]


def test_the_official_javascript_client_goes_on_with_our_tokens(
    pair: tuple[Program, Program], standin: Standin, email: str
) -> None:
    folder = ROOT / "tests" / "js"
    if not shutil.which("node") or not (folder / "node_modules").is_dir():
        reason = "no node, or its packages are not installed: npm install in tests/js"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    session = log_in(pair[0], email)

    done = subprocess.run(
        [
            "node",
            "set_session.mjs",
            standin.url,
            standin.publishable_key,
            session["access_token"],
            session["refresh_token"],
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["id"] == session["user"]["id"]
    assert told["refreshed"] is True
