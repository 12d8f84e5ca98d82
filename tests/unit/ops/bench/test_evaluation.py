"""Two runs side by side."""

from __future__ import annotations

import pytest

from tests.unit.ops.bench.samples import logins, run_of, sample
from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.evaluation import changes, different_conditions, verdict_on
from velro_auth.ops.verdict import Grade, Verdict


def regressions(before: Document, after: Document, margin_percent: float = 20) -> set[str]:
    return {c.name for c in changes(before, after, margin_percent=margin_percent) if c.is_regression}


def test_a_run_is_no_regression_of_itself() -> None:
    run = run_of(logins(100, 110, 120))

    assert not regressions(run, run)
    assert not different_conditions(run, run)


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "found"),
    [
        (100, 119, set()),
        (100, 121, {"p50", "p95"}),
        (100, 50, set()),
        (5, 6.9, set()),
        (5, 7.1, {"p50", "p95"}),
    ],
)
def test_a_time_regresses_beyond_the_margin_and_the_grain(before_ms: float, after_ms: float, found: set[str]) -> None:
    """1.9 ms more are noise even when they are 38 %."""
    assert regressions(run_of(logins(before_ms)), run_of(logins(after_ms))) == found


def test_a_regression_is_worth_exit_status_1_and_names_itself() -> None:
    before, after = run_of(logins(100)), run_of(logins(200))

    assert verdict_on(changes(before, before, margin_percent=20)) == Verdict(Grade.GOOD)
    slower = verdict_on(changes(before, after, margin_percent=20))
    assert int(slower.grade) == 1
    assert [reason[:10] for reason in slower.reasons] == ["5 rps  p50", "5 rps  p95"]


def test_the_margin_is_ones_own_to_choose() -> None:
    before, after = run_of(logins(100)), run_of(logins(150))

    assert regressions(before, after, 49)
    assert not regressions(before, after, 51)


def test_the_own_share_is_compared_for_itself() -> None:
    """Supabase's password hash would hide it."""
    before, after = run_of(logins(100, own_ms=1)), run_of(logins(100, own_ms=5))

    assert regressions(before, after) == {"own p95"}


def test_fewer_successes_are_a_regression() -> None:
    before, after = run_of(logins(*[100] * 100)), run_of([*logins(*[100] * 99), sample(status=503)])

    assert regressions(before, after) == {"success rate"}


def test_no_success_at_all_is_a_regression() -> None:
    """Without a figure there must not be silence."""
    before, after = run_of(logins(100)), run_of([sample(status=429)])

    assert regressions(before, after) == {"success rate"}


def test_levels_that_only_one_run_has_are_not_compared() -> None:
    assert changes(run_of(logins(1), rps=5), run_of(logins(100), rps=10), margin_percent=20) == []


def test_what_else_differs_is_said() -> None:
    before, after = run_of(logins(1)), run_of(logins(1), url="https://auth.example.com")
    after["settings"]["duration_s"] = 60.0
    after["machine"]["processor"] = "another"

    assert different_conditions(before, after) == [
        "duration_s was 30.0, is 60.0",
        "url was http://127.0.0.1:8000, is https://auth.example.com",
        "the machine is another one",
    ]


def test_a_change_reads_as_one_line() -> None:
    [change, *_] = changes(run_of(logins(100)), run_of(logins(150)), margin_percent=20)

    assert str(change) == "5 rps  p50          100.00 → 150.00 ms (+50 %)  REGRESSION"
