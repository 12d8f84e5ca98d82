"""Connections on which anything arrives that was not asked for: they never serve again."""

from __future__ import annotations

import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from urllib3.response import HTTPResponse
from urllib3.util import Timeout
from urllib3.util.wait import wait_for_read

from tests.fixtures.rude import Rude, answer, says
from tests.waiting import eventually
from velro_auth.auth.models import Credentials
from velro_auth.context import RequestContext
from velro_auth.errors import InvalidCredentials, UpstreamFailed, WrongAnswer
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.upstream.transport.connection import Connection, StaleConnection
from velro_auth.upstream.transport.pool import ConnectionPool
from velro_auth.upstream.transport.resolver import Resolver
from velro_auth.upstream.transport.transport import Reply, Transport


def numbered(number: int) -> bytes:
    return answer(json.dumps({"number": number}).encode())


def number_of(reply: Reply) -> int:
    return int(json.loads(reply.body)["number"])


@pytest.fixture(params=["plain", "TLS"])
def server(request: pytest.FixtureRequest, rude: Rude, tls_rude: Rude) -> Rude:
    return rude if request.param == "plain" else tls_rude


@pytest.fixture
def transport(server: Rude, authority: Path) -> Iterator[Transport]:
    made = Transport(server.url, key="k" * 20, pool_size=4, tls=ssl.create_default_context(cafile=authority))
    yield made
    made.close()


@pytest.fixture
def ask(transport: Transport) -> Callable[[], int]:
    prepared = transport.prepare("POST", "/auth/v1/token?grant_type=password")
    return lambda: number_of(transport.send(prepared, b"{}"))


def pool_of(transport: Transport) -> ConnectionPool:
    return transport._adapter.pool_of(transport.prepare("GET", "/").url or "")


def hears(transport: Transport) -> bool:
    """Return whether bytes have arrived on the only idle connection. Looking takes nothing."""
    (connection,) = pool_of(transport).idle()
    return wait_for_read(connection.sock, timeout=0)


