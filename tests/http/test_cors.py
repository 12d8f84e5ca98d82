"""Preflights of the clients there are, through both lanes."""

from __future__ import annotations

import pytest
from werkzeug.test import Client

from tests.conftest import MakeClient

ORIGIN = "https://app.example"
LOGIN = "/api/v1/auth/login"


def preflight(client: Client, origin: str, method: str = "POST", headers: str = "") -> dict[str, str]:
    """Return the answer's headers to a preflight."""
    given = {"Origin": origin, "Access-Control-Request-Method": method}
    response = client.options(LOGIN, headers=given | ({"Access-Control-Request-Headers": headers} if headers else {}))
    assert response.status_code == 204
    return dict(response.headers)


def names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",")}


@pytest.mark.parametrize(
    "asked",
    [
        "authorization,content-type,sentry-trace,baggage",
        "apikey,x-client-info,x-supabase-api-version",
        "x-requested-with",
        "x-csrf-token",
        "tracestate,traceparent",
        "idempotency-key",
        "cache-control,x-request-id",
    ],
)
def test_what_clients_send_may_be_sent(make_client: MakeClient, asked: str) -> None:
    answer = preflight(make_client(CORS_ORIGINS=ORIGIN), ORIGIN, headers=asked)

    assert names(asked) <= names(answer["Access-Control-Allow-Headers"])
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    assert answer["Access-Control-Allow-Credentials"] == "true"
    assert answer["Access-Control-Max-Age"] == "600"
    assert answer["Vary"] == "Origin"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_of_the_routes_may_be_used(make_client: MakeClient, method: str) -> None:
    answer = preflight(make_client(CORS_ORIGINS=ORIGIN), ORIGIN, method)

    assert answer["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"


def test_further_headers_are_a_setting(make_client: MakeClient) -> None:
    answer = preflight(make_client(CORS_ORIGINS=ORIGIN, CORS_ALLOW_HEADERS="X-App-Version"), ORIGIN)

    assert {"x-app-version", "authorization"} <= names(answer["Access-Control-Allow-Headers"])


@pytest.mark.parametrize(
    ("origin", "may_send_cookies"),
    [
        ("https://preview-7.vercel.app", False),
        ("http://localhost:5173", False),
        ("http://localhost", False),
        ("https://xn--mnchen-3ya.example", True),
        ("capacitor://localhost", True),
    ],
)
def test_each_origin_matches_what_its_setting_says(
    make_client: MakeClient, origin: str, may_send_cookies: bool
) -> None:
    client = make_client(
        CORS_ORIGINS="https://*.vercel.app,http://localhost:*,https://münchen.example,capacitor://localhost"
    )

    for headers in (preflight(client, origin), dict(client.get("/health", headers={"Origin": origin}).headers)):
        assert headers["Access-Control-Allow-Origin"] == origin
        assert ("Access-Control-Allow-Credentials" in headers) == may_send_cookies
        assert headers["Vary"] == "Origin"


def test_pages_may_read_what_they_need(make_client: MakeClient) -> None:
    answer = make_client(CORS_ORIGINS=ORIGIN).get("/health", headers={"Origin": ORIGIN})

    assert answer.headers["Access-Control-Expose-Headers"] == (
        "Retry-After, RateLimit, RateLimit-Policy, X-Request-ID, Server-Timing, X-Fastlane-Time-Ms,"
        " X-Supabase-Api-Version, x-sb-error-code"
    )


@pytest.mark.parametrize("origin", [None, "null", "https://stranger.example", ORIGIN])
@pytest.mark.parametrize("path", ["/health", "/nowhere", LOGIN, "/api/v1/auth/verify", "/api/v1/auth/me"])
def test_every_answer_varies_by_origin(make_client: MakeClient, origin: str | None, path: str) -> None:
    """Without it a cache would hand one page's answer to another; on errors and without an origin too."""
    client = make_client(CORS_ORIGINS=ORIGIN)
    headers = {} if origin is None else {"Origin": origin}

    for answer in (client.get(path, headers=headers), client.options(path, headers=headers)):
        assert "origin" in names(",".join(answer.headers.getlist("Vary")))
