"""The TypeScript client in Chromium: pages of another site and of the same one, several tabs, sleep, no network."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from supabase_standin import Standin
from tests.browser.typescript_site import Place, Site, place_of, saw, who
from tests.contract.typescript_lab import LIFE, elsewhere, mail, mailing_project
from tests.fixtures.standin import new_email
from tests.waiting import eventually

SLEEP = "09:00:00"
WITHOUT_LOCKS = "Object.defineProperty(navigator, 'locks', { value: undefined })"


@pytest.fixture(scope="module")
def project(new_standin: Callable[..., Standin]) -> Standin:
    return mailing_project(new_standin, providers=("demo",), redirect_urls=("http://localhost:*/**",))


@pytest.fixture(scope="module")
def token_place(project: Standin, typescript_client: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of(project, typescript_client, tmp_path_factory.mktemp("pages"), "token") as place:
        yield place


@pytest.fixture(scope="module")
def cookie_place(
    project: Standin, typescript_client: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    with place_of(project, typescript_client, tmp_path_factory.mktemp("pages"), "cookie") as place:
        yield place


@pytest.fixture
def tokens(token_place: Place, browser_context: BrowserContext) -> Iterator[Site]:
    yield Site(token_place, browser_context)
    token_place.project.faults.clear()


@pytest.fixture
def cookies(cookie_place: Place, browser_context: BrowserContext) -> Site:
    return Site(cookie_place, browser_context)


@pytest.fixture(params=["token", "cookie"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each mode."""
    found: Site = request.getfixturevalue({"token": "tokens", "cookie": "cookies"}[request.param])
    return found


def test_a_user_lives_in_a_page(site: Site, request: pytest.FixtureRequest) -> None:
    """From another site with tokens, where every call needs CORS; from the same one with a cookie."""
    place, tab = site.place, site.open()
    tab.expose_function("mail", lambda to, kind: mail(place.project, to, kind))
    tab.expose_function("elsewhere", lambda email, password: elsewhere(place.gateway, email, password))
    world = {"email": new_email(), "newEmail": new_email(), "page": f"{place.page}/confirm"}

    told = tab.evaluate(
        "async world => (await import('/test/life.mjs')).live(auth, { ...world, mail, elsewhere })", world
    )

    ends_with = "signed_out" if "token" in request.node.name else "token_missing"
    assert told["steps"] == [*LIFE, ["nothing is left", ends_with]]
    assert told["events"].count("signed-out") == 5


@pytest.mark.parametrize("locks", ["web locks", "no web locks"])
def test_two_tabs_that_wake_up_at_once_refresh_once(tokens: Site, locks: str) -> None:
    if locks == "no web locks":
        tokens.context.add_init_script(WITHOUT_LOCKS)
    tokens.context.clock.install()
    tabs = [tokens.open(), tokens.open()]
    email = tokens.log_in(tabs[0])
    saw(tabs[1], "signed-in")
    # Long enough for both to begin.
    tokens.place.project.faults.on("latency", path="/auth/v1/token", seconds=1.0)

    tokens.context.clock.fast_forward(SLEEP)

    saw(tabs[0], "signed-in", "refreshed")
    saw(tabs[1], "signed-in", "refreshed")
    assert [who(tab) for tab in tabs] == [email, email]
    assert len({tab.evaluate("async () => await auth.accessToken()") for tab in tabs}) == 1
    assert len(tokens.refreshes) == 1


def test_a_tab_that_hangs_does_not_hold_the_others_for_ever(tokens: Site) -> None:
    """A frozen page may keep its Web Locks."""
    tokens.context.clock.install()
    hanging, tab = tokens.open(), tokens.open()
    email = tokens.log_in(tab)
    name = tab.evaluate("Object.keys(localStorage)[0]")
    hanging.evaluate("name => void navigator.locks.request(name, () => new Promise(() => {}))", name)
    hanging.wait_for_function("async () => (await navigator.locks.query()).held.length === 1")

    tokens.context.clock.pause_at(dt.datetime.now(dt.UTC) + dt.timedelta(hours=9))
    tab.wait_for_function("async () => (await navigator.locks.query()).pending.length > 0")
    assert not tokens.refreshes
    tokens.context.clock.run_for("00:21")

    saw(tab, "signed-in", "refreshed")
    assert who(tab) == email


