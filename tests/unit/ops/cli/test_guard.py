"""The guess budget, and the numbers the documentation gives."""

from __future__ import annotations

import pytest
import responses
from click.testing import CliRunner

from velro_auth.guards.budgets import KINDS, BudgetLimits
from velro_auth.guards.limits import Limits
from velro_auth.ops.attack import budget, exact_budgets
from velro_auth.ops.cli.guard import guard, report_lines
from velro_auth.stores.report import Row

METRICS = "http://127.0.0.1:8000/metrics"


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


def test_every_budget_is_printed() -> None:
    rows = exact_budgets(BudgetLimits())

    assert list(rows) == ["mailed codes", "second factors", "mails", "refused links", "sign-ups that need no mail"]
    assert sum(map(len, rows.values())) == len(KINDS) + 1, "one has two windows"
    assert rows["mailed codes"] == {
        "one address or phone number, in 1 h": 10,
        "one address or phone number, in 24 h": 30,
    }


def test_the_report_names_the_worst_limit_first() -> None:
    lines = list(report_lines({"code": Row(3, 1), "pair": Row(1200, 7)}))

    assert [line.split() for line in lines[1:]] == [["pair", "1,200", "7"], ["code", "3", "1"], ["all", "1,203", "8"]]


def run_report(**environment: str) -> tuple[int, str]:
    answer = CliRunner().invoke(guard, ["report", "--url", "http://127.0.0.1:8000"], env=environment)
    return answer.exit_code, answer.output


@responses.activate
def test_the_report_of_a_running_service_comes_from_its_metrics() -> None:
    text = """# TYPE velro_auth_report_refusals_total counter
velro_auth_report_refusals_total{limit="pair"} 12.0
velro_auth_report_refusals_total{limit="code"} 0.0
velro_auth_report_good_total{limit="pair"} 2.0
"""
    responses.get(METRICS, text, match=[responses.matchers.header_matcher({"Authorization": "Bearer secret"})])

    status, output = run_report(METRICS_TOKEN="secret")

    assert status == 0
    assert [line.split() for line in output.splitlines()[1:]] == [["pair", "12", "2"], ["all", "12", "2"]]


@responses.activate
def test_nothing_to_report_is_said_so() -> None:
    responses.get(METRICS, 'velro_auth_report_refusals_total{limit="pair"} 0.0\n')

    assert run_report() == (0, "Nothing would have been refused, or AUTH_GUARDS is not report.\n")


@responses.activate
@pytest.mark.parametrize("status", [401, 404])
def test_closed_metrics_are_said_so(status: int) -> None:
    responses.get(METRICS, status=status)

    found, output = run_report()

    assert found == 2
    assert f"answered {status} for its metrics: set METRICS_TOKEN" in output


@responses.activate
def test_a_service_that_cannot_be_asked_is_said_so() -> None:
    assert run_report() == (2, "The service cannot be asked: ConnectionError\n")
