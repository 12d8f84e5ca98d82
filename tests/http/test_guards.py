"""The guards as callers meet them, through both lanes."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import altcha
import pytest
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import ENVIRONMENT, GOOD_LOGIN, LogLines, MakeClient
from tests.fixtures.threads import out_of_threads
from tests.upstream_double import SESSION, UpstreamDouble, session
from tests.waiting import eventually
from velro_auth.app import Service
from velro_auth.config.settings import Settings

LOGIN = "/api/v1/auth/login"
REFUSED = {"code": "invalid_credentials"}


def log_in(client: Client, email: str = GOOD_LOGIN["email"], address: str = "203.0.113.7") -> TestResponse:
    return client.post(LOGIN, json={"email": email, "password": "x"}, environ_overrides={"REMOTE_ADDR": address})


def test_a_guesser_is_stopped_and_told_when_to_come_back(client: Client, upstream: UpstreamDouble) -> None:
    upstream.answers(REFUSED, status=400)

    answers = [log_in(client) for _ in range(20)]

    statuses = [answer.status_code for answer in answers]
    assert statuses == sorted(statuses)
    assert len(upstream.asked) == statuses.count(401) <= 10
    assert_problem(answers[-1], 429, "too_many_attempts")
    assert int(answers[-1].headers["Retry-After"]) >= 25


def test_the_log_gives_held_ms_as_precisely_as_the_other_times(
    make_client: MakeClient, upstream: UpstreamDouble, logs: LogLines
) -> None:
    """It was written with fourteen digits, beside two everywhere else."""
    upstream.answers(REFUSED, status=400)

    log_in(make_client(AUTH_FAILURE_FLOOR_MS="20"))

    (line,) = logs.access
    assert line["held_ms"] == round(line["held_ms"], 2)


def test_a_refusal_tells_how_many_tries_are_left(client: Client, upstream: UpstreamDouble) -> None:
    upstream.answers(REFUSED, status=400)

    sent = [log_in(client).headers["RateLimit"] for _ in range(6)]

    assert [int(value.split("r=")[1].split(";")[0]) for value in sent] == [4, 3, 2, 1, 0, 0]
    assert log_in(client).headers["RateLimit-Policy"].startswith('"login";q=5;w=')
    upstream.answers(session(user={**SESSION["user"], "email": "other@example.com"}))
    assert "RateLimit" not in log_in(client, "other@example.com").headers


def test_supabase_is_not_asked_for_somebody_who_is_held_back(client: Client, upstream: UpstreamDouble) -> None:
    """Whether the password is right makes no difference then, or it would tell."""
    upstream.answers(REFUSED, status=400)
    while log_in(client).status_code == 401:
        pass
    asked = len(upstream.asked)
    upstream.answers(session())

    assert_problem(log_in(client), 429, "too_many_attempts")
    assert len(upstream.asked) == asked


def test_strangers_cannot_lock_out_who_logged_in_before(client: Client, upstream: UpstreamDouble) -> None:
    assert log_in(client, address="198.51.100.1").status_code == 200
    upstream.answers(REFUSED, status=400)
    for number in range(60):
        log_in(client, address=f"203.0.{number}.7")
    upstream.answers(session())

    assert_problem(log_in(client, address="192.0.2.1"), 429, "too_many_attempts")
    assert log_in(client, address="198.51.100.1").status_code == 200


def test_an_outage_locks_nobody_out(client: Client, upstream: UpstreamDouble) -> None:
    upstream.answers("<html>", status=502, headers={"Content-Type": "text/html"})
    for _ in range(15):
        assert_problem(log_in(client), 503, "upstream_unavailable")
    upstream.answers(session())

    assert log_in(client).status_code == 200


def test_an_outage_opens_the_breaker(client: Client, upstream: UpstreamDouble) -> None:
    upstream.answers("<html>", status=502, headers={"Content-Type": "text/html"})

    codes = [log_in(client).get_json()["code"] for _ in range(25)]

    assert codes[:20] == ["upstream_unavailable"] * 20
    assert codes[20:] == ["resting"] * 5
    assert len(upstream.asked) == 20
    assert client.get("/health").status_code == 200
    ready = client.get("/health/ready").get_json()
    assert ready["checks"]["breaker"][0]["status"] == "warn"


def test_a_storm_of_wrong_passwords_does_not(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    client = make_client(AUTH_THROTTLE_SCALE="1000")
    upstream.answers(REFUSED, status=400)

    assert {log_in(client).status_code for _ in range(100)} == {401}


def test_without_forwarding_the_copy_of_supabase_s_limit_refuses_first(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    client = make_client(AUTH_FORWARD_CLIENT_IP="off", AUTH_THROTTLE_SCALE="1000")

    answers = [log_in(client, email=f"user{number}@example.com") for number in range(40)]

    assert len(upstream.asked) < 30
    assert_problem(answers[-1], 429, "upstream_throttled")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_a_refusal_is_delayed_and_a_limit_is_not(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    """The time of a refusal must not tell whether Supabase compared a password."""
    client = make_client(AUTH_FAILURE_FLOOR_MS="200")
    upstream.answers(REFUSED, status=400)

    started_s = time.monotonic()
    assert_problem(log_in(client), 401, "invalid_credentials")
    assert time.monotonic() - started_s >= 0.199
    while log_in(client).status_code == 401:
        pass
    started_s = time.monotonic()
    assert_problem(log_in(client), 429, "too_many_attempts")
    assert time.monotonic() - started_s < 0.199


def test_logins_beyond_the_permits_are_told_so_and_probes_are_not(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    client = make_client(LOGIN_CONCURRENCY="2", LOGIN_QUEUE_S="0.1", GUNICORN_THREADS="8")
    released, inside = threading.Event(), threading.Semaphore(0)

    def answer(_: object) -> tuple[int, dict[str, str], str]:
        inside.release()
        released.wait(10)
        return 400, {}, '{"code": "invalid_credentials"}'

    upstream.calls_back(answer)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: statuses.append(log_in(client, f"user{n}@example.com").status_code))
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=10)

    assert_problem(log_in(client, "late@example.com"), 503, "busy")
    assert client.get("/health").status_code == 200
    released.set()
    for thread in threads:
        thread.join()
    assert statuses == [401, 401]


def test_refreshes_that_wait_for_each_other_leave_threads_to_the_others(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    """Anybody can send one made-up token many times: all but one only wait, and each costs a thread.

    Of the three permits one is reserved for logins.
    """
    client = make_client(LOGIN_CONCURRENCY="1", GUNICORN_THREADS="4")
    released, inside = threading.Event(), threading.Event()

    def answer(_: object) -> tuple[int, dict[str, str], str]:
        inside.set()
        released.wait(10)
        return 400, {}, '{"code": "refresh_token_not_found"}'

    def refresh() -> TestResponse:
        return client.post("/api/v1/auth/refresh", json={"refresh_token": "abcdefghijkl"})

    upstream.calls_back(answer)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(refresh().status_code)) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    eventually(lambda: len(statuses) == 18)

    assert_problem(refresh(), 503, "busy")
    assert_problem(log_in(client, "late@example.com"), 503, "busy")
    released.set()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [401] * 2 + [503] * 18
    assert len(upstream.asked) == 1


def test_a_defect_gives_everything_back(client: Client, upstream: UpstreamDouble) -> None:
    upstream.answers(ZeroDivisionError("defect"))
    for _ in range(30):
        assert_problem(log_in(client), 500, "internal_error")
    upstream.answers(session())

    assert log_in(client).status_code == 200


def used_up(make_client: MakeClient, upstream: UpstreamDouble, **environment: str) -> Client:
    """Return a client of a service of which strangers used up what all share; the next password is right."""
    client = make_client(AUTH_THROTTLE_SCALE="0.02", **environment)
    upstream.answers(REFUSED, status=400)
    for number in range(12):
        log_in(client, f"{number}@example.com", f"10.0.{number}.1")
    upstream.answers(session())
    return client


def test_whom_others_hold_back_solves_a_challenge_and_is_in(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    client = used_up(make_client, upstream)
    asked = len(upstream.asked)

    refused = log_in(client)

    body = assert_problem(refused, 429, "challenge_required")
    assert body["challenge"]["parameters"]["algorithm"] == "PBKDF2/SHA-256"
    assert "RateLimit" in refused.headers
    assert len(upstream.asked) == asked
    challenge = altcha.Challenge.from_dict(body["challenge"])
    solution = altcha.solve_challenge(challenge)
    assert solution is not None
    sent = {**GOOD_LOGIN, "challenge": altcha.Payload(challenge, solution).to_base64()}
    answers = [
        client.post(LOGIN, json=sent, environ_overrides={"REMOTE_ADDR": address})
        for address in ("198.51.100.7", "203.0.113.7")
    ]
    assert_problem(answers[0], 429, "challenge_required")
    assert answers[1].status_code == 200
    assert b"challenge" not in b"".join(call.body for call in upstream.asked)


def test_a_used_up_budget_of_the_caller_s_own_gets_no_challenge(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    client = used_up(make_client, upstream)

    body = assert_problem(log_in(client, "0@example.com", "10.0.0.1"), 429, "too_many_attempts")

    assert "challenge" not in body


def test_challenges_can_be_switched_off(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    client = used_up(make_client, upstream, AUTH_CHALLENGE="off")

    assert_problem(log_in(client), 429, "too_many_attempts")


@pytest.mark.parametrize("challenge", [7, {}, "x" * 2049, "é"])
def test_what_cannot_be_a_solution_is_an_invalid_field(client: Client, challenge: object) -> None:
    body = assert_problem(client.post(LOGIN, json={**GOOD_LOGIN, "challenge": challenge}), 422, "invalid_request")

    assert list(body["errors"]) == ["challenge"]


FORWARDED_FOR = {"AUTH_CLIENT_IP_HEADER": "X-Forwarded-For"}


def log_in_by_proxy(client: Client, number: int, **headers: str) -> TestResponse:
    body = {"email": f"{number}@example.com", "password": "x"}
    return client.post(LOGIN, json=body, headers=headers, environ_overrides={"REMOTE_ADDR": "10.0.0.1"})


def test_invented_addresses_give_no_guesses_behind_a_proxy_that_adds_the_true_one(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    """A proxy that only adds to ``X-Forwarded-For`` and passes on whatever else the client writes."""
    client = make_client(**FORWARDED_FOR)
    upstream.answers(REFUSED, status=400)

    statuses = [
        log_in_by_proxy(
            client,
            number,
            **{"X-Real-IP": f"192.0.{number}.1", "X-Forwarded-For": f"192.0.{number}.1, 198.51.100.7"},
        ).status_code
        for number in range(60)
    ]

    assert statuses == [401] * 50 + [429] * 10


def test_a_proxy_that_adds_nothing_is_told_by_readiness(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    client = make_client()
    assert client.get("/health/ready").get_json()["checks"]["client_address"][0]["status"] == "pass"

    for number in range(20):
        log_in_by_proxy(client, number, **{"X-Forwarded-For": f"198.51.100.{number}"})

    found = client.get("/health/ready").get_json()["checks"]["client_address"][0]
    assert found["status"] == "warn"
    assert "AUTH_CLIENT_IP_HEADER=X-Forwarded-For" in found["output"]


def test_a_system_without_threads_fails_no_request(client: Client, upstream: UpstreamDouble) -> None:
    """What looks after the service has to do without for a while; those who use it do not notice."""
    paths = ("/health", "/health/ready", "/metrics")
    upstream.answers(REFUSED, status=400)
    with out_of_threads():
        assert [client.get(path).status_code for path in paths] == [200] * 3
        assert_problem(log_in(client), 401, "invalid_credentials")


def test_guards_that_only_report_refuse_nobody_and_say_what_they_would_have_done(
    make_client: MakeClient, upstream: UpstreamDouble, logs: LogLines
) -> None:
    """AUTH_GUARDS=report: to see before switching them on."""
    client = make_client(AUTH_GUARDS="report")
    upstream.answers(REFUSED, status=400)
    statuses = [log_in(client).status_code for _ in range(12)]
    upstream.answers(session())
    statuses.append(log_in(client).status_code)

    assert statuses == [401] * 12 + [200]
    assert client.get("/health/ready").get_json()["checks"]["guards"][0]["status"] == "warn"
    metrics = client.get("/metrics").text
    assert 'velro_auth_report_refusals_total{limit="pair"} 8.0' in metrics
    assert 'velro_auth_report_good_total{limit="pair"} 1.0' in metrics
    assert 'velro_auth_throttle_refusals_total{scope="pair"} 0.0' in metrics
    reported = [vars(line) for line in logs.records if line.getMessage() == "a guard would have refused this request"]
    assert [line["limit"] for line in reported] == ["pair"] * 8
    assert GOOD_LOGIN["email"] not in str(logs)


def test_new_settings_switch_the_guards_on_with_all_that_was_counted(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    client = make_client(AUTH_GUARDS="report")
    upstream.answers(REFUSED, status=400)
    for _ in range(5):
        log_in(client)
    service = client.application
    assert isinstance(service, Service)

    service._take(Settings.from_environment({**ENVIRONMENT, "AUTH_GUARDS": "on"}))

    assert_problem(log_in(client), 429, "too_many_attempts")
    assert "guards" not in client.get("/health/ready").get_json()["checks"]


def test_a_mail_that_is_withheld_is_in_the_metrics_and_in_the_audit_trail(
    make_client: MakeClient, tmp_path: Path
) -> None:
    """No answer tells it."""
    trail = tmp_path / "audit.jsonl"
    client = make_client(AUDIT_FILE=str(trail))
    service = client.application
    assert isinstance(service, Service)
    mails = service._parts.guards.mails

    assert [bool(mails.take("ada@example.com", "192.0.2.7")) for _ in range(3)] == [True, True, False]

    assert 'velro_auth_budget_refusals_total{budget="mail_pair"} 1.0' in client.get("/metrics").text
    service.stop()
    (record,) = [
        line for line in map(json.loads, trail.read_text("utf-8").splitlines()) if line["event"] == "mail_withheld"
    ]
    assert (record["reason"], record["address"]) == ("mail_pair", "192.0.2.7")
    assert record["account"] == mails.keyring.account("ada@example.com")
    assert "example.com" not in trail.read_text("utf-8")
