"""Floods and guesses through the routes of a gateway, counted where the mails and the codes arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyotp
import pytest
from werkzeug.test import TestResponse

from supabase_standin import Standin
from tests.contract.account_lab import AUTH, PASSWORD, Lab, lab_of
from tests.fixtures.standin import new_email

HOME = "203.0.113.7"
#: ``tests/unit/guards/test_mails.py`` floods the budgets alone with ten thousand.
FLOOD = 1000

StandinWith = Callable[..., Standin]


@pytest.fixture
def lab(standin_with: StandinWith) -> Lab:
    """A project that sends a mail whenever it is asked, so that only the gateway's budget holds."""
    return lab_of(standin_with(autoconfirm=False, mail_interval_s=0.0), AUTH_THROTTLE_SCALE="1")


def ask(lab: Lab, path: str, address: str, **body: Any) -> TestResponse:
    return lab.client.post(AUTH + path, json=body, environ_overrides={"REMOTE_ADDR": address})


def owner(lab: Lab) -> str:
    """Make an account, and log in to it from home."""
    email = new_email()
    lab.standin.create_user(email, PASSWORD)
    assert ask(lab, "/login", HOME, email=email, password=PASSWORD).status_code == 200
    return email


def address_of(number: int) -> str:
    return f"10.{number // 250}.{number % 250}.1"


def test_a_thousand_forgotten_passwords_of_one_address(lab: Lab) -> None:
    """From as many networks: four mails, and the owner still gets two."""
    email = owner(lab)

    statuses = {ask(lab, "/password/forgot", address_of(number), email=email).status_code for number in range(FLOOD)}

    assert statuses == {202}
    assert len(lab.mails(email)) == 4
    for _ in range(3):
        assert ask(lab, "/password/forgot", HOME, email=email).status_code == 202
    assert len(lab.mails(email)) == 6


def test_a_thousand_forgotten_passwords_of_as_many_addresses(lab: Lab) -> None:
    """Most of them have no account, so Supabase sends few mails; the budget counts them all the same."""
    email, victims = owner(lab), [new_email() for _ in range(40)]
    for victim in victims:
        lab.standin.create_user(victim, PASSWORD)

    for number in range(FLOOD):
        victim = victims[number] if number < len(victims) else f"u{number}@example.com"
        assert ask(lab, "/password/forgot", address_of(number), email=victim).status_code == 202

    assert sum(len(lab.mails(victim)) for victim in victims) == 12
    assert ask(lab, "/password/forgot", HOME, email=email).status_code == 202
    assert len(lab.mails(email)) == 1


def test_a_factor_has_one_budget_whatever_the_route(standin_with: StandinWith) -> None:
    """Its own route and the reset of a forgotten password together allow five wrong codes."""
    lab = lab_of(standin_with(mail_interval_s=0.0), AUTH_THROTTLE_SCALE="1")
    email = owner(lab)
    session = ask(lab, "/login", HOME, email=email, password=PASSWORD).get_json()
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    enrolled = lab.client.post(f"{AUTH}/factors", json={"type": "totp", "friendly_name": "phone"}, headers=bearer)
    factor = enrolled.get_json()
    code = pyotp.TOTP(factor["totp"]["secret"]).now()
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    path = f"{AUTH}/factors/{factor['id']}/verify"
    enrolment: dict[str, Any] = {"json": {"code": code}, "headers": bearer, "environ_overrides": {"REMOTE_ADDR": HOME}}
    assert lab.client.post(path, **enrolment).status_code == 200
    lower = ask(lab, "/login", HOME, email=email, password=PASSWORD).get_json()
    bearer = {"Authorization": f"Bearer {lower['access_token']}"}
    tries = [lab.client.post(path, json={"code": wrong}, headers=bearer).status_code for _ in range(3)]
    ask(lab, "/password/forgot", HOME, email=email)
    token_hash = lab.mail(email, "recovery")["token_hash"]

    first = lab.post("/password/reset", token_hash=token_hash, password="another horse, another staple 2!")
    ticket = first.get_json()["ticket"]
    for _ in range(4):
        answer = lab.post(
            "/password/reset", ticket=ticket, password="another horse 3!", code=wrong, factor_id=factor["id"]
        )
        tries.append(answer.status_code)

    assert tries == [401] * 5 + [429] * 2


def test_people_who_sign_in_by_mailed_code_are_known_like_others(lab: Lab) -> None:
    """They have no password to log in with; their next mail must not depend on strangers."""
    email = new_email()
    lab.standin.create_user(email, PASSWORD)
    ask(lab, "/otp", HOME, email=email)
    token = lab.mail(email)["token"]
    assert ask(lab, "/confirm", HOME, email=email, token=token, type="email").status_code == 200
    for number in range(10):
        ask(lab, "/otp", address_of(number), email=email)
    sent = len(lab.mails(email))

    ask(lab, "/otp", HOME, email=email)

    assert (sent, len(lab.mails(email))) == (4, 5)
