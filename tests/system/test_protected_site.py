"""The example of a protected site, with its own nginx.conf, Caddyfile, pages and rules."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.system.page_lab import EMAIL, EXAMPLE, LOGIN, PAGE, SCRIPT, PageSite, caddy, cookies_of, nginx, page_site


@pytest.fixture(params=[(nginx, "nginx.conf"), (caddy, "Caddyfile")], ids=["nginx", "caddy"])
def make_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., PageSite]]:
    """Return a function that runs the example, with further settings of the service."""
    proxy, recipe = request.param
    rules = (EXAMPLE / "rules.toml").read_text()
    with contextlib.ExitStack() as ends:

        def make(**settings: str) -> PageSite:
            running = page_site(proxy, tmp_path, rules=rules, recipe=EXAMPLE / recipe, relay=False, **settings)
            return ends.enter_context(running)

        yield make


@pytest.fixture
def site(make_site: Callable[..., PageSite]) -> PageSite:
    return make_site()


def test_the_page_of_the_login_is_on_the_way(make_site: Callable[..., PageSite]) -> None:
    """Without JavaScript: what a form sends. Frontends of other origins need no cookie for that."""
    site = make_site(AUTH_PAGES="1", AUTH_COOKIE_SESSIONS="0", AUTH_LOGIN_URL="/login")
    away = site.ask("/members/", PAGE)
    assert away.status_code == 303
    page = site.ask(urlsplit(away.headers["Location"])._replace(scheme="", netloc="").geturl(), PAGE)
    assert page.status_code == 200
    [rd] = re.findall(r'name="rd" value="([^"]*)"', page.text)
    assert html.unescape(rd) == f"{site.url}/members/"
    assert site.ask("/login/factor", PAGE).status_code != 404

    fields = {"email": EMAIL, "password": "correct horse battery staple", "rd": html.unescape(rd)}
    back = site.ask("/login", {**PAGE, "Origin": site.url}, method="POST", data=fields)

    assert back.status_code == 303
    assert back.headers["Location"] == f"{site.url}/members/"
    members = site.ask("/members/", {**PAGE, "Cookie": cookies_of(back)})
    assert "you are signed in" in members.text


def test_from_the_first_visit_to_the_page(site: PageSite) -> None:
    assert "Everybody may read" in site.ask("/", PAGE).text
    assert site.ask("/assets/site.css", SCRIPT).headers["Content-Type"].startswith("text/css")
    away = site.ask("/members/", PAGE)
    assert away.status_code == 303
    assert away.headers["Location"].startswith(f"{LOGIN}?rd=")
    [back] = parse_qs(urlsplit(away.headers["Location"]).query)["rd"]
    assert back == f"{site.url}/members/"

    cookie = site.log_in(user_role="editor")

    page = site.ask("/members/", {**PAGE, "Cookie": cookie})
    assert "you are signed in" in page.text
    # "Back" after the logout would show it again.
    assert page.headers["Cache-Control"] == "no-store"
    assert site.ask("/assets/site.css", {**SCRIPT, "Cookie": cookie}).headers["Cache-Control"] == "no-cache"
    assert site.ask("/admin/", {**PAGE, "Cookie": cookie}).status_code == 403
    admin = site.log_in(user_role="admin")
    assert "your role is" in site.ask("/admin/", {**PAGE, "Cookie": admin}).text


def test_what_no_rule_allows_is_refused(site: PageSite) -> None:
    headers = {**PAGE, "Cookie": site.log_in(user_role="admin")}

    for path in ("/nginx.conf", "/rules.toml", "/index.html", "/.git/config"):
        assert site.ask(path, headers).status_code == 403
    assert site.ask("/", headers, method="POST").status_code == 403
    assert site.ask("/api/v1/auth/verify", headers).status_code == 404


def test_a_session_is_refreshed_and_ends(site: PageSite) -> None:
    site.project.lifetime_s = 30
    cookie = site.log_in()
    site.project.lifetime_s = 3600

    page = site.ask("/members/", {**PAGE, "Cookie": cookie})
    new = cookies_of(page)
    assert page.status_code == 200
    assert new
    out = site.ask("/api/v1/auth/logout?scope=local", {**SCRIPT, "Cookie": new}, method="POST")
    assert out.status_code == 200, out.text

    assert site.ask("/members/", {**PAGE, "Cookie": new}).status_code == 303
