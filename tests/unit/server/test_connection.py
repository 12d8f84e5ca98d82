from __future__ import annotations

import socket
import struct
from types import SimpleNamespace

import pytest

from velro_auth.server.connection import Connection
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.request_parser import Progress

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def settings() -> ParserSettings:
    cfg = SimpleNamespace(limit_request_line=8190, limit_request_fields=64, secure_scheme_headers={}, workers=1)
    return ParserSettings(cfg, (), lambda: {("POST", "/x"): 100})


@pytest.fixture
def pair() -> tuple[Connection, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    sock, address = listener.accept()
    listener.close()
    return Connection(sock, address, ("127.0.0.1", 80), settings()), client


def test_a_client_that_waits_for_a_continue_gets_one(pair: tuple[Connection, socket.socket]) -> None:
    conn, client = pair
    client.sendall(HEAD)
    conn.sock.settimeout(5)
    conn.receive()

    assert conn.parser.feed(conn.inbox) is Progress.PARTIAL
    conn.send_continue()
    conn.send_continue()

    client.settimeout(5)
    assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.close()
    conn.sock.close()


def test_a_client_that_is_gone_before_its_continue_fails_nothing_else(pair: tuple[Connection, socket.socket]) -> None:
    """An error here would end the loop that serves all clients."""
    conn, client = pair
    conn.inbox += HEAD
    assert conn.parser.feed(conn.inbox) is Progress.PARTIAL
    # Closing with this option resets the connection.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    conn.send_continue()

    conn.receive()
    assert conn.has_ended
    conn.sock.close()


def test_a_defect_in_the_parser_is_logged_and_refuses_the_request(
    pair: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    conn, client = pair

    def fail() -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(conn.parser, "_add_fields", fail)
    conn.inbox += HEAD

    assert conn.parser.feed(conn.inbox) is Progress.REFUSED
    assert "the request parser failed" in caplog.text
    client.close()
    conn.sock.close()
