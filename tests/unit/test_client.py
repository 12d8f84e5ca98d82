from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from tests.fixtures.denials import denials_of
from tests.fixtures.tokens import ISSUER, SECRET, USER_ID, HandClock, SigningKey, claims_at, document, hmac_token
from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.requirements import Requirements
from velro_auth.auth.tokens import ClaimRules
from velro_auth.client import TokenGuard
from velro_auth.errors import Forbidden, TokenExpired, TokenInvalid, TokenMissing, UpstreamUnavailable

ONE = SigningKey("one")
URL = ISSUER.removesuffix("/auth/v1")


class Project:
    """The published keys, and how often they were fetched."""

    def __init__(self) -> None:
        self.fetches = 0
        self.is_down = False

    def __call__(self) -> bytes:
        self.fetches += 1
        if self.is_down:
            raise UpstreamUnavailable("down")
        return document([ONE])


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def project() -> Project:
    return Project()


@pytest.fixture
def guard(project: Project, clock: HandClock) -> Iterator[TokenGuard]:
    guard = TokenGuard(URL, fetch=project, clock=clock, now=clock)
    yield guard
    guard.close()


@pytest.fixture
def app(guard: TokenGuard) -> FlaskClient:
    """A backend with three views."""
    app = flask.Flask(__name__)

    @app.get("/me")
    @guard.require_user()
    def me() -> dict[str, Any]:
        return {"email": guard.current_user().email}

    @app.get("/reports/<name>")
    @guard.require_user(role=("admin", "editor"), aal="aal2")
    def reports(name: str) -> str:
        return f"{name} for {guard.current_user().role}"

    @app.get("/open")
    def unguarded() -> str:
        return guard.current_user().id

    return app.test_client()


