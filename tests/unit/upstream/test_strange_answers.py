"""Answers that no Supabase gives: each is an error of ours, never one of Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from requests import PreparedRequest

from tests.upstream_double import session, token
from velro_auth.auth.passing import Call, Kind
from velro_auth.auth.tokens import Claims
from velro_auth.context import RequestContext
from velro_auth.errors import UpstreamError, UpstreamFailed, UpstreamUnavailable, WrongAnswer
from velro_auth.upstream.answers import session_from
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.passing import SupabasePassing
from velro_auth.upstream.profiles import SupabaseProfiles
from velro_auth.upstream.session_rows import SupabaseSessionRows
from velro_auth.upstream.transport.transport import Read, Reply, Transport

CONTEXT = RequestContext(request_id="r", address="", arrived_s=0.0)
NOON_S = 1_795_000_000


def reply(body: Any, **headers: str) -> Reply:
    return Reply(200, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


class Answering:
    """A transport with one answer."""

    def __init__(self, answer: Reply) -> None:
        self._answer = answer

    def prepare(self, *_: Any, **__: Any) -> PreparedRequest:
        return PreparedRequest()

    def ask(self, _: PreparedRequest, read: Callable[[Reply], Read], *__: Any, **___: Any) -> Read:
        return read(self._answer)


def answering(answer: Reply) -> Transport:
    return cast("Transport", Answering(answer))


@pytest.mark.parametrize("exp", [float("nan"), float("inf"), -float("inf"), 10**400, -1, True, "soon", [], 1e300])
def test_an_end_that_is_none_does_not_count(exp: Any) -> None:
    told = session(access_token=token(exp=exp), expires_in=60, expires_at=NOON_S)

    assert (found := session_from(reply(told))).expires_at == NOON_S
    assert found.expires_in == 60


@pytest.mark.parametrize("lifetime", [10**400, -1, True, None, 1.5, "60"])
def test_without_any_end_it_is_no_session(lifetime: Any) -> None:
    with pytest.raises(UpstreamFailed, match="without a lifetime"):
        session_from(reply(session(access_token=token(), expires_in=lifetime, expires_at=lifetime)))


def test_an_end_with_a_fraction_is_rounded_down() -> None:
    assert session_from(reply(session(access_token=token(exp=NOON_S + 0.9)))).expires_at == NOON_S


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize("text", ["\ud800", "\u00e9", "a\r\nb", "a\x00"])
def test_a_token_that_no_field_can_hold_is_none(name: str, text: str) -> None:
    with pytest.raises(UpstreamFailed, match="a token that is none"):
        session_from(reply(session(**{name: text})))


@pytest.mark.parametrize("row_id", [[], {}, None, 1])
def test_a_row_with_an_id_of_another_kind_is_about_somebody_else(row_id: Any) -> None:
    profiles = SupabaseProfiles(answering(reply([{"id": row_id}])), url="https://a.example", key="k")

    with pytest.raises(WrongAnswer):
        profiles.change("token", "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61", {"display_name": "A"})


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "", None, 1, []])
def test_a_time_before_all_times_is_no_time(moment: Any) -> None:
    row = {"id": "s", "created_at": moment, "last_used_at": moment, "aal": "aal1", "is_current": True}
    rows = SupabaseSessionRows(answering(reply([row])), shows_address=lambda: True)

    with pytest.raises(UpstreamFailed, match="without its fields"):
        rows.of("token", Claims("u", "s", 0), CONTEXT)


def passed(answer: Reply, *, kind: Kind = "public", path: str = "/settings", bearer: str = "") -> Any:
    calls = AuthCalls(answering(answer), forwards_address=False)
    return SupabasePassing(calls).ask(Call(kind=kind, method="GET", path=path, bearer=bearer), CONTEXT)


@pytest.mark.parametrize("value", ["a\x01", "a\r\nX-Evil: 1", "a\nb", "\u20ac", "http://[::1", "https://[x]/"])
@pytest.mark.parametrize("name", ["Location", "Cache-Control"])
def test_a_field_that_cannot_be_passed_on_is_no_answer(name: str, value: str) -> None:
    with pytest.raises(UpstreamUnavailable, match="a header field with"):
        passed(reply({}, **{name: value}))


def test_usual_fields_are_passed_on() -> None:
    found = passed(reply({}, Location="https://a.example/x?a=b#c", Vary="Origin"))

    assert found.headers == [("Content-Type", "application/json"), ("Location", "https://a.example/x?a=b#c")]


@pytest.mark.parametrize("body", [b"null", b"[]", b'[{"id": "somebody"}]', b"1", b'"x"', b"{}", b"<html>", b""])
@pytest.mark.parametrize("media_type", ["application/json", "text/html"])
def test_a_user_whose_id_nobody_can_see_is_not_passed_on(body: bytes, media_type: str) -> None:
    answer = Reply(200, {"Content-Type": media_type}, body)

    with pytest.raises(UpstreamError):
        passed(answer, kind="user", path="/user", bearer=token(sub="u"))
