"""Whether a project demands a captcha: what is learnt from which answer, and when it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import responses

from tests.conftest import PUBLISHABLE_KEY, SECRET_KEY, LogLines
from tests.unit.guards.clock import HandClock
from tests.upstream_double import PROJECT, UpstreamDouble
from velro_auth.upstream.captcha import FRESH_S, RETRY_S, LearntCaptcha
from velro_auth.upstream.transport.transport import Transport

DEMANDED = {"code": "captcha_failed"}
NOT_DEMANDED = {"code": "validation_failed"}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def supabase() -> Iterator[UpstreamDouble]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield UpstreamDouble(mock)


@pytest.fixture
def captcha(clock: HandClock) -> LearntCaptcha:
    return LearntCaptcha(Transport(PROJECT, key=SECRET_KEY, pool_size=1), key=PUBLISHABLE_KEY, clock=clock)


def test_it_is_asked_with_the_publishable_key_and_without_any_account(
    supabase: UpstreamDouble, captcha: LearntCaptcha
) -> None:
    supabase.answers(DEMANDED, status=400)

    assert captcha.is_demanded()

    (asked,) = supabase.asked
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert (headers["apikey"], asked.body) == (PUBLISHABLE_KEY, b"{}")
    assert not headers.keys() & {"authorization", "sb-forwarded-for"}


@pytest.mark.parametrize(
    ("body", "status", "is_demanded"),
    [
        (DEMANDED, 400, True),
        (NOT_DEMANDED, 400, False),
        ({"code": "over_request_rate_limit"}, 429, False),
        ({"code": "email_provider_disabled"}, 422, False),
        ({"code": "unexpected_failure"}, 500, True),
        ("<html>", 502, True),
        ({"code": "captcha_failed"}, 500, True),
        ("not found", 404, True),
        (ConnectionResetError(), 0, True),
    ],
    ids=["captcha", "no captcha", "limit", "no e-mail", "failure", "verifier", "page", "elsewhere", "nothing"],
)
def test_what_is_learnt_from_an_answer(
    supabase: UpstreamDouble, captcha: LearntCaptcha, body: Any, status: int, *, is_demanded: bool
) -> None:
    """The captcha is checked first. While nothing is known, the publishable key is right in any project."""
    supabase.answers(body, status=status)

    assert captcha.is_demanded() is is_demanded


def test_an_answer_is_believed_for_a_minute(supabase: UpstreamDouble, captcha: LearntCaptcha, clock: HandClock) -> None:
    supabase.answers(NOT_DEMANDED, status=400)
    assert [captcha.is_demanded() for _ in range(3)] == [False] * 3
    supabase.answers(DEMANDED, status=400)

    clock.advance(FRESH_S - 1)
    assert not captcha.is_demanded()
    clock.advance(1)
    assert captcha.is_demanded()
    assert len(supabase.asked) == 2


def test_without_an_answer_the_former_one_counts_and_it_is_asked_again_soon(
    supabase: UpstreamDouble, captcha: LearntCaptcha, clock: HandClock
) -> None:
    supabase.answers(NOT_DEMANDED, status=400)
    captcha.is_demanded()
    clock.advance(FRESH_S)
    supabase.answers("<html>", status=502)

    assert [captcha.is_demanded() for _ in range(3)] == [False] * 3
    assert len(supabase.asked) == 2
    clock.advance(RETRY_S)
    captcha.is_demanded()
    assert len(supabase.asked) == 3


def test_a_login_that_was_refused_for_its_captcha_tells_it_at_once(
    supabase: UpstreamDouble, captcha: LearntCaptcha
) -> None:
    supabase.answers(NOT_DEMANDED, status=400)
    assert not captcha.is_demanded()

    captcha.demanded()

    assert captcha.is_demanded()


def test_with_a_key_that_is_refused_nothing_is_learnt_and_that_is_said_once(
    supabase: UpstreamDouble, captcha: LearntCaptcha, clock: HandClock, logs: LogLines
) -> None:
    """As without a publishable key: a mistyped one must not end all logins."""
    supabase.answers({"message": "Invalid API key"}, status=401)

    for _ in range(3):
        assert not captcha.is_demanded()
        clock.advance(FRESH_S)

    assert [record.levelname for record in logs.records if "SUPABASE_PUBLISHABLE_KEY" in record.getMessage()] == [
        "ERROR"
    ]
    assert PUBLISHABLE_KEY not in str(logs)


def test_while_one_caller_asks_the_others_do_not_wait(supabase: UpstreamDouble, captcha: LearntCaptcha) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        is_asked.set()
        may_answer.wait(60)
        return 400, {}, '{"code": "validation_failed"}'

    supabase.answers()
    supabase.calls_back(answer)
    asker = threading.Thread(target=captcha.is_demanded)
    asker.start()
    assert is_asked.wait(60)

    assert captcha.is_demanded()
    may_answer.set()
    asker.join()
    assert not captcha.is_demanded()
