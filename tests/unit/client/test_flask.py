from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient
from velro_auth_client.flask import FlaskGuard

from tests.fixtures.tokens import HandClock, claims_at
from tests.unit.client.project import ONE, URL, Project, bearer


@pytest.fixture
def guard(project: Project, clock: HandClock) -> Iterator[FlaskGuard]:
    guard = FlaskGuard(URL, fetch=project, clock=clock, now=clock)
    yield guard
    guard.close()


@pytest.fixture
def app(guard: FlaskGuard) -> FlaskClient:
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


def test_a_level_that_does_not_exist_is_noticed_at_import(guard: FlaskGuard) -> None:
    with pytest.raises(ValueError, match="aal5"):
        guard.require_user(aal="aal5")
