"""Calls that wait for Supabase pass the bulkhead and the circuit breaker with a permit, through both lanes."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, MakeClient
from tests.fixtures.tokens import USER_ID, SigningKey, claims_at, document, hmac_token
from tests.upstream_double import PROJECT, TOKEN, session
from velro_auth.app import Service
from velro_auth.errors import Busy
from velro_auth.guards.asking import MIN_CALLS

LOGIN = "/api/v1/auth/login"
LOGOUT = "/api/v1/auth/logout"
ME = "/api/v1/auth/me"
VERIFY = "/api/v1/auth/verify"
KEY = SigningKey("key-1")

#: One login may ask Supabase at once, and no other waits for its permit.
ONE_PERMIT = {"GUNICORN_THREADS": "2", "LOGIN_CONCURRENCY": "1", "LOGIN_QUEUE_S": "0"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        mock.post(f"{PROJECT}/auth/v1/logout", status=204)
        mock.get(f"{PROJECT}/auth/v1/user", json={"id": USER_ID})
        yield mock


def bearer(token: str = "") -> dict[str, str]:
    mine = token or KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1"))
    return {"Authorization": f"Bearer {mine}"}


def asked(supabase: responses.RequestsMock, path: str) -> int:
    return sum(path in str(call.request.url) for call in supabase.calls)


def meanwhile(
    supabase: responses.RequestsMock, method: str, url: str, act: Callable[[], TestResponse], body: object
) -> list[TestResponse]:
    """Have *act* done while Supabase is being asked for *url*; return the answers to it."""
    answers: list[TestResponse] = []

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        answers.append(act())
        return 200, {}, json.dumps(body)

    supabase.add_callback(method, url, answer, content_type="application/json")
    return answers


def test_a_logout_needs_a_permit_of_the_bulkhead(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    client = make_client(**{**ONE_PERMIT, "GUNICORN_THREADS": "16"})
    answers = meanwhile(supabase, "POST", TOKEN, lambda: client.post(LOGOUT, headers=bearer()), session())

    assert client.post(LOGIN, json=GOOD_LOGIN).status_code == 200

    assert_problem(answers[0], 503, "busy")
    assert asked(supabase, "/logout") == 0
    other = KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1", session_id=str(uuid.UUID(int=7))))
    client.post(LOGOUT, headers=bearer(other))
    assert asked(supabase, "/logout") == 1


def test_a_logout_does_not_ask_while_the_breaker_is_open(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    client = make_client(AUTH_THROTTLE_SCALE="1000")
    supabase.post(TOKEN, status=502, body="<html>")
    for _ in range(MIN_CALLS):
        client.post(LOGIN, json=GOOD_LOGIN)

    assert_problem(client.post(LOGOUT, headers=bearer()), 503, "resting")
    assert asked(supabase, "/logout") == 0


def test_a_logout_that_fails_counts_for_the_breaker(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    client = make_client(AUTH_THROTTLE_SCALE="1000")
    supabase.replace(responses.POST, f"{PROJECT}/auth/v1/logout", status=502, body="<html>")
    for number in range(MIN_CALLS):
        mine = KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1", session_id=str(uuid.UUID(int=number))))
        client.post(f"{LOGOUT}?scope=local", headers=bearer(mine))
    supabase.post(TOKEN, json=session())

    assert_problem(client.post(LOGIN, json=GOOD_LOGIN), 503, "resting")


def test_me_holds_a_permit_while_the_profile_is_read(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    """A check of a token that only Supabase can verify needs a permit for waiting, and there is none left."""
    client = make_client(**ONE_PERMIT)
    unproven = hmac_token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1"), "s" * 40, kid="hs")
    rows = f"{PROJECT}/rest/v1/users"
    answers = meanwhile(supabase, "GET", rows, lambda: client.get(VERIFY, headers=bearer(unproven)), [{"id": USER_ID}])

    assert client.get(ME, headers=bearer()).status_code == 200

    assert_problem(answers[0], 503, "busy")
    assert asked(supabase, "/auth/v1/user") == 0
    assert client.get(VERIFY, headers=bearer(unproven)).status_code == 200


def test_guesses_from_everywhere_leave_permits_to_those_who_log_in_at_home(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    client = make_client()
    supabase.post(TOKEN, json=session())
    home, elsewhere = {"REMOTE_ADDR": "203.0.113.7"}, {"REMOTE_ADDR": "198.51.100.7"}
    assert client.post(LOGIN, json=GOOD_LOGIN, environ_base=home).status_code == 200
    service = client.application
    assert isinstance(service, Service)
    delay = service._parts.guards.failure_delay

    with contextlib.ExitStack() as guesses:
        with contextlib.suppress(Busy):
            while True:
                guesses.enter_context(delay.hold(0.0, is_known=False))

        assert_problem(client.post(LOGIN, json=GOOD_LOGIN, environ_base=elsewhere), 503, "busy")
        assert client.post(LOGIN, json=GOOD_LOGIN, environ_base=home).status_code == 200


@pytest.mark.parametrize("answer", [{"json": session()}, {"json": {"code": "invalid_credentials"}, "status": 400}])
def test_all_permits_are_released(
    make_client: MakeClient, supabase: responses.RequestsMock, answer: dict[str, Any]
) -> None:
    client: Client = make_client(**ONE_PERMIT, AUTH_THROTTLE_SCALE="1000")
    supabase.post(TOKEN, **answer)

    statuses = {client.post(LOGIN, json=GOOD_LOGIN).status_code for _ in range(5)}

    assert statuses == {401 if "status" in answer else 200}
