"""Sign-up, requests for mails, confirmation and reset as frontends meet them."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import altcha
import pytest
import requests
import responses
from werkzeug.test import Client, TestResponse

from tests.account_double import EMAIL, UNCONFIRMED, AccountDouble, moment, proven
from tests.asserts import assert_problem
from tests.conftest import SECRET_KEY, LogLines, MakeClient
from tests.upstream_double import SESSION
from tests.waiting import eventually
from velro_auth.app import create_app
from velro_auth.auth.sealing import Sealer, sealing_keys
from velro_auth.auth.singleflight import SingleFlight
from velro_auth.config.settings import Settings
from velro_auth.telemetry.audit import security_event

AUTH = "/api/v1/auth"
PASSWORD = "correct horse battery staple"
HASH = "pkce_" + "a" * 56
PAGE = "https://app.example.com/welcome"
FACTOR = {
    "id": "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61",
    "factor_type": "totp",
    "friendly_name": "phone",
    "status": "verified",
}
CHALLENGE = {"id": "challenge", "type": "totp", "expires_at": 1_900_000_000}
AAL = {"code": "insufficient_aal", "message": "…"}

#: Route → the path at Supabase, and the status that the answer names.
MAILING = {
    "/signup": ("/signup", "confirmation_sent"),
    "/signup/resend": ("/resend", "confirmation_sent"),
    "/otp": ("/otp", "code_sent"),
    "/password/forgot": ("/recover", "recovery_sent"),
}
ALIASES = {
    "/register": "/signup",
    "/password-reset": "/password/forgot",
    "/password-reset-confirm": "/password/reset",
}

every_mail_route = pytest.mark.parametrize("route", MAILING)


@pytest.fixture
def supabase() -> Iterator[AccountDouble]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield AccountDouble(mock)


@pytest.fixture
def make(make_client: MakeClient) -> MakeClient:
    def client(**environment: str) -> Client:
        settings = {
            "AUTH_MAIL_DELAY_MS": "0",
            "AUTH_REDIRECT_URLS": "https://app.example.com",
            "AUTH_THROTTLE_SCALE": "100",
        }
        return make_client(**{**settings, **environment})

    return client


@pytest.fixture
def client(make: MakeClient, supabase: AccountDouble) -> Client:
    assert supabase
    return make()


def post(client: Client, path: str, *, address: str = "", **body: Any) -> TestResponse:
    return client.post(AUTH + path, json=body, environ_overrides={"REMOTE_ADDR": address} if address else {})


def ask(client: Client, route: str, email: str = EMAIL, **body: Any) -> TestResponse:
    """Ask for a mail, with what any route takes."""
    return post(client, route, email=email, password=PASSWORD, **body)


def reset(client: Client, **body: Any) -> TestResponse:
    return post(client, "/password/reset", **{"token_hash": HASH, "password": PASSWORD, **body})


@every_mail_route
def test_a_mail_is_asked_for_with_a_challenge_of_our_own(client: Client, supabase: AccountDouble, route: str) -> None:
    answer = ask(client, route, f"  {EMAIL} ", redirect_to=PAGE, captcha_token="solved")

    path, status = MAILING[route]
    assert (answer.status_code, answer.get_json()) == (202, {"status": status})
    ((asked_path, body, query),) = [one for one in supabase.asked if one[0] == path]
    assert (asked_path, query) == (path, {"redirect_to": [PAGE]})
    assert body["email"] == EMAIL
    assert (len(body["code_challenge"]), body["code_challenge_method"]) == (43, "s256")
    assert body["gotrue_meta_security"] == {"captcha_token": "solved"}
    assert body["code_challenge"] not in answer.headers["Set-Cookie"]


def test_each_route_sends_what_supabase_needs(client: Client, supabase: AccountDouble) -> None:
    ask(client, "/signup", data={"plan": "free"}, full_name="Ada")
    ask(client, "/signup/resend")
    ask(client, "/otp")
    ask(client, "/otp", create_user=True)

    sign_up, resend, otp, creating = (body for path, body, _ in supabase.asked if path != "/settings")
    assert sign_up["password"] == PASSWORD
    assert sign_up["data"] == {"plan": "free", "full_name": "Ada", "display_name": "Ada"}
    assert resend["type"] == "signup"
    assert (otp["create_user"], creating["create_user"]) == (False, True)


@pytest.mark.parametrize(("alias", "route"), ALIASES.items())
def test_the_former_frontends_names_work(client: Client, alias: str, route: str) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    if route == "/password/reset":
        body = {"token": HASH, "password": PASSWORD}

    one, other = post(client, alias, **body), post(client, route, **body)

    assert one.status_code == other.status_code in {200, 202}


REFUSALS: dict[str, tuple[int, Any]] = {
    "too soon": (429, {"code": "over_email_send_rate_limit"}),
    "too many calls": (429, {"code": "over_request_rate_limit"}),
    "no such account": (422, {"code": "otp_disabled"}),
    "no address for mails": (400, {"code": "email_address_invalid"}),
    "not a member of the team": (400, {"code": "email_address_not_authorized"}),
    "mail server down": (500, {"code": "unexpected_failure"}),
    "too slow": (504, {"code": "request_timeout"}),
    "something new": (422, {"code": "brand_new"}),
    "something denied": (403, {"code": "denied_by_hook"}),
    "another user": (200, {**UNCONFIRMED, "email": "eve@example.com"}),
}


@every_mail_route
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_depends_on_the_account_is_never_told(
    client: Client, supabase: AccountDouble, logs: LogLines, route: str, refusal: str
) -> None:
    good = ask(client, route)
    status, body = REFUSALS[refusal]
    supabase.answers(MAILING[route][0], body, status=status)

    refused = ask(client, route)

    assert (refused.status_code, refused.data) == (202, good.data)
    assert [name for name, _ in refused.headers] == [name for name, _ in good.headers]
    assert EMAIL not in str(logs)
    if refusal != "another user" or route == "/signup":
        assert "a mail that was asked for was not sent" in str(logs)


@every_mail_route
def test_a_defect_of_ours_is_logged_and_shows_nothing(
    client: Client, supabase: AccountDouble, logs: LogLines, route: str
) -> None:
    supabase.answers(MAILING[route][0], ZeroDivisionError("defect"))

    assert ask(client, route).status_code == 202
    assert "ZeroDivisionError" in str(logs)


@every_mail_route
def test_what_depends_on_the_request_alone_is_told(client: Client, supabase: AccountDouble, route: str) -> None:
    path = MAILING[route][0]
    supabase.answers(path, {"code": "captcha_failed"}, status=400)
    assert_problem(ask(client, route), 400, "captcha_required")
    supabase.answers(path, {"code": "validation_failed"}, status=400)
    assert list(assert_problem(ask(client, route), 422, "invalid_request")["errors"]) == ["email"]
    supabase.answers(path, {"message": "Invalid API key"}, status=401)
    assert_problem(ask(client, route), 503, "upstream_misconfigured")


def test_a_sign_up_tells_what_supabase_decides_before_it_looks_for_the_account(
    client: Client, supabase: AccountDouble
) -> None:
    supabase.answers("/signup", {"code": "weak_password"}, status=422)
    body = assert_problem(ask(client, "/signup"), 422, "weak_password")
    assert (list(body["errors"]), "reasons" in body) == (["password"], False)
    given = {"message": "…", "reasons": ["pwned", "length", "<b>", None]}
    supabase.answers("/signup", {"code": "weak_password", "weak_password": given}, status=422)
    assert assert_problem(ask(client, "/signup"), 422, "weak_password")["reasons"] == ["length", "pwned"]
    supabase.answers("/signup", {"code": "signup_disabled"}, status=422)
    assert_problem(ask(client, "/signup"), 403, "not_enabled")


@every_mail_route
def test_the_answer_does_not_wait_for_a_slow_supabase(make: MakeClient, supabase: AccountDouble, route: str) -> None:
    client, goes_on = make(AUTH_MAIL_DELAY_MS="20"), threading.Event()

    def slow(_: Any) -> Any:
        goes_on.wait(30)
        return 422, {"code": "weak_password"}

    supabase.answers(MAILING[route][0], slow)
    try:
        answer = ask(client, route)
    finally:
        goes_on.set()

    assert answer.status_code == 202
    eventually(lambda: MAILING[route][0] in supabase.paths())


@every_mail_route
def test_nothing_is_asked_when_the_mail_budget_is_used_up(
    make: MakeClient, supabase: AccountDouble, route: str
) -> None:
    client = make(AUTH_THROTTLE_SCALE="1")

    answers = {(answer.status_code, answer.data) for answer in (ask(client, route) for _ in range(4))}

    assert len(answers) == 1
    assert supabase.paths() == [MAILING[route][0]] * 2


@every_mail_route
def test_what_is_kept_for_accounts_that_logged_in_here_tells_nothing_of_them(
    make: MakeClient, supabase: AccountDouble, route: str
) -> None:
    """Strangers used up the mails of two addresses, one of which logged in from the caller's network before."""
    client, path, other, home = make(AUTH_THROTTLE_SCALE="1"), MAILING[route][0], "other@example.com", "90.1.2.3"
    supabase.answers("/token", SESSION)
    assert post(client, "/login", email=EMAIL, password=PASSWORD, address=home).status_code == 200
    for number in range(4):
        for email in (EMAIL, other):
            ask(client, route, email, address=f"9{number}.{len(email)}.0.1")
    supabase.asked.clear()
    supabase.answers(path, {"code": "captcha_failed"}, status=400)

    known, unknown = (ask(client, route, email, address=home) for email in (EMAIL, other))

    assert supabase.paths() == [path]
    assert (known.status_code, known.data) == (202, unknown.data)
    # A first mail of another address is told as always.
    assert_problem(ask(client, route, "third@example.com", address=home), 400, "captcha_required")


