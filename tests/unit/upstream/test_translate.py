"""What answers of Supabase mean, where the status and the code disagree."""

from __future__ import annotations

import itertools
import json

import pytest

from velro_auth import errors
from velro_auth.upstream import account_questions, translate
from velro_auth.upstream.transport.transport import Reply

QUESTIONS = {"password": translate.PASSWORD_GRANT, "refresh": translate.REFRESH_GRANT, "bearer": translate.BEARER}
CODES = sorted({code for question in QUESTIONS.values() for code in question.codes})


def meaning(status: int, body: object, question: translate.Question, **headers: str) -> type[Exception]:
    reply = Reply(status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())
    return type(translate.refusal(reply, question))


@pytest.mark.parametrize("status", [500, 501, 505, 599])
@pytest.mark.parametrize(("name", "code"), list(itertools.product(QUESTIONS, CODES)))
def test_a_failure_is_no_refusal_whatever_its_code_says(name: str, code: str, status: int) -> None:
    """Nobody is told "wrong password" by a server that failed."""
    assert meaning(status, {"code": code}, QUESTIONS[name]) is errors.UpstreamFailed


@pytest.mark.parametrize("status", [502, 503, 504, 520, 530])
@pytest.mark.parametrize("name", QUESTIONS)
def test_nor_is_an_edge_that_reached_nobody(name: str, status: int) -> None:
    assert meaning(status, {"code": "invalid_credentials"}, QUESTIONS[name]) is errors.UpstreamUnavailable


@pytest.mark.parametrize("body", [{"message": "Invalid API key"}, {"code": "invalid_api_key"}, {}, []])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_401_of_the_edge_is_about_our_key(name: str, body: object) -> None:
    assert meaning(401, body, QUESTIONS[name]) is errors.UpstreamMisconfigured


@pytest.mark.parametrize("code", ["over_request_rate_limit", "unknown", "invalid_credentials", None])
@pytest.mark.parametrize("name", QUESTIONS)
def test_429_is_a_limit_whatever_its_code_says(name: str, code: str | None) -> None:
    assert meaning(429, {"code": code}, QUESTIONS[name]) is errors.UpstreamThrottled


@pytest.mark.parametrize(
    ("code", "is_told"), [("a_code", True), ("a\r\nX-Evil: 1", False), ("\ud800", False), ("\x01", False)]
)
def test_only_what_looks_like_a_code_is_told_on(code: str, is_told: bool) -> None:
    """It becomes a header field."""
    reply = Reply(400, {"Content-Type": "application/json"}, json.dumps({"code": code}).encode())

    assert (translate.refusal(reply, translate.BEARER).told is not None) is is_told


@pytest.mark.parametrize("question", [account_questions.SIGN_UP, account_questions.MAIL])
def test_a_limit_of_mails_is_no_limit_of_calls_where_mails_are_asked_for(question: translate.Question) -> None:
    """Else a flood of forgotten passwords would hold back the logins."""
    assert meaning(429, {"code": "over_email_send_rate_limit"}, question) is errors.MailRefused
    assert meaning(429, {"code": "over_request_rate_limit"}, question) is errors.UpstreamThrottled
    assert meaning(429, {"code": "over_email_send_rate_limit"}, translate.BEARER) is errors.UpstreamThrottled
