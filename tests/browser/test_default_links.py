"""Links of Supabase's default templates, on the pages: no account opens before its owner's password is set."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import OTHER_PASSWORD, PASSWORD, Site, code_of, field, next_code_of, press
from tests.fixtures.standin import new_email

#: The password of somebody who signed the address up before its owner.
THEIRS = "their battery staple 99"


def log_in(site: Site, email: str, password: str) -> int:
    """Return the status of a login."""
    answer = requests.post(f"{site.url}/api/v1/auth/login", json={"email": email, "password": password}, timeout=20)
    return answer.status_code


def has_session(page: Page) -> bool:
    """Return whether the browser has the cookie of a session."""
    return any("velro_session" in cookie.get("name", "") for cookie in page.context.cookies())


def enrolled(site: Site, email: str) -> str:
    """Give a user an authenticator app; return its secret."""
    api = f"{site.url}/api/v1/auth"
    tokens = requests.post(f"{api}/login", json={"email": email, "password": PASSWORD}, timeout=20).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    made = requests.post(f"{api}/factors", json={"type": "totp"}, headers=headers, timeout=20).json()
    secret = str(made["totp"]["secret"])
    body = {"code": code_of(secret)}
    verified = requests.post(f"{api}/factors/{made['id']}/verify", json=body, headers=headers, timeout=20)
    assert verified.status_code == 200, verified.text
    return secret


def sign_up_after_somebody_else(page: Page, site: Site) -> str:
    """Sign an address up that somebody else signed up before; return it. The page is at the end of the default link."""
    email = new_email()
    body = {"email": email, "password": THEIRS}
    assert requests.post(f"{site.url}/api/v1/auth/signup", json=body, timeout=20).status_code == 202
    site.mail(email)
    page.goto(f"{site.url}/signup")
    field(page, "Email address").fill(email)
    field(page, "Password").fill(PASSWORD)
    press(page, "Create account")
    expect(page.get_by_role("link", name="Enter the code")).to_be_visible()
    open_default_link(page, site, email, "signup", f"{site.url}/confirm", number=2)
    return email


def ask_for_a_reset(page: Page, site: Site, email: str, target: str = "/reset") -> None:
    """Forget the password. The page is at the end of the default link."""
    page.goto(f"{site.url}/forgot")
    field(page, "Email address").fill(email)
    press(page, "Send me a link")
    # The answer has the cookie with the verifier, and the mail may be faster.
    expect(page.get_by_text("If there is an account with this address")).to_be_visible()
    open_default_link(page, site, email, "recovery", site.url + target)


def open_default_link(page: Page, site: Site, email: str, kind: str, target: str, *, number: int = 1) -> None:
    """Open the link as the default template would have written it: it leads to Supabase, and back with a code."""
    token = site.mail(email, number=number).token_hash
    page.goto(f"{site.standin.url}/auth/v1/verify?token={token}&type={kind}&redirect_to={target}")
    page.wait_for_url(re.compile(r"\?code="))


def test_a_refused_password_does_not_open_an_account_that_somebody_else_signed_up(page: Page, site: Site) -> None:
    email = sign_up_after_somebody_else(page, site)

    field(page, "Your password").fill("abc")
    press(page, "Confirm")

    expect(page.get_by_role("alert")).to_contain_text("too easy to guess")
    assert page.url == f"{site.url}/confirm"
    assert not has_session(page)
    assert log_in(site, email, THEIRS) == 401
    field(page, "Your password").fill(PASSWORD)
    press(page, "Confirm")
    page.wait_for_url(f"{site.url}/account")
    assert has_session(page)
    assert log_in(site, email, THEIRS) == 401
    assert log_in(site, email, PASSWORD) == 200


def test_the_network_may_fail_at_any_call(page: Page, site: Site) -> None:
    """The first call that works has set the password."""
    email = sign_up_after_somebody_else(page, site)
    works: list[bool] = [False, True]
    page.route("**/api/v1/auth/**", lambda route: route.continue_() if works and works.pop(0) else route.abort())

    field(page, "Your password").fill(PASSWORD)
    press(page, "Confirm")
    expect(page.get_by_role("alert")).to_contain_text("offline")
    press(page, "Confirm")

    page.wait_for_url(f"{site.url}/account")
    assert log_in(site, email, THEIRS) == 401
    assert log_in(site, email, PASSWORD) == 200


def test_a_refused_new_password_does_not_end_a_reset(page: Page, site: Site) -> None:
    email = site.new_user()
    ask_for_a_reset(page, site, email)

    for refused, said in (("abc", "too easy to guess"), (PASSWORD, "This is the old password")):
        field(page, "New password").fill(refused)
        press(page, "Set the password")
        expect(page.get_by_role("alert")).to_contain_text(said)
        assert page.url == f"{site.url}/reset"

    field(page, "New password").fill(OTHER_PASSWORD)
    press(page, "Set the password")
    page.wait_for_url(f"{site.url}/account")
    assert log_in(site, email, PASSWORD) == 401
    assert log_in(site, email, OTHER_PASSWORD) == 200


@pytest.mark.parametrize("target", ["/reset", "/confirm"])
def test_a_user_with_a_second_factor_is_asked_for_it(page: Page, site: Site, target: str) -> None:
    email = site.new_user()
    secret = enrolled(site, email)
    ask_for_a_reset(page, site, email, target)
    label, button = ("New password", "Set the password") if target == "/reset" else ("Your password", "Confirm")

    field(page, label).fill(OTHER_PASSWORD)
    press(page, button)
    field(page, "Code").fill(next_code_of(secret))
    press(page, button)

    page.wait_for_url(f"{site.url}/account")
    assert log_in(site, email, PASSWORD) == 401
    assert log_in(site, email, OTHER_PASSWORD) == 200


def test_a_link_that_opens_an_account_without_a_password_asks_for_one(page: Page, site: Site) -> None:
    """It has confirmed the address, so the password may be that of somebody else."""
    email = new_email()
    body = {"email": email, "password": THEIRS}
    assert requests.post(f"{site.url}/api/v1/auth/signup", json=body, timeout=20).status_code == 202
    site.mail(email)
    requests.post(f"{site.url}/api/v1/auth/password/forgot", json={"email": email}, timeout=20)
    page.goto(f"{site.url}/confirm?token_hash={site.mail(email, number=2).token_hash}&type=magiclink")

    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_contain_text("Choose a password now")
    field(page, "New password").fill("abc")
    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_contain_text("too easy to guess")
    field(page, "New password").fill(PASSWORD)
    press(page, "Sign in")

    page.wait_for_url(f"{site.url}/account")
    assert log_in(site, email, THEIRS) == 401
    assert log_in(site, email, PASSWORD) == 200
