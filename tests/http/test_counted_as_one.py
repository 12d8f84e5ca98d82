"""A project that counts all callers as one: no caller uses up what Supabase allows everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.account_double import AccountDouble, proven
from tests.asserts import assert_problem
from tests.conftest import ENVIRONMENT, MakeClient
from velro_auth.config.settings import Settings
from velro_auth.errors import UpstreamThrottled
from velro_auth.guards import Guards
from velro_auth.wiring import build

#: Calls that Supabase allows at once, without those that are kept for networks from which somebody logged in before.
STRANGERS = 23

AS_ONE = {
    "SUPABASE_SECRET_KEY": "",
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_FAILURE_FLOOR_MS": "0",
    "AUTH_MAIL_BUDGET_PER_HOUR": "100000",
    "AUTH_THROTTLE_SCALE": "100000",
    "AUTH_SESSION_CALLS_PER_S": "1000",
    "WEB_CONCURRENCY": "1",
}


@pytest.fixture
def supabase() -> Iterator[AccountDouble]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield AccountDouble(mock)


def post(client: Client, path: str, **body: object) -> TestResponse:
    return client.post("/api/v1/auth" + path, json=body)


def forget(client: Client) -> TestResponse:
    return post(client, "/password/forgot", email="ada@example.com")


def confirm(client: Client) -> TestResponse:
    return post(client, "/confirm", token_hash="a" * 56, type="signup")


def sign_up(client: Client) -> TestResponse:
    return post(client, "/signup", email="ada@example.com", password="correct horse 1")


def sign_up_anonymously(client: Client) -> TestResponse:
    return post(client, "/anonymous")


def test_a_mail_beyond_the_limit_is_withheld_and_no_answer_tells(
    make_client: MakeClient, supabase: AccountDouble
) -> None:
    client = make_client(**AS_ONE)

    answers = [forget(client) for _ in range(STRANGERS + 2)]

    assert {(answer.status_code, answer.get_data()) for answer in answers} == {(202, answers[0].get_data())}
    assert supabase.paths() == ["/recover"] * STRANGERS


@pytest.mark.parametrize(
    ("call", "path", "range_s"),
    [(confirm, "/verify", (0, 10)), (sign_up, "/signup", (0, 10)), (sign_up_anonymously, "/signup", (10, 120))],
    ids=["proofs", "sign-ups without a mail", "anonymous users"],
)
def test_another_call_beyond_the_limit_is_told_when_to_come_again(
    make_client: MakeClient,
    supabase: AccountDouble,
    call: Callable[[Client], TestResponse],
    path: str,
    range_s: tuple[int, int],
) -> None:
    supabase.answers("/settings", {"mailer_autoconfirm": True})
    supabase.answers("/signup", lambda body: proven() if "email" in body else proven(is_anonymous=True, email=""))
    # A good one would make the network acquainted.
    supabase.answers("/verify", {"code": "otp_expired"}, status=403)
    client = make_client(**AS_ONE)

    asked = [call(client).status_code for _ in range(STRANGERS)]
    refused = call(client)

    assert set(asked) <= {200, 201, 401}
    assert_problem(refused, 429, "upstream_throttled")
    assert range_s[0] < int(refused.headers["Retry-After"]) <= range_s[1]
    assert supabase.paths() == [path] * STRANGERS


def test_each_family_has_its_own_calls(make_client: MakeClient, supabase: AccountDouble) -> None:
    client = make_client(**AS_ONE)
    for _ in range(STRANGERS + 1):
        forget(client)

    assert confirm(client).status_code == 200
    assert supabase.paths()[-1] == "/verify"


def test_callers_whose_addresses_are_forwarded_are_not_limited(
    make_client: MakeClient, supabase: AccountDouble
) -> None:
    client = make_client(**{**AS_ONE, "SUPABASE_SECRET_KEY": ENVIRONMENT["SUPABASE_SECRET_KEY"]})

    assert {confirm(client).status_code for _ in range(STRANGERS * 2)} == {200}
    assert supabase.paths() == ["/verify"] * STRANGERS * 2


@pytest.mark.parametrize("family", ["mails", "proofs", "anonymous"])
def test_what_was_counted_outlasts_a_reload(family: str) -> None:
    settings = Settings.from_environment({**ENVIRONMENT, **AS_ONE})
    parts = build(settings)
    assert taken(parts.guards, family) == STRANGERS

    assert taken(build(settings, parts.state).guards, family) == 0
    assert taken(build(settings).guards, family) == STRANGERS


def taken(guards: Guards, family: str) -> int:
    """Return how many calls were left."""
    for number in range(100):
        try:
            guards.families.acquire(getattr(guards.families, family), "203.0.113.1")
        except UpstreamThrottled:
            return number
    return 100
