"""Logout through both lanes, with Supabase faked: what is denied when, and what a refused token can do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, MakeClient
from tests.fixtures.tokens import USER_ID, SigningKey, claims_at, document, hmac_token
from tests.upstream_double import PROJECT, SESSION, TOKEN, session

LOGOUT = "/api/v1/auth/logout"
VERIFY = "/api/v1/auth/verify"
ME = "/api/v1/auth/me"
UPSTREAM = f"{PROJECT}/auth/v1/logout"
KEY = SigningKey("key-1")
OTHER_SESSION = "11111111-2222-4333-8444-555555555555"
NEW_SESSION = "99999999-2222-4333-8444-555555555555"
REFRESH_TOKEN = "abcdefghijkl"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        mock.get(f"{PROJECT}/rest/v1/users", json=[])
        yield mock


def token(key: SigningKey = KEY, *, age_s: int = 60, **changes: Any) -> str:
    issued_s = int(time.time()) - age_s
    return key.token(claims_at(issued_s, **{"iss": f"{PROJECT}/auth/v1", **changes}))


def expired_token(**changes: Any) -> str:
    return token(age_s=3700, **changes)


def says_yes(supabase: responses.RequestsMock, scope: str, *, at_s: float | None = None) -> None:
    supabase.post(
        f"{UPSTREAM}?scope={scope}", status=204, headers={"Date": formatdate(at_s or time.time(), usegmt=True)}
    )


def says_no(supabase: responses.RequestsMock, scope: str, code: str) -> None:
    supabase.post(f"{UPSTREAM}?scope={scope}", json={"code": code}, status=403)


def log_out(client: Client, value: str, scope: str = "global", **options: Any) -> TestResponse:
    return client.post(f"{LOGOUT}?scope={scope}", headers={"Authorization": f"Bearer {value}"}, **options)


def verify(client: Client, value: str) -> TestResponse:
    return client.get(VERIFY, headers={"Authorization": f"Bearer {value}"})


def logouts_seen(supabase: responses.RequestsMock) -> list[Any]:
    return [call.request for call in supabase.calls if str(call.request.url).startswith(UPSTREAM)]


@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_logout_ends_the_session_here_at_once(client: Client, supabase: responses.RequestsMock, scope: str) -> None:
    says_yes(supabase, scope)
    mine = token()
    assert verify(client, mine).status_code == 200

    response = log_out(client, mine, scope)

    assert (response.status_code, response.get_json()) == (200, {"message": "Logged out"})
    assert response.headers["Cache-Control"] == "no-store"
    assert_problem(verify(client, mine), 401, "token_invalid")


def test_the_default_scope_is_supabase_s(client: Client, supabase: responses.RequestsMock) -> None:
    says_yes(supabase, "global")

    assert client.post(LOGOUT, headers={"Authorization": f"Bearer {token()}"}).status_code == 200


def test_others_leaves_this_session_alone(client: Client, supabase: responses.RequestsMock) -> None:
    says_yes(supabase, "others")
    mine, other = token(), token(session_id=OTHER_SESSION)

    assert log_out(client, mine, "others").status_code == 200

    assert verify(client, mine).status_code == 200
    assert_problem(verify(client, other), 401, "token_invalid")


@pytest.mark.parametrize("scope", ["others", "global"])
def test_a_dead_token_makes_and_lifts_nothing(client: Client, supabase: responses.RequestsMock, scope: str) -> None:
    """Its thief would come back to life, or end the sessions that its owner began since."""
    for name in ("global", "others", "local"):
        says_yes(supabase, name, at_s=time.time() - 1)
    owner, thief = token(age_s=6), token(age_s=6, session_id=OTHER_SESSION)
    assert log_out(client, owner).status_code == 200
    asked = len(logouts_seen(supabase))
    after = token(age_s=0, session_id=NEW_SESSION)

    response = log_out(client, thief, scope)

    assert (response.status_code, response.get_json()) == (200, {"message": "Logged out"})
    assert_problem(verify(client, thief), 401, "token_invalid")
    assert_problem(client.get(ME, headers={"Authorization": f"Bearer {thief}"}), 401, "token_invalid")
    assert verify(client, after).status_code == 200
    assert len(logouts_seen(supabase)) == asked


@pytest.mark.parametrize("scope", ["global", "others"])
def test_a_token_that_was_refreshed_just_before_a_wide_logout_is_denied(
    client: Client, supabase: responses.RequestsMock, scope: str
) -> None:
    """A thief who refreshes every few seconds must not stay in."""
    says_yes(supabase, scope)
    thief = token(age_s=1, session_id=OTHER_SESSION)

    assert log_out(client, token(), scope).status_code == 200

    assert_problem(verify(client, thief), 401, "token_invalid")


def test_the_moment_of_a_wide_logout_is_the_date_of_supabase_s_answer(
    client: Client, supabase: responses.RequestsMock
) -> None:
    """Its clock also wrote ``iat``; ours may differ."""
    says_yes(supabase, "global", at_s=time.time() - 20)
    older, younger = token(age_s=22, session_id=OTHER_SESSION), token(age_s=15, session_id=NEW_SESSION)

    assert log_out(client, token()).status_code == 200

    assert_problem(verify(client, older), 401, "token_invalid")
    assert verify(client, younger).status_code == 200


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Nov 2026 00:00:00 GMT"])
def test_without_a_usable_date_our_own_clock_counts(
    client: Client, supabase: responses.RequestsMock, date: str
) -> None:
    supabase.post(f"{UPSTREAM}?scope=global", status=204, headers={"Date": date})
    thief = token(age_s=1, session_id=OTHER_SESSION)

    assert log_out(client, token()).status_code == 200

    assert_problem(verify(client, thief), 401, "token_invalid")


def test_a_login_in_the_second_of_a_wide_logout_is_good(client: Client, supabase: responses.RequestsMock) -> None:
    """``iat`` has whole seconds: by itself the new token looks as old as the logout. Any clock: here a fast one."""
    says_yes(supabase, "global", at_s=time.time() + 2)
    new = token(age_s=0, session_id=NEW_SESSION)
    supabase.post(TOKEN, json=session(access_token=new, user={**SESSION["user"], "id": USER_ID}))

    assert log_out(client, token()).status_code == 200
    assert client.post("/api/v1/auth/login", json=GOOD_LOGIN).status_code == 200

    assert verify(client, new).status_code == 200
    assert_problem(verify(client, token(age_s=0, session_id=OTHER_SESSION)), 401, "token_invalid")


@pytest.mark.parametrize("code", ["session_not_found", "user_not_found", "user_banned"])
@pytest.mark.parametrize("scope", ["global", "local", "others"])
def test_who_is_out_already_ends_the_own_session_and_no_other(
    client: Client, supabase: responses.RequestsMock, code: str, scope: str
) -> None:
    says_no(supabase, scope, code)
    mine, other = token(), token(session_id=OTHER_SESSION)

    assert log_out(client, mine, scope).status_code == 200

    assert_problem(verify(client, mine), 401, "token_invalid")
    assert verify(client, other).status_code == 200
    assert log_out(client, mine, scope).status_code == 200


def test_a_session_that_ended_elsewhere_does_not_end_the_next_one(
    client: Client, supabase: responses.RequestsMock
) -> None:
    """Once this service, once Supabase itself had ended it before."""
    says_yes(supabase, "local")
    says_no(supabase, "global", "session_not_found")
    here, elsewhere, after = token(), token(session_id=OTHER_SESSION), token(age_s=0, session_id=NEW_SESSION)
    assert log_out(client, here, "local").status_code == 200

    assert log_out(client, here, "global").status_code == 200
    assert log_out(client, elsewhere, "global").status_code == 200

    assert verify(client, after).status_code == 200


# What Supabase does not take


def test_an_expired_token_ends_nothing_and_is_told_so(client: Client, supabase: responses.RequestsMock) -> None:
    assert_problem(log_out(client, expired_token()), 401, "token_expired")
    assert logouts_seen(supabase) == []


def test_a_token_of_a_revoked_key_ends_nothing_and_is_told_so(client: Client, supabase: responses.RequestsMock) -> None:
    says_no(supabase, "global", "bad_jwt")
    other = token(session_id=OTHER_SESSION)

    assert_problem(log_out(client, token()), 401, "token_invalid")
    assert_problem(log_out(client, token(SigningKey("revoked"), session_id=NEW_SESSION)), 401, "token_invalid")

    assert verify(client, other).status_code == 200


def test_a_token_that_expires_on_the_way_is_told_so(client: Client, supabase: responses.RequestsMock) -> None:
    """Here it is good for 30 s more, at Supabase it is not."""
    says_no(supabase, "global", "bad_jwt")

    assert_problem(log_out(client, token(age_s=3610)), 401, "token_expired")


@pytest.mark.parametrize("scope", ["global", "local", "others"])
@pytest.mark.parametrize("kind", ["expired", "revoked", "revoked since"])
def test_with_its_refresh_token_the_session_is_refreshed_and_ended(
    client: Client, supabase: responses.RequestsMock, scope: str, kind: str
) -> None:
    new = token(age_s=0)
    supabase.post(TOKEN, json=session(access_token=new, user={**SESSION["user"], "id": USER_ID}))
    supabase.add(
        responses.POST,
        f"{UPSTREAM}?scope={scope}",
        status=204,
        match=[responses.matchers.header_matcher({"Authorization": f"Bearer {new}"})],
    )
    says_no(supabase, scope, "bad_jwt")
    old = {"expired": expired_token, "revoked": lambda: token(SigningKey("revoked")), "revoked since": token}[kind]()

    response = log_out(client, old, scope, json={"refresh_token": REFRESH_TOKEN})

    assert (response.status_code, response.get_json()) == (200, {"message": "Logged out"})
    assert logouts_seen(supabase)[-1].headers["Authorization"] == f"Bearer {new}"
    assert len([call for call in supabase.calls if str(call.request.url).startswith(TOKEN)]) == 1
    assert verify(client, new).status_code == (200 if scope == "others" else 401)


def test_a_refresh_token_is_left_alone_where_the_access_token_is_good(
    client: Client, supabase: responses.RequestsMock
) -> None:
    says_yes(supabase, "global")

    assert log_out(client, token(), json={"refresh_token": REFRESH_TOKEN}).status_code == 200
    assert not [call for call in supabase.calls if str(call.request.url).startswith(TOKEN)]


@pytest.mark.parametrize("code", ["refresh_token_not_found", "session_not_found", "refresh_token_already_used"])
def test_a_session_that_cannot_be_refreshed_any_more_is_gone(
    client: Client, supabase: responses.RequestsMock, code: str
) -> None:
    """An expired token denies nothing all the same."""
    supabase.post(TOKEN, json={"code": code}, status=400)

    assert log_out(client, expired_token(), json={"refresh_token": REFRESH_TOKEN}).status_code == 200
    assert verify(client, token()).status_code == 200


@pytest.mark.parametrize("code", ["validation_failed", "unknown"])
def test_a_refresh_that_says_nothing_about_the_session_ends_nothing(
    client: Client, supabase: responses.RequestsMock, code: str
) -> None:
    """No refresh token, or a hook's refusal."""
    supabase.post(TOKEN, json={"code": code}, status=400)

    refused = log_out(client, expired_token(), json={"refresh_token": REFRESH_TOKEN})

    assert_problem(refused, 401, "token_expired")


