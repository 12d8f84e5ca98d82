"""A project that demands a captcha gets it demanded by the gateway as well, whatever keys the gateway has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from werkzeug.test import Client, TestResponse

from supabase_standin import RateLimit, Standin
from tests.asserts import assert_problem
from tests.fixtures.standin import new_email
from velro_auth.config.settings import Settings
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.checkup import run
from velro_auth.ops.doctor.context import DiagnosticContext

PASSWORD = "correct horse battery staple"
LOGIN = "/api/v1/auth/login"
REFRESH = "/api/v1/auth/refresh"
TOKEN = "/auth/v1/token"
CALLER = "203.0.113.7"

Give = Callable[..., Standin]


@pytest.fixture
def gateway_to(gateway_to: Callable[..., Client]) -> Callable[..., Client]:
    """Return a function that builds a gateway with both keys."""

    def build(standin: Standin, **environment: str) -> Client:
        return gateway_to(standin, SUPABASE_PUBLISHABLE_KEY=standin.publishable_key, **environment)

    return build


@pytest.fixture
def email() -> str:
    return new_email()


def log_in(client: Client, email: str, **changes: object) -> TestResponse:
    body = {"email": email, "password": PASSWORD, **changes}
    return client.post(LOGIN, json=body, headers={"X-Real-IP": CALLER}, environ_overrides={"REMOTE_ADDR": "127.0.0.1"})


def keys_seen(standin: Standin) -> list[tuple[str | None, str | None]]:
    """Return the key and the forwarded address of each call with a body that tells an account."""
    calls = [call for call in standin.requests.of(TOKEN) if len(call.body) > len(b"{}")]
    return [(call.headers.get("apikey"), call.headers.get("Sb-Forwarded-For")) for call in calls]


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_captcha_that_the_project_demands_is_demanded(
    standin_with: Give, gateway_to: Callable[..., Client], email: str, mode: str
) -> None:
    standin = standin_with(captcha=True)
    standin.create_user(email, PASSWORD)
    standin.requests.clear()
    client = gateway_to(standin, AUTH_CAPTCHA=mode)

    assert_problem(log_in(client, email), 400, "captcha_required")
    assert_problem(log_in(client, email, captcha_token="invalid"), 400, "captcha_required")
    answer = log_in(client, email, captcha_token="solved")
    assert answer.status_code == 200
    refreshed = client.post(REFRESH, json={"refresh_token": answer.get_json()["refresh_token"]})
    assert refreshed.status_code == 200
    assert keys_seen(standin) == [(standin.publishable_key, None)] * 4


def test_without_a_captcha_logins_go_with_the_secret_key_and_the_caller_s_address(
    standin_with: Give, gateway_to: Callable[..., Client], email: str
) -> None:
    standin = standin_with(captcha=False)
    standin.create_user(email, PASSWORD)
    standin.requests.clear()

    assert log_in(gateway_to(standin), email).status_code == 200
    assert keys_seen(standin) == [(standin.secret_key, CALLER)]


def test_an_operator_may_leave_the_captcha_out(
    standin_with: Give, gateway_to: Callable[..., Client], email: str
) -> None:
    standin = standin_with(captcha=True)
    standin.create_user(email, PASSWORD)

    assert log_in(gateway_to(standin, AUTH_CAPTCHA="off"), email).status_code == 200


def test_where_a_captcha_is_demanded_the_quota_counts(standin_with: Give, gateway_to: Callable[..., Client]) -> None:
    """No address is passed on then, so Supabase counts all callers as one."""
    standin = standin_with(captcha=True, rate_limit=RateLimit(burst=30, per_s=0.001))
    standin.requests.clear()
    client = gateway_to(standin, UPSTREAM_QUOTA_BURST="8")

    answers = [log_in(client, f"{number}@example.com", captcha_token="solved") for number in range(9)]

    statuses = [answer.status_code for answer in answers]
    assert statuses == sorted(statuses)
    assert_problem(answers[-1], 429, "upstream_throttled")
    assert len(keys_seen(standin)) == statuses.count(401) < 9


@pytest.mark.parametrize(
    ("requirements", "changes", "status", "said"),
    [
        (True, {}, "pass", "and so does this service"),
        (True, {"AUTH_CAPTCHA": "on"}, "pass", "and so does this service"),
        (True, {"AUTH_CAPTCHA": "off"}, "fail", "AUTH_CAPTCHA=off skips it"),
        (False, {}, "pass", "demands no captcha"),
        (False, {"AUTH_CAPTCHA": "off"}, "pass", "demands no captcha"),
        (False, {"AUTH_CAPTCHA": "on"}, "warn", "no caller's address"),
        (True, {"SUPABASE_PUBLISHABLE_KEY": ""}, "warn", "SUPABASE_PUBLISHABLE_KEY"),
        (True, {"SUPABASE_PUBLISHABLE_KEY": "", "AUTH_CAPTCHA": "off"}, "pass", "AUTH_CAPTCHA=off"),
        (True, {"SUPABASE_SECRET_KEY": ""}, "pass", "publishable key"),
    ],
)
def test_the_doctor_says_whether_the_captcha_is_demanded_here(
    standin_with: Give, changes: dict[str, str], status: str, said: str, *, requirements: bool
) -> None:
    standin = standin_with(captcha=requirements)
    keys = {"SUPABASE_SECRET_KEY": standin.secret_key, "SUPABASE_PUBLISHABLE_KEY": standin.publishable_key}
    settings = Settings.from_environment({"SUPABASE_URL": standin.url, **keys, **changes})

    with contextlib.closing(DiagnosticContext(settings=settings)) as context:
        found = {one.check.name: one for one in run(CHECKS, context, only=["captcha.demanded"])}["captcha.demanded"]

    assert (found.status, said in found.found) == (status, True), found.found
