"""The way to Supabase, against a server that does everything wrong."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from urllib3.util import Timeout

from tests.fixtures.rude import Rude, answer, hangs, resets, says, says_and_closes, trickles
from tests.fixtures.threads import out_of_threads
from velro_auth.errors import UpstreamTimeout, UpstreamUnavailable
from velro_auth.upstream.transport.pool import ConnectionPool
from velro_auth.upstream.transport.resolver import Resolver
from velro_auth.upstream.transport.transport import Reply, Transport

DEADLINE_S = 0.4
#: What a loaded machine may take beyond a deadline.
SLACK_S = 1.0

Ask = Callable[[], Reply]


@pytest.fixture
def transport(rude: Rude) -> Iterator[Transport]:
    made = Transport(rude.url, key="k" * 20, pool_size=4, connect_timeout_s=0.3, deadline_s=DEADLINE_S)
    yield made
    made.close()


@pytest.fixture
def ask(transport: Transport) -> Ask:
    prepared = transport.prepare("POST", "/auth/v1/token?grant_type=password")
    return lambda: transport.send(prepared, b'{"email": "a@b.c"}')


def pool_of(transport: Transport) -> ConnectionPool:
    return transport._adapter.pool_of(transport.prepare("GET", "/").url or "")


def test_an_answer_is_its_status_headers_and_body(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer(b'{"a": 1}', status="400 Bad Request", headers=("X-Sb-Error-Code: bad_json",))))

    reply = ask()

    assert (reply.status, reply.body) == (400, b'{"a": 1}')
    assert reply.headers["x-sb-error-code"] == "bad_json"


def test_a_connection_is_used_again(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer()))

    for _ in range(5):
        ask()

    assert (rude.connected, len(rude.requests)) == (1, 5)


def test_what_was_sent_for_one_is_not_sent_for_the_next(rude: Rude, transport: Transport) -> None:
    rude.does(says(answer()))
    prepared = transport.prepare("POST", "/auth/v1/logout?scope=local")
    before = dict(prepared.headers)

    transport.send(prepared, b"{}", {"Authorization": "Bearer hers", "traceparent": "of hers"})
    transport.send(prepared)

    hers, his = rude.requests
    assert b"Authorization: Bearer hers\r\n" in hers
    assert his.startswith(b"POST /auth/v1/logout?scope=local HTTP/1.1\r\n")
    assert b"hers" not in his
    assert b"\r\nContent-Length: 0\r\n" in his
    assert dict(prepared.headers) == before
    assert prepared.body is None


def test_a_request_of_a_library_s_is_passed_on_with_its_body(rude: Rude, transport: Transport) -> None:
    rude.does(says(answer()))

    transport.pass_on("POST", f"{rude.url}/rest/v1/rpc/f?a=b", {"content-type": "application/json"}, b'{"a": 1}')

    (request,) = rude.requests
    assert request.startswith(b"POST /rest/v1/rpc/f?a=b HTTP/1.1\r\n")
    assert request.lower().count(b"\r\ncontent-length: 8\r\n") == 1
    assert request.endswith(b'\r\n\r\n{"a": 1}')


def test_head_and_body_of_a_request_leave_in_one_packet() -> None:
    """Or the other side wakes up for the head, and once more for the body."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first: list[bytes] = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                first.append(connection.recv(65536))
                connection.sendall(answer())

        server = threading.Thread(target=serve)
        server.start()
        transport = Transport(f"http://127.0.0.1:{listener.getsockname()[1]}", key="k" * 20, pool_size=1)
        transport.send(transport.prepare("POST", "/auth/v1/token"), b'{"email": "a@b.c"}')
        server.join()
        transport.close()

    assert first[0].endswith(b'\r\n\r\n{"email": "a@b.c"}')


