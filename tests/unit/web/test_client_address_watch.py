"""The first logins show what the settings cannot: a proxy that says nothing, or what the client told it."""

from __future__ import annotations

import ipaddress

import pytest

from tests.conftest import LogLines
from velro_auth.web.client_address import Addresses
from velro_auth.web.client_address_watch import MAX_LOGINS, MIN_LOGINS, AddressWatch

PROXY = "10.0.0.1"


def watch(header: str = "X-Real-IP") -> AddressWatch:
    return AddressWatch(Addresses([ipaddress.ip_network("10.0.0.0/8")], header=header), header=header)


def looked(watching: AddressWatch, times: int = MIN_LOGINS, **headers: str) -> str:
    """Look at so many logins through the proxy; ``{n}`` in a header is the number of the login."""
    for number in range(times):
        sent = {f"HTTP_{name}": value.format(n=number) for name, value in headers.items()}
        watching.look({"REMOTE_ADDR": PROXY, **sent})
    return watching.finding().output


def test_a_proxy_that_sends_another_header_is_noticed(logs: LogLines) -> None:
    watching = watch()

    told = looked(watching, 3 * MIN_LOGINS, X_FORWARDED_FOR="198.51.100.{n}")

    assert "set AUTH_CLIENT_IP_HEADER=X-Forwarded-For" in told
    assert watching.finding().status == "warn"
    lines = [record for record in logs.records if record.name == "velro_auth.web.client_address"]
    assert [vars(line)["advice"] for line in lines] == [told]


def test_a_proxy_that_sends_nothing_makes_all_callers_one() -> None:
    assert f"all of the first {MIN_LOGINS} logins came from {PROXY}" in looked(watch())


def test_a_proxy_that_passes_on_the_clients_word_is_noticed() -> None:
    told = looked(watch(), X_REAL_IP="203.0.113.{n}", X_FORWARDED_FOR="198.51.100.7")

    assert "have the proxy overwrite X-Real-IP" in told


@pytest.mark.parametrize(
    ("header", "headers"),
    [
        ("X-Real-IP", {"X_REAL_IP": "198.51.100.{n}"}),
        ("X-Real-IP", {"X_REAL_IP": "198.51.100.7", "X_FORWARDED_FOR": "1.2.3.4, 198.51.100.7:4711"}),
        ("X-Real-IP", {"X_REAL_IP": "198.51.100.{n}", "X_FORWARDED_FOR": "10.9.9.9", "X_RAILWAY_REQUEST_ID": "r"}),
        ("X-Forwarded-For", {"X_FORWARDED_FOR": "198.51.100.{n}", "X_REAL_IP": "203.0.113.1"}),
        ("CF-Connecting-IP", {"CF_CONNECTING_IP": "198.51.100.{n}", "X_FORWARDED_FOR": "198.51.100.{n}"}),
    ],
)
def test_a_proxy_that_does_it_right_is_not_complained_of(header: str, headers: dict[str, str]) -> None:
    watching = watch(header)

    assert looked(watching, 2 * MAX_LOGINS, **headers) == ""
    assert not watching.is_open


def test_callers_without_a_proxy_are_not_complained_of() -> None:
    watching = watch()
    for number in range(MAX_LOGINS):
        watching.look({"REMOTE_ADDR": f"203.0.113.{number}", "HTTP_X_FORWARDED_FOR": "198.51.100.7"})

    assert watching.finding().status == "pass"


def test_one_public_address_may_be_an_office() -> None:
    watching = watch()

    assert looked(watching, MAX_LOGINS, X_REAL_IP="198.51.100.7") == ""


def test_a_few_logins_prove_nothing() -> None:
    assert looked(watch(), MIN_LOGINS - 1) == ""


def test_one_that_lies_now_and_then_is_not_the_proxys_fault() -> None:
    watching = watch()
    for number in range(MAX_LOGINS):
        listed = "192.0.2.1" if number % 3 == 0 else f"198.51.100.{number}"
        watching.look({"REMOTE_ADDR": PROXY, "HTTP_X_REAL_IP": f"198.51.100.{number}", "HTTP_X_FORWARDED_FOR": listed})

    assert watching.finding().status == "pass"
