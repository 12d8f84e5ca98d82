"""What callers are counted under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.guards.keys import Keyring, network_of, same_account, wider_networks_of

KEYRING = Keyring(b"secret")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (" 192.0.2.77 ", "192.0.2.0/24"),
        ("192.0.2.0/24", "192.0.2.0/24"),
    ],
)
def test_addresses_count_by_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("address", "wider"),
    [
        ("2001:db8:1:2:3:4:5:6", ("2001:db8:1::/56", "2001:db8:1::/48")),
        ("2001:db8:1:102::1", ("2001:db8:1:100::/56", "2001:db8:1::/48")),
        ("192.0.2.77", ()),
        ("::ffff:192.0.2.77", ()),
        ("nonsense", ()),
    ],
)
def test_ipv6_also_counts_by_the_56_and_the_48_around(address: str, wider: tuple[str, ...]) -> None:
    assert wider_networks_of(address) == wider
    assert len(KEYRING.caller("a", address).wider) == len(wider)


@pytest.mark.parametrize("address", ["", "unknown", "192.0.2.256", "1.2.3", "::g", "999"])
def test_nonsense_shares_one_network(address: str) -> None:
    """A proxy that sends nonsense must not get a budget for each word of it."""
    assert network_of(address) == "unknown"


@given(st.text(max_size=60))
def test_any_text_has_a_network_and_an_account(text: str) -> None:
    caller = KEYRING.caller(text, text)

    assert len(caller.account) == len(caller.network) == 32


@pytest.mark.parametrize(
    "spelling",
    ["ada.king@example.com", " ADA.KING@example.com", "ADA.K\u0130NG@Example.com", "ada.\u212aing@example.com"],
)
def test_all_spellings_that_reach_one_account_count_as_one(spelling: str) -> None:
    """Go's ``ToLower`` makes ``İ`` an ``i``: each would otherwise double the number of budgets."""
    assert same_account(spelling) == "ada.king@example.com"


def test_different_accounts_count_apart() -> None:
    accounts = ["a@example.com", "a+b@example.com", "a@example.org", "a.b@example.com"]

    assert len({KEYRING.account(account) for account in accounts}) == len(accounts)


def test_without_the_secret_nobody_can_compute_a_key() -> None:
    assert Keyring(b"one").account("a@example.com") != Keyring(b"two").account("a@example.com")


def test_an_account_never_shares_a_key_with_a_network() -> None:
    assert KEYRING.account("192.0.2.0/24") != KEYRING.network("192.0.2.0/24")


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Keyring(b"")


@pytest.mark.parametrize("spelling", ["491701234567", "+491701234567", " +49 170 123 45 67", "+49 (170) 123-4567"])
def test_a_phone_number_counts_by_its_digits(spelling: str) -> None:
    """As for Supabase, which leaves the plus sign and the spaces out."""
    assert same_account(spelling) == "491701234567"


@pytest.mark.parametrize("account", ["4917@example.com", "+49 170 x", "", "+"])
def test_what_is_no_phone_number_keeps_its_letters(account: str) -> None:
    assert same_account(account) == account
