"""``/auth/v1`` of the gateway against a local Supabase Auth: who exists stays hidden, links, sessions that end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import requests

from supabase_standin import Standin
from tests.contract.face_lab import Face
from tests.fixtures.standin import PASSWORD, new_email

StandinWith = Callable[..., Standin]
OTHER_PASSWORD = "another horse, another staple 2!"


@pytest.fixture
def by_mail(standin_with: StandinWith) -> Face:
    return Face(standin_with(autoconfirm=False))


@pytest.fixture
def face(standin_with: StandinWith) -> Face:
    return Face(standin_with(mail_interval_s=0.0))


def shape(value: Any) -> Any:
    """Return a value without what differs from call to call: ids, times and addresses."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value]
    if isinstance(value, str):
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", value)
        value = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", "<time>", value)
        return re.sub(r"[^@\s]+@example\.com", "<address>", value)
    return value


def test_a_sign_up_of_a_known_address_looks_like_that_of_a_new_one(by_mail: Face) -> None:
    known, unconfirmed = new_email(), new_email()
    by_mail.standin.create_user(known, PASSWORD)
    by_mail.standin.create_user(unconfirmed, PASSWORD, confirmed=False)

    answers = [
        by_mail.call("POST", "/signup", {"email": email, "password": PASSWORD, "data": {"a": 1}})
        for email in (new_email(), known, unconfirmed, known)
    ]

    assert {answer.status_code for answer in answers} == {200}
    shapes = [shape(answer.get_json()) for answer in answers]
    assert shapes == [shapes[0]] * 4
    users = [answer.get_json() for answer in answers]
    assert users[0]["role"] == "authenticated"
    assert len(users[0]["identities"]) == 1


def test_the_shape_is_that_of_supabase_itself(by_mail: Face) -> None:
    body = {"email": new_email(), "password": PASSWORD, "data": {"a": 1}}
    key = {"apikey": by_mail.standin.publishable_key}
    direct = requests.post(f"{by_mail.standin.url}/auth/v1/signup", json=body, headers=key, timeout=10).json()

    ours = by_mail.call("POST", "/signup", {**body, "email": new_email()}).get_json()

    assert shape(ours) == shape(direct)


def test_a_sign_up_that_is_confirmed_has_a_session(by_mail: Face) -> None:
    email = new_email()
    by_mail.call("POST", "/signup", {"email": email, "password": PASSWORD})

    link = by_mail.mail(email)

    confirmed = by_mail.call("POST", "/verify", {"type": "signup", "token_hash": link["token_hash"]}).get_json()
    assert confirmed["user"]["email"] == email
    assert by_mail.log_in(email).status_code == 200


def test_ids_do_not_tell_who_has_an_account_either(by_mail: Face) -> None:
    """Supabase repeats the id of somebody who has not confirmed yet, and makes one up for who has."""
    known, new = new_email(), new_email()
    by_mail.standin.create_user(known, PASSWORD)

    for email in (known, new):
        bodies = [by_mail.call("POST", "/signup", {"email": email, "password": PASSWORD}).get_json() for _ in range(3)]
        assert len({body["id"] for body in bodies}) == 3


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/recover", {}),
        ("/otp", {"create_user": False}),
        ("/otp", {"create_user": True}),
        ("/magiclink", {}),
        ("/resend", {"type": "signup"}),
    ],
)
def test_requests_for_mails_are_answered_alike(path: str, more: dict[str, Any], by_mail: Face) -> None:
    """Supabase says "too soon" for a known address, and refuses an unknown one."""
    known, unconfirmed = new_email(), new_email()
    by_mail.standin.create_user(known, PASSWORD)
    by_mail.standin.create_user(unconfirmed, PASSWORD, confirmed=False)

    answers = [
        by_mail.call("POST", path, {"email": email, **more})
        for email in (known, known, unconfirmed, unconfirmed, new_email())
    ]

    assert {(answer.status_code, answer.data) for answer in answers} == {(200, b"{}")}


def test_a_new_address_that_is_taken_looks_pending(by_mail: Face) -> None:
    taken, (_, session) = new_email(), by_mail.user()
    by_mail.standin.create_user(taken, PASSWORD)
    other = by_mail.user()[1]

    free = by_mail.call("PUT", "/user", {"email": new_email()}, token=session["access_token"])
    refused = by_mail.call("PUT", "/user", {"email": taken}, token=other["access_token"])

    assert (free.status_code, refused.status_code) == (200, 200)
    assert refused.get_json()["new_email"] == taken
    assert shape(refused.get_json()).keys() == shape(free.get_json()).keys()