def says_again_when(asked: threading.Event, first: bytes, later: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.sendall(first)
        asked.wait(60)
        connection.sendall(later)

    return behave


def test_what_arrives_on_an_idle_connection_is_no_answer_to_the_next_request(
    server: Rude, transport: Transport, ask: Callable[[], int]
) -> None:
    is_idle = threading.Event()
    server.does(says_again_when(is_idle, numbered(1), numbered(1)), says(numbered(2)))
    assert ask() == 1
    is_idle.set()
    eventually(lambda: hears(transport))

    assert ask() == 2
    assert server.connected == 2


@pytest.mark.parametrize(
    "behind", [numbered(1), b"H", b"\r\n", numbered(1) * 200], ids=["copy", "byte", "line", "many"]
)
def test_bytes_behind_the_end_of_an_answer_end_its_connection(
    server: Rude, ask: Callable[[], int], behind: bytes
) -> None:
    """They came in one packet with it, and what the buffer holds of them must not hide the rest."""
    server.does(says(numbered(1) + behind), says(numbered(2)))

    assert [ask(), ask()] == [1, 2]
    assert server.connected == 2


def test_bytes_that_no_buffer_of_ours_holds_end_their_connection_too(server: Rude, ask: Callable[[], int]) -> None:
    """The answer fills the buffer to its last byte, so that the rest of a TLS record is left where no poll sees it."""
    padding = io.DEFAULT_BUFFER_SIZE - len(answer(b'{"number": 1}' + b" " * 5000)) + 5000
    filling = answer(b'{"number": 1}' + b" " * padding)
    assert len(filling) == io.DEFAULT_BUFFER_SIZE
    server.does(says(filling + b"H"), says(numbered(2)))

    assert [ask(), ask()] == [1, 2]
    assert server.connected == 2


def test_bytes_behind_a_chunked_answer_too(server: Rude, ask: Callable[[], int]) -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{"number":1}\r\n0\r\n\r\n'
    server.does(says(chunked + chunked), says(numbered(2)))

    assert [ask(), ask()] == [1, 2]
    assert server.connected == 2


def test_after_an_answer_to_another_question_the_connection_is_closed(
    server: Rude, transport: Transport, ask: Callable[[], int]
) -> None:
    server.does(says(numbered(1)), says(numbered(2)))

    def refuse(_: Reply) -> int:
        raise WrongAnswer("for another one")

    with pytest.raises(WrongAnswer):
        transport.ask(transport.prepare("POST", "/"), refuse, b"{}")

    assert pool_of(transport).idle() == ()
    assert pool_of(transport).quiet_period.required_s > 0
    assert ask() == 2
    assert server.connected == 2


def test_so_it_is_after_an_answer_that_cannot_be_used(
    server: Rude, transport: Transport, ask: Callable[[], int]
) -> None:
    server.does(says(numbered(1)), says(numbered(2)))

    def refuse(_: Reply) -> int:
        raise UpstreamFailed("no session")

    with pytest.raises(UpstreamFailed):
        transport.ask(transport.prepare("POST", "/"), refuse, b"{}")

    assert ask() == 2
    assert server.connected == 2


def test_while_an_answer_is_judged_nothing_else_is_asked_on_its_connection(
    server: Rude, transport: Transport, ask: Callable[[], int]
) -> None:
    server.does(says(numbered(1)), says(numbered(2)), says(numbered(3)))

    numbers = transport.ask(transport.prepare("POST", "/"), lambda reply: (number_of(reply), ask()), b"{}")

    assert numbers == (1, 2)
    assert server.connected == 2
    assert ask() == 3
    assert server.connected == 2


def exchange(connection: Connection) -> HTTPResponse:
    return connection.exchange("GET", "/", None, {}, connect_timeout_s=1, ends_s=time.monotonic() + 5)


def test_what_arrives_at_the_last_moment_keeps_a_request_from_being_sent() -> None:
    """Between the look into the pool and the first byte sent, another thread may have had its turn."""
    connection = Connection("127.0.0.1", 1, resolver=Resolver())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection.sock = ours
        theirs.sendall(numbered(1))
        exchange(connection).read()
        assert b"GET / " in theirs.recv(65536)
        theirs.sendall(numbered(1))

        with pytest.raises(StaleConnection):
            exchange(connection)

        assert connection.has_unexpected_bytes
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


@pytest.mark.parametrize("does", ["a login", "a check"])
def test_what_arrives_at_the_last_moment_is_remembered(
    does: str, server: Rude, transport: Transport, ask: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_idle = threading.Event()
    server.does(says_again_when(is_idle, numbered(1), numbered(1)), says(numbered(2)))
    assert ask() == 1
    (connection,) = pool_of(transport).idle()
    is_idle.set()
    eventually(lambda: hears(transport))

    if does == "a check":
        with pytest.raises(StaleConnection):
            transport.idle_connections().check(connection)
    else:
        monkeypatch.setattr(pool_of(transport), "take", pool_of(transport)._idle.pop)
        with pytest.raises(StaleConnection):
            pool_of(transport).urlopen("GET", "/", body=None, headers={}, timeout=Timeout(connect=1, total=1))

    assert pool_of(transport).quiet_period.required_s > 0
    assert (pool_of(transport).idle(), len(server.requests)) == ((), 1)


def test_the_first_surprise_makes_connections_rest(server: Rude, transport: Transport, ask: Callable[[], int]) -> None:
    server.does(says(numbered(1) * 2), says(numbered(2)))
    ask()

    assert pool_of(transport).quiet_period.required_s > 0
    assert [ask(), ask()] == [2, 2]
    assert server.connected == 3


def test_the_end_of_a_connection_is_no_surprise(server: Rude, transport: Transport, ask: Callable[[], int]) -> None:
    server.does(says(numbered(1)))
    ask()
    server.close_connections()
    eventually(lambda: hears(transport))

    assert ask() == 1
    assert pool_of(transport).quiet_period.required_s == 0


def test_a_refusal_keeps_its_connection(server: Rude, transport: Transport) -> None:
    """It names no user, and is common."""
    identity = SupabaseIdentity(AuthCalls(transport, forwards_address=False))
    server.does(says(answer(b'{"code": "invalid_credentials"}', status="400 Bad Request")))

    for _ in range(3):
        with pytest.raises(InvalidCredentials):
            identity.sign_in(
                Credentials("ada@example.com", "x"), RequestContext(request_id="test", address="", arrived_s=0.0)
            )

    assert server.connected == 1


def test_early_hints_come_before_the_answer_and_keep_its_connection(server: Rude, ask: Callable[[], int]) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    server.does(says(hints + b"HTTP/1.1 100 Continue\r\n\r\n" + numbered(1)))

    assert [ask(), ask()] == [1, 1]
    assert server.connected == 1
