"""Rules of a site: default deny, the first match decides, and no spelling of a path leads around a rule."""

from __future__ import annotations

import pickle
import re
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from velro_auth.auth.access_rules import AccessRule, AccessRules, check_host, check_path, normal_host
from velro_auth.auth.request_paths import AmbiguousPath, readings
from velro_auth.auth.requirements import Requirements

HOST = "app.example.com"
OPEN = AccessRule(allow="public", paths=("/", "/public/**", "/files/*.png"))
ADMIN = AccessRule(allow="signed-in", paths=("/admin/**",), requirements=Requirements(roles=frozenset({"admin"})))
ACCOUNT = AccessRule(allow="signed-in", paths=("/account/**",), methods=("GET", "POST"))
SITE = AccessRules((OPEN, ADMIN, ACCOUNT))
REST = AccessRule(allow="signed-in", paths=("/**",))

#: What servers have been seen to read as "/admin/x".
TRICKS = [
    "//admin/x",
    "///admin/x",
    "/public/../admin/x",
    "/public/%2e%2e/admin/x",
    "/public/.%2e/admin/x",
    "/public/%2E%2E/admin/x",
    "/public/..;/admin/x",
    "/public/..;a=b/admin/x",
    "/public/..%3b/admin/x",
    "/public/%2e%2e%2fadmin/x",
    "/public/..%5cadmin/x",
    "/public/..\\admin/x",
    "/public/./../admin/x",
    "/public/%252e%252e/admin/x",
    "/public/%u002e%u002e/admin/x",
    "/public/%c0%ae%c0%ae/admin/x",
    "/public/%ef%bc%8e%ef%bc%8e/admin/x",
    "/public/%e2%80%a5/admin/x",
    "/public/..%00/admin/x",
    "/public%2f..%2fadmin/x",
    "/public/..%0a/admin/x",
    "/public/x#/../../admin/x",
    "/public/..%20/admin/x",
    "/public/..%20./admin/x",
    "/public/.%20/admin/x",
    "/public/.../admin/x",
    "/public/%20../admin/x",
    "/public/..;a%20/admin/x",
    "/public/..%20;a/admin/x",
    "/public/..%C2%A0/admin/x",
    "/./admin/x",
    "/%2e/admin/x",
    "\\admin\\x",
    "http://app.example.com/admin/x",
    "",
    "*",
    "admin/x",
    "?x",
    "/" + "a" * 9000,
]
#: Windows leaves out what is at the end of a segment here.
TRIMMED = [
    "/admin.",
    "/admin./",
    "/admin./x",
    "/admin...",
    "/admin%2e",
    "/admin%20",
    "/admin%20/x",
    "/admin%20.%20/x",
    "/admin.;x",
    "/admin%EF%BC%8E/x",
    "/admin%C2%A0/x",
    "/%20/admin/x",
]
#: Other spellings of the same path.
SPELLINGS = [
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin//x",
    "/%61dmin/x",
    "/%61%64%6D%69%6e/x",
    "/admin/x?y=/public/",
    "/admin?/public/",
    "/admin/public",
    "/admin/%20",
    "/admin/%E2%82%AC",
]


@pytest.mark.parametrize("target", TRICKS)
@pytest.mark.parametrize("rules", [SITE, AccessRules((OPEN, ADMIN, REST)), AccessRules((REST,))], ids=str)
def test_what_servers_read_differently_is_refused(rules: AccessRules, target: str) -> None:
    """Even where a rule lets everybody in with a session."""
    decision = rules.decide("GET", HOST, target)

    assert decision.allow == "nobody"
    assert decision.reason


@pytest.mark.parametrize("target", SPELLINGS)
def test_every_spelling_of_a_path_leads_to_its_rule(target: str) -> None:
    assert SITE.decide("GET", HOST, target).rule is ADMIN
    assert AccessRules((OPEN, ADMIN, REST)).decide("GET", HOST, target).rule is ADMIN


@pytest.mark.parametrize("target", ["/ADMIN/x", "/Admin", "/admin;x/y", "/admin;a=b", "/ad%EF%BD%8Din/x", *TRIMMED])
def test_what_some_servers_read_as_a_protected_path_is_refused(target: str) -> None:
    """They ignore case, semicolons, dots and blanks at the end of a segment, or the width of characters.

    The rule below would let every user in.
    """
    decision = AccessRules((OPEN, ADMIN, REST)).decide("GET", HOST, target)

    assert decision.allow == "nobody"
    assert "different rules" in decision.reason


