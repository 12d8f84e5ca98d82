"""Plain requests: what is read here is read as gunicorn reads it, and anything odd is left to gunicorn."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser, wsgi
from hypothesis import example, given, settings
from hypothesis import strategies as st

from velro_auth.server.framing import Arrival, Intake, Stage
from velro_auth.server.plain_parser import HEAD_BYTES, PlainRequest, Reader

PATH = "/api/v1/auth/login"
CLIENT, SERVER = ("::ffff:100.64.0.5", 40000, 0, 0), ("::", 8000, 0, 0)

#: What has to be given to an application by a server and cannot be compared.
OBJECTS = frozenset({"wsgi.input", "wsgi.errors", "gunicorn.socket", "wsgi.early_hints"})


def config(**changes: Any) -> Config:
    made = Config()
    usual = {
        "forwarded_allow_ips": "*",
        "forwarder_headers": "",
        "limit_request_line": 4094,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
    }
    for name, value in {**usual, **changes}.items():
        made.set(name, value)
    return made


def read(data: bytes, cfg: Config | None = None) -> tuple[PlainRequest | None, bytes]:
    """Return what is read of *data*, and what is left."""
    cfg = cfg or config()
    arrival = Arrival(bytearray(data))
    stage = Intake(probe_paths=(PATH,), limit_request_line=4094).judge(arrival)
    if stage not in {Stage.PROBE, Stage.WHOLE}:
        return None, data
    return Reader(cfg, (PATH,)).read(arrival, CLIENT, SERVER), bytes(arrival.data)


def gunicorns(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the environment that gunicorn makes of *data*, and the body.

    Raises:
        Exception: gunicorn refuses it.
    """
    request = next(get_parser(config(), iter([data]), CLIENT))
    sink = SimpleNamespace(send=lambda _: 0, sendall=lambda _: None)
    _, environ = wsgi.create(request, sink, CLIENT, SERVER, config())
    environ["wsgi.multithread"] = True
    assert not request.should_close()
    return environ, environ["wsgi.input"].read()


def comparable(environ: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environ.items() if name not in OBJECTS}


def request(*fields: str, line: str = f"GET {PATH} HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: auth.example.com", *fields, "", ""]).encode("latin-1") + body


EDGE = (
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
        request(*EDGE),
        request(*EDGE, line=f"HEAD {PATH}?a=1&b=2 HTTP/1.1"),
        request(line=f"GET {PATH}? HTTP/1.1"),
        request("Connection: keep-alive", "X-Empty:", "X-Spaces: \t a  b \t "),
        request("X-Forwarded-Proto: http"),
        request(*EDGE, "Content-Length: 2", "Content-Type: application/json", line=f"POST {PATH} HTTP/1.1", body=b"{}"),
        request("Content-Length: 0", line=f"POST {PATH} HTTP/1.1"),
        request(*(f"X-{number}: a" for number in range(63))),
    ],
)
def test_what_frontends_and_edges_send_is_read_here_and_as_gunicorn_reads_it(data: bytes) -> None:
    plain, rest = read(data + b"GET /next")

    assert plain is not None
    environ, body = gunicorns(data)
    assert comparable(plain.environ) == comparable(environ)
    assert plain.headers == next(get_parser(config(), iter([data]), CLIENT)).headers
    assert plain.environ["wsgi.input"].read() == body
    assert rest == b"GET /next"


