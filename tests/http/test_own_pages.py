"""Pages without cookie sessions for other frontends: the own pages get the cookie, everybody else gets tokens."""

from __future__ import annotations

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, MakeClient
from tests.fixtures.hostile import ALLOWED, APP
from tests.http.test_cookie_sessions import (
    CODE,
    FOREIGN,
    OURS,
    PUBLIC,
    ask,
    asked,
    cookie,
    gives,
    kept,
    log_in,
    log_out,
    refresh,
    refresh_token,
    shown,
    supabase,
)
from tests.http.test_oauth import only
from velro_auth.auth.pkce import challenge_of, new_verifier

__all__ = ["supabase"]

#: An origin that CORS allows by name. It may read answers, and is still not the service's own.
FRONTEND = "https://app.example.com"
ENVIRONMENT = {
    "AUTH_PAGES": "1",
    "AUTH_PUBLIC_URL": PUBLIC,
    "AUTH_REDIRECT_URLS": ALLOWED,
    "CORS_ORIGINS": f"{FRONTEND}, https://*.preview.example.com",
}
#: The service's own pages.
OWN = (OURS, {"Origin": PUBLIC}, {"Origin": PUBLIC, **OURS})
#: All other clients: pages that CORS allows, pages that it does not allow, programs.
OTHERS = (*FOREIGN, {"Origin": FRONTEND}, {"Origin": FRONTEND, "Sec-Fetch-Site": "same-site"}, {})
VERIFIER = new_verifier()
BACK = f"{PUBLIC}/login/factor"


@pytest.fixture
def client(make_client: MakeClient, supabase: responses.RequestsMock) -> Client:
    gives(supabase)
    return make_client(**ENVIRONMENT)


@pytest.fixture
def bare(client: Client) -> Client:
    """A client that keeps no cookies."""
    return Client(client.application, use_cookies=False)


@pytest.mark.parametrize("headers", OWN)
def test_an_own_page_gets_the_cookie_and_no_token(
    client: Client,
    supabase: responses.RequestsMock,
    headers: dict[str, str],
) -> None:
    access_token = gives(supabase)

    for response in (log_in(client, headers), refresh(client, headers)):
        assert set(response.get_json()) == {"user", "expires_at"}
        assert access_token not in shown(response)
        assert "refresh-canary" not in str(response.headers) + response.text
    assert refresh_token(client) == "refresh-canary"


def test_all_others_get_tokens_and_no_cookie(bare: Client, supabase: responses.RequestsMock) -> None:
    for headers in OTHERS:
        response = log_in(bare, headers)
        body = {"refresh_token": response.get_json()["refresh_token"]}
        refreshed = ask(bare, "/refresh", headers, method="POST", json=body)

        for answer in (response, refreshed):
            assert (answer.status_code, answer.get_json()["refresh_token"]) == (200, "refresh-canary")
            assert "Set-Cookie" not in answer.headers
        bearer = {**headers, "Authorization": f"Bearer {response.get_json()['access_token']}"}
        assert ask(bare, "/me", bearer).status_code == 200
        # There is no session in a cookie that could be refreshed.
        assert_problem(refresh(bare, headers), 415, "unsupported_media_type")


def test_cors_says_what_it_says_without_pages(make_client: MakeClient, client: Client) -> None:
    without = make_client(**{**ENVIRONMENT, "AUTH_PAGES": "0"})

    for origin in (FRONTEND, "https://x.preview.example.com", "https://evil.example"):
        with_pages, plain = (log_in(either, {"Origin": origin}) for either in (client, without))
        assert {name: value for name, value in with_pages.headers if name.startswith("Access-Control")} == {
            name: value for name, value in plain.headers if name.startswith("Access-Control")
        }


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/login"), ("POST", "/refresh"), ("POST", "/logout"), ("PATCH", "/me"), ("POST", "/verify")],
)
def test_with_the_cookie_only_an_own_page_changes_anything(
    client: Client,
    supabase: responses.RequestsMock,
    method: str,
    path: str,
) -> None:
    token = gives(supabase)
    log_in(client)
    before, calls = cookie(client), len(supabase.calls)

    for headers in OTHERS:
        for also in ({}, {"Authorization": f"Bearer {token}"}):
            response = ask(client, path, {**headers, **also}, method=method, json=GOOD_LOGIN)

            assert_problem(response, 403, "cross_site")
            assert cookie(client) == before
    assert len(supabase.calls) == calls


def test_with_the_cookie_everybody_may_ask(client: Client) -> None:
    """A gateway asks ``verify`` for pages, and leads people to the sign-in."""
    log_in(client)

    for headers in (*OTHERS, *OWN):
        assert ask(client, "/verify", headers).status_code == 200
        assert ask(client, "/me", headers).status_code == 200


def test_verify_refreshes_the_session_of_the_cookie(client: Client, supabase: responses.RequestsMock) -> None:
    gives(supabase, left_s=55)
    log_in(client)
    gives(supabase, refresh_token="second-canary")

    assert ask(client, "/verify", {"Sec-Fetch-Site": "none"}).status_code == 200
    assert refresh_token(client) == "second-canary"


