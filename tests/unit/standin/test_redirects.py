"""Where links of the stand-in lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from supabase_standin import StandinConfig, redirects
from supabase_standin.backend import Call
from supabase_standin.errors import Failure

SITE = "https://app.example.com"


def config(*redirect_urls: str, site_url: str = SITE) -> StandinConfig:
    return StandinConfig(data_dir=Path(), site_url=site_url, redirect_urls=redirect_urls)


def call(query: str = "", **headers: str) -> Call:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Call(
        body=b"",
        query={"redirect_to": query} if query else {},
        bearer=None,
        key_role="anon",
        address="127.0.0.1",
        limited_as=None,
        user_agent="",
        headers=names,
    )


@pytest.mark.parametrize(
    "url",
    [
        f"{SITE}/welcome?x=1#y",
        f"{SITE}:443/",
        "http://127.0.0.1:9/cb",
        "http://[::1]:9/cb",
        "https://one.preview.example.com/p",
        "https://any.example.org/deep/path.html",
        "myapp://callback#x",
        "https://x1.example.net",
        "https://de.example.net",
    ],
)
def test_an_allowed_address(url: str) -> None:
    patterns = (
        "https://*.preview.example.com/*",
        "https://any.example.org/**",
        "myapp://callback",
        "https://[a-x]?.example.net",
        "https://{de,fr}.example.net",
    )

    assert redirects.is_allowed(config(*patterns), url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/inside",
        "//app.example.com/x",
        "http://app.example.com/",
        "http://app.example.com:443/",
        f"{SITE}:8443/",
        f"{SITE}:99999/",
        f"{SITE}.evil.example/",
        "https://app.example.com@evil.example/",
        "http://10.0.0.1/",
        "https://one.two.preview.example.com/p",
        "https://one.preview.example.com/p/q",
        "https://evil.example/#https://app.example.com",
        "http://[::1",
        "http://localhost:3000/",
    ],
)
def test_an_address_that_is_not_allowed(url: str) -> None:
    assert not redirects.is_allowed(config("https://*.preview.example.com/*"), url)


def test_on_this_machine_the_port_does_not_count() -> None:
    assert redirects.is_allowed(config(site_url="http://localhost:8000"), "http://localhost:3000/x")


def test_the_first_allowed_address_of_a_request_wins() -> None:
    asked = call(f"{SITE}/query", redirect_to=f"{SITE}/header", referer=f"{SITE}/referer")

    assert redirects.chosen(config(), asked) == f"{SITE}/query"


def test_an_address_that_is_not_allowed_gives_way_to_the_next() -> None:
    assert redirects.chosen(config(), call("https://evil.example", redirect_to=f"{SITE}/header")) == f"{SITE}/header"
    assert redirects.chosen(config(), call("https://evil.example", referer=f"{SITE}/from")) == f"{SITE}/from"
    assert redirects.chosen(config(), call("https://evil.example")) == SITE


def test_a_code_joins_the_query_in_order_of_names() -> None:
    assert redirects.with_code(f"{SITE}/cb?x=1&a=2", "c-1") == f"{SITE}/cb?a=2&code=c-1&x=1"


def test_an_error_stands_in_the_fragment_and_with_pkce_in_the_query_too() -> None:
    failure = Failure(403, "otp_expired", "Gone: 1")

    implicit = redirects.with_failure(f"{SITE}/?x=1", failure, pkce=False)
    pkce = redirects.with_failure(f"{SITE}/?x=1", failure, pkce=True)

    fragment = "error=access_denied&error_code=otp_expired&error_description=Gone%253A+1&sb="
    assert implicit == f"{SITE}/?x=1#{fragment}"
    assert pkce == f"{SITE}/?error=access_denied&error_code=otp_expired&error_description=Gone%3A+1&x=1#{fragment}"