@pytest.mark.parametrize(
    "data",
    [
        request("X_Real_IP: 1.2.3.4"),
        request("X-Real-IP: 1.2.3.4", "X-Real-IP: 5.6.7.8"),
        request("X-Real-IP: 1.2.3.4", "x-real-ip: 5.6.7.8"),
        request("X-Forwarded-Proto: https", "X-Forwarded-SSL: off"),
        request("Connection: close"),
        request("Connection: keep-alive, X-Real-IP"),
        request("Expect: 100-continue", "Content-Length: 2", line=f"POST {PATH} HTTP/1.1", body=b"{}"),
        request("Transfer-Encoding: chunked", line=f"POST {PATH} HTTP/1.1", body=b"0\r\n\r\n"),
        request("Content-Length: 2", "Content-Length: 2", line=f"POST {PATH} HTTP/1.1", body=b"{}"),
        request("Content-Length: +2", line=f"POST {PATH} HTTP/1.1", body=b"{}"),
        request("Upgrade: h2c"),
        request("X-Folded: a", " b"),
        request("X-Name : a"),
        request(": a"),
        request("X-Eight-Bit: \xe9"),
        request("X-Nul: a\0b"),
        request("X-Return: a\rb"),
        request("X-Long: " + "a" * HEAD_BYTES),
        request(*(f"X-{number}: a" for number in range(64))),
        request(line=f"GET {PATH}%2F HTTP/1.1"),
        request(line=f"GET {PATH}?a=%20 HTTP/1.1"),
        request(line=f"GET {PATH}#a HTTP/1.1"),
        request(line=f"GET {PATH}?{'a' * 4100} HTTP/1.1"),
        request(line=f"GET http://x{PATH} HTTP/1.1"),
        request(line=f"GET {PATH} HTTP/1.0"),
        request(line=f"DELETE {PATH} HTTP/1.1"),
        request(line="GET /elsewhere HTTP/1.1"),
        f"GET {PATH} HTTP/1.1\r\n\r\n".encode(),
        f"\r\nGET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    ],
)
def test_what_is_odd_is_left_to_gunicorn_untouched(data: bytes) -> None:
    assert read(data) == (None, data)


_NAMES = st.sampled_from(
    ["Host", "X-Real-IP", "x-real-ip", "X_Real_IP", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding",
     "Expect", "X-Forwarded-Proto", "X-Forwarded-SSL", "X-Forwarded-Protocol", "Cookie", "Upgrade", "A", "Script-Name"]
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(["", "0", "2", " 2", "02", "https", "on", "ssl", "keep-alive", "Keep-Alive", "close", "chunked"]),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
_FIELDS = st.lists(st.tuples(_NAMES, st.sampled_from([":", ": ", " : ", ":\t"]), _VALUES), max_size=6)
_TARGETS = st.sampled_from([PATH, PATH + "?", PATH + "?a=1", PATH + "?a=%41", PATH + "/", PATH + "#x", "//" + PATH])


@settings(max_examples=400)
@given(st.sampled_from(["GET", "HEAD", "POST", "get"]), _TARGETS, _FIELDS, st.sampled_from([b"", b"{}", b"{}GET / "]))
@example("POST", PATH, [("Content-Length", ": ", "2"), ("Connection", ": ", "Keep-Alive")], b"{}")
def test_whatever_is_read_here_is_read_as_gunicorn_reads_it(
    method: str, target: str, fields: list[tuple[str, str, str]], body: bytes
) -> None:
    lines = [f"{method} {target} HTTP/1.1", *("".join(field) for field in fields), "", ""]
    data = "\r\n".join(lines).encode("latin-1") + body

    plain, rest = read(data)

    if plain is None:
        assert rest == data
        return
    environ, read_body = gunicorns(data)
    assert comparable(plain.environ) == comparable(environ)
    assert plain.environ["wsgi.input"].read() == read_body
    assert data.endswith(rest)
    assert len(data) - len(rest) == data.index(b"\r\n\r\n") + 4 + len(read_body)


@pytest.mark.parametrize(
    "changes",
    [{"forwarded_allow_ips": "127.0.0.1"}, {"limit_request_field_size": 4000}, {"limit_request_line": 0}],
)
def test_where_gunicorn_was_told_something_unusual_it_reads_everything(changes: dict[str, Any]) -> None:
    assert read(request(), config(**changes)) == (None, request())


def test_a_unix_socket_is_gunicorns() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arrival = Arrival(bytearray(request()))
        Intake(probe_paths=(), limit_request_line=4094).judge(arrival)

        assert Reader(config(), (PATH,)).read(arrival, ours.getpeername(), ours.getsockname()) is None
