"""What users change about themselves on ``/account``, with Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import (
    OTHER_PASSWORD,
    PASSWORD,
    Canary,
    Site,
    account_of,
    code_of,
    field,
    next_code_of,
    press,
    sign_in,
)
from tests.fixtures.browser import TIMEOUT_MS
from tests.fixtures.standin import new_email
from tests.waiting import eventually


def add_factor(page: Page, code_of: Callable[[str], str] = code_of) -> str:
    """Add an authenticator app on the account's page; return its key."""
    field(page, "Name of the app or device").fill("phone")
    press(page, "Add an authenticator app")
    qr_code = page.get_by_alt_text("QR code for the authenticator app")
    expect(qr_code).to_be_visible()
    # A picture that the policy of the page forbids has no size.
    eventually(lambda: qr_code.evaluate("image => image.complete && image.naturalWidth > 0"))
    secret = page.locator("[data-show=secret]").inner_text()
    field(page, "Code").fill(code_of(secret))
    press(page, "Finish")
    expect(page.get_by_text("The authenticator app is set up")).to_be_visible()
    return secret


def test_a_second_factor_is_added_asked_for_and_removed(page: Page, site: Site, canary: Canary) -> None:
    email = site.new_user()
    account_of(page, site, email)
    secret = add_factor(page)
    assert secret not in page.content()

    press(page, "Sign out")
    page.wait_for_url(f"{site.url}/login")
    sign_in(page, site, email, path="/login?rd=%2Faccount%3Fagain%3D1")
    page.wait_for_url(re.compile("/login/factor"))
    field(page, "Code").fill("000000")
    press(page, "Continue")
    expect(page.get_by_role("alert")).to_contain_text("The code is wrong or too old")
    expect(field(page, "Code")).to_be_focused()
    field(page, "Code").fill(next_code_of(secret))
    press(page, "Continue")
    page.wait_for_url(f"{site.url}/account?again=1")

    press(page, "Remove phone")
    expect(page.get_by_text("The authenticator app is removed.")).to_be_visible()
    canary.check(page)


