"""The code of a default link, and a password: the account is opened with the owner's password, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from werkzeug.test import Client, EnvironBuilder, TestResponse
from werkzeug.wrappers import Request

from tests.account_double import API, KEY, AccountDouble, moment
from tests.asserts import assert_problem
from tests.conftest import SECRET_KEY, MakeClient
from tests.fixtures.tokens import claims_at
from tests.upstream_double import SESSION, session
from velro_auth.auth.oauth import HandoffCodes
from velro_auth.auth.pkce import challenge_of, new_verifier
from velro_auth.auth.sealing import sealing_keys
from velro_auth.web.flow_cookies import FlowCookies

AUTH = "/api/v1/auth"
PUBLIC = "https://auth.example.com"
CODE = "0d4c2f4e-8a3b-4f1c-9d2e-1a2b3c4d5e6f"
PASSWORD = "correct horse battery staple"


@pytest.fixture
def supabase() -> Iterator[AccountDouble]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        double = AccountDouble(mock)
        double.answers("/token", exchanged("email/signup", email_confirmed_at=moment(), last_sign_in_at=moment()))
        yield double


@pytest.fixture
def browser(make_client: MakeClient, supabase: AccountDouble) -> Client:
    """A browser that asked for a mail, and so has the verifier of its code."""
    assert supabase
    client = make_client(AUTH_PUBLIC_URL=PUBLIC, AUTH_THROTTLE_SCALE="100")
    flows = FlowCookies(sealing_keys((), secret=SECRET_KEY), public_url=PUBLIC)
    for _, value in flows.keep(flows.new("mail"), Request(EnvironBuilder().get_environ())):
        name, _, rest = value.partition("=")
        client.set_cookie(name, rest.partition(";")[0], domain="auth.example.com")
    return client


def exchanged(method: str, **user: Any) -> dict[str, Any]:
    """Return the session of a code that came from a mail; *method* is the way of signing in that its token names."""
    amr = [{"method": method, "timestamp": int(time.time())}]
    fresh = KEY.token(claims_at(time.time(), iss=API, sub=SESSION["user"]["id"], amr=amr))
    return session(access_token=fresh, user={**SESSION["user"], **user})


def post(client: Client, path: str, **body: Any) -> TestResponse:
    return client.post(AUTH + path, json=body, base_url=PUBLIC)


def passwords(supabase: AccountDouble) -> list[str]:
    """Return the passwords that the account got, or would have got, in their order."""
    return [body["password"] for path, body, _ in supabase.asked if path == "/user"]


def test_the_password_is_set_with_the_new_session(browser: Client, supabase: AccountDouble) -> None:
    answer = post(browser, "/exchange", code=CODE, password=PASSWORD)

    assert answer.status_code == 200, answer.text
    assert "password_unproven" not in answer.get_json()
    assert supabase.paths() == ["/token", "/user"]
    assert passwords(supabase) == [PASSWORD]
    assert supabase.bearers[-1] == f"Bearer {answer.get_json()['access_token']}"
    [ended] = answer.headers.getlist("Set-Cookie")
    assert "Max-Age=0" in ended


@pytest.mark.parametrize("password", [None, "left out"])
def test_without_a_password_it_is_told_that_it_is_unproven(
    browser: Client, supabase: AccountDouble, password: str | None
) -> None:
    body = {} if password else {"password": None}

    answer = post(browser, "/exchange", code=CODE, **body)

    assert answer.get_json()["password_unproven"] is True
    assert passwords(supabase) == []


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        ((422, {"code": "weak_password"}), 422, "weak_password"),
        ((429, {"code": "over_request_rate_limit"}), 429, "upstream_throttled"),
        ((401, {"code": "insufficient_aal", "message": "…"}), 403, "insufficient_aal"),
        ((500, {"code": "unexpected_failure"}), 503, "upstream_error"),
        (requests.exceptions.ReadTimeout("…"), 503, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("failures", [1, 3])
def test_a_refused_password_gives_no_session_and_leaves_no_old_password(
    failures: int, refusal: Any, status: int, code: str, browser: Client, supabase: AccountDouble
) -> None:
    """Somebody else may know the old one. Where it cannot be replaced, the answer tells."""

    def judge(_: dict[str, Any]) -> Any:
        return refusal if len(passwords(supabase)) <= failures else (200, SESSION["user"])

    supabase.answers("/user", judge)

    answer = post(browser, "/exchange", code=CODE, password=PASSWORD)

    body = assert_problem(answer, status, code)
    assert "access_token" not in answer.text
    assert "Set-Cookie" not in answer.headers
    assert body.get("password_unproven", False) is (failures == 3)
    first, *unknown = passwords(supabase)
    assert first == PASSWORD
    assert unknown
    assert all(len(other) > 40 for other in unknown)
    again = post(browser, "/password/reset", ticket=body["ticket"], password=PASSWORD)
    assert again.status_code == 200, again.text
    assert passwords(supabase)[-1] == PASSWORD


@pytest.mark.parametrize(("method", "status"), [("email/signup", 200), ("magiclink", 200), ("recovery", 422)])
def test_the_same_password_is_right_for_all_but_a_reset(
    method: str, status: int, browser: Client, supabase: AccountDouble
) -> None:
    """As at ``/confirm`` and ``/password/reset``."""
    supabase.answers("/token", exchanged(method, email_confirmed_at=moment(), last_sign_in_at=moment()))
    supabase.answers("/user", {"code": "same_password"}, status=422)

    answer = post(browser, "/exchange", code=CODE, password=PASSWORD)

    assert passwords(supabase) == [PASSWORD]
    if status == 200:
        assert answer.status_code == 200, answer.text
        assert "password_unproven" not in answer.get_json()
    else:
        assert assert_problem(answer, 422, "same_password")["ticket"]


def test_an_account_that_was_confirmed_before_keeps_its_password(browser: Client, supabase: AccountDouble) -> None:
    supabase.answers("/token", exchanged("recovery", email_confirmed_at=moment(3600), last_sign_in_at=moment()))
    supabase.answers("/user", {"code": "weak_password"}, status=422)

    answer = post(browser, "/exchange", code=CODE, password="weak")

    assert assert_problem(answer, 422, "weak_password")["ticket"]
    assert passwords(supabase) == ["weak"]


@pytest.mark.parametrize("password", ["", "x" * 73, 7])
def test_what_is_no_password_does_not_spend_the_code(
    browser: Client, supabase: AccountDouble, password: str | int
) -> None:
    answer = post(browser, "/exchange", code=CODE, password=password)

    assert set(assert_problem(answer, 422, "invalid_request")["errors"]) == {"password"}
    assert supabase.asked == []


def test_a_sign_in_with_a_provider_sets_no_password(browser: Client, supabase: AccountDouble) -> None:
    verifier = new_verifier()
    sealed = HandoffCodes(sealing_keys((), secret=SECRET_KEY)).seal(CODE, new_verifier(), challenge_of(verifier))

    refused = post(browser, "/exchange", code=sealed, code_verifier=verifier, password=PASSWORD)

    assert set(assert_problem(refused, 422, "invalid_request")["errors"]) == {"password"}
    assert supabase.asked == []
    assert post(browser, "/exchange", code=sealed, code_verifier=verifier).status_code == 200
