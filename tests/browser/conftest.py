"""One gateway with pages in front of one local Supabase, for all tests that look at them with Chromium."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import BrowserContext, Error, Locator, Page, Request, expect

from supabase_standin import Standin
from supabase_standin.mailbox import Mail
from tests.fixtures.browser import TIMEOUT_MS
from tests.fixtures.programs import Program, await_health, free_port, program
from tests.fixtures.standin import new_email
from tests.waiting import eventually
from velro_auth.ops.database import Runner

#: Long enough for every project, and found nowhere else: the tests look for it in answers, stores and logs.
PASSWORD = "canary battery staple 71"
OTHER_PASSWORD = "canary paper clip 72"

# Of what a page shows; the machine may be busy.
expect.set_options(timeout=TIMEOUT_MS)

SETTINGS = {
    "AUTH_PAGES": "1",
    "AUTH_PAGES_PROVIDERS": "demo",
    "AUTH_BRAND_NAME": "Acme",
    # Flows of many tests come from one address within seconds.
    "AUTH_THROTTLE_SCALE": "1000",
    "AUTH_SESSION_CALLS_PER_S": "1000",
    "AUTH_MAIL_BUDGET_PER_HOUR": "1000",
    "AUTH_FAILURE_FLOOR_MS": "0",
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_CAPTCHA": "off",
}


@dataclass(frozen=True)
class Site:
    """A gateway with pages, as a browser finds it.

    Attributes:
        url: Its address.
        standin: The Supabase behind it.
        program: Its process.
    """

    url: str
    standin: Standin
    program: Program

    def new_user(self, **metadata: str) -> str:
        """Make a user with a confirmed address and ``PASSWORD``; return the address."""
        email = new_email()
        self.standin.create_user(email, PASSWORD, user_metadata=metadata or None)
        return email

    def mail(self, email: str, *, number: int = 1) -> Mail:
        """Return the newest mail to an address, once there are so many."""
        eventually(lambda: len(self.standin.mailbox.to(email)) >= number, or_say=lambda: self.program.output)
        return self.standin.mailbox.to(email)[0]


@contextlib.contextmanager
def pages_of(standin: Standin, port: int, output_file: Path, **settings: str) -> Iterator[Site]:
    """Run a gateway with pages on a port, as browsers of this machine reach it."""
    url = f"http://localhost:{port}"
    environment = {
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "AUTH_PUBLIC_URL": url,
        **SETTINGS,
        **settings,
    }
    command = ["-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}"]
    with program(command, output_file, **environment) as running:
        running.url = f"http://127.0.0.1:{port}"
        running.wait_for("Listening at: ")
        await_health(running)
        yield Site(url, standin, running)


@pytest.fixture(scope="session")
def shared_site(new_standin: Callable[..., Standin], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of all tests. New accounts wait for a mail, whose link leads to the pages and spends nothing."""
    port = free_port()
    standin = new_standin(
        autoconfirm=False,
        mail_link="redirect",
        mail_interval_s=0.0,
        site_url=f"http://localhost:{port}/confirm",
        redirect_urls=(f"http://localhost:{port}/**",),
        providers=("demo",),
    )
    # The list of sessions is a function of the migrations.
    Runner(standin.database_dsn).up()
    log = tmp_path_factory.mktemp("pages") / "log"
    with pages_of(standin, port, log, AUTH_REDIRECT_URLS="http://localhost:*") as started:
        yield started


@pytest.fixture
def site(shared_site: Site) -> Site:
    """The shared site, whose Supabase has no fault."""
    shared_site.standin.faults.clear()
    return shared_site


#: Hands each answer that a script asks for to the test, before the script gets it.
WATCH = """
const ask = window.fetch
window.fetch = async (...what) => {
  const answer = await ask(...what)
  await window.noteAnswer(answer.url, JSON.stringify([...answer.headers]) + (await answer.clone().text()))
  return answer
}
"""


@pytest.fixture(autouse=True)
def faultless(browser_context: BrowserContext) -> Iterator[None]:
    """Claim that no script fails, and that the policy of the pages forbids nothing that they do."""
    faults: list[str] = []
    browser_context.on("weberror", lambda error: faults.append(str(error.error)))
    browser_context.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
    yield
    assert faults == []


class Canary:
    """Looks into everything that a browser gets, for what it must not see: tokens and passwords."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self._site = site
        self._seen: list[tuple[str, str]] = []
        context.expose_binding("noteAnswer", lambda _, url, text: self._seen.append((url, text)))
        context.add_init_script(WATCH)
        context.on("requestfinished", self._note)

    def _note(self, request: Request) -> None:
        if request.is_navigation_request():
            # A page that is left at once has no body any more.
            with contextlib.suppress(Error):
                answer = request.response()
                self._seen.append((request.url.partition("?")[0], answer.text() if answer else ""))

    def check(self, page: Page) -> None:
        """Look into all answers so far, into what scripts of *page* can read, and into the log."""
        stores = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, document.body.outerHTML])"
        seen = [*self._seen, ("what scripts can read", str(page.evaluate(stores))), ("log", self._site.program.output)]
        for where, text in seen:
            # The beginning of a JWT, the names of tokens, and the passwords.
            found = [word for word in ("eyJ", '"access_token"', '"refresh_token"', "canary") if word in text]
            assert not found, (where, found)
        assert any("/api/v1/auth/" in where for where, _ in self._seen)


@pytest.fixture
def canary(browser_context: BrowserContext, site: Site) -> Canary:
    return Canary(browser_context, site)


def field(page: Page, label: str) -> Locator:
    """Return the field with exactly this label."""
    return page.get_by_label(label, exact=True)


def press(page: Page, name: str) -> None:
    """Press the button with exactly this name."""
    page.get_by_role("button", name=name, exact=True).click()


def sign_in(page: Page, site: Site, email: str, password: str = PASSWORD, path: str = "/login") -> None:
    """Open the sign-in and send it."""
    page.goto(site.url + path)
    field(page, "Email address").fill(email)
    field(page, "Password").fill(password)
    press(page, "Sign in")


def account_of(page: Page, site: Site, email: str, password: str = PASSWORD) -> Page:
    """Sign in, and wait until the account is shown with all that it has."""
    sign_in(page, site, email, password)
    page.wait_for_url(f"{site.url}/account")
    page.get_by_text("This session").wait_for()
    return page


def code_of(secret: str) -> str:
    """Return the code that an authenticator shows now."""
    return pyotp.TOTP(secret.replace(" ", "")).at(int(time.time()))


def next_code_of(secret: str) -> str:
    """Return the code that it shows half a minute later: it is good already, and surely was not used yet."""
    return pyotp.TOTP(secret.replace(" ", "")).at(int(time.time()) + 30)