def test_a_denied_session_ends_no_other_by_its_refresh_token(client: Client, supabase: responses.RequestsMock) -> None:
    says_yes(supabase, "local")
    says_yes(supabase, "global")
    assert log_out(client, token(), "local").status_code == 200
    supabase.post(TOKEN, json=session(access_token=token(age_s=0), user={**SESSION["user"], "id": USER_ID}))

    assert log_out(client, expired_token(), json={"refresh_token": REFRESH_TOKEN}).status_code == 200

    assert verify(client, token(session_id=OTHER_SESSION)).status_code == 200


def test_a_logout_that_supabase_did_not_hear_is_told_and_ends_the_own_session_here(
    client: Client, supabase: responses.RequestsMock
) -> None:
    """Not the others: they are not ended."""
    supabase.post(f"{UPSTREAM}?scope=global", body="<html>", status=502)
    mine, other = token(), token(session_id=OTHER_SESSION)

    assert_problem(log_out(client, mine), 503, "upstream_unavailable")

    assert_problem(verify(client, mine), 401, "token_invalid")
    assert verify(client, other).status_code == 200


def test_a_token_that_supabase_judges_is_denied_when_it_said_yes(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    client = make_client()
    mine = hmac_token(claims_at(time.time() - 60, iss=f"{PROJECT}/auth/v1"), "s" * 40, kid="hs")
    other = token(session_id=OTHER_SESSION)
    supabase.post(f"{UPSTREAM}?scope=global", body="<html>", status=502)
    assert_problem(log_out(client, mine), 503, "upstream_unavailable")
    assert verify(client, other).status_code == 200
    supabase.replace("POST", f"{UPSTREAM}?scope=global", status=204)

    assert log_out(client, mine).status_code == 200

    assert_problem(verify(client, mine), 401, "token_invalid")
    assert_problem(verify(client, other), 401, "token_invalid")


def test_a_made_up_token_ends_nothing(client: Client, supabase: responses.RequestsMock) -> None:
    forged = token(SigningKey("key-1"))

    assert_problem(log_out(client, forged), 401, "token_invalid")
    assert verify(client, token()).status_code == 200


def test_a_logout_needs_a_token_and_a_scope_there_is(client: Client) -> None:
    assert_problem(client.post(LOGOUT), 401, "token_missing")
    assert_problem(log_out(client, "x", "everywhere"), 422, "invalid_request")


@pytest.mark.parametrize(
    "options",
    [
        {"json": {}},
        {"json": {"refresh_token": None, "remember_me": True}},
        {"data": b"", "content_type": "application/json"},
        {"data": b"a=b", "content_type": "application/x-www-form-urlencoded"},
    ],
)
def test_a_logout_needs_no_body(client: Client, supabase: responses.RequestsMock, options: dict[str, Any]) -> None:
    says_yes(supabase, "global")

    assert log_out(client, token(), **options).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"null", b'{"refresh_token": 7}', b'{"refresh_token": ""}'])
def test_a_body_that_cannot_be_understood_keeps_no_good_session_alive(
    client: Client, supabase: responses.RequestsMock, body: bytes
) -> None:
    says_yes(supabase, "global")
    good = token()

    assert log_out(client, good, data=body, content_type="application/json").status_code == 200

    assert verify(client, good).status_code == 401


def test_it_is_told_where_the_refresh_token_is_needed(client: Client, supabase: responses.RequestsMock) -> None:
    assert_problem(log_out(client, expired_token(), data=b"{", content_type="application/json"), 400, "bad_json")
    assert_problem(log_out(client, expired_token(), json={"refresh_token": 7}), 422, "invalid_request")
