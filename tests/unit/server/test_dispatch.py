"""Our response against gunicorn's: the same head and body, or both refuse to send it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from hypothesis import example, given, settings
from hypothesis import strategies as st

from velro_auth.context import REPEATED, RepeatedFields
from velro_auth.server.dispatch import respond

Fields = list[tuple[Any, Any]]

_CONFIG = Config()

_NAMES = st.one_of(
    st.sampled_from(
        ["Content-Type", "content-length", "Content-Length", "Connection", "Upgrade", "Transfer-Encoding", "Trailer",
         "X-Request-ID", "Set-Cookie", "Vary", "Server", "Date", "Keep-Alive", "Trailers", ""]
    ),
    st.text(st.characters(max_codepoint=300), max_size=4),
    st.none(),
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(["", "0", "2", " 2 ", "close", "upgrade", "websocket", "chunked", "a\r\nX: y", "\tspaced  "]),
    st.text(st.characters(max_codepoint=300), max_size=8),
    st.just(5),
)
_STATUSES = st.sampled_from(["200 OK", "401 Unauthorized", "204 No Content", "304 Not Modified", "200", "2x", "200 \n"])
_BODIES = st.lists(st.sampled_from([b"", b"{}", b"four"]), max_size=3)


Sent = tuple[bytes, list[bytes], bytes]


def parts_of(sent: bytes) -> Sent:
    """Return status line, the application's fields, and body."""
    head, _, body = sent.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    if b"Transfer-Encoding: chunked" in fields:
        body = b"".join(re.findall(rb"[0-9A-F]+\r\n([a-z{}]+)\r\n", body))
    # The server's own are Server, Date and Connection.
    own = [field for field in fields[3:] if field != b"Transfer-Encoding: chunked"]
    return line, [field for field in own if not field.lower().startswith(b"content-length:")], body


def ours(method: str, status: str, fields: Fields, *body: bytes, keep: bool = True) -> tuple[bytes, bool]:
    def app(_: object, start_response: Any) -> list[bytes]:
        start_response(status, fields)
        return list(body)

    environ = {"REQUEST_METHOD": method, "SERVER_PROTOCOL": "HTTP/1.1"}
    return respond(app, environ, keep=keep, server="Server: gunicorn\r\n")


def gunicorns(method: str, status: str, fields: Fields, *body: bytes) -> bytes:
    sent: list[bytes] = []
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    response = wsgi.Response(request, SimpleNamespace(sendall=sent.append), _CONFIG)
    response.start_response(status, fields)
    for part in body:
        response.write(part)
    response.close()
    return b"".join(sent)


@settings(max_examples=500)
@given(st.sampled_from(["GET", "HEAD", "POST"]), _STATUSES, st.lists(st.tuples(_NAMES, _VALUES), max_size=5), _BODIES)
@example("GET", "200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")], [b"{}"])
@example("GET", "200 OK", [("X-Request-ID", "a\r\nSet-Cookie: b")], [b"{}"])
@example("GET", "200 OK", [("X: a\r\nY", "b")], [b"{}"])
@example("GET", "200 OK", [("", "b")], [b"{}"])
@example("GET", "200 OK", [("X-Spaced", "\t a ")], [b"{}"])
@example("POST", "200 OK", [("Content-Length", "2")], [b"four", b"more"])
@example("POST", "200 OK", [("X-Wide", "\u0394")], [b"{}"])
def test_what_is_sent_is_what_gunicorn_would_send(method: str, status: str, fields: Fields, body: list[bytes]) -> None:
    """But for the framing: see below. An ``Upgrade`` is never sent."""
    fields = [field for field in fields if field[0] != "Upgrade"]
    try:
        expected = gunicorns(method, status, fields, *body)
    except Exception:  # noqa: BLE001 - whatever it is, ours has to refuse it too
        with pytest.raises((ValueError, TypeError)):
            ours(method, status, fields, *body)
        return
    if [str(name).lower() for name, _ in fields].count("content-length") > 1:
        with pytest.raises(ValueError, match="length"):
            ours(method, status, fields, *body)
        return

    assert parts_of(ours(method, status, fields, *body)[0]) == parts_of(expected)


