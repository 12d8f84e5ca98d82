"""Refreshes, logouts and me are bounded for each network, and leave logins their places; through both lanes."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, MakeClient
from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.upstream_double import PROJECT, TOKEN, session
from tests.waiting import eventually

KEY = SigningKey("key-1")
BEARER = {"Authorization": f"Bearer {KEY.token(claims_at(time.time(), iss=f'{PROJECT}/auth/v1'))}"}
HERE = "203.0.113.7"

#: Three refreshes or logouts at once, fifteen calls of me, then one in ten seconds.
SLOW = {"AUTH_SESSION_CALLS_PER_S": "0.1"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


class Supabase:
    """Answers everything well, and refreshes when it is told to."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.goes_on = threading.Event()
        self.refreshing = 0
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        mock.get(f"{PROJECT}/rest/v1/users", json=[])
        mock.post(f"{PROJECT}/auth/v1/logout", status=204)
        mock.add(responses.CallbackResponse(responses.POST, TOKEN, self._answer, content_type="application/json"))

    def _answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        if "grant_type=refresh_token" in request.url:
            self.refreshing += 1
            self.goes_on.wait(10)
            return 400, {}, '{"code": "refresh_token_not_found"}'
        return 200, {}, json.dumps(session())


@pytest.fixture
def supabase() -> Iterator[Supabase]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Supabase(mock)


def post(client: Client, path: str, address: str = HERE, **options: Any) -> TestResponse:
    return client.post(f"/api/v1/auth/{path}", environ_overrides={"REMOTE_ADDR": address}, **options)


def refresh(client: Client, token: str, address: str = HERE) -> TestResponse:
    return post(client, "refresh", address, json={"refresh_token": token})


class Storm:
    """Refreshes with made-up tokens, all at once, that hang in Supabase."""

    def __init__(self, client: Client, supabase: Supabase, addresses: Iterator[str], size: int) -> None:
        self.statuses: list[int] = []
        self._supabase = supabase
        self._threads = [
            threading.Thread(target=self._refresh, args=(client, f"made-up-token-{uuid.uuid4()}", next(addresses)))
            for _ in range(size)
        ]
        before = supabase.refreshing
        for thread in self._threads:
            thread.start()
        eventually(lambda: supabase.refreshing - before + len(self.statuses) >= size)

    def _refresh(self, client: Client, token: str, address: str) -> None:
        self.statuses.append(refresh(client, token, address).status_code)

    def end(self) -> None:
        self._supabase.goes_on.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def storm(supabase: Supabase) -> Iterator[Callable[[Client, Iterator[str], int], Storm]]:
    """Start storms; all of them end with the test."""
    storms: list[Storm] = []

    def start(client: Client, addresses: Iterator[str], size: int) -> Storm:
        storms.append(Storm(client, supabase, addresses, size))
        return storms[-1]

    yield start
    for started in storms:
        started.end()


def test_hanging_refreshes_of_many_networks_leave_logins_their_places(
    client: Client, supabase: Supabase, storm: Callable[..., Storm]
) -> None:
    storm(client, (f"198.51.{number}.1" for number in itertools.count()), 60)

    assert post(client, "login", json=GOOD_LOGIN).status_code == 200
    assert supabase.refreshing == 16


def test_hanging_refreshes_of_one_network_leave_places_to_those_of_others(
    client: Client, supabase: Supabase, storm: Callable[..., Storm]
) -> None:
    flood = storm(client, itertools.repeat("198.51.100.9"), 60)
    assert flood.statuses == [503] * (60 - supabase.refreshing)
    assert supabase.refreshing == 13

    other = storm(client, itertools.repeat(HERE), 1)

    assert (supabase.refreshing, other.statuses) == (14, [])
    assert post(client, "login", json=GOOD_LOGIN).status_code == 200


def test_a_refresh_beyond_the_pace_of_its_network_is_busy_and_never_429(
    make_client: MakeClient, supabase: Supabase
) -> None:
    client = make_client(**SLOW)
    supabase.goes_on.set()
    assert [refresh(client, f"made-up-token-{number}").status_code for number in range(3)] == [401] * 3

    refused = refresh(client, "made-up-token-3")

    assert_problem(refused, 503, "busy")
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    assert refresh(client, "made-up-token-4", "198.51.100.1").status_code == 401
    assert supabase.refreshing == 4


def test_an_answer_that_is_given_again_costs_nothing(make_client: MakeClient, supabase: Supabase) -> None:
    """Many tabs share one refresh."""
    client = make_client(**SLOW)
    supabase.goes_on.set()

    assert {refresh(client, "one-token-of-many-tabs").status_code for _ in range(40)} == {401}
    assert supabase.refreshing == 1


def test_a_logout_beyond_the_pace_is_429_and_ends_the_session_here(make_client: MakeClient, supabase: Supabase) -> None:
    client = make_client(**SLOW)
    for _ in range(3):
        other = KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1", session_id=str(uuid.uuid4())))
        assert post(client, "logout?scope=local", headers={"Authorization": f"Bearer {other}"}).status_code < 300
    assert client.get("/api/v1/auth/verify", headers=BEARER).status_code == 200

    refused = post(client, "logout?scope=local", headers=BEARER)

    assert_problem(refused, 429, "too_many_attempts")
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    assert client.get("/api/v1/auth/verify", headers=BEARER).status_code == 401


def test_me_beyond_the_pace_is_429(make_client: MakeClient, supabase: Supabase) -> None:
    client = make_client(**SLOW)

    statuses = [
        client.get("/api/v1/auth/me", headers=BEARER, environ_overrides={"REMOTE_ADDR": HERE}).status_code
        for _ in range(16)
    ]

    assert statuses == [200] * 15 + [429]
    assert "velro_auth_session_refusals_total 1.0" in client.get("/metrics").text
