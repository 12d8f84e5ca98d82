"""A login with the flag off: through Flask, with the profile row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client

from tests.conftest import ENVIRONMENT, GOOD_LOGIN, SECRET_KEY, LogLines
from tests.upstream_double import PROJECT, TOKEN, session
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

USERS = f"{PROJECT}/rest/v1/users"
ROW = {"display_name": "Ada", "avatar_url": "https://example.com/a.png", "credits_balance": 7}

ANSWER = session()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as double:
        double.post(TOKEN, json=ANSWER)
        yield double


def profile_of_a_login() -> dict[str, Any]:
    client = Client(create_app(Settings.from_environment({**ENVIRONMENT, "AUTH_FAST_LOGIN": "0"})))

    response = client.post("/api/v1/auth/login", json=GOOD_LOGIN)

    assert response.status_code == 200
    user = response.get_json()["user"]
    return {name: user[name] for name in ROW}


def test_the_profile_row_is_filled_in(mock: responses.RequestsMock) -> None:
    mock.get(USERS, json=[{"id": ANSWER["user"]["id"], **ROW}])

    assert profile_of_a_login() == ROW


def test_it_is_read_with_the_user_s_own_token(mock: responses.RequestsMock) -> None:
    """So that row level security decides, and not the rights of our key."""
    mock.get(USERS, json=[{"id": ANSWER["user"]["id"], **ROW}])

    profile_of_a_login()

    login, row = (call.request for call in mock.calls)
    headers = {name.lower(): value for name, value in row.headers.items()}
    assert "authorization" not in {name.lower() for name in login.headers}
    assert headers["authorization"] == f"Bearer {ANSWER['access_token']}"
    assert headers["apikey"] == SECRET_KEY
    assert f"id=eq.{ANSWER['user']['id']}" in str(row.url)


@pytest.mark.parametrize(
    "answer",
    [
        {"json": []},
        {"json": {"message": "permission denied"}, "status": 403},
        {"json": {"message": "no such table", "code": "PGRST205"}, "status": 404},
        {"body": "<html>", "status": 502},
        {"body": ConnectionResetError()},
        {"json": [7]},
    ],
)
def test_a_profile_that_cannot_be_read_is_left_out_and_fails_no_login(
    mock: responses.RequestsMock, logs: LogLines, answer: dict[str, Any]
) -> None:
    mock.get(USERS, **answer)

    assert profile_of_a_login() == dict.fromkeys(ROW)
    assert any("profile not" in record.getMessage() for record in logs.records)
