"""Refresh tokens: rotation, forgiveness, and what happens to a family whose token was used twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import psycopg
import pytest

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email

MINUTE_AGO = "now() - interval '1 minute'"


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


@pytest.fixture
def session(standin: Standin, api: Api) -> dict[str, Any]:
    """The answer to the login of a fresh user."""
    email = new_email()
    standin.create_user(email, PASSWORD)
    body: dict[str, Any] = api.log_in(email).json()
    return body


def session_id(body: dict[str, Any]) -> str:
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    return str(claims["session_id"])


def age(api: Api, token: str) -> None:
    """Let the time in which a used token may be used again pass."""
    api.sql(f"update auth.refresh_tokens set updated_at = {MINUTE_AGO} where token = %s", token)  # noqa: S608


def test_a_refresh_gives_a_new_pair_of_the_same_session(api: Api, session: dict[str, Any]) -> None:
    response = api.refresh(session["refresh_token"])

    body = response.json()
    assert response.status_code == 200
    assert body["refresh_token"] != session["refresh_token"]
    assert session_id(body) == session_id(session)
    assert "weak_password" not in body
    assert body["user"]["id"] == session["user"]["id"]


def test_a_refresh_keeps_how_the_user_logged_in(api: Api, session: dict[str, Any]) -> None:
    body = api.refresh(session["refresh_token"]).json()

    first, second = (
        jwt.decode(token, options={"verify_signature": False})["amr"]
        for token in (session["access_token"], body["access_token"])
    )
    assert first == second


def test_a_used_token_is_revoked_and_names_its_child(api: Api, session: dict[str, Any]) -> None:
    child = api.refresh(session["refresh_token"]).json()["refresh_token"]

    rows = api.sql(
        "select token, revoked, parent from auth.refresh_tokens where session_id = %s order by id",
        session_id(session),
    )
    assert rows == [(session["refresh_token"], True, None), (child, False, session["refresh_token"])]


def test_repeating_a_refresh_whose_answer_was_lost_gives_the_same_child(api: Api, session: dict[str, Any]) -> None:
    """At any age, as long as the child has not been used."""
    child = api.refresh(session["refresh_token"]).json()["refresh_token"]
    age(api, session["refresh_token"])

    again = api.refresh(session["refresh_token"])

    assert again.status_code == 200
    assert again.json()["refresh_token"] == child


def test_an_old_token_used_a_moment_ago_is_forgiven(api: Api, session: dict[str, Any]) -> None:
    """Two tabs; the platform forgives for 10 seconds."""
    child = api.refresh(session["refresh_token"]).json()["refresh_token"]
    api.refresh(child)

    response = api.refresh(session["refresh_token"])

    assert response.status_code == 200
    assert response.json()["refresh_token"] not in {session["refresh_token"], child}


def test_an_old_token_used_later_ends_the_family(api: Api, session: dict[str, Any]) -> None:
    child = api.refresh(session["refresh_token"]).json()["refresh_token"]
    grandchild = api.refresh(child).json()["refresh_token"]
    age(api, session["refresh_token"])

    stolen = api.refresh(session["refresh_token"])

    assert stolen.status_code == 400
    assert stolen.json()["code"] == "refresh_token_already_used"
    assert stolen.headers["sb-auth-session-id"] == session_id(session)
    assert api.sql("select bool_and(revoked) from auth.refresh_tokens where session_id = %s", session_id(session)) == [
        (True,)
    ]
    age(api, grandchild)
    assert api.refresh(grandchild).json()["code"] == "refresh_token_already_used"


def test_the_access_token_outlives_the_end_of_its_family(api: Api, session: dict[str, Any]) -> None:
    """The session row stays, so only the refresh is over."""
    child = api.refresh(session["refresh_token"]).json()["refresh_token"]
    api.refresh(child)
    age(api, session["refresh_token"])
    api.refresh(session["refresh_token"])

    assert api.user(session["access_token"]).status_code == 200


@pytest.mark.parametrize("token", ["", "short", "UPPERCASE123", "much-too-long-to-be-a-token"])
def test_a_malformed_token_is_refused_by_its_shape(api: Api, token: str) -> None:
    assert api.refresh(token).json() == {
        "code": "validation_failed",
        "message": "Refresh token is not valid",
    }


def test_an_unknown_token_is_not_found(api: Api) -> None:
    assert api.refresh("aaaaaaaaaaaa").json()["code"] == "refresh_token_not_found"


def test_the_token_of_a_session_that_was_logged_out_is_not_found(api: Api, session: dict[str, Any]) -> None:
    api.call("POST", "/auth/v1/logout", bearer=session["access_token"])

    assert api.refresh(session["refresh_token"]).json()["code"] == "refresh_token_not_found"


def test_a_banned_user_cannot_refresh(api: Api, session: dict[str, Any]) -> None:
    api.admin("PUT", f"/users/{session['user']['id']}", {"ban_duration": "1h"})

    response = api.refresh(session["refresh_token"])

    assert response.json() == {"code": "user_banned", "message": "Invalid Refresh Token: User Banned"}
    assert "sb-auth-session-id" not in response.headers


def test_a_session_past_its_end_is_over(api: Api, session: dict[str, Any]) -> None:
    api.sql(
        f"update auth.sessions set not_after = {MINUTE_AGO} where id = %s",  # noqa: S608 - our own words
        session_id(session),
    )

    assert api.refresh(session["refresh_token"]).json()["message"] == "Invalid Refresh Token: Session Expired"


def test_a_token_without_a_session_is_refused_and_forgotten(api: Api, session: dict[str, Any]) -> None:
    token = session["refresh_token"]
    api.sql("update auth.refresh_tokens set session_id = null where token = %s", token)

    assert api.refresh(token).json()["code"] == "session_not_found"
    assert api.refresh(token).json()["code"] == "refresh_token_not_found"


def test_a_session_left_alone_for_too_long_is_over(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(session_inactivity_s=30.0))
    email = new_email()
    api.server.create_user(email, PASSWORD)
    body = api.log_in(email).json()
    api.sql("update auth.sessions set created_at = now() - interval '1 hour'")
    age(api, body["refresh_token"])

    text = "Invalid Refresh Token: Session Expired (Inactivity)"
    assert api.refresh(body["refresh_token"]).json()["message"] == text


def test_a_newer_login_ends_the_older_where_there_is_one_session_only(
    standin_with: Callable[..., Standin],
) -> None:
    api = Api(standin_with(single_session=True))
    email = new_email()
    api.server.create_user(email, PASSWORD)
    older, newer = api.log_in(email).json(), api.log_in(email).json()

    refused, served = api.refresh(older["refresh_token"]), api.refresh(newer["refresh_token"])

    assert refused.json()["message"].endswith("(Revoked by Newer Login)")
    assert served.status_code == 200


def test_twenty_refreshes_at_once_all_get_the_same_child(api: Api, session: dict[str, Any]) -> None:
    """Rows are locked one after the other; whoever comes late finds the child of the first."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(api.refresh, [session["refresh_token"]] * 20))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


@pytest.mark.slow
def test_a_refresh_gives_up_when_its_rows_stay_locked(api: Api, session: dict[str, Any]) -> None:
    """After 5 seconds of tries, as documented."""
    is_locked, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with psycopg.connect(api.server.database_dsn) as connection:
            connection.execute(
                "select from auth.refresh_tokens where token = %s for update", [session["refresh_token"]]
            )
            is_locked.set()
            is_over.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    is_locked.wait(5)
    try:
        response = api.refresh(session["refresh_token"])
    finally:
        is_over.set()
        holder.join()

    assert response.status_code == 409
    assert response.json()["code"] == "conflict"
    assert 4.5 < response.elapsed.total_seconds() < 20
