"""Origins as operators write them and as browsers send them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.config.test_settings import GOOD
from velro_auth.config.settings import Settings
from velro_auth.web.cors import ALLOWED_HEADERS, Cors
from velro_auth.web.origins import check_pattern, has_bare_dot, normal_origin


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://app.example.com", "https://app.example.com"),
        (" https://App.Example.com/ ", "https://app.example.com"),
        # Browsers leave out the scheme's own port.
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:080", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("https://MÜNCHEN.example:8443", "https://xn--mnchen-3ya.example:8443"),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://app。example", "https://app.example"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("http://127.0.0.1:*", "http://127.0.0.1:*"),
        ("http://localhost:*", "http://localhost:*"),
        ("https://*.vercel.app", "https://*.vercel.app"),
        ("https://*.München.example", "https://*.xn--mnchen-3ya.example"),
        ("http://*.localhost:3000", "http://*.localhost:3000"),
        ("https://app.*.example.com", "https://app.*.example.com"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(written: str, kept: str) -> None:
    assert normal_origin(written) == kept


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("*", "name the origins"),
        ("null", "name the origins"),
        ("", "name the origins"),
        ("app.example.com", "write https://app.example.com"),
        ("https://app.example.com/login", "write only https://app.example.com"),
        ("https://app.example.com?x", "write only https://app.example.com"),
        ("https://ada@app.example.com", "write only scheme://host[:port]"),
        ("wss://app.example.com", "write https://app.example.com"),
        ("ws://app.example.com", "write http://app.example.com"),
        ("file:///home/ada/index.html", "serve them over https"),
        ("https://", "write scheme://host[:port]"),
        ("https://app.example.com:https", "write scheme://host[:port]"),
        ("https://app.example.com:0", "port that does not exist"),
        ("https://app.example.com:65536", "port that does not exist"),
        ("https://[::1", "write scheme://host[:port]"),
        ("https://[abc]", "no address"),
        ("https://exa mple.com", "letters, digits and hyphens"),
        ("https://exa%6dple.com", "letters, digits and hyphens"),
        ("https://a..example.com", "letters, digits and hyphens"),
        ("https://" + "a" * 64 + ".example", "letters, digits and hyphens"),
        ("https://" + ".".join(["a" * 60] * 5), "longer than 253"),
        ("http://127.1", "127.0.0.1"),
        ("http://2130706433", "127.0.0.1"),
        ("http://127.0.0.0x1", "127.0.0.1"),
        ("https://☃-.example\u0000", "xn--"),
        ("https://*", "CORS_ORIGIN_REGEX"),
        ("https://*.com", "CORS_ORIGIN_REGEX"),
        ("https://app.*", "CORS_ORIGIN_REGEX"),
        ("https://app-*.vercel.app", "CORS_ORIGIN_REGEX"),
        ("https://*.*.vercel.app", "CORS_ORIGIN_REGEX"),
        ("https://**.vercel.app", "CORS_ORIGIN_REGEX"),
        ("*://app.example.com", "write scheme://host[:port]"),
        ("capacitor://*", "without '*'"),
        ("ionic://localhost:*", "without '*'"),
    ],
)
def test_what_can_match_no_page_or_too_many_is_refused_with_what_to_write(written: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        normal_origin(written)


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z0-9*.:\[\]-]{0,30}"))
def test_any_text_is_an_origin_or_refused(text: str) -> None:
    """And what is kept once is kept the same again."""
    try:
        kept = normal_origin(text)
    except ValueError:
        return
    assert normal_origin(kept) == kept
    assert kept.isascii()
    if "*" not in kept:
        assert Cors([kept]).allows(kept)


def test_the_configuration_check_knows() -> None:
    given = "https://*.vercel.app,http://localhost:*,https://münchen.example,capacitor://localhost"
    good = Settings.from_environment({**GOOD, "CORS_ORIGINS": given})
    bad = Settings.from_environment({**GOOD, "CORS_ORIGINS": "https://a-*.vercel.app"})
    worse = Settings.from_environment({**GOOD, "CORS_ORIGIN_REGEX": r"https://([a-z]+\.)+example\.com"})

    assert good.errors == ()
    assert len(good.cors_origins) == 4
    assert "CORS_ORIGIN_REGEX" in str(bad.errors[0])
    assert "[a-z0-9.-]+" in str(worse.errors[0])


# Matching


@pytest.mark.parametrize(
    ("origins", "allowed", "refused"),
    [
        (
            ["https://*.vercel.app"],
            ["https://x.vercel.app", "https://my-app-git-main.vercel.app", "https://xn--mnchen-3ya.vercel.app"],
            [
                "https://vercel.app",
                "https://.vercel.app",
                "https://a.b.vercel.app",
                "https://x.vercel.app.evil.com",
                "https://x.vercel.app:8443",
                "http://x.vercel.app",
                "https://xvercel.app",
                "https://x.vercelxapp",
                "https://evil.com#.vercel.app",
                "https://evil.com/.vercel.app",
                "https://a_b.vercel.app",
                "https://X.vercel.app",
                "https://*.vercel.app",
                "https://x.vercel.app\n",
                "https://" + "a" * 64 + ".vercel.app",
            ],
        ),
        (
            ["http://localhost:*"],
            ["http://localhost", "http://localhost:1", "http://localhost:65535"],
            [
                "https://localhost:3000",
                "http://localhost:",
                "http://localhost:*",
                "http://localhost:3000.evil.com",
                "http://localhost:3000@evil.com",
                "http://localhost:123456",
                "http://localhost.evil.com",
                "http://sub.localhost:3000",
            ],
        ),
        (["http://[::1]:*"], ["http://[::1]:3000"], ["http://[::2]:3000"]),
        (["http://*.localhost:*"], ["http://a.localhost:3000"], ["http://localhost:3000"]),
        (["https://münchen.example"], ["https://xn--mnchen-3ya.example"], ["https://münchen.example"]),
        (["capacitor://localhost"], ["capacitor://localhost"], ["http://localhost", "capacitor://localhost:80"]),
        (["*"], [], ["https://a.example", "*", "null"]),
    ],
)
def test_a_wildcard_stands_for_one_label_or_a_port(origins: list[str], allowed: list[str], refused: list[str]) -> None:
    cors = Cors([origin if origin == "*" else normal_origin(origin) for origin in origins])

    assert {origin: cors.allows(origin) for origin in allowed} == dict.fromkeys(allowed, True)
    assert {origin: cors.allows(origin) for origin in refused} == dict.fromkeys(refused, False)


def test_only_exact_origins_may_send_cookies() -> None:
    cors = Cors(["https://a.example", "https://*.b.example", "http://localhost:*"], r"https://c\d\.example")

    for origin in ("https://a.example", "https://x.b.example", "http://localhost:3000", "https://c1.example"):
        headers = dict(cors.headers(origin))
        assert headers["Access-Control-Allow-Origin"] == origin
        assert ("Access-Control-Allow-Credentials" in headers) == (origin == "https://a.example")


@pytest.mark.parametrize(
    "origin", [None, "", "null", "https://stranger.example", "https://a.example", "https://x.b.example"]
)
def test_every_answer_varies_by_origin(origin: str | None) -> None:
    """Or a cache hands one page's answer to another."""
    headers = Cors(["https://a.example", "https://*.b.example"]).headers(origin)

    assert [value for name, value in headers if name == "Vary"] == ["Origin"]


