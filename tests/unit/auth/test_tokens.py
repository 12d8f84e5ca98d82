from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.tokens import (
    ISSUER,
    SESSION_ID,
    START_S,
    USER_ID,
    HandClock,
    claims_at,
    compact,
    encoded,
    rules,
    segment,
)
from velro_auth.auth.tokens import MAX_TOKEN_BYTES, read_token
from velro_auth.errors import TokenExpired, TokenInvalid

HEADER = {"alg": "ES256", "typ": "JWT", "kid": "one"}


def unsigned(header: Any = HEADER, claims: Any = None) -> str:
    return compact(header, claims_at() if claims is None else claims, lambda _: b"signature")


def test_a_token_is_taken_apart() -> None:
    token = unsigned()

    read = read_token(token)

    assert (read.algorithm, read.kid, read.signature) == ("ES256", "one", b"signature")
    assert read.claims == claims_at()
    assert read.signed_part.decode() == token.rpartition(".")[0]


def test_a_token_may_have_no_kid() -> None:
    """Supabase leaves it out when the signing key has none."""
    assert read_token(unsigned({"alg": "ES256"})).kid == ""


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        unsigned() + ".",
        unsigned() + "=",
        unsigned() + "\n",
        " " + unsigned(),
        unsigned().replace(".", ". "),
        unsigned().replace("e", "+", 1),
        unsigned().replace("e", "é", 1),
        "x" * (MAX_TOKEN_BYTES + 1),
    ],
    ids=lambda token: repr(token[:12]),
)
def test_what_is_not_three_strict_base64url_parts_is_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        read_token(token)


def test_left_over_bits_are_refused() -> None:
    """Four spellings of one signature would be four tokens for a cache or a deny-list."""
    header, claims, _ = unsigned().split(".")
    assert encoded(b"x") == "eA"

    with pytest.raises(TokenInvalid):
        read_token(f"{header}.{claims}.eB")


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1, "a": 1}',
        b'{"deep": {"a": 1, "a": 2}}',
        b"\xff",
        b'\xef\xbb\xbf{"alg": "ES256"}',
        json.dumps(HEADER).encode("utf-16"),
        b"[" * 5000,
        b'{"exp": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda part: repr(part[:12]),
)
def test_what_is_not_one_plain_json_object_is_refused(part: bytes) -> None:
    good = segment(HEADER)

    for token in (f"{segment(part)}.{good}.{good}", f"{good}.{segment(part)}.{good}"):
        with pytest.raises(TokenInvalid):
            read_token(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": None},
        {"alg": 5},
        {"alg": ["ES256"]},
        {"kid": 5},
        {"kid": "k" * 257},
        {"typ": "at"},
        {"typ": None},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"jwk": {}},
        {"jku": "https://evil.example"},
        {"x5u": "https://evil.example"},
        {"x5c": []},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
    ],
)
def test_a_header_that_asks_for_more_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        read_token(unsigned({**HEADER, **changes}))


def test_good_claims_become_a_user() -> None:
    checked = rules(HandClock()).check(claims_at())

    assert (checked.sub, checked.session_id) == (USER_ID, SESSION_ID)
    assert (checked.exp, checked.issued_at) == (START_S + 3600, START_S)
    assert (checked.email, checked.role, checked.user_role) == ("ada@example.com", "authenticated", None)
    assert (checked.aal, checked.amr, checked.is_anonymous) == ("aal1", ("password",), False)
    assert checked.raw == claims_at()


def test_claims_are_not_shown() -> None:
    """They hold whatever the application put there."""
    assert "Ada Example" not in repr(rules(HandClock()).check(claims_at()))


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"user_role": "admin"}, "admin"),
        ({"app_metadata": {"user_role": "editor"}}, "editor"),
        ({"user_role": "admin", "app_metadata": {"user_role": "editor"}}, "admin"),
        ({"user_role": ""}, None),
        ({"user_role": 5}, None),
        ({"user_metadata": {"user_role": "admin"}}, None),
        ({"app_metadata": None}, None),
        ({"app_metadata": "admin"}, None),
    ],
)
def test_the_application_role_comes_from_the_hook_or_from_app_metadata(
    changes: dict[str, Any], role: str | None
) -> None:
    """Never from ``user_metadata``, which users write themselves."""
    assert rules(HandClock()).check(claims_at(**changes)).user_role == role


def test_a_user_without_an_address_has_none() -> None:
    checked = rules(HandClock()).check(claims_at(email="", is_anonymous=True, amr=["anonymous"]))

    assert (checked.email, checked.is_anonymous, checked.amr) == (None, True, ("anonymous",))


def test_an_audience_may_be_a_list() -> None:
    assert rules(HandClock()).check(claims_at(aud=["other", "authenticated"])).sub == USER_ID


def test_a_role_of_the_projects_own_is_accepted() -> None:
    """Administrators and hooks may write any database role into it."""
    assert rules(HandClock()).check(claims_at(role="reporter")).role == "reporter"


#: Claim → values it must not have; None leaves it out.
BAD_VALUES: dict[str, list[Any]] = {
    "iss": [None, "", ISSUER + "/", ISSUER.upper(), "https://evil.example/auth/v1", [ISSUER], 5],
    "aud": [None, "", "anon", [], ["anon"], ["authenticated", 5], {"authenticated": 1}, 5],
    "sub": [None, "", "ada", USER_ID + "\n", f"{{{USER_ID}}}", USER_ID.replace("-", ""), 5],
    "session_id": [None, "", "x", [SESSION_ID], "' or 1=1 --"],
    "exp": [None, "1785603600", True, -1, 0, 10**400, 1e400, []],
    "role": ["anon", "service_role", "supabase_admin", ["authenticated"]],
    "iat": ["now", -1.5, False, -5, int(START_S) + 31],
    "nbf": ["now", int(START_S) + 31],
    "client_id": ["3f0e", 5],
    "email": [["ada@example.com"]],
    "aal": [2],
}
BAD_CLAIMS = [{name: value} for name, values in BAD_VALUES.items() for value in values]


@pytest.mark.parametrize("changes", BAD_CLAIMS, ids=str)
def test_other_claims_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        rules(HandClock()).check(claims_at(**changes))


def test_tokens_of_third_party_applications_count_where_that_is_wanted() -> None:
    accepting = rules(HandClock(), accepts_oauth_clients=True)

    assert accepting.check(claims_at(client_id="3f0e")).client_id == "3f0e"


def test_dates_may_have_a_fraction() -> None:
    """RFC 7519, 2. Without it the token ends sooner and counts as older."""
    checked = rules(HandClock()).check(claims_at(exp=START_S + 3600.9, iat=START_S + 0.9, nbf=START_S - 0.5))

    assert (checked.exp, checked.issued_at) == (int(START_S) + 3600, int(START_S))


def test_clocks_may_differ_by_the_leeway() -> None:
    """And by no second more (ASVS 9.2.1)."""
    clock = HandClock()
    token = claims_at(exp=int(START_S) + 60, iat=int(START_S) + 30, nbf=int(START_S) + 30)
    rules(clock).check(token)

    clock.advance(89.9)
    rules(clock).check(token)
    clock.advance(0.1)

    with pytest.raises(TokenExpired):
        rules(clock).check(token)
