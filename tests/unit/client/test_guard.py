from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import pytest
from velro_auth_client import (
    CannotVerify,
    Forbidden,
    InsufficientAal,
    TokenExpired,
    TokenGuard,
    TokenInvalid,
    TokenMissing,
)
from velro_auth_client.core.auth.bearer import bearer_token
from velro_auth_client.core.auth.verifier import Denied

from tests.fixtures.denials import denials_of
from tests.fixtures.tokens import ISSUER, SECRET, USER_ID, HandClock, claims_at, hmac_token
from tests.unit.client.project import URL, Project, bearer
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.tokens import ClaimRules


@pytest.fixture
def guard(project: Project, clock: HandClock) -> Iterator[TokenGuard]:
    guard = TokenGuard(URL, fetch=project, clock=clock, now=clock)
    yield guard
    guard.close()


def test_a_good_token_gives_its_user(guard: TokenGuard) -> None:
    user = guard.verify_bearer(bearer(user_role="admin", aal="aal2")["Authorization"])

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


def test_a_role_and_a_level_may_be_required(guard: TokenGuard) -> None:
    editor = bearer(user_role="editor", aal="aal1")["Authorization"]

    assert guard.verify_bearer(editor, role=("admin", "editor"), aal="aal1").role == "editor"
    with pytest.raises(Forbidden):
        guard.verify_bearer(editor, role="admin")
    with pytest.raises(InsufficientAal):
        guard.verify_bearer(editor, aal="aal2")
    with pytest.raises(ValueError, match="aal5"):
        guard.verify_bearer(editor, aal="aal5")


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
    guard = TokenGuard(URL, fetch=project, denied=cast("Denied", denied), clock=clock, now=clock)
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


def test_no_framework_is_needed() -> None:
    found = "any(name in sys.modules for name in ('flask', 'werkzeug', 'requests', 'velro_auth'))"
    code = f"import sys, velro_auth_client, velro_auth_client.asgi; sys.exit({found})"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_keys_can_be_fetched_ahead_of_the_first_request(guard: TokenGuard, project: Project) -> None:
    assert project.fetches == 0

    guard.warm()

    assert guard.verify_bearer(bearer()["Authorization"]).id == USER_ID
    assert project.fetches == 1
