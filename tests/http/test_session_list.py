"""The list of sessions through the whole stack, with Supabase faked: what its answers mean."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import LogLines, MakeClient
from tests.fixtures.tokens import SESSION_ID, SigningKey, claims_at, document
from tests.upstream_double import PROJECT
from velro_auth.guards.asking import MIN_CALLS

SESSIONS = "/api/v1/auth/sessions"
LIST = f"{PROJECT}/rest/v1/rpc/velro_auth_sessions"
END = f"{PROJECT}/rest/v1/rpc/velro_auth_end_session"
LOGOUT = f"{PROJECT}/auth/v1/logout?scope=local"
KEY = SigningKey("key-1")
OTHER = "5d2f6c1e-0000-4000-8000-00000000000a"


def row(session_id: str = SESSION_ID, **changes: Any) -> dict[str, Any]:
    return {
        "id": session_id,
        "created_at": "2026-01-01T10:00:00.5+01:00",
        "last_used_at": "2026-01-01T12:00:00+00:00",
        "aal": "aal1",
        "is_current": session_id == SESSION_ID,
        "ip": "192.0.2.1",
        "user_agent": "velro-auth/1.0",
        **changes,
    }


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        yield mock


@pytest.fixture
def token() -> str:
    return KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1"))


def listed(client: Client, token: str) -> TestResponse:
    return client.get(SESSIONS, headers={"Authorization": f"Bearer {token}"})


def end(client: Client, token: str, session_id: str = OTHER) -> TestResponse:
    return client.delete(f"{SESSIONS}/{session_id}", headers={"Authorization": f"Bearer {token}"})


def is_good(client: Client, session_id: str = SESSION_ID) -> bool:
    token = KEY.token(claims_at(time.time(), iss=f"{PROJECT}/auth/v1", session_id=session_id))
    answer = client.get("/api/v1/auth/verify", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200


def asked(supabase: responses.RequestsMock, url: str) -> list[Any]:
    return [call.request for call in supabase.calls if call.request.url == url]


def test_the_list_is_asked_for_with_the_user_s_own_token(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    supabase.post(LIST, json=[row(), row(OTHER, user_agent="a browser", ip="198.51.100.1", aal="aal2")])

    response = listed(client, token)

    assert response.get_json() == {
        "sessions": [
            {
                "id": SESSION_ID,
                "created_at": "2026-01-01T09:00:00.500Z",
                "last_used_at": "2026-01-01T12:00:00.000Z",
                "aal": "aal1",
                "is_current": True,
                "address": "192.0.2.1",
                "user_agent": None,
            },
            {
                "id": OTHER,
                "created_at": "2026-01-01T09:00:00.500Z",
                "last_used_at": "2026-01-01T12:00:00.000Z",
                "aal": "aal2",
                "is_current": False,
                "address": "198.51.100.1",
                "user_agent": "a browser",
            },
        ]
    }
    [request] = asked(supabase, LIST)
    assert (request.headers["Authorization"], request.body) == (f"Bearer {token}", b"{}")


REFUSALS = {
    "session gone": (401, {"code": "PT401", "message": "session_not_found"}, 401, "token_invalid"),
    "a pre-request function of the project": (401, {"code": "PT401", "message": "no"}, 401, "token_invalid"),
    "no second factor": (403, {"code": "PT403", "message": "insufficient_aal"}, 403, "insufficient_aal"),
    "an OAuth client": (403, {"code": "PT403", "message": "oauth_client"}, 403, "forbidden"),
    "no such key": (401, {"code": "PGRST301", "message": "…"}, 401, "token_invalid"),
    "expired there": (401, {"code": "PGRST303", "message": "JWT expired"}, 401, "token_expired"),
    "no function": (404, {"code": "PGRST202", "message": "…"}, 503, "upstream_misconfigured"),
    "no function, by PostgreSQL": (404, {"code": "42883", "message": "…"}, 503, "upstream_misconfigured"),
    "no right": (403, {"code": "42501", "message": "permission denied"}, 503, "upstream_misconfigured"),
    "our key": (401, {"message": "Invalid API key"}, 503, "upstream_misconfigured"),
    "a slow statement": (500, {"code": "57014", "message": "canceling"}, 503, "upstream_error"),
    "a database that starts": (503, {"code": "PGRST002", "message": "…"}, 503, "upstream_unavailable"),
    "unknown": (400, {"code": "PGRST100", "message": "…"}, 503, "upstream_error"),
    "another list": (200, [row(OTHER, is_current=True)], 503, "upstream_error"),
    "no list": (200, {"id": SESSION_ID}, 503, "upstream_error"),
    "a list of nothing known": (200, [{"id": SESSION_ID}], 503, "upstream_error"),
    "times that are none": (200, [row(created_at="yesterday")], 503, "upstream_error"),
}


@pytest.mark.parametrize(("status", "body", "answered", "code"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_the_database_answers_is_what_it_means(
    client: Client, supabase: responses.RequestsMock, token: str, status: int, body: Any, answered: int, code: str
) -> None:
    supabase.post(LIST, json=body, status=status)

    assert_problem(listed(client, token), answered, code)
    assert_problem(end(client, token), answered, code)

    assert not asked(supabase, END)
    assert is_good(client, OTHER)
    assert is_good(client) == (body != {"code": "PT401", "message": "session_not_found"})


def test_the_log_says_what_to_run_where_the_function_is_missing(
    client: Client, supabase: responses.RequestsMock, token: str, logs: LogLines
) -> None:
    supabase.post(LIST, json={"code": "PGRST202", "message": "…"}, status=404)

    listed(client, token)

    assert "run velro-auth db up" in str(logs)


def test_another_session_is_denied_after_the_database_proves_whose_it_is(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    """And before it is deleted: a call whose answer is lost leaves no session that nobody can end any more."""
    seen: list[bool] = []

    def delete(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        seen.append(is_good(client, OTHER))
        return 200, {}, "true"

    supabase.post(LIST, json=[row(OTHER)])
    supabase.add_callback(responses.POST, END, delete, content_type="application/json")

    assert end(client, token).status_code == 204

    assert seen == [False]
    assert [json.loads(request.body) for request in asked(supabase, LIST)] == [{"only_id": OTHER}]
    assert [json.loads(request.body) for request in asked(supabase, END)] == [{"session_id": OTHER}]
    assert is_good(client)


def test_a_session_of_somebody_else_is_neither_denied_nor_deleted(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    supabase.post(LIST, json=[])

    assert_problem(end(client, token), 404, "not_found")

    assert not asked(supabase, END)
    assert is_good(client, OTHER)


@pytest.mark.parametrize("answer", [{"body": "<html>", "status": 502}, {"json": {"code": "57014"}, "status": 500}])
def test_a_database_that_fails_half_way_leaves_the_session_denied(
    client: Client, supabase: responses.RequestsMock, token: str, answer: dict[str, Any]
) -> None:
    supabase.post(LIST, json=[row(OTHER)])
    supabase.post(END, **answer)

    assert end(client, token).status_code == 503

    assert not is_good(client, OTHER)
    assert is_good(client)


def test_the_answer_about_another_session_denies_nothing(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    supabase.post(LIST, json=[row(str(uuid.uuid4()))])

    assert_problem(end(client, token), 503, "upstream_error")

    assert is_good(client, OTHER)


def test_the_own_session_ends_without_the_database(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    supabase.post(LOGOUT, status=204)

    assert end(client, token, SESSION_ID).status_code == 204

    assert not is_good(client)
    assert not asked(supabase, LIST)


def test_the_own_session_is_denied_even_if_supabase_fails(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    supabase.post(LOGOUT, body="<html>", status=502)

    assert_problem(end(client, token, SESSION_ID), 503, "upstream_unavailable")

    assert not is_good(client)


def test_a_data_api_that_fails_is_left_alone_and_logins_go_on(
    client: Client, supabase: responses.RequestsMock, token: str
) -> None:
    supabase.post(LIST, body="<html>", status=502)

    codes = [listed(client, token).get_json()["code"] for _ in range(MIN_CALLS + 2)]

    assert codes == ["upstream_unavailable"] * MIN_CALLS + ["resting"] * 2
    assert "data API open" in client.get("/health/ready").get_json()["checks"]["breaker"][0]["output"]


def test_no_more_calls_than_the_network_may_make(
    make_client: MakeClient, supabase: responses.RequestsMock, token: str
) -> None:
    client = make_client(AUTH_SESSION_CALLS_PER_S="0.1")
    supabase.post(LIST, json=[row()])

    answers = [listed(client, token) for _ in range(5)]

    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert_problem(answers[-1], 429, "too_many_attempts")


def test_wrong_settings_are_told_as_such(make_client: MakeClient) -> None:
    answer = listed(make_client(SUPABASE_URL="none"), "x")

    assert_problem(answer, 401, "token_invalid")