@every_mail_route
def test_a_refused_request_uses_up_no_mail(make: MakeClient, supabase: AccountDouble, route: str) -> None:
    client, path = make(AUTH_THROTTLE_SCALE="1"), MAILING[route][0]
    supabase.answers(path, {"code": "captcha_failed"}, status=400)
    for _ in range(5):
        assert_problem(ask(client, route), 400, "captcha_required")

    supabase.answers(path, UNCONFIRMED)
    assert ask(client, route).status_code == 202
    assert len(supabase.paths()) == 6


@every_mail_route
def test_failing_mails_stop_no_login(client: Client, supabase: AccountDouble, route: str) -> None:
    supabase.answers(MAILING[route][0], {"code": "unexpected_failure"}, status=500)

    assert {ask(client, route).status_code for _ in range(40)} == {202}
    assert len(supabase.paths()) == 40


@every_mail_route
def test_an_outage_that_logins_found_is_told_before_anything_is_asked(
    client: Client, supabase: AccountDouble, route: str
) -> None:
    supabase.answers("/token", "<html>", status=502)
    while post(client, "/login", email=EMAIL, password=PASSWORD).get_json()["code"] != "resting":
        pass
    asked = len(supabase.paths())

    assert_problem(ask(client, route), 503, "resting")
    assert len(supabase.paths()) == asked


