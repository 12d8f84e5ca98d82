"""The guess budget, and the numbers the documentation gives."""

from __future__ import annotations

from velro_auth.guards.limits import Limits
from velro_auth.ops.cli.guard import budget


def test_the_budget_of_the_shipped_limits_keeps_its_promises() -> None:
    """At most 20 guesses in an hour at one account, whoever logs in meanwhile; at most 80 in a row."""
    rows = budget(Limits(), clients=50, processes=4)

    assert rows == {
        "one account, at once": 10,
        "one account, first hour": 16,
        "one account, an hour in which its owner logs in every minute": 19,
        "one account, first day": 39,
        "one account, in a row until it is stopped": 80,
        "one network, all accounts, first hour": 149,
        "whole service, first hour": 3899,
        "one account, first hour, shared counters gone": 16,
    }


def test_opened_limits_have_another_budget() -> None:
    assert budget(Limits().scaled(10), clients=3, processes=1)["one account, at once"] == 100


def test_fewer_clients_cannot_guess_more() -> None:
    alone = budget(Limits(), clients=1, processes=1)

    assert alone["one account, at once"] == Limits().pair.free
