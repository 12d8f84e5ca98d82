"""What users change about themselves, against a real PostgreSQL and a local Supabase Auth, through both lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest
import requests
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.fixtures.standin import PASSWORD, Api, new_email
from velro_auth.ops.database import Runner

AUTH = "/api/v1/auth"
OTHER = "another horse, another staple 2!"
UNKNOWN = "00000000-0000-4000-8000-000000000001"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")

Session = dict[str, Any]


@dataclass(frozen=True)
class Lab:
    """A gateway in front of a stand-in with the migrations."""

    api: Api
    client: Client

    def ask(self, method: str, path: str, session: Session | None = None, **body: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {session['access_token']}"} if session else {}
        return self.client.open(AUTH + path, method=method, headers=headers, json=body or None)

    def new_user(self) -> str:
        email = new_email()
        self.api.server.create_user(email, PASSWORD)
        return email

    def log_in(self, email: str, password: str = PASSWORD) -> Session:
        answer = self.ask("POST", "/login", email=email, password=password)
        assert answer.status_code == 200, answer.text
        return dict(answer.get_json())

    def stale(self, session: Session) -> Session:
        """Return the session after a refresh, as if its user had signed in eleven minutes ago."""
        self.api.sql(
            "update auth.mfa_amr_claims set created_at = now() - interval '11 min', updated_at = now() - interval"
            " '11 min' where session_id in (select id from auth.sessions where user_id = %s)",
            session["user"]["id"],
        )
        return dict(self.ask("POST", "/refresh", refresh_token=session["refresh_token"]).get_json())

    def sessions_of(self, session: Session) -> int:
        return len(self.api.sql("select id from auth.sessions where user_id = %s", session["user"]["id"]))

    def mails(self, email: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.api.server.url}/mailbox.json", params={"to": email}, timeout=20)
        return list(answer.json())

    def with_factor(self, session: Session) -> tuple[Session, str, pyotp.TOTP]:
        """Return the stepped-up session, the id of its new factor, and the authenticator."""
        enrolled = self.ask("POST", "/factors", session, friendly_name="phone").get_json()
        authenticator = pyotp.TOTP(enrolled["totp"]["secret"])
        answer = self.ask("POST", f"/factors/{enrolled['id']}/verify", session, code=authenticator.now())
        assert answer.status_code == 200, answer.text
        return dict(answer.get_json()), enrolled["id"], authenticator

    def verify(self, session: Session, query: str = "") -> int:
        return self.ask("GET", f"/verify{query}", session).status_code


def lab_of(standin: Standin, gateway_to: Callable[..., Client], **environment: str) -> Lab:
    client = gateway_to(standin, AUTH_MAIL_DELAY_MS="0", AUTH_REDIRECT_URLS="https://app.example.com", **environment)
    return Lab(Api(standin), client)


@pytest.fixture(scope="module")
def by_mail(new_standin: Callable[..., Standin]) -> Standin:
    """A project with the migrations, whose mails confirm."""
    standin = new_standin(autoconfirm=False, mail_interval_s=0.0)
    Runner(standin.database_dsn).up()
    return standin


@pytest.fixture
def lab(by_mail: Standin, gateway_to: Callable[..., Client]) -> Lab:
    return lab_of(by_mail, gateway_to)


# Second factors


def test_a_factor_is_enrolled_proven_and_removed(lab: Lab) -> None:
    email = lab.new_user()
    session, elsewhere = lab.log_in(email), lab.log_in(email)
    assert "mfa" not in session

    enrolled = lab.ask("POST", "/factors", session, friendly_name="phone")

    assert enrolled.status_code == 201
    assert enrolled.headers["Cache-Control"] == "no-store"
    factor = enrolled.get_json()
    assert {*factor} == {"id", "type", "friendly_name", "totp"}
    assert {*factor["totp"]} == {"qr_code", "secret", "uri"}
    authenticator = pyotp.TOTP(factor["totp"]["secret"])
    path = f"/factors/{factor['id']}"
    assert lab.verify(session, "?aal=aal2") == 403
    wrong = f"{(int(authenticator.now()) + 1) % 1_000_000:06}"
    assert_problem(lab.ask("POST", f"{path}/verify", session, code=wrong), 401, "code_invalid")

    challenge = lab.ask("POST", f"{path}/challenge", session)
    assert challenge.status_code == 200
    given = {"code": authenticator.now(), "challenge_id": challenge.get_json()["id"]}
    stepped_up = lab.ask("POST", f"{path}/verify", session, **given)

    assert stepped_up.status_code == 200
    strong = stepped_up.get_json()
    assert lab.verify(strong, "?aal=aal2") == 200
    assert "mfa" not in strong
    # Supabase ended the other session; its token would be good for an hour.
    assert lab.verify(elsewhere) == 401
    assert lab.verify(session) == 200
    [listed] = lab.ask("GET", "/factors", strong).get_json()["factors"]
    assert (listed["id"], listed["status"], listed["friendly_name"]) == (factor["id"], "verified", "phone")
    assert "secret" not in str(listed)
    # The next login says what comes next.
    weak = lab.log_in(email)
    assert weak["mfa"] == {
        "required": True,
        "factors": [{"id": factor["id"], "type": "totp", "friendly_name": "phone"}],
    }
    assert_problem(lab.ask("DELETE", path, weak), 403, "insufficient_aal")
    removed = lab.ask("DELETE", path, strong)
    assert (removed.status_code, removed.data) == (204, b"")
    assert lab.ask("GET", "/factors", strong).get_json() == {"factors": []}
    assert "mfa" not in lab.log_in(email)


def test_a_step_up_ends_lower_sessions_only(lab: Lab) -> None:
    """A device that stepped up before stays logged in."""
    email = lab.new_user()
    first, factor_id, authenticator = lab.with_factor(lab.log_in(email))
    weak, second = lab.log_in(email), lab.log_in(email)

    answer = lab.ask("POST", f"/factors/{factor_id}/verify", second, code=authenticator.now())

    assert answer.status_code == 200
    assert lab.verify(weak) == 401
    assert lab.verify(first, "?aal=aal2") == lab.verify(answer.get_json(), "?aal=aal2") == 200
    assert lab.verify(lab.log_in(email)) == 200


def test_factors_of_others_are_not_found(lab: Lab) -> None:
    _, factor_id, authenticator = lab.with_factor(lab.log_in(lab.new_user()))
    stranger = lab.log_in(lab.new_user())

    for path in (f"/factors/{factor_id}", f"/factors/{UNKNOWN}", "/factors/x", "/factors/..%2Fuser"):
        code = authenticator.now()
        assert_problem(lab.ask("POST", f"{path}/verify", stranger, code=code), 404, "not_found")
        assert_problem(lab.ask("POST", f"{path}/challenge", stranger), 404, "not_found")
        assert_problem(lab.ask("DELETE", path, stranger), 404, "not_found")


def test_what_supabase_does_not_enrol_is_told_by_field(lab: Lab) -> None:
    session = lab.log_in(lab.new_user())
    assert lab.ask("POST", "/factors", session, friendly_name="phone").status_code == 201

    same_name = lab.ask("POST", "/factors", session, friendly_name="phone")
    other_type = lab.ask("POST", "/factors", session, type="phone")

    assert [*assert_problem(same_name, 422, "invalid_request")["errors"]] == ["friendly_name"]
    assert [*assert_problem(other_type, 422, "invalid_request")["errors"]] == ["type"]


def test_a_project_without_factors_says_so(
    standin_with: Callable[..., Standin], gateway_to: Callable[..., Client]
) -> None:
    lab = lab_of(standin_with(totp_enroll=False), gateway_to)

    assert_problem(lab.ask("POST", "/factors", lab.log_in(lab.new_user()), type="totp"), 403, "not_enabled")


# The password


def test_a_new_password_ends_all_other_sessions(lab: Lab) -> None:
    email = lab.new_user()
    session, elsewhere = lab.log_in(email), lab.log_in(email)

    answer = lab.ask("PUT", "/password", session, password=OTHER)

    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Length" not in answer.headers
    assert lab.verify(session) == 200
    assert lab.verify(elsewhere) == 401
    assert_problem(lab.ask("POST", "/login", email=email, password=PASSWORD), 401, "invalid_credentials")
    assert lab.verify(lab.log_in(email, OTHER)) == 200
    assert_problem(lab.ask("POST", "/refresh", refresh_token=elsewhere["refresh_token"]), 401, "session_expired")


def test_what_supabase_does_not_accept_as_a_password_is_422(lab: Lab) -> None:
    session = lab.log_in(lab.new_user())

    weak = assert_problem(lab.ask("PUT", "/password", session, password="abc"), 422, "weak_password")
    same = assert_problem(lab.ask("PUT", "/password", session, password=PASSWORD), 422, "same_password")
    long = assert_problem(lab.ask("PUT", "/password", session, password="x" * 73), 422, "invalid_request")

    assert {*weak["errors"]} == {*same["errors"]} == {*long["errors"]} == {"password"}
    assert lab.verify(session) == 200


def test_a_stale_session_needs_the_current_password(lab: Lab) -> None:
    """A refresh makes nothing fresh; the session of the check is gone at once."""
    email = lab.new_user()
    session = lab.stale(lab.log_in(email))

    refused = lab.ask("PUT", "/password", session, password=OTHER)
    wrong = lab.ask("PUT", "/password", session, password=OTHER, current_password="wrong")
    assert_problem(refused, 403, "reauthentication_needed")
    assert_problem(wrong, 403, "reauthentication_needed")
    assert lab.log_in(email)["user"]["email"] == email
    before = lab.sessions_of(session)

    assert lab.ask("POST", "/factors", session, current_password=PASSWORD).status_code == 201

    assert lab.sessions_of(session) == before
    assert lab.ask("PUT", "/password", session, password=OTHER, current_password=PASSWORD).status_code == 204
    assert lab.sessions_of(session) == 1


def test_a_nonce_replaces_no_freshness(lab: Lab) -> None:
    email = lab.new_user()
    session = lab.stale(lab.log_in(email))
    assert lab.ask("POST", "/reauthenticate", session).status_code == 202
    nonce = lab.mails(email)[0]["token"]

    answer = lab.ask("PUT", "/password", session, password=OTHER, nonce=nonce)

    assert_problem(answer, 403, "reauthentication_needed")


def test_a_mailed_nonce_is_passed_on(new_standin: Callable[..., Standin], gateway_to: Callable[..., Client]) -> None:
    """A project may demand one for sessions that are older than a day."""
    lab = lab_of(new_standin(password_reauthentication=True, mail_interval_s=0.0), gateway_to)
    email = lab.new_user()
    session = lab.log_in(email)
    lab.api.sql("update auth.sessions set created_at = now() - interval '25 h'")

    assert_problem(lab.ask("PUT", "/password", session, password=OTHER), 403, "reauthentication_needed")
    mailed = lab.ask("POST", "/reauthenticate", session)
    assert (mailed.status_code, mailed.get_json()) == (202, {"status": "code_sent"})
    nonce = lab.mails(email)[0]["token"]
    other = f"{(int(nonce) + 1) % 1_000_000:06}"
    assert_problem(lab.ask("PUT", "/password", session, password=OTHER, nonce=other), 401, "link_invalid")
    assert lab.ask("PUT", "/password", session, password=OTHER, nonce=nonce).status_code == 204


def test_a_user_with_factors_steps_up_before_a_new_password(lab: Lab) -> None:
    email = lab.new_user()
    strong, _, _ = lab.with_factor(lab.log_in(email))
    weak = lab.log_in(email)

    assert_problem(lab.ask("PUT", "/password", weak, password=OTHER), 403, "insufficient_aal")
    assert_problem(lab.ask("PATCH", "/me", weak, email=new_email()), 403, "insufficient_aal")
    assert lab.ask("PUT", "/password", strong, password=OTHER).status_code == 204
    assert lab.verify(weak) == 401


# The profile


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/me"), ("PUT", "/profile")])
def test_a_new_name_is_in_the_answer_in_the_next_me_and_in_the_next_login(lab: Lab, method: str, path: str) -> None:
    email = lab.new_user()
    session = lab.log_in(email)
    picture = "https://example.com/ada.png"

    answer = lab.ask(method, path, session, full_name=" Ada ", avatar_url=picture)

    assert answer.status_code == 200
    me = lab.ask("GET", "/me", session).get_json()
    for body in (answer.get_json(), me):
        assert (body["display_name"], body["full_name"], body["avatar_url"]) == ("Ada", "Ada", picture)
        assert body["created_at"] < body["updated_at"]
    assert {*answer.get_json()} == {*me}
    user = lab.log_in(email)["user"]
    assert (user["display_name"], user["avatar_url"]) == ("Ada", picture)

    cleared = lab.ask(method, path, session, display_name=None)

    assert (cleared.get_json()["display_name"], cleared.get_json()["avatar_url"]) == (None, picture)
    assert lab.log_in(email)["user"]["display_name"] is None


def test_without_the_migrations_the_name_is_in_the_metadata(
    standin: Standin, gateway_to: Callable[..., Client]
) -> None:
    lab = lab_of(standin, gateway_to)
    email = lab.new_user()

    answer = lab.ask("PATCH", "/me", lab.log_in(email), display_name="Ada")

    assert (answer.status_code, answer.get_json()["display_name"]) == (200, "Ada")
    assert lab.log_in(email)["user"]["display_name"] == "Ada"


def test_a_change_of_nothing_answers_as_me(lab: Lab) -> None:
    session = lab.log_in(lab.new_user())

    assert lab.ask("PATCH", "/me", session, remember_me=True).get_json() == lab.ask("GET", "/me", session).get_json()


def test_a_new_address_is_pending_and_nobody_is_told_whose_it_is(lab: Lab) -> None:
    email, taken, new = lab.new_user(), lab.new_user(), new_email()
    session = lab.log_in(email)

    answers = [lab.ask("PATCH", "/me", session, email=address) for address in (taken, new, taken)]

    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].data == answers[1].data == answers[2].data == lab.ask("GET", "/me", session).data
    assert len({tuple(name for name, _ in answer.headers) for answer in answers}) == 1
    assert [mail["type"] for mail in lab.mails(new)] == ["email_change"]
    assert lab.mails(taken) == []
    assert lab.log_in(email)["user"]["email"] == email


def test_a_new_address_needs_a_proof(lab: Lab) -> None:
    email, new = lab.new_user(), new_email()
    session = lab.stale(lab.log_in(email))

    assert_problem(lab.ask("PATCH", "/me", session, email=new, display_name="Eve"), 403, "reauthentication_needed")
    assert lab.ask("GET", "/me", session).get_json()["display_name"] is None
    assert lab.ask("PATCH", "/me", session, email=new, current_password=PASSWORD).status_code == 200
    assert len(lab.mails(new)) == 1


def test_a_link_leads_to_allowed_addresses_only(lab: Lab) -> None:
    session, new = lab.log_in(lab.new_user()), new_email()

    refused = lab.ask("PATCH", "/me", session, email=new, redirect_to="https://evil.example/")

    assert [*assert_problem(refused, 422, "invalid_request")["errors"]] == ["redirect_to"]
    assert lab.mails(new) == []
    answer = lab.ask("PATCH", "/me", session, email=new, redirect_to="https://app.example.com/a")
    assert answer.status_code == 200
    assert "__Host-velro_flow_mail_" in answer.headers["Set-Cookie"]
    # Begun with our own challenge: the link of a default template ends in a code, never in tokens.
    assert lab.mails(new)[0]["token_hash"].startswith("pkce_")


def test_the_mail_budget_is_silent(by_mail: Standin, gateway_to: Callable[..., Client]) -> None:
    lab = lab_of(by_mail, gateway_to, AUTH_THROTTLE_SCALE="1")
    session, new = lab.log_in(lab.new_user()), new_email()

    answers = [lab.ask("PATCH", "/me", session, email=new) for _ in range(4)]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.data for answer in answers}) == 1
    assert len(lab.mails(new)) == 2


# Tokens


ROUTES = [
    ("PUT", "/password", {"password": OTHER}),
    ("POST", "/reauthenticate", {}),
    ("PATCH", "/me", {"display_name": "Ada"}),
    ("PUT", "/profile", {"display_name": "Ada"}),
    ("GET", "/factors", {}),
    ("POST", "/factors", {"type": "totp"}),
    ("DELETE", f"/factors/{UNKNOWN}", {}),
    ("POST", f"/factors/{UNKNOWN}/challenge", {}),
    ("POST", f"/factors/{UNKNOWN}/verify", {"code": "123456"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_a_session_that_ended_here_changes_nothing(lab: Lab, method: str, path: str, body: dict[str, Any]) -> None:
    """And Supabase is not asked."""
    session = lab.log_in(lab.new_user())
    assert lab.ask("POST", "/logout", session).status_code == 200
    lab.api.server.requests.clear()

    assert_problem(lab.ask(method, path, session, **body), 401, "token_invalid")
    assert_problem(lab.ask(method, path, None, **body), 401, "token_missing")

    assert [*lab.api.server.requests] == []


# Anonymous users


def test_an_anonymous_user_gets_a_session_where_the_project_allows_it(
    standin_with: Callable[..., Standin], gateway_to: Callable[..., Client]
) -> None:
    lab = lab_of(standin_with(anonymous_users=True), gateway_to)

    answer = lab.ask("POST", "/anonymous", data={"theme": "dark"})

    assert answer.status_code == 200
    session = answer.get_json()
    assert (session["user"]["is_anonymous"], session["user"]["email"]) == (True, None)
    assert session["user"]["user_metadata"] == {"theme": "dark"}
    assert lab.verify(session) == 200
    assert lab.ask("POST", "/anonymous").status_code == 200
    assert_problem(lab.ask("POST", "/reauthenticate", session), 422, "invalid_request")


def test_elsewhere_anonymous_users_are_refused(lab: Lab) -> None:
    assert_problem(lab.ask("POST", "/anonymous"), 403, "not_enabled")