@every_mail_route
@pytest.mark.parametrize(
    "address",
    ["https://evil.example.com", "https://app.example.com@evil.example.com", "//app.example.com", "", "x" * 3000],
)
def test_a_link_leads_to_no_other_address(client: Client, supabase: AccountDouble, route: str, address: str) -> None:
    answer = ask(client, route, redirect_to=address)

    assert list(assert_problem(answer, 422, "invalid_request")["errors"]) == ["redirect_to"]
    assert supabase.paths() == []


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("/signup", {"email": "no address", "password": PASSWORD}, "email"),
        ("/signup", {"email": EMAIL}, "password"),
        ("/signup", {"email": EMAIL, "password": "é" * 37}, "password"),
        ("/signup", {"email": EMAIL, "password": PASSWORD, "data": {"a": "x" * 2048}}, "data"),
        ("/signup", {"email": EMAIL, "password": PASSWORD, "data": {"a": "\u0000"}}, "data"),
        ("/signup", {"email": EMAIL, "password": PASSWORD, "data": []}, "data"),
        ("/signup", {"email": EMAIL, "password": PASSWORD, "full_name": "x" * 101}, "full_name"),
        ("/otp", {"email": EMAIL, "create_user": "yes"}, "create_user"),
        ("/confirm", {"type": "signup"}, "token_hash"),
        ("/confirm", {"type": "galaxy", "token_hash": HASH}, "type"),
        ("/confirm", {"type": "signup", "token_hash": HASH, "email": EMAIL, "token": "123456"}, "token_hash"),
        ("/confirm", {"type": "signup", "token_hash": "../x"}, "token_hash"),
        ("/confirm", {"type": "signup", "email": EMAIL}, "token"),
        ("/confirm", {"type": "signup", "token": "123456"}, "email"),
        ("/confirm", {"type": "signup", "email": EMAIL, "token": "12345a"}, "token"),
        ("/confirm", {"type": "recovery", "token_hash": HASH, "password": PASSWORD}, "password"),
        ("/password/reset", {"token_hash": HASH}, "password"),
        ("/password/reset", {"password": PASSWORD}, "token_hash"),
        ("/password/reset", {"password": PASSWORD, "token_hash": HASH, "ticket": "x"}, "token_hash"),
        ("/password/reset", {"password": PASSWORD, "email": EMAIL, "token": HASH}, "token"),
        ("/password/reset", {"password": PASSWORD, "token_hash": HASH, "code": "abc"}, "code"),
        (
            "/password/reset",
            {"password": PASSWORD, "token_hash": HASH, "code": "123456", "factor_id": "/"},
            "factor_id",
        ),
    ],
)
def test_a_wrong_field_is_named(
    client: Client, supabase: AccountDouble, route: str, body: dict[str, Any], field: str
) -> None:
    assert list(assert_problem(post(client, route, **body), 422, "invalid_request")["errors"]) == [field]
    assert supabase.paths() == []


