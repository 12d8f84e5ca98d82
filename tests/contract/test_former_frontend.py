"""Every call of the frontend that was written for the service before this one: a test for each row.

What that frontend calls was read from the former service's routers:

=========================================== ====================================== ===================================
call                                        it sends and expects                   it gets
=========================================== ====================================== ===================================
POST login, also with a slash               email, password, remember_me: session  the same
POST register                               email, password, full_name: session    200, or 202 where a mail confirms
GET me                                      seven fields of the user               all of them
POST refresh                                refresh_token: session                 the same; a bearer alone: 422
POST logout                                 bearer: message                        the same
POST password-reset                         email: 200                             202
POST password-reset-confirm                 token, password: 200                   200 session
PUT profile                                 full_name, avatar_url: user            the same
GET ping, health, version, their aliases    200                                    200
GET /                                       200                                    name, version, links
errors                                      detail, status_code                    both, and more
preflight                                   any header, any method                 the listed ones
diagnoses of the former service             200                                    404, on purpose
=========================================== ====================================== ===================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.asserts import assert_problem
from tests.contract.account_lab import AUTH, PASSWORD, Lab, lab_of
from tests.fixtures.standin import new_email
from velro_auth import __version__

ORIGIN = "https://app.example.com"
OTHER = "another horse, another staple 2!"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:supabase", "ignore::DeprecationWarning:postgrest")

StandinWith = Callable[..., Standin]


@pytest.fixture
def lab(migrated: Standin, lane: str) -> Lab:
    """A project with the migrations, which confirms addresses by itself, as the former one did."""
    return lab_of(migrated, fast_lane=lane == "fast lane", CORS_ORIGINS=ORIGIN)


@pytest.fixture
def client(lab: Lab) -> Client:
    return lab.client


@pytest.fixture
def email() -> str:
    return new_email()


def register(lab: Lab, email: str) -> TestResponse:
    return lab.post("/register", email=email, password=PASSWORD, full_name="Ada Lovelace")


@pytest.fixture
def session(lab: Lab, email: str) -> dict[str, Any]:
    """The session of a registered user."""
    answer = register(lab, email)
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['access_token']}"}


@pytest.mark.parametrize("path", ["/login", "/login/"])
def test_login(lab: Lab, session: dict[str, Any], email: str, path: str) -> None:
    answer = lab.post(path, email=email, password=PASSWORD, remember_me=True)

    assert answer.status_code == 200
    told = answer.get_json()
    assert (told["token_type"], told["user"]["id"]) == ("bearer", session["user"]["id"])
    assert told["access_token"]
    assert told["refresh_token"]
    assert told["user"]["display_name"] == "Ada Lovelace"


def test_register_where_the_project_confirms_by_itself(session: dict[str, Any], email: str) -> None:
    assert session["user"]["email"] == email
    assert session["access_token"]
    assert session["refresh_token"]


def test_register_where_a_mail_confirms(standin_with: StandinWith, email: str) -> None:
    answer = register(lab_of(standin_with(autoconfirm=False, mail_interval_s=0.0)), email)

    assert (answer.status_code, answer.get_json()) == (202, {"status": "confirmation_sent"})


def test_me(client: Client, session: dict[str, Any], email: str) -> None:
    told = client.get(f"{AUTH}/me", headers=bearer(session)).get_json()

    expected = {"id", "email", "full_name", "credits_balance", "created_at", "updated_at", "role"}
    assert expected <= set(told)
    assert (told["email"], told["full_name"]) == (email, "Ada Lovelace")
    assert None not in {told["created_at"], told["updated_at"], told["credits_balance"]}


def test_refresh(lab: Lab, session: dict[str, Any]) -> None:
    answer = lab.post("/refresh", refresh_token=session["refresh_token"])

    assert answer.status_code == 200
    assert {"access_token", "refresh_token"} <= set(answer.get_json())


@pytest.mark.parametrize("media_type", ["", "application/json"])
def test_refresh_with_a_bearer_and_no_body(client: Client, session: dict[str, Any], media_type: str) -> None:
    headers = {**bearer(session), **({"Content-Type": media_type} if media_type else {})}

    told = assert_problem(client.post(f"{AUTH}/refresh", headers=headers), 422, "invalid_request")

    assert '{"refresh_token": "…"}' in told["errors"]["refresh_token"][0]


def test_logout(lab: Lab, session: dict[str, Any]) -> None:
    answer = lab.client.post(f"{AUTH}/logout", headers=bearer(session))

    assert (answer.status_code, list(answer.get_json())) == (200, ["message"])
    assert lab.verify(session) == 401


def test_password_reset(standin_with: StandinWith, email: str) -> None:
    lab = lab_of(standin_with(autoconfirm=False, mail_interval_s=0.0))
    lab.standin.create_user(email, PASSWORD)

    assert lab.post("/password-reset", email=email).status_code == 202
    token = lab.mail(email)["token_hash"]
    answer = lab.post("/password-reset-confirm", token=token, password=OTHER)

    assert answer.status_code == 200
    assert lab.log_in(email, OTHER).status_code == 200


def test_profile(client: Client, session: dict[str, Any]) -> None:
    change = {"full_name": "Augusta Ada King", "avatar_url": "https://app.example.com/ada.png"}

    answer = client.put(f"{AUTH}/profile", json=change, headers=bearer(session))

    assert answer.status_code == 200
    for told in (answer.get_json(), client.get(f"{AUTH}/me", headers=bearer(session)).get_json()):
        assert {name: told[name] for name in change} == change


@pytest.mark.parametrize("path", [f"{AUTH}/ping", f"{AUTH}/health", "/health", "/__health", "/__version"])
def test_probes(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.is_json
    if "version" not in path:
        assert answer.get_json()["status"] in {"ok", "healthy"}


def test_probes_are_answered_by_the_fast_lane(client: Client, lane: str) -> None:
    answers = [client.get(path) for path in (f"{AUTH}/health", "/__health")]

    assert [("X-Fastlane-Time-Ms" in answer.headers) for answer in answers] == [lane == "fast lane"] * 2
    assert [answer.get_json()["bypass_middleware"] for answer in answers] == [lane == "fast lane"] * 2


def test_the_index(client: Client) -> None:
    told = client.get("/").get_json()

    assert (told["name"], told["version"]) == ("velro-auth", __version__)
    assert all(client.get(link).status_code == 200 for link in told["links"].values())


def test_the_index_names_no_closed_document(standin: Standin) -> None:
    client = lab_of(standin, DOCS_ENABLED="off").client

    told = client.get("/").get_json()

    assert all(client.get(link).status_code == 200 for link in told["links"].values())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{AUTH}/login", {"email": "ada@example.com", "password": "wrong"}, 401),
        ("POST", f"{AUTH}/login", {}, 422),
        ("GET", f"{AUTH}/login", None, 405),
        ("GET", f"{AUTH}/me", None, 401),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_errors(client: Client, method: str, path: str, body: dict[str, str] | None, status: int) -> None:
    told = client.open(path, method=method, json=body).get_json()

    assert isinstance(told["detail"], str)
    assert told["status_code"] == told["status"] == status


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "header",
    ["authorization", "content-type", "x-client-info", "apikey", "x-requested-with", "x-csrf-token", "cache-control"],
)
def test_preflights(client: Client, method: str, header: str) -> None:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": header,
    }

    answer = client.options(f"{AUTH}/me", headers=headers)

    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert header in answer.headers["Access-Control-Allow-Headers"].split(", ")


@pytest.mark.parametrize("path", ["diag", "debug-auth", "check-email", "security-info"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_diagnoses_are_gone_on_purpose(client: Client, method: str, path: str) -> None:
    """They told strangers about keys and accounts."""
    assert_problem(client.open(f"{AUTH}/{path}", method=method, json={}), 404, "not_found")
