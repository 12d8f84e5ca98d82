"""Cookie sessions over two instances of the gateway, with a real Redis between them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from supabase_standin import Standin
from tests.fixtures.programs import Program, gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import PASSWORD, new_email
from tests.waiting import eventually
from velro_auth.web.session_cookies import KeptSession, SessionCookies

AUTH = "/api/v1/auth"
NAME = "velro_session"
OLD, NEW = "o" * 40, "n" * 40


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
    with (
        gateway(tmp_path / "one.log", **environment, AUTH_COOKIE_KEYS=f"{OLD},{NEW}") as one,
        gateway(tmp_path / "two.log", **environment, AUTH_COOKIE_KEYS=f"{NEW},{OLD}") as two,
    ):
        yield one, two


@pytest.fixture
def three(brief: Standin, own_redis: RedisServer, tmp_path: Path) -> Iterator[tuple[Program, Program, Program]]:
    """Instances that do not know the newer key yet, and one as it is after a restart with it."""
    environment = {
        "SUPABASE_URL": brief.url,
        "SUPABASE_SECRET_KEY": brief.secret_key,
        "REDIS_URL": own_redis.url,
        "WEB_CONCURRENCY": "2",
        "AUTH_COOKIE_SESSIONS": "1",
        "AUTH_PUBLIC_URL": "http://localhost:8000",
        "UPSTREAM_DEADLINE_S": "30",
    }
    file = tmp_path / "settings"
    file.write_text(f"AUTH_COOKIE_KEYS={OLD}\n")
    with (
        gateway(tmp_path / "kept.log", **environment, AUTH_ENV_FILE=str(file)) as kept,
        gateway(tmp_path / "ends.log", **environment, AUTH_COOKIE_KEYS=OLD) as ends,
        gateway(tmp_path / "fresh.log", **environment, AUTH_COOKIE_KEYS=f"{NEW},{OLD}") as fresh,
    ):
        yield kept, ends, fresh


def ask(
    program: Program, path: str, cookie: str | None = None, *, method: str = "GET", json: object = None
) -> requests.Response:
    headers = {"Sec-Fetch-Site": "same-origin", **({"Cookie": f"{NAME}={cookie}"} if cookie else {})}
    return requests.request(method, f"{program.url}{AUTH}{path}", headers=headers, json=json, timeout=20)


def log_in(program: Program, standin: Standin) -> str:
    """Log in a new user; return the cookie."""
    email = new_email()
    standin.create_user(email, PASSWORD)
    answer = ask(program, "/login", method="POST", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.cookies[NAME]


def kept_in(cookie: str) -> KeptSession | None:
    """Return what a cookie keeps."""
    cookies = SessionCookies([key.encode() for key in (NEW, OLD)], public_url="http://localhost:8000")
    return cookies.find(Request(EnvironBuilder(headers=[("Cookie", f"{NAME}={cookie}")]).get_environ()))


def refreshes_seen(standin: Standin) -> int:
    return sum(request.query == "grant_type=refresh_token" for request in standin.requests)


def test_50_page_loads_refresh_a_session_once(pair: tuple[Program, Program], brief: Standin) -> None:
    cookie = log_in(pair[0], brief)
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


def test_a_new_key_and_a_restart_in_the_middle_log_nobody_out(
    three: tuple[Program, Program, Program], brief: Standin, tmp_path: Path
) -> None:
    """One instance gets a newer key while Supabase is being asked, one ends, and one begins."""
    kept, ends, fresh = three
    cookie = log_in(kept, brief)
    before = kept_in(cookie)
    brief.requests.clear()
    # As long as Supabase does not answer, everything below happens in the middle.
    brief.faults.on("latency", path="/auth/v1/token", seconds=3)

    def load(program: Program, path: str) -> requests.Response:
        try:
            return ask(program, path, cookie)
        except requests.ConnectionError:
            # As a proxy does that finds an instance gone.
            return ask(fresh, path, cookie)

    with ThreadPoolExecutor(50) as pool:
        first = [pool.submit(load, (kept, ends)[n % 2], ("/verify", "/me")[n % 3 == 0]) for n in range(24)]
        eventually(lambda: refreshes_seen(brief) == 1)
        (tmp_path / "settings").write_text(f"AUTH_COOKIE_KEYS={NEW},{OLD}\n")
        kept.process.send_signal(signal.SIGHUP)
        ends.process.send_signal(signal.SIGTERM)
        second = [pool.submit(load, (kept, fresh)[n % 2], "/verify") for n in range(26)]
        answers = [answer.result() for answer in (*first, *second)]

    brief.faults.clear()
    assert {answer.status_code for answer in answers} == {200}
    assert refreshes_seen(brief) == 1
    # Each answer has the one new session, sealed with one key or the other. Only the instance that ends may leave the
    # old one to a caller, since its access token is still good.
    renewed = [answer.cookies[NAME] for answer in answers if NAME in answer.cookies]
    without = [answer.url for answer in answers if NAME not in answer.cookies]
    assert [url for url in without if not url.startswith(ends.url)] == []
    sessions = {kept_in(cookie) for cookie in renewed}
    assert len(sessions) == 1
    assert None not in sessions
    assert before not in sessions
    eventually(lambda: kept.output.count("new settings are in force in this worker") >= 2)
    last = renewed[0]
    assert {ask(program, "/verify", last).status_code for program in (kept, fresh)} == {200}
