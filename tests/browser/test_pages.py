"""Signing in and up, forgotten passwords and mailed links, as a person does it: with Chromium, on the real pages."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import OTHER_PASSWORD, PASSWORD, Canary, Site, account_of, field, press, sign_in
from tests.fixtures.browser import TIMEOUT_MS
from tests.fixtures.standin import new_email


def test_a_person_signs_in_after_a_wrong_password(page: Page, site: Site, canary: Canary) -> None:
    email = site.new_user()

    sign_in(page, site, email, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("The address or the password is wrong")
    expect(field(page, "Password")).to_be_focused()
    field(page, "Password").fill(PASSWORD)
    page.keyboard.press("Enter")

    page.wait_for_url(f"{site.url}/account")
    expect(page.get_by_text(email)).to_be_visible()
    canary.check(page)


def test_the_answer_is_the_same_for_an_unknown_address(page: Page, site: Site) -> None:
    sign_in(page, site, new_email(), "wrong")
    expect(page.get_by_role("alert")).to_contain_text("The address or the password is wrong")


@pytest.fixture
def plain(chromium: Browser) -> Page:
    """A tab without JavaScript."""
    context = chromium.new_context(java_script_enabled=False, locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    return context.new_page()


def test_sign_in_works_without_a_script(plain: Page, site: Site) -> None:
    email = site.new_user()

    sign_in(plain, site, email, "wrong")
    expect(plain.get_by_role("alert")).to_contain_text("The address or the password is wrong")
    assert field(plain, "Email address").input_value() == email
    assert field(plain, "Password").input_value() == ""
    field(plain, "Password").fill(PASSWORD)
    press(plain, "Sign in")

    plain.wait_for_url(f"{site.url}/account")
    expect(plain.get_by_text(email)).to_be_visible()
    # No empty cards of what needs a script, but a sentence. Playwright finds no text in a ``noscript``.
    expect(plain.locator("main noscript p")).to_be_visible()
    assert plain.get_by_role("heading").all_inner_texts() == ["Your account"]
    press(plain, "Sign out")
    plain.wait_for_url(f"{site.url}/login")
    assert plain.context.cookies() == []


def test_without_a_script_it_leads_to_a_page_of_another_origin(plain: Page, site: Site) -> None:
    """Browsers check ``form-action`` for the redirect too."""
    email, aim = site.new_user(), "http://localhost:1/done?a=1"
    plain.route("http://localhost:1/**", lambda route: route.fulfill(body="The application"))

    sign_in(plain, site, email, path=f"/login?rd={quote(aim, safe='')}")

    plain.wait_for_url(aim)


def test_it_leads_to_nowhere_else(page: Page, site: Site) -> None:
    email = site.new_user()

    sign_in(page, site, email, path="/login?rd=https%3A%2F%2Fevil.example%2F")

    page.wait_for_url(f"{site.url}/account")


def test_a_person_makes_an_account(page: Page, site: Site, canary: Canary) -> None:
    email = new_email()
    page.goto(f"{site.url}/login")
    page.get_by_role("link", name="Create one").click()
    field(page, "Name (optional)").fill("Ada")
    field(page, "Email address").fill(email)
    field(page, "Password").fill(PASSWORD)
    press(page, "Create account")
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_focused()
    mail = site.mail(email)
    assert mail.link.startswith(f"{site.url}/confirm?token_hash=")

    # As a mail scanner does: it spends nothing.
    page.request.get(mail.link)
    page.goto(mail.link)
    field(page, "Your password").fill(PASSWORD)
    press(page, "Confirm")

    page.wait_for_url(f"{site.url}/account")
    expect(field(page, "Name")).to_have_value("Ada")
    assert "token_hash" not in page.evaluate("document.referrer + performance.getEntriesByType('navigation')[0].name")
    canary.check(page)


def test_a_link_leaves_the_history_once_it_is_used(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/confirm?token_hash=pkce_wrong&type=magiclink")

    press(page, "Sign in")

    expect(page.get_by_role("alert")).to_contain_text("The link or code is wrong")
    assert page.url == f"{site.url}/confirm?type=magiclink"
    expect(field(page, "Code from the mail")).to_be_visible()


def test_a_code_is_typed_in(page: Page, site: Site) -> None:
    """On another device than the one that the mail is read on."""
    email = new_email()
    page.goto(f"{site.url}/signup")
    field(page, "Email address").fill(email)
    field(page, "Password").fill(PASSWORD)
    press(page, "Create account")
    page.get_by_role("link", name="Enter the code").click()
    expect(field(page, "Email address")).to_have_value(email)

    field(page, "Code from the mail").fill(site.mail(email).token)
    field(page, "Your password").fill(PASSWORD)
    press(page, "Confirm")

    page.wait_for_url(f"{site.url}/account")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_an_address_that_is_not_confirmed_gets_its_mail_again(page: Page, site: Site) -> None:
    email = new_email()
    site.standin.create_user(email, PASSWORD, confirmed=False)

    sign_in(page, site, email)
    press(page, "Send the mail again")
    page.wait_for_url(re.compile("/confirm"))

    assert site.mail(email).type == "signup"
    expect(field(page, "Email address")).to_have_value(email)


def test_a_forgotten_password_is_replaced(page: Page, site: Site, canary: Canary) -> None:
    email = site.new_user()
    page.goto(f"{site.url}/login")
    page.get_by_role("link", name="Forgot password?").click()
    field(page, "Email address").fill(email)
    press(page, "Send me a link")
    expect(page.get_by_text("If there is an account with this address")).to_be_visible()
    mail = site.mail(email)
    assert mail.link.startswith(f"{site.url}/reset?token_hash=")

    page.goto(mail.link)
    field(page, "New password").fill("12345")
    press(page, "Set the password")
    expect(page.get_by_role("alert")).to_contain_text("It is too short")
    assert "token_hash" not in page.url
    field(page, "New password").fill(PASSWORD)
    press(page, "Set the password")
    expect(page.get_by_role("alert")).to_contain_text("This is the old password")
    field(page, "New password").fill(OTHER_PASSWORD)
    press(page, "Set the password")

    page.wait_for_url(f"{site.url}/account")
    canary.check(page)
    page.context.clear_cookies()
    account_of(page, site, email, OTHER_PASSWORD)


def test_a_recovery_link_to_the_page_of_all_links_is_understood(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/confirm?token_hash=abc&type=recovery&lang=de")

    assert page.url == f"{site.url}/reset?token_hash=abc&type=recovery&lang=de"
    expect(page.get_by_role("heading", name="Neues Passwort wählen")).to_be_visible()


def test_a_link_of_the_default_template_works_in_the_browser_that_asked(page: Page, site: Site) -> None:
    """It leads to Supabase, and back with a code, for which this browser has the verifier."""
    email = site.new_user()
    page.goto(f"{site.url}/forgot")
    field(page, "Email address").fill(email)
    press(page, "Send me a link")
    # The answer has the cookie with the verifier, and the mail may be faster.
    expect(page.get_by_text("If there is an account with this address")).to_be_visible()
    mail = site.mail(email)

    page.goto(f"{site.standin.url}/auth/v1/verify?token={mail.token_hash}&type=recovery&redirect_to={site.url}/reset")
    page.wait_for_url(re.compile("/reset.code="))
    field(page, "New password").fill(OTHER_PASSWORD)
    press(page, "Set the password")

    page.wait_for_url(f"{site.url}/account")
    page.context.clear_cookies()
    account_of(page, site, email, OTHER_PASSWORD)


def test_a_refused_link_of_the_default_template_asks_for_the_code(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/confirm?error=access_denied&error_code=otp_expired#error=access_denied")

    expect(page.get_by_role("alert")).to_contain_text("The link or code is wrong")
    expect(field(page, "Code from the mail")).to_be_visible()


@pytest.mark.parametrize("kind", ["magiclink", "invite"])
def test_other_links_sign_in(page: Page, site: Site, kind: str) -> None:
    email = site.new_user() if kind == "magiclink" else new_email()
    if kind == "invite":
        key = site.standin.secret_key
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        requests.post(f"{site.standin.url}/auth/v1/invite", json={"email": email}, headers=headers, timeout=20)
    else:
        page.request.post(f"{site.url}/api/v1/auth/otp", data={"email": email})

    page.goto(site.mail(email).link)
    if kind == "invite":
        field(page, "Password").fill(PASSWORD)
        press(page, "Accept")
    else:
        press(page, "Sign in")

    page.wait_for_url(f"{site.url}/account")
    expect(page.get_by_text(email)).to_be_visible()


def test_a_person_signs_in_with_a_provider(page: Page, site: Site) -> None:
    email = site.new_user()
    page.goto(f"{site.url}/login?rd=%2Faccount%3Ffrom%3Ddemo")
    page.get_by_role("link", name="Continue with Demo").click()
    field(page, "Mail address").fill(email)
    press(page, "Continue")

    page.wait_for_url(f"{site.url}/account?from=demo")
    expect(page.get_by_text(email)).to_be_visible()


def test_a_cancelled_sign_in_with_a_provider_says_so(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    page.get_by_role("link", name="Continue with Demo").click()
    page.get_by_role("link", name="Cancel").click()

    page.wait_for_url(re.compile("/login"))
    expect(page.get_by_role("alert")).to_contain_text("The sign-in was cancelled")


def test_an_outage_is_counted_down(page: Page, site: Site) -> None:
    site.standin.faults.on("close", path="/auth/v1/token")

    sign_in(page, site, site.new_user())

    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Supabase cannot be reached. Try again in")
    site.standin.faults.clear()
    expect(alert).to_contain_text("You can try again now.")


def test_a_password_can_be_shown(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    password = field(page, "Password")
    password.fill(PASSWORD)
    toggle = page.get_by_role("button", name="Show: Password")

    toggle.click()
    expect(password).to_have_attribute("type", "text")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    expect(password).to_have_attribute("type", "password")


def test_password_managers_find_their_fields(page: Page, site: Site) -> None:
    wanted = {
        "/login": ["username", "current-password"],
        "/signup": ["name", "username", "new-password"],
        "/forgot": ["username"],
        "/reset": ["username", "one-time-code", "new-password"],
        "/confirm": ["username", "one-time-code", "new-password"],
    }
    for path, fields in wanted.items():
        page.goto(site.url + path)
        visible = page.locator("main input:visible")
        assert visible.evaluate_all("fields => fields.map(field => field.autocomplete)") == fields, path


def test_a_browser_that_blocks_third_party_cookies_signs_in(chromium: Browser, site: Site) -> None:
    """The pages are the first party: nothing is asked of another site."""
    context = chromium.new_context(locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send(
        "Network.setCookieControls",
        {
            "enableThirdPartyCookieRestriction": True,
            "disableThirdPartyCookieMetadata": True,
            "disableThirdPartyCookieHeuristics": True,
        },
    )

    account_of(page, site, site.new_user())

    context.close()


def test_the_cookie_is_the_only_thing_kept(page: Page, site: Site, browser_context: BrowserContext) -> None:
    account_of(page, site, site.new_user())

    (cookie,) = browser_context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("velro_session", True, "Lax")
    assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
