"""200 requests that pages of other sites send with the user's cookie, of 20 shapes: none changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
import responses
from werkzeug.test import Client

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, MakeClient
from tests.fixtures.tokens import document
from tests.http.test_cookie_sessions import ENVIRONMENT, KEY, NAME, PUBLIC, SECRET, gives, log_in
from tests.upstream_double import PROJECT

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
EVIL = "https://evil.example"
SIBLING = "https://blog.example.com"

#: What a browser sends for a page of another site, and what may be made of it. Never ``Sec-Fetch-Site: same-origin``,
#: and never an origin of ours: no page can write these.
SHAPES: Mapping[str, Mapping[str, str]] = {
    "a form": {**FORM, "Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "a form as text": {"Content-Type": "text/plain", "Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    "a form with files": {"Content-Type": "multipart/form-data; boundary=b", "Origin": EVIL},
    "a form of an old browser": {**FORM, "Referer": f"{EVIL}/"},
    "a form without a referrer": dict(FORM),
    "a form in a sandboxed frame": {**FORM, "Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "a form of a file": {**FORM, "Origin": "null"},
    "fetch with cors": {**JSON, "Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    "fetch without cors": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "fetch of a worker": {**JSON, "Origin": EVIL, "Sec-Fetch-Dest": "worker", "Sec-Fetch-Site": "cross-site"},
    "fetch of a neighbour": {**JSON, "Origin": SIBLING, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    "a form of a neighbour": {**FORM, "Origin": SIBLING, "Sec-Fetch-Site": "same-site"},
    "a neighbour without metadata": {**JSON, "Origin": SIBLING},
    "the same host without tls": {**JSON, "Origin": PUBLIC.replace("https", "http"), "Sec-Fetch-Site": "cross-site"},
    "another port": {**JSON, "Origin": f"{PUBLIC}:8443", "Sec-Fetch-Site": "same-site"},
    "a redirect by another site": {**FORM, "Origin": "null", "Sec-Fetch-Site": "cross-site", "Referer": f"{PUBLIC}/"},
    "an address that was typed": {**FORM, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "a beacon": {"Content-Type": "text/plain;charset=UTF-8", "Origin": EVIL, "Sec-Fetch-Mode": "no-cors"},
    "the relay header of a page": {**JSON, "Origin": EVIL, "Sec-Fetch-Site": "cross-site", "X-Velro-Relay": SECRET},
    "a preview of a wildcard": {**JSON, "Origin": "https://x.preview.example.com", "Sec-Fetch-Site": "cross-site"},
}
#: What would change something: in the account, in the browser, or behind a gateway.
CHANGES: tuple[tuple[str, str], ...] = (
    ("POST", "/login"),
    ("POST", "/confirm"),
    ("POST", "/signup"),
    ("POST", "/exchange"),
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("PATCH", "/me"),
    ("PUT", "/password"),
    ("DELETE", "/sessions/5b1f7a52-0c11-4d5e-8f3a-6f0f6f0f6f0f"),
    ("POST", "/verify"),
)


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        gives(mock)
        yield mock


def body_of(shape: Mapping[str, str]) -> dict[str, Any]:
    if shape.get("Content-Type", "") in JSON.values():
        return {"json": GOOD_LOGIN}
    return {"data": urlencode(GOOD_LOGIN)}


def test_there_are_200() -> None:
    assert len(SHAPES) * len(CHANGES) == 200
    assert not [shape for shape in SHAPES.values() if shape.get("Sec-Fetch-Site") == "same-origin"]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_page_of_another_site_changes_anything(
    make_client: MakeClient, supabase: responses.RequestsMock, shape: str
) -> None:
    client = make_client(**ENVIRONMENT, AUTH_RELAY_SECRET=SECRET)
    fields = log_in(client).headers.getlist("Set-Cookie")
    cookie = "; ".join(field.partition(";")[0] for field in fields)
    bare, calls = Client(client.application, use_cookies=False), len(supabase.calls)
    headers = {**SHAPES[shape], "Cookie": cookie}

    for method, path in CHANGES:
        # The browser sends the cookie of its own accord. Without it, the session of somebody else could begin.
        response = bare.open(
            f"/api/v1/auth{path}", method=method, headers=headers, base_url=PUBLIC, **body_of(SHAPES[shape])
        )
        assert_problem(response, 403, "cross_site")
        assert "Set-Cookie" not in response.headers
        assert "X-Auth-Access-Token" not in response.headers

    assert len(supabase.calls) == calls
    assert bare.get("/api/v1/auth/verify", headers={"Cookie": cookie}, base_url=PUBLIC).status_code == 200


@pytest.mark.parametrize("shape", SHAPES)
def test_no_page_of_another_site_begins_a_session(
    make_client: MakeClient, supabase: responses.RequestsMock, shape: str
) -> None:
    """It would log the user in as somebody else."""
    bare = Client(make_client(**ENVIRONMENT).application, use_cookies=False)

    for path in ("/login", "/confirm", "/exchange", "/signup", "/anonymous"):
        response = bare.post(
            f"/api/v1/auth{path}", headers=dict(SHAPES[shape]), base_url=PUBLIC, **body_of(SHAPES[shape])
        )

        # A program without a browser has neither field: it gets tokens, and what is no JSON is no login.
        assert response.status_code in {403, 415}
        assert not [field for field in response.headers.getlist("Set-Cookie") if NAME in field]
