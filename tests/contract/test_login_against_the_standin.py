"""The real client against a real PostgreSQL and a local Supabase Auth, over loopback."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.conftest import LogLines
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

PASSWORD = "correct horse battery staple"
LOGIN = "/api/v1/auth/login"


def app_of(standin: Standin, *, fast_lane: bool, **environment: str) -> Client:
    settings = Settings.from_environment(
        {
            "SUPABASE_URL": standin.url,
            "SUPABASE_SECRET_KEY": standin.secret_key,
            "UPSTREAM_DEADLINE_S": "1",
            "UPSTREAM_CONNECT_TIMEOUT_S": "0.5",
            "TRUSTED_PROXIES": "127.0.0.0/8",
            "AUTH_FAILURE_FLOOR_MS": "0",
            "AUTH_THROTTLE_SCALE": "1000",
            "AUTH_UPSTREAM_QUOTA": "off",
            **environment,
        }
    )
    assert not settings.errors
    return Client(create_app(settings, fast_lane=fast_lane))


@pytest.fixture
def gateway(standin: Standin, lane: str) -> Client:
    return app_of(standin, fast_lane=lane == "fast lane")


@pytest.fixture
def accounts(standin: Standin) -> dict[str, str]:
    """A good, a banned, an unconfirmed and a passwordless account, unique to the test."""
    suffix = f"{random.getrandbits(48):x}@example.com"
    made = {kind: f"{kind}-{suffix}" for kind in ("good", "banned", "unconfirmed", "passwordless", "unknown")}
    standin.create_user(made["good"], PASSWORD)
    standin.create_user(made["banned"], PASSWORD, banned=True)
    standin.create_user(made["unconfirmed"], PASSWORD, confirmed=False)
    standin.create_user(made["passwordless"], PASSWORD, with_password=False)
    standin.requests.clear()
    return made


def log_in(client: Client, email: str, password: str = PASSWORD) -> TestResponse:
    return client.post(LOGIN, json={"email": email, "password": password})


def test_a_right_password_opens_a_session(gateway: Client, accounts: dict[str, str]) -> None:
    response = log_in(gateway, accounts["good"].upper())

    assert response.status_code == 200
    assert response.get_json()["user"]["email"] == accounts["good"]


def test_whatever_is_wrong_with_the_credentials_is_one_answer(gateway: Client, accounts: dict[str, str]) -> None:
    answers = {
        (
            assert_problem(response, 401, "invalid_credentials")["detail"],
            response.data.replace(response.headers["X-Request-ID"].encode(), b"-"),
            tuple(name for name, _ in response.headers),
        )
        for response in (
            log_in(gateway, accounts["good"], "wrong"),
            log_in(gateway, accounts["unknown"]),
            log_in(gateway, accounts["banned"]),
            log_in(gateway, accounts["banned"], "wrong"),
            log_in(gateway, accounts["passwordless"]),
            log_in(gateway, accounts["unconfirmed"], "wrong"),
        )
    }

    assert len(answers) == 1


def test_an_unconfirmed_address_is_told_after_the_right_password_only(
    gateway: Client, accounts: dict[str, str]
) -> None:
    assert_problem(log_in(gateway, accounts["unconfirmed"]), 401, "email_not_confirmed")


def test_supabase_sees_the_caller_and_no_bearer(gateway: Client, accounts: dict[str, str], standin: Standin) -> None:
    gateway.post(
        LOGIN,
        json={"email": accounts["good"], "password": PASSWORD},
        headers={"X-Real-IP": "198.51.100.9"},
        environ_overrides={"REMOTE_ADDR": "127.0.0.1"},
    )

    (seen,) = standin.requests
    headers = {name.lower(): value for name, value in seen.headers.items()}
    assert headers["sb-forwarded-for"] == "198.51.100.9"
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("fault", "options", "status", "code"),
    [
        ("hang", {}, 503, "upstream_timeout"),
        ("trickle", {"interval_s": 0.05}, 503, "upstream_timeout"),
        ("reset", {}, 503, "upstream_unavailable"),
        ("close", {}, 503, "upstream_unavailable"),
        ("html", {}, 503, "upstream_unavailable"),
        ("throttled", {"retry_after": "7"}, 429, "upstream_throttled"),
        ("failure", {}, 503, "upstream_error"),
        ("truncated", {"at": 20}, 503, "upstream_unavailable"),
        ("wrong_json", {}, 503, "upstream_error"),
        ("missing_keys", {}, 503, "upstream_error"),
        ("content_type", {}, 503, "upstream_unavailable"),
        ("gzip_bomb", {}, 503, "upstream_unavailable"),
        ("oversized", {}, 503, "upstream_unavailable"),
        ("redirect", {}, 503, "upstream_misconfigured"),
    ],
)
def test_a_failing_supabase_is_never_a_wrong_password(
    gateway: Client,
    accounts: dict[str, str],
    standin: Standin,
    logs: LogLines,
    fault: str,
    options: dict[str, Any],
    status: int,
    code: str,
) -> None:
    switch = standin.faults.on(fault, path="/auth/v1/token", **options)

    response = log_in(gateway, accounts["good"])

    assert_problem(response, status, code)
    assert switch.fired == 1
    assert float(response.headers["Server-Timing"].split("dur=")[1]) < 1200
    assert PASSWORD not in str(logs)
    assert standin.secret_key not in str(logs)
    standin.faults.clear()
    assert log_in(gateway, accounts["good"]).status_code == 200


def test_the_time_that_supabase_took_is_told(
    gateway: Client, accounts: dict[str, str], standin: Standin, logs: LogLines
) -> None:
    standin.faults.on("latency", path="/auth/v1/token", seconds=0.1)

    timing = log_in(gateway, accounts["good"]).headers["Server-Timing"]

    told = dict(part.strip().split(";dur=") for part in timing.split(","))
    assert float(told["total"]) >= float(told["upstream"]) >= 100
    assert logs.access[-1]["upstream_ms"] >= 100


def test_a_wrong_key_is_said_to_be_ours(standin: Standin, lane: str, accounts: dict[str, str]) -> None:
    client = app_of(standin, fast_lane=lane == "fast lane", SUPABASE_SECRET_KEY="sb_secret_of_somebody_else_12")

    assert_problem(log_in(client, accounts["good"]), 503, "upstream_misconfigured")


def test_readiness_tells_whether_logins_work(standin: Standin, lane: str) -> None:
    client = app_of(standin, fast_lane=lane == "fast lane")

    ready = client.get("/health/ready")

    assert ready.status_code == 200
    assert ready.mimetype == "application/health+json"
    assert ready.get_json()["checks"]["upstream:login"] == [{"status": "pass", "output": ""}]

    standin.faults.on("html", path="/auth/v1/token")
    broken = app_of(standin, fast_lane=lane == "fast lane")
    assert broken.get("/health/ready").status_code == 503
    assert broken.get("/health").status_code == 200


def test_a_project_whose_mail_logins_are_off_is_not_ready(standin_with: Callable[..., Standin], lane: str) -> None:
    """Case 28."""
    client = app_of(standin_with(email_logins=False), fast_lane=lane == "fast lane")

    ready = client.get("/health/ready")

    assert ready.status_code == 503
    [found] = ready.get_json()["checks"]["upstream:login"]
    assert found["status"] == "fail"
    assert "switch them on in the project" in found["output"]


def test_200_users_at_once_each_get_their_own_session(standin: Standin) -> None:
    """A shared client once sent one user's token along with the next one's login (ASVS 15.4.1)."""
    people = [f"user-{number}-{random.getrandbits(32):x}@example.com" for number in range(200)]
    passwords = {email: f"password of {email}" for email in people}
    ids = {email: standin.create_user(email, passwords[email]) for email in people}
    # As many places as there are people: nobody is turned away.
    room = {"GUNICORN_THREADS": "300", "LOGIN_CONCURRENCY": "200", "UPSTREAM_DEADLINE_S": "30"}
    clients = [app_of(standin, fast_lane=fast, **room) for fast in (True, False)]
    start = threading.Barrier(200)

    def once(number: int) -> tuple[str, TestResponse]:
        email = people[number]
        start.wait()
        return email, log_in(clients[number % 2], email, passwords[email])

    for _ in range(3):
        standin.requests.clear()
        standin.faults.on("latency", path="/auth/v1/token", seconds=0.0, most_s=0.1)
        random.shuffle(people)

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(once, range(200)))

        tokens = set()
        for email, response in answers:
            body = response.get_json()
            assert response.status_code == 200, body
            assert (body["user"]["id"], body["user"]["email"]) == (ids[email], email)
            assert claims_of(body["access_token"])["sub"] == ids[email]
            tokens |= {body["access_token"], body["refresh_token"]}
        assert len(tokens) == 400
        # The signing keys may be fetched meanwhile, to verify a sample of the tokens.
        asked = standin.requests.of("/auth/v1/token")
        assert len(asked) == 200
        for request in asked:
            told = json.loads(request.body)
            assert told["password"] == passwords[told["email"]]
            assert "authorization" not in {name.lower() for name, _ in request.headers.items()}


def claims_of(token: str) -> dict[str, object]:
    return jwt.decode(token, options={"verify_signature": False})
