"""From samples to figures and a verdict."""

from __future__ import annotations

import pytest

from tests.unit.ops.bench.samples import logins, sample
from velro_auth.ops.bench.evaluation import Thresholds
from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.openloop import Answer, Sample
from velro_auth.ops.verdict import Grade, Verdict, worst

THRESHOLDS = Thresholds(p95_warning_ms=500, p95_critical_ms=1000, success_rate_min_percent=99)


def test_each_class_is_counted_apart() -> None:
    found = figures([
        *logins(10, 20, 30),
        sample("wrong_password", 401, 350),
        sample("unknown_user", 401, 360),
        sample("wrong_password", answer=Answer(429, code="too_many_attempts"), took_ms=1),
    ])  # fmt: skip

    assert {name: row.count for name, row in found.classes.items()} == {
        "good": 3,
        "wrong_password": 1,
        "unknown_user": 1,
        "throttled": 1,
    }
    assert found.classes["throttled"].outcomes == {"429 too_many_attempts": 1}
    assert found.failed == 0
    good = found.classes["good"].latency_ms
    assert good is not None
    assert (good.p50, good.max) == (20, 30)


def test_the_success_rate_is_of_good_logins_that_were_judged() -> None:
    found = figures([*logins(10, 10, 10), sample(status=503), *[sample(status=429)] * 6, sample("unknown_user", 401)])

    assert found.success_rate_percent == 75
    assert found.throttled_good == 6


@pytest.mark.parametrize(
    "lost", [sample(status=500), sample(answer=Answer(None, failure="timeout")), sample(status=302)]
)
def test_nothing_but_200_is_a_success(lost: Sample) -> None:
    assert figures([*logins(10), lost]).success_rate_percent == 50


def test_a_class_that_never_got_a_right_answer_has_no_times() -> None:
    row = figures([sample(status=503, took_ms=1)]).classes["good"]

    assert row.latency_ms is None
    assert not row.histogram


def test_the_own_share_is_of_successful_logins_that_told() -> None:
    found = figures([*logins(10, own_ms=2.0), *logins(10, own_ms=None), sample(answer=Answer(503, own_ms=99.0))])

    assert found.own_ms is not None
    assert (found.own_ms.count, found.own_ms.max) == (1, 2.0)


@pytest.mark.parametrize(
    ("late", "of", "fell_behind"), [(0, 10, False), (1, 10, False), (2, 10, True), (4, 500, False), (6, 500, True)]
)
def test_one_hiccup_is_no_falling_behind(late: int, of: int, *, fell_behind: bool) -> None:
    found = figures([sample(late_ms=10.1)] * late + [sample(late_ms=9.9)] * (of - late))

    assert found.punctuality.late == late
    assert found.punctuality.fell_behind is fell_behind


@pytest.mark.parametrize(
    ("samples", "grade"),
    [
        (logins(*[100.0] * 100), Grade.GOOD),
        (logins(*[100.0] * 95, *[5000.0] * 5), Grade.GOOD),
        (logins(*[100.0] * 94, *[501.0] * 6), Grade.WARNING),
        (logins(*[100.0] * 94, *[1001.0] * 6), Grade.CRITICAL),
        ([*logins(*[100.0] * 99), sample(status=503)], Grade.GOOD),
        ([*logins(*[100.0] * 98), *[sample(status=503)] * 2], Grade.CRITICAL),
        ([*logins(*[100.0] * 99), sample(status=429)], Grade.WARNING),
        ([sample(status=429)] * 20, Grade.CRITICAL),
        ([], Grade.CRITICAL),
        ([*logins(*[100.0] * 50), *[sample(late_ms=20)] * 2], Grade.WARNING),
    ],
)
def test_thresholds_decide_the_grade(samples: list[Sample], grade: Grade) -> None:
    verdict = THRESHOLDS.evaluate(figures(samples))

    assert verdict.grade is grade
    assert bool(verdict.reasons) is (grade is not Grade.GOOD)


def test_timeouts_count_against_p95() -> None:
    """Ten seconds of nothing are not left out of the percentiles."""
    found = figures([*logins(*[100.0] * 9), sample(answer=Answer(None, failure="timeout"), took_ms=10_000)])

    assert "10000 ms" in " ".join(THRESHOLDS.evaluate(found).reasons)


def test_the_worst_grade_wins_and_no_reason_is_lost() -> None:
    verdict = worst([Verdict(Grade.WARNING, ("a",)), Verdict(Grade.CRITICAL, ("b",)), Verdict(Grade.GOOD)])

    assert verdict == Verdict(Grade.CRITICAL, ("a", "b"))
