"""The service under gunicorn, byte by byte: what is refused before it is read, and who is served beside a crowd."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.fixtures.garbled import ask
from tests.fixtures.programs import Program, gateway
from tests.waiting import PATIENCE_S, eventually

VERIFY = b"GET /api/v1/auth/verify HTTP/1.1\r\nHost: a\r\n"
LOGIN = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LAST = b"Connection: close\r\n\r\n"
#: Nothing is asked of it here.
SETTINGS = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_SECRET_KEY": "sb_secret_0123456789012345678901"}
CONNECTIONS = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    log = tmp_path_factory.mktemp("wire") / "log"
    with gateway(log, "--worker-connections", str(CONNECTIONS), **SETTINGS) as running:
        yield running


def answered(site: Program, request: bytes) -> tuple[int, str, str]:
    """Return status, code and head of the one answer that is given before the connection is closed."""
    answer = ask(site.url, request)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    head, _, body = answer.decode().partition("\r\n\r\n")
    problem: dict[str, Any] = json.loads(body)
    return int(head[9:12]), problem["code"], head


def connect(site: Program) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(site.url.rpartition(":")[2])), timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (b"Authorization: Bearer " + b"x" * (16 * 1024 - 7), "token_invalid"),
        (b"Authorization: Bearer " + b"x" * (16 * 1024 - 6), "headers_too_large"),
        (b"Cookie: " + b"x" * (16 * 1024), "token_missing"),
        (b"Cookie: " + b"x" * (16 * 1024 + 1), "headers_too_large"),
        (b"X-Other: " + b"x" * (8 * 1024), "token_missing"),
        (b"X-Other: " + b"x" * (8 * 1024 + 1), "headers_too_large"),
        (b"\r\n".join([b"A: b"] * 62), "token_missing"),
        (b"\r\n".join([b"A: b"] * 63), "headers_too_large"),
        (b"\r\n".join(b"A%d: %s" % (number, b"x" * 8000) for number in range(9)), "headers_too_large"),
    ],
)
def test_headers_are_taken_up_to_what_the_contract_says(site: Program, field: bytes, code: str) -> None:
    status, said, head = answered(site, VERIFY + field + b"\r\n" + LAST)

    assert said == code
    assert status == (431 if code == "headers_too_large" else 401)
    assert "Connection: close" in head


def test_requests_that_are_refused_are_counted(site: Program) -> None:
    def count() -> float:
        text = requests.get(f"{site.url}/metrics", timeout=PATIENCE_S).text
        event = 'velro_auth_events_total{event="headers_too_large"} '
        return float(next(line for line in text.splitlines() if line.startswith(event)).rpartition(" ")[2])

    before = count()
    answered(site, VERIFY + b"Cookie: " + b"x" * 20_000 + b"\r\n" + LAST)

    eventually(lambda: count() == before + 1)


@pytest.mark.parametrize("length", [b"100000", b"16385", b"99999999999999999"])
def test_a_body_that_is_declared_too_large_is_not_waited_for(site: Program, length: bytes) -> None:
    status, code, head = answered(site, LOGIN + b"Content-Length: " + length + b"\r\n\r\n")

    assert (status, code) == (413, "too_large")
    assert "Connection: close" in head


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"PROPFIND"])
@pytest.mark.parametrize("promise", [b"Content-Length: 20", b"Content-Length: 999999", b"Transfer-Encoding: chunked"])
def test_verify_does_not_wait_for_a_body(site: Program, method: bytes, promise: bytes) -> None:
    """Gateways ask with the method and the length of the request that they hold, and without its body."""
    status, code, head = answered(site, VERIFY.replace(b"GET", method) + promise + b"\r\n\r\n")

    assert (status, code) == (401, "token_missing")
    assert "Connection: close" in head


def test_a_body_that_is_not_read_but_is_there_keeps_the_connection(site: Program) -> None:
    answer = ask(site.url, VERIFY + b"Content-Length: 2\r\n\r\n{}" + VERIFY + LAST)

    assert answer.count(b"HTTP/1.1 401 ") == 2


def test_continue_is_said_once_and_only_for_a_body_that_is_read(site: Program) -> None:
    with connect(site) as client:
        client.sendall(LOGIN + b"Expect: 100-continue\r\nContent-Length: 2\r\n" + LAST)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert client.recv(65536).startswith(b"HTTP/1.1 422 ")

    assert ask(site.url, VERIFY + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").startswith(b"HTTP/1.1 401 ")
    assert ask(site.url, LOGIN + b"Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("promise", [b"Content-Length: 15000", b"Content-Length: 70000", b"Transfer-Encoding: chunked"])
def test_a_crowd_that_promises_bodies_keeps_no_one_out(site: Program, promise: bytes) -> None:
    """More sockets than the worker has room for, each with one byte of what it promised."""
    with contextlib.ExitStack() as stack, connect(site) as kept:
        for number in range(2 * CONNECTIONS):
            client = stack.enter_context(connect(site))
            with contextlib.suppress(ConnectionError):
                client.sendall(LOGIN + promise + b"\r\n\r\n" + b"1")
            # Somebody honest who comes again and again must not be the one who has to go.
            if number % 10 == 0:
                kept.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")

        for _ in range(10):
            assert answered(site, VERIFY + LAST)[0] == 401
            assert answered(site, LOGIN + b"Content-Length: 2\r\n" + LAST + b"{}")[0] == 422
            with connect(site) as client:
                client.sendall(LOGIN + b"Expect: 100-continue\r\nContent-Length: 2\r\n" + LAST)
                assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
