"""Our parser against gunicorn's: what ours accepts is read the same way by both, and ours refuses more."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser, wsgi
from hypothesis import example, given, settings
from hypothesis import strategies as st

from velro_auth import errors
from velro_auth.server.request_head import (
    DEFAULT_BODY_BYTES,
    FIELD_BYTES,
    HEAD_BYTES,
    TOKEN_FIELD_BYTES,
    ParserSettings,
)
from velro_auth.server.request_parser import Progress, RequestParser

PATH = "/api/v1/auth/login"
CLIENT, SERVER = ("::ffff:100.64.0.5", 40000, 0, 0), ("::", 8000, 0, 0)
LIMITS = {("POST", "/login"): 20}

#: Objects that a server gives to an application, and the name of the server.
OBJECTS = frozenset(
    {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints", "gunicorn.socket", "SERVER_SOFTWARE"}
)


def config() -> Config:
    made = Config()
    for name, value in {
        "forwarded_allow_ips": "*",
        "forwarder_headers": "",
        "limit_request_line": 4094,
        "limit_request_fields": 64,
        "limit_request_field_size": 16 * 1024 + 64,
    }.items():
        made.set(name, value)
    return made


ANY_BODY = ParserSettings(config(), ["/health", PATH])
LIMITED = ParserSettings(config(), ["/health"], lambda: LIMITS)


def parse(data: bytes, settings_: ParserSettings = ANY_BODY) -> tuple[RequestParser, bytes]:
    """Return the parser that has read *data*, and the bytes that are left."""
    parser, inbox = RequestParser(settings_, settings_.environ_of(CLIENT, SERVER)), bytearray(data)
    parser.feed(inbox)
    return parser, bytes(inbox)


def progress(data: bytes) -> Progress:
    return parse(data)[0].progress


def limited(data: bytes) -> tuple[Progress, type[Exception] | None]:
    parser, _ = parse(data, LIMITED)
    return parser.progress, type(parser.error) if parser.error else None


def gunicorns(data: bytes) -> tuple[dict[str, Any], bytes, bool, bytes]:
    """Return the environment that gunicorn makes of *data*, the body, whether it closes, and the bytes that are left.

    Raises:
        Exception: gunicorn refuses it.
    """
    parser = get_parser(config(), iter([data]), CLIENT)
    request = next(parser)
    # As our worker, which sends it itself.
    request._expected_100_continue = False
    _, environ = wsgi.create(request, SimpleNamespace(), CLIENT, SERVER, config())
    environ["wsgi.multithread"] = True
    body = environ["wsgi.input"].read()
    parser.finish_body()
    return environ, body, request.should_close(), parser.unreader.take_buffered()


def comparable(environ: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environ.items() if name not in OBJECTS}


def assert_read_as_gunicorn_reads_it(data: bytes, *, rest: bytes) -> None:
    parser, left = parse(data + rest)
    environ, body, closes, gunicorn_left = gunicorns(data + rest)
    assert parser.progress is Progress.COMPLETE, parser.error
    assert comparable(parser.environ) == comparable(environ)
    assert parser.environ["wsgi.input"].read() == body
    assert left == gunicorn_left == rest
    # gunicorn keeps a connection where several options are listed; ours looks at each.
    assert parser.keeps_alive is not closes or "," in environ.get("HTTP_CONNECTION", "")


def request(*fields: str, line: str = f"GET {PATH} HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: auth.example.com", *fields, "", ""]).encode("latin-1") + body


def login(*fields: str, body: bytes = b"") -> bytes:
    return request(*fields, line=f"POST {PATH} HTTP/1.1", body=body)


PROXY_FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
    "Accept: application/json, text/plain, */*",
    "X-Real-IP: 203.0.113.7",
    "X-Forwarded-For: 203.0.113.7, 100.64.0.2",
    "X-Forwarded-Proto: https",
    "X-Railway-Request-Id: Jm3tHdzGSTaBRw0KQHVtXA",
)


@pytest.mark.parametrize(
    "data",
    [
        request(),
        request(*PROXY_FIELDS),
        request(*PROXY_FIELDS, line=f"HEAD {PATH}?a=1&b=2 HTTP/1.1"),
        request(line=f"GET {PATH}? HTTP/1.1"),
        request(line=f"GET {PATH} HTTP/1.0"),
        request("Connection: keep-alive", line=f"GET {PATH} HTTP/1.0"),
        request("Connection: close"),
        request("Connection: keep-alive, X-Real-IP"),
        request("Connection: keep-alive", "X-Empty:", "X-Spaces: \t a  b \t "),
        request("X-Forwarded-Proto: http"),
        request("X_Real_IP: 1.2.3.4"),
        request("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8", "x-forwarded-for: 9"),
        request("Upgrade: h2c"),
        request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        request("Connection: Upgrade", "Upgrade: websocket"),
        request("X-Eight-Bit: \xe9"),
        request(line=f"GET {PATH}%2F%C3%A9 HTTP/1.1"),
        request(line=f"GET {PATH}?a=%20 HTTP/1.1"),
        request(line=f"GET {PATH}#a?b HTTP/1.1"),
        request(line="GET //a//b HTTP/1.1"),
        request(line=f"GET http://x{PATH}?a=b HTTP/1.1"),
        request(line="GET http://x HTTP/1.1"),
        request(line="OPTIONS * HTTP/1.1"),
        request(line="DELETE /elsewhere HTTP/1.1"),
        request(line="PROPFIND /elsewhere HTTP/1.1"),
        f"GET {PATH} HTTP/1.0\r\n\r\n".encode(),
        f"\r\nGET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        login(*PROXY_FIELDS, "Content-Length: 2", "Content-Type: application/json", body=b"{}"),
        login("Content-Length: 0"),
        login("Content-Length: 002 ", body=b"{}"),
        login("Expect: 100-Continue", "Content-Length: 2", body=b"{}"),
        login("Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        login("Transfer-Encoding: Chunked", body=b"5\r\nhello\r\nA\r\n0123\r\n\r\n67\r\n0\r\n\r\n"),
        login("Transfer-Encoding: chunked", body=b"5;a=b\r\nhello\r\n0;c\r\n\r\n"),
        login("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nT: z\r\nU: y\r\n\r\n"),
        request(*(f"X-{number}: a" for number in range(63))),
    ],
)
def test_what_frontends_and_proxies_send_is_read_as_gunicorn_reads_it(data: bytes) -> None:
    for rest in (b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n"):
        assert_read_as_gunicorn_reads_it(data, rest=rest)


REFUSED_BY_BOTH = {
    "length and chunks": login("Content-Length: 2", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and length": login("Transfer-Encoding: chunked", "Content-Length: 2", body=b"0\r\n\r\n"),
    "two lengths": login("Content-Length: 2", "Content-Length: 2", body=b"{}"),
    "list of lengths": login("Content-Length: 2, 2", body=b"{}"),
    "signed length": login("Content-Length: +2", body=b"{}"),
    "negative length": login("Content-Length: -2", body=b"{}"),
    "hexadecimal length": login("Content-Length: 0x2", body=b"{}"),
    "empty length": login("Content-Length:", body=b"{}"),
    "chunked twice": login("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two codings": login("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked is not last": login("Transfer-Encoding: chunked, identity"),
    "no chunks": login("Transfer-Encoding: gzip"),
    "unknown coding": login("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "coding behind a control character": login("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "coding in HTTP/1.0": request("Transfer-Encoding: chunked", line="POST / HTTP/1.0", body=b"0\r\n\r\n"),
    "folded": request("X-Folded: a", " b"),
    "folded coding": login("Transfer-Encoding:", " chunked", body=b"0\r\n\r\n"),
    "space before the colon": request("X-Name : a"),
    "space in a name": request("Content Length: 2"),
    "no name": request(": a"),
    "no colon": request("X-Name"),
    "NUL": request("X-Nul: a\0b"),
    "DEL": request("X-Del: a\x7fb"),
    "bare CR": request("X-Return: a\rb"),
    "bare LF": request("X-Feed: a\nb: c"),
    "bare LF in the line": b"GET / HTTP/1.1\nHost: a\n\n",
    "two hosts": request("Host: b"),
    "two types": request("Content-Type: a", "Content-Type: a"),
    "two schemes": request("X-Forwarded-Proto: https", "X-Forwarded-SSL: off"),
    "version 2.0": request(line="GET / HTTP/2.0"),
    "version 0.9": b"GET /\r\n\r\n",
    "another protocol": request(line="SOURCE / ICE/1.0"),
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two spaces": request(line="GET  / HTTP/1.1"),
    "two spaces before the version": request(line="GET /  HTTP/1.1"),
    "space at the end": request(line="GET / HTTP/1.1 "),
    "lower case": request(line="get / HTTP/1.1"),
    "eight bit target": request(line="GET /\xe9 HTTP/1.1"),
    "asterisk": request(line="GET * HTTP/1.1"),
    "authority": request(line="GET a:443 HTTP/1.1"),
    "expectation": login("Expect: 200-ok"),
    "two empty lines": b"\r\n\r\n" + request(),
    "long line": request(line=f"GET /{'a' * 4100} HTTP/1.1"),
    "many fields": request(*(f"X-{number}: a" for number in range(64))),
    "bad chunk": login("Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
    "space behind a chunk's size": login("Transfer-Encoding: chunked", body=b"2 \r\n{}\r\n0\r\n\r\n"),
    "chunk without its end": login("Transfer-Encoding: chunked", body=b"2\r\n{}0\r\n\r\n"),
    "bare LF behind a chunk's size": login("Transfer-Encoding: chunked", body=b"2\n{}\r\n0\r\n\r\n"),
    "bare LF in an extension": login("Transfer-Encoding: chunked", body=b"2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "length in a trailer": login("Transfer-Encoding: chunked", body=b"0\r\nContent-Length: 2\r\n\r\n"),
    "Host in a trailer": login("Transfer-Encoding: chunked", body=b"0\r\nHost: b\r\n\r\n"),
}
#: Requests that gunicorn accepts; docs/explanation/worker.md lists them.
REFUSED_BY_OURS = {
    "CONNECT": request(line="CONNECT a:443 HTTP/1.1"),
    "no Host": b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
    "unknown method": request(line="BREW /pot HTTP/1.1"),
    "version 1.2": request(line="GET / HTTP/1.2"),
    "upgrade with a body": login("Connection: Upgrade", "Upgrade: x", "Content-Length: 2", body=b"{}"),
    "upgrade with chunks": login(
        "Connection: Upgrade", "Upgrade: x", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "compressed": login("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "two equal schemes": request("X-Forwarded-Proto: https", "X-Forwarded-Proto: https"),
    "two expectations": login("Expect: 100-continue", "Expect: 100-continue", "Content-Length: 2", body=b"{}"),
    "long field": request(f"X-Long: {'a' * (FIELD_BYTES + 1)}"),
    "framing larger than the body": login(
        "Transfer-Encoding: chunked", body=b"1;" + b"a" * (HEAD_BYTES + 10) + b"\r\na\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("name", REFUSED_BY_BOTH)
def test_requests_that_two_servers_could_read_differently_are_refused_by_both(name: str) -> None:
    """Request smuggling (ASVS 4.2.1)."""
    data = REFUSED_BY_BOTH[name]

    assert progress(data) is Progress.REFUSED
    with pytest.raises(Exception):  # noqa: B017 - any of its errors
        gunicorns(data)


@pytest.mark.parametrize("name", REFUSED_BY_OURS)
def test_our_parser_refuses_more(name: str) -> None:
    data = REFUSED_BY_OURS[name]

    assert progress(data) is Progress.REFUSED
    gunicorns(data)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (REFUSED_BY_BOTH["long line"], errors.UriTooLong),
        (REFUSED_BY_BOTH["many fields"], errors.HeadersTooLarge),
        (REFUSED_BY_BOTH["expectation"], errors.ExpectationFailed),
        (REFUSED_BY_BOTH["unknown coding"], errors.CodingNotImplemented),
        (REFUSED_BY_BOTH["length and chunks"], errors.RequestError),
        (b"GET /" + b"x" * 4100, errors.UriTooLong),
        (request(f"X: {'x' * HEAD_BYTES}"), errors.HeadersTooLarge),
        (request(f"X: {'x' * HEAD_BYTES}")[:-4], errors.HeadersTooLarge),
        (request(*["A: " + "x" * 8000] * 9), errors.HeadersTooLarge),
    ],
)
def test_each_refusal_has_its_error(data: bytes, error: type[Exception]) -> None:
    assert type(parse(data)[0].error) is error


_NAMES = st.sampled_from(
    ["Host", "X-Real-IP", "x-real-ip", "X_Real_IP", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding",
     "Expect", "X-Forwarded-Proto", "X-Forwarded-SSL", "X-Forwarded-Protocol", "Cookie", "Upgrade", "A", "Script-Name"]
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(["", "0", "2", " 2", "02", "https", "on", "ssl", "keep-alive", "Keep-Alive", "close", "chunked",
                     "upgrade", "100-continue", "gzip, chunked", "websocket"]),
    st.text(st.characters(max_codepoint=255), max_size=12),
)  # fmt: skip
_FIELDS = st.lists(st.tuples(_NAMES, st.sampled_from([":", ": ", " : ", ":\t"]), _VALUES), max_size=6)
_TARGETS = st.sampled_from(
    [
        PATH,
        PATH + "?",
        PATH + "?a=1",
        PATH + "?a=%41",
        PATH + "/",
        PATH + "#x",
        "//" + PATH,
        "http://a/b",
        "*",
        "a:1",
        "",
    ]
)
_METHODS = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "PRI", "get", "BREW"])
_VERSIONS = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "RTSP/1.0", ""])
_BODIES = st.one_of(
    st.sampled_from([b"", b"{}", b"{}GET / ", b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"]),
    st.lists(
        st.sampled_from([b"2", b"0", b"a", b"\r\n", b"\r\n", b"\n", b"{}", b";", b"x=y", b" ", b"T: z", b"Host: a"])
    ).map(b"".join),
)


@settings(max_examples=400)
@given(_METHODS, _TARGETS, _VERSIONS, _FIELDS, _BODIES)
@example("POST", PATH, "HTTP/1.1", [("Content-Length", ": ", "2"), ("Connection", ": ", "Keep-Alive")], b"{}")
@example(
    "POST", PATH, "HTTP/1.1", [("Transfer-Encoding", ": ", "chunked")], b"2\r\n{}\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
)
def test_whatever_our_parser_accepts_is_read_as_gunicorn_reads_it(
    method: str, target: str, version: str, fields: list[tuple[str, str, str]], body: bytes
) -> None:
    lines = [f"{method} {target} {version}", *("".join(field) for field in fields), "", ""]
    data = "\r\n".join(lines).encode("latin-1") + body

    parser, rest = parse(data)

    if parser.progress is Progress.COMPLETE:
        assert_read_as_gunicorn_reads_it(data.removesuffix(rest), rest=rest)


@settings(max_examples=300)
@given(_BODIES, st.lists(st.integers(1, 60), max_size=8))
def test_chunks_are_read_the_same_however_they_are_cut(body: bytes, cuts: list[int]) -> None:
    data = login("Transfer-Encoding: chunked", body=body)
    whole, rest = parse(data)
    parser, inbox = RequestParser(ANY_BODY, ANY_BODY.environ_of(CLIENT, SERVER)), bytearray()
    borders = sorted({min(len(data) - len(body) + cut, len(data)) for cut in cuts} | {0, len(data)})

    for start, end in itertools.pairwise(borders):
        inbox += data[start:end]
        parser.feed(inbox)

    assert (parser.progress, bytes(parser.body)) == (whole.progress, bytes(whole.body))
    assert bytes(inbox) == rest or whole.progress is Progress.REFUSED


# -- how much has arrived ---------------------------------------------------------------------------------------------

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /login HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEALTH,
        HEALTH.replace(b"GET", b"HEAD"),
        HEALTH.replace(b"/health", b"/health?verbose=1"),
        HEALTH.replace(b"1.1", b"1.0"),
        HEALTH * 2,
        b"\r\n" + HEALTH,
        HEALTH[:-2] + b"X-Content-Length: 5\r\n\r\n",
    ],
)
def test_probes_are_known(data: bytes) -> None:
    parser, _ = parse(data)

    assert (parser.progress, parser.is_probe) == (Progress.COMPLETE, True)


@pytest.mark.parametrize(
    "data",
    [
        HEALTH.replace(b"GET", b"POST"),
        HEALTH.replace(b"/health", b"/health/"),
        HEALTH.replace(b"/health", b"/Health"),
        HEALTH.replace(b"/health", b"/%68ealth"),
        HEALTH.replace(b"/health", b"http://a/health"),
        HEALTH.replace(b"/health", b"//health"),
        HEALTH[:-2] + b"Content-Length: 0\r\n\r\n",
        HEALTH[:-2] + b"X: " + b"x" * 5000 + b"\r\n\r\n",
    ],
)
def test_what_only_looks_like_a_probe_is_none(data: bytes) -> None:
    parser, _ = parse(data)

    assert (parser.progress, parser.is_probe) == (Progress.COMPLETE, False)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"Content-Length: 5\r\n\r\nhell", Progress.PARTIAL),
        (b"content-length:5 \r\n\r\nhello", Progress.COMPLETE),
        (b"Content-Length: 5\r\n\r\nhelloGET", Progress.COMPLETE),
        (b"Content-Length: 70000\r\n\r\n", Progress.PARTIAL),
        (b"Content-Length: %d\r\n\r\n" % (DEFAULT_BODY_BYTES + 1), Progress.REFUSED),
        (b"Content-Length: 99999999999999999999999\r\n\r\n", Progress.REFUSED),
        (b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", Progress.PARTIAL),
        (b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}", Progress.COMPLETE),
        (b"Content-Length: 0\r\nUpgrade: websocket\r\n\r\n", Progress.COMPLETE),
        (b"Transfer-Encoding: chunked\r\n\r\n", Progress.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Progress.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Progress.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\nffff0\r\n", Progress.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\n0000000000005\r\n", Progress.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", Progress.REFUSED),
    ],
)
def test_bodies_are_gathered(rest: bytes, expected: Progress) -> None:
    assert progress(POST + rest) is expected


REQUESTS = (
    HEALTH,
    b"\r\n" + HEALTH,
    POST + b"Content-Length: 5\r\n\r\nhello",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
)


@given(request_=st.sampled_from(REQUESTS), cutoffs=st.lists(st.integers(1, 200), max_size=20))
def test_a_request_is_there_with_its_last_byte_however_it_is_cut(request_: bytes, cutoffs: list[int]) -> None:
    parser, inbox = RequestParser(ANY_BODY, ANY_BODY.environ_of(CLIENT, SERVER)), bytearray()
    borders = sorted({min(cut, len(request_) - 1) for cut in cutoffs} | {0, len(request_)})

    steps = []
    for start, end in itertools.pairwise(borders):
        inbox += request_[start:end]
        steps.append(parser.feed(inbox))

    assert set(steps[:-1]) <= {Progress.PARTIAL}
    assert steps[-1] is Progress.COMPLETE
    whole, _ = parse(request_)
    assert comparable(parser.environ) == comparable(whole.environ)
    assert parser.body == whole.body


@given(st.binary(max_size=300))
def test_no_bytes_at_all_upset_it(data: bytes) -> None:
    for start in (b"", POST, POST + b"Transfer-Encoding: chunked\r\n\r\n"):
        assert progress(start + data) in Progress


def test_a_unix_socket_has_no_address() -> None:
    environ = ANY_BODY.environ_of("", "/run/gateway.sock")

    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("", "")


# -- what is refused, answered early or waited for, where the application says which bodies it reads ------------------


def post(*fields: str, line: str = "POST /login HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: a", *fields, "", ""]).encode() + body


TOO_LARGE = (Progress.REFUSED, errors.TooLarge)


@pytest.mark.parametrize(
    "data",
    [
        post("Content-Length: 21"),
        post("Content-Length: 999999999999999999"),
        post("Content-Length: 21", line="POST /login/ HTTP/1.1"),
        post("Content-Length: 21", line="POST /%6Cogin?a=b HTTP/1.0"),
        post("Content-Length: 21", "Expect: 100-continue"),
        post("Content-Length: 21", line="POST http://a/login HTTP/1.1"),
        post("Transfer-Encoding: chunked", body=b"15\r\n0123456789abcdef01234"),
        post("Transfer-Encoding: chunked", body=b"10\r\n0123456789abcdef\r\n5\r\n01234"),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_comes(data: bytes) -> None:
    assert limited(data) == TOO_LARGE


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
    assert limited(data) == (Progress.PARTIAL, None)


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
    assert limited(post(field, line=line)) == (Progress.BODY_IGNORED, None)
    assert limited(post(field, "Expect: 100-continue", line=line)) == (Progress.BODY_IGNORED, None)


def test_a_body_that_is_not_read_but_is_all_there_leaves_the_connection_open() -> None:
    done = (Progress.COMPLETE, None)
    assert limited(post("Content-Length: 2", line="POST /verify HTTP/1.1", body=b"{}")) == done
    chunked = post("Transfer-Encoding: chunked", line="POST /verify HTTP/1.1", body=b"1\r\na\r\n0\r\n\r\n")
    assert limited(chunked) == done


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_only_a_client_that_waits_for_it_gets_a_continue(version: str) -> None:
    waits, _ = parse(post("Content-Length: 2", "Expect: 100-Continue", line=f"POST /login HTTP/{version}"), LIMITED)
    does_not, _ = parse(post("Content-Length: 2"), LIMITED)

    assert waits.progress is does_not.progress is Progress.PARTIAL
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

    assert limited(data) == ((Progress.COMPLETE, None) if fits else (Progress.REFUSED, errors.HeadersTooLarge))


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01", b"\0", b"GET\x01", b'{"a"', b"get / HTTP/1.1", b"X" * 21, b'sword": 1}', b"\nGET / "]
)
def test_what_cannot_become_a_request_is_refused_at_once(data: bytes) -> None:
    """Nothing more may come: it would be waited for."""
    assert limited(data) == (Progress.REFUSED, errors.RequestError)


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n", b"G", b"GET", b"GET ", b"\r\nGET /", b"PROPFIND /"])
def test_what_can_is_waited_for(data: bytes) -> None:
    assert limited(data) == (Progress.PARTIAL, None)


def test_the_sizes_are_those_of_the_contract() -> None:
    assert (TOKEN_FIELD_BYTES, FIELD_BYTES) == (16_384, 8_192)
