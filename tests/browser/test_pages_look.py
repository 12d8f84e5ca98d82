"""Can everybody use the pages? axe, small screens, weight, without a script; and the proof of work that they solve.

``SCREENSHOTS=1 pytest tests/browser/test_pages_look.py`` renews the pictures of ``docs/img``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import PASSWORD, Site, account_of, code_of, field, pages_of, press, sign_in
from tests.fixtures.browser import TIMEOUT_MS
from tests.fixtures.programs import ROOT, free_port

AXE = ROOT / "tests/js/node_modules/axe-core/axe.min.js"
IMAGES = ROOT / "docs/img"
MAX_PAGE_BYTES = 60 * 1024
MAX_IMAGE_BYTES = 60 * 1024

#: All that scripts and people can do wrong on a page, as axe reports it.
FIND = """
async (rules) => {
  const options = rules ? { runOnly: { type: "rule", values: rules } } : {}
  const found = await axe.run(document, options)
  return found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`)
}
"""


def wrong_password(page: Page, site: Site) -> None:
    sign_in(page, site, "nobody@example.com", "wrong")
    page.get_by_text("The address or the password is wrong").wait_for()


def sent(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/forgot")
    field(page, "Email address").fill("nobody@example.com")
    press(page, "Send me a link")
    page.get_by_text("If there is an account with this address").wait_for()


def opened(path: str) -> Callable[[Page, Site], None]:
    def open_it(page: Page, site: Site) -> None:
        page.goto(site.url + path)

    return open_it


#: Name → how to get there without an account.
STATES: dict[str, Callable[[Page, Site], None]] = {
    "login": opened("/login"),
    "wrong password": wrong_password,
    "signup": opened("/signup"),
    "forgot": opened("/forgot"),
    "sent": sent,
    "reset": opened("/reset"),
    "confirm": opened("/confirm?type=signup&token_hash=abc"),
    "code": opened("/confirm?type=email_change"),
    "deutsch": opened("/login?lang=de"),
}


def look(page: Page) -> None:
    """Claim that axe finds nothing: all rules on a small light page, and those of colours on a dark one."""
    if not AXE.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("axe-core is not installed: make setup, with npm")
    page.evaluate(AXE.read_text("utf-8"))
    for scheme, width, rules in (("light", 1280, None), ("light", 320, None), ("dark", 1280, ["color-contrast"])):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(FIND, rules) == [], (scheme, width)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "the page scrolls sideways"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(page: Page, site: Site, state: str) -> None:
    STATES[state](page, site)
    look(page)


def test_axe_finds_nothing_on_the_account_and_the_second_factor(page: Page, site: Site) -> None:
    email = site.new_user(display_name="Ada")
    account_of(page, site, email)
    look(page)
    press(page, "Add an authenticator app")
    page.get_by_alt_text("QR code for the authenticator app").wait_for()
    look(page)
    field(page, "Code").fill(code_of(page.locator("[data-show=secret]").inner_text()))
    press(page, "Finish")
    page.get_by_text("The authenticator app is set up").wait_for()
    look(page)
    sign_in(page, site, email)
    page.wait_for_url(re.compile("/login/factor"))
    look(page)


def test_axe_would_find_something(page: Page, site: Site) -> None:
    """Else the tests above could not fail."""
    page.goto(f"{site.url}/login")
    page.evaluate("document.querySelector('label').remove()")
    with pytest.raises(AssertionError, match="label"):
        look(page)


def test_a_page_weighs_little(page: Page, site: Site, browser_context: BrowserContext) -> None:
    sizes: dict[str, int] = {}
    account_of(page, site, site.new_user())
    for path in ("/login", "/signup", "/forgot", "/reset", "/confirm", "/account"):
        fresh = browser_context.new_page()
        devtools = browser_context.new_cdp_session(fresh)
        devtools.send("Network.enable")
        devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
        received: list[int] = []
        devtools.on("Network.loadingFinished", lambda event, sink=received: sink.append(event["encodedDataLength"]))
        fresh.goto(site.url + path, wait_until="networkidle")
        sizes[path] = int(sum(received))
        fresh.close()

    assert {path: size for path, size in sizes.items() if not 5_000 < size < MAX_PAGE_BYTES} == {}, sizes


@pytest.fixture
def plain(chromium: Browser) -> Iterator[Page]:
    """A tab without JavaScript."""
    context = chromium.new_context(java_script_enabled=False, locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


def test_a_page_is_painted_without_a_script(plain: Page, site: Site) -> None:
    for path in ("/login", "/signup", "/forgot", "/reset", "/confirm"):
        plain.goto(site.url + path)
        expect(plain.get_by_role("heading", level=1)).to_be_visible()
        # Playwright finds no text in a ``noscript``.
        expect(plain.locator("main noscript p")).to_be_visible(visible=path != "/login")
        expect(plain.locator("form")).to_be_visible(visible=path == "/login")


def test_a_page_works_by_keyboard(page: Page, site: Site) -> None:
    email = site.new_user()
    page.goto(f"{site.url}/login")
    expect(field(page, "Email address")).to_be_focused()

    page.keyboard.type(email)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Forgot password?")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show: Password")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    page.wait_for_url(f"{site.url}/account")


def test_the_page_solves_a_challenge_by_itself(
    page: Page, site: Site, browser_context: BrowserContext, tmp_path: Path
) -> None:
    """Others in the same /56 used up its limit: a person there still signs in."""
    email = site.new_user()
    with pages_of(site.standin, free_port(), tmp_path / "log", AUTH_THROTTLE_SCALE="0.1") as strict:
        codes = []
        for number in range(40):
            answer = requests.post(
                f"{strict.program.url}/api/v1/auth/login",
                json={"email": f"{number}@example.com", "password": "wrong"},
                headers={"X-Real-IP": f"2001:db8:7:{number:x}::1"},
                timeout=20,
            )
            codes.append(answer.json()["code"])
        assert "challenge_required" in codes
        browser_context.set_extra_http_headers({"X-Real-IP": "2001:db8:7:ff::1"})

        sign_in(page, strict, email)

        page.wait_for_url(f"{strict.url}/account")
        log = strict.program.output
        assert len(re.findall(r'"/api/v1/auth/login", "status": 429.*HeadlessChrome', log)) == 1
        assert len(re.findall(r'"/api/v1/auth/login", "status": 200.*HeadlessChrome', log)) == 1


@pytest.mark.skipif(not os.environ.get("SCREENSHOTS"), reason="set SCREENSHOTS=1 to renew the pictures")
def test_pictures_for_the_documentation(chromium: Browser, site: Site) -> None:
    """At the size at which a page of documentation shows them."""

    def picture(page: Page, name: str, **options: Any) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=IMAGES / f"{name}.png", **options)

    IMAGES.mkdir(exist_ok=True)
    email = "ada@example.com"
    site.standin.create_user(email, PASSWORD, user_metadata={"display_name": "Ada Lovelace"})
    for scheme in ("light", "dark"):
        context = chromium.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 720, "height": 660}, locale="en-GB"
        )
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.goto(f"{site.url}/login")
        picture(page, f"login-{scheme}")
        if scheme == "light":
            page.goto(f"{site.url}/signup")
            picture(page, "signup")
            account_of(page, site, email)
            expect(field(page, "Name")).to_have_value("Ada Lovelace")
            picture(page, "account", clip={"x": 0, "y": 0, "width": 720, "height": 1000}, full_page=True)
            press(page, "Add an authenticator app")
            page.get_by_alt_text("QR code for the authenticator app").wait_for()
            card = page.locator("section", has=page.locator("#factors-title"))
            card.screenshot(path=IMAGES / "second-factor.png")
            field(page, "Code").fill(code_of(page.locator("[data-show=secret]").inner_text()))
            press(page, "Finish")
            page.get_by_text("The authenticator app is set up").wait_for()
            context.clear_cookies()
            sign_in(page, site, email)
            page.wait_for_url(re.compile("/login/factor"))
            picture(page, "factor")
        context.close()
    small = chromium.new_context(viewport={"width": 320, "height": 620}, locale="de-DE").new_page()
    site.standin.faults.on("close", path="/auth/v1/token")
    small.goto(f"{site.url}/login")
    small.get_by_label("E-Mail-Adresse").fill(email)
    small.get_by_label("Passwort", exact=True).fill("x")
    small.get_by_role("button", name="Anmelden").click()
    small.get_by_text("nicht erreichbar").wait_for()
    picture(small, "outage-320")
    small.context.close()
    sizes = {path.name: path.stat().st_size for path in IMAGES.glob("*.png")}
    assert {name: size for name, size in sizes.items() if size > MAX_IMAGE_BYTES} == {}
