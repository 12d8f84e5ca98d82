"""Trouble on demand, as a client sees it on the wire."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email
from tests.waiting import eventually

HEALTH = "/auth/v1/health"


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


def raw(api: Api, path: str = HEALTH, *, timeout_s: float = 5.0) -> socket.socket:
    """Send a request and return the socket before anything was read."""
    host, port = api.server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=timeout_s)
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\napikey: {api.server.publishable_key}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def health(api: Api) -> requests.Response:
    return api.call("GET", HEALTH)


def seconds_of(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def test_an_answer_can_be_late(api: Api) -> None:
    api.server.faults.on("latency", seconds=0.2)

    assert seconds_of(lambda: health(api)) >= 0.2


def test_lateness_can_vary(api: Api) -> None:
    api.server.faults.on("latency", seconds=0.0, most_s=0.2)

    times = [seconds_of(lambda: health(api)) for _ in range(8)]

    assert max(times) - min(times) > 0.02


def test_a_fault_can_meet_a_share_of_the_requests(api: Api) -> None:
    switch = api.server.faults.on("failure", path=HEALTH, share=0.3)

    statuses = [health(api).status_code for _ in range(20)]

    assert statuses.count(500) == switch.fired == 6
    # Evenly spread: no luck is needed to have as many within any ten.
    assert statuses[:10].count(500) == 3


def test_an_upstream_can_do_so_much_at_once(api: Api) -> None:
    """As many as there are cores; the others queue."""
    api.server.faults.on("capacity", places=2, seconds=0.1)

    with ThreadPoolExecutor(6) as pool:
        took_s = seconds_of(lambda: list(pool.map(lambda _: health(api), range(6))))

    assert took_s >= 0.3


def test_a_request_can_hang(api: Api) -> None:
    api.server.faults.on("hang")

    with pytest.raises(requests.ReadTimeout):
        requests.get(api.server.url + HEALTH, timeout=0.3)


def test_a_hanging_request_ends_when_the_client_goes_away(api: Api) -> None:
    switch = api.server.faults.on("hang")
    before = set(threading.enumerate())

    with closing(raw(api)):
        eventually(lambda: switch.fired == 1)
        (serving,) = set(threading.enumerate()) - before
        assert serving.is_alive()

    eventually(lambda: not serving.is_alive())


def test_hanging_requests_end_when_the_stand_in_stops(new_standin: Callable[..., Standin]) -> None:
    api = Api(new_standin())
    switch = api.server.faults.on("hang")
    connections = [raw(api) for _ in range(20)]
    eventually(lambda: switch.fired == 20)

    took_s = seconds_of(api.server.stop)

    assert took_s < 15
    assert [connection.recv(1) for connection in connections] == [b""] * 20
    for connection in connections:
        connection.close()


def test_an_answer_can_trickle_from_its_first_byte(api: Api) -> None:
    """A read timeout that starts anew with every byte never fires."""
    api.server.faults.on("trickle", interval_s=0.02)

    with closing(raw(api)) as connection:
        chunks = [connection.recv(65536) for _ in range(12)]

    assert chunks[0] == b"H"
    assert 12 <= len(b"".join(chunks)) < 60
    assert b"".join(chunks).startswith(b"HTTP/1.1 200")


def test_only_the_body_can_trickle(api: Api) -> None:
    api.server.faults.on("trickle", interval_s=0.02, body_only=True)

    with closing(raw(api)) as connection:
        time.sleep(0.2)
        first = connection.recv(65536)

    head, _, body = first.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert 1 <= len(body) < 40


def test_a_connection_can_be_reset(api: Api) -> None:
    api.server.faults.on("reset")

    with closing(raw(api)) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_a_connection_can_be_closed_without_an_answer(api: Api) -> None:
    api.server.faults.on("close")

    with closing(raw(api)) as connection:
        assert connection.recv(1) == b""


def test_a_fault_can_spare_fresh_connections(api: Api) -> None:
    """A kept connection that died while nobody looked: the one case in which a retry is safe."""
    switch = api.server.faults.on("reset", only_reused=True)
    host = api.server.url.removeprefix("http://")

    with closing(http.client.HTTPConnection(host, timeout=5)) as connection:
        connection.request("GET", HEALTH, headers={"apikey": api.server.publishable_key})
        assert connection.getresponse().read()
        connection.request("GET", HEALTH, headers={"apikey": api.server.publishable_key})
        with pytest.raises(ConnectionResetError):
            connection.getresponse()

    assert switch.fired == 1


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_the_answer_can_get_lost_after_the_work_was_done(api: Api, kind: str) -> None:
    """The session exists, nobody knows its tokens."""
    email = new_email()
    user_id = api.server.create_user(email, PASSWORD)
    api.server.faults.on(kind, path="/auth/v1/token", after=True)

    with pytest.raises(requests.ConnectionError):
        api.log_in(email)

    assert api.sql("select count(*) from auth.sessions where user_id = %s", user_id) == [(1,)]


def test_a_proxy_can_answer_in_html(api: Api) -> None:
    api.server.faults.on("html", status=522)

    response = health(api)

    assert response.status_code == 522
    assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert response.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("retry_after", [None, "7", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_limit_can_be_reached(api: Api, retry_after: str | None) -> None:
    api.server.faults.on("throttled", retry_after=retry_after)

    response = health(api)

    assert response.status_code == 429
    assert response.headers.get("Retry-After") == retry_after


def test_the_service_can_fail(api: Api) -> None:
    api.server.faults.on("failure", status=504, code="request_timeout", message="too late")

    response = health(api)

    assert response.status_code == 504
    assert response.headers["x-sb-error-code"] == "request_timeout"
    assert response.json() == {"code": "request_timeout", "message": "too late"}


def test_json_can_be_cut(api: Api) -> None:
    api.server.faults.on("truncated", at=12)

    response = health(api)

    assert len(response.content) == 12
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response.json()


def test_a_body_can_end_before_its_length(api: Api) -> None:
    api.server.faults.on("truncated", at=12, honest_length=False)

    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        health(api)


@pytest.mark.parametrize("value", [None, [], 7, "text", {}, {"access_token": 1}])
def test_json_can_be_something_else(api: Api, value: Any) -> None:
    api.server.faults.on("wrong_json", value=value)

    assert health(api).json() == value


def test_keys_can_be_missing(api: Api) -> None:
    api.server.faults.on("missing_keys", keys=["refresh_token"])
    email = new_email()
    api.server.create_user(email, PASSWORD)

    body = api.log_in(email).json()

    assert "refresh_token" not in body
    assert "access_token" in body


def test_the_content_type_can_be_wrong(api: Api) -> None:
    api.server.faults.on("content_type", content_type="text/plain")

    response = health(api)

    assert response.headers["Content-Type"] == "text/plain"
    assert response.json()["name"] == "GoTrue"


def test_a_body_can_be_too_large(api: Api) -> None:
    api.server.faults.on("oversized")

    assert len(health(api).content) > 300 * 1024


def test_an_answer_can_point_elsewhere(api: Api) -> None:
    api.server.faults.on("redirect", location="http://127.0.0.1:9/", status=307)

    response = requests.get(api.server.url + HEALTH, allow_redirects=False, timeout=5)

    assert response.status_code == 307
    assert response.headers["Location"] == "http://127.0.0.1:9/"


def test_a_small_body_can_unpack_to_a_large_one(api: Api) -> None:
    api.server.faults.on("gzip_bomb", size=8 * 1024 * 1024)

    response = health(api)

    assert int(response.headers["Content-Length"]) < 100_000
    assert len(response.content) > 8 * 1024 * 1024


def test_a_fault_meets_its_path_only(api: Api) -> None:
    switch = api.server.faults.on("html", path="/auth/v1/settings")

    assert health(api).status_code == 200
    assert api.call("GET", "/auth/v1/settings").status_code == 502
    assert switch.fired == 1


def test_a_fault_meets_its_method_only(api: Api) -> None:
    api.server.faults.on("html", method="POST")

    assert health(api).status_code == 200
    assert api.log_in(new_email()).status_code == 502


def test_a_fault_ends_after_so_many_requests(api: Api) -> None:
    switch = api.server.faults.on("html", times=2)

    assert [health(api).status_code for _ in range(4)] == [502, 502, 200, 200]
    assert switch.fired == 2


def test_parallel_requests_use_a_fault_exactly_as_often_as_said(api: Api) -> None:
    api.server.faults.on("html", times=10)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(health(api).status_code)) for _ in range(30)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] * 20 + [502] * 10


def test_faults_add_up(api: Api) -> None:
    api.server.faults.on("latency", seconds=0.15)
    api.server.faults.on("html")

    response = health(api)

    assert response.status_code == 502
    assert response.elapsed.total_seconds() >= 0.15


def test_a_fault_that_was_switched_off_keeps_its_count(api: Api) -> None:
    switch = api.server.faults.on("html")
    health(api)

    api.server.faults.off(switch)

    assert health(api).status_code == 200
    assert switch.fired == 1


def test_requests_that_meet_a_fault_are_noted_too(api: Api) -> None:
    api.server.faults.on("close")

    with closing(raw(api)) as connection:
        connection.recv(1)

    assert api.server.requests[-1].path == HEALTH


@pytest.mark.parametrize(
    ("kind", "options"),
    [("earthquake", {}), ("latency", {}), ("hang", {"seconds": 1}), ("vector:no_such_case", {})],
)
def test_an_unknown_fault_is_a_mistake(api: Api, kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fault"):
        api.server.faults.on(kind, **options)


@pytest.fixture
def control(api: Api) -> Iterator[Callable[..., requests.Response]]:
    url, token = f"{api.server.url}/_standin/faults", api.server.control_token

    def send(method: str, body: Any = None, *, token: str = token) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, url, json=body, headers=headers, timeout=5)

    yield send
    send("DELETE")


def test_faults_are_switched_from_outside(api: Api, control: Callable[..., requests.Response]) -> None:
    made = control("POST", {"kind": "html", "path": HEALTH, "times": 5, "status": 503})

    assert made.status_code == 201
    assert health(api).status_code == 503
    (shown,) = control("GET").json()
    assert (shown["kind"], shown["fired"], shown["times"]) == ("html", 1, 4)
    assert control("DELETE").status_code == 204
    assert health(api).status_code == 200


def test_the_switchboard_works_while_everything_else_does_not(
    api: Api, control: Callable[..., requests.Response]
) -> None:
    control("POST", {"kind": "hang"})

    assert control("GET").status_code == 200


@pytest.mark.parametrize("body", [{}, {"kind": "earthquake"}, {"kind": "hang", "often": True}, []])
def test_the_switchboard_says_what_is_wrong(control: Callable[..., requests.Response], body: Any) -> None:
    response = control("POST", body)

    assert response.status_code == 422
    assert response.json()["message"]


@pytest.mark.parametrize("token", ["", "guess", "ü"])
def test_without_the_token_there_is_no_switchboard(
    api: Api, control: Callable[..., requests.Response], token: str
) -> None:
    response = control("POST", {"kind": "hang"}, token=token.encode().decode("latin-1"))

    assert response.status_code == 401
    assert json.loads(response.content) == {"message": "Invalid API key"}
    assert api.server.faults.shown() == []
