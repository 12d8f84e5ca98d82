"""A laptop that sleeps for a night with a page open: every clock has moved on, and the network comes back late."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyotp
import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from supabase_standin import Standin
from supabase_standin.wire import Received
from tests.browser.conftest import PASSWORD, Site, account_of, field, pages_of, press, sign_in
from tests.browser.test_account_page import add_factor
from tests.faultlab.clock import Clock
from tests.fixtures.browser import TIMEOUT_MS
from tests.fixtures.programs import ROOT, free_port
from tests.fixtures.standin import new_email
from tests.waiting import eventually
from velro_auth.ops.database import Runner

#: Much longer than an access token is good.
NIGHT_S = 9 * 3600
API = "**/api/v1/auth/**"
#: A second for what waits for thirty.
SHORT_DEADLINES = """
const whole = AbortSignal.timeout.bind(AbortSignal)
AbortSignal.timeout = (ms) => whole(ms / 30)
"""


@dataclass
class Night:
    """A gateway with pages and a Supabase, whose clocks are *ahead_s* seconds ahead of the real one."""

    site: Site
    clock: Clock
    ahead_s: float = 0.0

    def fall(self, context: BrowserContext | None = None) -> None:
        """Let a night pass, for the browser too if its context is given."""
        self.ahead_s += NIGHT_S
        self.clock.set(self.ahead_s)
        if context is not None:
            context.clock.fast_forward(NIGHT_S * 1000)

    def refreshes(self) -> list[Received]:
        """Return the refreshes that reached Supabase."""
        asked = self.site.standin.requests.of("/auth/v1/token")
        return [one for one in asked if "grant_type=refresh_token" in one.query]

    def end_sessions(self, email: str) -> None:
        """End all sessions of a user at Supabase, as somebody does on another device."""
        url, headers = f"{self.site.standin.url}/auth/v1", {"apikey": self.site.standin.publishable_key}
        body = {"email": email, "password": PASSWORD}
        other = requests.post(f"{url}/token?grant_type=password", json=body, headers=headers, timeout=20).json()
        headers["Authorization"] = f"Bearer {other['access_token']}"
        requests.post(f"{url}/logout?scope=global", headers=headers, timeout=20).raise_for_status()

    def code_of(self, secret: str) -> str:
        """Return the code that an authenticator shows at this hour."""
        return pyotp.TOTP(secret.replace(" ", "")).at(int(time.time() + self.ahead_s))


@pytest.fixture(scope="module")
def shared_night(new_standin: Callable[..., Standin], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("night")
    clock, port = Clock(folder / "clock"), free_port()
    nights: list[Night] = []
    standin = new_standin(
        clock=lambda: time.time() + (nights[0].ahead_s if nights else 0.0),
        site_url=f"http://localhost:{port}/confirm",
        redirect_urls=(f"http://localhost:{port}/**",),
        mail_interval_s=0.0,
    )
    Runner(standin.database_dsn).up()
    moved = {"FAULTLAB_CLOCK": str(clock.path), "PYTHONPATH": f"{ROOT / 'tests/faultlab/plugin'}:{ROOT}"}
    with pages_of(standin, port, folder / "log", AUTH_REDIRECT_URLS="http://localhost:*", **moved) as site:
        nights.append(Night(site, clock))
        yield nights[0]


@pytest.fixture
def night(shared_night: Night) -> Night:
    """The shared one, whose Supabase has no fault and remembers no request."""
    shared_night.site.standin.faults.clear()
    shared_night.site.standin.requests.clear()
    return shared_night


@pytest.fixture
def laptop(browser_context: BrowserContext, night: Night) -> Page:
    """A tab of a browser whose clock the tests move; it agrees with that of the service."""
    browser_context.clock.install(time=time.time() + night.ahead_s)
    return browser_context.new_page()


def alerts(page: Page) -> Locator:
    """Return the errors that the page shows."""
    return page.get_by_role("alert").filter(has_text=re.compile(r"\S"))


def test_an_open_account_page_survives_the_night(laptop: Page, night: Night) -> None:
    email, wanted = night.site.new_user(display_name="Adam"), new_email()
    account_of(laptop, night.site, email)
    expect(field(laptop, "Name")).to_have_value("Adam")
    laptop.wait_for_load_state("networkidle")
    field(laptop, "Name").fill("Ada")
    field(laptop, "New address").fill(wanted)
    laptop.context.set_offline(True)

    failed: list[str] = []
    laptop.on("requestfailed", lambda request: failed.append(request.url))
    night.fall(laptop.context)
    # The page has asked for its three parts, in vain. What it shows is still true, so it says nothing.
    eventually(lambda: laptop.evaluate("true") and len(failed) == 3)
    expect(alerts(laptop)).to_have_count(0)
    laptop.context.set_offline(False)

    # Nobody has pressed anything.
    eventually(lambda: len(night.refreshes()) == 1)
    expect(laptop.get_by_text("This session")).to_be_visible()
    expect(field(laptop, "Name")).to_have_value("Ada")
    press(laptop, "Save")
    expect(laptop.get_by_text("Saved.")).to_be_visible()
    # The sign-in is too long ago for this one: the page says what it needs, and keeps the address.
    press(laptop, "Change address")
    expect(alerts(laptop)).to_contain_text("Type your current password")
    expect(field(laptop, "New address")).to_have_value(wanted)
    laptop.locator("#address-password").fill(PASSWORD)
    press(laptop, "Change address")
    expect(laptop.get_by_text("the change counts once it is confirmed")).to_be_visible()
    laptop.reload()
    expect(field(laptop, "Name")).to_have_value("Ada")


def test_a_form_sent_before_the_network_is_back_is_sent_again(laptop: Page, night: Night) -> None:
    account_of(laptop, night.site, night.site.new_user())
    field(laptop, "Name").fill("Grace")
    laptop.context.set_offline(True)
    night.fall(laptop.context)

    press(laptop, "Save")
    expect(alerts(laptop)).to_contain_text("This device is offline")
    laptop.context.set_offline(False)

    expect(alerts(laptop)).to_have_text("You can try again now.")
    expect(field(laptop, "Name")).to_have_value("Grace")
    press(laptop, "Save")
    expect(laptop.get_by_text("Saved.")).to_be_visible()
    expect(alerts(laptop)).to_have_count(0)


@pytest.mark.parametrize("trouble", ["no network", "an outage"])
def test_a_page_that_could_not_load_all_loads_it_later(laptop: Page, night: Night, trouble: str) -> None:
    account_of(laptop, night.site, night.site.new_user(display_name="Ada"))

    def refuse(route: Route) -> None:
        if trouble == "no network":
            route.abort("internetdisconnected")
        else:
            route.fulfill(status=503, headers={"Retry-After": "7"}, json={"code": "upstream_unavailable"})

    laptop.route(API, refuse)
    laptop.reload()
    expect(alerts(laptop)).to_have_count(3)
    # What is typed meanwhile stays.
    field(laptop, "Name").fill("Ada L")
    laptop.unroute(API)

    laptop.context.clock.fast_forward("00:20")

    expect(laptop.get_by_text("This session")).to_be_visible()
    expect(alerts(laptop)).to_have_count(0)
    expect(field(laptop, "Name")).to_have_value("Ada L")


def test_a_session_that_ended_in_the_night_leads_to_the_sign_in_and_back(laptop: Page, night: Night) -> None:
    email = night.site.new_user()
    account_of(laptop, night.site, email)
    night.end_sessions(email)
    laptop.context.set_offline(True)
    night.fall(laptop.context)

    laptop.context.set_offline(False)

    laptop.wait_for_url(f"{night.site.url}/login?rd=%2Faccount")
    field(laptop, "Email address").fill(email)
    field(laptop, "Password").fill(PASSWORD)
    press(laptop, "Sign in")
    laptop.wait_for_url(f"{night.site.url}/account")
    expect(laptop.get_by_text("This session")).to_be_visible()


def at_the_second_factor(page: Page, night: Night) -> tuple[str, str]:
    """Make a user with a second factor, and stop where its code is asked for; return the address and the key."""
    email = night.site.new_user()
    account_of(page, night.site, email)
    secret = add_factor(page, code_of=night.code_of)
    page.context.clear_cookies()
    sign_in(page, night.site, email, path="/login?rd=%2Faccount%3Fagain%3D1")
    page.wait_for_url(re.compile("/login/factor"))
    return email, secret


def test_the_second_factor_can_wait_for_a_night(laptop: Page, night: Night) -> None:
    _, secret = at_the_second_factor(laptop, night)
    laptop.context.set_offline(True)
    night.fall(laptop.context)
    field(laptop, "Code").fill(night.code_of(secret))
    press(laptop, "Continue")
    expect(alerts(laptop)).to_contain_text("This device is offline")
    laptop.context.set_offline(False)

    expect(alerts(laptop)).to_have_text("You can try again now.")
    field(laptop, "Code").fill(night.code_of(secret))
    press(laptop, "Continue")

    laptop.wait_for_url(f"{night.site.url}/account?again=1")
    expect(laptop.get_by_text("This session")).to_be_visible()


def test_a_session_that_ended_before_the_second_factor_begins_anew(laptop: Page, night: Night) -> None:
    email, secret = at_the_second_factor(laptop, night)
    night.end_sessions(email)
    night.fall(laptop.context)
    field(laptop, "Code").fill(night.code_of(secret))
    press(laptop, "Continue")

    laptop.wait_for_url(f"{night.site.url}/login?rd=%2Faccount%3Fagain%3D1")
    field(laptop, "Email address").fill(email)
    field(laptop, "Password").fill(PASSWORD)
    press(laptop, "Sign in")
    laptop.wait_for_url(re.compile("/login/factor"))
    field(laptop, "Code").fill(night.code_of(secret))
    press(laptop, "Continue")
    laptop.wait_for_url(f"{night.site.url}/account?again=1")


@pytest.mark.parametrize("has_ended", [False, True], ids=["lives", "has ended"])
def test_the_second_factor_without_a_script(chromium: Browser, laptop: Page, night: Night, has_ended: bool) -> None:
    email, secret = at_the_second_factor(laptop, night)
    context = chromium.new_context(java_script_enabled=False, locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    plain = context.new_page()
    sign_in(plain, night.site, email, path="/login?rd=%2Faccount%3Fagain%3D1")
    plain.wait_for_url(re.compile("/login/factor"))
    if has_ended:
        night.end_sessions(email)
    night.fall()

    field(plain, "Code").fill(night.code_of(secret))
    press(plain, "Continue")

    if has_ended:
        plain.wait_for_url(f"{night.site.url}/login?rd=%2Faccount%3Fagain%3D1")
        field(plain, "Email address").fill(email)
        field(plain, "Password").fill(PASSWORD)
        press(plain, "Sign in")
        plain.wait_for_url(re.compile("/login/factor"))
        field(plain, "Code").fill(night.code_of(secret))
        press(plain, "Continue")
    plain.wait_for_url(f"{night.site.url}/account?again=1")
    context.close()


def test_a_request_that_hangs_ends(laptop: Page, night: Night) -> None:
    """Its connection may have died in the night, and nobody says so."""
    laptop.add_init_script(SHORT_DEADLINES)
    account_of(laptop, night.site, night.site.new_user())
    hanging: list[str] = []
    # A route that nobody goes on with has no answer.
    laptop.route("**/api/v1/auth/me", lambda route: hanging.append(route.request.method))
    field(laptop, "Name").fill("Ada")

    press(laptop, "Save")

    expect(alerts(laptop)).to_contain_text("the service cannot be reached")
    assert hanging == ["PATCH"]
    laptop.unroute("**/api/v1/auth/me")
    press(laptop, "Save")
    expect(laptop.get_by_text("Saved.")).to_be_visible()


def test_a_countdown_does_not_grow_when_the_clock_is_put_back(laptop: Page, night: Night) -> None:
    night.site.standin.faults.on("close", path="/auth/v1/token")
    sign_in(laptop, night.site, night.site.new_user())
    expect(alerts(laptop)).to_contain_text("Try again in")

    laptop.context.clock.set_system_time(time.time() + night.ahead_s - 24 * 3600)

    expect(alerts(laptop)).to_contain_text("You can try again now.")
