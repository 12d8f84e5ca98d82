"""``REDIS_URL`` in all its forms, and mistakes in it that never show a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from velro_auth.stores.address import StoreAddress, parse_address

FORMS: list[tuple[str, StoreAddress]] = [
    ("redis://", StoreAddress(mode="single", nodes=(("localhost", 6379),))),
    ("redis://host", StoreAddress(mode="single", nodes=(("host", 6379),))),
    ("valkey://host:1/3", StoreAddress(mode="single", nodes=(("host", 1),), database=3)),
    ("redis://host?db=4", StoreAddress(mode="single", nodes=(("host", 6379),), database=4)),
    ("valkeys://[2001:db8::1]:7", StoreAddress(mode="single", nodes=(("2001:db8::1", 7),), is_tls=True)),
    (
        "rediss://me:p%2F%40w@host",
        StoreAddress(mode="single", nodes=(("host", 6379),), username="me", password="p/@w", is_tls=True),
    ),
    ("redis://:a@b:c@host", StoreAddress(mode="single", nodes=(("host", 6379),), password="a@b:c")),
    ("unix:///run/redis.sock", StoreAddress(mode="single", path="/run/redis.sock")),
    (
        "unix://me:pw@/run/a%20b?db=2",
        StoreAddress(mode="single", path="/run/a b", username="me", password="pw", database=2),
    ),
    (
        "redis+sentinel://me:pw@a:1,b,[::1]/name/2",
        StoreAddress(
            mode="sentinel",
            nodes=(("a", 1), ("b", 26379), ("::1", 26379)),
            service="name",
            database=2,
            username="me",
            password="pw",
        ),
    ),
    (
        "valkeys+sentinel://a/name?sentinel_username=s&sentinel_password=spw&ssl_check_hostname=false",
        StoreAddress(
            mode="sentinel",
            nodes=(("a", 26379),),
            service="name",
            sentinel_username="s",
            sentinel_password="spw",
            is_tls=True,
            tls={"ssl_check_hostname": False},
        ),
    ),
    ("redis+cluster://a,b:7/0", StoreAddress(mode="cluster", nodes=(("a", 6379), ("b", 7)))),
    ("rediss+cluster://a", StoreAddress(mode="cluster", nodes=(("a", 6379),), is_tls=True)),
]

MISTAKES = [
    ("host:6379", "must start with redis://"),
    ("http://:canary@host", "must start with redis://"),
    ("redis+canary://host", "must start with redis://"),
    ("redis://:canary@host:port", "check port and options"),
    ("redis://:canary@host:99999", "check port and options"),
    ("redis://:can/ary@host", "check port and options"),
    ("redis://a..b:6379", "the name of the host"),
    ("redis://[::::::]:6379", "the name of the host"),
    ("redis://:canary#@host", "write it as %23"),
    ("redis://:canary@[host", "check"),
    ("redis://:canary@a,b", "write redis+sentinel:// or redis+cluster://"),
    ("redis://:canary@host/one", "no number"),
    ("redis://:canary@host/0/1", "too many parts"),
    ("redis://:canary@host?canary=1", "known are db, username"),
    ("redis://:canary@host?socket_timeout=60", "known are db, username"),
    ("redis://:canary@host?db=1&db=2", "twice"),
    ("redis://:canary@host?ssl_ca_certs=/canary", "write rediss://"),
    ("rediss://:canary@host?ssl_ca_certs=/no/canary", "cannot be read"),
    (f"rediss://:canary@host?ssl_certfile={__file__}", "needs both"),
    ("rediss://:canary@host?ssl_cert_reqs=canary", "not one of required, none"),
    ("redis://:canary@host?sentinel_password=canary", "without Sentinel"),
    ("redis+sentinel://:canary@a,b", "what the Sentinels call the primary"),
    ("redis+sentinel:///name", "names no host"),
    ("redis+cluster://:canary@a/1", "a cluster has only 0"),
    ("redis+cluster://:canary@a,,b", "check port and options"),
    ("unix://:canary@redis.sock", "whole path"),
]


@pytest.mark.parametrize(
    ("text", "address"), FORMS, ids=[text.partition("://")[0] + str(n) for n, (text, _) in enumerate(FORMS)]
)
def test_every_form_is_read(text: str, address: StoreAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_a_mistake_says_what_is_wrong_and_shows_nothing(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z]") as raised:
        parse_address(text)

    assert words in str(raised.value)
    assert "canary" not in str(raised.value)


def test_no_password_is_in_a_representation(tmp_path: Path) -> None:
    address = parse_address("redis+sentinel://u:canary@a/name?sentinel_password=canary")

    assert "canary" not in repr(address)


def test_who_checks_no_certificate_is_told_apart() -> None:
    assert parse_address("rediss://host").is_verified
    assert not parse_address("rediss://host?ssl_cert_reqs=none").is_verified
    assert not parse_address("rediss://host?ssl_check_hostname=false").is_verified