def test_connections_that_are_dropped_leave_their_pool_to_others(rude: Rude, transport: Transport, ask: Ask) -> None:
    """Somebody may have it in hand at that very moment."""
    rude.does(says(answer()))
    ask()
    pool = pool_of(transport)

    transport._adapter.close_idle()

    assert pool.idle() == ()
    exchange = pool.urlopen("GET", "/", body=None, headers={}, timeout=Timeout(connect=1, total=1))
    with exchange:
        assert exchange.response.status == 200
    assert pool_of(transport) is pool
    assert rude.connected == 2


def test_an_answer_without_a_length_is_read_to_its_end(rude: Rude, ask: Ask) -> None:
    rude.does(says_and_closes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}"))

    assert ask().body == b"{}"


def test_a_chunked_answer_is_read_and_its_connection_used_again(rude: Rude, ask: Ask) -> None:
    rude.does(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"))

    assert [ask().body, ask().body] == [b"{}", b"{}"]
    assert rude.connected == 1


def test_a_server_that_hangs_is_left_at_the_deadline_and_not_asked_again(rude: Rude, ask: Ask) -> None:
    """A login is not idempotent: the first one may have happened."""
    rude.does(hangs)
    started_s = time.monotonic()

    with pytest.raises(UpstreamTimeout):
        ask()

    assert DEADLINE_S <= time.monotonic() - started_s < DEADLINE_S + SLACK_S
    assert len(rude.requests) == 1


@pytest.mark.parametrize(("given_s", "held_s"), [(0.1, 0.1), (60.0, DEADLINE_S)], ids=["shorter", "longer"])
def test_one_call_may_have_a_shorter_deadline_and_none_a_longer(
    transport: Transport, rude: Rude, given_s: float, held_s: float
) -> None:
    rude.does(hangs)
    started_s = time.monotonic()

    with pytest.raises(UpstreamTimeout):
        transport.send(transport.prepare("GET", "/auth/v1/user"), deadline_s=given_s)

    assert held_s <= time.monotonic() - started_s < held_s + SLACK_S


@pytest.mark.parametrize("prompt", [0, len(answer(b"x" * 100)) - 90], ids=["from the status line", "in the body"])
def test_a_trickling_answer_cannot_stretch_the_deadline(rude: Rude, ask: Ask, prompt: int) -> None:
    whole = answer(b"x" * 100)

    def behave(connection: socket.socket) -> None:
        connection.sendall(whole[:prompt])
        trickles(whole[prompt:])(connection)

    rude.does(behave)
    started_s = time.monotonic()

    with pytest.raises(UpstreamTimeout):
        ask()

    assert DEADLINE_S <= time.monotonic() - started_s < DEADLINE_S + SLACK_S


def test_a_fresh_connection_that_is_reset_is_no_reason_to_ask_again(rude: Rude, ask: Ask) -> None:
    rude.does(resets)

    with pytest.raises(UpstreamUnavailable):
        ask()

    assert len(rude.requests) == 1


@pytest.mark.parametrize("behaviour", [resets, says_and_closes(b"")], ids=["reset", "closed"])
def test_a_used_connection_that_died_is_replaced_once(rude: Rude, ask: Ask, behaviour: object) -> None:
    """The race of idle connections: the other side closes as we send."""
    rude.does(says(answer()), behaviour, says(answer(b'{"second": 1}')))  # type: ignore[arg-type]
    ask()

    assert ask().body == b'{"second": 1}'
    assert (rude.connected, len(rude.requests)) == (2, 3)


def test_with_a_dead_connection_go_all_that_were_idle_beside_it(rude: Rude, transport: Transport, ask: Ask) -> None:
    """A server that was restarted behind a router has forgotten them too, and each would cost a login its retry."""
    prepared = transport.prepare("GET", "/")

    def use_at_once(connections: int) -> None:
        if connections:
            transport.ask(prepared, lambda _: use_at_once(connections - 1))

    rude.does(says(answer()))
    use_at_once(3)
    pool = pool_of(transport)
    before = pool.idle()
    assert len(before) == 3
    rude.does(resets, says(answer(b'{"second": 1}')))

    assert ask().body == b'{"second": 1}'

    (replaced,) = pool.idle()
    assert replaced not in before
    assert rude.connected == 4


def test_it_is_replaced_once_and_not_twice(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer()), resets)
    ask()

    with pytest.raises(UpstreamUnavailable):
        ask()

    assert len(rude.requests) == 3


