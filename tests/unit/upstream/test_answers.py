"""Whose answer it is: addresses that are the same, and sessions whose user is known."""

from __future__ import annotations

import pytest

from velro_auth.upstream.answers import Owners, same_address


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("ada@example.com", "ada@example.com"),
        ("ADA@Example.COM", "ada@example.com"),
        ("ada@example.com", "Ada@Example.com"),
        ("ÉMILE@example.com", "émile@example.com"),
        ("İpek@example.com", "ipek@example.com"),
        ("\u212aim@example.com", "kim@example.com"),
        ("ΟΔΥΣΣΕΥΣ@example.com", "οδυσσευς@example.com"),
        ("straße@example.com", "straße@example.com"),
    ],
)
def test_an_address_is_the_same_in_any_case(asked: str, answered: str) -> None:
    """As Supabase lower-cases it, with Go's ``ToLower``."""
    assert same_address(asked, answered)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("ada@example.com", "bob@example.com"),
        ("émile@example.com", "emile@example.com"),
        ("a.da@example.com", "ada@example.com"),
        ("ada+x@example.com", "ada@example.com"),
        ("ada@example.com", ""),
    ],
)
def test_another_address_is_another_one(asked: str, answered: str) -> None:
    assert not same_address(asked, answered)


def test_the_user_of_a_token_is_remembered() -> None:
    owners = Owners()
    owners.note("one", "ada")

    assert (owners.of("one"), owners.of("two")) == ("ada", None)


def test_only_so_many_are_the_latest() -> None:
    owners = Owners(most=2)
    for number in range(3):
        owners.note(f"token {number}", f"user {number}")

    assert [owners.of(f"token {number}") for number in range(3)] == [None, "user 1", "user 2"]


def test_tokens_are_not_kept() -> None:
    owners = Owners()
    owners.note("canary", "ada")

    assert "canary" not in repr(vars(owners))