@pytest.mark.parametrize(
    ("method", "status", "fields", "body", "length", "kept"),
    [
        ("GET", "200 OK", [("Content-Length", "2")], b"{}", b"2", True),
        ("GET", "200 OK", [], b"{}", b"2", True),
        ("GET", "200 OK", [], b"", b"0", True),
        ("GET", "200 OK", [("Content-Length", "2")], b"four", b"2", True),
        ("GET", "200 OK", [("Content-Length", "9")], b"four", b"9", False),
        ("HEAD", "200 OK", [("Content-Length", "9")], b"", b"9", True),
        ("HEAD", "200 OK", [], b"", None, True),
        ("GET", "204 No Content", [("Content-Length", "0")], b"", None, True),
        ("GET", "304 Not Modified", [("Content-Length", "9")], b"", b"9", True),
        ("GET", "304 Not Modified", [], b"", None, True),
    ],
)
def test_a_response_has_the_length_of_its_body(
    method: str, status: str, fields: Fields, body: bytes, length: bytes | None, *, kept: bool
) -> None:
    sent, keep = ours(method, status, fields, body)

    found = re.findall(rb"\r\ncontent-length: ([^\r]*)", sent.lower())
    assert found == ([] if length is None else [length])
    assert b"Transfer-Encoding" not in sent
    assert keep is kept
    assert (b"\r\nConnection: keep-alive\r\n" in sent) is kept


@pytest.mark.parametrize("length", ["-2", "+2", "two", "2, 2", ""])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(ValueError, match="length"):
        ours("GET", "200 OK", [("Content-Length", length)], b"{}")


def test_the_end_of_a_connection_is_announced() -> None:
    sent, keep = ours("GET", "200 OK", [], b"{}", keep=False)

    assert b"\r\nConnection: close\r\n" in sent
    assert not keep


def test_an_answer_is_dated() -> None:
    sent, _ = ours("GET", "200 OK", [("Content-Length", "0")])

    date = re.search(rb"\r\nDate: (.*)\r\n", sent)
    assert date is not None
    assert re.fullmatch(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT", date[1].partition(b"\r")[0])


@pytest.mark.parametrize("name", ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Upgrade"])
def test_hop_by_hop_fields_are_the_server_s(name: str) -> None:
    sent, _ = ours("GET", "200 OK", [(name, "a"), ("Content-Length", "0")])

    assert f"{name}: a".encode() not in sent


def test_a_body_may_be_written_and_is_closed() -> None:
    closed: list[bool] = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def app(_: object, start_response: Any) -> Body:
        start_response("500 Oops", [])
        with pytest.raises(AssertionError):
            start_response("200 OK", [])
        start_response("200 OK", [], (None, None, None))(b"a")
        return Body([b"b"])

    sent, _ = respond(app, {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.0"}, keep=False)

    assert sent.startswith(b"HTTP/1.0 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\nab")
    assert closed == [True]


# -- fields that earlier responses had --------------------------------------------------------------------------------


def again(repeated: RepeatedFields, fields: Fields, status: str = "200 OK") -> bytes:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[REPEATED] = repeated
        start_response(status, fields)
        return []

    return respond(
        app, {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}, keep=True, server="Server: gunicorn\r\n"
    )[0]


def without_date(sent: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"", sent)


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
def test_repeated_fields_are_written_as_all_others(status: str) -> None:
    usual = [("Content-Type", "text/plain"), ("Content-Length", "0"), ("Connection", "x"), ("Vary", "Origin")]
    repeated, own = RepeatedFields(usual), [("X-Request-ID", "1"), ("Server", "x")]

    first, second = (without_date(again(repeated, usual + own, status)) for _ in range(2))

    assert first == second == without_date(ours("GET", status, usual + own)[0])


def test_fields_that_only_look_like_the_repeated_ones_are_checked() -> None:
    usual = [("Vary", "Origin"), ("X-A", "b")]
    repeated = RepeatedFields(usual)
    again(repeated, list(usual))

    for other in ([("Vary", "Cookie"), usual[1]], [usual[0]], [usual[1], usual[0]], []):
        lines = [f"{name}: {value}".encode() for name, value in other]
        assert parts_of(again(repeated, other))[1][-len(lines) :] == lines or not other
    with pytest.raises(ValueError, match="X-A"):
        again(repeated, [usual[0], ("X-A", "b\r\nX: y")])


@pytest.mark.parametrize("own", [("X-B", "a\r\nX: y"), ("X B", "a"), ("Content-Length", "3")])
def test_what_is_beside_the_repeated_fields_is_checked(own: tuple[str, str]) -> None:
    usual = [("Vary", "Origin"), ("Content-Length", "0")]

    with pytest.raises(ValueError, match="invalid"):
        again(RepeatedFields(usual), [*usual, own])


def test_repeated_fields_are_checked_before_they_are_written() -> None:
    usual = [("Vary", "a\r\nX: y")]

    with pytest.raises(ValueError, match="Vary"):
        again(RepeatedFields(usual), list(usual))
