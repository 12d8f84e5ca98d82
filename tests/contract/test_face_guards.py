"""The guards of the login through ``/auth/v1``: guesses, storms, owners, who exists, and no user for another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from supabase_standin import Standin
from tests.contract.face_lab import Face, face_of
from tests.fixtures.standin import PASSWORD, new_email
from tests.waiting import eventually
from velro_auth.ops.cli.timing_test import prove
from velro_auth.ops.enumeration import ROUTES

StandinWith = Callable[..., Standin]

PASSWORD_GRANT = "/token?grant_type=password"
REFRESH_GRANT = "/token?grant_type=refresh_token"


@pytest.mark.parametrize("route", ROUTES)
def test_no_answer_tells_who_exists(route: str, standin_with: StandinWith) -> None:
    """Status, headers and body; whether times tell takes thousands of requests (``velro-auth prove``)."""
    standin = standin_with(autoconfirm=False)
    known, banned = new_email(), new_email()
    standin.create_user(known, PASSWORD)
    standin.create_user(banned, PASSWORD, banned=True)
    environment = {"SUPABASE_PUBLISHABLE_KEY": standin.publishable_key}
    with face_of(standin, AUTH_MAIL_BUDGET_PER_HOUR="1000000") as url:
        options = ["--url", url, "--supabase-api", "--route", route, "--samples", "5", "--parallel", "1"]
        accounts = ["--existing", known, "--banned", banned]
        said = CliRunner().invoke(prove, ["enumeration", *options, *accounts], env=environment)

    assert said.exit_code in {0, 1}, said.output
    equal = [line for line in said.stdout.splitlines() if line.endswith("equal")]
    assert [line.split()[0] for line in equal] == ["status", "headers", "body"]


def test_users_are_never_mixed_up(standin_with: StandinWith) -> None:
    """Two hundred at once, each with an own password: every answer is the asker's."""
    face = Face(standin_with(mail_interval_s=0.0))
    users = {new_email(): f"{PASSWORD} {number}" for number in range(200)}
    for email, password in users.items():
        face.standin.create_user(email, password)

    def met(pair: tuple[str, str]) -> set[str]:
        session = face.log_in(*pair).get_json()
        refreshed = face.call("POST", REFRESH_GRANT, {"refresh_token": session["refresh_token"]}).get_json()
        user = face.call("GET", "/user", token=refreshed["access_token"]).get_json()
        return {session["user"]["email"], refreshed["user"]["email"], user["email"]}

    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(users, pool.map(met, users.items()), strict=True))

    assert {email: who for email, who in found.items() if who != {email}} == {}


def log_in_from(face: Face, email: str, password: str, address: str, *, is_own: bool = False) -> int:
    """Log in through ``/auth/v1``, or through the service's own API, and return the status."""
    path = "/api/v1/auth/login" if is_own else f"/auth/v1{PASSWORD_GRANT}"
    body, key = {"email": email, "password": password}, {"apikey": face.standin.publishable_key}
    return face.client.post(path, json=body, headers=key, environ_overrides={"REMOTE_ADDR": address}).status_code


def test_the_owner_logs_in_while_strangers_storm(standin_with: StandinWith) -> None:
    """With real parallelism and through both faces; from a network that logged in before."""
    face = Face(standin_with(mail_interval_s=0.0), AUTH_THROTTLE_SCALE="1")
    email, _ = face.user()
    face.standin.requests.clear()

    def guess(number: int) -> int:
        network = f"100.{number // 250}.{number % 250}.7"
        return log_in_from(face, email, f"wrong {number}", network, is_own=bool(number % 2))

    with ThreadPoolExecutor(32) as pool:
        statuses = Counter(pool.map(guess, range(300)))

    assert statuses[400] + statuses[401] == len(face.standin.requests.of("/auth/v1/token")) == 10
    assert log_in_from(face, email, PASSWORD, "192.0.2.9") == 429
    assert face.log_in(email).status_code == 200


def test_a_storm_of_guesses_is_no_outage(standin_with: StandinWith) -> None:
    """Refused passwords are healthy answers: the circuit breaker stays closed, and everyone else is served."""
    face = Face(standin_with(mail_interval_s=0.0))
    owners = [face.user()[0] for _ in range(5)]

    def guess(number: int) -> int:
        return face.log_in(f"victim{number}@example.com", "wrong").status_code

    with ThreadPoolExecutor(16) as pool:
        guesses = pool.map(guess, range(200))
        logins = [face.log_in(owner).status_code for owner in owners]
        statuses = set(guesses)

    assert logins == [200] * 5
    assert statuses <= {400, 503}
    assert 400 in statuses


def test_a_supabase_that_hangs_holds_up_neither_probes_nor_ends_sessions(standin_with: StandinWith) -> None:
    """All permits hang: further logins are told so, refreshes get 503 and never 429, and probes are answered."""
    standin = standin_with(mail_interval_s=0.0)
    email = new_email()
    standin.create_user(email, PASSWORD)
    key = {"apikey": standin.publishable_key}
    with face_of(standin, UPSTREAM_DEADLINE_S="3", LOGIN_CONCURRENCY="4", LOGIN_QUEUE_S="0.2") as url:
        standin.requests.clear()
        standin.faults.on("hang", path="/auth/v1/token")

        def grant(number: int) -> tuple[int, str]:
            grants = {
                PASSWORD_GRANT: {"email": f"user{number}@example.com", "password": "x"},
                REFRESH_GRANT: {"refresh_token": f"abcdefghij{number:02}"},
            }
            path = list(grants)[number % 2]
            # One network may use a part of the permits only.
            headers = {**key, "X-Real-IP": f"203.0.{number}.7"}
            answer = requests.post(f"{url}/auth/v1{path}", json=grants[path], headers=headers, timeout=30)
            return answer.status_code, answer.headers.get("Retry-After", "")

        try:
            with ThreadPoolExecutor(24) as pool:
                grants = [pool.submit(grant, number) for number in range(24)]
                eventually(lambda: len(standin.requests.of("/auth/v1/token")) >= 4)
                probes = {requests.get(f"{url}/health", timeout=30).status_code for _ in range(5)}
                answers = [one.result() for one in grants]
        finally:
            standin.faults.clear()

    assert probes == {200}
    assert {status for status, _ in answers} == {503}
    assert all(int(wait) >= 1 for _, wait in answers)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "trickle", "interval_s": 0.1, "body_only": True},
        {"kind": "truncated"},
        {"kind": "truncated", "honest_length": False},
        {"kind": "oversized"},
        {"kind": "gzip_bomb"},
        {"kind": "reset"},
    ],
    ids=["in drops", "a part", "a part that ends early", "too large", "too large unpacked", "none"],
)
def test_an_answer_that_does_not_come_whole_is_not_passed_on(fault: dict[str, Any], standin_with: StandinWith) -> None:
    face = Face(standin_with(mail_interval_s=0.0), UPSTREAM_DEADLINE_S="1")
    email, session = face.user()
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/settings", None),
        ("GET", "/user", None),
        ("PUT", "/user", {"data": {"a": 1}}),
        ("POST", PASSWORD_GRANT, {"email": email, "password": PASSWORD}),
    ]
    face.standin.faults.on(**fault)
    try:
        answers = [face.call(*call, token=session["access_token"]) for call in calls]
    finally:
        face.standin.faults.clear()

    assert [answer.status_code for answer in answers] == [503] * len(calls)
    assert all("message" in answer.get_json() and int(answer.headers["Retry-After"]) >= 1 for answer in answers)
