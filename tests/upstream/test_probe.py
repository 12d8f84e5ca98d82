"""What readiness and the doctor ask Supabase: whether a login by mail address and password can work at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from tests.fixtures.tokens import HandClock
from tests.upstream_double import PROJECT, TOKEN
from velro_auth.upstream.probe import LoginPathCheck
from velro_auth.upstream.transport.transport import Transport

SETTINGS = f"{PROJECT}/auth/v1/settings"
REFUSED_AS_INVALID = {"code": "validation_failed", "message": "missing email or phone"}


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.post(TOKEN, json=REFUSED_AS_INVALID, status=400)
        mock.get(SETTINGS, json={"external": {"email": True, "phone": False}})
        yield mock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def check(clock: HandClock) -> LoginPathCheck:
    return LoginPathCheck(Transport(PROJECT, key="sb_secret_0123456789", pool_size=1), clock=clock)


def asked(supabase: responses.RequestsMock, url: str) -> int:
    return sum(str(call.request.url).startswith(url) for call in supabase.calls)


def test_a_project_whose_mail_logins_are_on_passes(check: LoginPathCheck, supabase: responses.RequestsMock) -> None:
    assert check().status == "pass"


def test_mail_logins_that_are_off_fail_and_the_sentence_says_what_to_switch_on(
    check: LoginPathCheck, supabase: responses.RequestsMock
) -> None:
    """Supabase refuses an empty login as invalid all the same: the login path alone looks healthy."""
    supabase.replace("GET", SETTINGS, json={"external": {"email": False, "phone": True}})

    found = check()

    assert found.status == "fail"
    assert "e-mail logins are switched off" in found.output
    assert "Authentication, Sign In / Providers, Email" in found.output
    assert "Authentication, Sign In / Providers, Email" in found.fix


def test_both_questions_are_asked_once_in_30_s(
    check: LoginPathCheck, supabase: responses.RequestsMock, clock: HandClock
) -> None:
    for _ in range(6):
        check()
        clock.advance(7)  # asked at 0 and at 35
    assert (asked(supabase, TOKEN), asked(supabase, SETTINGS)) == (2, 2)


def test_mail_logins_that_are_switched_on_again_pass(
    check: LoginPathCheck, supabase: responses.RequestsMock, clock: HandClock
) -> None:
    supabase.replace("GET", SETTINGS, json={"external": {"email": False}})
    assert check().status == "fail"
    supabase.replace("GET", SETTINGS, json={"external": {"email": True}})

    clock.advance(31)

    assert check().status == "pass"


@pytest.mark.parametrize(
    "answer",
    [
        {"body": "<html>", "status": 502},
        {"body": b"\xff{", "content_type": "application/json"},
        {"json": []},
        {"json": {"external": "email"}},
        {"json": {"external": {}}},
        {"body": ConnectionError()},
    ],
)
def test_settings_that_cannot_be_read_say_nothing(
    check: LoginPathCheck, supabase: responses.RequestsMock, answer: dict[str, Any]
) -> None:
    """A project behind another release or a proxy may have none; its logins work."""
    supabase.replace("GET", SETTINGS, **answer)

    assert check().status == "pass"


def test_a_login_path_that_fails_is_told_before_the_settings(
    check: LoginPathCheck, supabase: responses.RequestsMock
) -> None:
    supabase.replace("POST", TOKEN, json={"code": "unexpected_failure"}, status=500)

    assert check().status == "fail"
    assert asked(supabase, SETTINGS) == 0
