"""The doctor's checks that a real login shows: seen failing with each fault of the project, and well without."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from supabase_standin import Standin
from tests.contract.test_doctor_upstream import look, settings_of
from tests.fixtures.standin import Api
from velro_auth.auth.models import Credentials

PASSWORD = "canary-in-the-password"


@pytest.fixture
def account(migrated: Standin) -> Credentials:
    email = f"doctor-{random.getrandbits(48):x}@example.com"
    migrated.create_user(email, PASSWORD)
    return Credentials(email, PASSWORD)


def test_an_account_that_logs_in_shows_the_claim_and_leaves_no_session(migrated: Standin, account: Credentials) -> None:
    result = look("account.claim", settings_of(migrated), account=account)

    assert (result.status, result.found) == ("pass", "user_role is 'viewer'")
    sessions = "select count(*) from auth.sessions s join auth.users u on u.id = s.user_id where u.email = %s"
    assert Api(migrated).sql(sessions, account.email) == [(0,)]


def test_an_account_that_cannot_log_in(migrated: Standin, account: Credentials) -> None:
    wrong = Credentials(account.email, "canary-of-another-kind")

    assert look("account.login", settings_of(migrated), account=wrong).status == "fail"
    assert look("account.login", settings_of(migrated), account=account).status == "pass"


def test_a_hook_that_is_off(new_standin: Callable[..., Standin]) -> None:
    standin = new_standin(token_hook=None)
    standin.create_user("ada@example.com", PASSWORD)

    result = look("account.claim", settings_of(standin), account=Credentials("ada@example.com", PASSWORD))

    assert result.status == "fail"
    assert "Authentication, Hooks" in result.fix


def test_the_list_of_sessions_needs_its_migration(
    migrated: Standin, account: Credentials, new_standin: Callable[..., Standin]
) -> None:
    bare = new_standin(token_hook=None)
    bare.create_user("ada@example.com", PASSWORD)

    missing = look("account.sessions", settings_of(bare), account=Credentials("ada@example.com", PASSWORD))

    assert look("account.sessions", settings_of(migrated), account=account).status == "pass"
    assert (missing.status, "velro-auth db up" in missing.fix) == ("fail", True)


def test_forwarding_that_works_is_proven_by_the_session(migrated: Standin, account: Credentials) -> None:
    settings = settings_of(migrated, DATABASE_URL=migrated.database_dsn)

    assert look("forwarding.proof", settings, account=account).status == "pass"
    assert look("forwarding.proof", settings_of(migrated), account=account).status == "skip"


def test_a_project_that_does_not_listen(new_standin: Callable[..., Standin]) -> None:
    standin = new_standin(forwarded_for=False)
    standin.create_user("ada@example.com", PASSWORD)
    settings = settings_of(standin, DATABASE_URL=standin.database_dsn)

    result = look("forwarding.proof", settings, account=Credentials("ada@example.com", PASSWORD))

    assert result.status == "fail"
    assert "127.0.0.1" in result.found
    assert "Rate limits" in result.fix


def test_a_key_that_forwards_nothing(standin: Standin) -> None:
    settings = settings_of(standin, SUPABASE_SECRET_KEY="", SUPABASE_PUBLISHABLE_KEY=standin.publishable_key)

    assert look("forwarding.allowed", settings).status == "warn"
    assert look("forwarding.allowed", settings_of(standin)).status == "pass"
