"""The one table error → HTTP."""

from __future__ import annotations

import inspect
import json
import time
from typing import Any

import pytest

from velro_auth import errors
from velro_auth.context import CONTEXT, RequestContext
from velro_auth.errors import VelroAuthError
from velro_auth.web import problems


def fail(error: Exception) -> None:
    raise error


def environ() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made[CONTEXT] = RequestContext(request_id="id", address="", arrived_s=time.monotonic())
    return made


def every_error() -> list[VelroAuthError]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, VelroAuthError)]
    made: list[VelroAuthError] = []
    for kind in kinds:
        if issubclass(kind, errors.InvalidRequest):
            made.append(kind({"email": ["wrong"]}))
        elif kind is errors.MethodNotAllowed:
            made.append(errors.MethodNotAllowed(["POST"]))
        elif kind is errors.ChallengeRequired:
            made.append(errors.ChallengeRequired("x", challenge={}, retry_after_s=1))
        else:
            made.append(kind())
    return made


def test_only_authentication_errors_are_401() -> None:
    for error in every_error():
        if type(error) is not VelroAuthError:
            assert (problems.answer_for(error).status == 401) == isinstance(error, errors.AuthError), error


def test_only_defects_are_500() -> None:
    for error in every_error():
        if type(error) is not VelroAuthError:
            assert problems.answer_for(error).status != 500, error
    assert problems.answer_for(ZeroDivisionError()).status == 500


def test_what_supabase_cannot_do_is_503_which_edges_leave_alone() -> None:
    """502 and 504 are replaced by pages of their own."""
    for error in every_error():
        if isinstance(error, errors.UpstreamError | errors.Unready):
            assert problems.answer_for(error).status == 503, error


def test_every_answer_has_a_title_and_codes_are_words() -> None:
    for answer in problems.ANSWERS.values():
        assert answer.status in problems.TITLES
        assert answer.code.replace("_", "").islower()


def test_a_new_leaf_is_answered_like_its_family() -> None:
    class Novel(errors.InvalidCredentials):
        pass

    assert problems.answer_for(Novel()).code == "invalid_credentials"


@pytest.mark.parametrize(
    ("error", "challenge"),
    [
        (errors.InvalidCredentials(), 'Bearer realm="velro-auth"'),
        (errors.TokenMissing(), 'Bearer realm="velro-auth"'),
        (errors.TokenInvalid(), 'Bearer realm="velro-auth", error="invalid_token"'),
        (errors.TokenExpired(), 'Bearer realm="velro-auth", error="invalid_token"'),
    ],
)
def test_a_challenge_names_the_token_only_when_one_was_sent(error: Exception, challenge: str) -> None:
    """RFC 6750, 3.1: no error code without authentication information."""
    assert problems.respond(error, environ()).headers["WWW-Authenticate"] == challenge


@pytest.mark.parametrize(
    ("given", "answered"), [(0.2, "1"), (1.0, "1"), (1.01, "2"), (299.5, "300"), (30.0 + 6e-11, "30")]
)
def test_a_wait_is_whole_seconds_and_never_too_short(given: float, answered: str) -> None:
    response = problems.respond(errors.Throttled(retry_after_s=given), environ())

    assert response.headers["Retry-After"] == answered


def test_a_defect_keeps_its_traceback_and_no_other_error_does() -> None:
    """A log handler may look at it later."""
    raised: list[Exception] = [ZeroDivisionError("a"), errors.UpstreamFailed("b")]
    for error in raised:
        with pytest.raises(type(error)):
            fail(error)
        problems.respond(error, environ())

    assert [error.__traceback__ is not None for error in raised] == [True, False]


def test_a_reason_is_for_the_log_alone() -> None:
    where = environ()

    response = problems.respond(errors.UpstreamFailed("the inner reason"), where)

    assert b"inner" not in response.data
    assert RequestContext.of(where).log_fields["reason"] == "the inner reason"
    assert RequestContext.of(where).outcome == "upstream_error"


def test_a_field_that_is_wrong_is_in_the_body() -> None:
    response = problems.respond(errors.InvalidRequest({"email": ["Not a valid mail address."]}), environ())

    assert json.loads(response.data)["errors"] == {"email": ["Not a valid mail address."]}
