"""Addresses of databases, and what is said about bad ones."""

from __future__ import annotations

import pytest

from velro_auth.ops.database import Runner
from velro_auth.ops.database.connection import parse_url
from velro_auth.ops.database.errors import DatabaseError

CANARY = "s3cretcanary"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "is not set"),
        ("  ", "is not set"),
        ("https://project.supabase.co", "web address"),
        (f"postgresql://postgres:x@{CANARY}@db.example.com:5432/postgres", "percent-encoded"),
        (f"postgresql://postgres:{CANARY}%zz@db.example.com:5432/postgres", "percent-encoded"),
        (f"postgresql://postgres:{CANARY}/x@db.example.com:5432/postgres", "percent-encoded"),
        (f"host=h password={CANARY} colour=red", "percent-encoded"),
        ("postgresql://postgres:[YOUR-PASSWORD]@db.example.com:5432/postgres", "placeholder"),
    ],
)
def test_a_bad_address_is_one_sentence_without_its_password(address: str, sentence: str) -> None:
    """The parser of libpq quotes a piece of the password as the port."""
    with pytest.raises(DatabaseError, match=sentence) as caught:
        parse_url(address)

    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_good_address_is_taken_apart() -> None:
    parts = parse_url("postgresql://postgres.abc:pass%40word@pooler.example.com:6543/postgres?sslmode=require")

    assert parts["host"] == "pooler.example.com"
    assert parts["password"] == "pass@word"


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(DatabaseError, match="nothing listens at that host and port") as caught:
        Runner("postgresql://postgres:x@127.0.0.1:1/postgres").status()

    assert str(caught.value).startswith("No connection to postgres on 127.0.0.1: ")
