"""The server's own answers: what is taken of a request that is refused, and what they look like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.conftest import ENVIRONMENT, LogLines
from velro_auth import errors
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.server.refusals import FIELDS, Refuser, environ_of
from velro_auth.web.problems import ANSWERS

CLIENT, SERVER = ("100.64.0.3", 40000), ("127.0.0.1", 8000)
HEAD = (
    b"POST /api/v1/auth/login?secret HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\n"
    b"X-Request-ID: abc-1\r\nX-Real-IP: 203.0.113.9\r\nAuthorization: Bearer secret\r\nCookie: secret\r\n\r\nsecret"
)


def fields(head: bytes) -> dict[str, Any]:
    environ = environ_of(head, CLIENT, SERVER)
    names = ("REQUEST_METHOD", "PATH_INFO")
    return {name: value for name, value in environ.items() if name in names or name.startswith("HTTP_")}


def test_the_method_the_path_and_what_the_edge_reads_are_taken_and_nothing_else() -> None:
    assert fields(HEAD) == {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/v1/auth/login",
        "HTTP_ORIGIN": "https://app.example.com",
        "HTTP_X_REQUEST_ID": "abc-1",
        "HTTP_X_REAL_IP": "203.0.113.9",
    }
    assert not any("secret" in str(value) for value in environ_of(HEAD, CLIENT, SERVER).values())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b'sword": "secret"}',
        b'{"password": "secret"}GET /health HTTP/1.1\r\nOrigin: https://app.example.com\r\n\r\n',
        b"secret /x HTTP/1.1\r\nOrigin: https://app.example.com\r\n\r\n",
        b"\x16\x03\x01secret\r\nOrigin: https://app.example.com\r\n\r\n",
        b"get /secret HTTP/1.1\r\n\r\n",
        b"GET secret HTTP/1.1\r\n\r\n",
    ],
)
def test_nothing_is_taken_of_what_does_not_begin_as_a_request(head: bytes) -> None:
    assert fields(head) == {"REQUEST_METHOD": "-", "PATH_INFO": "-"}


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/secret\r\nOrigin: https://app.example.com\r\n\r\n",
        b"GET /x?" + b"s" * 9000,
        b"GET /x HTTP/1.1\r\nOrigin: https://app.exam",
        b"GET /x HTTP/1.1\r\nOrigin https://app.example.com\r\n\r\n",
        b"GET /x HTTP/1.1\r\nOrigin: https://a.example\r\nOrigin: https://b.example\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\nOrigin: https://app.example.com\r\n\r\n",
    ],
)
def test_a_field_that_is_not_all_there_or_comes_twice_is_not_taken(head: bytes) -> None:
    assert fields(head) == {"REQUEST_METHOD": "GET", "PATH_INFO": "/x"}


def test_an_application_may_read_a_field_of_its_own() -> None:
    environ = environ_of(b"GET / HTTP/1.1\r\nCF-Connecting-IP: 1.2.3.4\r\n\r\n", CLIENT, SERVER, {"cf-connecting-ip"})

    assert environ["HTTP_CF_CONNECTING_IP"] == "1.2.3.4"
    assert "host" not in FIELDS


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.RequestError("InvalidHeader"), 400, "bad_request"),
        (errors.RequestTimeout(), 408, "request_timeout"),
        (errors.TooLarge(), 413, "too_large"),
        (errors.UriTooLong(), 414, "uri_too_long"),
        (errors.ExpectationFailed(), 417, "expectation_failed"),
        (errors.HeadersTooLarge(), 431, "headers_too_large"),
        (errors.CodingNotImplemented(), 501, "not_implemented"),
        (errors.Busy(), 503, "busy"),
        (ZeroDivisionError("a defect"), 500, "internal_error"),
    ],
)
def test_a_refusal_is_an_answer_like_any_other(error: Exception, status: int, code: str, logs: LogLines) -> None:
    later: list[Callable[[], object]] = []
    service = create_app(Settings.from_environment(ENVIRONMENT))

    answer = Refuser(service).answer(error, HEAD, CLIENT, SERVER, later)
    for job in later:
        job()

    head, _, body = answer.partition(b"\r\n\r\n")
    names = dict(re.findall(r"\r\n([^:]+): ([^\r]*)", head.decode()))
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body) == {
        "type": "about:blank",
        "title": json.loads(body)["title"],
        "status": status,
        "status_code": status,
        "code": code,
        "detail": next(row.detail for row in ANSWERS.values() if row.code == code),
        "request_id": "abc-1",
    }
    assert names["Connection"] == "close"
    assert names["X-Request-ID"] == "abc-1"
    assert names["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert names["Cache-Control"] == "no-store"
    assert names["Content-Length"] == str(len(body))
    (line,) = logs.access
    assert (line["lane"], line["status"], line["outcome"]) == ("server", status, code)
    assert (line["method"], line["path"], line["address"]) == ("POST", "/api/v1/auth/login", "203.0.113.9")
    assert f'velro_auth_requests_total{{lane="server",route="login",status="{status // 100}xx"}} 1.0'.encode() in (
        service._parts.state.telemetry.render()
    )


def test_a_refusal_has_the_address_of_the_header_that_the_settings_name_now(logs: LogLines) -> None:
    head = b"GET / HTTP/1.1\r\nCF-Connecting-IP: 203.0.113.9\r\nFly-Client-IP: 203.0.113.10\r\nbroken\r\n\r\n"
    service = create_app(Settings.from_environment({**ENVIRONMENT, "AUTH_CLIENT_IP_HEADER": "CF-Connecting-IP"}))
    refuser, later = Refuser(service), list[Callable[[], object]]()

    refuser.answer(errors.RequestError(), head, CLIENT, SERVER, later)
    service._take(Settings.from_environment({**ENVIRONMENT, "AUTH_CLIENT_IP_HEADER": "Fly-Client-IP"}))
    refuser.answer(errors.RequestError(), head, CLIENT, SERVER, later)
    for job in later:
        job()

    assert [line["address"] for line in logs.access] == ["203.0.113.9", "203.0.113.10"]


def test_an_answer_to_head_has_no_body() -> None:
    service = create_app(Settings.from_environment(ENVIRONMENT))

    answer = Refuser(service).answer(errors.UriTooLong(), b"HEAD /x", CLIENT, SERVER, [])

    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 0\r\n" not in answer


def test_an_application_that_knows_nothing_of_refusals_is_not_asked() -> None:
    def app(_: object, __: object) -> Iterable[bytes]:
        raise AssertionError("asked")

    answer = Refuser(app).answer(errors.HeadersTooLarge(), HEAD, CLIENT, SERVER, [])

    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


def test_an_application_that_fails_at_it_is_answered_for() -> None:
    class Failing:
        answers_refusals = True

        def __call__(self, _: object, __: object) -> Iterable[bytes]:
            raise ValueError("a defect")

    assert Refuser(Failing()).answer(errors.UriTooLong(), HEAD, CLIENT, SERVER, []).startswith(b"HTTP/1.1 414 ")
