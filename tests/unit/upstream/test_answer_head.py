"""An answer read by our connection and by ``http.client``: the same answer, or the same error."""

from __future__ import annotations

import http.client
import io
import itertools
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velro_auth.upstream.transport.connection import _FinalResponse

_STATUS_LINES = st.one_of(
    st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified",
         b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200  two  blanks ", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue",
         b"HTTP/1.1 600 ?", b"HTTP/1.1 20 OK", b"HTTP/1.1\t200 OK",
         b"HTTP/2 200 OK", b"ICY 200 OK", b"", b"HTTP/1.1 200 \xc3\x96"]
    ),
    # Of interim answers http.client knows 100 only; the others are tested below.
    st.integers(200, 999).map(lambda status: b"HTTP/1.1 %d ok" % status),
)  # fmt: skip
_NAMES = st.one_of(
    st.sampled_from(
        [b"Content-Type", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Set-Cookie",
         b"Keep-Alive", b"CF-RAY", b"sb_gateway", b"From", b"From ", b"Content-Length ", b"Mime-Version", b""]
    ),
    st.binary(max_size=3),
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(
        [b"2", b" 2", b" 2 ", b"02", b"+2", b"-2", b"1_0", b"9" * 30, b"", b" ", b" chunked", b" Chunked",
         b" gzip, chunked", b" close", b" Close", b" keep-alive", b" keep-alive, close", b" text/html",
         b" application/json; charset=utf-8", b" multipart/mixed; boundary=a", b" message/rfc822",
         b" message/delivery-status", b"\ta\tb", b" a\r\n folded", b" \xe9"]
    ),
    st.binary(max_size=4),
)  # fmt: skip
_FRAMED = st.sampled_from([[], [(b"Content-Length", b" 2")], [(b"Transfer-Encoding", b" chunked")]])
_FIELDS = st.builds(list.__add__, _FRAMED, st.lists(st.tuples(_NAMES, _VALUES), max_size=4))
_ENDS = st.sampled_from([b"\r\n\r\n", b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n", b""])
_BODIES = st.sampled_from([b"{}", b"", b"2\r\n{}\r\n0\r\n\r\n", b"{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])


class _Arriving(io.RawIOBase):
    """Bytes that arrive *step* by *step*."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__()
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._data[: min(self._step, len(buffer))]
        self._data = self._data[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


class _Peer:
    def __init__(self, data: bytes, step: int) -> None:
        self.file = io.BufferedReader(_Arriving(data, step))

    def makefile(self, _: str) -> Any:
        return self.file


def read_by(kind: type[http.client.HTTPResponse], data: bytes, method: str = "POST", step: int = 9999) -> Any:
    """Return all that one of the two makes of an answer, and what it leaves of what arrived; or its complaint."""
    peer = _Peer(data, step)
    response: http.client.HTTPResponse
    if kind is _FinalResponse:
        response = _FinalResponse(cast("Any", peer), cast("Any", None), method=method)
    else:
        response = kind(cast("Any", peer), method=method)
    try:
        response.begin()
        message = response.msg
        known = ("code", "status", "reason", "version", "chunked", "chunk_left", "length", "will_close")
        head = (
            message.items(),
            {name: vars(response)[name] for name in known},
            (
                str(message.get_payload()) if not message.is_multipart() else "parts",
                [type(defect) for defect in message.defects],
            ),
            message is response.headers,
        )
        body = response.read(1_000_000)
    except (http.client.HTTPException, ValueError) as error:
        return type(error), str(error)
    return head, body, b"" if peer.file.closed else peer.file.read()


def answer(
    status_line: bytes, fields: list[tuple[bytes, bytes]], end: bytes = b"\r\n\r\n", body: bytes = b"{}"
) -> bytes:
    return b"\r\n".join([status_line, *(b":".join(field) for field in fields)]) + end + body


@settings(max_examples=1000)
@given(
    _STATUS_LINES, _FIELDS, _ENDS, _BODIES, st.sampled_from(["GET", "POST", "HEAD"]), st.sampled_from([1, 7, 40, 9999])
)
def test_an_answer_is_read_as_http_client_reads_it(
    status_line: bytes, fields: list[tuple[bytes, bytes]], end: bytes, body: bytes, method: str, step: int
) -> None:
    data = answer(status_line, fields, end, body)

    assert read_by(_FinalResponse, data, method, step) == read_by(http.client.HTTPResponse, data, method, step)


_NEARLY_PLAIN = tuple(itertools.product(
    ["HTTP/1.1 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 304 No", "HTTP/1.1 100 No", "HTTP/1.0 200 OK", "HTTP/1.1 200 a "],
    ["Content-Length: 2", "Content-Length: -2", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "X: y"],
    ["Content-Length: 3", "content-length: 2", "Transfer-Encoding: chunked", "Connection: close",
     "Connection: keep-alive", "Content-Type: multipart/mixed", "Content-Type: text/html", "Content-Length : 3",
     "A: b ", "A: b\r\n c", "A b", " A: b"],
))  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_what_is_nearly_plain_is_read_as_http_client_reads_it(method: str) -> None:
    heads = {"\r\n".join(lines) for lines in _NEARLY_PLAIN}
    answers = [f"{head}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode() for head in heads]

    differing = [
        data
        for data in answers
        if read_by(_FinalResponse, data, method) != read_by(http.client.HTTPResponse, data, method)
    ]
    assert not differing


@pytest.mark.parametrize("count", [89, 90, 91, 99, 100, 101])
def test_too_many_fields_are_refused_by_http_client(count: int) -> None:
    data = answer(b"HTTP/1.1 200 OK", [(b"Content-Length", b"2"), *((b"X-%d" % n, b"a") for n in range(count - 1))])

    assert read_by(_FinalResponse, data) == read_by(http.client.HTTPResponse, data)


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 9999])
@pytest.mark.parametrize(
    "interim",
    [HINTS, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", HINTS * 3, b"HTTP/1.1 199 ?\r\n\r\n"],
    ids=["103", "100", "102", "three", "199"],
)
def test_what_comes_before_the_answer_is_not_the_answer(interim: bytes, step: int) -> None:
    final = answer(b"HTTP/1.1 200 OK", [(b"Content-Length", b"2")])

    assert read_by(_FinalResponse, interim + final, step=step) == read_by(http.client.HTTPResponse, final)


def test_interim_answers_without_an_end_are_none() -> None:
    assert read_by(_FinalResponse, HINTS * 1000)[0] is http.client.BadStatusLine


def test_another_protocol_is_no_answer() -> None:
    data = answer(b"HTTP/1.1 101 Switching Protocols", [(b"Upgrade", b"h2c")])

    assert read_by(_FinalResponse, data)[0] is http.client.UnknownProtocol
