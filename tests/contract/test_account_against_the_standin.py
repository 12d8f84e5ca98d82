"""Sign-up, confirmation and recovery against a real PostgreSQL and a local Supabase Auth that sends mails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest
import requests
from werkzeug.test import TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.account_lab import AUTH, PAGE, PASSWORD, Lab, lab_of
from tests.fixtures.redis import RedisServer
from tests.fixtures.standin import Api, new_email

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")

OTHER = "another horse, another staple 2!"
WEAK = "abc"

#: A project whose mails link to the page, as the documentation says.
BY_MAIL: dict[str, Any] = {
    "autoconfirm": False,
    "mail_interval_s": 0.0,
    "redirect_urls": ("https://app.example.com/**",),
    "mail_link": "redirect",
}

StandinWith = Callable[..., Standin]


@pytest.fixture
def lab(standin_with: StandinWith) -> Lab:
    return lab_of(standin_with(**BY_MAIL))


@pytest.fixture
def email() -> str:
    return new_email()


def owner(lab: Lab, email: str, password: str = PASSWORD) -> dict[str, Any]:
    """Make a confirmed account, and return a session of its owner."""
    lab.standin.create_user(email, password)
    session = lab.log_in(email, password)
    assert session.status_code == 200, session.text
    return dict(session.get_json())


def shape(response: TestResponse) -> tuple[int, bytes, list[str]]:
    """Return what a client can compare: status, body, and the names of the header fields in their order."""
    return response.status_code, response.data, [name for name, _ in response.headers]


def test_a_sign_up_is_confirmed_by_the_link_in_its_mail(lab: Lab, email: str) -> None:
    answer = lab.post("/register", email=f" {email.upper()} ", password=PASSWORD, full_name="Ada", redirect_to=PAGE)

    assert (answer.status_code, answer.get_json()) == (202, {"status": "confirmation_sent"})
    assert_problem(lab.log_in(email), 401, "email_not_confirmed")
    mail = lab.mail(email)
    assert mail["link"].startswith(f"{PAGE}?token_hash=pkce_")
    session = lab.post("/confirm", token_hash=mail["token_hash"], type="signup", password=PASSWORD).get_json()
    assert session["user"]["email"] == email
    assert session["user"]["user_metadata"]["display_name"] == session["user"]["user_metadata"]["full_name"] == "Ada"
    assert "password_unproven" not in session
    assert lab.verify(session) == lab.log_in(email).status_code == 200


def test_a_sign_up_is_confirmed_by_the_digits_in_its_mail(lab: Lab, email: str) -> None:
    lab.post("/signup", email=email, password=PASSWORD)

    answer = lab.post("/confirm", email=email.upper(), token=lab.mail(email)["token"], type="signup")

    assert answer.status_code == 200
    assert answer.get_json()["password_unproven"] is True


@pytest.mark.parametrize("path", ["/signup", "/signup/resend", "/otp", "/password/forgot"])
def test_known_and_unknown_addresses_get_the_same_answer(lab: Lab, email: str, path: str) -> None:
    owner(lab, email)
    stranger = new_email()

    known, unknown = (
        lab.post(path, email=address, password=PASSWORD, redirect_to=PAGE) for address in (email, stranger)
    )

    assert shape(known) == shape(unknown)
    assert known.status_code == 202
    assert [len(lab.mails(address)) for address in (email, stranger)] == {
        "/signup": [0, 1],
        "/signup/resend": [0, 0],
        "/otp": [1, 0],
        "/password/forgot": [1, 0],
    }[path]


def test_a_project_that_confirms_by_itself_gives_a_session_at_once(standin: Standin, lane: str, email: str) -> None:
    lab = lab_of(standin, fast_lane=lane == "fast lane")

    session = lab.post("/signup", email=email, password=PASSWORD, data={"plan": "free"}).get_json()

    assert lab.verify(session) == 200
    assert session["user"]["user_metadata"]["plan"] == "free"
    assert_problem(lab.post("/signup", email=email, password=PASSWORD), 409, "already_registered")
    assert_problem(lab.post("/signup", email=new_email(), password=WEAK), 422, "weak_password")


def test_a_slow_project_that_confirms_by_itself_loses_no_session(standin: Standin, email: str) -> None:
    """The answer comes later than the mail delay."""
    lab = lab_of(standin, AUTH_MAIL_DELAY_MS="10")

    # Hashing the password alone takes longer than the delay.
    assert lab.post("/signup", email=email, password=PASSWORD).status_code == 200


@pytest.mark.parametrize("path", ["/signup", "/signup/resend", "/otp", "/password/forgot"])
def test_the_default_link_ends_in_a_code_and_never_in_tokens(standin_with: StandinWith, email: str, path: str) -> None:
    lab = lab_of(standin_with(**{**BY_MAIL, "mail_link": "verify"}))
    if path in {"/otp", "/password/forgot"}:
        owner(lab, email)
    if path == "/signup/resend":
        lab.post("/signup", email=email, password=PASSWORD)

    answer = lab.post(path, email=email, password=PASSWORD, redirect_to=PAGE)

    location = requests.get(lab.mail(email)["link"], allow_redirects=False, timeout=10).headers["Location"]
    assert location.startswith(f"{PAGE}?code=")
    assert "token" not in location
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-velro_flow_mail_")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")


@pytest.mark.parametrize("way", ["link", "digits", "resent", "reset", "weak"])
def test_who_signed_an_address_up_before_its_owner_gains_nothing(lab: Lab, email: str, way: str) -> None:
    lab.post("/signup", email=email, password=PASSWORD, full_name="Thief")
    # The owner signs up as well: Supabase keeps the first password.
    lab.post("/signup", email=email, password=OTHER)
    if way == "resent":
        lab.post("/signup/resend", email=email)
    if way == "reset":
        lab.post("/password/forgot", email=email)
    mail = lab.mail(email)
    by_code = {"email": email, "token": mail["token"]}

    if way == "reset":
        answer = lab.post("/password-reset-confirm", token=mail["token_hash"], password=OTHER)
    elif way == "weak":
        refused = lab.post("/confirm", type="signup", password=WEAK, **by_code)
        ticket = assert_problem(refused, 422, "weak_password")["ticket"]
        assert_problem(lab.log_in(email), 401, "invalid_credentials")
        answer = lab.post("/password/reset", ticket=ticket, password=OTHER)
    else:
        proof = by_code if way == "digits" else {"token_hash": mail["token_hash"]}
        answer = lab.post("/confirm", type="signup", password=OTHER, **proof)

    assert answer.status_code == 200, answer.text
    assert_problem(lab.log_in(email), 401, "invalid_credentials")
    assert lab.log_in(email, OTHER).status_code == 200


def test_a_default_link_leads_to_a_session_whose_password_is_unproven(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**{**BY_MAIL, "mail_link": "verify"}), AUTH_PUBLIC_URL="http://localhost:8000")
    lab.post("/signup", email=email, password=PASSWORD)
    owners = lab_of(lab.standin, AUTH_PUBLIC_URL="http://localhost:8000")
    owners.post("/signup", email=email, password=OTHER, redirect_to=PAGE)
    link = requests.get(lab.mail(email)["link"], allow_redirects=False, timeout=10).headers["Location"]
    code = link.partition("?code=")[2]

    assert_problem(lab.post("/exchange", code=code), 401, "link_invalid")
    session = owners.post("/exchange", code=code).get_json()

    assert session["password_unproven"] is True
    assert lab.log_in(email).status_code == 200
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    changed = owners.client.put(f"{AUTH}/password", json={"password": OTHER}, headers=headers)
    assert changed.status_code == 204, changed.text
    assert_problem(lab.log_in(email), 401, "invalid_credentials")
    assert lab.log_in(email, OTHER).status_code == 200


def test_a_default_link_opens_the_account_with_its_owners_password_only(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**{**BY_MAIL, "mail_link": "verify"}), AUTH_PUBLIC_URL="http://localhost:8000")
    lab.post("/signup", email=email, password=PASSWORD)
    owners = lab_of(lab.standin, AUTH_PUBLIC_URL="http://localhost:8000")
    owners.post("/signup", email=email, password=OTHER, redirect_to=PAGE)
    link = requests.get(lab.mail(email)["link"], allow_redirects=False, timeout=10).headers["Location"]

    refused = owners.post("/exchange", code=link.partition("?code=")[2], password=WEAK)

    ticket = assert_problem(refused, 422, "weak_password")["ticket"]
    assert_problem(lab.log_in(email), 401, "invalid_credentials")
    assert_problem(lab.log_in(email, WEAK), 401, "invalid_credentials")
    session = owners.post("/password/reset", ticket=ticket, password=OTHER).get_json()
    assert lab.verify(session) == 200
    assert_problem(lab.log_in(email), 401, "invalid_credentials")
    assert lab.log_in(email, OTHER).status_code == 200


@pytest.mark.parametrize("kind", ["signup", "email", "magiclink"])
def test_a_confirmation_without_a_password_says_that_it_is_unproven(lab: Lab, email: str, kind: str) -> None:
    lab.post("/signup", email=email, password=PASSWORD)
    if kind == "magiclink":
        lab.post("/password/forgot", email=email)

    answer = lab.post("/confirm", type=kind, email=email, token=lab.mail(email)["token"])

    assert answer.status_code == 200, answer.text
    assert answer.get_json()["password_unproven"] is True
    lab.post("/otp", email=email)
    later = lab.post("/confirm", type="email", email=email, token=lab.mail(email)["token"])
    assert later.status_code == 200, later.text
    assert "password_unproven" not in later.get_json()


def test_a_code_works_once_for_its_address_and_type(lab: Lab, email: str) -> None:
    other = new_email()
    for address in (email, other):
        owner(lab, address)
        lab.post("/otp", email=address)
    token = lab.mail(email)["token"]
    wrong = "000000" if token != "000000" else "000001"

    def confirm(address: str, code: str, kind: str = "magiclink") -> TestResponse:
        return lab.post("/confirm", email=address, token=code, type=kind)

    for refused in (confirm(email, wrong), confirm(other, token), confirm(email, token, "signup")):
        assert_problem(refused, 401, "link_invalid")
    assert confirm(email, token).status_code == 200
    assert_problem(confirm(email, token), 401, "link_invalid")


@pytest.mark.parametrize("path", ["/confirm", "/password/reset"])
def test_a_link_works_once(lab: Lab, email: str, path: str) -> None:
    owner(lab, email)
    lab.post("/password/forgot", email=email)
    body: dict[str, Any] = {"token_hash": lab.mail(email)["token_hash"]}
    body |= {"type": "recovery"} if path == "/confirm" else {"password": OTHER}

    assert lab.post(path, **body).status_code == 200
    assert_problem(lab.post(path, **body), 401, "link_invalid")
    assert_problem(lab.post(path, **{**body, "token_hash": "pkce_" + "0" * 56}), 401, "link_invalid")


def test_guessing_codes_uses_up_a_budget_and_links_go_on(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**BY_MAIL), AUTH_THROTTLE_SCALE="1")
    owner(lab, email)
    lab.post("/password/forgot", email=email)
    mail = lab.mail(email)
    wrong = "000000" if mail["token"] != "000000" else "000001"

    guesses = [
        *(lab.post("/confirm", email=email, token=wrong, type="recovery") for _ in range(6)),
        *(lab.post("/password/reset", email=email, token=wrong, password=OTHER) for _ in range(6)),
    ]

    assert [guess.status_code for guess in guesses] == [401] * 10 + [429] * 2
    assert_problem(lab.post("/confirm", email=email, token=mail["token"], type="email"), 429, "too_many_attempts")
    assert lab.post("/password/reset", token_hash=mail["token_hash"], password=OTHER).status_code == 200


def test_a_reset_ends_all_other_sessions(lab: Lab, email: str) -> None:
    before = owner(lab, email)
    lab.post("/password-reset", email=email, redirect_to=PAGE)

    answer = lab.post("/password/reset", email=email, token=lab.mail(email)["token"], password=OTHER)

    assert answer.status_code == 200
    assert (lab.verify(before), lab.verify(answer.get_json())) == (401, 200)
    after = lab.log_in(email, OTHER)
    assert lab.verify(after.get_json()) == 200
    refreshed = lab.post("/refresh", refresh_token=answer.get_json()["refresh_token"])
    assert lab.verify(refreshed.get_json()) == 200
    assert_problem(lab.post("/refresh", refresh_token=before["refresh_token"]), 401, "session_expired")


def test_a_reset_ends_sessions_in_every_process(
    standin_with: StandinWith, redis_server: RedisServer, email: str
) -> None:
    with redis_server.client() as client:
        client.flushall()
    here, there = (lab_of(standin_with(**BY_MAIL), REDIS_URL=redis_server.url) for _ in range(2))
    before = owner(there, email)
    here.post("/password/forgot", email=email)
    ticket = here.post("/password/reset", token_hash=here.mail(email)["token_hash"], password=WEAK).get_json()["ticket"]

    answer = there.post("/password/reset", ticket=ticket, password=OTHER)

    assert answer.status_code == 200, answer.text
    assert (here.verify(before), there.verify(before)) == (401, 401)
    assert (here.verify(answer.get_json()), there.verify(answer.get_json())) == (200, 200)


def test_a_refused_password_spends_no_link(lab: Lab, email: str) -> None:
    owner(lab, email)
    lab.post("/password/forgot", email=email)

    first = lab.post("/password/reset", token_hash=lab.mail(email)["token_hash"], password=WEAK)
    ticket = assert_problem(first, 422, "weak_password")["ticket"]
    second = lab.post("/password/reset", ticket=ticket, password=PASSWORD)
    ticket = assert_problem(second, 422, "same_password")["ticket"]
    third = lab.post("/password/reset", ticket=ticket, password=OTHER)

    assert third.status_code == 200
    assert third.get_json()["user"]["email"] == email
    assert lab.verify(third.get_json()) == lab.log_in(email, OTHER).status_code == 200


def test_a_ticket_ends_with_its_session(lab: Lab, email: str) -> None:
    owner(lab, email)
    lab.post("/password/forgot", email=email)
    first = lab.post("/password/reset", token_hash=lab.mail(email)["token_hash"], password=WEAK)
    ticket = first.get_json()["ticket"]
    session = lab.log_in(email).get_json()
    lab.client.post(f"{AUTH}/logout", headers={"Authorization": f"Bearer {session['access_token']}"})

    assert_problem(lab.post("/password/reset", ticket=ticket, password=OTHER), 401, "link_invalid")
    assert lab.log_in(email).status_code == 200


@dataclass(frozen=True)
class Authenticator:
    """A verified second factor."""

    id: str
    code: Callable[[], str]


def enrolled(lab: Lab, session: dict[str, Any]) -> Authenticator:
    """Give the user of a session a second factor; the session is at ``aal2`` then."""
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    body = {"type": "totp", "friendly_name": "phone"}
    factor = lab.client.post(f"{AUTH}/factors", json=body, headers=headers).get_json()
    code = pyotp.TOTP(factor["totp"]["secret"]).now
    answer = lab.client.post(f"{AUTH}/factors/{factor['id']}/verify", json={"code": code()}, headers=headers)
    assert answer.status_code == 200, answer.text
    return Authenticator(factor["id"], code)


def test_a_second_factor_is_needed_for_a_reset(lab: Lab, email: str) -> None:
    session = owner(lab, email)
    factor = enrolled(lab, session)
    other = lab.log_in(email).get_json()
    lab.post("/password/forgot", email=email)

    first = lab.post("/password/reset", token_hash=lab.mail(email)["token_hash"], password=OTHER)
    problem = assert_problem(first, 403, "insufficient_aal")
    wrong = lab.post("/password/reset", ticket=problem["ticket"], password=OTHER, code="000000")
    ticket = assert_problem(wrong, 401, "code_invalid")["ticket"]
    done = lab.post("/password/reset", ticket=ticket, password=OTHER, code=factor.code(), factor_id=factor.id)

    assert problem["factors"] == [{"id": factor.id, "type": "totp", "friendly_name": "phone"}]
    assert done.status_code == 200, done.text
    assert "mfa" not in done.get_json()
    assert lab.verify(done.get_json()) == lab.log_in(email, OTHER).status_code == 200
    assert lab.verify(session) == lab.verify(other) == 401


def test_a_reset_and_a_login_share_the_guess_budget_of_a_factor(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**BY_MAIL), AUTH_THROTTLE_SCALE="1")
    factor = enrolled(lab, owner(lab, email))
    lab.post("/password/forgot", email=email)
    reset = lab.post("/password/reset", token_hash=lab.mail(email)["token_hash"], password=OTHER)
    session = lab.log_in(email).get_json()

    def guess_at_the_reset() -> TestResponse:
        ticket = reset.get_json()["ticket"]
        return lab.post("/password/reset", ticket=ticket, password=OTHER, code="000000")

    def guess_at_the_login() -> TestResponse:
        headers = {"Authorization": f"Bearer {session['access_token']}"}
        path, elsewhere = f"{AUTH}/factors/{factor.id}/verify", {"REMOTE_ADDR": "198.51.100.9"}
        return lab.client.post(path, json={"code": "000000"}, headers=headers, environ_overrides=elsewhere)

    guesses = [guess() for _ in range(4) for guess in (guess_at_the_reset, guess_at_the_login)]

    # Five for the factor, and two more for the network that passed it before.
    assert [guess.status_code for guess in guesses] == [401] * 5 + [429, 401, 429]


def test_a_new_address_is_confirmed_twice(lab: Lab, email: str) -> None:
    new, session = new_email(), owner(lab, email)
    changed = Api(lab.standin).call("PUT", "/auth/v1/user", {"email": new}, bearer=session["access_token"])
    assert changed.status_code == 200, changed.text

    first = lab.post("/confirm", token_hash=lab.mail(email)["token_hash"], type="email_change")
    second = lab.post("/confirm", email=new, token=lab.mail(new)["token"], type="email_change")

    assert (first.status_code, first.get_json()) == (202, {"status": "confirmation_pending"})
    assert second.status_code == 200, second.text
    assert second.get_json()["user"]["email"] == new


def test_nothing_says_that_a_mail_was_asked_for_too_soon(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**{**BY_MAIL, "mail_interval_s": 60.0}))
    owner(lab, email)

    answers = [lab.post("/password/forgot", email=address) for address in (email, email, new_email())]

    assert len({answer.data for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {202}
    assert len(lab.mails(email)) == 1


def test_nothing_says_that_the_mail_budget_is_used_up(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**BY_MAIL), AUTH_THROTTLE_SCALE="1")
    lab.standin.create_user(email, PASSWORD)

    answers = [lab.post("/password/forgot", email=email) for _ in range(5)]

    assert {(answer.status_code, answer.data) for answer in answers} == {(202, b'{"status":"recovery_sent"}')}
    assert len(lab.mails(email)) == 2


def test_a_weak_password_uses_up_no_mail(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**BY_MAIL), AUTH_THROTTLE_SCALE="1")
    for _ in range(3):
        assert_problem(lab.post("/signup", email=email, password=WEAK), 422, "weak_password")

    assert lab.post("/signup", email=email, password=PASSWORD).status_code == 202
    assert lab.mail(email)["type"] == "signup"


def test_a_mail_server_that_fails_shows_nothing_and_stops_no_login(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**BY_MAIL, smtp_down=True))
    lab.standin.create_user(email, PASSWORD)

    answers = [
        lab.post(path, email=address, password=PASSWORD)
        for _ in range(15)
        for path in ("/password/forgot", "/signup", "/otp")
        for address in (email, new_email())
    ]

    assert {answer.status_code for answer in answers} == {202}
    assert lab.log_in(email).status_code == 200


def test_a_banned_user_gets_no_session_by_mail(lab: Lab, email: str) -> None:
    lab.standin.create_user(email, PASSWORD, banned=True)
    lab.post("/password/forgot", email=email)

    answer = lab.post("/password/reset", token_hash=lab.mail(email)["token_hash"], password=OTHER)

    assert_problem(answer, 401, "link_invalid")


@pytest.mark.parametrize("path", ["/signup", "/signup/resend", "/otp", "/password/forgot"])
def test_no_header_chooses_where_a_link_leads(lab: Lab, email: str, path: str) -> None:
    if path != "/signup":
        lab.post("/signup", email=email, password=PASSWORD)
    headers = dict.fromkeys(("Referer", "Origin", "redirect_to", "X-Forwarded-Host"), "https://evil.example.com/steal")
    answer = lab.client.post(
        AUTH + path,
        json={"email": email, "password": PASSWORD},
        headers={**headers, "X-Forwarded-Host": "evil.example.com"},
        base_url="https://evil.example.com",
    )

    assert answer.status_code == 202
    assert "evil" not in lab.mail(email)["link"]


@pytest.mark.parametrize("path", ["/signup", "/signup/resend", "/otp", "/password/forgot"])
def test_an_address_that_is_not_on_the_list_is_refused(lab: Lab, email: str, path: str) -> None:
    for address in ("https://evil.example.com", "https://app.example.com.evil.example", "javascript:alert(1)", "/x"):
        answer = lab.post(path, email=email, password=PASSWORD, redirect_to=address)

        assert list(assert_problem(answer, 422, "invalid_request")["errors"]) == ["redirect_to"]
        assert address not in answer.text
    assert lab.mails(email) == []


def test_sign_ups_can_be_switched_off(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(**BY_MAIL, signups=False))

    assert_problem(lab.post("/signup", email=email, password=PASSWORD), 403, "not_enabled")
    assert lab.post("/otp", email=email, create_user=True).status_code == 202
    assert lab.mails(email) == []


def test_a_code_makes_an_account_only_when_that_is_asked_for(lab: Lab, email: str) -> None:
    assert lab.post("/otp", email=email).status_code == 202
    assert lab.mails(email) == []
    assert lab.post("/otp", email=email, create_user=True).status_code == 202

    answer = lab.post("/confirm", email=email, token=lab.mail(email)["token"], type="email")

    assert answer.get_json()["user"]["email"] == email


@pytest.mark.parametrize("path", ["/confirm", "/password/reset"])
def test_a_double_click_ends_no_session(lab: Lab, email: str, path: str) -> None:
    owner(lab, email)
    lab.post("/password/forgot", email=email)
    hashed = lab.mail(email)["token_hash"]
    needed = {"type": "recovery"} if path == "/confirm" else {"password": OTHER}

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: lab.post(path, token_hash=hashed, **needed), range(4)))

    sessions = [answer.get_json() for answer in answers if answer.status_code == 200]
    assert sessions
    assert {lab.verify(session) for session in sessions} == {200}


def test_two_sign_ups_of_one_address_at_once_are_one(standin: Standin, email: str) -> None:
    lab = lab_of(standin)
    lab.post("/signup", email=new_email(), password=PASSWORD)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: lab.post("/signup", email=email, password=PASSWORD), range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
