"""The mails of the stand-in over HTTP: what a page or a test does with them, and what cannot be recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email

SITE = "https://app.example.com"
LINKS = {"autoconfirm": False, "mail_interval_s": 0.0, "site_url": SITE, "mail_link": "redirect"}


@pytest.fixture
def api(standin_with: Callable[..., Standin]) -> Api:
    return Api(standin_with(**LINKS))


def newest(api: Api, to: str) -> dict[str, Any]:
    mails = requests.get(f"{api.server.url}/mailbox.json", params={"to": to}, timeout=10).json()
    return dict(mails[0])


def sign_up(api: Api, email: str, **more: Any) -> requests.Response:
    return api.call("POST", "/auth/v1/signup", {"email": email, "password": PASSWORD, **more})


def verify(api: Api, **given: str) -> requests.Response:
    return api.call("POST", "/auth/v1/verify", given)


def confirmed(api: Api, email: str) -> dict[str, Any]:
    sign_up(api, email)
    session: dict[str, Any] = verify(api, type="signup", token_hash=newest(api, email)["token_hash"]).json()
    return session


def test_the_link_of_a_mail_confirms_when_its_page_posts_it(api: Api) -> None:
    """Opening the page spends nothing: scanners open every link."""
    sign_up(api, email := new_email())

    link = urlsplit(newest(api, email)["link"])
    posted = verify(api, **dict(parse_qsl(link.query)))

    assert f"{link.scheme}://{link.netloc}" == SITE
    assert posted.status_code == 200
    assert jwt.decode(posted.json()["access_token"], options={"verify_signature": False})["email"] == email


def test_a_link_to_the_service_needs_no_key(standin_with: Callable[..., Standin]) -> None:
    """A browser that follows it sends none."""
    api = Api(standin_with(**LINKS | {"mail_link": "verify"}))
    sign_up(api, email := new_email())

    answer = requests.get(newest(api, email)["link"], allow_redirects=False, timeout=10)

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{SITE}#access_token=")


def test_posting_needs_a_key(api: Api) -> None:
    assert api.call("POST", "/auth/v1/verify", {"type": "signup"}, key="").status_code == 401


def test_the_mailbox_is_readable_without_a_key(api: Api) -> None:
    sign_up(api, email := new_email())

    page = requests.get(f"{api.server.url}/mailbox", params={"to": email}, timeout=10)

    assert page.status_code == 200
    assert newest(api, email)["token"] in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_a_nonce_has_no_link(api: Api) -> None:
    session = confirmed(api, email := new_email())

    api.call("GET", "/auth/v1/reauthenticate", bearer=session["access_token"])

    mail = newest(api, email)
    assert (mail["type"], mail["token_hash"], mail["link"]) == ("reauthentication", "", "")


def test_a_code_is_as_long_as_was_set(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(**LINKS | {"otp_length": 10}))
    sign_up(api, email := new_email())

    assert verify(api, type="signup", email=email, token=newest(api, email)["token"]).status_code == 200
    assert len(newest(api, email)["token"]) == 10


def test_a_slow_mail_server_shows_who_is_known(standin_with: Callable[..., Standin]) -> None:
    """The leak a gateway has to close: only a known address waits for a mail."""
    api = Api(standin_with(**LINKS | {"mail_delay_ms": 800}))
    api.server.create_user(known := new_email(), PASSWORD)

    def took_s(email: str) -> float:
        began = time.monotonic()
        assert api.call("POST", "/auth/v1/recover", {"email": email}).json() == {}
        return time.monotonic() - began

    assert took_s(known) >= 0.8
    assert [mail.to for mail in api.server.mailbox] == [known]


def test_a_confirmation_makes_links_mailed_before_useless(api: Api) -> None:
    sign_up(api, email := new_email())
    api.call("POST", "/auth/v1/recover", {"email": email})
    recovery = newest(api, email)
    sign_up(api, email)

    assert verify(api, type="signup", token_hash=newest(api, email)["token_hash"]).status_code == 200
    assert verify(api, type="recovery", token_hash=recovery["token_hash"]).json()["code"] == "otp_expired"


def test_a_new_password_makes_a_mailed_code_useless(api: Api) -> None:
    session = confirmed(api, email := new_email())
    api.call("POST", "/auth/v1/recover", {"email": email})
    mail = newest(api, email)

    changed = api.call("PUT", "/auth/v1/user", {"password": "another horse"}, bearer=session["access_token"])

    assert changed.status_code == 200
    assert verify(api, type="recovery", email=email, token=mail["token"]).json()["code"] == "otp_expired"


def test_an_invited_user_gets_a_password_that_nobody_knows(api: Api) -> None:
    user_id = api.server.create_user(email := new_email(), PASSWORD, confirmed=False, with_password=False)
    api.sql("update auth.users set invited_at = now() where id = %s", user_id)
    api.call("POST", "/auth/v1/resend", {"type": "signup", "email": email})

    assert verify(api, type="invite", token_hash=newest(api, email)["token_hash"]).status_code == 200

    ((password,),) = api.sql("select encrypted_password from auth.users where id = %s", user_id)
    assert password.startswith("$2")


def test_mails_of_one_kind_keep_their_distance(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(**LINKS | {"mail_interval_s": 60.0}))
    api.server.create_user(email := new_email(), PASSWORD)

    first, second = (api.call("POST", "/auth/v1/recover", {"email": email}) for _ in range(2))

    assert first.status_code == 200
    assert second.status_code == 429
    assert second.json()["code"] == "over_email_send_rate_limit"
    assert len([mail for mail in api.server.mailbox if mail.to == email]) == 1


def test_a_sign_up_whose_mail_fails_leaves_nothing(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(**LINKS | {"smtp_down": True}))

    answer = sign_up(api, email := new_email())

    assert answer.status_code == 500
    assert answer.json()["message"] == "Error sending confirmation email"
    assert api.sql("select id from auth.users where email = %s", email) == []


def test_a_code_of_pkce_is_good_for_the_set_time_only(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(**LINKS | {"flow_state_exp_s": 0.0}))
    challenge = {"code_challenge": "a" * 43, "code_challenge_method": "plain"}
    sign_up(api, email := new_email(), **challenge)
    token = newest(api, email)["token_hash"]
    url = f"{api.server.url}/auth/v1/verify?type=signup&token={token}"
    followed = requests.get(url, allow_redirects=False, timeout=10)
    code = dict(parse_qsl(urlsplit(followed.headers["Location"]).query))["code"]

    body = {"auth_code": code, "code_verifier": "a" * 43}
    answer = api.call("POST", "/auth/v1/token?grant_type=pkce", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "flow_state_expired")
