"""The caller's address: believed only where a trusted proxy said it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.web.client_address import Addresses, parse

ADDRESSES = Addresses([ipaddress.ip_network(network) for network in ("100.64.0.0/10", "fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "claimed", "address"),
    [
        ("100.64.0.3", "198.51.100.1", "198.51.100.1"),
        ("::ffff:100.64.0.3", "198.51.100.1", "198.51.100.1"),
        ("100.64.0.3", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("100.64.0.3", "fe80::1%eth0", "fe80::1"),
        ("100.64.0.3", "", "100.64.0.3"),
        ("100.64.0.3", "198.51.100.1, 10.0.0.1", "100.64.0.3"),
        ("100.64.0.3", "nobody", "100.64.0.3"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("::ffff:203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("2001:db8::7", "198.51.100.1", "2001:db8::7"),
        ("", "198.51.100.1", ""),
    ],
)
def test_who_calls(peer: str, claimed: str, address: str) -> None:
    assert ADDRESSES.of({"REMOTE_ADDR": peer, "HTTP_X_REAL_IP": claimed}) == address


def test_forwarded_for_is_not_believed_unless_it_is_named() -> None:
    environ = {"REMOTE_ADDR": "100.64.0.3", "HTTP_X_FORWARDED_FOR": "198.51.100.1"}

    assert ADDRESSES.of(environ) == "100.64.0.3"


NETWORKS = [ipaddress.ip_network("100.64.0.0/10")]


@pytest.mark.parametrize(
    ("hops", "sent", "address"),
    [
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        (2, "1.2.3.4, 198.51.100.1, 100.64.0.9", "198.51.100.1"),
        (2, "1.2.3.4,198.51.100.1,100.64.0.9", "198.51.100.1"),
        (3, "198.51.100.1, 100.64.0.9", "198.51.100.1"),
        (1, "1.2.3.4, 198.51.100.1:4711", "198.51.100.1"),
        (1, "1.2.3.4, [2001:db8::1]:443", "2001:db8::1"),
        (1, "1.2.3.4, unknown", "100.64.0.3"),
        (1, "198.51.100.1, ", "100.64.0.3"),
        (1, "", "100.64.0.3"),
        (1, "1.2.3.4, " * 1000 + "198.51.100.1", "198.51.100.1"),
    ],
)
def test_forwarded_for_is_read_from_the_right(hops: int, sent: str, address: str) -> None:
    """What a client writes itself stands on the left of what the proxies add."""
    addresses = Addresses(NETWORKS, header="X-Forwarded-For", hops=hops)

    assert addresses.of({"REMOTE_ADDR": "100.64.0.3", "HTTP_X_FORWARDED_FOR": sent}) == address
    assert addresses.of({"REMOTE_ADDR": "203.0.113.7", "HTTP_X_FORWARDED_FOR": sent}) == "203.0.113.7"


def test_another_header_is_believed_where_it_is_named() -> None:
    addresses = Addresses(NETWORKS, header="CF-Connecting-IP", hops=3)
    environ = {"REMOTE_ADDR": "100.64.0.3", "HTTP_CF_CONNECTING_IP": "198.51.100.1", "HTTP_X_REAL_IP": "1.2.3.4"}

    assert addresses.of(environ) == "198.51.100.1"


@given(st.text(max_size=60))
def test_a_stranger_s_claim_changes_nothing(claimed: str) -> None:
    environ = {"REMOTE_ADDR": "203.0.113.7", "HTTP_X_REAL_IP": claimed}

    assert ADDRESSES.of(environ) == "203.0.113.7"


@given(st.text(max_size=60) | st.ip_addresses().map(str))
def test_what_is_read_is_an_address_or_nothing(text: str) -> None:
    address = parse(text)

    assert address is None or ipaddress.ip_address(str(address))
