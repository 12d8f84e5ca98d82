"""Sign-in with a provider, and the default links of mails, against a local Supabase with a provider of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.account_lab import AUTH, PAGE, PASSWORD, Lab, lab_of
from tests.fixtures.standin import new_email
from velro_auth.auth.pkce import challenge_of, new_verifier

PUBLIC = "https://auth.example.com"

#: A project with a provider, mails with Supabase's default link, and the callback on its list.
OPTIONS: dict[str, Any] = {
    "autoconfirm": False,
    "mail_interval_s": 0.0,
    "mail_link": "verify",
    "providers": ("demo",),
    "redirect_urls": (f"{PUBLIC}{AUTH}/callback*", "https://app.example.com/**"),
}

StandinWith = Callable[..., Standin]


@dataclass
class Browser:
    """A browser with the frontend in it; it follows redirects from one site to the next, as a person sees them.

    Attributes:
        lab: The gateway and its project.
        public_url: Where browsers reach the gateway.
        page: Where sign-ins end.
        verifier: The frontend's own.
        client: Keeps the cookies of the gateway.
    """

    lab: Lab
    public_url: str = PUBLIC
    page: str = PAGE
    verifier: str = field(default_factory=new_verifier)
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.lab.client.application)

    def begin(self, provider: str = "demo") -> str:
        """Return where the gateway sends the browser."""
        query = {"redirect_to": self.page, "code_challenge": challenge_of(self.verifier)}
        answer = self.client.get(f"{AUTH}/authorize/{provider}", query_string=query, base_url=self.public_url)
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def at_the_provider(self, address: str, email: str, **more: str) -> str:
        """Go on to the provider, say who one is, and return the gateway's callback address."""
        page = followed(address)
        supabase = followed(f"{page}&{urlencode({'login_hint': email, **more})}")
        return followed(supabase)

    def visit(self, address: str) -> TestResponse:
        """Open an address of the gateway."""
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}" == self.public_url, address
        return self.client.get(parts.path, query_string=parts.query, base_url=self.public_url)

    def sign_in(self, email: str, **more: str) -> dict[str, str]:
        """Sign in with the provider; return what the frontend's page gets."""
        answer = self.visit(self.at_the_provider(self.begin(), email, **more))
        assert answer.status_code == 303, answer.text
        assert answer.headers["Location"].startswith(f"{self.page}?")
        return query_of(answer.headers["Location"])

    def exchange(self, code: str, **more: Any) -> TestResponse:
        """Exchange a code."""
        body = {"code": code, "code_verifier": self.verifier, **more}
        return self.client.post(f"{AUTH}/exchange", json=body, base_url=self.public_url)


def followed(address: str) -> str:
    """Return where Supabase, or its provider, sends a browser from *address*."""
    answer = requests.get(address, allow_redirects=False, timeout=10)
    assert answer.status_code in {302, 303}, answer.text
    return answer.headers["Location"]


def query_of(address: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(address).query).items()}


@pytest.fixture
def lab(standin_with: StandinWith) -> Lab:
    return lab_of(standin_with(**OPTIONS), AUTH_PUBLIC_URL=PUBLIC)


@pytest.fixture
def browser(lab: Lab) -> Browser:
    return Browser(lab)


@pytest.fixture
def email() -> str:
    return new_email()


def test_a_user_signs_in_with_a_provider(browser: Browser, email: str) -> None:
    told = browser.sign_in(email)

    session = browser.exchange(told["code"]).get_json()

    assert session["user"]["email"] == email
    assert browser.lab.verify(session) == 200
    refreshed = browser.lab.post("/refresh", refresh_token=session["refresh_token"])
    assert refreshed.get_json()["user"]["id"] == session["user"]["id"]


def test_the_same_user_comes_again(lab: Lab, email: str) -> None:
    users = set()
    for _ in range(2):
        browser = Browser(lab)
        users.add(browser.exchange(browser.sign_in(email)["code"]).get_json()["user"]["id"])

    assert len(users) == 1


def test_a_code_works_once(browser: Browser, email: str) -> None:
    code = browser.sign_in(email)["code"]
    assert browser.exchange(code).status_code == 200

    assert_problem(browser.exchange(code), 401, "link_invalid")


def test_a_wrong_frontend_does_not_use_the_code_up(browser: Browser, email: str) -> None:
    code = browser.sign_in(email)["code"]

    assert_problem(browser.exchange(code, code_verifier=new_verifier()), 401, "link_invalid")
    assert browser.exchange(code).status_code == 200


def test_two_sign_ins_in_one_browser_do_not_mix(browser: Browser) -> None:
    """Supabase's code of the second one comes with the name of the first: its verifier does not fit."""
    emails = new_email(), new_email()
    backs = [browser.at_the_provider(browser.begin(), email) for email in emails]
    first, second = map(query_of, backs)

    mixed = browser.visit(f"{PUBLIC}{AUTH}/callback?{urlencode({**first, 'code': second['code']})}")
    right = browser.visit(backs[1])

    assert_problem(browser.exchange(query_of(mixed.headers["Location"])["code"]), 401, "link_invalid")
    session = browser.exchange(query_of(right.headers["Location"])["code"]).get_json()
    assert session["user"]["email"] == emails[1]


def test_the_callback_of_an_attacker_is_of_no_use_in_another_browser(lab: Lab, email: str) -> None:
    back = (attacker := Browser(lab)).at_the_provider(attacker.begin(), email)

    assert_problem(Browser(lab).visit(back), 401, "link_invalid")


