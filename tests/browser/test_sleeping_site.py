"""A page of the example of a protected site, behind nginx, on a laptop that slept until its token was worth nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect

from tests.browser.conftest import field, press
from tests.system.page_lab import EMAIL, EXAMPLE, PageSite, nginx, page_site


@pytest.fixture
def members(tmp_path: Path) -> Iterator[PageSite]:
    rules = (EXAMPLE / "rules.toml").read_text()
    settings = {"AUTH_PAGES": "1", "AUTH_COOKIE_SESSIONS": "0", "AUTH_LOGIN_URL": "/login"}
    with page_site(nginx, tmp_path, rules=rules, recipe=EXAMPLE / "nginx.conf", relay=False, **settings) as site:
        yield site


def sign_in_at_the_site(page: Page, site: PageSite) -> None:
    """Fill in the login that the site has led to, and wait for the page behind it."""
    page.wait_for_url(re.compile(r"/login\?rd="))
    field(page, "Email address").fill(EMAIL)
    field(page, "Password").fill("correct horse battery staple")
    press(page, "Sign in")
    page.wait_for_url(f"{site.url}/members/")
    expect(page.get_by_text("you are signed in")).to_be_visible()


@pytest.mark.parametrize("is_over", [False, True], ids=["lives", "has ended"])
def test_a_page_is_asked_for_after_the_night(page: Page, members: PageSite, is_over: bool) -> None:
    # When the laptop wakes up, such a token has to be refreshed.
    members.project.lifetime_s = 1
    page.goto(f"{members.url}/members/")
    sign_in_at_the_site(page, members)
    members.project.lifetime_s = 3600
    members.project.is_over = is_over
    before = len(members.project.refreshes)
    page.context.set_offline(True)
    with pytest.raises(Error, match="ERR_INTERNET_DISCONNECTED"):
        page.goto(f"{members.url}/members/")
    page.context.set_offline(False)

    page.goto(f"{members.url}/members/")

    if is_over:
        sign_in_at_the_site(page, members)
    else:
        expect(page.get_by_text("you are signed in")).to_be_visible()
        assert len(members.project.refreshes) == before + 1
    page.reload()
    expect(page.get_by_text("you are signed in")).to_be_visible()