def test_a_page_that_wakes_up_without_network_keeps_its_session(tokens: Site) -> None:
    tokens.context.clock.install()
    tab = tokens.open()
    email = tokens.log_in(tab)
    tokens.context.set_offline(True)

    tokens.context.clock.fast_forward(SLEEP)

    eventually(lambda: tab.evaluate("async () => await auth.me().catch(error => error.code)") == "network_error")
    assert tab.evaluate("async () => (await auth.session()).user.email") == email
    tokens.context.set_offline(False)
    saw(tab, "signed-in", "refreshed")
    assert who(tab) == email


def test_a_clock_that_jumps_back_loses_no_session(tokens: Site) -> None:
    tokens.context.clock.install(time="2030-01-01T12:00:00Z")
    tab = tokens.open()
    email = tokens.log_in(tab)

    tokens.context.clock.set_system_time("2020-01-01T12:00:00Z")

    assert who(tab) == email
    # How long the token was good is unknown now; the refresh is dated by the new clock.
    saw(tab, "signed-in", "refreshed")
    assert who(tab) == email
    assert len(tokens.refreshes) == 1


def test_a_gateway_that_cannot_refresh_keeps_the_session(tokens: Site) -> None:
    """The page reads Retry-After and the request's id through CORS."""
    tokens.context.clock.install()
    tab = tokens.open()
    email = tokens.log_in(tab)
    tokens.place.project.faults.on("html", path="/auth/v1/token", status=503)
    tokens.context.clock.fast_forward(SLEEP)

    told = tab.evaluate("""async () => {
      const error = await auth.me().catch((error) => error);
      return [error.status, error.isTemporary, error.retryAfter > 0, error.requestId.length];
    }""")

    assert told == [503, True, True, 32]
    assert tab.evaluate("async () => (await auth.session()).user.email") == email
    tokens.place.project.faults.clear()
    tokens.context.clock.fast_forward("05:00")
    saw(tab, "signed-in", "refreshed")
    assert who(tab) == email


def test_a_logout_is_seen_in_every_tab(site: Site) -> None:
    tabs = [site.open(), site.open()]
    site.log_in(tabs[0])
    saw(tabs[1], "signed-in")

    tabs[1].evaluate("async () => await auth.logout()")

    saw(tabs[0], "signed-in", "signed-out")
    assert tabs[0].evaluate("async () => await auth.session()") is None


def test_a_session_survives_a_reload(site: Site) -> None:
    tab = site.open()
    email = site.log_in(tab)

    tab.reload()
    expect(tab).to_have_title("ready")

    assert tab.evaluate("async () => (await auth.session()).user.email") == email
    assert who(site.open()) == email


def test_a_page_with_a_cookie_session_sees_no_token(cookies: Site) -> None:
    tab = cookies.open()
    bodies: list[str] = []
    tab.on("response", lambda answer: bodies.append(answer.text()) if "/api/v1/auth/" in answer.url else None)

    cookies.log_in(tab)
    assert tab.evaluate("async () => (await auth.refresh()).user.email")

    seen = tab.evaluate(
        "async () => JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, await auth.session()])"
    )
    eventually(lambda: len(bodies) == 2)
    assert not re.search(r"eyJ|refresh_token|velro_session", f"{seen}{bodies}")
    assert [cookie["httpOnly"] for cookie in cookies.context.cookies()] == [True]


def test_a_sign_in_with_a_provider_ends_in_the_page(site: Site) -> None:
    tab, email = site.open(), new_email()
    # The evaluation may end with the page.
    tab.evaluate("address => void auth.loginWithProvider('demo', address)", f"{site.place.page}/welcome")
    tab.get_by_label("Mail address").fill(email)
    tab.get_by_role("button", name="Continue", exact=True).click()
    tab.wait_for_url(f"{site.place.page}/welcome*")
    expect(tab).to_have_title("ready")

    assert tab.evaluate("async () => (await auth.finishLogin()).user.email") == email

    assert tab.url == f"{site.place.page}/welcome"
    assert who(tab) == email
    assert tab.evaluate("sessionStorage.length") == 0


def test_a_page_of_an_origin_that_is_not_listed_is_told_apart(tokens: Site) -> None:
    """A browser gives a script no reason; the gateway's readiness is no session's end."""
    tab = tokens.context.new_page()
    tab.goto(tokens.place.page.replace("127.0.0.1", "localhost"))
    expect(tab).to_have_title("ready")

    body = {"email": new_email(), "password": "wrong"}
    assert tab.evaluate("async body => await auth.login(body).catch(error => error.code)", body) == "network_error"