def bearer(**changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {ONE.token(claims_at(**changes))}"}


def test_a_good_token_gives_its_user(guard: TokenGuard) -> None:
    token = ONE.token(claims_at(user_role="admin", aal="aal2"))

    user = guard.verify_bearer(f"Bearer {token}")

    assert (user.id, user.email, user.role, user.aal) == (USER_ID, "ada@example.com", "admin", "aal2")
    assert user.claims["user_metadata"] == {"display_name": "Ada Example"}
    assert "Ada Example" not in repr(user)


def test_a_thousand_requests_fetch_the_keys_once(guard: TokenGuard, project: Project) -> None:
    for number in range(1000):
        guard.verify_bearer(bearer(nonce=number % 40)["Authorization"])

    assert project.fetches == 1


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, TokenMissing),
        ("", TokenMissing),
        ("Bearer", TokenMissing),
        ("Bearer  ", TokenMissing),
        ("Basic YTpi", TokenMissing),
        ("Bearer x.y.z", TokenInvalid),
        ("Bearer a.b.c,Bearer d.e.f", TokenInvalid),
        ("Bearer a.b.c d.e.f", TokenInvalid),
    ],
)
def test_anything_else_is_refused(guard: TokenGuard, header: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        guard.verify_bearer(header)


@pytest.mark.parametrize("header", ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c ", " Bearer a.b.c"])
def test_the_scheme_is_written_in_many_ways(header: str) -> None:
    assert bearer_token(header) == "a.b.c"


def test_demands_are_checked(guard: TokenGuard) -> None:
    with pytest.raises(Forbidden):
        guard.verify_bearer(bearer()["Authorization"], requirements=Requirements(roles=frozenset({"admin"})))


def test_without_keys_nothing_is_judged(guard: TokenGuard, project: Project) -> None:
    """503 for the backend's caller, not 401: the user is not at fault."""
    project.is_down = True

    with pytest.raises(CannotVerify):
        guard.verify_bearer(bearer()["Authorization"])


def test_a_legacy_project_is_judged_by_its_secret(project: Project, clock: HandClock) -> None:
    token = f"Bearer {hmac_token(claims_at(), SECRET)}"

    guard = TokenGuard(URL, jwt_secret=SECRET, fetch=project, clock=clock, now=clock)

    assert guard.verify_bearer(token).id == USER_ID
    with pytest.raises(CannotVerify):
        TokenGuard(URL, fetch=project, clock=clock, now=clock).verify_bearer(token)


def test_a_logout_is_noticed_with_a_deny_list(project: Project, clock: HandClock) -> None:
    denied = MemoryDenyList(now=clock)
    guard = TokenGuard(URL, fetch=project, denied=denied, clock=clock, now=clock)
    header = bearer()["Authorization"]
    guard.verify_bearer(header)
    claims = ClaimRules(issuers=(ISSUER,), now=clock).check(claims_at())

    denied.deny(denials_of(claims, "local", now_s=clock()))

    with pytest.raises(TokenInvalid):
        guard.verify_bearer(header)


def test_tokens_end(guard: TokenGuard, clock: HandClock) -> None:
    header = bearer()["Authorization"]
    guard.verify_bearer(header)

    clock.advance(3631)

    with pytest.raises(TokenExpired):
        guard.verify_bearer(header)


@pytest.mark.parametrize("url", [URL, URL + "/", URL + "/auth/v1", URL + "/auth/v1/", f" {URL} "])
def test_the_address_may_be_written_in_several_ways(url: str, project: Project, clock: HandClock) -> None:
    guard = TokenGuard(url, fetch=project, clock=clock, now=clock)

    assert guard.verify_bearer(bearer()["Authorization"]).id == USER_ID


@pytest.mark.parametrize("url", ["", "abcdefgh.supabase.co", "ftp://project.example", "https://"])
def test_what_is_no_address_is_noticed_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="supabase_url"):
        TokenGuard(url)


def test_a_view_gets_its_user(app: FlaskClient) -> None:
    answer = app.get("/me", headers=bearer())

    assert (answer.status_code, answer.json) == (200, {"email": "ada@example.com"})


def test_a_view_without_a_token_is_not_reached(app: FlaskClient) -> None:
    answer = app.get("/me?access_token=" + ONE.token(claims_at()), headers={"X-Request-ID": "abc"})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="velro-auth"'
    assert answer.json is not None
    assert (answer.json["code"], answer.json["request_id"]) == ("token_missing", "abc")


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"exp": 1}, "token_expired"), ({"aud": "other"}, "token_invalid")],
)
def test_a_refused_token_is_named_in_the_answer(app: FlaskClient, changes: dict[str, Any], code: str) -> None:
    answer = app.get("/me", headers=bearer(**changes))

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="velro-auth", error="invalid_token"'
    assert answer.json is not None
    assert answer.json["code"] == code


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"user_role": "admin", "aal": "aal2"}, 200, None),
        ({"user_role": "editor", "aal": "aal2"}, 200, None),
        ({"user_role": "viewer", "aal": "aal2"}, 403, "forbidden"),
        ({"user_role": "admin", "aal": "aal1"}, 403, "insufficient_aal"),
    ],
)
def test_a_view_may_demand_a_role_and_a_level(
    app: FlaskClient, changes: dict[str, Any], status: int, code: str | None
) -> None:
    answer = app.get("/reports/may", headers=bearer(**changes))

    assert answer.status_code == status
    assert (answer.json or {}).get("code") == code


def test_a_view_whose_tokens_cannot_be_judged_says_try_again(app: FlaskClient, project: Project) -> None:
    project.is_down = True

    answer = app.get("/me", headers=bearer())

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def test_a_view_that_is_not_guarded_has_no_user(app: FlaskClient) -> None:
    app.application.testing = True

    with pytest.raises(RuntimeError, match="require_user"):
        app.get("/open", headers=bearer())


def test_a_level_that_does_not_exist_is_noticed_at_import(guard: TokenGuard) -> None:
    with pytest.raises(ValueError, match="aal5"):
        guard.require_user(aal="aal5")


def test_flask_is_not_needed_without_the_decorator() -> None:
    """Other frameworks use ``verify_bearer``."""
    code = "import sys, velro_auth.client; sys.exit('flask' in sys.modules or 'werkzeug' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_keys_can_be_fetched_ahead_of_the_first_request(guard: TokenGuard, project: Project) -> None:
    assert project.fetches == 0

    guard.warm()

    assert guard.verify_bearer(bearer()["Authorization"]).id == USER_ID
    assert project.fetches == 1