@pytest.mark.parametrize(
    "target",
    [
        "/account/A",
        "/account/x;y=1",
        "/account/%EF%BC%A1",
        "/account/a%20b",
        "/account/Inc.",
        "/account/a.b",
        "/account/x%20",
    ],
)
def test_a_path_that_leads_to_one_rule_in_each_reading_passes(target: str) -> None:
    assert SITE.decide("GET", HOST, target).rule is ACCOUNT


def test_a_rule_in_capitals_protects_on_servers_that_ignore_case() -> None:
    rules = AccessRules((AccessRule(allow="nobody", paths=("/Private/**",)), REST))

    assert rules.decide("GET", HOST, "/Private/x").reason == "the rule allows nobody"
    assert rules.decide("GET", HOST, "/private/x").allow == "nobody"
    assert rules.decide("GET", HOST, "/other").rule is REST


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("/", ["/", "/?a"], ["/a", "/index.html"]),
        ("/a", ["/a", "/a/"], ["/a/b", "/ab", "/"]),
        ("/a/", ["/a", "/a/"], ["/a/b", "/ab"]),
        ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c"], ["/ab", "/", "/b/a"]),
        ("/a/*", ["/a/b", "/a/b/"], ["/a", "/a/b/c"]),
        ("/a/*/c", ["/a/b/c"], ["/a/c", "/a/b/b/c"]),
        ("/*.css", ["/x.css", "/.css"], ["/x/y.css", "/xcss"]),
        ("/**", ["/", "/a", "/a/b"], []),
        ("/.well-known/**", ["/.well-known/acme"], ["/well-known", "/xwell-known/a"]),
        ("/a(b|c)+", ["/a(b|c)+"], ["/ab", "/abc"]),
    ],
)
def test_patterns_stand_for_whole_segments(pattern: str, matches: list[str], others: list[str]) -> None:
    rules = AccessRules((AccessRule(allow="public", paths=(pattern,)),))

    assert check_path(pattern) == ""
    assert [rules.decide("GET", HOST, path).allow for path in matches] == ["public"] * len(matches)
    assert [rules.decide("GET", HOST, path).allow for path in others] == ["nobody"] * len(others)


def test_methods_are_compared_in_capitals_and_get_includes_head() -> None:
    allowed = {method: SITE.decide(method, HOST, "/account").allow for method in ("GET", "HEAD", "get", "POST")}

    assert set(allowed.values()) == {"signed-in"}
    for method in ("PUT", "DELETE", "OPTIONS", "", "GET ", "GET\n", "GÉT"):
        assert SITE.decide(method, HOST, "/account").allow == "nobody"


def test_hosts_are_compared_without_case_port_and_last_dot() -> None:
    rules = AccessRules(
        (
            AccessRule(allow="public", paths=("/**",), hosts=("a.example.com",)),
            AccessRule(allow="signed-in", paths=("/**",), hosts=("*.b.example.com",)),
        )
    )

    for host in ("a.example.com", "A.Example.com", "a.example.com:8443", "a.example.com."):
        assert rules.decide("GET", host, "/").allow == "public"
    assert rules.decide("GET", "x.b.example.com", "/").allow == "signed-in"
    others = ("b.example.com", "y.x.b.example.com", "", "a.example.com@evil", "*.b.example.com", "a.example.com,b", "[")
    for host in others:
        assert rules.decide("GET", host, "/").allow == "nobody"


@pytest.mark.parametrize(
    "path", ["", "a", "//a", "/a/**/b", "/a**", "/%61", "/a?b", "/a;b", "/a/../b", "/a\\b", "/a#b", "/a./b", "/a /**"]
)
def test_a_pattern_that_would_match_nothing_or_too_much_is_a_mistake(path: str) -> None:
    assert check_path(path)


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "A.example.com", "a.example.com:80", "https://a", "a.*.com", "a..b", "a/"]
)
def test_so_is_a_host_that_no_request_has(host: str) -> None:
    assert check_host(host)


def test_rules_go_to_other_processes_as_they_are() -> None:
    SITE.decide("GET", HOST, "/Admin")

    again = pickle.loads(pickle.dumps(SITE))  # noqa: S301 (our own)

    assert again == SITE
    assert again.decide("GET", HOST, "/admin").rule == ADMIN


SEGMENT = st.text("abcAB.-_~ é€;", min_size=1, max_size=4)
PATH = st.lists(SEGMENT, max_size=4).map(lambda segments: "/" + "/".join(segments))
PATTERN = st.builds(
    lambda segments, end: "/" + "/".join(segments) + (end if segments else end or ""),
    st.lists(st.text("abc*", min_size=1, max_size=3).filter(lambda text: "**" not in text), max_size=3),
    st.sampled_from(["", "/**"]),
).map(lambda text: text.replace("//", "/"))
RULE = st.builds(
    AccessRule,
    allow=st.sampled_from(["public", "signed-in", "nobody"]),
    paths=st.lists(PATTERN, min_size=1, max_size=2).map(tuple),
    methods=st.sampled_from([(), ("GET",), ("POST", "PUT")]),
    hosts=st.sampled_from([(), (HOST,), ("*.example.com",), ("other.example",)]),
)
PUBLIC_PATTERN = "/*.*"
METHOD = st.sampled_from(["GET", "HEAD", "POST", "DELETE"])