def test_a_project_that_confirms_by_itself_is_asked_without_a_delay(make: MakeClient, supabase: AccountDouble) -> None:
    """The delay would be longer than the test may take."""
    client = make(AUTH_MAIL_DELAY_MS="30000")
    supabase.answers("/settings", {"mailer_autoconfirm": True})
    supabase.answers("/signup", proven())

    answer = ask(client, "/signup")

    assert (answer.status_code, answer.get_json()["user"]["email"]) == (200, EMAIL)
    assert "Set-Cookie" not in answer.headers
    supabase.answers("/signup", {"code": "user_already_exists"}, status=422)
    assert_problem(ask(client, "/signup"), 409, "already_registered")
    supabase.answers("/signup", {"code": "unexpected_failure"}, status=500)
    assert_problem(ask(client, "/signup"), 503, "upstream_error")
    assert [path for path, _, _ in supabase.asked].count("/settings") == 1


def test_a_project_that_began_to_send_mails_is_noticed(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/settings", {"mailer_autoconfirm": True})

    assert ask(client, "/signup").status_code == 202
    supabase.answers("/signup", {"code": "unexpected_failure"}, status=500)
    assert ask(client, "/signup").status_code == 202


def test_a_project_that_stopped_sending_mails_is_noticed(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/signup", proven())

    assert ask(client, "/signup").status_code == 200
    supabase.answers("/signup", {"code": "unexpected_failure"}, status=500)
    assert_problem(ask(client, "/signup"), 503, "upstream_error")


def test_a_session_of_somebody_else_is_not_handed_out(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/settings", {"mailer_autoconfirm": True})
    supabase.answers("/signup", proven(email="eve@example.com"))
    assert_problem(ask(client, "/signup"), 503, "upstream_error")
    supabase.answers("/verify", proven(email="eve@example.com"))
    body = {"email": EMAIL, "token": "123456"}
    assert_problem(post(client, "/confirm", type="email", **body), 503, "upstream_error")
    assert_problem(post(client, "/password/reset", password=PASSWORD, **body), 503, "upstream_error")
    supabase.answers("/verify", proven())
    supabase.answers("/user", {**SESSION["user"], "id": "0d6f2a0b-3f1c-4f6e-8d54-91c2a7be4e10"})
    assert_problem(post(client, "/password/reset", password=PASSWORD, **body), 503, "upstream_error")


def test_sign_ups_without_a_mail_are_limited_for_each_network(make: MakeClient, supabase: AccountDouble) -> None:
    client = make(AUTH_THROTTLE_SCALE="1")
    supabase.answers("/settings", {"mailer_autoconfirm": True})
    supabase.answers("/signup", lambda asked: (200, proven(email=asked["email"])))

    statuses = [ask(client, "/signup", f"user{number}@example.com").status_code for number in range(32)]

    assert statuses == [200] * 30 + [429] * 2


@pytest.mark.parametrize(
    "refusal",
    [
        (403, {"code": "otp_expired"}),
        (403, {"code": "user_banned"}),
        (404, {"code": "flow_state_not_found"}),
        (422, {"code": "email_exists"}),
    ],
)
@pytest.mark.parametrize("proof", [{"token_hash": HASH}, {"email": EMAIL, "token": "123456"}])
@pytest.mark.parametrize("path", ["/confirm", "/password/reset"])
def test_a_link_that_is_not_good_is_one_answer(
    client: Client, supabase: AccountDouble, refusal: tuple[int, Any], proof: dict[str, str], path: str
) -> None:
    supabase.answers("/verify", refusal[1], status=refusal[0])
    body = {"type": "signup"} if path == "/confirm" else {"password": PASSWORD}

    assert_problem(post(client, path, **proof, **body), 401, "link_invalid")


def test_a_refused_link_is_answered_at_the_failure_delay(
    make: MakeClient, supabase: AccountDouble, logs: LogLines
) -> None:
    supabase.answers("/verify", {"code": "otp_expired"}, status=403)

    post(make(AUTH_FAILURE_FLOOR_MS="20"), "/confirm", type="signup", token_hash=HASH)

    (line,) = logs.access
    assert 0 < line["held_ms"] <= 80


def test_a_confirmation_sets_the_password_with_the_new_session(client: Client, supabase: AccountDouble) -> None:
    session = proven()
    supabase.answers("/verify", session)

    answer = post(client, "/confirm", type="signup", token_hash=HASH, password=PASSWORD)

    assert answer.get_json()["access_token"] == session["access_token"]
    assert "password_unproven" not in answer.get_json()
    assert supabase.asked[-1][:2] == ("/user", {"password": PASSWORD})
    assert supabase.bearers[-1] == f"Bearer {session['access_token']}"


def test_an_unproven_password_is_told(client: Client, supabase: AccountDouble) -> None:
    def confirmed(ago_s: float, kind: str = "email", **user: Any) -> bool:
        supabase.answers("/verify", proven(email_confirmed_at=moment(ago_s), last_sign_in_at=moment(), **user))
        answer = post(client, "/confirm", type=kind, token_hash=HASH).get_json()
        return bool(answer.get("password_unproven"))

    assert confirmed(3600, "signup")
    assert confirmed(0.1)
    assert confirmed(0.1, recovery_sent_at=moment(60))
    assert not confirmed(3600)
    assert not confirmed(1, recovery_sent_at=moment(0.5))


def is_in(thread: threading.Thread, function: Callable[..., object]) -> bool:
    """Return whether *thread* is in a call of *function*."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


@pytest.mark.parametrize("second", [PASSWORD, "another password"])
def test_a_link_that_is_used_twice_at_once_sets_one_password(
    client: Client, supabase: AccountDouble, second: str
) -> None:
    """Two clicks on one button are one; somebody else with the same link is refused."""
    answers: list[TestResponse] = []
    other = threading.Thread(target=lambda: answers.append(reset(client, password=second)))

    def verify(_: Any) -> Any:
        if other.ident is None:
            other.start()
            eventually(lambda: not other.is_alive() or is_in(other, SingleFlight._wait))
        return 200, proven()

    supabase.answers("/verify", verify)
    assert reset(client).status_code == 200
    other.join()

    passwords = [body["password"] for path, body, _ in supabase.asked if path == "/user"]
    if second == PASSWORD:
        assert [answers[0].status_code, set(passwords)] == [200, {PASSWORD}]
    else:
        assert_problem(answers[0], 401, "link_invalid")
        assert passwords == [PASSWORD]
    assert supabase.paths().count("/verify") == 1


def test_a_weak_password_leaves_the_account_with_none_that_anybody_knows(
    client: Client, supabase: AccountDouble
) -> None:
    supabase.answers("/verify", proven(email_confirmed_at=moment(), last_sign_in_at=moment()))

    def judge(asked: dict[str, Any]) -> Any:
        return (422, {"code": "weak_password"}) if asked["password"] == "weak" else (200, SESSION["user"])

    supabase.answers("/user", judge)

    answer = post(client, "/confirm", type="signup", token_hash=HASH, password="weak")

    assert assert_problem(answer, 422, "weak_password")["ticket"]
    weak, unknown = (body["password"] for path, body, _ in supabase.asked if path == "/user")
    assert weak == "weak"
    assert len(unknown) > 40


@pytest.mark.parametrize("path", ["/confirm", "/password/reset"])
@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        ((422, {"code": "weak_password"}), 422, "weak_password"),
        ((401, AAL), 403, "insufficient_aal"),
        ((500, {"code": "unexpected_failure"}), 503, "upstream_error"),
        (requests.exceptions.ReadTimeout("…"), 503, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("failures", [1, 2, 3])
def test_the_first_ones_password_does_not_outlive_the_confirmation(
    failures: int, refusal: Any, status: int, code: str, path: str, client: Client, supabase: AccountDouble
) -> None:
    """Where the owner's cannot be set, the account gets another one; where that fails twice, the answer tells."""
    supabase.answers("/verify", proven(email_confirmed_at=moment(), last_sign_in_at=moment()))
    passwords: list[str] = []

    def judge(asked: dict[str, Any]) -> Any:
        passwords.append(asked["password"])
        return refusal if len(passwords) <= failures else (200, SESSION["user"])

    supabase.answers("/user", judge)
    kind = {"type": "signup"} if path == "/confirm" else {}

    body = assert_problem(post(client, path, token_hash=HASH, password=PASSWORD, **kind), status, code)

    assert body["ticket"]
    assert body.get("password_unproven", False) is (failures == 3)
    assert len(passwords) == min(failures + 1, 3)
    assert passwords[0] == PASSWORD
    assert PASSWORD not in passwords[1:]
    assert post(client, "/password/reset", ticket=body["ticket"], password=PASSWORD).status_code == 200


def test_an_account_that_was_confirmed_before_keeps_its_password(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/verify", proven(email_confirmed_at=moment(3600), last_sign_in_at=moment()))
    supabase.answers("/user", {"code": "weak_password"}, status=422)

    answers = [reset(client), post(client, "/confirm", type="magiclink", token_hash=HASH, password=PASSWORD)]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert supabase.paths() == ["/verify", "/user"] * 2


@every_mail_route
def test_a_mail_leads_to_no_address_with_a_query(route: str, client: Client, supabase: AccountDouble) -> None:
    """The template's own query would become part of the last value there."""
    answer = ask(client, route, redirect_to=f"{PAGE}?next=https://evil.example/")

    assert "query" in assert_problem(answer, 422, "invalid_request")["errors"]["redirect_to"][0]
    assert supabase.paths() == []


def test_an_outage_after_the_link_was_used_gives_a_ticket(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/user", "<html>", status=502)
    ticket = assert_problem(reset(client), 503, "upstream_unavailable")["ticket"]
    supabase.answers("/user", SESSION["user"])

    answer = post(client, "/password/reset", ticket=ticket, password=PASSWORD)

    assert answer.status_code == 200
    assert supabase.paths() == ["/verify", "/user", "/user"]


def test_a_ticket_sets_one_password(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/user", {"code": "weak_password"}, status=422)
    first = reset(client).get_json()["ticket"]
    second = post(client, "/password/reset", ticket=first, password="weak too").get_json()["ticket"]
    supabase.answers("/user", SESSION["user"])
    assert post(client, "/password/reset", ticket=second, password=PASSWORD).status_code == 200
    asked = len(supabase.asked)

    for ticket in (first, second):
        answer = post(client, "/password/reset", ticket=ticket, password="somebody else's")
        assert "ticket" not in assert_problem(answer, 401, "link_invalid")
    assert len(supabase.asked) == asked


def test_a_ticket_ends_with_a_logout(client: Client, supabase: AccountDouble) -> None:
    """Even one that Supabase has not heard of."""
    session = proven()
    supabase.answers("/verify", session)
    supabase.answers("/user", {"code": "weak_password"}, status=422)
    ticket = reset(client).get_json()["ticket"]
    client.post(f"{AUTH}/logout", headers={"Authorization": f"Bearer {session['access_token']}"})
    supabase.answers("/user", SESSION["user"])

    answer = post(client, "/password/reset", ticket=ticket, password=PASSWORD)

    assert_problem(answer, 401, "link_invalid")


def test_a_second_factor_is_passed_with_the_ticket(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/verify", proven(factors=[{**FACTOR, "status": "unverified", "id": "other"}, FACTOR]))
    supabase.answers("/user", AAL, status=401)
    problem = assert_problem(reset(client), 403, "insufficient_aal")
    assert problem["factors"] == [{"id": FACTOR["id"], "type": "totp", "friendly_name": "phone"}]
    stepped_up = proven("aal2")
    supabase.answers(f"/factors/{FACTOR['id']}/challenge", CHALLENGE)
    supabase.answers(f"/factors/{FACTOR['id']}/verify", {"code": "mfa_verification_failed"}, status=422)
    body = {"ticket": problem["ticket"], "password": PASSWORD}

    wrong = assert_problem(post(client, "/password/reset", code="000000", **body), 401, "code_invalid")
    supabase.answers(f"/factors/{FACTOR['id']}/verify", stepped_up)
    supabase.answers("/user", SESSION["user"])
    answer = post(client, "/password/reset", code="123456", **{**body, "ticket": wrong["ticket"]})

    assert answer.get_json()["access_token"] == stepped_up["access_token"]
    assert supabase.bearers[-1] == f"Bearer {stepped_up['access_token']}"
    assert supabase.asked[-2][1] == {"challenge_id": "challenge", "code": "123456"}


def test_a_factor_is_passed_once_for_several_passwords(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/verify", proven(factors=[FACTOR]))
    supabase.answers(f"/factors/{FACTOR['id']}/challenge", CHALLENGE)
    supabase.answers(f"/factors/{FACTOR['id']}/verify", proven("aal2", factors=[FACTOR]))
    supabase.answers("/user", {"code": "weak_password"}, status=422)
    ticket = assert_problem(reset(client, code="123456"), 422, "weak_password")["ticket"]
    supabase.answers("/user", SESSION["user"])

    answer = post(client, "/password/reset", ticket=ticket, password=PASSWORD, code="123456")

    assert answer.status_code == 200
    assert len([path for path in supabase.paths() if path.endswith("challenge")]) == 1


def test_guesses_of_a_second_factor_are_counted(make: MakeClient, supabase: AccountDouble) -> None:
    client = make(AUTH_THROTTLE_SCALE="1")
    supabase.answers("/verify", proven(factors=[FACTOR]))
    supabase.answers(f"/factors/{FACTOR['id']}/challenge", CHALLENGE)
    supabase.answers(f"/factors/{FACTOR['id']}/verify", {"code": "mfa_verification_failed"}, status=422)

    answers = [reset(client, code="000000") for _ in range(7)]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert all(answer.get_json()["ticket"] for answer in answers)
    foreign = reset(client, code="000000", factor_id="0d6f2a0b-3f1c-4f6e-8d54-91c2a7be4e10")
    assert_problem(foreign, 401, "code_invalid")


def test_only_a_ticket_is_a_ticket(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/user", {"code": "weak_password"}, status=422)
    ticket = reset(client).get_json()["ticket"]
    keys = sealing_keys((), secret=SECRET_KEY)
    value = {"access_token": "a", "refresh_token": "b"}
    asked = len(supabase.asked)

    for wrong in (
        "x",
        ticket[:-4] + ("A" if ticket[-4] != "A" else "B") + ticket[-3:],
        ticket[:60] + ("A" if ticket[60] != "A" else "B") + ticket[61:],
        Sealer(keys, "flow").seal(value, good_for_s=600),
        Sealer((b"x" * 32,), "ticket").seal(value, good_for_s=600),
        Sealer(keys, "ticket").seal(value, good_for_s=-1),
    ):
        answer = post(client, "/password/reset", ticket=wrong, password=PASSWORD)
        assert_problem(answer, 401, "link_invalid")
    assert len(supabase.asked) == asked


@pytest.mark.parametrize("code", ["session_not_found", "bad_jwt"])
def test_a_ticket_whose_session_is_over_is_no_ticket_any_more(
    client: Client, supabase: AccountDouble, code: str
) -> None:
    supabase.answers("/user", {"code": "weak_password"}, status=422)
    ticket = reset(client).get_json()["ticket"]
    supabase.answers("/user", {"code": code}, status=403)

    body = assert_problem(post(client, "/password/reset", ticket=ticket, password=PASSWORD), 401, "link_invalid")

    assert "ticket" not in body


def test_a_new_address_needs_both_confirmations(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/verify", {"code": "200", "msg": "…"})

    first = post(client, "/confirm", type="email_change", token_hash=HASH)

    assert (first.status_code, first.get_json()) == (202, {"status": "confirmation_pending"})
    assert_problem(post(client, "/confirm", type="signup", token_hash=HASH), 503, "upstream_error")
    supabase.answers("/verify", proven(email="new@example.com"))
    second = post(client, "/confirm", type="email_change", email="old@example.com", token="123456")
    assert second.get_json()["user"]["email"] == "new@example.com"


def test_failing_confirmations_rest_and_stop_no_login(client: Client, supabase: AccountDouble) -> None:
    supabase.answers("/verify", "<html>", status=502)

    statuses = [post(client, "/confirm", type="signup", token_hash=HASH) for _ in range(25)]

    assert {answer.get_json()["code"] for answer in statuses} == {"upstream_unavailable", "resting"}
    assert ask(client, "/otp").status_code == 202


def test_without_settings_every_route_says_so(lane: str) -> None:
    settings = Settings.from_environment({})
    client = Client(create_app(settings, fast_lane=lane == "fast lane"))
    for path, body in {
        **{route: {"email": EMAIL, "password": PASSWORD} for route in MAILING},
        "/confirm": {"type": "signup", "token_hash": HASH},
        "/password/reset": {"token_hash": HASH, "password": PASSWORD},
    }.items():
        assert_problem(post(client, path, **body), 503, "upstream_misconfigured")


def test_no_secret_is_logged(client: Client, supabase: AccountDouble, logs: LogLines) -> None:
    supabase.answers("/user", {"code": "weak_password"}, status=422)
    ticket = reset(client, email=None).get_json()["ticket"]
    post(client, "/password/reset", ticket=ticket, password=PASSWORD, code="987654")
    post(client, "/confirm", type="signup", email=EMAIL, token="987654", password=PASSWORD)
    flow = ask(client, "/signup", redirect_to=PAGE)
    supabase.answers("/verify", requests.ConnectionError(HASH))
    post(client, "/confirm", type="signup", token_hash=HASH)

    challenge = supabase.asked[-2][1]["code_challenge"]
    cookie = flow.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    for secret in (PASSWORD, HASH, "987654", ticket, EMAIL, cookie, challenge, proven()["refresh_token"]):
        assert secret not in str(logs)


def test_every_outcome_of_these_routes_is_a_security_event() -> None:
    routes = ("signup", "signup_resend", "otp", "password_forgot", "confirm", "password_reset")

    events = {route: security_event(route, "ok") for route in routes}

    assert events == {
        "signup": "sign_up",
        "signup_resend": "confirmation_asked",
        "otp": "sign_in_code_asked",
        "password_forgot": "recovery_asked",
        "confirm": "link_accepted",
        "password_reset": "password_changed",
    }


def candidate(code: int) -> str:
    """Return the hash of the link that Supabase would mail together with *code*."""
    return "pkce_" + hashlib.sha224(f"{EMAIL}{code:06}".encode()).hexdigest()


@pytest.mark.parametrize(("path", "more"), [("/confirm", {"type": "recovery"}), ("/password/reset", {})])
@pytest.mark.parametrize("name", ["token_hash", "token"])
def test_links_cannot_be_guessed(
    path: str, more: dict[str, str], name: str, make: MakeClient, supabase: AccountDouble
) -> None:
    """Who knows the address can compute the links of all codes."""
    right, more = candidate(50), {"password": PASSWORD} if path == "/password/reset" else more
    name = name if path == "/password/reset" else "token_hash"
    refusal = (403, {"code": "otp_expired", "message": "…"})
    supabase.answers("/verify", lambda body: (200, proven()) if body.get("token_hash") == right else refusal)
    client = make(AUTH_THROTTLE_SCALE="1", WEB_CONCURRENCY="1")

    answers = [post(client, path, **{name: candidate(code)}, **more).status_code for code in range(100)]

    assert answers == [401] * 10 + [429] * 90
    assert len(supabase.paths()) == 10


def test_whom_guessers_of_links_hold_back_solves_a_challenge(make: MakeClient, supabase: AccountDouble) -> None:
    supabase.answers("/verify", {"code": "otp_expired", "message": "…"}, status=403)
    client = make(AUTH_THROTTLE_SCALE="0.01", WEB_CONCURRENCY="1")
    for number in range(3):
        headers = {"X-Real-IP": f"198.51.{number}.1"}
        guess = {"token_hash": candidate(number), "type": "recovery"}
        answer = client.post(f"{AUTH}/confirm", json=guess, headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"})
        assert_problem(answer, 401, "link_invalid")
    supabase.answers("/verify", proven())

    refused = reset(client)

    challenge = altcha.Challenge.from_dict(assert_problem(refused, 429, "challenge_required")["challenge"])
    solution = altcha.solve_challenge(challenge)
    assert solution is not None
    assert reset(client, challenge=altcha.Payload(challenge, solution).to_base64()).status_code == 200
    assert b"challenge" not in json.dumps([body for _, body, _ in supabase.asked]).encode()