def test_the_second_factor_works_without_a_script(chromium: Browser, page: Page, site: Site) -> None:
    email = site.new_user()
    account_of(page, site, email)
    secret = add_factor(page)
    context = chromium.new_context(java_script_enabled=False, locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    plain = context.new_page()

    sign_in(plain, site, email)
    plain.wait_for_url(f"{site.url}/login/factor")
    field(plain, "Code").fill("000000")
    press(plain, "Continue")
    expect(plain.get_by_role("alert")).to_contain_text("The code is wrong or too old")
    field(plain, "Code").fill(next_code_of(secret))
    press(plain, "Continue")

    plain.wait_for_url(f"{site.url}/account")
    context.close()


def test_a_session_without_the_second_factor_is_led_to_it(page: Page, site: Site) -> None:
    """A person who left the page of the code sees on the account what needs it."""
    email = site.new_user()
    account_of(page, site, email)
    secret = add_factor(page)
    page.context.clear_cookies()
    sign_in(page, site, email)
    page.wait_for_url(re.compile("/login/factor"))

    page.goto(f"{site.url}/login")
    expect(page.get_by_text(f"You are signed in as {email}")).to_be_visible()
    page.goto(f"{site.url}/account")
    page.locator("[data-part=sessions]").get_by_role("link", name="Type the code of the app").click()
    field(page, "Code").fill(next_code_of(secret))
    press(page, "Continue")

    page.wait_for_url(f"{site.url}/account")
    expect(page.get_by_text("This session")).to_be_visible()


def test_the_name_is_changed(page: Page, site: Site) -> None:
    account_of(page, site, site.new_user(display_name="Ada"))
    expect(field(page, "Name")).to_have_value("Ada")

    field(page, "Name").fill("Ada Lovelace")
    press(page, "Save")

    expect(page.get_by_text("Saved.")).to_be_visible()
    page.reload()
    expect(field(page, "Name")).to_have_value("Ada Lovelace")


def test_the_password_is_changed(page: Page, site: Site, canary: Canary) -> None:
    email = site.new_user()
    account_of(page, site, email)

    page.locator("#current_password").fill("wrong")
    field(page, "New password").fill(OTHER_PASSWORD)
    press(page, "Change password")
    expect(page.get_by_role("alert").filter(has_text="The current password is wrong")).to_be_visible()
    page.locator("#current_password").fill(PASSWORD)
    press(page, "Change password")

    expect(page.get_by_text("The password is changed.")).to_be_visible()
    canary.check(page)
    page.context.clear_cookies()
    account_of(page, site, email, OTHER_PASSWORD)


def test_the_address_is_changed_by_two_mails(page: Page, site: Site) -> None:
    email, wanted = site.new_user(), new_email()
    account_of(page, site, email)

    field(page, "New address").fill(wanted)
    press(page, "Change address")
    expect(page.get_by_text("the change counts once it is confirmed")).to_be_visible()
    page.goto(site.mail(email).link)
    press(page, "Confirm")
    expect(page.get_by_role("heading", name="One mail left")).to_be_focused()
    page.goto(site.mail(wanted).link)
    press(page, "Confirm")

    page.wait_for_url(f"{site.url}/account")
    expect(page.get_by_text(wanted)).to_be_visible()


def test_other_sessions_are_ended(chromium: Browser, page: Page, site: Site) -> None:
    email = site.new_user()
    account_of(page, site, email)
    others = [chromium.new_context(locale="en-GB").new_page() for _ in range(2)]
    for other in others:
        account_of(other, site, email)
    page.reload()
    entries = page.locator("[data-list=sessions] li")
    expect(entries).to_have_count(3)

    entries.filter(has_not=page.get_by_text("This session")).first.get_by_role("button").click()
    expect(page.get_by_text("The session has ended.")).to_be_visible()
    expect(entries).to_have_count(2)
    press(page, "End all other sessions")
    expect(page.get_by_text("All other sessions have ended.")).to_be_visible()

    expect(entries).to_have_count(1)
    for other in others:
        other.reload()
        other.wait_for_url(f"{site.url}/login?rd=%2Faccount")
        other.context.close()


def test_the_way_back_after_signing_out_shows_nothing(page: Page, site: Site) -> None:
    email = site.new_user()
    account_of(page, site, email)
    page.goto(f"{site.url}/account?second=1")
    page.get_by_text("This session").wait_for()
    press(page, "Sign out")
    page.wait_for_url(f"{site.url}/login")
    refusal = '"path": "/account", "status": 303'
    before = site.program.output.count(refusal)

    page.go_back()

    page.wait_for_url(re.compile(r"/login\?rd="))
    assert email not in page.content()
    # The page was asked for anew, and not shown from a cache for a moment.
    eventually(lambda: site.program.output.count(refusal) > before, or_say=lambda: site.program.output[-2000:])


def test_signing_out_ends_the_page_in_the_other_tab(page: Page, browser_context: BrowserContext, site: Site) -> None:
    email = site.new_user()
    account_of(page, site, email)
    other = browser_context.new_page()
    other.goto(f"{site.url}/account")
    other.get_by_text("This session").wait_for()

    press(page, "Sign out")

    other.wait_for_url(re.compile("/login"))
    assert email not in other.content()


def test_two_tabs_save_at_once(page: Page, browser_context: BrowserContext, site: Site) -> None:
    account_of(page, site, site.new_user())
    other = browser_context.new_page()
    other.goto(f"{site.url}/account")
    other.get_by_text("This session").wait_for()

    for tab, name in ((page, "One"), (other, "Two")):
        field(tab, "Name").fill(name)
    for tab in (page, other):
        tab.get_by_role("button", name="Save").click(no_wait_after=True)

    for tab in (page, other):
        expect(tab.get_by_text("Saved.")).to_be_visible()


def test_a_page_without_a_session_leads_to_the_sign_in_and_back(page: Page, site: Site) -> None:
    email = site.new_user()
    page.goto(f"{site.url}/account")
    page.wait_for_url(f"{site.url}/login?rd=%2Faccount")

    field(page, "Email address").fill(email)
    field(page, "Password").fill(PASSWORD)
    press(page, "Sign in")

    page.wait_for_url(f"{site.url}/account")