def test_after_a_first_byte_nothing_is_asked_again(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer()), says_and_closes(b"HTTP/1.1 2"))
    ask()

    with pytest.raises(UpstreamUnavailable):
        ask()

    assert len(rude.requests) == 2


def test_nor_after_a_reset_in_the_middle_of_an_answer(rude: Rude, ask: Ask) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 2")
        time.sleep(0.1)
        resets(connection)

    rude.does(says(answer()), behave)
    ask()

    with pytest.raises(UpstreamUnavailable):
        ask()

    assert len(rude.requests) == 2


def test_an_answer_that_trickles_and_then_stops_ends_at_the_same_deadline(rude: Rude) -> None:
    transport = Transport(rude.url, key="k" * 20, pool_size=1, deadline_s=1.5)

    def behave(connection: socket.socket) -> None:
        trickles(answer(b"x" * 100)[:28])(connection)
        hangs(connection)

    rude.does(behave)
    started_s = time.monotonic()

    with pytest.raises(UpstreamTimeout):
        transport.send(transport.prepare("GET", "/"))

    assert 1.5 <= time.monotonic() - started_s < 1.5 + SLACK_S


def test_a_restarted_server_is_met_on_new_connections(rude: Rude, transport: Transport, ask: Ask) -> None:
    rude.does(says(answer()))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    rude.close_connections()

    assert [ask().status for _ in range(8)] == [200] * 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage\r\n\r\n",
        answer(b"{}")[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
def test_an_answer_that_is_none_is_unavailable(rude: Rude, ask: Ask, data: bytes) -> None:
    rude.does(says_and_closes(data))

    with pytest.raises(UpstreamUnavailable):
        ask()


def test_a_large_body_is_not_read_to_its_end(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer(b"x" * 1_100_000)))

    with pytest.raises(UpstreamUnavailable):
        ask()


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer(gzip.compress(b"x" * 50_000_000), headers=("Content-Encoding: gzip",))))

    with pytest.raises(UpstreamUnavailable):
        ask()


def test_a_redirect_is_an_answer_and_not_a_way(rude: Rude, ask: Ask) -> None:
    """Following it would carry the password somewhere else (ASVS 15.3.2)."""
    rude.does(says(answer(status="307 Temporary Redirect", headers=(f"Location: {rude.url}/elsewhere",))))

    assert ask().status == 307
    assert len(rude.requests) == 1


def test_a_cookie_of_one_answer_is_not_sent_with_the_next_request(rude: Rude, ask: Ask) -> None:
    rude.does(says(answer(headers=("Set-Cookie: __cf_bm=somebody; path=/",))))

    ask()
    ask()

    assert b"cookie" not in b"".join(rude.requests).lower()


def test_nobody_there_is_unavailable_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    transport = Transport(f"http://127.0.0.1:{port}", key="k" * 20, pool_size=1)

    with pytest.raises(UpstreamUnavailable):
        transport.send(transport.prepare("GET", "/"))


