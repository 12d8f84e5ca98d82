"""Our response against gunicorn's: the same bytes, or the same refusal."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from hypothesis import example, given, settings
from hypothesis import strategies as st

from velro_auth.server.response_writer import Response

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


def sent_by(kind: type[wsgi.Response], method: str, status: str, fields: Fields, *body: bytes) -> tuple[Any, bool]:
    """Return what one of the two sends, or the name of its complaint, and whether it wants to close afterwards."""
    sent: list[bytes] = []
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    response = kind(request, SimpleNamespace(sendall=sent.append), _CONFIG)
    try:
        response.start_response(status, fields)
        for part in body:
            response.write(part)
        response.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other has to say it too
        return (type(error).__name__, str(error)), False
    return re.sub(rb"Date: .{29}\r\n", b"", b"".join(sent), count=1), response.should_close()


@settings(max_examples=500)
@given(st.sampled_from(["GET", "HEAD", "POST"]), _STATUSES, st.lists(st.tuples(_NAMES, _VALUES), max_size=5), _BODIES)
@example("GET", "200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")], [b"{}"])
@example("GET", "200 OK", [("X-Request-ID", "a\r\nSet-Cookie: b")], [b"{}"])
@example("GET", "200 OK", [("X: a\r\nY", "b")], [b"{}"])
@example("GET", "200 OK", [("", "b")], [b"{}"])
@example("GET", "200 OK", [("X-Spaced", "\t a ")], [b"{}"])
@example("GET", "101 Switching Protocols", [("Connection", "upgrade"), ("Upgrade", "websocket")], [])
@example("POST", "200 OK", [("Content-Length", "2")], [b"four", b"more"])
@example("POST", "200 OK", [("X-Wide", "\u0394")], [b"{}"])
def test_what_is_sent_is_what_gunicorn_would_send(method: str, status: str, fields: Fields, body: list[bytes]) -> None:
    assert sent_by(Response, method, status, fields, *body) == sent_by(wsgi.Response, method, status, fields, *body)


def test_an_answer_is_dated() -> None:
    sent: list[bytes] = []
    request = SimpleNamespace(method="GET", version=(1, 1), should_close=lambda: False)
    response = Response(request, SimpleNamespace(sendall=sent.append), _CONFIG)

    response.start_response("200 OK", [("Content-Length", "0")])
    response.close()

    date = re.search(rb"\r\nDate: (.*)\r\n", sent[0])
    assert date is not None
    assert re.fullmatch(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT", date[1])


@pytest.mark.parametrize("name", ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Upgrade"])
def test_hop_by_hop_fields_are_the_server_s(name: str) -> None:
    sent, _ = sent_by(Response, "GET", "200 OK", [(name, "a"), ("Content-Length", "0")])

    assert f"{name}: a".encode() not in sent
