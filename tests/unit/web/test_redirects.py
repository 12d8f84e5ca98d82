"""Addresses that a flow may lead to."""

from __future__ import annotations

import pytest

from velro_auth.web.redirects import allowed_redirect, is_allowed

ENTRIES = ("https://app.example.com", "https://www.example.com/auth/", "http://localhost:*", "myapp://callback")
ALLOWED = tuple(map(allowed_redirect, ENTRIES))


@pytest.mark.parametrize(
    "address",
    [
        "https://app.example.com",
        "https://app.example.com/",
        "https://APP.example.com:443/welcome?next=1",
        "https://www.example.com/auth",
        "https://www.example.com/auth/confirm?a=b",
        "http://localhost:3000/",
        "http://localhost/",
        "myapp://callback",
    ],
)
def test_listed_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address, ALLOWED)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/welcome",
        "//app.example.com",
        "https:app.example.com",
        "https:/app.example.com",
        "http://app.example.com/",
        "https://app.example.com:444/",
        "https://app.example.com.evil.example/",
        "https://evil.example/https://app.example.com",
        "https://app.example.com@evil.example/",
        "https://evil.example#@app.example.com/",
        "https://evil.example\\@app.example.com/",
        "https://app.example.com\\.evil.example/",
        "https://app.example.com%2eevil.example/",
        "https://app.example.com\t.evil.example/",
        " https://app.example.com/",
        "https://app.example.com/\n",
        "https://www.example.com/authority",
        "https://www.example.com/auth/../admin",
        "https://www.example.com/auth/%2e%2e/admin",
        "https://www.example.com/auth//admin",
        "https://www.example.com/Auth/",
        "http://localhost:*/",
        "http://localhost.evil.example:3000/",
        "https://localhost:3000/",
        "javascript://app.example.com/%0aalert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp://other",
        "https://app.example.com/#token",
        "https://app.example.com/" + "a" * 3000,
        "https://\uff41pp.example.com/",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    assert not is_allowed(address, ALLOWED)


def test_an_empty_list_allows_nothing() -> None:
    assert not is_allowed("https://app.example.com/", ())


@pytest.mark.parametrize(
    "text",
    [
        "app.example.com",
        "*",
        "https://*.example.com",
        "https://app.example.com:*",
        "https://app.example.com/?a",
        "https://app.example.com/../x",
        "https://app.example.com/#x",
        "javascript://x",
    ],
)
def test_an_entry_that_would_match_too_much_or_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        allowed_redirect(text)
