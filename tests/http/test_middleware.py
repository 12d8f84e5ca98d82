"""What every answer carries, in both lanes, whatever its status."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import ENVIRONMENT, GOOD_LOGIN, LogLines, MakeClient
from tests.upstream_double import UpstreamDouble
from velro_auth.config.settings import Settings
from velro_auth.context import AFTERWARDS
from velro_auth.web.client_address import Addresses
from velro_auth.web.cors import Cors
from velro_auth.web.middleware import Middleware
from velro_auth.web.prepared import FASTLANE_TIME
from velro_auth.wiring import build

LOGIN = "/api/v1/auth/login"
ORIGIN = "https://app.example.com"

Send = Callable[[Client], TestResponse]

#: One request for each status that there is.
REQUESTS: dict[str, Send] = {
    "200 health": lambda client: client.get("/health"),
    "200 HEAD": lambda client: client.head("/health"),
    "200 ping": lambda client: client.get("/api/v1/auth/ping"),
    "200 version": lambda client: client.get("/__version"),
    "200 ready": lambda client: client.get("/health/ready"),
    "200 login": lambda client: client.post(LOGIN, json=GOOD_LOGIN),
    "400": lambda client: client.post(LOGIN, data=b"{", content_type="application/json"),
    "401": lambda client: client.get("/api/v1/auth/me"),
    "404": lambda client: client.get("/nowhere"),
    "405": lambda client: client.delete("/health"),
    "413": lambda client: client.post(LOGIN, data=b"x" * 20_000, content_type="application/json"),
    "415": lambda client: client.post(LOGIN, data=b"{}", content_type="text/plain"),
    "422": lambda client: client.post(LOGIN, json={}),
    "204 OPTIONS": lambda client: client.options(LOGIN),
}


@pytest.fixture(params=list(REQUESTS.values()), ids=list(REQUESTS))
def send(request: pytest.FixtureRequest, upstream: UpstreamDouble) -> Send:
    return request.param  # type: ignore[no-any-return] # typed where it is made


def test_every_answer_carries_the_same_headers(client: Client, send: Send) -> None:
    headers = send(client).headers

    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Vary"] == "Origin"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Request-ID"])
    assert re.match(r"total;dur=\d+\.\d", headers["Server-Timing"])
    assert len(list(headers.keys())) == len(set(headers.keys()))


@pytest.mark.parametrize(
    ("body", "upstream_status", "status"),
    [
        ({"code": "invalid_credentials"}, 400, 401),
        ({"code": "over_request_rate_limit"}, 429, 429),
        (ZeroDivisionError("a defect"), 200, 500),
        ("<html>", 502, 503),
    ],
)
def test_so_does_what_comes_of_supabase_s_answer(
    client: Client, upstream: UpstreamDouble, body: Any, upstream_status: int, status: int
) -> None:
    upstream.answers(body, status=upstream_status)

    response = client.post(LOGIN, json=GOOD_LOGIN, headers={"Origin": ORIGIN})

    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert response.headers["Strict-Transport-Security"]
    assert response.headers["Vary"] == "Origin"


def test_a_defect_outside_of_both_lanes_is_a_500_like_any_other(logs: LogLines) -> None:
    """The last resort: without it the server answers with a page of its own, and none of our headers."""

    def defective(_: object, __: object) -> Iterable[bytes]:
        raise ZeroDivisionError("the secret reason")

    response = Client(Middleware(defective, cors=Cors([ORIGIN]), addresses=Addresses(()))).get(
        "/", headers={"Origin": ORIGIN}
    )

    assert_problem(response, 500, "internal_error")
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert b"secret" not in response.data
    assert any(record.exc_info for record in logs.records)


def test_a_response_is_counted_when_the_server_has_sent_it(logs: LogLines) -> None:
    """Counting costs more than a ping, and no client has to wait for it. A server without callbacks counts at once."""
    counted: list[int] = []

    def answering(_: object, start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"{}"]

    def count(_: str, status: int, *__: object) -> None:
        counted.append(status)

    client = Client(Middleware(answering, cors=Cors(), addresses=Addresses(()), on_response=count))
    afterwards: list[Callable[[], object]] = []

    client.get("/", environ_overrides={AFTERWARDS: afterwards})
    assert (counted, logs.access) == ([], [])
    for callback in afterwards:
        callback()
    assert (counted, len(logs.access)) == ([200], 1)

    client.get("/")
    assert counted == [200, 200]


def test_an_allowed_origin_may_read_every_answer(send: Send, make_client: MakeClient) -> None:
    """Without these on errors, a browser shows a failure of ours as a CORS error."""
    client = make_client()

    headers = _with_origin(client, send, ORIGIN).headers

    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Retry-After" in headers["Access-Control-Expose-Headers"]


def _with_origin(client: Client, send: Send, origin: str) -> TestResponse:
    class FromOrigin(Client):
        def open(self, *args: Any, **kwargs: Any) -> TestResponse:
            return super().open(*args, **{**kwargs, "headers": {**kwargs.get("headers", {}), "Origin": origin}})

    return send(FromOrigin(client.application))


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://app.example.com.evil.com",
        "https://evil-app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://APP.example.com",
        "https://app.example.com/",
        "*",
        "https://preview-x.example.com.evil.com",
        "https://xpreview-1.example.com",
        "https://preview-1.example.com.evil.com",
    ],
)
def test_nobody_else_may(make_client: MakeClient, origin: str) -> None:
    client = make_client(CORS_ORIGIN_REGEX=r"https://preview-\d+\.example\.com")

    for headers in (
        client.get("/health", headers={"Origin": origin}).headers,
        client.options(LOGIN, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}).headers,
    ):
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Vary"] == "Origin"


def test_a_pattern_admits_preview_deployments(make_client: MakeClient) -> None:
    client = make_client(CORS_ORIGIN_REGEX=r"https://preview-\d+\.example\.com")
    origin = "https://preview-17.example.com"

    assert client.get("/health", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"] == origin


def test_a_preflight_is_204_with_what_is_allowed(client: Client) -> None:
    response = client.options(
        LOGIN,
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert response.headers["Access-Control-Allow-Headers"] == (
        "authorization, content-type, apikey, x-client-info, x-supabase-api-version, x-request-id, x-requested-with,"
        " x-csrf-token, idempotency-key, cache-control, traceparent, tracestate, baggage, sentry-trace"
    )
    assert response.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize("given", ["9" * 5000, "²", "-1", "1e3", " ", "99999999999999999"])
def test_a_queue_time_that_is_none_is_ignored(
    client: Client, upstream: UpstreamDouble, logs: LogLines, given: str
) -> None:
    """Python refuses to read a number of more than 4300 digits."""
    environ = {"HTTP_X_REQUEST_START": given, "REMOTE_ADDR": "100.64.0.3"}

    assert client.post(LOGIN, json=GOOD_LOGIN, environ_overrides=environ).status_code == 200
    assert "queue_ms" not in logs.access[-1]


@pytest.mark.parametrize("given", ["abc-123_4.5", "x" * 64])
def test_a_request_id_that_fits_is_kept(client: Client, given: str) -> None:
    assert client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", 'a"b', "ä"])
def test_another_one_is_replaced(client: Client, given: str) -> None:
    answered = client.get("/health", environ_overrides={"HTTP_X_REQUEST_ID": given}).headers["X-Request-ID"]

    assert re.fullmatch(r"[0-9a-f]{32}", answered)


def test_problem_json_is_for_those_who_name_it(client: Client) -> None:
    assert client.get("/nowhere").mimetype == "application/json"
    assert client.get("/nowhere", headers={"Accept": "*/*"}).mimetype == "application/json"
    named = client.get("/nowhere", headers={"Accept": "text/html, application/problem+json;q=0.9"})
    assert named.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        *("/health//", "//health", "///health", "/api/v1/auth/login//", "/api//v1/auth/login", "/API/v1/auth/login"),
        *("//", "///", "//api/v1/auth/ping", "//evil.example", "//evil.example/%2f..", "//api/v1/auth/verify"),
    ],
)
def test_a_path_is_exactly_what_was_asked_for(client: Client, path: str) -> None:
    # The test client would take what follows two slashes for a host.
    response = client.get("/", environ_overrides={"PATH_INFO": path})

    assert_problem(response, 404, "not_found")
    assert "Location" not in response.headers


def test_an_address_without_a_path_is_the_index(client: Client) -> None:
    """Without a redirect, which would have the Host header in it."""
    response = client.get("/", headers={"Host": "evil.example"}, environ_overrides={"PATH_INFO": ""})

    assert (response.status_code, response.headers.get("Location")) == (200, None)
    assert b"evil.example" not in response.data


def test_a_trailing_slash_changes_nothing(client: Client, upstream: UpstreamDouble, logs: LogLines) -> None:
    """Every route, in both lanes; but for ``verify``, below which the path is the client's."""
    parts = build(Settings.from_environment(ENVIRONMENT))
    paths = {(method, path) for endpoint in parts.endpoints for method in endpoint.methods for path in endpoint.paths}
    for method, path in sorted(paths | {("OPTIONS", LOGIN), ("DELETE", LOGIN)}):
        with_slash = path if path == "/" else path + "/"
        without, with_ = (client.open(asked, method=method, json=GOOD_LOGIN) for asked in (path, with_slash))

        assert with_.status_code == without.status_code, (method, path)
        assert with_.headers.get("Allow") == without.headers.get("Allow")
        assert (FASTLANE_TIME in with_.headers) == (FASTLANE_TIME in without.headers)
        assert [line["path"] for line in logs.access[-2:]] == [path, path]


