"""Cookie sessions over two instances of the gateway, with a real Redis between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import Program, gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import PASSWORD, new_email

AUTH = "/api/v1/auth"
NAME = "velro_session"


@pytest.fixture(scope="module")
def brief(new_standin: Callable[..., Standin]) -> Standin:
    """A project whose access tokens are good for less than a minute, so that each one is refreshed when it is seen."""
    return new_standin(jwt_lifetime_s=50)


@pytest.fixture
def pair(brief: Standin, own_redis: RedisServer, tmp_path: Path) -> Iterator[tuple[Program, Program]]:
    """Two instances of two processes each; the second one has a newer key."""
    environment = {
        "SUPABASE_URL": brief.url,
        "SUPABASE_SECRET_KEY": brief.secret_key,
        "REDIS_URL": own_redis.url,
        "WEB_CONCURRENCY": "2",
        "AUTH_COOKIE_SESSIONS": "1",
        "AUTH_PUBLIC_URL": "http://localhost:8000",
    }
    old, new = "o" * 40, "n" * 40
    with (
        gateway(tmp_path / "one.log", **environment, AUTH_COOKIE_KEYS=f"{old},{new}") as one,
        gateway(tmp_path / "two.log", **environment, AUTH_COOKIE_KEYS=f"{new},{old}") as two,
    ):
        yield one, two


def ask(
    program: Program, path: str, cookie: str | None = None, *, method: str = "GET", json: object = None
) -> requests.Response:
    headers = {"Sec-Fetch-Site": "same-origin", **({"Cookie": f"{NAME}={cookie}"} if cookie else {})}
    return requests.request(method, f"{program.url}{AUTH}{path}", headers=headers, json=json, timeout=20)


def refreshes_seen(standin: Standin) -> int:
    return sum(request.query == "grant_type=refresh_token" for request in standin.requests)


def test_50_page_loads_refresh_a_session_once(pair: tuple[Program, Program], brief: Standin) -> None:
    email = new_email()
    brief.create_user(email, PASSWORD)
    login = ask(pair[0], "/login", method="POST", json={"email": email, "password": PASSWORD})
    assert login.status_code == 200, login.text
    cookie = login.cookies[NAME]
    brief.requests.clear()
    brief.faults.on("latency", path="/auth/v1/token", seconds=0.2)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda n: ask(pair[n % 2], ("/verify", "/me")[n % 3 == 0], cookie), range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert refreshes_seen(brief) == 1
    brief.faults.clear()
    # Each browser may have got any of these cookies as the last one.
    assert {ask(pair[n % 2], "/verify", answer.cookies[NAME]).status_code for n, answer in enumerate(answers)} == {200}
    assert refreshes_seen(brief) == 2
