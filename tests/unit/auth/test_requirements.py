from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.tokens import SESSION_ID, USER_ID, checked_claims
from velro_auth.auth.requirements import Requirements, identity_headers
from velro_auth.errors import Forbidden, InsufficientAal

ALL = {"X-Auth-User-Id", "X-Auth-User-Email", "X-Auth-User-Role", "X-Auth-Aal", "X-Auth-Session-Id"}


def test_no_requirements_are_met_by_every_token() -> None:
    Requirements().check(checked_claims())


def test_one_of_the_roles_will_do() -> None:
    requirements = Requirements(roles=frozenset({"admin", "editor"}))

    requirements.check(checked_claims(user_role="editor"))

    for role in (None, "", "viewer", "Admin", "admin,editor"):
        with pytest.raises(Forbidden):
            requirements.check(checked_claims(user_role=role))


def test_the_database_role_is_not_the_applications() -> None:
    with pytest.raises(Forbidden):
        Requirements(roles=frozenset({"authenticated"})).check(checked_claims(role="authenticated"))


@pytest.mark.parametrize(
    ("has", "required", "is_enough"),
    [
        ("aal1", "aal1", True),
        ("aal2", "aal1", True),
        ("aal2", "aal2", True),
        ("aal1", "aal2", False),
        ("", "aal1", False),
        ("aal9", "aal1", False),
        ("aal2", "aal9", False),
        ("aal9", "aal9", False),
    ],
)
def test_a_level_is_met_by_itself_and_by_stronger_ones(has: str, required: str, *, is_enough: bool) -> None:
    """A level that nobody knows is never met: a slip of the pen must not open a door."""
    requirements = Requirements(aal=required)

    if is_enough:
        requirements.check(checked_claims(aal=has))
    else:
        with pytest.raises(InsufficientAal):
            requirements.check(checked_claims(aal=has))


def test_a_backend_is_told_who_its_user_is() -> None:
    claims = checked_claims(email="ada@example.com", user_role="admin", aal="aal2")

    assert identity_headers(claims) == {
        "X-Auth-User-Id": USER_ID,
        "X-Auth-User-Email": "ada@example.com",
        "X-Auth-User-Role": "admin",
        "X-Auth-Aal": "aal2",
        "X-Auth-Session-Id": SESSION_ID,
    }


def test_all_headers_are_there_even_when_nothing_is_known() -> None:
    """A gateway that copies what it gets would let the client's own header through for a missing one."""
    headers = identity_headers(checked_claims())

    assert set(headers) == ALL
    assert (headers["X-Auth-User-Email"], headers["X-Auth-User-Role"], headers["X-Auth-Aal"]) == ("", "", "")


@given(st.text(), st.text(), st.text())
def test_headers_are_printable_ascii(email: str, role: str, aal: str) -> None:
    headers = identity_headers(checked_claims(email=email, user_role=role, aal=aal))

    assert all(" " <= letter <= "~" for value in headers.values() for letter in value)


def test_other_letters_can_be_read_back() -> None:
    headers = identity_headers(checked_claims(email="jürgen+50%@example.com", user_role="a\r\nX-Admin: 1\ud800"))

    assert headers["X-Auth-User-Email"] == "j%C3%BCrgen+50%25@example.com"
    assert headers["X-Auth-User-Role"] == "a%0D%0AX-Admin: 1%ED%A0%80"