def test_a_trailing_slash_that_is_escaped_is_none(client: Client) -> None:
    response = client.get("/api/v1/auth/ping/", environ_overrides={"RAW_URI": "/api/v1/auth/ping%2F"})

    assert_problem(response, 404, "not_found")


@pytest.mark.parametrize("raw", ["/api/v1/auth%2fping", "/api%2Fv1/auth/ping"])
def test_an_escaped_slash_is_no_slash(client: Client, raw: str) -> None:
    """Servers decode it before anybody routes."""
    response = client.get("/api/v1/auth/ping", environ_overrides={"RAW_URI": raw})

    assert_problem(response, 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "POST", "BREW"])
def test_a_method_that_is_not_there_is_refused(client: Client, method: str) -> None:
    response = client.open("/health", method=method)

    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_a_head_is_a_get_without_its_body(client: Client) -> None:
    for path in ("/health", "/api/v1/auth/ping", "/__version", "/__lbheartbeat__"):
        response = client.head(path)

        assert response.status_code == 200
        assert response.data == b""
        assert int(response.headers["Content-Length"]) > 10


def test_the_time_in_the_queue_is_told(client: Client, upstream: UpstreamDouble, logs: LogLines) -> None:
    """Railway says in milliseconds when its edge took the request; only a trusted peer may say so."""
    environ = {"HTTP_X_REQUEST_START": "1", "REMOTE_ADDR": "100.64.0.3"}

    assert "queue" not in client.post(LOGIN, json=GOOD_LOGIN, environ_overrides=environ).headers["Server-Timing"]

    environ["HTTP_X_REQUEST_START"] = str(int(time.time() * 1000) - 50)
    assert "queue;dur=" in client.post(LOGIN, json=GOOD_LOGIN, environ_overrides=environ).headers["Server-Timing"]
    assert logs.access[-1]["queue_ms"] >= 50

    environ["REMOTE_ADDR"] = "203.0.113.7"
    assert "queue" not in client.post(LOGIN, json=GOOD_LOGIN, environ_overrides=environ).headers["Server-Timing"]


