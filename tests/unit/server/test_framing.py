"""What is refused, answered early or waited for, where the application says which bodies it reads."""

from __future__ import annotations

import pytest

from velro_auth import errors
from velro_auth.server.framing import FIELD_BYTES, TOKEN_FIELD_BYTES, Arrival, Intake, Stage

LIMITS = {("POST", "/login"): 20}
INTAKE = Intake(probe_paths=["/health"], limit_request_line=4094, body_limits=lambda: LIMITS)


def judge(data: bytes) -> tuple[Stage, type[Exception] | None]:
    arrival = Arrival(bytearray(data))
    stage = INTAKE.judge(arrival)
    return stage, type(arrival.error) if arrival.error else None


def post(*fields: str, line: str = "POST /login HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: a", *fields, "", ""]).encode() + body


TOO_LARGE = (Stage.REFUSED, errors.TooLarge)


@pytest.mark.parametrize(
    "data",
    [
        post("Content-Length: 21"),
        post("Content-Length: 999999999999999999"),
        post("Content-Length: 21", line="POST /login/ HTTP/1.1"),
        post("Content-Length: 21", line="POST /%6Cogin?a=b HTTP/1.0"),
        post("Content-Length: 21", "Expect: 100-continue"),
        post("Content-Length: 21", line="POST http://a/login HTTP/1.1"),
        post("Transfer-Encoding: chunked", body=b"15\r\n"),
        post("Transfer-Encoding: chunked", body=b"10\r\n0123456789abcdef\r\n5\r\n"),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_comes(data: bytes) -> None:
    assert judge(data) == TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        post("Content-Length: 20"),
        post("Content-Length: 20", line="POST /login/ HTTP/1.1", body=b"{"),
        post("Content-Length: 20", "Expect: 100-continue"),
        post("Transfer-Encoding: chunked", body=b"14\r\n0"),
        post("Content-Length: 20", line="POST http://a/login HTTP/1.1"),
    ],
)
def test_a_body_that_is_read_is_waited_for(data: bytes) -> None:
    assert judge(data) == (Stage.PARTIAL, None)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("GET /verify HTTP/1.1", "Content-Length: 20"),
        ("POST /verify/a HTTP/1.1", "Content-Length: 99999999"),
        ("POST /verify HTTP/1.1", "Transfer-Encoding: chunked"),
        ("GET /login HTTP/1.1", "Content-Length: 20"),
        ("GET /health HTTP/1.1", "Content-Length: 20"),
        ("OPTIONS /login HTTP/1.1", "Content-Length: 20"),
    ],
)
def test_a_body_that_is_not_read_is_not_waited_for(line: str, field: str) -> None:
    assert judge(post(field, line=line)) == (Stage.EARLY, None)
    assert judge(post(field, "Expect: 100-continue", line=line)) == (Stage.EARLY, None)


def test_a_body_that_is_not_read_but_is_all_there_leaves_the_connection_open() -> None:
    assert judge(post("Content-Length: 2", line="POST /verify HTTP/1.1", body=b"{}")) == (Stage.WHOLE, None)
    chunked = post("Transfer-Encoding: chunked", line="POST /verify HTTP/1.1", body=b"1\r\na\r\n0\r\n\r\n")
    assert judge(chunked) == (Stage.WHOLE, None)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_only_who_waits_to_be_told_is_told_to_continue(version: str) -> None:
    waits = Arrival(bytearray(post("Content-Length: 2", "Expect: 100-Continue", line=f"POST /login HTTP/{version}")))
    does_not = Arrival(bytearray(post("Content-Length: 2")))

    assert INTAKE.judge(waits) is INTAKE.judge(does_not) is Stage.PARTIAL

    assert waits.wants_continue is (version == "1.1")
    assert not does_not.wants_continue


@pytest.mark.parametrize(
    ("field", "fits"),
    [
        ("Authorization: " + "x" * TOKEN_FIELD_BYTES, True),
        ("Authorization: " + "x" * (TOKEN_FIELD_BYTES + 1), False),
        ("cookie:" + "x" * TOKEN_FIELD_BYTES, True),
        ("Cookie:  " + "x" * (TOKEN_FIELD_BYTES + 1), False),
        ("X-Other: " + "x" * FIELD_BYTES, True),
        ("X-Other: " + "x" * (FIELD_BYTES + 1), False),
        ("X-Authorization: " + "x" * (FIELD_BYTES + 1), False),
    ],
)
def test_fields_that_hold_tokens_may_be_larger_than_others(field: str, *, fits: bool) -> None:
    data = post("A: b", field, "C: d", line="GET /verify HTTP/1.1")

    assert judge(data) == ((Stage.WHOLE, None) if fits else (Stage.REFUSED, errors.HeadersTooLarge))


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01", b"\0", b"GET\x01", b'{"a"', b"get / HTTP/1.1", b"X" * 21, b'sword": 1}', b"\nGET / "]
)
def test_what_cannot_become_a_request_is_refused_at_once(data: bytes) -> None:
    """Nothing more may come: it would be waited for."""
    assert judge(data) == (Stage.REFUSED, errors.RequestError)


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n", b"G", b"GET", b"GET ", b"\r\nGET /", b"PROPFIND /"])
def test_what_can_is_waited_for(data: bytes) -> None:
    assert judge(data) == (Stage.PARTIAL, None)


def test_the_sizes_are_those_of_the_contract() -> None:
    assert (TOKEN_FIELD_BYTES, FIELD_BYTES) == (16_384, 8_192)
