"""The doctor's checks of tokens: would this service accept what its logins hand out? With an account, and without."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from supabase_standin import Standin
from tests.contract.test_doctor_upstream import look, settings_of
from tests.fixtures.standin import PASSWORD, Api, new_email
from tests.fixtures.tokens import claims_at, hmac_token
from tests.upstream_double import session
from velro_auth.auth.models import Credentials
from velro_auth.auth.tokens import MAX_TOKEN_BYTES
from velro_auth.config.settings import Settings
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.context import DiagnosticContext

#: What nginx leaves for a token in a header line of 8 KiB.
NGINX_BYTES = 8192 - len("Authorization: Bearer \r\n")
SECRET = "canary-secret-of-the-project-32-bytes"
OTHER_SECRET = "canary-of-another-project-of-32-bytes"
HOOK = """
create or replace function velro_auth.custom_access_token_hook(event jsonb) returns jsonb
language plpgsql as $$ begin return {}; end $$
"""


@pytest.fixture(scope="module")
def hooked(new_standin: Callable[..., Standin]) -> Api:
    """A stand-in whose hook the tests replace one by one."""
    api = Api(new_standin())
    api.sql("create schema velro_auth")
    api.sql("grant usage on schema velro_auth to supabase_auth_admin")
    return api


@pytest.fixture
def account(hooked: Api) -> Credentials:
    credentials = Credentials(new_email(), PASSWORD)
    hooked.server.create_user(credentials.email, PASSWORD)
    return credentials


def hook(api: Api, body: str) -> None:
    api.sql(HOOK.format(body).replace("%", "%%"))


def test_a_token_that_verify_accepts(hooked: Api, account: Credentials) -> None:
    hook(hooked, "event")

    result = look("account.token", settings_of(hooked.server), account=account)

    assert result.status == "pass"
    assert result.found.startswith("verify accepts it; ")


def test_a_session_that_does_not_fit_into_cookies(hooked: Api, account: Credentials) -> None:
    hook(hooked, "jsonb_set(event, '{claims,much}', to_jsonb(repeat('x', 4000)))")

    with_cookies = look("account.token", settings_of(hooked.server, AUTH_COOKIE_SESSIONS="1"), account=account)
    without = look("account.token", settings_of(hooked.server), account=account)

    assert with_cookies.status == "fail"
    assert "does not fit into the cookies" in with_cookies.found
    assert without.status == "pass"


def test_another_issuer_is_told_with_the_variable(hooked: Api, account: Credentials) -> None:
    hook(hooked, "event")
    settings = settings_of(hooked.server, AUTH_ISSUERS="https://auth.example/auth/v1")

    with_account = look("account.token", settings, account=account)
    without = look("upstream.issuer", settings)

    assert with_account.status == without.status == "fail"
    assert f"iss is '{hooked.server.url}/auth/v1'; accepted: https://auth.example/auth/v1" in with_account.found
    assert without.fix == f"Set AUTH_ISSUERS={hooked.server.url}/auth/v1, or correct SUPABASE_URL."
    assert look("upstream.issuer", settings_of(hooked.server)).status == "pass"


def test_a_project_that_does_not_say_who_issues_its_tokens(standin: Standin) -> None:
    standin.faults.on("wrong_json", path="/auth/v1/.well-known/openid", value=[])

    assert look("upstream.issuer", settings_of(standin)).status == "skip"


def test_a_hook_that_drops_the_issuer(hooked: Api, account: Credentials) -> None:
    hook(hooked, "event #- '{claims,iss}'")

    result = look("account.token", settings_of(hooked.server), account=account)

    assert result.status == "fail"
    assert "missing: iss" in result.found
    assert "hook" in result.fix


def test_a_slow_clock(hooked: Api, account: Credentials) -> None:
    hook(hooked, "event")

    result = look("account.token", settings_of(hooked.server), account=account, now=lambda: time.time() - 300)

    assert result.status == "fail"
    assert "this machine's clock is slow" in result.found
    assert "timedatectl" in result.fix


def look_at_token(standin: Standin, settings: Settings, **claims: Any) -> Finding:
    """Look at a token that is signed with HS256, as those of older projects are."""
    token = hmac_token(claims_at(time.time(), iss=f"{standin.url}/auth/v1", **claims), SECRET)
    standin.faults.on("wrong_json", path="/auth/v1/token", value=session(access_token=token))
    [check] = [check for check in CHECKS if check.name == "account.token"]
    with contextlib.closing(
        DiagnosticContext(settings=settings, account=Credentials("ada@example.com", PASSWORD))
    ) as context:
        return check.run(context)


def test_a_secret_of_another_project(standin: Standin) -> None:
    """Case 27."""
    wrong = look_at_token(standin, settings_of(standin, SUPABASE_JWT_SECRET=OTHER_SECRET))
    right = look_at_token(standin, settings_of(standin, SUPABASE_JWT_SECRET=SECRET))

    assert (wrong.status, right.status) == ("fail", "pass")
    assert "SUPABASE_JWT_SECRET" in wrong.fix
    assert "canary" not in wrong.output + wrong.fix


@pytest.mark.parametrize(("secret", "status"), [(SECRET, "pass"), (OTHER_SECRET, "fail"), ("", "pass")])
def test_a_legacy_key_shows_the_secret_without_an_account(standin: Standin, secret: str, status: str) -> None:
    key = jwt.encode({"role": "service_role", "iss": "supabase", "ref": "a-project"}, SECRET, algorithm="HS256")

    result = look("upstream.secret", settings_of(standin, SUPABASE_SECRET_KEY=key, SUPABASE_JWT_SECRET=secret))

    assert result.status == status
    assert "canary" not in result.found + result.fix


def test_a_secret_that_only_a_login_can_show(standin: Standin) -> None:
    assert look("upstream.secret", settings_of(standin, SUPABASE_JWT_SECRET=SECRET)).status == "skip"


@pytest.mark.parametrize(
    ("least", "status"), [(MAX_TOKEN_BYTES + 1, "fail"), (NGINX_BYTES + 1, "warn"), (NGINX_BYTES - 20, "pass")]
)
def test_a_token_that_will_not_fit(standin: Standin, least: int, status: str) -> None:
    """Here, or through a gateway as it comes."""
    # One letter of a claim makes a token one or two letters longer.
    filler = next(
        size for size in itertools.count(least // 2) if len(hmac_token(claims(standin, size), SECRET)) >= least
    )

    found = look_at_token(standin, settings_of(standin, SUPABASE_JWT_SECRET=SECRET), large="x" * filler)

    assert found.status == status
    assert status == "pass" or "app_metadata" in found.fix


def claims(standin: Standin, filler: int) -> dict[str, Any]:
    return claims_at(time.time(), iss=f"{standin.url}/auth/v1", large="x" * filler)


def test_the_standin_answers_discovery_as_supabase_does(standin: Standin) -> None:
    told = Api(standin).call("GET", "/auth/v1/.well-known/openid-configuration")

    recorded = json.loads((Path(__file__).parent.parent / "vectors" / "openid-configuration.json").read_text("utf-8"))
    assert told.headers["Cache-Control"] == "public, max-age=600"
    assert told.json() == json.loads(json.dumps(recorded).replace("<auth_base>", standin.url))