def test_a_name_that_does_not_exist_is_unavailable() -> None:
    transport = Transport("http://velro-auth.invalid", key="k" * 20, pool_size=1, connect_timeout_s=5)

    with pytest.raises(UpstreamUnavailable):
        transport.send(transport.prepare("GET", "/"))


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1"])
def test_an_address_is_resolved_without_a_thread(literal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(threading, "Thread")

    assert Resolver().resolve(literal, 443, timeout_s=0.1)[0][4][:2] == (literal, 443)


def test_name_servers_that_hang_are_left_in_time_and_asked_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """``getaddrinfo`` has no limit of its own."""
    release, calls = threading.Event(), []

    def slow(*args: object, **_: object) -> list[object]:
        calls.append(args)
        release.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = Resolver()

    for _ in range(3):
        with pytest.raises(TimeoutError):
            resolver.resolve("slow.example.com", 443, 0.05)

    release.set()
    assert len(calls) == 1


def test_a_look_up_that_could_not_begin_is_not_waited_for_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process out of threads for a moment must not stay without names for ever."""
    resolver = Resolver()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(TimeoutError):
            resolver.resolve("localhost", 443, 5)

    assert resolver.resolve("localhost", 443, 5)


def test_without_a_thread_the_last_answer_of_the_name_servers_is_good_enough() -> None:
    """A login must not fail for want of a thread."""
    resolver = Resolver()
    found = resolver.resolve("localhost", 443, 5)

    with out_of_threads():
        assert resolver.resolve("localhost", 443, 5) == found
        with pytest.raises(TimeoutError):
            resolver.resolve("localhost", 80, 5)

    assert resolver.resolve("localhost", 80, 5)


def test_a_request_waits_for_name_servers_no_longer_than_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20) and [])
    transport = Transport("http://slow.example.com", key="k" * 20, pool_size=1, connect_timeout_s=0.2, deadline_s=5)
    started_s = time.monotonic()

    with pytest.raises(UpstreamUnavailable):
        transport.send(transport.prepare("GET", "/"))

    assert time.monotonic() - started_s < 0.2 + SLACK_S
    release.set()


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    rude: Rude, ask: Ask, transport: Transport
) -> None:
    """A broken IPv6 route must not eat the time that IPv4 needs."""
    rude.does(says(answer()))
    with _full_backlog() as hole:
        both = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in (hole, rude.port)]
        transport._adapter._resolver.resolve = lambda *_: both  # type: ignore[method-assign]

        assert ask().status == 200


class _full_backlog:  # noqa: N801 - a context manager
    """A port whose listener accepts nothing any more: connecting to it hangs."""

    def __enter__(self) -> int:
        self._server = socket.socket()
        self._server.bind(("127.0.0.1", 0))
        self._server.listen(0)
        self._clients = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(self._server.getsockname())
            self._clients.append(client)
        return int(self._server.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        for sock in (*self._clients, self._server):
            sock.close()


def test_the_environment_s_proxies_are_not_used(rude: Rude, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    rude.does(says(answer()))

    assert ask().status == 200


def over_tls(url: str, trust: ssl.SSLContext | None) -> Reply:
    transport = Transport(url, key="k" * 20, pool_size=1, connect_timeout_s=2, deadline_s=2, tls=trust)
    try:
        return transport.send(transport.prepare("POST", "/"), b'{"password": "canary"}')
    finally:
        transport.close()


def test_tls_is_spoken_with_those_who_can_prove_who_they_are(tls_rude: Rude, authority: Path) -> None:
    tls_rude.does(says(answer()))

    assert over_tls(tls_rude.url, ssl.create_default_context(cafile=authority)).status == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_others_get_not_one_byte_of_a_request(tls_rude: Rude, authority: Path, host: str) -> None:
    """An unknown authority, and a known one with the wrong name."""
    tls_rude.does(says(answer()))
    trust = None if host == "localhost" else ssl.create_default_context(cafile=authority)

    with pytest.raises(UpstreamUnavailable):
        over_tls(f"https://{host}:{tls_rude.port}", trust)

    assert not tls_rude.requests


def test_a_trickle_over_tls_cannot_stretch_the_deadline_either(tls_rude: Rude, authority: Path) -> None:
    tls_rude.does(trickles(answer(b"x" * 100)))
    started_s = time.monotonic()

    with pytest.raises(UpstreamTimeout):
        over_tls(tls_rude.url, ssl.create_default_context(cafile=authority))

    assert 2 <= time.monotonic() - started_s < 2 + SLACK_S