def test_the_link_of_a_mail_leads_where_supabase_says(by_mail: Face) -> None:
    email = new_email()
    by_mail.call("POST", "/signup", {"email": email, "password": PASSWORD})
    link = by_mail.mail(email)

    answer = by_mail.client.get(f"/auth/v1/verify?token={link['token_hash']}&type=signup")
    again = by_mail.client.get(f"/auth/v1/verify?token={link['token_hash']}&type=signup")

    assert (answer.status_code, again.status_code) == (303, 303)
    assert "access_token" in parse_qs(urlsplit(answer.headers["Location"]).fragment)
    assert "error=access_denied" in again.headers["Location"]


def test_a_code_has_one_budget_over_both_faces(standin_with: StandinWith) -> None:
    face = Face(standin_with(mail_interval_s=0.0), AUTH_THROTTLE_SCALE="1")
    email, _ = face.user()
    face.call("POST", "/recover", {"email": email})
    statuses = []
    for _ in range(7):
        body = {"type": "recovery", "email": email, "token": "000000"}
        statuses.append(face.call("POST", "/verify", body).status_code)
        statuses.append(face.client.post("/api/v1/auth/confirm", json=body).status_code)

    assert statuses[:10] == [403, 401] * 5
    assert set(statuses[10:]) == {429}


def test_a_new_password_ends_the_other_sessions(face: Face) -> None:
    email, first = face.user()
    second = face.log_in(email).get_json()

    changed = face.call("PUT", "/user", {"password": OTHER_PASSWORD, "data": {"a": 1}}, token=second["access_token"])

    assert changed.status_code == 200
    assert changed.get_json()["user_metadata"]["a"] == 1
    refused = face.call("GET", "/user", token=first["access_token"])
    assert (refused.status_code, refused.get_json()["code"]) == (403, "session_not_found")
    assert face.call("GET", "/user", token=second["access_token"]).status_code == 200
    assert face.log_in(email, OTHER_PASSWORD).status_code == 200


def test_a_wrong_current_password_changes_nothing(face: Face) -> None:
    email, session = face.user()
    body = {"password": OTHER_PASSWORD, "current_password": "wrong"}

    refused = face.call("PUT", "/user", body, token=session["access_token"])

    assert (refused.status_code, refused.get_json()["code"]) == (400, "reauthentication_needed")
    assert face.log_in(email).status_code == 200


def test_all_at_once(face: Face) -> None:
    """Password, metadata and address in one call, as supabase-js allows."""
    email, session = face.user()
    new = new_email()
    body = {"password": OTHER_PASSWORD, "data": {"a": 1}, "email": new, "current_password": PASSWORD}

    changed = face.call("PUT", "/user", body, token=session["access_token"])

    assert changed.status_code == 200
    assert changed.get_json()["user_metadata"]["a"] == 1
    assert new in {changed.get_json().get("new_email"), changed.get_json()["email"]}
    assert {face.log_in(each, OTHER_PASSWORD).status_code for each in (email, new)} == {200, 400}


def test_the_spelling_of_a_number_is_no_budget_of_its_own(standin_with: StandinWith) -> None:
    face = Face(standin_with(mail_interval_s=0.0), AUTH_THROTTLE_SCALE="1")

    statuses = [
        face.call("POST", "/verify", {"type": "sms", "phone": phone, "token": "000000"}).status_code
        for phone in ("+15550001", "15550001", "1 555 0001", "+1 5550001") * 4
    ]

    assert statuses.count(429) == 6


def test_wrong_codes_of_a_factor_are_counted(standin_with: StandinWith) -> None:
    face = Face(standin_with(mail_interval_s=0.0), AUTH_THROTTLE_SCALE="1")
    _, session = face.user()
    token = session["access_token"]
    factor = face.call("POST", "/factors", {"factor_type": "totp", "friendly_name": "a"}, token=token).get_json()
    right = pyotp.TOTP(factor["totp"]["secret"]).now()
    wrong = f"{(int(right) + 1) % 1_000_000:06}"

    statuses = []
    for _ in range(7):
        challenge = face.call("POST", f"/factors/{factor['id']}/challenge", token=token).get_json()
        body = {"challenge_id": challenge["id"], "code": wrong}
        statuses.append(face.call("POST", f"/factors/{factor['id']}/verify", body, token=token).status_code)

    assert statuses == [422] * 5 + [429] * 2
