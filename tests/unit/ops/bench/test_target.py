"""The client, against a double over loopback."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Response

from tests.fixtures.programs import free_port
from tests.unit.ops.bench.gateway import EMAIL, PASSWORD, GatewayDouble, problem, served
from velro_auth.ops.bench.openloop import Answer
from velro_auth.ops.bench.schedule import KINDS, Arrival, Kind
from velro_auth.ops.bench.target import Target, is_this_machine
from velro_auth.ops.verdict import NotMeasured


@pytest.fixture
def double() -> GatewayDouble:
    return GatewayDouble()


@contextlib.contextmanager
def target_of(url: str, **changes: Any) -> Iterator[Target]:
    options: dict[str, Any] = {
        "emails": [EMAIL],
        "password": PASSWORD,
        "timeout_s": 5.0,
        "connections": 4,
        "spreads_addresses": True,
    }
    with contextlib.closing(Target(url, **(options | changes))) as target:
        yield target


def ask(target: Target, kind: Kind) -> Answer:
    return target(Arrival(0.0, kind))


def test_each_kind_gets_its_answer(double: GatewayDouble) -> None:
    with served(double) as url, target_of(url) as target:
        answers = [ask(target, kind) for kind in KINDS]

    refused = Answer(401, code="invalid_credentials")
    assert answers == [Answer(200, own_ms=2.5), refused, refused]


def test_unknown_users_and_wrong_passwords_are_never_the_same_twice(double: GatewayDouble) -> None:
    """Else a cache, or a throttle by password, would be measured."""
    with served(double) as url, target_of(url) as target:
        for kind in ("wrong_password", "wrong_password", "unknown_user", "unknown_user"):
            ask(target, kind)

    first, second, third, fourth = double.asked
    assert first["email"] == second["email"] == EMAIL
    assert len({first["password"], second["password"], PASSWORD}) == 3
    assert len({third["email"], fourth["email"], EMAIL}) == 3


@pytest.mark.parametrize("kind", ["good", "wrong_password"])
def test_accounts_take_turns(double: GatewayDouble, kind: Kind) -> None:
    with served(double) as url, target_of(url, emails=["a@example.com", "b@example.com"]) as target:
        for _ in range(4):
            ask(target, kind)

    assert [body["email"] for body in double.asked] == ["a@example.com", "b@example.com"] * 2


def test_refused_logins_never_come_from_where_good_ones_do(double: GatewayDouble) -> None:
    with served(double) as url, target_of(url) as target:
        for kind in KINDS * 20:
            ask(target, kind)

    good = {double.addresses[index] for index in range(0, 60, 3)}
    refused = [address for index, address in enumerate(double.addresses) if index % 3]
    assert len(good) == 8
    assert len(set(refused)) == 40
    assert not good & set(refused)
    assert all(str(address).startswith(("198.18.", "198.19.")) for address in double.addresses)


def test_no_address_is_claimed_towards_others(double: GatewayDouble) -> None:
    with served(double) as url, target_of(url, spreads_addresses=False) as target:
        ask(target, "wrong_password")

    assert double.addresses == [None]


def test_connections_are_kept(double: GatewayDouble) -> None:
    with served(double) as url, target_of(url) as target:
        for _ in range(5):
            ask(target, "good")

        assert target.connections_opened == 1


def test_a_silent_service_is_a_timeout(double: GatewayDouble) -> None:
    def wait(_: dict[str, Any]) -> None:
        time.sleep(0.3)

    double.instead = wait
    with served(double) as url, target_of(url, timeout_s=0.05) as target:
        assert ask(target, "good") == Answer(None, failure="timeout")


def test_nobody_there_is_a_failed_connection() -> None:
    with target_of(f"http://127.0.0.1:{free_port()}") as target:
        assert ask(target, "good") == Answer(None, failure="connection")


@pytest.mark.parametrize("body", ["<html>", "[]", '{"code": 7}', "{}"])
def test_an_error_without_a_code_is_one_all_the_same(double: GatewayDouble, body: str) -> None:
    double.instead = lambda _: Response(body, 502)
    with served(double) as url, target_of(url) as target:
        assert ask(target, "good") == Answer(502)


def test_a_redirect_is_not_followed(double: GatewayDouble) -> None:
    """It would send the password somewhere else, and count the way there as a login."""
    double.instead = lambda _: Response(status=302, headers={"Location": "/elsewhere"})
    with served(double) as url, target_of(url) as target:
        assert ask(target, "good") == Answer(302)

    assert len(double.asked) == 1


def test_the_check_learns_what_is_measured(double: GatewayDouble) -> None:
    with served(double) as url, target_of(url) as target:
        assert target.check() == {"version": "9.9.9", "commit": "c0ffee"}


def test_an_account_that_cannot_log_in_is_noticed_before_anything_is_measured(double: GatewayDouble) -> None:
    double.instead = lambda _: problem(401, "invalid_credentials")
    with served(double) as url, target_of(url) as target, pytest.raises(NotMeasured, match="401 invalid_credentials"):
        target.check()


def test_nobody_there_is_noticed_before_anything_is_measured() -> None:
    with target_of(f"http://127.0.0.1:{free_port()}") as target, pytest.raises(NotMeasured, match="connection"):
        target.check()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("http://192.0.2.7", False),
        ("https://[2001:db8::7]/", False),
        ("not an address", False),
    ],
)
def test_this_machine_is_told_from_others(url: str, *, expected: bool) -> None:
    assert is_this_machine(url) is expected