@given(method=st.text(max_size=6), host=st.text(max_size=20), target=st.text(max_size=30))
def test_without_rules_nobody_passes(method: str, host: str, target: str) -> None:
    assert AccessRules(()).decide(method, host, target).allow == "nobody"


@given(rules=st.lists(RULE, max_size=4), more=RULE, method=METHOD, path=PATH)
def test_a_later_rule_never_changes_what_an_earlier_one_decides(
    rules: list[AccessRule], more: AccessRule, method: str, path: str
) -> None:
    target = quote(path, safe="/;~")
    before = AccessRules(tuple(rules)).decide(method, HOST, target)

    after = AccessRules((*rules, more)).decide(method, HOST, target)

    # A refusal for want of a rule may become anything; one reading that had no rule may get one and stay refused.
    assert before.rule is None or after.rule == before.rule or after.allow == "nobody"


@given(rules=st.lists(RULE, min_size=1, max_size=4), method=METHOD, path=PATH)
def test_who_passes_passes_by_the_first_rule_that_matches(rules: list[AccessRule], method: str, path: str) -> None:
    target = quote(path, safe="/;~")
    decision = AccessRules(tuple(rules)).decide(method, HOST, target)

    if decision.allow == "nobody":
        return
    first = readings(target)[0]
    matching = [rule for rule in rules if not rule.mismatch(method, HOST, first)]
    assert decision.rule is matching[0]


@given(path=PATH, target=st.data())
def test_an_escaped_character_changes_nothing(path: str, target: st.DataObject) -> None:
    plain = quote(path, safe="/")
    escaped = "".join(
        char if char == "/" or not target.draw(st.booleans()) else "".join(f"%{byte:02x}" for byte in char.encode())
        for char in path
    )

    assert _readings(plain) == _readings(quote(escaped, safe="/%"))


@given(target=st.text(max_size=40))
def test_no_reading_has_a_dot_segment_or_an_empty_one(target: str) -> None:
    for reading in _readings(target) or ():
        assert reading.startswith("/")
        assert not {"", ".", ".."} & {*reading[1:].split("/")} or reading == "/"


@given(segments=st.lists(st.tuples(SEGMENT, st.text(". ", max_size=3)), min_size=1, max_size=3))
def test_what_is_at_the_end_of_a_segment_for_windows_leads_to_the_same_rule(segments: list[tuple[str, str]]) -> None:
    plain = "/" + "/".join(segment for segment, _ in segments)
    with_ends = "/" + "/".join(segment + end for segment, end in segments)
    for rules in (AccessRules((AccessRule(allow="public", paths=(PUBLIC_PATTERN,)), REST)), SITE):
        wanted, decision = (rules.decide("GET", HOST, quote(path, safe="/;")) for path in (plain, with_ends))

        assert decision.allow == "nobody" or decision.rule == wanted.rule


@given(text=st.text(max_size=30))
def test_a_host_that_is_compared_has_no_strange_characters(text: str) -> None:
    assert not set(normal_host(text)) & set("/\\@?#%* \r\n")


def _readings(target: str) -> tuple[str, ...] | None:
    try:
        return readings(target)
    except AmbiguousPath:
        return None


@given(
    pattern=st.text("ab-/*", max_size=8).map("/{}".format),
    path=st.text("ab-/", max_size=12).map("/{}".format),
)
def test_stars_match_what_they_say_however_they_are_matched(pattern: str, path: str) -> None:
    assume(not check_path(pattern))
    segments = [re.escape(part).replace(r"\*", "[^/]*") for part in pattern.rstrip("/").split("/")]
    plain = "/" + "/".join(part for part in path.split("/") if part)

    found = AccessRules((AccessRule(allow="public", paths=(pattern,)),)).decide("GET", HOST, path).allow

    if "/**" not in pattern and not path.startswith("//"):
        assert (found == "public") == bool(re.fullmatch("/".join(segments) or "/", plain))


def test_no_rule_takes_long_with_a_hostile_path() -> None:
    rules = AccessRules((AccessRule(allow="public", paths=("/" + "*-" * 20 + ".html",)), REST))

    # A pattern that tries each place of each star again would not end within a year.
    assert rules.decide("GET", HOST, "/" + "-" * 7000).rule is REST