def test_an_access_line_says_who_asked_what_and_what_came_of_it(
    client: Client, upstream: UpstreamDouble, logs: LogLines, lane: str
) -> None:
    client.post(
        LOGIN + "?token=not-for-logs",
        json=GOOD_LOGIN,
        headers={"X-Real-IP": "198.51.100.1", "X-Railway-Request-Id": "rw-1"},
        environ_overrides={"REMOTE_ADDR": "::ffff:100.64.0.3"},
    )

    (line,) = logs.access
    assert line["method"] == "POST"
    assert line["path"] == LOGIN
    assert line["status"] == 200
    assert line["outcome"] == "ok"
    assert line["lane"] == ("fast" if lane == "fast lane" else "flask")
    assert line["address"] == "198.51.100.1"
    assert line["requestId"] == "rw-1"
    assert line["took_ms"] >= line["upstream_ms"] >= 0
    assert "not-for-logs" not in str(logs)


@pytest.mark.parametrize("path", ["/health", "/api/v1/auth/verify", "/nowhere"])
def test_a_method_that_is_not_known_is_not_logged(client: Client, logs: LogLines, path: str) -> None:
    """It may be a piece of a body that was longer than its length said."""
    client.open(path, method="NOT-FOR-LOGS")

    assert logs.access[-1]["method"] == "-"
    assert "NOT-FOR-LOGS" not in str(logs)


def test_good_probes_are_sampled_and_bad_ones_are_not(make_client: MakeClient, logs: LogLines) -> None:
    client = make_client(LOG_PROBES_EVERY="10")

    for _ in range(20):
        client.get("/health")
        client.post("/health")

    assert sum(line["status"] == 200 for line in logs.access) == 2
    assert sum(line["status"] == 405 for line in logs.access) == 20