def test_strangers_fill_no_memory_and_long_origins_are_not_looked_at() -> None:
    cors = Cors(["https://*.example.com"], "[a-z0-9:/.]+")

    for number in range(5_000):
        cors.headers(f"https://stranger{number}.example")
    cors.headers("https://" + "a" * 8_000)

    found = cors._cached_headers.cache_info()
    assert found.currsize == found.maxsize
    assert found.misses == 5_000
    # Longer ones would take a pattern too long.
    assert cors.allows("https://" + "a" * 100)
    assert not cors.allows("https://" + "a" * 130)


# Regular expressions


@pytest.mark.parametrize(
    "pattern",
    [
        r"https://preview-\d+\.example\.com",
        r"https://[a-z0-9.-]+\.example\.com",
        r"https://(?:[a-z0-9-]+\.)?example\.com(:\d{2,5})?",
        r"https://(a|b)\.example\.com",
        r"https://[a-z]+-[a-z]+-[a-z]+\.example\.com",
        r"https://[(+*]+\)*",
        r"(?i)https://(?P<name>[a-z]+)\.example\.com",
        r"(a{2}){3}",
        r"a+?b++",
        "",
    ],
)
def test_a_pattern_that_takes_little_time_is_taken(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("(", "is not a regular expression"),
        (r"https://([a-z]+\.)+example\.com", "[a-z0-9.-]+"),
        ("(a+)+$", "in place of"),
        ("(a|aa)*", "in place of"),
        ("(?:(?:a*)b)+", "in place of"),
        ("((a?))*", "in place of"),
        ("(?P<x>a+){2}", "in place of"),
        ("(?i:a+){2,}", "in place of"),
        (r"[a]+.*\d{2,}[^b]*", "more than 3"),
        ("a{99999999999}", "is not a regular expression"),
        ("(" * 2000 + ")" * 2000, "is not a regular expression"),
        # The blank hides that the group is repeated.
        ("(?x)(a|b) +", "write it without"),
        ("(?s-ix:(a|b) +)", "write it without"),
        ("(?x)#)", "write it without"),
        ("(?#[)(a|b)*(?#])", "write it without"),
    ],
)
def test_a_pattern_that_a_stranger_can_make_slow_is_refused(pattern: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        check_pattern(pattern)


def test_a_dot_that_was_meant_as_one_is_noticed() -> None:
    assert has_bare_dot(r"https://[a-z]+.example\.com")
    assert has_bare_dot("https://a.")
    assert not has_bare_dot(r"https://.*\.[.]example\.com")
    given = Settings.from_environment({**GOOD, "CORS_ORIGIN_REGEX": "https://a.example"})
    assert any(r"\." in str(advice) for advice in given.advice)


# Headers


def test_headers_are_added_to_the_usual_ones() -> None:
    settings = Settings.from_environment({**GOOD, "CORS_ALLOW_HEADERS": " X-App-Version, x-tenant ,Apikey"})

    allowed = dict(Cors(allow_headers=settings.cors_allow_headers).preflight)["Access-Control-Allow-Headers"]

    assert settings.errors == ()
    assert allowed.split(", ") == [*ALLOWED_HEADERS, "x-app-version", "x-tenant"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("*", "name the headers"),
        ("x app", "not the name"),
        ("x-app: 1", "not the name"),
        ("Cookie", "leave it out"),
        ("Sec-Fetch-Site", "leave it out"),
        ("X-Auth-User-Id", "leave it out"),
        ("X-Real-IP", "leave it out"),
        ("x-velro-relay", "leave it out"),
    ],
)
def test_headers_that_no_page_may_send_are_refused(name: str, advice: str) -> None:
    (mistake,) = Settings.from_environment({**GOOD, "CORS_ALLOW_HEADERS": name}).errors

    assert mistake.variable == "CORS_ALLOW_HEADERS"
    assert advice in mistake.advice