def test_supabases_own_code_is_of_no_use_without_our_verifier(browser: Browser, email: str) -> None:
    back = browser.at_the_provider(browser.begin(), email)

    assert_problem(browser.exchange(query_of(back)["code"]), 401, "link_invalid")
    assert browser.visit(back).status_code == 303


def test_who_cancels_comes_back_with_an_error(browser: Browser) -> None:
    page = followed(browser.begin())
    cancelled = {"error": "access_denied", "error_description": "User said no", "state": query_of(page)["state"]}
    back = followed(f"{browser.lab.standin.url}/auth/v1/callback?{urlencode(cancelled)}")

    told = query_of(browser.visit(back).headers["Location"])

    assert told == {"error": "access_denied", "error_description": "The sign-in was cancelled or refused."}


def test_a_banned_user_is_told_no_more_than_that(browser: Browser, email: str) -> None:
    session = browser.exchange(browser.sign_in(email)["code"]).get_json()
    ban(browser, session)

    told = browser.sign_in(email)

    assert told == {"error": "access_denied", "error_description": "The sign-in was cancelled or refused."}


def ban(browser: Browser, session: dict[str, Any]) -> None:
    standin = browser.lab.standin
    answer = requests.put(
        f"{standin.url}/auth/v1/admin/users/{session['user']['id']}",
        json={"ban_duration": "1h"},
        headers={"apikey": standin.secret_key, "Authorization": f"Bearer {standin.secret_key}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text


def test_a_password_set_before_the_owner_came_is_gone(lab: Lab, email: str) -> None:
    """Somebody signs an address up before its owner, who then signs in with a provider."""
    attacker, owner = Browser(lab), Browser(lab)
    assert lab.post("/signup", email=email, password=PASSWORD).status_code == 202

    session = owner.exchange(owner.sign_in(email)["code"]).get_json()

    assert session["user"]["email"] == email
    assert_problem(lab.log_in(email), 401, "invalid_credentials")
    # The attacker's mail is of no use either: its link ends in the owner's mailbox, and its flow is over.
    link = followed(lab.mail(email)["link"])
    assert "access_token" not in link
    assert_problem(attacker.exchange(query_of(link).get("code", "x" * 36)), 401, "link_invalid")
    assert lab.verify(session) == 200


def test_an_address_that_the_provider_did_not_verify_links_to_nobody(lab: Lab, email: str) -> None:
    lab.standin.create_user(email, PASSWORD)
    before = lab.log_in(email).get_json()["user"]
    attacker = Browser(lab)

    told = attacker.sign_in(email, unverified="1")

    assert told["error"] == "access_denied"
    assert "code" not in told
    owner = lab.log_in(email).get_json()["user"]
    assert owner["id"] == before["id"]
    assert_problem(attacker.exchange("A" * 40), 401, "link_invalid")


def test_a_verified_address_links_to_its_confirmed_account(browser: Browser, email: str) -> None:
    browser.lab.standin.create_user(email, PASSWORD)
    before = browser.lab.log_in(email).get_json()["user"]

    session = browser.exchange(browser.sign_in(email)["code"]).get_json()

    assert session["user"]["id"] == before["id"]
    assert browser.lab.log_in(email).status_code == 200


def test_it_works_on_this_machine_with_the_projects_defaults(standin_with: StandinWith, email: str) -> None:
    """As `velro-auth dev` runs it: the project's list is empty, and its site is on this machine."""
    public_url, page = "http://localhost:8000", "http://localhost:5173/welcome"
    lab = lab_of(
        standin_with(providers=("demo",)),
        AUTH_PUBLIC_URL=public_url,
        AUTH_REDIRECT_URLS="http://localhost:*,http://127.0.0.1:*",
    )
    browser = Browser(lab, public_url=public_url, page=page)

    session = browser.exchange(browser.sign_in(email)["code"]).get_json()

    assert lab.verify(session) == 200


def test_a_callback_that_the_project_does_not_allow_never_gets_a_code(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(providers=("demo",)), AUTH_PUBLIC_URL=PUBLIC)
    browser = Browser(lab)

    back = browser.at_the_provider(browser.begin(), email)

    assert back.startswith("http://localhost:3000")


@pytest.mark.parametrize("path", ["/signup", "/otp", "/password/forgot"])
def test_the_default_link_of_a_mail_is_exchanged_where_the_mail_was_asked_for(lab: Lab, email: str, path: str) -> None:
    if path != "/signup":
        lab.standin.create_user(email, PASSWORD)
    asking, other = Browser(lab), Browser(lab)
    # An older mail's flow is open too: its verifier is tried in vain.
    for address in (email, new_email()):
        body = {"email": address, "password": PASSWORD, "redirect_to": PAGE}
        assert asking.client.post(AUTH + path, json=body, base_url=PUBLIC).status_code == 202

    link = followed(lab.mail(email)["link"])

    assert link.startswith(f"{PAGE}?code=")
    code = query_of(link)["code"]
    assert_problem(other.client.post(f"{AUTH}/exchange", json={"code": code}, base_url=PUBLIC), 401, "link_invalid")
    answer = asking.client.post(f"{AUTH}/exchange", json={"code": code}, base_url=PUBLIC)
    assert answer.get_json()["user"]["email"] == email
    # Somebody else may have signed the address up before, and Supabase keeps the first password.
    assert answer.get_json().get("password_unproven", False) is (path == "/signup")
    assert lab.verify(answer.get_json()) == 200
    again = asking.client.post(f"{AUTH}/exchange", json={"code": code}, base_url=PUBLIC)
    assert_problem(again, 401, "link_invalid")