def test_signing_out_removes_the_cookie(client: Client) -> None:
    log_in(client)

    assert log_out(client).status_code == 200
    assert kept(client) is None


def test_a_form_of_the_page_signs_in(client: Client, supabase: responses.RequestsMock) -> None:
    access_token = gives(supabase)

    response = client.post("/login", data=GOOD_LOGIN, headers=OURS, base_url=PUBLIC)
    account = client.get("/account", headers={"Sec-Fetch-Site": "none"}, base_url=PUBLIC)

    assert (response.status_code, response.headers["Location"]) == (303, "/account")
    assert access_token not in shown(response)
    assert refresh_token(client) == "refresh-canary"
    assert account.status_code == 200


@pytest.mark.parametrize("path", ["/login", "/login/factor", "/account"])
def test_a_form_from_elsewhere_does_nothing(client: Client, supabase: responses.RequestsMock, path: str) -> None:
    """With the cookie and without it. That CORS allows an origin does not help it."""
    signed_in = Client(client.application)
    log_in(signed_in)
    calls = len(supabase.calls)

    for headers in OTHERS:
        form = {**GOOD_LOGIN, "action": "sign-out"}
        for either in (client, signed_in):
            before = cookie(either)
            response = either.post(path, data=form, headers=headers, base_url=PUBLIC)

            assert response.status_code in ({403} if before or path == "/login" else {303, 401, 403})
            assert cookie(either) == before
    assert len(supabase.calls) == calls


def begin(client: Client, headers: dict[str, str], redirect_to: str = BACK, **query: str) -> TestResponse:
    query = {"redirect_to": redirect_to, **query}
    return ask(client, "/authorize/github", headers, query_string=query)


def come_back(client: Client, begun: TestResponse) -> TestResponse:
    """Come back from the provider, which is another site."""
    flow = only(only(begun.headers["Location"])["redirect_to"])["flow"]
    return ask(client, "/callback", {"Sec-Fetch-Site": "cross-site"}, query_string={"flow": flow, "code": CODE})


def test_a_provider_s_sign_in_that_an_own_page_began_ends_with_the_cookie(
    client: Client,
    supabase: responses.RequestsMock,
) -> None:
    access_token = gives(supabase)

    response = come_back(client, begin(client, OURS))

    assert (response.status_code, response.headers["Location"]) == (303, BACK)
    assert access_token not in shown(response)
    assert refresh_token(client) == "refresh-canary"


def test_a_provider_s_sign_in_that_another_frontend_began_ends_with_tokens(
    client: Client,
    supabase: responses.RequestsMock,
) -> None:
    begun = begin(client, {"Sec-Fetch-Site": "same-site"}, APP, code_challenge=challenge_of(VERIFIER))

    response = come_back(client, begun)
    code = only(response.headers["Location"])["code"]
    body = {"code": code, "code_verifier": VERIFIER}
    exchanged = ask(client, "/exchange", {"Origin": FRONTEND}, method="POST", json=body)

    assert exchanged.get_json()["refresh_token"] == "refresh-canary"
    assert "Set-Cookie" not in exchanged.headers
    assert cookie(client) is None
    assert asked(supabase) == 1


def test_no_other_site_begins_a_sign_in_that_ends_with_the_cookie(client: Client) -> None:
    for headers in OTHERS:
        for mark in ({}, {"begun_here": "1"}):
            assert_problem(begin(client, headers, **mark), 422, "invalid_request")


def test_a_flow_without_the_mark_does_not_end_with_the_cookie(
    make_client: MakeClient,
    supabase: responses.RequestsMock,
) -> None:
    """It began on a page of another site, while cookie sessions were on for all."""
    before, after = make_client(**ENVIRONMENT, AUTH_COOKIE_SESSIONS="1"), make_client(**ENVIRONMENT)
    begun = begin(before, {"Sec-Fetch-Site": "cross-site"})
    name, _, value = begun.headers["Set-Cookie"].partition(";")[0].partition("=")
    after.set_cookie(name, value, domain="auth.example.com", secure=True)

    response = come_back(after, begun)

    assert_problem(response, 401, "link_invalid")
    assert cookie(after) is None
    assert asked(supabase) == 0


def test_with_cookie_sessions_for_all_a_listed_origin_gets_the_cookie(
    make_client: MakeClient,
    supabase: responses.RequestsMock,
) -> None:
    client = make_client(**ENVIRONMENT, AUTH_COOKIE_SESSIONS="1")
    gives(supabase)
    # Another site would sign the user in as somebody else.
    assert_problem(log_in(client, {"Sec-Fetch-Site": "same-site"}), 403, "cross_site")

    response = log_in(client, {"Origin": FRONTEND})

    assert set(response.get_json()) == {"user", "expires_at"}
    assert kept(client) is not None
