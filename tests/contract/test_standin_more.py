"""What the stand-in can be told beyond the recorded cases: tokens of other kinds, providers, other origins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from supabase_standin import Standin
from supabase_standin.provider import Account
from tests.fixtures.standin import Api, new_email

AUTH = "/auth/v1"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ORIGIN = {"Origin": "https://app.example.com"}


class Counted:
    """A stand-in whose refresh tokens are counted, and one session."""

    def __init__(self, server: Standin) -> None:
        self.api = Api(server)
        email = new_email()
        server.create_user(email, "correct horse")
        self.session = self.api.log_in(email).json()

    def refresh(self, token: str) -> requests.Response:
        return self.api.refresh(token)

    def next(self, token: str) -> str:
        answer = self.refresh(token)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["refresh_token"])


@pytest.fixture
def counted(standin_with: Callable[..., Standin]) -> Counted:
    return Counted(standin_with(refresh_tokens_v2=True, refresh_reuse_s=0.0))


def test_a_counted_token_has_no_row_and_another_form(counted: Counted) -> None:
    first = counted.session["refresh_token"]

    assert re.fullmatch(r"[\w-]{51,62}", first)
    assert counted.api.sql("select 1 from auth.refresh_tokens") == []
    assert counted.next(first) != first


def test_a_repeated_counted_token_brings_the_current_one_again(counted: Counted) -> None:
    first = counted.session["refresh_token"]
    second = counted.next(first)

    again = counted.refresh(first)

    assert again.json()["refresh_token"] == second
    assert again.headers["sb-auth-refresh-token-reuse"] == "true"


def test_an_old_counted_token_ends_the_session(counted: Counted) -> None:
    first = counted.session["refresh_token"]
    newest = counted.next(counted.next(first))

    stolen = counted.refresh(first)

    assert (stolen.status_code, stolen.json()["code"]) == (400, "refresh_token_already_used")
    assert stolen.headers["sb-auth-refresh-token-rotated"] == "true"
    assert counted.refresh(newest).json()["code"] == "refresh_token_not_found"
    assert counted.api.user(counted.session["access_token"]).json()["code"] == "session_not_found"


def test_a_counted_token_of_somebody_else_is_refused(counted: Counted) -> None:
    first, api = counted.session["refresh_token"], counted.api
    api.sql("update auth.sessions set refresh_token_hmac_key = 'another'")

    assert counted.refresh(first).json()["message"] == "Invalid Refresh Token: Not Issued By This Server"


def test_a_project_with_a_shared_secret_publishes_no_key(standin_with: Callable[..., Standin]) -> None:
    server = standin_with(signing="HS256")
    api, email = Api(server), new_email()
    server.create_user(email, "correct horse")

    token = api.log_in(email).json()["access_token"]

    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert api.call("GET", f"{AUTH}/.well-known/jwks.json").json() == {"keys": []}
    assert api.user(token).json()["email"] == email
    assert api.user(f"{token[:-4]}AAAA").json()["code"] == "bad_jwt"


@pytest.fixture
def demo(standin_with: Callable[..., Standin]) -> Iterator[Standin]:
    server = standin_with(providers=("demo",), redirect_urls=("https://app.example.com/**",))
    server.provider_accounts.clear()
    yield server
    server.provider_accounts.clear()


def to_provider(server: Standin, more: str = "") -> str:
    """Return where a login with the demo provider sends the browser."""
    url = f"{server.url}{AUTH}/authorize?provider=demo&redirect_to=https://app.example.com/cb{more}"
    return requests.get(url, allow_redirects=False, timeout=10).headers["Location"]


def test_redirects_alone_lead_through_the_demo_provider(demo: Standin) -> None:
    email = new_email()
    page = to_provider(demo, f"&login_hint={email}&code_challenge={CHALLENGE}&code_challenge_method=s256")

    back = requests.get(page, allow_redirects=False, timeout=10).headers["Location"]
    home = requests.get(back, allow_redirects=False, timeout=10).headers["Location"]

    code = parse_qs(urlsplit(home).query)["code"][0]
    body = {"auth_code": code, "code_verifier": VERIFIER}
    session = Api(demo).call("POST", f"{AUTH}/token?grant_type=pkce", body).json()
    assert home.startswith("https://app.example.com/cb?code=")
    assert session["user"]["email"] == email
    assert session["user"]["app_metadata"]["providers"] == ["demo"]
    assert session["provider_token"]


def test_the_demo_provider_asks_who_it_is(demo: Standin) -> None:
    demo.provider_accounts["ada@example.com"] = Account(subject="1", email="ada@example.com")

    page = requests.get(to_provider(demo), timeout=10)

    assert page.headers["Content-Type"].startswith("text/html")
    assert "Continue as ada@example.com" in page.text
    assert "error=access_denied" in page.text


def test_the_demo_provider_sends_nobody_elsewhere(demo: Standin) -> None:
    page = to_provider(demo).replace("callback", "elsewhere")

    assert requests.get(page, allow_redirects=False, timeout=10).status_code == 400


def test_a_provider_that_is_off_has_no_page(standin: Standin) -> None:
    assert requests.get(f"{standin.url}/provider/demo/authorize", timeout=10).status_code == 404


@pytest.mark.parametrize("path", [f"{AUTH}/token", f"{AUTH}/nowhere", "/rest/v1/users"])
def test_the_edge_answers_preflights_of_every_origin(standin: Standin, path: str) -> None:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "apikey,x-anything"}

    answer = requests.options(standin.url + path, headers=ORIGIN | asked, timeout=10)

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Headers"] == "apikey,x-anything"
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]


def test_pages_of_other_origins_may_read_refusals_of_the_edge(standin: Standin) -> None:
    answer = requests.get(f"{standin.url}{AUTH}/settings", headers=ORIGIN, timeout=10)

    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_the_edge_puts_the_token_of_the_key_where_no_other_is(standin: Standin) -> None:
    api = Api(standin)

    assert api.call("GET", f"{AUTH}/user").json()["code"] == "bad_jwt"
    assert api.call("GET", f"{AUTH}/user", key=standin.secret_key).json()["code"] == "bad_jwt"
    assert api.call("GET", f"{AUTH}/admin/users", key=standin.secret_key).status_code == 200


def test_the_links_of_a_change_of_address_belong_to_both_addresses(standin_with: Callable[..., Standin]) -> None:
    api, email, new = Api(standin_with(autoconfirm=False)), new_email(), new_email()
    user_id = api.server.create_user(email, "correct horse")
    links = {}
    for kind in ("email_change_current", "email_change_new"):
        body = {"type": kind, "email": email, "new_email": new}
        links[kind] = api.admin("POST", "/generate_link", body).json()

    for kind, address in (("email_change_new", new), ("email_change_current", email)):
        code = {"type": "email_change", "email": address, "token": links[kind]["email_otp"]}
        assert api.call("POST", f"{AUTH}/verify", code).status_code == 200

    assert api.admin("GET", f"/users/{user_id}").json()["email"] == new
