"""The recipes of deploy/gateways, run by the programs they are for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.tokens import SESSION_ID, USER_ID, claims_at
from tests.system.gateway_lab import VerifyEndpoint, caddy, envoy, nginx
from tests.system.gateway_models import traefik
from tests.system.gateway_site import IDENTITY, KEY, Site, bearer, site_behind


@pytest.fixture(params=[nginx, caddy, envoy, traefik], ids=["nginx", "caddy", "envoy", "traefik (model)"])
def site(request: pytest.FixtureRequest, verify: VerifyEndpoint, tmp_path: Path) -> Iterator[Site]:
    with site_behind(request.param, verify, tmp_path) as running:
        yield running


@pytest.fixture
def nginx_site(verify: VerifyEndpoint, tmp_path: Path) -> Iterator[Site]:
    with site_behind(nginx, verify, tmp_path) as running:
        yield running


def test_the_backend_is_told_who_its_user_is(site: Site) -> None:
    headers = site.told(headers=bearer(user_role="editor"))

    assert [headers.get(name.lower()) for name in IDENTITY] == [
        USER_ID,
        "ada@example.com",
        "editor",
        "aal1",
        SESSION_ID,
    ]


@pytest.mark.parametrize(
    "spelling",
    [str.lower, str.upper, str.title, lambda name: name.replace("-", "_"), lambda name: name.lower().replace("-", "_")],
    ids=["lower", "upper", "title", "underscores", "lower underscores"],
)
def test_what_the_client_says_about_itself_never_arrives(site: Site, spelling: Callable[[str], str]) -> None:
    """Not even for what the gateway knows nothing about, nor in a spelling that WSGI takes for the same."""
    forged = {spelling(name): "forged" for name in IDENTITY}

    headers = site.told(headers={**bearer(email="", aal=None), **forged})

    assert "forged" not in headers.values()
    assert headers["x-auth-user-id"] == USER_ID
    assert not headers.get("x-auth-user-role")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic YTpi"}], ids=str)
def test_nobody_else_reaches_the_backend(site: Site, headers: dict[str, str]) -> None:
    answer = site.ask(headers={**headers, "X-Auth-User-Id": USER_ID})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="velro-auth"')
    assert ("invalid_token" in answer.headers["WWW-Authenticate"]) == ("a.b.c" in str(headers))


def test_a_token_in_the_address_is_none(site: Site) -> None:
    token = KEY.token(claims_at(time.time()))

    assert site.ask(f"/?access_token={token}").status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"user_role": "admin", "aal": "aal2"}, 200), ({"user_role": "admin"}, 403), ({"aal": "aal2"}, 403)],
)
def test_a_part_of_the_site_may_demand_more(site: Site, changes: dict[str, Any], status: int) -> None:
    """Asked twice, and for the open part first: what was good there is not good here."""
    headers = bearer(**changes)
    assert site.ask("/", headers=headers).status_code == 200

    assert [site.ask("/admin/users", headers=headers).status_code for _ in range(2)] == [status] * 2


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_every_method_is_asked_about_and_passed_on(site: Site, method: str) -> None:
    assert site.ask("/a/b", method).status_code == 401

    answer = site.ask("/a/b?c=d%2Fe", method, headers=bearer())

    assert answer.status_code == 200
    if method != "HEAD":
        assert (answer.json()["method"], answer.json()["path"]) == (method, "/a/b?c=d%2Fe")


def test_a_body_arrives_untouched_and_the_gateway_never_sees_it(site: Site) -> None:
    body = bytes(range(256)) * 4000

    answer = site.ask("/upload", "POST", headers=bearer(), data=body)

    assert answer.json()["body"].encode("latin-1") == body
    assert all(asked.path.startswith("/api/v1/auth/verify") for asked in site.verify.requests)


def test_when_the_gateway_cannot_judge_the_client_is_told_to_come_again(site: Site) -> None:
    site.verify.cannot_judge = True

    answer = site.ask(headers=bearer())

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def test_an_error_of_the_backend_stays_its_own(site: Site) -> None:
    assert site.ask("/broken", headers=bearer()).status_code == 500


def test_nginx_remembers_good_tokens_and_only_those(nginx_site: Site) -> None:
    good, other = bearer(), bearer(email="bob@example.com")

    for _ in range(20):
        assert nginx_site.told(headers=good)["x-auth-user-email"] == "ada@example.com"
    assert len(nginx_site.verify.requests) == 1
    assert nginx_site.told(headers=other)["x-auth-user-email"] == "bob@example.com"
    for _ in range(3):
        assert nginx_site.ask().status_code == 401

    assert len(nginx_site.verify.requests) == 5


@pytest.mark.slow
def test_nginx_asks_again_after_ten_seconds(nginx_site: Site) -> None:
    """Measured by the clock, because nginx takes no other."""
    good = bearer()
    nginx_site.told(headers=good)
    nginx_site.verify.cannot_judge = True

    time.sleep(9)
    assert nginx_site.ask(headers=good).status_code == 200
    time.sleep(2.5)

    assert nginx_site.ask(headers=good).status_code == 503
