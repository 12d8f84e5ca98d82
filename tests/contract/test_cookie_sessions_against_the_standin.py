"""A browser with cookie sessions, against a local Supabase Auth, through both lanes: no answer holds a token."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest
from werkzeug.test import Client, EnvironBuilder, TestResponse
from werkzeug.wrappers import Request

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.account_lab import PAGE, Lab
from tests.contract.test_oauth_against_the_standin import OPTIONS, PUBLIC
from tests.contract.test_oauth_against_the_standin import Browser as ProviderBrowser
from tests.fixtures.standin import PASSWORD, Api, new_email
from velro_auth.auth.sealing import sealing_keys
from velro_auth.ops.database import Runner
from velro_auth.web.session_cookies import KeptSession, SessionCookies

NAME = "__Host-velro_session"
OTHER = "another horse, another staple 2!"
ENVIRONMENT = {
    "AUTH_COOKIE_SESSIONS": "1",
    "AUTH_PUBLIC_URL": PUBLIC,
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_REDIRECT_URLS": "https://app.example.com",
}
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")


@dataclass
class Browser:
    """A browser with a page of the gateway's own origin; it looks for tokens in every answer."""

    server: Standin
    client: Client

    def ask(self, method: str, path: str, **body: Any) -> TestResponse:
        """Send one request, as ``fetch`` does."""
        before = self.kept
        headers = {"Sec-Fetch-Site": "same-origin", **({"Origin": PUBLIC} if method != "GET" else {})}
        url = f"/api/v1/auth{path}"
        answer = self.client.open(url, method=method, base_url=PUBLIC, headers=headers, json=body or None)
        self._look(answer, before)
        return answer

    def log_in(self, email: str, password: str = PASSWORD) -> TestResponse:
        return self.ask("POST", "/login", email=email, password=password)

    @property
    def kept(self) -> KeptSession | None:
        """What the cookie keeps."""
        cookies = [self.client.get_cookie(name, domain="auth.example.com") for name in (NAME, f"{NAME}_2")]
        header = "; ".join(f"{cookie.key}={cookie.value}" for cookie in cookies if cookie)
        keys = sealing_keys((), secret=self.server.secret_key)
        request = Request(EnvironBuilder(headers=[("Cookie", header)]).get_environ())
        return SessionCookies(keys, public_url=PUBLIC).find(request)

    def _look(self, answer: TestResponse, before: KeptSession | None) -> None:
        whole = f"{list(answer.headers)} {answer.text}"
        assert not _JWT.search(whole), whole
        for session in (before, self.kept):
            assert session is None or session.refresh_token not in whole


@pytest.fixture(scope="module")
def server(new_standin: Callable[..., Standin]) -> Standin:
    """A project with the migrations, without mails, with guests."""
    standin = new_standin(anonymous_users=True)
    Runner(standin.database_dsn).up()
    return standin


@pytest.fixture(scope="module")
def brief(new_standin: Callable[..., Standin]) -> Standin:
    """A project whose access tokens are good for less than a minute."""
    return new_standin(jwt_lifetime_s=50)


@pytest.fixture
def browser(server: Standin, gateway_to: Callable[..., Client]) -> Browser:
    return Browser(server, gateway_to(server, **ENVIRONMENT))


def new_user(server: Standin) -> str:
    email = new_email()
    server.create_user(email, PASSWORD)
    return email


def test_a_user_does_everything_by_cookie(browser: Browser) -> None:
    email = new_user(browser.server)
    assert browser.log_in(email).status_code == 200
    assert browser.ask("GET", "/me").get_json()["email"] == email
    assert browser.ask("PATCH", "/me", display_name="Ada").status_code == 200
    assert len(browser.ask("GET", "/sessions").get_json()["sessions"]) == 1
    assert browser.ask("POST", "/refresh").status_code == 200

    enrolled = browser.ask("POST", "/factors", friendly_name="phone").get_json()
    code = pyotp.TOTP(enrolled["totp"]["secret"]).now()
    proven = browser.ask("POST", f"/factors/{enrolled['id']}/verify", code=code)

    assert set(proven.get_json()) == {"user", "expires_at"}
    assert browser.ask("GET", "/verify?aal=aal2").status_code == 200
    assert browser.ask("PUT", "/password", current_password=PASSWORD, password=OTHER).status_code == 204
    assert browser.ask("POST", "/logout").status_code == 200
    assert browser.kept is None
    assert_problem(browser.ask("GET", "/me"), 401, "token_missing")
    assert browser.log_in(email, OTHER).get_json()["mfa"]["required"] is True


@pytest.mark.parametrize("path", ["/anonymous", "/signup"])
def test_a_new_user_has_a_cookie_too(browser: Browser, path: str) -> None:
    body = {"email": new_email(), "password": PASSWORD} if path == "/signup" else {"data": {"a": "b"}}

    answer = browser.ask("POST", path, **body)

    assert set(answer.get_json()) == {"user", "expires_at"}
    assert browser.ask("GET", "/verify").status_code == 200


def test_a_session_that_was_logged_out_stays_out(browser: Browser) -> None:
    browser.log_in(new_user(browser.server))
    stolen = browser.client.get_cookie(NAME, domain="auth.example.com")
    assert stolen is not None
    browser.ask("POST", "/logout")

    browser.client.set_cookie(NAME, stolen.value, domain="auth.example.com")

    assert_problem(browser.ask("GET", "/verify"), 401, "token_invalid")
    assert_problem(browser.ask("POST", "/refresh"), 401, "session_expired")
    assert browser.client.get_cookie(NAME, domain="auth.example.com") is None


def test_a_session_lives_on_by_itself(brief: Standin, gateway_to: Callable[..., Client]) -> None:
    browser = Browser(brief, gateway_to(brief, **ENVIRONMENT))
    browser.log_in(new_user(brief))
    tokens = [browser.kept]

    for _ in range(3):
        assert browser.ask("GET", "/verify").status_code == 200
        tokens.append(browser.kept)

    assert len({session.refresh_token for session in tokens if session}) == 4


def test_a_session_that_ended_elsewhere_is_removed(brief: Standin, gateway_to: Callable[..., Client]) -> None:
    browser = Browser(brief, gateway_to(brief, **ENVIRONMENT))
    browser.log_in(new_user(brief))
    Api(brief).sql("delete from auth.sessions")

    assert_problem(browser.ask("GET", "/me"), 401, "session_expired")

    assert browser.client.get_cookie(NAME, domain="auth.example.com") is None


def test_a_sign_in_with_a_provider_ends_in_the_cookie(
    new_standin: Callable[..., Standin], gateway_to: Callable[..., Client]
) -> None:
    server = new_standin(**OPTIONS)
    browser = Browser(server, gateway_to(server, **ENVIRONMENT))
    begun = browser.ask("GET", f"/authorize/demo?redirect_to={PAGE}")
    provider = ProviderBrowser(Lab(server, browser.client))
    back = provider.at_the_provider(begun.headers["Location"], new_email())

    answer = browser.client.get(back.removeprefix(PUBLIC), base_url=PUBLIC)

    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    assert not _JWT.search(f"{list(answer.headers)}")
    assert browser.ask("GET", "/me").status_code == 200
