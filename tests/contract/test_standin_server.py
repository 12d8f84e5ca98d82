"""The server under the stand-in: kept connections, many clients, odd requests."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email

HEALTH = "/auth/v1/health"


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


def connect(api: Api) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(api.server.url.removeprefix("http://"), timeout=10)


def ask(api: Api, connection: http.client.HTTPConnection, path: str = HEALTH) -> int:
    connection.request("GET", path, headers={"apikey": api.server.publishable_key})
    response = connection.getresponse()
    response.read()
    return response.status


def context(api: Api, sent: bytes) -> bytes:
    host, port = api.server.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=5)) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_a_connection_serves_many_requests(api: Api) -> None:
    with closing(connect(api)) as connection:
        assert [ask(api, connection) for _ in range(20)] == [200] * 20

    assert [request.nth for request in api.server.requests] == list(range(1, 21))


def test_answers_on_a_kept_connection_do_not_stall(api: Api) -> None:
    """Nagle's algorithm and delayed acknowledgements would cost 40 ms each."""
    with closing(connect(api)) as connection:
        ask(api, connection)
        times = []
        for _ in range(20):
            started = time.perf_counter()
            ask(api, connection)
            times.append(time.perf_counter() - started)

    assert sorted(times)[5] < 0.035


def test_two_hundred_logins_at_once_all_succeed(api: Api) -> None:
    """Nobody is turned away by a short queue of the listener."""
    email = new_email()
    api.server.create_user(email, PASSWORD)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: api.log_in(email), range(200)))

    assert [answer.status_code for answer in answers] == [200] * 200
    assert len({answer.json()["refresh_token"] for answer in answers}) == 200


def test_hundreds_of_open_connections_do_not_stand_in_the_way(api: Api) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            ask(api, stack.enter_context(closing(connect(api))))

        assert api.call("GET", HEALTH).status_code == 200


def test_idle_connections_can_be_closed(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(idle_close_s=0.2))

    with closing(connect(api)) as connection:
        ask(api, connection)
        assert connection.sock.recv(1) == b""


def test_a_busy_connection_is_not_idle(standin_with: Callable[..., Standin]) -> None:
    api = Api(standin_with(idle_close_s=0.2))
    switch = api.server.faults.on("latency", seconds=0.4, times=1)

    assert api.call("GET", HEALTH).status_code == 200
    assert switch.fired == 1


def test_connections_can_wear_out(standin_with: Callable[..., Standin]) -> None:
    """Without a word before: the client finds out with its next request."""
    api = Api(standin_with(max_requests_per_connection=2))

    with closing(connect(api)) as connection:
        assert [ask(api, connection), ask(api, connection)] == [200, 200]
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
            ask(api, connection)


def test_a_body_may_come_in_chunks(api: Api) -> None:
    email = new_email()
    api.server.create_user(email, PASSWORD)
    body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    url = f"{api.server.url}/auth/v1/token?grant_type=password"

    response = requests.post(
        url, data=iter([body[:10], body[10:]]), headers={"apikey": api.server.publishable_key}, timeout=5
    )

    assert response.status_code == 200
    assert api.server.requests[-1].body == body


def test_head_is_answered_without_a_body(api: Api) -> None:
    response = api.call("HEAD", "/mailbox")

    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /auth/v1/token HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /auth/v1/token HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort",
        b"POST /auth/v1/token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /auth/v1/token HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n",
        b"\r\n",
        b"",
    ],
)
def test_what_is_no_request_harms_nobody(api: Api, sent: bytes) -> None:
    context(api, sent)

    assert len(api.server.requests) == 0
    assert api.call("GET", HEALTH).status_code == 200


def test_headers_of_the_same_name_are_all_kept(api: Api) -> None:
    key = api.server.publishable_key
    context(api, f"GET {HEALTH} HTTP/1.1\r\napikey: {key}\r\nX-A: 1\r\nX-A: 2\r\n\r\n".encode())

    assert api.server.requests[-1].headers.getlist("X-A") == ["1", "2"]
